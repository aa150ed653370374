"""What a browser may send to the widgets: trait updates and custom messages, also made-up ones."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import torch
import traitlets
from hypothesis import strategies as st

from tests.fuzz.checkpoints import JSON, model
from tests.fuzz.door import Door, message_fault
from tests.fuzz.worker import where
from vmamba_explore import resources
from vmamba_explore.app.changes import Changer
from vmamba_explore.app.explore import explore
from vmamba_explore.app.explorer_app import ExplorerApp
from vmamba_explore.app.question import Question
from vmamba_explore.clips import Clip
from vmamba_explore.model.bundled import BUNDLED
from vmamba_explore.studies.teaching.detector import DetectorPanel
from vmamba_explore.studies.teaching.stepper import StateStepper
from vmamba_explore.view.explorer import ClipPlayer, Explorer
from vmamba_explore.view.widgets.chooser import AUTO, Choice, ClipChooser
from vmamba_explore.view.widgets.upload import MIB

SECRET = "/secret/model"
"""A path that a visitor may not name."""
MODELS = dict.fromkeys((AUTO, *BUNDLED), "")


@dataclass(frozen=True)
class Message:
    """A message to one of the widgets that a page has.

    Args:
        widget: Which of them, counted round and round.
        data: What the browser sends.
        buffers: Bytes that come with it.
    """

    widget: int
    data: dict[str, Any]
    buffers: tuple[bytes, ...] = ()


def clip() -> Clip:
    """Return a clip as `model` reads it."""
    frames = np.random.default_rng(0).integers(0, 255, (4, 8, 8, 3)).astype(np.uint8)
    return Clip(frames, np.arange(4) / 8, "clip.mp4", np.arange(4))


@functools.cache
def _explored(compare: str | None) -> Explorer:
    return explore(clip(), model(), compare=compare, progress=False)


@functools.cache
def _changer() -> Changer:
    return Changer(model(), clip(), Question(quantities=["delta"], progress=False))


def _explorer(compare: str | None = None) -> Explorer:
    return Explorer(*_explored(compare).explorations, changing=_changer())


@functools.cache
def _film() -> Explorer:
    return explore(resources.path("clips/right.mp4"), model(), start=3, progress=False)


def _of_a_file() -> Explorer:
    explorer = _film()  # it stays
    return Explorer(*explorer.explorations, changing=explorer._changing, windows=explorer._windows)


def _stepper() -> StateStepper:
    h = torch.arange(12.0).view(2, 6)
    return StateStepper(torch.arange(6.0), h / 2, h)


def _detector() -> DetectorPanel:
    return DetectorPanel(lambda delta, rates: (torch.ones(2), torch.zeros(2)), torch.arange(2.0))


def _chooser() -> ClipChooser:
    samples = {name: resources.path(f"clips/{name}.mp4") for name in resources.CLIPS}
    return ClipChooser(samples, MODELS, allow_paths=False, limit_mib=1)


PAGES: dict[str, Callable[[], ipywidgets.Widget]] = {
    "explorer": _explorer,
    "pair": lambda: _explorer("reversed"),
    "film": _of_a_file,
    "player": lambda: ClipPlayer(clip()),
    "numbers": lambda: _explorer().numbers(),
    "chooser": _chooser,
    "app": lambda: ExplorerApp(allow_paths=False, limit_mib=1),
    "stepper": _stepper,
    "detector": _detector,
}
"""Every widget that the package ships, as a page would have it."""


def _values() -> st.SearchStrategy[Any]:
    names = st.sampled_from((
        "delta", "state norm", "forward", "backward", "both", "difference", "layer", "all", "",
        SECRET,
    ))  # fmt: skip
    numbers = st.one_of(st.integers(-3, 8), st.sampled_from((10**9, 2**64, -(2**31), 0.5, 1e308)))
    return st.one_of(names, numbers, st.lists(numbers, max_size=4), JSON)


def _choices() -> st.SearchStrategy[Any]:
    file = st.fixed_dictionaries({
        "kind": st.sampled_from(("sample", "upload", "path", "", None, 3)),
        "name": st.sampled_from(("right", "../right", SECRET, None, 3)),
        "path": st.sampled_from((SECRET, "", "~", "\0", None, 3)),
    })  # fmt: skip
    return st.fixed_dictionaries({}, optional={
        "clip": st.one_of(file, JSON),
        "second": st.one_of(file, JSON),
        "compare": st.one_of(st.sampled_from(("", "reversed", "second", "mute forward")), JSON),
        "model": st.one_of(st.sampled_from((*MODELS, SECRET)), JSON),
        "stride": st.one_of(st.integers(-1, 3), JSON),
        "start": st.one_of(st.integers(-1, 3), JSON),
    })  # fmt: skip


def _custom() -> st.SearchStrategy[Any]:
    few = st.one_of(st.integers(-2, 4), JSON)
    upload = st.fixed_dictionaries({"request": few}, optional={
        "key": st.one_of(st.just("k"), JSON),
        "slot": st.one_of(st.sampled_from(("clip", "second", "../clip")), JSON),
        "name": st.one_of(st.text(max_size=10), JSON),
        "size": st.one_of(st.integers(-1, 10), st.just(2 * MIB), JSON),
        "start": few,
    })  # fmt: skip
    question = st.fixed_dictionaries({"request": few}, optional={
        "side": few, "layer": few, "token": st.one_of(st.lists(few, max_size=4), JSON),
        "choices": few,
    })  # fmt: skip
    state = st.fixed_dictionaries(
        {"request": few, "state": st.one_of(st.lists(few, max_size=3), JSON)},
        optional={"layer": few},
    )
    saving = st.fixed_dictionaries(
        {"request": few, "kind": st.one_of(st.sampled_from(("png", "csv", "html", "zarr")), JSON)},
        optional={"theme": st.one_of(st.sampled_from(("light", "dark")), JSON)},
    )
    change = st.fixed_dictionaries({
        "kind": st.one_of(st.sampled_from(("mute", "freeze", "reset", "swap", "explain")), JSON),
    }, optional={
        "direction": st.one_of(st.sampled_from(("forward", "backward", None)), JSON),
        "layer": few, "frame": few, "target": few, "minus": few,
        "patches": st.one_of(st.lists(st.lists(few, max_size=4), max_size=3), JSON),
    })  # fmt: skip
    background = st.fixed_dictionaries({
        "request": few, "run": st.one_of(st.sampled_from(RUNS), JSON),
    }, optional={
        "changes": st.one_of(st.lists(change, max_size=3), JSON),
        "start": st.one_of(st.sampled_from((0, 9, -1, 10**30)), JSON),
        "film": st.one_of(
            st.builds(lambda: _film().sides[0]["film"]), st.sampled_from(("", SECRET)), JSON
        ),
    })  # fmt: skip
    run = _choices().map(lambda choice: {"run": choice})
    return st.one_of(
        upload, upload, question, question, state, saving, run, run, background, background,
        st.just({"cancel": True}), few.map(lambda number: {"cancel": number}),
        st.just({"event": "click"}), JSON,
    )  # fmt: skip


RUNS = ("late", "change", "change", "pictures", "strip", "window")
OURS = (
    "allow_paths", "models", "samples", "uploads", "choice", "busy", "comparisons", "piece",
    "message", "progress", "frame", "quantity", "layer", "direction", "query", "opacity", "path",
    "scale", "speed", "sides", "late", "late_levels", "revision", "changes", "code", "choices",
    "maps", "levels", "steps", "layers", "directions", "grid", "token",
    "terms", "tables", "value", "index", "children", "selected_index", "options", "delta", "min",
    "max", "outputs", "titles", "token_frames", "colors", "cls_steps", "heading", "compact",
    "key", "channel", "state_number", "state_shape", "window", "films", "pixels",
)  # fmt: skip
SWITCHES = {"allow_paths": True, "models": [[SECRET, ""]], "samples": [SECRET], "piece": 1}


def messages() -> st.SearchStrategy[list[Message]]:
    """Make a strategy for a few messages in a row."""
    update = st.dictionaries(st.sampled_from(OURS), _values(), min_size=1, max_size=3)
    switch = st.sampled_from(sorted(SWITCHES)).map(lambda name: {name: SWITCHES[name]})
    data = st.one_of(
        st.one_of(update, update, switch).map(lambda state: {"method": "update", "state": state}),
        _custom().map(lambda content: {"method": "custom", "content": content}),
        st.just({"method": "request_state"}),
    )
    buffers = st.lists(st.binary(max_size=12), max_size=2).map(tuple)
    return st.lists(st.builds(Message, st.integers(0, 40), data, buffers), min_size=1, max_size=6)


def visits() -> st.SearchStrategy[list[Message]]:
    """Make a strategy for what a visitor might try: change what is allowed, then run a secret."""
    change = st.one_of(
        st.sampled_from(sorted(SWITCHES)).map(lambda name: {name: SWITCHES[name]}),
        st.just({"choice": {"clip": {"kind": "path", "path": SECRET}}}),
        st.just({"uploads": {"clip": SECRET}}),
        st.dictionaries(st.sampled_from(OURS), _values(), min_size=1, max_size=2),
    ).map(lambda state: Message(1, {"method": "update", "state": state}))
    file = st.one_of(
        st.just({"kind": "path", "path": SECRET}),
        st.just({"kind": "sample", "name": SECRET}),
        st.just({"kind": "sample", "name": "right"}),
    )
    run = st.fixed_dictionaries({
        "clip": file, "second": file, "compare": st.sampled_from(("", "second")),
        "model": st.sampled_from((*MODELS, SECRET)),
    }).map(lambda choice: Message(1, {"method": "custom", "content": {"run": choice}}))  # fmt: skip
    planned = st.tuples(st.lists(change, max_size=3), run).map(lambda pair: [*pair[0], pair[1]])
    return st.one_of(planned, planned, messages())


def _alive() -> dict[str, ipywidgets.Widget]:
    return ipywidgets.widgets.widget._instances


def send(page: ipywidgets.Widget, others: list[ipywidgets.Widget], sent: list[Message]) -> None:
    """Send messages to a page as a kernel would; half of them go to the page itself."""
    for message in sent:
        widgets = [page, *(widget for widget in others if widget.comm is not None)]
        widget = page if message.widget % 2 else widgets[message.widget // 2 % len(widgets)]
        content = {"content": {"data": message.data}, "buffers": list(message.buffers)}
        try:
            widget._handle_msg(content)
        except traitlets.TraitError:
            pass  # how a value is refused; the kernel logs it
        except Exception as error:
            if where(error).startswith(" <- "):  # no code of ours: what upstream's widgets do
                continue
            raise


def _replies(page: ipywidgets.Widget) -> list[dict[str, Any]]:
    """Collect what a widget answers."""
    replies: list[dict[str, Any]] = []
    page.send = lambda content, buffers=None: replies.append(content)
    return replies


def _check_replies(replies: list[dict[str, Any]]) -> None:
    for reply in replies:
        if "error" in reply:
            error = ValueError(str(reply["error"]))
            fault = message_fault(error)
            assert fault is None, f"reply: {fault}"
            text = str(error)
            assert len(text.split()) > 2 and text[-1] in ".])", f"reply is not a sentence: {text!s}"


def _talk(case: tuple[str, list[Message]], folder: Path) -> None:
    kind, sent = case
    for compare in (None, "reversed"):
        _explored(compare)  # they stay
    _changer()
    _film()
    before = set(_alive())
    page = PAGES[kind]()
    others = [widget for key, widget in _alive().items() if key not in before]
    replies = _replies(page)
    try:
        send(page, others, sent)
        if isinstance(page, Explorer):
            assert page._runs.wait(60), "a run does not end"
        _check_replies(replies)
        if isinstance(page, Explorer):
            page.to_png()
            page.to_html()
        elif isinstance(page, ClipChooser | ExplorerApp):
            chooser = page if isinstance(page, ClipChooser) else page.chooser
            assert message_fault(ValueError(chooser.message or "none")) is None, "a bad message"
    finally:
        if isinstance(page, ExplorerApp):
            page._cancelled.set()
        page.close()
    left = [_alive()[key] for key in set(_alive()) - before]
    if kind == "numbers":  # its explorer is another widget, which was not closed
        explorers = [widget for widget in left if isinstance(widget, Explorer)]
        for widget in explorers:
            widget.close()
    names = sorted({type(_alive()[key]).__name__ for key in set(_alive()) - before})
    for key in set(_alive()) - before:
        _alive()[key].close()
    assert not names or kind in ("numbers", "stepper", "detector"), f"close() left {names[0]}"


def _visit(sent: list[Message], folder: Path) -> None:
    chooser = _chooser()
    replies, runs = _replies(chooser), []
    samples = {resources.path(f"clips/{name}.mp4") for name in resources.CLIPS}
    chooser.on_run(runs.append)
    try:
        send(chooser, [], sent)
        _check_replies(replies)
        for choice in runs:
            _check_choice(choice, samples)
    finally:
        chooser.close()


def _check_choice(choice: Choice, samples: set[Path]) -> None:
    assert choice.model in MODELS, "a visitor chose a model that is not offered"
    for file in (choice.clip, choice.second):
        if file is not None and not file.uploaded:
            assert file.path in samples, "a visitor chose a file that is not offered"


def _files(case: Any) -> dict[str, bytes]:
    return {"messages.txt": repr(case).encode()}


MESSAGES = Door(
    "messages",
    lambda folder: st.tuples(st.sampled_from(sorted(PAGES)), messages()),
    _talk,
    (),
    seconds=60,
    files=_files,
)
VISITOR = Door("visitor", lambda folder: visits(), _visit, (), files=_files)
