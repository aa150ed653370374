"""What an attribution method gives back: a map in natural clip order, and how it was made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
import xarray as xr
from einops import reduce as einops_reduce
from jaxtyping import Float
from torch import Tensor

from vmamba_explore.attribution.conservation import Conservation
from vmamba_explore.trace.trace import TokenLabels

Part = Literal["signed", "positive", "abs"]


@dataclass
class Cost:
    """What an attribution took.

    Args:
        forward: Clips that went through the model.
        backward: Clips that a gradient came back for.
        seconds: Wall-clock time.
    """

    forward: int = 0
    backward: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Found:
    """What a method finds; `attribute` makes an `Attribution` of it.

    Args:
        values: On the pixels, (batch, channels, num_frames, height, width), or on the tokens,
            (batch, seqlen), the class token included.
        baseline_output: What the model gives for the baseline, (batch,), where there is one.
        convergence_delta: By how much the values miss their sum, (batch,), where it is defined.
        details: Whatever else the method found, of its own type.
    """

    values: Tensor
    baseline_output: Tensor | None = None
    convergence_delta: Tensor | None = None
    details: Any = None

    @classmethod
    def joined(cls, parts: Iterable[Found]) -> Found:
        """One for all clips, of those for groups of them; details become a list of theirs."""
        found = list(parts)

        def all_of(name: str) -> Tensor | None:
            values = [getattr(part, name) for part in found]
            return None if values[0] is None else torch.cat(values)

        details = [part.details for part in found]
        return cls(
            torch.cat([part.values for part in found]),
            all_of("baseline_output"),
            all_of("convergence_delta"),
            None if all(part is None for part in details) else details,
        )


@dataclass(frozen=True, eq=False)
class Attribution:
    """How much each place of a clip contributed to one number that a model gave.

    Attributes:
        values: On the pixels, (batch, channels, num_frames, height, width), or on the tokens,
            (batch, seqlen), the class token included. Natural clip order; in units of the
            explained number for methods that split it up (`convergence_delta` is not None),
            otherwise of the method's own scale.
        method: Its name.
        call: The arguments of `attribute` besides the model and the clips: with them the same
            model gives the same values again.
        target: The class of each clip, (batch,), or the `State` that was explained.
        output: The number that was explained, (batch,): the target's logit, less that of `minus`.
        baseline_output: The same for the baseline, where the method compares with one.
        convergence_delta: By how much the values' sum misses `output - baseline_output`
            (`output` without a baseline), (batch,), where the method promises that sum.
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
    def cls(self) -> Float[Tensor, " batch"] | None:
        """What falls on the class token, (batch,); None on pixels or without a class token."""
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
            part: "signed"; "positive", the positive values only; or "abs", their sizes. The part
                is taken before the sum over a tubelet, and after that over the colors.
        Raises:
            ValueError: an unknown part.
        """
        if part not in get_args(Part):
            raise ValueError(
                f"Attribution.tokens: part must be signed, positive or abs, got {part!r}."
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
