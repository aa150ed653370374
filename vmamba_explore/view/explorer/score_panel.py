"""The score card of one clip: methods run while the notebook stays alive, and can be stopped."""

from __future__ import annotations

import html
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plotly.io as pio

from vmamba_explore.attribution.clip_scores import REMOVALS, ClipScore
from vmamba_explore.attribution.ground_truth import SCORES
from vmamba_explore.view.explorer.exploration import Exploration, Numbers
from vmamba_explore.view.figures.attribution import attribution_maps
from vmamba_explore.view.tables import Cell, Table
from vmamba_explore.view.visitors import told
from vmamba_explore.view.widgets import controls
from vmamba_explore.view.widgets.static_figure import StaticFigure

QUICK = ("mamba_lrp", "integrated_gradients", "saliency", "delta", "random", "frame_difference")
"""Methods that are chosen at first: one of each kind that takes a second, and two controls."""


_STYLE = "<style>.vmx-numbers :is(td, th) {padding: 2px 12px; text-align: left}</style>"


class Stopped(Exception):
    """Raised inside the work when it is to end."""


class ScorePanel(controls.VBox):
    """Choose methods, run them on the explored clip, compare their maps and scores.

    Args:
        chosen: Returns what was explored and its live backend; raises a ValueError without one.
    """

    one_side = True
    figures = ()
    """What belongs to one layer: nothing here."""

    def __init__(self, chosen: Callable[[], tuple[Exploration, Numbers]]) -> None:
        self._chosen = chosen
        self._stop = threading.Event()
        self._card: Path | None = None
        self.thread: threading.Thread | None = None
        self.methods = controls.SelectMultiple(description="methods", rows=8)
        self.run = controls.Button(description="run", icon="play", button_style="primary")
        self.cancel = controls.Button(description="cancel", icon="stop", disabled=True)
        self.bar = controls.FloatProgress(max=1, layout={"visibility": "hidden"})
        self.words = controls.HTML()
        self.table = controls.HTML()
        self.maps = StaticFigure()
        self.measured = controls.ToggleButton(
            layout={"width": "auto", "align_self": "flex-start", "visibility": "hidden"},
            tooltip="The bundled score card: every method against the truth of labeled clips",
        )  # fmt: skip
        self.card = StaticFigure()
        buttons = controls.VBox([self.run, self.cancel, self.bar])
        row = controls.HBox([self.methods, buttons], layout={"flex_flow": "row wrap"})
        rows = [row, self.words, self.table, self.maps, self.measured, self.card]
        super().__init__(rows)
        self.run.on_click(self._start)
        self.cancel.on_click(lambda _: self.stop())
        self.measured.observe(self._show_card, "value")

    def draw(self, *_: object) -> None:
        """List the methods of the chosen side, whatever the view."""
        numbers = self._chosen()[1]
        known = numbers.methods()
        if self.methods.options != known:
            self.methods.options = known
            self.methods.value = [name for name in QUICK if name in known]
        self.run.disabled = not known or self._running
        self._offer_card(numbers.card())
        if not known:
            self._say(
                "Attributions explain a model as it is, and this side ran edited: choose the other."
            )
        elif not self.words.value:
            self._say(
                "Choose methods (Ctrl or ⌘ for several) and run them on this clip. Each map is "
                "scored " + (
                    "against the tokens that show the cause of the label."
                    if numbers.truth() is not None
                    else "by what its highest tokens do to the answer when they go or come."
                )
            )  # fmt: skip

    def side_changed(self) -> None:
        """End and clear what belongs to the other side."""
        self.stop()
        self._stop = threading.Event()
        self.words.value = self.table.value = ""
        self.maps.show(None)
        self.measured.value = False

    def stop(self) -> None:
        """End the work before its next step."""
        self._stop.set()

    @property
    def _running(self) -> bool:
        return self.thread is not None and self.thread.is_alive()

    def _start(self, _: Any) -> None:
        if self._running:
            return
        methods = tuple(dict.fromkeys(self.methods.value))  # each once, whatever a browser sent
        if not methods:
            self._say("No method is chosen: choose at least one in the list.")
            return
        self._stop = threading.Event()
        self.run.disabled, self.cancel.disabled = True, False
        self.bar.value, self.bar.layout.visibility = 0, "visible"
        work = (*self._chosen(), methods, self._stop)
        self.thread = threading.Thread(target=self._work, args=work, daemon=True)
        self.thread.start()

    def _work(
        self, side: Exploration, numbers: Numbers, methods: tuple[str, ...], stop: threading.Event
    ) -> None:
        found: list[ClipScore] = []

        def report(words: str, done: float) -> None:
            if stop.is_set():
                raise Stopped
            self._say(f"{words} …")
            self.bar.value = done

        try:
            for score in numbers.score(methods, report):
                found.append(score)
                self.table.value = _STYLE + score_table(found).to_fragment()
            bold = " Bold: better than a map that knows nothing." if found[0].chance else ""
            words = f"{side.title}, methods: {len(found)}.{bold}"
        except Stopped:
            words = f"Cancelled; {len(found)} of {len(methods)} methods were done."
        except Exception as error:  # a sentence in the panel, not a traceback
            words = sentence(error)
        if self._stop is stop:  # the same side is still looked at
            self._say(words)
            if found:
                maps = {score.method: score.attribution for score in found}
                self.maps.show(attribution_maps(side.clip, maps, truth=numbers.truth()))
        self.bar.layout.visibility = "hidden"
        self.run.disabled, self.cancel.disabled = False, True

    def _offer_card(self, file: Path | None) -> None:
        """Offer the measured score card of the model that is shown, if there is one."""
        if file == self._card:
            return
        self._card, self.measured.value = file, False
        self.measured.layout.visibility = "hidden" if file is None else "visible"
        if file is not None:
            meta = pio.read_json(file).layout.meta
            self.measured.description = f"{meta['model']} on {meta['clips']} clips"

    def _show_card(self, change: dict[str, Any]) -> None:
        shown = change["new"] and self._card is not None
        self.card.show(pio.read_json(self._card) if shown else None)

    def _say(self, words: str) -> None:
        self.words.value = html.escape(words)


def score_table(found: list[ClipScore]) -> Table:
    """List the scores of several methods on one clip.

    Returns:
        Bold: above what a map that knows nothing would reach, where that is known; and the last
        row says what that is.
    """
    names = list(found[0].scores)
    titles = [SCORES.get(name, REMOVALS.get(name, name)) for name in names]
    chance = found[0].chance
    rows = [
        [
            Cell(score.method),
            *(
                Cell(_number(score.scores[name]), score.scores[name] > chance.get(name, math.inf))
                for name in names
            ),
            Cell("none promised" if score.gap is None else f"{100 * score.gap:.2g} %"),
            Cell(f"{score.attribution.cost.seconds:.2f}"),
        ]
        for score in found
    ]
    if chance:
        by_chance = [Cell(_number(chance[n]) if n in chance else "") for n in names]
        rows.append([Cell("a map that knows nothing"), *by_chance, Cell(""), Cell("")])
    return Table(("method", *titles, "misses its sum by", "seconds"), rows)


def _number(value: float) -> str:
    return "none" if math.isnan(value) else f"{value:.2f}"


def sentence(error: Exception) -> str:
    """What to show of an error: its message, and what it is where it was not foreseen."""
    foreseen = isinstance(error, ValueError | MemoryError | FloatingPointError)
    return told(error, f"{error}" if foreseen else f"{type(error).__name__}: {error}")
