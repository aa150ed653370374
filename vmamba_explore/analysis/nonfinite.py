"""Where a model's numbers stop being finite, and how large they grow on the way there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from vmamba_explore.errors import few
from vmamba_explore.hooks import HookPoint, attached, hook_points, plain
from vmamba_explore.model.contrast import Classes, class_numbers
from vmamba_explore.model.mixer import Block
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.places import natural_tokens, scans, usable
from vmamba_explore.trace.record import Clips, as_batch

LOOKED_AT = ("block_input", "x", "z", "u", "delta", "B", "C", "write", "h", "y", "out")
_GRADIENT = "gradient of "
_LOSS = nn.functional.cross_entropy
_HALF = torch.finfo(torch.float16).max
PIXELS = ("pixel channel", "clip frame", "pixel row", "pixel column")


@dataclass(frozen=True)
class NonFinite:
    """The first number of a run that is not finite.

    Args:
        quantity: What it is: "clips", the name of a hook point without `hook_`, "normed" (what a
            block's norm gives), "gated" (what its out_proj gets), "norm_f" or "logits"; "gradient
            of" one of these.
        value: inf, -inf or nan.
        dtype: Of the value, such as "float16".
        layer: Block number; None before the first block and after the last.
        direction: "forward" or "backward"; None where both have it in common.
        clip: Place in the batch.
        token: Natural index of the token, the first in the order in which the scan reads, or the
            first in natural order where there is no direction or in a gradient; None for pixels
            and logits.
        position: (frame, row, col) of the token; None for the class token.
        index: Where it is among the values of that token, by axis name.
        share: How many of the clip's numbers of this quantity are not finite, 0..1.
    """

    quantity: str
    value: float
    dtype: str
    layer: int | None
    direction: str | None
    clip: int
    token: int | None
    position: tuple[int, int, int] | None
    index: dict[str, int]
    share: float

    def __str__(self) -> str:
        what = _named(self.layer, self.direction, self.quantity)
        token = ""
        if self.token is not None and self.position is None:
            token = f", token {self.token} (the class token)"
        elif self.token is not None:
            token = f", token {self.token} (frame, row, col {self.position})"
        at = "".join(f", {axis} {place}" for axis, place in self.index.items())
        return (
            f"{self.value} in {what} ({self.dtype}): clip {self.clip}{token}{at}; "
            f"{100 * self.share:.3g} % of that clip's numbers there are not finite"
        )


@dataclass(frozen=True, eq=False)
class FiniteReport:
    """Result of `first_nonfinite`; `print` it.

    Attributes:
        first: The first number that is not finite; None where all are.
        largest: A row for each quantity, in the order in which they are computed, up to the first
            that is not finite: layer, direction ("" where both have it in common), quantity,
            dtype, `largest` (magnitude of its finite numbers) and `share` (of the largest number
            that the dtype holds).
        weights: How many numbers are not finite in each weight that has such.
    """

    first: NonFinite | None
    largest: pd.DataFrame
    weights: dict[str, int]

    def beyond(self, dtype: torch.dtype) -> pd.DataFrame:
        """The rows of `largest` whose magnitude another type, such as float16, does not hold."""
        return self.largest[self.largest["largest"] > torch.finfo(dtype).max]

    def __str__(self) -> str:
        lines = [f"Every number of the run is finite, in {len(self.largest)} quantities."]
        if self.first is not None:
            lines = [f"The first number that is not finite: {self.first}."]
        if self.weights:
            names = (f"{name} ({count} numbers)" for name, count in self.weights.items())
            lines.append(f"Weights that are not finite: {few(names)}.")
        rows = self.largest.dropna(subset="largest")
        if len(rows):
            row = rows.loc[rows["share"].idxmax()]
            limit = torch.finfo(getattr(torch, row["dtype"])).max
            half = "" if row["dtype"] == "float16" else f"; float16 holds up to {_HALF:.3g}"
            lines.append(
                f"Nearest to its type's limit: {row['largest']:.3g} in {_of_row(row)} "
                f"({row['dtype']} holds up to {limit:.3g}{half})."
            )
            types = (getattr(torch, name) for name in set(rows["dtype"]))
            narrow = min(types, key=lambda dtype: torch.finfo(dtype).max)
            if len(beyond := self.beyond(narrow)):
                names = (f"{_of_row(row)} ({row['largest']:.3g})" for _, row in beyond.iterrows())
                lines.append(f"Larger than {narrow} holds: {few(names)}.")
        return "\n".join(lines)


def first_nonfinite(
    model: VideoMamba,
    clips: Clips,
    labels: Classes | None = None,
    *,
    loss_scale: float | int = 1.0,
    progress: bool = True,
) -> FiniteReport:
    """Find the first number of a run that is NaN or infinite, and what led to it.

    The clips run one after the other, in the model's own precision (under `torch.autocast`, in
    that of autocast), with the arithmetic of an ordinary run, up to the first clip that has such a
    number. The states of one scan are held at a time. Blocks that edit the model apply.

    Args:
        model: The model.
        clips: A tensor (batch, channels, num_frames, H, W), a `Clip`, or a list of them.
        labels: Where training fails: the class of each clip, number or name. Where all of the run
            is finite, the gradients of the cross-entropy are looked at too, from the logits back to
            the first block (those of states and writes are inside the scan's, and left out).
        loss_scale: What the cross-entropy is multiplied by, as by a gradient scaler for float16.
        progress: Whether to show a bar.
    Raises:
        ValueError: clips of another shape than the model's, no such class, or labels for a model
            without a head.
    """
    model = plain(model)
    batch = as_batch(model, clips)
    classes = None
    if labels is not None:
        head = model.check_head("first_nonfinite")
        classes = class_numbers(
            labels, len(batch), model.config.num_classes, "first_nonfinite: labels",
            names=model.class_names, device=head.weight.device,
        )  # fmt: skip
    seen: dict[tuple[Any, ...], dict[str, Any]] = {}
    first = None
    total = len(batch) * len(model.layers)
    with tqdm(total=total, desc="first_nonfinite", unit="layer", disable=not progress) as bar:
        for number, clip in enumerate(batch):
            label = None if classes is None else classes[[number]]
            first = _Watch(model, seen, bar).run(usable(clip[None]), label, float(loss_scale))
            if first is not None:
                first = replace(first, clip=number)
                break
    columns = ["layer", "direction", "quantity", "dtype", "largest", "share"]
    largest = pd.DataFrame(list(seen.values()), columns=columns)
    largest["layer"] = largest["layer"].astype("Int64")
    largest["direction"] = largest["direction"].fillna("")
    weights = {
        name: bad
        for name, weight in model.named_parameters()
        if (bad := int((~weight.detach().isfinite()).sum()))
    }
    return FiniteReport(first, largest, weights)


class _Found(Exception):
    """Ends a run at the first number that is not finite."""

    def __init__(self, place: NonFinite) -> None:
        super().__init__()
        self.place = place


class _Watch:
    """Looks at everything that one clip's run computes, in its order."""

    def __init__(
        self, model: VideoMamba, seen: dict[tuple[Any, ...], dict[str, Any]], bar: tqdm
    ) -> None:
        self.model, self.seen, self.bar = model, seen, bar
        self.tokens = natural_tokens(model)
        self.still = model.with_constant_weights()  # its module hooks are its own

    def run(self, clip: Tensor, label: Tensor | None, loss_scale: float) -> NonFinite | None:
        points = hook_points(self.model)
        names = [name for name in points if name.rpartition("hook_")[2] in LOOKED_AT]
        self.backward = label is not None
        try:
            with (
                torch.inference_mode(False),
                torch.set_grad_enabled(self.backward),
                self.model.recomputing(False),
                attached(self.model, [(name, self.point) for name in names]),
                self.modules(),
            ):
                self.look(clip, "clips", ("batch", *PIXELS))
                logits = self.still(clip)
                self.look(logits, "logits", ("batch", "class"))
                if label is not None:
                    (_LOSS(logits.float(), label) * loss_scale).backward()
        except _Found as found:
            return found.place
        return None

    def point(self, value: Tensor, point: HookPoint) -> Tensor | None:
        _, layer, *_, quantity = point.name.split(".")
        direction = point.name.partition(".ssm_")[2].partition(".")[0] or None
        start = self.backward and not value.requires_grad
        if start:  # what enters the first block
            value = value.detach().requires_grad_()
        self.look(value, quantity.removeprefix("hook_"), point.axes, int(layer), direction)
        self.bar.update(quantity == "hook_out")
        return value if start else None

    @contextmanager
    def modules(self) -> Iterator[None]:
        """Look at what has no hook point."""
        with_tokens = ("batch", "seqlen", "d_model")

        def after(quantity: str, layer: int | None) -> Callable[..., None]:
            return lambda module, given, value: self.look(
                value, quantity, with_tokens[: 1 + (value.ndim > 2)] + ("d_model",), layer
            )

        def before(quantity: str, layer: int) -> Callable[..., None]:
            return lambda module, given: self.look(
                given[0], quantity, ("batch", "seqlen", "d_inner"), layer
            )

        handles = [self.still.norm_f.register_forward_hook(after("norm_f", None))]
        for layer, module in enumerate(self.still.layers):
            block = cast(Block, module)
            handles.append(block.norm.register_forward_hook(after("normed", layer)))
            out_proj = cast(nn.Module, block.mixer.out_proj)
            handles.append(out_proj.register_forward_pre_hook(before("gated", layer)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def look(
        self,
        value: Tensor,
        quantity: str,
        axes: tuple[str, ...],
        layer: int | None = None,
        direction: str | None = None,
    ) -> None:
        """Note how large a value is; raise `_Found` where it is not finite.

        Where gradients are asked for, the same is done to its gradient when that is there.
        """
        beside = quantity in ("write", "h") or quantity.startswith(_GRADIENT)
        if value.requires_grad and not beside:
            back = partial(
                self.look, quantity=_GRADIENT + quantity, axes=axes, layer=layer,
                direction=direction,
            )  # fmt: skip
            value.register_hook(back)
        value = value.detach()
        largest = _magnitude(value)
        sound = math.isfinite(largest)
        if not sound:
            rest = value[value.isfinite()]
            largest = float(rest.abs().max()) if rest.numel() else math.nan
        row = self.seen.setdefault(
            (layer, direction, quantity),
            {
                "layer": layer,
                "direction": direction,
                "quantity": quantity,
                "dtype": str(value.dtype).removeprefix("torch."),
                "largest": largest,
            },
        )
        row["largest"] = max(largest, row["largest"])
        row["share"] = row["largest"] / torch.finfo(value.dtype).max
        if not sound:
            bad = ~value[0].isfinite()
            raise _Found(self._place(value[0], bad, quantity, axes[1:], layer, direction))

    def _place(
        self,
        value: Tensor,
        bad: Tensor,
        quantity: str,
        axes: tuple[str, ...],
        layer: int | None,
        direction: str | None,
    ) -> NonFinite:
        """The first place of one clip's value that is not finite."""
        share, token, position = float(bad.float().mean()), None, None
        if "seqlen" in axes:
            axis = axes.index("seqlen")
            value, bad = value.movedim(axis, 0), bad.movedim(axis, 0)
            axes = tuple(name for name in axes if name != "seqlen")
            steps = torch.arange(len(value))
            forward = not quantity.startswith(_GRADIENT)
            if layer is not None and direction is not None and forward:
                steps = scans(self.model, layer, direction)[0].ssm.steps(len(value)).cpu()
            place = int(steps[bad.flatten(1).any(1).cpu()[steps].int().argmax()])
            value, bad = value[place], bad[place]
            token = int(self.tokens[place])
            position = self.model.grid.position(token)
        index = [int(i) for i in bad.nonzero()[0]]
        return NonFinite(
            quantity,
            float(value[tuple(index)]),
            str(value.dtype).removeprefix("torch."),
            layer,
            direction,
            0,
            token,
            position,
            dict(zip(axes, index, strict=True)),
            share,
        )


def _magnitude(value: Tensor) -> float:
    """The largest magnitude, in one pass in the order of memory; not finite where one is not."""
    ordered = value.permute(sorted(range(value.ndim), key=lambda axis: -value.stride()[axis]))
    least, most = ordered.aminmax()
    return max(-float(least), float(most), key=lambda each: math.inf if math.isnan(each) else each)


def _of_row(row: Any) -> str:
    return _named(row["layer"], row["direction"], row["quantity"])


def _named(layer: Any, direction: str | None, quantity: str) -> str:
    where = "" if pd.isna(layer) else f" of layer {layer}"
    return f"{quantity}{where}" + (f", {direction}" if direction else "")
