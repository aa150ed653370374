"""How relevance flows: which layer and direction hold it, and what their states carry over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from vmamba_explore.analysis.frame_states import frame_ends
from vmamba_explore.attribution.conservation import Conservation
from vmamba_explore.attribution.lrp import relevance_passes, token_ledger
from vmamba_explore.attribution.lrp_rules import ALL_RULES, ModifiedBlock
from vmamba_explore.attribution.methods import Target, make_problem
from vmamba_explore.attribution.result import joined
from vmamba_explore.hooks import plain
from vmamba_explore.model.contrast import Classes
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.record import Clips
from vmamba_explore.trace.trace import TokenLabels


@dataclass(frozen=True, eq=False)
class RelevanceFlow:
    """The relevance of a logit inside a model, by MambaLRP with all its rules.

    The relevance at a block's output goes past the mixer (`skipped`) or to the outputs of its
    directions (`frames` and `cls`), half of that to the gate and half into the scan, mostly to its
    state. With h_t the state after token t, y_t = C_t h_t + D u_t, v = df/dy and
    lambda_t = df/dh_t::

        state       sum_{d,n} h_t lambda_t                  all that is read of h_t, by t or later
        handed_on   sum_{d,n} h_t (lambda_t - C_t v_t)      what later tokens alone read of it

    where t is the last token of a frame that the scan reads. `handed_on` crosses time there;
    nothing crosses after the last token read. It leaves out the convolution before the scan, which
    hands on too, over d_conv - 1 tokens.

    Attributes:
        frames: Relevance of what a direction gives out at a frame's tokens, (batch, layer,
            direction, frame), logits.
        cls: The same at the class token, (batch, layer, direction), or None.
        handed_on: Relevance carried by the state out of each token frame to what is read after it,
            (batch, layer, direction, frame), logits.
        state: Relevance of the whole state there, (batch, layer, direction, frame), logits.
        orders: By direction, the token frames in the order in which its scan ends them.
        conservation: The ledger.
        labels: Places and times of the tokens.
    """

    frames: Float[Tensor, "batch layer direction frame"]
    cls: Float[Tensor, "batch layer direction"] | None
    handed_on: Float[Tensor, "batch layer direction frame"]
    state: Float[Tensor, "batch layer direction frame"]
    orders: dict[str, tuple[int, ...]]
    conservation: Conservation
    labels: TokenLabels

    @property
    def directions(self) -> tuple[str, ...]:
        """The names on the axis `direction`."""
        return tuple(self.orders)

    @property
    def by_direction(self) -> Float[Tensor, "batch layer direction"]:
        """Relevance of all that a direction gives out, logits."""
        total = self.frames.sum(-1)
        return total if self.cls is None else total + self.cls

    @property
    def skipped(self) -> Float[Tensor, "batch layer"]:
        """Relevance that passes by a block's mixer on the residual stream, logits."""
        return self.conservation.by_layer[:, 1:] - self.by_direction.sum(-1)

    def array(self, clip: int = 0) -> xr.Dataset:
        """One clip, labeled: `frames`, `handed_on` and `state` over layer, direction, frame."""
        dims = ("layer", "direction", "frame")
        coords = {
            "layer": np.arange(self.frames.shape[1]),
            "direction": list(self.directions),
            **self.labels.frame_coords(clip),
        }
        values = {
            name: (dims, np.array(getattr(self, name)[clip].float().cpu().numpy(), order="C"))
            for name in ("frames", "handed_on", "state")
        }
        return xr.Dataset(values, coords, {"unit": "logits"})


def relevance_flow(
    model: VideoMamba,
    clips: Clips,
    target: Target = None,
    *,
    minus: Classes | None = None,
    budget_gib: float | int = 1.0,
    progress: bool = True,
) -> RelevanceFlow:
    """Follow the relevance of a logit through layers, directions and time.

    Args:
        model, clips, target, minus, budget_gib, progress: As for `attribute`; no `State`.
    Raises:
        As `attribute` and `mamba_lrp`.
    Source:
        Rules: Jafari et al. 2024, arXiv:2406.07592; the relevance of directions and states is
        beyond the paper.
    """
    model = plain(model)
    ends = {name: frame_ends(model, name) for name in model.config.directions}
    found: dict[int, list[Tensor]] = {layer: [] for layer in range(len(model.layers))}

    def visit(layer: int, run: ModifiedBlock, of_o: Tensor, of_y: dict[str, Tensor]) -> None:
        rows = [_row(run, name, of_o, of_y[name], ends[name][1]) for name in ends]
        found[layer].append(torch.stack(rows, dim=1))  # (batch, direction, quantity)

    with torch.inference_mode(False), torch.enable_grad():
        problem = make_problem(
            model.with_constant_weights(), clips, target,
            minus=minus, budget_gib=budget_gib, progress=progress,
        )  # fmt: skip
        ledgers = [
            token_ledger(part, passed, ALL_RULES)[1]
            for part, passed in relevance_passes(problem, ALL_RULES, visit)
        ]
    values = torch.stack([torch.cat(parts) for parts in found.values()], dim=1)
    seqlen, frames = model.grid.seqlen, model.grid.frames
    tokens, handed_on, state = values.split([seqlen, frames, frames], dim=-1)
    grid = model.grid
    cls = None if grid.cls_index is None else tokens[..., grid.cls_index]
    orders = {name: tuple(steps.argsort().tolist()) for name, (steps, _) in ends.items()}
    return RelevanceFlow(
        frames=grid.by_frame(tokens),
        cls=cls,
        handed_on=handed_on,
        state=state,
        orders=orders,
        conservation=joined(ledgers),
        labels=problem.labels,
    )


@torch.no_grad()
def _row(run: ModifiedBlock, name: str, of_o: Tensor, of_y: Tensor, ends: Tensor) -> Tensor:
    """One direction: relevance of every token's o, then handed on and held after each frame,
    (batch, seqlen + 2 frames)."""
    scan, tokens = run.scans[name], ends.to(of_y.device)
    given = (run.y[name] * run.gate * of_o).sum(1)
    h, asked = scan.states(run.u[name], tokens), scan.adjoint_states(of_y, tokens)
    state = (h * asked).sum((1, 2))
    read = torch.einsum("bdnt,bnt,bdt->bt", h, scan.C[..., tokens], of_y[..., tokens])
    return torch.cat([given, state - read, state], dim=1)
