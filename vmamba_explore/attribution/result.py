"""What an attribution method gives back: a map in natural clip order, and how it was made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, get_args

import torch
import xarray as xr
from einops import reduce as einops_reduce
from jaxtyping import Float
from torch import Tensor

from vmamba_explore.attribution.conservation import Conservation
from vmamba_explore.errors import shown
from vmamba_explore.tokens import TokenGrid
from vmamba_explore.trace.trace import TokenLabels

Part = Literal["signed", "positive", "abs"]


@dataclass
class Cost:
    """Clips through the model, clips with a gradient, and wall-clock seconds."""

    forward: int = 0
    backward: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Found:
    """What a method finds; `attribute` makes an `Attribution` of it, whose fields these are."""

    values: Tensor
    baseline_output: Tensor | None = None
    convergence_delta: Tensor | None = None
    details: Any = None


@dataclass(frozen=True, eq=False)
class Attribution:
    """How much each place of a clip contributed to one number that a model gave.

    Attributes:
        values: On the pixels, (batch, channels, num_frames, height, width), or on the tokens,
            (batch, seqlen), the class token included; natural clip order. In units of the
            explained number where `convergence_delta` is not None, else of the method's own scale.
        method: Its name.
        call: The other arguments of `attribute`; with them the model gives the same values again.
        target: The class of each clip, (batch,), its direction, (batch, outputs), or the `State`
            that was explained.
        output: The number that was explained, (batch,): the target's logit, less that of `minus`.
        baseline_output: The same for the baseline, where the method compares with one.
        convergence_delta: The values' sum less (`output - baseline_output`), or less `output`
            without a baseline, (batch,), where the method promises that sum.
        cost: Clips through the model, gradients, seconds.
        labels: Places and times of the tokens.
        details: What else the method found, such as a `Conservation` (mamba_lrp).
        model_id: A fingerprint of the weights.
    """

    values: Tensor
    method: str
    call: Mapping[str, Any]
    target: Any
    output: Float[Tensor, " batch"]
    baseline_output: Float[Tensor, " batch"] | None
    convergence_delta: Float[Tensor, " batch"] | None
    cost: Cost
    labels: TokenLabels
    details: Any = field(default=None, repr=False)
    model_id: str = ""

    @property
    def space(self) -> Literal["pixels", "tokens"]:
        """Where the values stand."""
        return "pixels" if self.values.ndim == 5 else "tokens"

    @property
    def cls(self) -> Float[Tensor, batch * frame] | None:
        """What falls on the class token, (batch,), or on that of every frame, (batch, frame); None
        on pixels or without a class token."""
        return None if self.space == "pixels" else self.labels.grid.split(self.values)[1]

    @property
    def conservation(self) -> Conservation:
        """The ledger of a relevance method: where all of the logit is.

        Raises:
            ValueError: the method has none.
        """
        if not isinstance(self.details, Conservation):
            raise ValueError(
                f"Attribution.conservation: {self.method} keeps no ledger of where the logit is; "
                "method='mamba_lrp' does."
            )
        return self.details

    def pixels(self) -> Float[Tensor, "batch num_frames height width"]:
        """The map on the pixels, summed over the colors.

        Raises:
            ValueError: the method works on tokens.
        """
        if self.space == "tokens":
            raise ValueError(
                f"Attribution.pixels: {self.method} attributes to tokens, one number for each "
                "tubelet; use tokens()."
            )
        return self.values.sum(1)

    def tokens(self, part: Part = "signed") -> Float[Tensor, "batch frame row col"]:
        """The map on the token grid; pixels are summed over each tubelet.

        Args:
            part: "signed", "positive" (negative values count as 0) or "abs"; taken after the sum
                over the colors and before the sum over a tubelet.
        Raises:
            ValueError: an unknown part.
        """
        if part not in get_args(Part):
            raise ValueError(
                f"Attribution.tokens: part must be signed, positive or abs, got {shown(part)}."
            )
        grid = self.labels.grid
        values = self.values.sum(1) if self.space == "pixels" else grid.split(self.values)[0]
        if part != "signed":
            values = values.clamp_min(0) if part == "positive" else values.abs()
        if self.space == "tokens":
            return values
        return einops_reduce(
            values, "b (t x) (h y) (w z) -> b t h w", "sum", t=grid.frames, h=grid.rows, w=grid.cols
        )

    def frames(self, part: Part = "signed") -> Float[Tensor, "batch frame"]:
        """What falls on each token frame; see `tokens`."""
        return self.tokens(part).sum((2, 3))

    def array(self, clip: int = 0, part: Part = "signed") -> xr.DataArray:
        """The token map of one clip: dims frame, row, col, coordinates clip_frame and seconds."""
        values, over = self.tokens(part)[clip].float(), ("frame", "row", "col")
        attrs = {"quantity": f"attribution by {self.method}", "method": self.method, "part": part}
        return self.labels.frames(values, clip, "attribution", over=over).assign_attrs(attrs)

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.values.shape))
        parts = [f"Attribution by {self.method} on {self.space} ({shape})"]
        if self.convergence_delta is not None:
            parts.append(f"sum misses by {float(self.convergence_delta.abs().max()):.2g}")
        cost = self.cost
        parts.append(f"{cost.forward} clips forward, {cost.backward} back, {cost.seconds:.2f} s")
        return ", ".join(parts)


def joined(groups: Iterable[Any]) -> Any:
    """Join the results for groups of clips: a dataclass or mapping field by field, and deeper.

    Tensors are concatenated along the batch; anything else is taken from the first group.
    """
    first, *_ = each = list(groups)
    if isinstance(first, Tensor):
        return torch.cat(each)
    if isinstance(first, Mapping):
        return {key: joined(one[key] for one in each) for key in first}
    if is_dataclass(first) and not isinstance(first, type):
        names = [field.name for field in fields(first)]
        return replace(first, **{n: joined(getattr(one, n) for one in each) for n in names})
    return first


def with_cls(values: Tensor, grid: TokenGrid, cls: float | int = 0) -> Tensor:
    """Values of video tokens, (batch, ...), as (batch, seqlen), `cls` at class tokens."""
    video = values.reshape(len(values), grid.num_patches, 1)
    return grid.insert_cls(video, video.new_full((len(video), 1, 1), cls)).squeeze(-1)


def finite(values: Tensor, method: str) -> Tensor:
    """The values, detached.

    Raises:
        FloatingPointError: one of them is not finite.
    """
    if not bool(torch.isfinite(values).all()):
        raise FloatingPointError(
            f"attribute: {method} gave values that are not finite. Look at the clip and the "
            "baseline for NaN or infinite pixels, and at the model's logits."
        )
    return values.detach()
