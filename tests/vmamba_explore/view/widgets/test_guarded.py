"""No widget takes from a browser what it does not list, and a closed one leaves nothing behind."""

import importlib
import logging
import math
import pkgutil
import sys

import ipywidgets
import pytest
import torch
from ipywidgets.widgets.widget import _instances

import vmamba_explore
from vmamba_explore import ClipPlayer, ExplorerApp, explore, resources
from vmamba_explore.clips import load_clip
from vmamba_explore.studies.teaching.detector import DetectorPanel
from vmamba_explore.studies.teaching.live_figure import LiveFigure
from vmamba_explore.studies.teaching.stepper import StateStepper
from vmamba_explore.view.explorer import Explorer
from vmamba_explore.view.explorer.page import ExplorerPage
from vmamba_explore.view.explorer.panels import NumbersPanel
from vmamba_explore.view.explorer.score_panel import ScorePanel
from vmamba_explore.view.explorer.tabs import ChannelsTab, MemoryTab, NumbersTab, StatesTab
from vmamba_explore.view.widgets import controls
from vmamba_explore.view.widgets.chooser import ClipChooser
from vmamba_explore.view.widgets.guarded import Guarded, close_all
from vmamba_explore.view.widgets.static_figure import StaticFigure

CLIP = resources.path("clips/right.mp4")
VIEW = {
    "frame", "quantity", "layer", "direction", "query", "opacity", "path", "scale", "speed",
    "channel", "state_number", "pixels",
}  # fmt: skip
FIGURE = {"layoutDelta", "pointsCallback", "relayout", "restyle", "traceDeltas", "update"}
SETTABLE = {
    Explorer: VIEW,
    ClipPlayer: VIEW,
    ClipChooser: {"choice"},
    LiveFigure: {"_view_count", *(f"_js2py_{name}" for name in FIGURE)},
    controls.Accordion: {"selected_index"},
    controls.Tab: {"selected_index"},
    controls.Dropdown: {"index"},
    controls.SelectMultiple: {"index"},
    controls.ToggleButton: {"value"},
    controls.IntSlider: {"value"},
    controls.FloatLogSlider: {"value"},
    controls.Play: {"value", "playing", "repeat"},
}
"""All that a browser may set; of the other widgets, nothing."""


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


HOSTILE = [
    None, True, -1, 10**400, 0.5, math.nan, math.inf, "", "/etc/passwd", "../../x", "x" * 10**5,
    "IPY_MODEL_0", [], ["/etc/passwd"], [10**400], [0] * 1000, {}, {"clip": {"kind": "path"}},
    deep(900),
]  # fmt: skip


def explored(**options):
    return explore(CLIP, layers=[0], quantities=["delta"], progress=False, **options)


def stepper():
    written = torch.randn(4, 9)
    return StateStepper(torch.randn(9), written, written.cumsum(1))


def page():
    page = ExplorerPage(ClipChooser({}, {"small": ""}))
    page.show(explored())
    page.children[-1].selected_index = 0
    return page


def score_panel():
    exploration = explored().explorations[0]
    return ScorePanel(lambda: (exploration, exploration.numbers))


MAKERS = {
    Explorer: explored,
    ClipPlayer: lambda: ClipPlayer(load_clip(CLIP)),
    ClipChooser: lambda: ClipChooser({"right": CLIP}, {"motion-nano": ""}, allow_paths=False),
    ExplorerApp: lambda: ExplorerApp(allow_paths=False),
    ExplorerPage: page,
    NumbersPanel: lambda: NumbersPanel(explored(compare="reversed")),
    StatesTab: lambda: StatesTab(lambda: None),
    ChannelsTab: lambda: ChannelsTab(lambda: None, ["forward", "backward"]),
    MemoryTab: lambda: MemoryTab(lambda: None),
    ScorePanel: score_panel,
    StaticFigure: StaticFigure,
    LiveFigure: lambda: LiveFigure({"data": [{"y": [1, 2]}]}),
    StateStepper: stepper,
    DetectorPanel: lambda: DetectorPanel(
        lambda delta, rates: (torch.ones(2), torch.zeros(2)), torch.tensor([0.5, 1.0])
    ),
    controls.VBox: controls.VBox,
    controls.HBox: controls.HBox,
    controls.HTML: controls.HTML,
    controls.FloatProgress: controls.FloatProgress,
    controls.Accordion: lambda: controls.Accordion([controls.HTML()]),
    controls.Tab: lambda: controls.Tab([controls.HTML()]),
    controls.Dropdown: lambda: controls.Dropdown(options=["a", "b"]),
    controls.SelectMultiple: lambda: controls.SelectMultiple(options=["a", "b"]),
    controls.ToggleButton: controls.ToggleButton,
    controls.Button: controls.Button,
    controls.IntSlider: controls.IntSlider,
    controls.FloatLogSlider: controls.FloatLogSlider,
    controls.Play: controls.Play,
}
BASES = {Guarded, NumbersTab}
each = pytest.mark.parametrize("kind", MAKERS, ids=lambda kind: kind.__name__)


@pytest.fixture(scope="module")
def widgets():
    """Return a function: one of each kind, made when it is first asked for."""
    made = {}

    def one(kind):
        if kind not in made:
            made[kind] = MAKERS[kind]()
        return made[kind]

    yield one
    for widget in made.values():
        close_all(widget)


def sends(widget, data, buffers=()):
    widget._handle_msg({"content": {"data": data}, "buffers": list(buffers)})


def sets(widget, **state):
    sends(widget, {"method": "update", "state": state, "buffer_paths": []})


def warnings(caplog):
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    caplog.clear()
    return records


def test_every_widget_that_we_ship_is_guarded_and_tested_here():
    for module in pkgutil.walk_packages(vmamba_explore.__path__, "vmamba_explore."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, left = set(), [ipywidgets.Widget]
    while left:
        kinds = left.pop().__subclasses__()
        left += kinds
        ours = [kind for kind in kinds if kind.__module__.startswith("vmamba_explore")]
        found |= {getattr(sys.modules[kind.__module__], kind.__name__) for kind in ours}
    assert found - BASES == MAKERS.keys()
    for kind in found:
        assert issubclass(kind, Guarded)
        assert set(kind.settable) == SETTABLE.get(kind, set())


@each
def test_a_browser_sets_what_is_listed_and_nothing_else(widgets, kind, caplog, capfd):
    widget = widgets(kind)
    others = [name for name in widget.keys if name not in SETTABLE.get(kind, ())]
    before = widget.get_state(others)
    for name in [*widget.keys, "comm", "_allow_paths", "explorations"]:
        for value in HOSTILE:
            sets(widget, **{name: value})
            refused = warnings(caplog)
            assert len(refused) == 1 if name not in SETTABLE.get(kind, ()) else len(refused) <= 1
            assert all(len(record.getMessage()) < 400 for record in refused)
    assert widget.get_state(others) == before
    assert widget.comm is not None
    assert "Traceback" not in "".join(capfd.readouterr())


@each
def test_hostile_messages_are_refused_in_a_line_and_the_widget_lives(widgets, kind, caplog, capfd):
    widget = widgets(kind)
    contents = [*HOSTILE, {"unknown": 1}]
    for value in HOSTILE:
        contents += [{key: value} for key in ("run", "request", "event", "cancel")]
        contents += [{"run": {"clip": value, "model": value, "compare": value}}]
        contents += [{"request": 1, "key": value, "slot": "clip", "name": "x", "size": value}]
        contents += [{"request": 1, "key": "k", "slot": "clip", "name": value, "size": 10}]
        contents += [{"request": 1, "key": "k", "slot": "clip", "start": value}]
        contents += [{"request": value, "side": value, "layer": value, "token": value}]
        contents += [{"request": 1, "side": 0, "layer": 0, "token": value}]
        contents += [{"request": 1, "kind": value}]
    for content in contents:
        sends(widget, {"method": "custom", "content": content}, [memoryview(b"abc")])
        refused = warnings(caplog)
        assert len(refused) <= 1
        assert all(len(record.getMessage()) < 400 for record in refused)
    for data in [*HOSTILE, {"method": "update"}, {"method": deep(900)}, {"method": "custom"}]:
        sends(widget, data)
        assert len(warnings(caplog)) <= 1
    assert widget.comm is not None
    assert "Traceback" not in "".join(capfd.readouterr())


@each
def test_a_closed_widget_leaves_none_behind(kind):
    keep = set(_instances)
    widget = MAKERS[kind]()
    inner = set(_instances) - keep
    widget.close()
    if kind in (NumbersPanel, ScorePanel):  # they follow or ask an explorer, which is not theirs
        explorers = [_instances[i] for i in inner if i in _instances]
        for explorer in [w for w in explorers if isinstance(w, Explorer)]:
            explorer.close()
    assert set(_instances) == keep


def test_what_a_widget_refuses_is_shown_as_it_is(monkeypatch):
    chooser, sent = ClipChooser({}, {"small": ""}, allow_paths=False), []
    monkeypatch.setattr(chooser, "_send", lambda message, buffers=None: sent.append(message))
    sets(chooser, allow_paths=True, models=[["/etc", ""]])
    (message,) = sent
    assert message["state"] == {"models": [["small", ""]], "allow_paths": False}


def test_of_a_message_with_a_wrong_value_nothing_is_set(widgets):
    explorer = widgets(Explorer)
    explorer.frame = 0
    for wrong in ({"layer": 99}, {"opacity": math.nan}, {"speed": 10**400}, {"query": deep(900)}):
        sets(explorer, frame=2, **wrong)
        assert explorer.frame == 0
    sets(explorer, frame=2, sides=[])
    assert explorer.frame == 2


def test_an_observers_error_is_not_taken_for_a_refusal(widgets, caplog):
    slider = widgets(controls.IntSlider)
    slider.observe(lambda change: 1 / 0, "value")
    sets(slider, value=7)
    assert slider.value == 7
    assert not any("refused" in record.getMessage() for record in caplog.records)
    slider.unobserve_all()


def test_a_click_is_heard(widgets):
    clicks = []
    widgets(controls.Button).on_click(clicks.append)
    sends(widgets(controls.Button), {"method": "custom", "content": {"event": "click"}})
    assert clicks == [widgets(controls.Button)]
