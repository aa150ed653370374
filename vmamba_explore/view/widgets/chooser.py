"""ClipChooser: which clip to look at, with what beside it and through which model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from vmamba_explore.view.widgets.browser_code import read_code, read_style
from vmamba_explore.view.widgets.upload import PIECE, ChosenFile, Inbox, UploadError

_HERE = Path(__file__).parent
SLOTS = ("clip", "second")
COMPARISONS = {
    "": "nothing",
    "reversed": "the clip played backwards",
    "second": "another clip",
    "mute forward": "the clip, forward scans muted",
    "mute backward": "the clip, backward scans muted",
}
"""What a clip can be compared with, and how the menu names it."""


class ChoiceError(ValueError):
    """What is missing or wrong in a choice, in one sentence for the reader."""


@dataclass(frozen=True)
class Choice:
    """What the reader wants to see.

    Attributes:
        clip: The clip's file.
        compare: "" for nothing, "reversed", "second", "mute forward" or "mute backward".
        second: The file to compare with, for "second".
        model: A bundled model's name, a folder or a checkpoint file.
        stride, start: As for `load_clip`.
    """

    clip: ChosenFile
    model: str
    compare: str = ""
    second: ChosenFile | None = None
    stride: int | None = 2
    start: int | None = None


class ClipChooser(anywidget.AnyWidget):
    """Choose a bundled clip, a path, or upload a file; run, see how far it is, cancel.

    It runs nothing itself: `on_run` and `on_cancel` name who does, and `tell`, `finish` and `fail`
    are for them.

    Args:
        samples: Clips to choose from, by name.
        models: Names of models.
        allow_paths: Whether paths may be typed. They are read with the rights of whoever started
            the kernel, so a page that others can open should not allow it.
        limit_mib: The largest upload, MiB.

    Attributes:
        choice: What is chosen, as the browser sends it; see `read`.
        busy: Whether something runs.
        progress: How much of it is done, 0 to 1.
        words: What it does now.
        message: What became of the last run or upload; "" for nothing.
        failed: Whether `message` is an error.
    """

    _css = read_style(_HERE / "theme.css", _HERE / "chooser.css")
    _esm = read_code(_HERE / "chooser.js")

    samples = traitlets.List(traitlets.Unicode()).tag(sync=True)
    models = traitlets.List(traitlets.Unicode()).tag(sync=True)
    comparisons = traitlets.Dict(COMPARISONS).tag(sync=True)
    allow_paths = traitlets.Bool(True).tag(sync=True)
    piece = traitlets.Int(PIECE).tag(sync=True)  # bytes, of an upload
    uploads = traitlets.Dict().tag(sync=True)  # by slot: the name of the file that is here
    choice = traitlets.Dict().tag(sync=True)

    busy = traitlets.Bool(False).tag(sync=True)
    progress = traitlets.Float(0.0).tag(sync=True)
    words = traitlets.Unicode("").tag(sync=True)
    message = traitlets.Unicode("").tag(sync=True)
    failed = traitlets.Bool(False).tag(sync=True)

    def __init__(
        self,
        samples: Mapping[str, Path],
        models: Sequence[str],
        *,
        allow_paths: bool = True,
        limit_mib: int = 512,
    ) -> None:
        self._samples = dict(samples)
        self._inbox = Inbox(SLOTS, limit_mib)
        self._on_run: Callable[[Choice], None] = lambda choice: None
        self._on_cancel: Callable[[], None] = lambda: None
        names = list(self._samples)
        super().__init__(
            samples=names,
            models=list(models),
            allow_paths=allow_paths,
            choice={
                "clip": _first_of(names),
                "second": _first_of(names[1:] or names),
                "compare": "",
                "model": models[0] if models else "",
                "stride": 2,
                "start": None,
            },
        )
        self.on_msg(self._hear)

    def on_run(self, callback: Callable[[Choice], None]) -> None:
        """Name who is called with the choice when the reader wants to see it."""
        self._on_run = callback

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Name who is called when the reader does not want to wait any longer."""
        self._on_cancel = callback

    def read(self, choice: Mapping[str, Any]) -> Choice:
        """Check what the browser sent.

        Raises:
            ChoiceError: something is missing, unknown, or not allowed here.
        """
        compare = choice.get("compare", "")
        if compare not in COMPARISONS:
            known = ", ".join(filter(None, COMPARISONS))
            raise ChoiceError(f"Compare: {compare!r} is none of {known}.")
        model = str(choice.get("model", "")).strip()
        if model not in self.models and not self.allow_paths:
            raise ChoiceError(f"Model: {model!r} is none of {', '.join(self.models)}.")
        if not model:
            raise ChoiceError("Model: choose one, or give the folder or checkpoint file of one.")
        return Choice(
            clip=self._file("clip", choice),
            model=model,
            compare=compare,
            second=self._file("second", choice) if compare == "second" else None,
            stride=_whole("every ... frames", choice.get("stride", 2), 1),
            start=_whole("first frame", choice.get("start"), 0),
        )

    def tell(self, words: str, progress: float | int) -> None:
        """Show what is being done, and how much of it is done, 0 to 1."""
        with self.hold_sync():
            self.busy, self.words, self.progress = True, words, float(progress)

    def finish(self, message: str, failed: bool = False) -> None:
        """Show what became of it, and take the next choice."""
        with self.hold_sync():
            self.busy, self.words, self.progress = False, "", 0.0
            self.message, self.failed = message, failed

    def close(self) -> None:
        """Close the widget and remove what was uploaded."""
        self._inbox.close()
        super().close()

    def _file(self, slot: str, choice: Mapping[str, Any]) -> ChosenFile:
        chosen = choice.get(slot) or {}
        what = {"clip": "Clip", "second": "Second clip"}[slot]
        kind = chosen.get("kind")
        if kind == "sample":
            path = self._samples.get(chosen.get("name", ""))
            if path is None:
                raise ChoiceError(
                    f"{what}: choose one of {', '.join(self._samples) or 'your own'}."
                )
            return ChosenFile(path, path.name)
        if kind == "upload":
            file = self._inbox.file(slot)
            if file is None:
                raise ChoiceError(f"{what}: choose a file to upload, and wait until it is here.")
            return file
        if kind != "path" or not self.allow_paths:
            raise ChoiceError(f"{what}: paths are not read here; upload the file instead.")
        path = Path(str(chosen.get("path", "")).strip()).expanduser()
        if not path.name:
            raise ChoiceError(f"{what}: type the path of a video file.")
        return ChosenFile(path, path.name)

    def _hear(self, _: Any, content: Any, buffers: list[Any]) -> None:
        """Take a message from the browser; whatever is wrong with it becomes a message."""
        if not isinstance(content, dict):
            return
        if "request" in content:
            self._receive(content, buffers)
        elif "run" in content and not self.busy:
            self.message, self.failed = "", False
            try:
                self._on_run(self.read(content["run"]))
            except ValueError as error:
                self.finish(str(error), failed=True)
        elif "cancel" in content and self.busy:
            self.words = "cancelling"
            self._on_cancel()

    def _receive(self, content: dict[str, Any], buffers: list[Any]) -> None:
        """Begin an upload, {"key", "slot", "name", "size"}, or take a piece, {…, "start"}."""
        reply = {"reply": content["request"]}
        key, slot = str(content.get("key")), str(content.get("slot"))
        try:
            if "size" in content:
                name = str(content.get("name"))[:200]
                self.uploads = {k: v for k, v in self.uploads.items() if k != slot}
                self._inbox.begin(slot, key, name, int(content["size"]))
                received = 0
            else:
                piece = buffers[0] if buffers else b""
                received = self._inbox.add(slot, key, int(content.get("start", 0)), piece)
        except UploadError as error:
            self.send({**reply, "error": str(error)})
            return
        file = self._inbox.file(slot)
        if file is not None:
            self.uploads = {**self.uploads, slot: file.name}
        self.send({**reply, "bytes": received})


def _first_of(names: list[str]) -> dict[str, str]:
    if not names:
        return {"kind": "upload", "name": "", "path": ""}
    return {"kind": "sample", "name": names[0], "path": ""}


def _whole(what: str, value: Any, least: int) -> int | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ChoiceError(f"{what}: expected a whole number from {least} on, got {value!r}.")
    return value
