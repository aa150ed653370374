"""Voila's configuration for `make app`: what a visitor may send, and what that can make grow.

Voila reads it because .ci/app.py puts this folder first in JUPYTER_CONFIG_PATH. Options after
`.ci/app.py` and the user's own voila.py in the working folder come before it.
"""

from jupyter_server.log import log_request
from jupyter_server.services.kernels.connection.base import deserialize_msg_from_ws_v1
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado.httpserver import HTTPServer
from tornado.iostream import StreamBufferFullError
from tornado.web import HTTPError
from traitlets import Dict, Integer

MIB = 2**20
MESSAGE = 2 * MIB  # the largest is a piece of an upload, 1 MiB
SOCKETS = 4  # to a kernel; a page has one, and one more for a moment when it connects again
PARTS = 64  # of a message: channel, header, parent, metadata, content, buffers
PROTOCOL = "v1.kernel.websocket.jupyter.org"
CHANNELS = ("shell", "control")
TARGET = "jupyter.widget.control"  # the one comm that a page opens; all widgets are the kernel's


class LimitedConnection(ZMQChannelsWebsocketConnection):
    """A page's socket to its kernel: nothing in it grows without end, nor opens widgets."""

    waiting_mib = Integer(
        64, config=True, help="How much a page may leave unread, and a kernel may have to do, MiB."
    )
    unfinished = Dict(help="Bytes of the messages that the kernel is not done with, by their id.")

    async def prepare(self):
        if self.multi_kernel_manager._kernel_connections.get(self.kernel_id, 0) >= SOCKETS:
            raise HTTPError(503, reason="Too many sockets to one kernel.")
        await super().prepare()

    def connect(self):
        self.websocket_handler.ws_connection.stream.max_write_buffer_size = MIB * self.waiting_mib
        return super().connect()

    def write_message(self, message, binary=False):
        """Write to the page; what fails because the page is gone fills no log."""
        written = self.websocket_handler.write_message(message, binary)
        if written is not None:
            written.add_done_callback(lambda done: done.cancelled() or done.exception())

    def handle_incoming_message(self, incoming_msg):
        """Pass on what a page has to say; a message that lies about its parts costs nothing."""
        try:
            reason = self._refused(incoming_msg)
        except Exception as error:
            reason = f"unreadable ({type(error).__name__})"
        if reason:
            self.log.warning("Refused a message to kernel %s: %s", self.kernel_id, reason)
        else:
            super().handle_incoming_message(incoming_msg)

    def handle_outgoing_message(self, stream, outgoing_msg):
        """Pass on what a kernel says, but log its stdout, stderr and tracebacks instead."""
        parts = self.session.feed_identities(outgoing_msg)[1]
        kind = self.session.unpack(parts[1])["msg_type"]
        if kind in ("stream", "error"):
            content = self.session.unpack(parts[4])
            words = content.get("text") or "\n".join(content.get("traceback", ()))
            self.log.warning("Kernel %s: %s", self.kernel_id, words[:10_000].rstrip())
            return
        if kind == "status" and self.session.unpack(parts[4])["execution_state"] == "idle":
            self.unfinished.pop(self.session.unpack(parts[2]).get("msg_id"), None)
        if self.websocket_handler.ws_connection.is_closing():
            return
        try:
            super().handle_outgoing_message(stream, outgoing_msg)
        except StreamBufferFullError:
            self.log.warning("Closed a page of kernel %s that does not read.", self.kernel_id)
            self.websocket_handler.close()

    def _refused(self, message):
        """Why a message is not passed on, or None. Upstream reads as many parts as it promises."""
        if self.subprotocol != PROTOCOL or not isinstance(message, bytes):
            return "not in the protocol of Voila's own page"
        count = int.from_bytes(message[:8], "little")
        if not 6 <= count <= PARTS or 8 * (count + 1) > len(message):
            return f"{len(message)} bytes cannot have so many parts"
        channel, parts = deserialize_msg_from_ws_v1(message)
        if channel not in CHANNELS:
            return "not for the shell or control channel"
        header = self.session.unpack(parts[0])
        if header["msg_type"] not in self.multi_kernel_manager.allowed_message_types:
            return f"a page sends no {header['msg_type'][:40]}"
        if header["msg_type"] == "comm_open":
            if self.session.unpack(parts[3])["target_name"] != TARGET:
                return "a page opens no widgets"
        if header["msg_id"] in self.unfinished:
            return "its id was given before"
        if sum(self.unfinished.values()) + len(message) > MIB * self.waiting_mib:
            return "the kernel is not done with earlier ones"
        self.unfinished[header["msg_id"]] = len(message) + MIB // 1024
        return None


class FewKernels(AsyncMappingKernelManager):
    """A kernel for each open page, and not more than `max_kernels`."""

    max_kernels = Integer(8, config=True, help="How many pages can be open at a time.")

    async def _async_start_kernel(self, **options):
        if len(self) + len(self._pending_kernels) >= self.max_kernels:
            raise HTTPError(503, reason="Too many pages are open. Close one, or try again later.")
        return await super()._async_start_kernel(**options)

    start_kernel = _async_start_kernel


load_subconfig("no_token.py")  # noqa: F821
c = get_config()  # noqa: F821
c.Voila.auto_token = True  # read from the file that JUPYTER_TOKEN_FILE names
c.Voila.tornado_settings = {
    "log_function": log_request,  # keeps ?token= out of the log
    "websocket_max_message_size": MESSAGE,
}
c.Voila.kernel_websocket_connection_class = LimitedConnection
c.VoilaConfiguration.multi_kernel_manager_class = FewKernels
c.VoilaConfiguration.show_tracebacks = False
c.MappingKernelManager.cull_idle_timeout = 600  # seconds, of a page that is no longer there
c.MappingKernelManager.cull_interval = 60
c.MappingKernelManager.cull_connected = False
c.MappingKernelManager.buffer_offline_messages = False
HTTPServer.configure(None, max_body_size=MESSAGE, max_buffer_size=2 * MESSAGE)
