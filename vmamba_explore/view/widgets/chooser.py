"""ClipChooser: which clip to look at, with what beside it and through which model."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from vmamba_explore.view.widgets.browser_code import read_code, read_style
from vmamba_explore.view.widgets.guarded import Guarded
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
AUTO = "auto"
"""The model that stands for the one that fits the clip."""
CLIP_FIELDS = ("kind", "name", "path")
MOST, MOST_LETTERS = 10**9, 5000
"""The largest frame number, and the longest text, that can be chosen."""


class ChoiceError(ValueError):
    """What is missing or wrong in a choice, in one sentence for the reader."""


@dataclass(frozen=True)
class Choice:
    """What the reader wants to see.

    Attributes:
        clip: The clip's file.
        compare: "" for nothing, "reversed", "second", "mute forward" or "mute backward".
        second: The file to compare with, for "second".
        model: A bundled model's name, `AUTO`, a folder or a checkpoint file.
        stride, start: As for `load_clip`.
    """

    clip: ChosenFile
    model: str
    compare: str = ""
    second: ChosenFile | None = None
    stride: int | None = 2
    start: int | None = None


class ClipChooser(Guarded, anywidget.AnyWidget):
    """Choose a bundled clip, a path, or upload a file; run, see how far it is, cancel.

    It runs nothing itself: `on_run` and `on_cancel` name who does, and `tell`, `finish` and `fail`
    are for them. What it allows stands in private attributes: the traits only show it.

    Args:
        samples: Clips to choose from, by name.
        models: What models answer, by name; `AUTO` among them, if the runner knows how to choose.
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

    settable = ("choice",)
    messages = ("run", "cancel", "request")

    _css = read_style(_HERE / "theme.css", _HERE / "chooser.css")
    _esm = read_code(_HERE / "chooser.js")

    samples = traitlets.List(traitlets.Unicode()).tag(sync=True)
    models = traitlets.List(traitlets.List(traitlets.Unicode())).tag(sync=True)  # name, question
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
        models: Mapping[str, str],
        *,
        allow_paths: bool = True,
        limit_mib: int = 512,
    ) -> None:
        self._samples = dict(samples)
        self._models = tuple(models)
        self._allow_paths = allow_paths
        self._inbox = Inbox(SLOTS, limit_mib)
        self._on_run: Callable[[Choice], None] = lambda choice: None
        self._on_cancel: Callable[[], None] = lambda: None
        names = list(self._samples)
        super().__init__(
            samples=names,
            models=[list(pair) for pair in models.items()],
            allow_paths=allow_paths,
            choice={
                "clip": _first_of(names),
                "second": _first_of(names[1:] or names),
                "compare": "",
                "model": next(iter(models), ""),
                "stride": 2,
                "start": None,
            },
        )

    def on_run(self, callback: Callable[[Choice], None]) -> None:
        """Name who is called with the choice when the reader wants to see it."""
        self._on_run = callback

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Name who is called when the reader does not want to wait any longer."""
        self._on_cancel = callback

    @traitlets.validate("choice")
    def _shown(self, proposal: dict[str, Any]) -> dict[str, Any]:
        """What is chosen can be incomplete, but the page must be able to show it."""
        value: dict[str, Any] = proposal["value"]
        texts: list[Any] = [value.get("compare"), value.get("model")]
        for slot in SLOTS:
            clip = value.get(slot)
            texts += [clip.get(n) for n in CLIP_FIELDS] if isinstance(clip, dict) else [None]
        numbers = [value.get("stride"), value.get("start")]
        if (
            value.keys() != {*SLOTS, "compare", "model", "stride", "start"}
            or not all(isinstance(text, str) and len(text) <= MOST_LETTERS for text in texts)
            or not all(n is None or (isinstance(n, int | float) and abs(n) < MOST) for n in numbers)
        ):
            raise traitlets.TraitError("ClipChooser: choice has fields that no page would send.")
        return value

    def read(self, choice: Mapping[str, Any]) -> Choice:
        """Check what the browser sent.

        Raises:
            ChoiceError: something is missing, unknown, or not allowed here.
        """
        if not isinstance(choice, Mapping):
            raise ChoiceError("Choose a clip and a model.")
        compare = choice.get("compare", "")
        if not isinstance(compare, str) or compare not in COMPARISONS:
            known = ", ".join(filter(None, COMPARISONS))
            raise ChoiceError(f"Compare: {_short(compare)} is none of {known}.")
        model = choice.get("model", "")
        model = model.strip() if isinstance(model, str) else ""
        if model not in self._models and not self._allow_paths:
            raise ChoiceError(f"Model: {_short(model)} is none of {', '.join(self._models)}.")
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
        chosen = choice.get(slot)
        if not isinstance(chosen, Mapping):
            chosen = {}
        what = {"clip": "Clip", "second": "Second clip"}[slot]
        kind, name, text = (chosen.get(field, "") for field in CLIP_FIELDS)
        if kind == "sample":
            path = self._samples.get(name) if isinstance(name, str) else None
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
        if kind != "path" or not self._allow_paths:
            raise ChoiceError(f"{what}: paths are not read here; upload the file instead.")
        path = Path(os.path.expanduser(text.strip() if isinstance(text, str) else ""))
        if not path.name:
            raise ChoiceError(f"{what}: type the path of a video file.")
        return ChosenFile(path, path.name)

    def hear(self, content: dict[str, Any], buffers: list[Any]) -> None:
        """Take a message from the browser; what is wrong with a choice becomes a message."""
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
        key, slot, name = (content.get(field, "") for field in ("key", "slot", "name"))
        size, start = content.get("size"), content.get("start")
        try:
            if not all(isinstance(text, str) for text in (key, slot, name)):
                raise UploadError("Upload: this page sent no key, place or name; load it again.")
            key, slot, name = key[:200], slot[:200], name[:200]
            if isinstance(size, int):
                self.uploads = {k: v for k, v in self.uploads.items() if k != slot}
                self._inbox.begin(slot, key, name, size)
                received = 0
            elif isinstance(start, int):
                piece = buffers[0] if buffers else b""
                received = self._inbox.add(slot, key, start, piece)
            else:
                raise UploadError("Upload: this page sent no size and no start; load it again.")
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
        raise ChoiceError(f"{what}: expected a whole number from {least} on, got {_short(value)}.")
    if value > MOST:
        raise ChoiceError(f"{what}: expected at most {MOST}, got more.")
    return value


def _short(value: Any) -> str:
    """Return a value as a message quotes it."""
    if isinstance(value, str):
        return repr(value[:40])
    return repr(value) if isinstance(value, int | float) and abs(value) < MOST else "something else"
