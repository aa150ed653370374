"""The explained number of a clip when only some of its units are there."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from vmamba_explore.attribution.baselines import Baselines, make_baselines
from vmamba_explore.attribution.problem import Problem, State, chunks
from vmamba_explore.attribution.result import with_cls
from vmamba_explore.attribution.units import Units

_CUT = "b c (t x) (h y) (w z) -> b c t x h y w z"


class Game:
    """A game in the sense of Shapley: units are the players, the explained number is the gain.

    `game(present, which)` gives the number with only some units present, without gradient, in
    slices that fit the memory budget; it counts what goes through the model.

    Args:
        problem: What is explained.
        units: The players.
        baselines: What replaces an absent unit, see `make_baselines`; "dropped": its tokens are
            left out after they got their positions, as `model.only_tokens` does. Without any
            token, a model without class token gives the head's bias.
    Raises:
        ValueError: wrong baselines; or tokens are dropped and the target is a `State`.
    """

    def __init__(self, problem: Problem, units: Units, baselines: Baselines = "blur") -> None:
        self.problem, self.units = problem, units
        self.dropped = isinstance(baselines, str) and baselines == "dropped"
        if self.dropped and isinstance(problem.target, State):
            raise ValueError(
                "attribute: baselines='dropped' shortens the sequence, and the target is a State "
                "at one of its places. Choose a baseline with pixels, such as 'blur'."
            )
        self.base = None if self.dropped else make_baselines(problem, baselines)

    @torch.no_grad()
    def __call__(
        self, present: Bool[Tensor, "rows n_units"], which: Int64[Tensor, " rows"]
    ) -> Float[Tensor, " rows"]:
        """Give the explained number of each row, at least float32.

        Args:
            present: Whether each unit is there.
            which: For which of the problem's clips each row stands.
        """
        problem = self.problem
        if not isinstance(problem.target, State):
            return problem.pick(self.logits(present, which), which)
        slices = self._slices(len(which))
        return torch.cat([problem(self.clips(present[r], which[r]), which[r]) for r in slices])

    @torch.no_grad()
    def logits(
        self, present: Bool[Tensor, "rows n_units"], which: Int64[Tensor, " rows"]
    ) -> Float[Tensor, "rows outputs"]:
        """Give the output, logits or features, of each row; arguments as for a call."""
        model = self.problem.model
        self.problem.cost.forward += len(which)
        if self.dropped:
            return self._without(present, which)
        slices = self._slices(len(which))
        return torch.cat([model(self.clips(present[rows], which[rows])) for rows in slices])

    def clips(self, present: Bool[Tensor, "rows n_units"], which: Int64[Tensor, " rows"]) -> Tensor:
        """The clips with only some units, (rows, channels, num_frames, height, width)."""
        assert self.base is not None
        tokens = self.units.tokens(present, which)
        return blend(tokens, self.problem.inputs[which], self.base[which])

    def _slices(self, rows: int) -> list[slice]:
        return list(chunks(rows, self.problem.limits.forward_rows))

    def _without(self, present: Tensor, which: Tensor) -> Tensor:
        """The logits without the other units' tokens.

        Rows share a batch where token count, class token and backward order are the same.
        """
        model, grid = self.problem.model, self.units.grid
        kept = with_cls(self.units.tokens(present, which), grid, True).cpu()
        place = (kept.cumsum(1) - 1).where(kept, -1)
        order = model.config.backward_order or "spatiotemporal"
        backward = place[:, grid.backward_indices(order)]
        groups: dict[bytes, list[int]] = {}
        for row, reads in enumerate(backward):
            cls_place = place[row, list(grid.cls_indices)].numpy().tobytes()
            groups.setdefault(reads[reads >= 0].numpy().tobytes() + cls_place, []).append(row)
        logits = present.new_empty(len(which), model.num_outputs, dtype=torch.float64)
        for members in groups.values():
            tokens = torch.stack([kept[row].nonzero()[:, 0] for row in members])
            for part in self._slices(len(members)):
                rows = torch.tensor(members[part], device=which.device)
                logits[rows] = self._kept(which[rows], tokens[part]).to(logits)
        return logits.to(model.norm_f.weight.dtype)

    def _kept(self, which: Tensor, tokens: Tensor) -> Tensor:
        """The logits when each row keeps its own natural indices `tokens`, (rows, kept)."""
        model = self.problem.model
        if not tokens.shape[1]:
            nothing = model.norm_f.weight.new_zeros(len(which), model.config.d_model)
            return nothing if model.head is None else model.head(nothing)
        with model.only_tokens(tokens[0]):
            residual = model.tokens(self.problem.inputs[which])
            places = tokens.to(residual.device).unsqueeze(-1).expand(-1, -1, residual.shape[-1])
            residual = residual.gather(1, places)
            for layer in model.layers:
                residual = layer(residual)
            return model.read_out(residual)


def blend(tokens: Tensor, clips: Tensor, base: Tensor) -> Tensor:
    """Show a clip where a token mask is on and the baseline, of the clip's shape, where it is off.

    Args:
        tokens: (rows, frame, row, col), bool, or 0 to 1 for a mixture, differentiable.
        clips: (rows, channels, num_frames, height, width).
        base: The same.
    """
    _, frames, rows, cols = tokens.shape
    t, h, w = (size // n for size, n in zip(clips.shape[2:], (frames, rows, cols), strict=True))
    mask = tokens.view(len(tokens), 1, frames, 1, rows, 1, cols, 1)
    there, instead = (rearrange(each, _CUT, x=t, y=h, z=w) for each in (clips, base))
    if tokens.dtype == torch.bool:
        mixed = torch.where(mask, there, instead)
    else:
        mixed = torch.lerp(instead, there, mask.to(there))
    return rearrange(mixed, "b c t x h y w z -> b c (t x) (h y) (w z)")
