"""DetectorPanel: a motion detector whose delta and A are turned with sliders."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets
import torch
import traitlets
from jaxtyping import Float
from torch import Tensor

from vmamba_explore.studies.teaching.detector_figures import LAGS, detector_tuning
from vmamba_explore.studies.teaching.live_figure import LiveFigure
from vmamba_explore.studies.teaching.motion_detector import DELTA, RATES, delay_kernel
from vmamba_explore.view.figures.layout import THEME_CSS
from vmamba_explore.view.widgets import controls

Respond = Callable[[float, tuple[float, float]], tuple[Tensor, Tensor]]
_RANGES = {"delta": (0.05, 5.0), "first": (0.05, 5.0), "second": (0.05, 5.0)}
_LABELS = {"delta": "delta", "first": "−A, first state", "second": "−A, second state"}


class DetectorPanel(controls.VBox):
    """Turn a motion detector's step size and decay rates, and see which direction it prefers.

    Args:
        respond: Takes delta and the rates (-A of the first and of the second state), gives the
            response to a dot that moves right and to one that moves left, at each speed.
        speeds: Pixels per frame.
        delta: Step size to begin with.
        rates: Rates to begin with.

    The traits `delta`, `first` and `second` follow the sliders and can be set; a value beyond a
    slider's end becomes that end. `verdict` says in words what the right panel shows.
    """

    delta = traitlets.Float(DELTA)
    first = traitlets.Float(RATES[0])
    second = traitlets.Float(RATES[1])

    def __init__(
        self,
        respond: Respond,
        speeds: Float[Tensor, " speeds"],
        delta: float = DELTA,
        rates: tuple[float, float] = RATES,
    ) -> None:
        self._respond = respond
        start = {"delta": delta, "first": rates[0], "second": rates[1]}
        figure = detector_tuning(delta, rates, speeds, *respond(delta, rates))
        self.figure = LiveFigure(figure)
        style = controls.HTML(f"<style>{THEME_CSS}</style>")
        self._verdict = controls.HTML()
        self.sliders = {name: _slider(name, value) for name, value in start.items()}
        reset = controls.Button(description="as built", tooltip="Back to the first setting")
        reset.on_click(lambda _: self._set(start))
        row = controls.VBox([*self.sliders.values(), controls.HBox([reset, self._verdict, style])])
        super().__init__([row, self.figure], **start)
        for name, slider in self.sliders.items():
            traitlets.link((self, name), (slider, "value"))
        self._draw()

    @property
    def verdict(self) -> str:
        """Which direction the detector prefers, and at how many of the speeds."""
        return str(self._verdict.value)

    @traitlets.validate("delta", "first", "second")
    def _inside(self, proposal: traitlets.Bunch) -> float:
        low, high = _RANGES[proposal["trait"].name]
        return min(max(proposal["value"], low), high)

    def _set(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            setattr(self, name, value)

    @traitlets.observe("delta", "first", "second")
    def _turned(self, change: traitlets.Bunch) -> None:
        if self.children:  # not while the panel is being made
            self._draw()

    def _draw(self) -> None:
        rates = self.first, self.second
        kernels = delay_kernel(LAGS, self.delta, rates)
        rightward, leftward = self._respond(self.delta, rates)
        with self.figure.batch_update():
            for trace, values in zip(
                self.figure.data, [*kernels, rightward, leftward], strict=True
            ):
                trace.y = values.tolist()
        self._verdict.value = _words(rightward, leftward)


def _slider(name: str, value: float) -> controls.FloatLogSlider:
    low, high = (float(torch.tensor(end).log10()) for end in _RANGES[name])
    return controls.FloatLogSlider(
        value, min=low, max=high, step=0.01, description=_LABELS[name], readout_format=".2f",
        style={"description_width": "120px"}, layout=ipywidgets.Layout(width="520px"),
    )  # fmt: skip


def _words(rightward: Tensor, leftward: Tensor) -> str:
    preference, count = rightward - leftward, len(rightward)
    blind = 1e-6 * max(1e-6, float(torch.cat([rightward, leftward]).abs().max()))
    right, left = int((preference > blind).sum()), int((preference < -blind).sum())
    if right == left == 0:
        return "answers nothing at any speed"
    if not (right and left):
        return f"prefers {'right' if right else 'left'} at {right or left} of {count} speeds"
    return f"prefers right at {right} and left at {left} of {count} speeds"
