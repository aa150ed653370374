"""The gradient of the explained number at every scan, one block at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from vmamba_explore.analysis.frozen_scan import FrozenScan
from vmamba_explore.attribution.problem import Problem, State
from vmamba_explore.attribution.result import Found
from vmamba_explore.errors import shown
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

    @classmethod
    def of(
        cls, problem: Problem, name: str, chosen: Sequence[Scan], groups: list[dict[Scan, Tensor]]
    ) -> ScanParts:
        """Put together what was measured at the chosen scans, (batch, seqlen) each, by groups."""
        layers = tuple(dict.fromkeys(scan.layer for scan in chosen))
        directions = tuple(dict.fromkeys(scan.direction for scan in chosen))
        rows = torch.cat([torch.stack([group[scan] for scan in chosen], 1) for group in groups])
        values = rows.unflatten(1, (len(layers), len(directions)))
        return cls(values, layers, directions, name, problem.labels)

    @property
    def cls(self) -> Float[Tensor, "batch layer direction *frame"] | None:
        """What falls on the class token, or on that of every frame; None without one."""
        return self.labels.grid.split(self.values)[1]

    def array(self, clip: int = 0) -> xr.DataArray:
        """The video tokens' numbers of one clip: dims layer, direction, frame, row, col."""
        dims = {"layer": self.layers, "direction": self.directions}
        return self.labels.array(self.values[clip], clip, self.name, dims)


def frozen_scan(found: ScanGradient, target: Tensor | State) -> tuple[FrozenScan, Tensor]:
    """Freeze a scan, without its skip D: the operator, and what the explained number asks of it.

    Args:
        found: Has u, delta, B, C and y.
        target: What is explained.
    """
    ssm, read = found.scan.ssm, found.gradients["y"]
    delta, B, C = (at_least_float32(found.values[name]) for name in ("delta", "B", "C"))
    A = ssm.A.detach()
    frozen = FrozenScan.around(ssm, delta, A, B, C, torch.zeros_like(A[:, 0]))
    if isinstance(target, State) and target.hook == ssm.hook_h.name:
        # the state itself is what is read: a C that is 1 in its place, at its token
        C = torch.zeros_like(C)
        C[:, target.state] = 1
        read = torch.zeros_like(read)
        read[:, target.channel, target.token] = 1
        frozen = replace(frozen, C=C, leaves_out_own=False)
    return frozen, at_least_float32(read)


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
            f"layers={shown(layers)}, expected some of 0 to {last}."
        )
    return found


def scan_gradients(
    problem: Problem, chosen: Sequence[Scan], of: Sequence[Quantity]
) -> Iterator[ScanGradient]:
    """Go back through the blocks, last first, and stop at each chosen scan.

    Of each block its input is kept, and the block is run again when its turn comes: never more
    than one block's gradient is held. So all clips go at once; see `Problem.parts`.

    Args:
        chosen: See `chosen_scans`.
        of: What to look at; as long as it is u, B and C alone, the scans run fused.
    """
    model, target = problem.model, problem.target
    last = target.layer if isinstance(target, State) else len(model.layers) - 1
    lowest = min(scan.layer for scan in chosen)
    entering = []
    with torch.no_grad():
        residual = model.tokens(problem.inputs)
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


def _products(found: ScanGradient) -> Tensor:
    return torch.stack([found.product(name) for name in found.values]).sum(0)


def over_scans(
    problem: Problem,
    of: Sequence[Quantity],
    name: str,
    layers: Layers = None,
    direction: str | None = None,
    measure: Callable[[ScanGradient], Tensor] = _products,
) -> ScanParts:
    """Measure something at each chosen scan, a few clips at a time, with a bar.

    Args:
        of: What to look at.
        name: Of what is measured.
        layers, direction: See `chosen_scans`.
        measure: Gives (batch, seqlen); by default value times gradient, summed over `of`.
    Raises:
        ValueError: as `chosen_scans`.
    """
    chosen = chosen_scans(problem, layers, direction)
    groups: list[dict[Scan, Tensor]] = []
    with problem.watched(name, "scan", total=problem.batch * len(chosen)) as bar:
        for part in problem.parts():
            groups.append({})
            for found in scan_gradients(part, chosen, of):
                groups[-1][found.scan] = measure(found)
                bar.update(part.batch)
    return ScanParts.of(problem, name, chosen, groups)


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
    """Run a block again on `entry`: the number's gradient there, and what the chosen scans show.

    `upstream` is the gradient for what leaves the block; None where the number is a state in it.
    """
    values: dict[str, Tensor] = {}
    number: list[Tensor] = []

    def keep(value: Tensor, point: HookPoint) -> None:
        values[point.name] = value

    names = {scan.ssm.hook_u.name.removesuffix("u"): scan for scan in chosen}
    hooks: list[tuple[str, HookFunction]] = [(at + q, keep) for at in names for q in of]
    if isinstance(state := problem.target, State) and upstream is None:
        hooks.append((state.hook, lambda h, _: number.append(state.of(h))))
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
