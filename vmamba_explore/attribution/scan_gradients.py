"""The gradient of the explained number at every scan, one block at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.attribution.problem import Problem, State
from vmamba_explore.attribution.result import Found
from vmamba_explore.hooks import HookFunction, HookPoint, attached
from vmamba_explore.model.ssm import at_least_float32
from vmamba_explore.trace.places import Layers, Scan, scans
from vmamba_explore.trace.trace import TokenLabels

Quantity = Literal["u", "delta", "B", "C", "y"]


@dataclass(frozen=True, eq=False)
class ScanGradient:
    """What one scan got and gave, and how the explained number changes with each of these.

    Args:
        scan: Layer and direction.
        values: Of u, delta, B, C and y those asked for, by name; natural clip order.
        gradients: The same by name, of the same shapes. Each is the whole gradient at that place:
            what the value does to the number on every path that starts there.
    """

    scan: Scan
    values: dict[Quantity, Tensor]
    gradients: dict[Quantity, Tensor]

    def product(self, name: Quantity) -> Float[Tensor, "batch seqlen"]:
        """Value times gradient, summed over channels (u, delta, y) or states (B, C)."""
        return (at_least_float32(self.values[name]) * self.gradients[name]).sum(1)


@dataclass(frozen=True, eq=False)
class ScanParts:
    """One number per layer, direction and token; the map is their sum, or their mean.

    Attributes:
        values: (batch, layer, direction, seqlen), natural order, the class token included.
        layers: The number of each entry of the axis `layer`.
        directions: The name of each entry of the axis `direction`.
        name: What the values are.
        labels: Places and times of the tokens.
    """

    values: Float[Tensor, "batch layer direction seqlen"]
    layers: tuple[int, ...]
    directions: tuple[str, ...]
    name: str
    labels: TokenLabels

    @property
    def cls(self) -> Float[Tensor, "batch layer direction"] | None:
        """What falls on the class token, None without one."""
        return self.labels.grid.split(self.values)[1]

    def array(self, clip: int = 0) -> xr.DataArray:
        """The video tokens' numbers of one clip: dims layer, direction, frame, row, col."""
        dims = ("layer", "direction")
        array = self.labels.array(self.values[clip], clip, self.name, dims)
        return array.assign_coords(layer=list(self.layers), direction=list(self.directions))


def chosen_scans(problem: Problem, layers: Layers, direction: str | None) -> list[Scan]:
    """The scans that are asked for, from input to output, without those that come too late.

    Raises:
        ValueError: there is no such layer or direction; or the target is a state, and none of
            the layers acts on it.
    """
    found = scans(problem.model, layers, direction)
    if not isinstance(problem.target, State):
        return found
    last = problem.target.layer
    found = [scan for scan in found if scan.layer <= last]
    if not found:
        raise ValueError(
            f"attribute: the target is a State of layer {last}, which no later layer changes; got "
            f"layers={layers!r}, expected some of 0 to {last}."
        )
    return found


def scan_gradients(
    problem: Problem, chosen: Sequence[Scan], of: Sequence[Quantity]
) -> Iterator[ScanGradient]:
    """Go back through the blocks, last first, and stop at each chosen scan.

    Of each block its input is kept, and the block is run again when its turn comes: never more
    than one block's gradient is held. So all clips go at once; see `Problem.parts`.

    Args:
        problem: What to explain.
        chosen: See `chosen_scans`.
        of: What to look at; as long as it is u, B and C alone, the scans run fused.
    """
    model, target = problem.model, problem.target
    last = target.layer if isinstance(target, State) else len(model.layers) - 1
    lowest = min(scan.layer for scan in chosen)
    entering = []
    with torch.no_grad():
        residual = model.embed(problem.inputs)
        for block in model.layers[: last + 1]:
            entering.append(residual)
            residual = block(residual)
    problem.cost.forward += problem.batch
    problem.cost.backward += problem.batch

    upstream = None
    if not isinstance(target, State):
        with torch.enable_grad():
            output = residual.requires_grad_()
            number = problem.pick(model.read_out(output))
        (upstream,) = torch.autograd.grad(number.sum(), output)
        del output, number
    for layer in range(last, lowest - 1, -1):
        entry = entering.pop().detach()
        here = [scan for scan in chosen if scan.layer == layer]
        upstream, found = _through_block(problem, layer, entry, upstream, here, of)
        while found:
            yield found.pop()


def over_scans(
    problem: Problem,
    of: Sequence[Quantity],
    name: str,
    layers: Layers = None,
    direction: str | None = None,
    measure: Callable[[ScanGradient], Tensor] | None = None,
) -> ScanParts:
    """Measure something at each chosen scan, a few clips at a time, with a bar.

    Args:
        problem: What to explain.
        of: What to look at.
        name: Of what is measured.
        layers, direction: See `chosen_scans`.
        measure: Gives (batch, seqlen); None: the sum of value times gradient of all in `of`.
    Raises:
        ValueError: as `chosen_scans`.
    """
    chosen = chosen_scans(problem, layers, direction)
    places = sorted({scan.layer for scan in chosen})
    ways = tuple(dict.fromkeys(scan.direction for scan in chosen))
    shape = (problem.batch, len(places), len(ways), problem.labels.grid.seqlen)
    total: Tensor | None = None
    start = 0
    with tqdm(
        total=problem.batch * len(chosen), desc=name, unit="scan", leave=False,
        disable=not problem.progress,
    ) as bar:  # fmt: skip
        for part in problem.parts():
            for found in scan_gradients(part, chosen, of):
                values = _products(found) if measure is None else measure(found)
                total = values.new_zeros(shape) if total is None else total
                place = places.index(found.scan.layer), ways.index(found.scan.direction)
                total[start : start + part.batch, *place] = values
                bar.update(part.batch)
            start += part.batch
    assert total is not None
    return ScanParts(total, tuple(places), ways, name, problem.labels)


def _products(found: ScanGradient) -> Tensor:
    return torch.stack([found.product(name) for name in found.values]).sum(0)


def as_found(parts: ScanParts) -> Found:
    """The sum over layers and directions as a map."""
    return Found(parts.values.sum((1, 2)), details=parts)


def _through_block(
    problem: Problem,
    layer: int,
    entry: Tensor,
    upstream: Tensor | None,
    chosen: Sequence[Scan],
    of: Sequence[Quantity],
) -> tuple[Tensor | None, list[ScanGradient]]:
    """Run a block again and differentiate it.

    Args:
        entry: What enters it.
        upstream: The number's gradient for what leaves it; None: the number is a state in it.
        chosen: Its scans to look at.
        of: What to look at there.
    Returns:
        The number's gradient for `entry`, and what was found at the scans.
    """
    values: dict[str, Tensor] = {}
    number: list[Tensor] = []

    def keep(value: Tensor, point: HookPoint) -> None:
        values[point.name] = value

    def keep_number(h: Tensor, point: HookPoint) -> None:
        assert isinstance(problem.target, State)
        number.append(h[:, problem.target.channel, problem.target.state, problem.target.token])

    names = {scan.ssm.hook_u.name.removesuffix("u"): scan for scan in chosen}
    hooks: list[tuple[str, HookFunction]] = [(at + q, keep) for at in names for q in of]
    if upstream is None:
        assert isinstance(problem.target, State)
        hooks.append((problem.target.hook, keep_number))
    with torch.enable_grad(), attached(problem.model, hooks):
        output = problem.model.layers[layer](entry.requires_grad_())
        start = output if upstream is not None else number[0].sum()
    wanted = [entry, *values.values()]
    # a state does not depend on its scan's C and y, nor on the other direction
    below, *gradients = torch.autograd.grad(start, wanted, upstream, materialize_grads=True)
    by_name = dict(zip(values, gradients, strict=True))
    return below, [
        ScanGradient(
            scan,
            {q: values[at + q].detach() for q in of},
            {q: by_name[at + q] for q in of},
        )
        for at, scan in names.items()
    ]
