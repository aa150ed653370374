"""A headless Firefox of its own, driven over WebDriver BiDi."""

import base64
import itertools
import json
import pathlib
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import websocket

PREFERENCES = {
    "app.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "media.navigator.permission.disabled": True,  # a page may use the camera
    "media.navigator.streams.fake": True,  # which is a drawn one
    "media.gmp-manager.updateEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "remote.prefs.recommended": True,
}
PATIENCE = 600  # seconds


class Firefox:
    """One tab. Errors of its pages are kept in `faults`, requests to anywhere in `requests`."""

    def __init__(self, address: str) -> None:
        self.socket = websocket.create_connection(
            f"{address}/session", timeout=PATIENCE, suppress_origin=True
        )
        self._numbers = itertools.count(1)
        self.faults: list[str] = []
        self.requests: list[str] = []
        self.ask("session.new", capabilities={})
        events = ["log.entryAdded", "network.beforeRequestSent"]
        self.ask("session.subscribe", events=events)
        (context,) = self.ask("browsingContext.getTree")["contexts"]
        self.tab = {"context": context["context"]}

    def ask(self, method: str, **parameters):
        """Send a command of WebDriver BiDi and return its result."""
        number = next(self._numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            parts = message.get("params", {})
            if message.get("method") == "log.entryAdded" and parts["level"] == "error":
                self.faults.append(parts["text"])
            if message.get("method") == "network.beforeRequestSent":
                self.requests.append(parts["request"]["url"])
            if message.get("id") == number:
                assert message["type"] == "success", f"{method}: {message['message']}"
                return message["result"]

    def open(self, address: str) -> None:
        """Load a page."""
        self.ask("browsingContext.navigate", url=address, wait="complete", **self.tab)

    def size(self, width: int, height: int) -> None:
        """Give the page so many pixels."""
        self.ask(
            "browsingContext.setViewport", viewport={"width": width, "height": height}, **self.tab
        )

    def value(self, expression: str):
        """Return what JSON makes of an expression, or of what its promise comes to."""
        wrapped = f"(async () => JSON.stringify(await ({expression})))()"
        answer = self.ask(
            "script.evaluate", expression=wrapped, target=self.tab, awaitPromise=True
        )  # fmt: skip
        assert answer["type"] == "success", answer["exceptionDetails"]["text"]
        return json.loads(answer["result"].get("value") or "null")

    def wait(self, expression: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.value(expression):
            assert time.monotonic() < end, f"{expression} stays false"
            time.sleep(0.05)

    def click(self, selector: str) -> None:
        """Click on the first element that a selector finds."""
        self.value(f"document.querySelector({json.dumps(selector)}).click()")

    def choose(self, selector: str, file: pathlib.Path) -> None:
        """Choose a file in an input."""
        found = self.ask("browsingContext.locateNodes", locator={"type": "css", "value": selector},
                         **self.tab)  # fmt: skip
        element = {"sharedId": found["nodes"][0]["sharedId"]}
        self.ask("input.setFiles", element=element, files=[str(file)], **self.tab)

    def screenshot(self, path: pathlib.Path) -> None:
        """Keep a picture of what is seen of the page."""
        picture = self.ask("browsingContext.captureScreenshot", **self.tab)["data"]
        pathlib.Path(path).write_bytes(base64.b64decode(picture))


@contextmanager
def running_firefox(program: str, profile: pathlib.Path) -> Iterator[Firefox]:
    """Start a Firefox.

    Args:
        program: What to run.
        profile: An empty folder.
    """
    lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in PREFERENCES.items()]
    (profile / "user.js").write_text("\n".join(lines), "utf-8")
    command = [program, "--headless", "--no-remote", "--remote-debugging-port", "0",
               "--profile", str(profile)]  # fmt: skip
    log = profile / "stderr.log"
    with log.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
    try:
        end, found = time.monotonic() + PATIENCE, None
        while found is None:
            assert process.poll() is None and time.monotonic() < end, log.read_text()[-2000:]
            time.sleep(0.1)
            found = re.search(r"WebDriver BiDi listening on (ws://\S+)", log.read_text())
        yield Firefox(found[1])
    finally:
        process.terminate()
        process.wait(30)
