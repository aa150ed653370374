"""StateStepper: one channel's states, token by token."""

from __future__ import annotations

import ipywidgets
import traitlets
from jaxtyping import Float
from torch import Tensor

from vmamba_explore.studies.teaching.live_figure import LiveFigure
from vmamba_explore.studies.teaching.scan_figures import step_title, token_colors, token_step
from vmamba_explore.view.figures.layout import THEME_CSS
from vmamba_explore.view.widgets import controls


class StateStepper(controls.VBox):
    """Step through a scan: at each token, what every state keeps and what is written into it.

    Args:
        u: Scan input of one channel.
        written: B_bar u, what each token adds to each state.
        h: States, as `selective_scan_with_states` gives them.
        token: Where to start.

    The trait `token` follows the slider and can be set; outside becomes the nearest inside.
    """

    token = traitlets.Int(0)

    def __init__(
        self,
        u: Float[Tensor, " seqlen"],
        written: Float[Tensor, "d_state seqlen"],
        h: Float[Tensor, "d_state seqlen"],
        token: int = 0,
    ) -> None:
        self._kept, self._written = (h - written).detach(), written.detach()
        last = h.shape[-1] - 1
        start = min(max(token, 0), last)
        self.figure = LiveFigure(token_step(u, written, h, start))
        style = controls.HTML(f"<style>{THEME_CSS}</style>")
        self.slider = controls.IntSlider(
            start, 0, last, description="token", layout=ipywidgets.Layout(width="480px")
        )
        play = controls.Play(value=start, min=0, max=last, interval=250)
        self._played = ipywidgets.jslink((play, "value"), (self.slider, "value"))
        row = controls.HBox([play, self.slider, style])
        super().__init__([row, self.figure], token=start)
        traitlets.link((self, "token"), (self.slider, "value"))

    def close(self) -> None:
        """Close the widget and all that it holds."""
        self._played.close()
        super().close()

    @traitlets.validate("token")
    def _inside(self, proposal: traitlets.Bunch) -> int:
        return min(max(proposal["value"], 0), self._kept.shape[-1] - 1)

    @traitlets.observe("token")
    def _show(self, change: traitlets.Bunch) -> None:
        token, seqlen = self.token, self._kept.shape[-1]
        marks, kept, written = self.figure.data
        with self.figure.batch_update():
            marks.marker.color = token_colors(token, seqlen)
            kept.y, written.y = (x[:, token].tolist() for x in (self._kept, self._written))
            self.figure.layout.title.text = step_title(token, seqlen)
