"""The states that a model hands on from frame to frame, or at chosen tokens, for many clips."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.clips.clip import normalize
from vmamba_explore.clips.labeled import PlannedClips
from vmamba_explore.edits import Addition, editing
from vmamba_explore.errors import shown
from vmamba_explore.hooks import plain
from vmamba_explore.model.mixer import Block
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.tokens import TokenGrid
from vmamba_explore.trace.places import Scan, scans
from vmamba_explore.trace.record import GIB, TraceBudgetError, as_batch

Place = tuple[int, str]
"""A layer and a direction."""


@dataclass(frozen=True, eq=False)
class FrameStates:
    """States handed on at certain stops of the scans, and what the clips showed.

    Args:
        plan: What is true in the clips, as the series' `plan` gives it.
        tubelet_size: Clip frames in a token frame.
        grid: Where the tokens stand.
        stops: By direction, the natural indices of the tokens after which the states were taken;
            one for each token frame, unless others were chosen.
        states: By layer and direction.
        elapsed: Sum of delta over all tokens read by then; differences of it are the time that the
            states have faded for. float64.
        reading: Root mean square of C over all clips and tokens; see `features`.
        A: Decay rates, negative.
        orders: By direction, the token frames in the order in which its scan ends them.
        inputs: By layer, what the block was given: the tokens of each frame, side by side. That of
            layer 0 are the tokens with their positions, as the model cut them from the clip.
    """

    plan: Any
    tubelet_size: int
    grid: TokenGrid
    stops: Mapping[str, tuple[int, ...]]
    states: Mapping[Place, Float[Tensor, "clips stop d_inner d_state"]]
    elapsed: Mapping[Place, Float[Tensor, "clips stop d_inner"]]
    reading: Mapping[Place, Float[Tensor, " d_state"]]
    A: Mapping[Place, Float[Tensor, "d_inner d_state"]]
    orders: Mapping[str, tuple[int, ...]]
    inputs: Mapping[int, Float[Tensor, "clips frame feature"]]

    def __len__(self) -> int:
        return len(self.plan.labels)

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers collected."""
        return tuple(dict.fromkeys(layer for layer, _ in self.states))

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions collected, forward first."""
        return tuple(self.stops)

    def features(
        self, layer: int, direction: str, stop: int, like: FrameStates | None = None
    ) -> Float[Tensor, "clips feature"]:
        """Return the state at a stop, in a measure without arbitrary scale.

        B times c and C / c make the same model with c times the state, so each state number is
        multiplied by how strongly it is read: h * rms(C). The rms is over all clips and tokens,
        one constant per state number. Taken clip by clip it would tell the state of frame 0 about
        tokens that no scan has read yet.

        Args:
            layer, direction: Whose state.
            stop: Place in `stops`: the token frame, unless other stops were chosen.
            like: Where to take rms(C) from, for example the training clips; None: from these.
        """
        place = (layer, direction)
        reading = (like or self).reading[place]
        return (self.states[place][:, stop] * reading).flatten(1)


def collect(
    model: VideoMamba,
    clips: PlannedClips,
    indices: Sequence[int] | Int64[np.ndarray, " clips"],
    layers: Sequence[int] | None = None,
    inputs: Sequence[int] = (0,),
    stops: Mapping[str, Sequence[int]] | None = None,
    batch_size: int = 20,
    budget_gib: float = 2.0,
) -> FrameStates:
    """Run clips and keep the states handed on, by default at the end of each token frame.

    "The end" is the direction's own: after the token of the frame that its scan reads last.

    Args:
        model: The model.
        clips: The series to take them from, such as `MotionClips` or `RecallClips`.
        indices: Which clips.
        layers: Whose states to keep; None: all.
        inputs: Layers whose inputs to keep, too.
        stops: By direction, the natural indices of the tokens after which to take the states,
            in any order; None: those that end a token frame. A direction left out is not kept.
        batch_size: Clips at a time.
        budget_gib: The most that may be kept, GiB.
    Raises:
        ValueError: there is no such layer, direction or token, no clip, or clips of another size
            than the model's.
        TraceBudgetError: it would be over budget; nothing has run.
    """
    model = plain(model)
    config, grid = model.config, model.grid
    layers = range(config.depth) if layers is None else layers
    scans(model, [*layers, *inputs])  # raises where there is no such layer
    wanted = np.asarray(indices, dtype=np.int64)
    if not wanted.size or not len(layers):
        raise ValueError(
            f"collect: got {wanted.size} clips and {len(layers)} layers, expected at least one."
        )
    ends = {name: frame_ends(model, name) for name in config.directions}
    tokens = _stops(model, {name: each.tolist() for name, (_, each) in ends.items()}, stops)
    places = {
        (scan.layer, scan.direction): scan
        for layer in layers
        for scan in scans(model, layer)
        if scan.direction in tokens
    }
    n, frames, width = len(wanted), grid.frames, grid.rows * grid.cols * config.d_model
    size = n * (
        len(layers) * sum(map(len, tokens.values())) * config.d_inner * (4 * config.d_state + 8)
        + 4 * len(inputs) * frames * width
    )
    if size > budget_gib * GIB:
        raise TraceBudgetError(
            f"collect: {n} clips at {len(places)} places would take {size / GIB:.2f} GiB; the "
            f"budget is {budget_gib:.2f} GiB. Choose fewer clips or layers, or pass budget_gib="
            f"{math.ceil(size / GIB)}."
        )
    shape = {place: (n, len(tokens[place[1]]), config.d_inner) for place in places}
    kept = FrameStates(
        plan=clips.plan(wanted),
        tubelet_size=config.tubelet_size,
        grid=grid,
        stops=tokens,
        states={place: torch.empty(*shape[place], config.d_state) for place in places},
        elapsed={place: torch.empty(*shape[place], dtype=torch.float64) for place in places},
        reading={place: torch.zeros(config.d_state) for place in places},
        A={place: scan.ssm.A.detach().cpu() for place, scan in places.items()},
        orders={name: tuple(ends[name][0].argsort().tolist()) for name in tokens},
        inputs={layer: torch.empty(n, frames, width) for layer in inputs},
    )
    starts = tqdm(range(0, n, batch_size), desc="states of clips", unit="batch", leave=False)
    with torch.inference_mode():
        for start in starts:
            rows = slice(start, start + batch_size)
            pixels, _ = clips.batch(wanted[rows])
            with editing(*_edits(model, kept, places, rows)):
                model(as_batch(model, normalize(pixels)))
    for squares in kept.reading.values():
        squares.div_(n * grid.seqlen).sqrt_()
    return kept


def frame_ends(
    model: VideoMamba, direction: str
) -> tuple[Int64[Tensor, " frame"], Int64[Tensor, " frame"]]:
    """Return the step at which a direction's scan ends each token frame, and the token it reads."""
    grid = model.grid
    steps = scans(model, 0, direction)[0].ssm.steps(grid.seqlen).cpu()
    step_of, frame_of = steps.argsort(), grid.frame_of_tokens()
    ends = torch.stack([step_of[frame_of == frame].max() for frame in range(grid.frames)])
    return ends, steps[ends]


def cut_stops(model: VideoMamba, boundary: int, lags: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Return the tokens that each direction reads so many tokens after a boundary between frames.

    Args:
        model: The model.
        boundary: The first token frame after it, in natural order.
        lags: Tokens read since the last one before the boundary, ascending, from 0. Those beyond
            the end of the clip are left out.
    Raises:
        ValueError: the boundary is not inside the clip, or the lags do not ascend from 0.
    """
    grid = model.grid
    if not 0 < boundary < grid.frames:
        raise ValueError(
            f"cut_stops: boundary is {boundary}, expected 1 to {grid.frames - 1}: it is the first "
            "token frame after the jump."
        )
    if not len(lags) or lags[0] != 0 or list(lags) != sorted(set(lags)):
        raise ValueError(f"cut_stops: lags are {list(lags)}, expected 0 and then larger ones.")
    stops = {}
    for scan in scans(model, 0):
        ends, _ = frame_ends(model, scan.direction)
        start = int(min(ends[:boundary].max(), ends[boundary:].max()))
        steps = scan.ssm.steps(grid.seqlen).tolist()
        stops[scan.direction] = tuple(
            steps[start + lag] for lag in lags if start + lag < grid.seqlen
        )
    return stops


def _stops(
    model: VideoMamba,
    ends: Mapping[str, Sequence[int]],
    chosen: Mapping[str, Sequence[int]] | None,
) -> dict[str, tuple[int, ...]]:
    """The stops of each direction, checked, forward first."""
    if chosen is not None and not chosen:
        raise ValueError("collect: stops name no direction, expected at least one; None: all.")
    for name, tokens in (chosen or {}).items():
        wrong = [token for token in tokens if not 0 <= token < model.grid.seqlen]
        if name not in ends or wrong or not tokens:
            raise ValueError(
                f"collect: stops are {list(tokens)} of direction {shown(name)}; expected tokens 0 "
                f"to {model.grid.seqlen - 1}, at least one, of {' or '.join(map(repr, ends))}."
            )
    wanted = ends if chosen is None else chosen
    return {name: tuple(wanted[name]) for name in ends if name in wanted}


def _edits(
    model: VideoMamba, kept: FrameStates, places: Mapping[Place, Scan], rows: slice
) -> Iterator[Addition]:
    """Write states, elapsed time, the size of C, and block inputs of some clips into `kept`."""
    for place, scan in places.items():
        order = scan.ssm.steps(model.grid.seqlen)
        stops = kept.stops[scan.direction]
        for at, token in enumerate(stops):
            yield scan.ssm.handovers, (token, partial(_keep, kept.states[place][rows], at))
        steps = order.argsort()[list(stops)]
        keep_time = partial(_keep_time, kept.elapsed[place][rows], order, steps)
        yield scan.ssm.hook_delta.functions, keep_time
        yield scan.ssm.hook_C.functions, partial(_add_squares, kept.reading[place])
    for layer, inputs in kept.inputs.items():
        block = cast(Block, model.layers[layer])
        yield block.hook_block_input.functions, partial(_keep_video, model.grid, inputs[rows])


def _keep(into: Tensor, stop: int, state: Tensor) -> None:
    into[:, stop] = state


def _keep_time(into: Tensor, order: Tensor, steps: Tensor, delta: Tensor, _: object) -> None:
    into[:] = delta[..., order].double().cumsum(dim=-1)[..., steps].mT.cpu()


def _add_squares(into: Tensor, C: Tensor, _: object) -> None:
    into += C.float().square().sum(dim=(0, 2)).cpu()


def _keep_video(grid: TokenGrid, into: Tensor, values: Tensor, _: object) -> None:
    into[:] = grid.split(values, dim=1)[0].flatten(2).cpu()
