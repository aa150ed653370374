"""Guarded: a widget that takes from a browser what it lists, and nothing else.

Every synced trait can be written by whoever holds the page, so nothing that decides what a visitor
may do is read from one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import ipywidgets
import traitlets

from vmamba_explore.errors import few, first_line, shown

logger = logging.getLogger(__name__)


class Guarded(ipywidgets.Widget):
    """A widget that refuses what a browser may not set or say, logs it and stays as it was.

    It stands before the widget that it guards: `class Explorer(Guarded, anywidget.AnyWidget)`.

    Attributes:
        settable: The traits that a browser may set. Their validators see what it sends; of a
            message with a wrong value none is set.
        messages: A custom message is an object with at least one of these keys. `hear` takes it.
    """

    settable: ClassVar[tuple[str, ...]] = ()
    messages: ClassVar[tuple[str, ...]] = ()

    def hear(self, content: dict[str, Any], buffers: list[Any]) -> None:
        """Take a custom message that has one of the listed keys; an error is logged."""

    def set_state(self, sync_data: Mapping[str, Any]) -> None:
        """Set what a browser sends, less what it may not set.

        Raises:
            TraitError: a trait cannot have that value; none is set.
        """
        accepted = self._accepted(sync_data)
        if accepted:
            super().set_state(accepted)

    def checked(self, name: str, value: Any) -> Any:
        """Return what a trait would become of a value that a browser sent.

        Raises:
            TraitError: it cannot have that value.
        """
        try:
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError("not a finite number")
            from_json = self.trait_metadata(name, "from_json", self._trait_from_json)
            return self.traits()[name]._validate(self, from_json(value, self))
        except traitlets.TraitError:
            raise
        except Exception as error:  # not finite, too large for a float, nested too deep
            reason = f"{type(self).__name__}: {name} cannot have this value"
            raise traitlets.TraitError(f"{reason} ({type(error).__name__}).") from None

    def close(self) -> None:
        """Close the widget and all that it holds."""
        held = list(_held(self)) if self.comm is not None else []
        super().close()
        for part in held:
            close_all(part)

    def _handle_msg(self, msg: Mapping[str, Any]) -> None:
        """Take a message from a browser: ipywidgets gets what is left of it."""
        state: Any = {}
        try:
            data = msg["content"]["data"]
            method = data["method"]
            if method == "update":
                state = data["state"]
                data = {"method": method, "state": self._accepted(state)}  # none is binary
            elif method not in ("custom", "request_state"):
                raise ValueError(f"there is no method {shown(method, 40)}")
        except Exception as error:
            self._refuse(first_line(error), state)
            return
        super()._handle_msg({**msg, "content": {"data": data}})

    def _handle_custom_msg(self, content: Any, buffers: list[Any]) -> None:
        if not isinstance(content, dict) or not content.keys() & set(self.messages):
            self._refuse("a message of an unknown kind")
            return
        try:
            self.hear(content, buffers)
        except Exception as error:
            logger.debug("a message was refused", exc_info=True)
            self._refuse(first_line(error))
            return
        super()._handle_custom_msg(content, buffers)

    def _accepted(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return the part of a state that may be set; the rest is logged and sent back as it is.

        Raises:
            TraitError: a trait cannot have that value.
        """
        accepted = {name: value for name, value in state.items() if name in self.settable}
        others = [name for name in state if name not in accepted]
        if others:
            self._refuse(f"not to be set from there: {few(n[:40] for n in others)}", others)
        for name, value in accepted.items():
            self.checked(name, value)
        return accepted

    def _refuse(self, reason: str, state: Any = ()) -> None:
        """Log what was refused, in one line, and show the browser what is true instead."""
        logger.warning("%s: refused what a browser sent: %s", type(self).__name__, reason)
        names = [name for name in self.keys if name in state] if state else []
        if names:
            self.send_state(names)


def close_all(widget: ipywidgets.Widget) -> None:
    """Close a widget and all that it holds: children, layouts and styles live on otherwise."""
    held = list(_held(widget))
    widget.close()
    for part in held:
        if part.comm is not None:
            close_all(part)


def _held(widget: ipywidgets.Widget) -> Iterator[ipywidgets.Widget]:
    for name in widget.keys:
        value = getattr(widget, name)
        for part in value if isinstance(value, list | tuple) else [value]:
            if isinstance(part, ipywidgets.Widget):
                yield part
