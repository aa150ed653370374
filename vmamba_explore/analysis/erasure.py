"""After a jump: how much of the old position can still be read, and how much was to be expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.analysis.clip_targets import circle, cut_clips
from vmamba_explore.analysis.frame_states import FrameStates, collect, cut_stops
from vmamba_explore.analysis.probes import (
    IntervalArray,
    Job,
    check_pair,
    held_out_r2,
    inner_products,
    labeled,
    predicted,
)
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.clips.motion_plan import TURN
from vmamba_explore.errors import check_choice
from vmamba_explore.hooks import plain
from vmamba_explore.intervals import Interval
from vmamba_explore.model.videomamba import VideoMamba

LAGS = (0, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192)
"""Tokens read since the jump."""

_QUANTITIES = ("r2", "share", "inputs", "retention")


@dataclass(frozen=True, eq=False)
class AfterCut:
    """How much of the old position can be read some tokens after the object jumped.

    After the jump the object stands or moves elsewhere, at a pose drawn independently, so no frame
    says where it was. At lag 0 the direction has read the last token before the jump. Shares are
    R^2 as a part of that at lag 0.

    A state can get the old position by two ways: it kept it, or the tokens that it reads brought
    it, because earlier layers have mixed the frames. `inputs` tells them apart: the R^2 of the old
    position in the block's own input tokens of the frame being read. In layer 0 they are pixels.

    Args:
        layers, directions: What was read.
        lags: Tokens read since the jump.
        per_frame: Tokens of a frame.
        r2, r2_low, r2_high: R^2 of the old position, with its 95 % interval over test clips.
        share, share_low, share_high: R^2 at the lag over R^2 at lag 0, likewise.
        inputs, inputs_low, inputs_high: R^2 from the block's input tokens of the frame; NaN for
            layers whose inputs were not collected.
        retention, retention_low, retention_high: What was to be expected from delta and A alone:
            the part of the state at lag 0 that is left, exp(A (S - S_0)) averaged over channels
            and state numbers, weighted by how much stands in each. Mean over the test clips, with
            the limits of the lowest and the highest quarter of them.
        train, test: Clips.
    """

    layers: tuple[int, ...]
    directions: tuple[str, ...]
    lags: tuple[int, ...]
    per_frame: int
    r2: Float[np.ndarray, "layer direction lag"]
    r2_low: Float[np.ndarray, "layer direction lag"]
    r2_high: Float[np.ndarray, "layer direction lag"]
    share: Float[np.ndarray, "layer direction lag"]
    share_low: Float[np.ndarray, "layer direction lag"]
    share_high: Float[np.ndarray, "layer direction lag"]
    inputs: Float[np.ndarray, "layer direction lag"]
    inputs_low: Float[np.ndarray, "layer direction lag"]
    inputs_high: Float[np.ndarray, "layer direction lag"]
    retention: Float[np.ndarray, "layer direction lag"]
    retention_low: Float[np.ndarray, "layer direction lag"]
    retention_high: Float[np.ndarray, "layer direction lag"]
    train: int
    test: int

    def array(self, quantity: str = "share") -> xr.DataArray:
        """Return r2, share, inputs or retention: dims layer, direction, lag (in tokens).

        Coordinates: `frames`, the lag in token frames, and the ends of the interval, low and high.

        Raises:
            ValueError: an unknown quantity.
        """
        check_choice("AfterCut: quantity", quantity, _QUANTITIES)
        dims = {"layer": self.layers, "direction": self.directions, "lag": self.lags}
        values, low, high = (getattr(self, quantity + end) for end in ("", "_low", "_high"))
        array = labeled(quantity, dims, values, low, high)
        return array.assign_coords(frames=("lag", np.array(self.lags) / self.per_frame))


def collect_after_cut(
    model: VideoMamba,
    clips: MotionClips,
    count: int,
    boundary: int,
    edge: str = "either",
    layers: Sequence[int] | None = None,
    inputs: Sequence[int] = (0,),
    lags: Sequence[int] = LAGS,
    budget_gib: float = 2.0,
) -> FrameStates:
    """Run clips whose object jumps between two token frames, and keep the states from there on.

    Args:
        model: The model.
        clips: The series to take them from; the first clips that jump there are chosen.
        count: How many.
        boundary: The first token frame after the jump.
        edge: "end": the object moves before the jump and stands after it; "start": the other way
            round; "either".
        layers, inputs, budget_gib: As for `frame_states.collect`.
        lags: Tokens since the jump, ascending, from 0; each direction has its own, those beyond
            the end of the clip left out.
    """
    model = plain(model)
    chosen = cut_clips(clips, count, boundary, model.config.tubelet_size, edge)
    stops = cut_stops(model, boundary, lags)
    return collect(model, clips, chosen, layers, inputs, stops, budget_gib=budget_gib)


def after_cut(
    train: FrameStates,
    test: FrameStates,
    boundary: int,
    lags: Sequence[int] = LAGS,
    resamples: int = 1000,
    seed: int = 0,
) -> AfterCut:
    """Read the old position from the states that follow a jump.

    At each lag a probe is fitted and judged anew, so that what has moved to another place in the
    state still counts as remembered. A direction that reads the frames from the last to the first
    meets the jump from the other side: its old position is that after the jump.

    Args:
        train, test: From `collect_after_cut`.
        boundary, lags: As there.
        resamples, seed: Of the bootstrap.
    Raises:
        ValueError: the object of some clip does not jump there, or `train` and `test` hold
            different layers, directions or stops.
    """
    check_pair(train, test)
    cut = boundary * train.tubelet_size
    for states in (train, test):
        first, last = states.plan.windows.T
        if not ((first == cut) | (last + 1 == cut)).all():
            raise ValueError(
                f"after_cut: not every clip jumps before clip frame {cut} (token frame {boundary});"
                " collect_after_cut chooses those that do."
            )
    if max(map(len, train.stops.values())) > len(lags):
        raise ValueError(
            f"after_cut: got {len(lags)} lags for {[len(s) for s in train.stops.values()]} stops; "
            "give the lags that the states were collected with."
        )
    layers, directions, n = train.layers, train.directions, len(test)
    found = {name: IntervalArray(len(layers), len(directions), len(lags)) for name in _QUANTITIES}

    def read(job: Job, train: Tensor, test: Tensor) -> np.ndarray:
        (guess,) = predicted(*inner_products(train, test), [job])
        return held_out_r2(job, guess, resamples, seed)

    places = list(product(range(len(layers)), range(len(directions))))
    for a, b in tqdm(places, desc="probing after the jump", unit="place", leave=False):
        layer, direction = layers[a], directions[b]
        forward_in_time = train.orders[direction][0] < boundary
        clip_frame = cut - 1 if forward_in_time else cut
        job = Job(old_position(train, clip_frame), old_position(test, clip_frame), False)
        weights = test.features(layer, direction, 0, like=train).abs()
        by_frame: dict[int, Interval] = {}
        for stop, token in enumerate(train.stops[direction]):
            features = (
                train.features(layer, direction, stop),
                test.features(layer, direction, stop, like=train),
            )
            r2 = read(job, *features)
            if stop == 0:
                start = r2
            found["r2"][a, b, stop] = Interval.of_draws(r2, n)
            found["share"][a, b, stop] = Interval.of_draws(r2 / start, n)
            left = fading(test, layer, direction, stop)
            kept = ((left * weights).sum(dim=1) / weights.sum(dim=1)).numpy()
            low, high = np.quantile(kept, [0.25, 0.75]).tolist()
            found["retention"][a, b, stop] = Interval(float(kept.mean()), low, high, n)
            place = train.grid.position(token)
            if place is not None and layer in train.inputs and layer in test.inputs:
                if place[0] not in by_frame:
                    tokens = (each.inputs[layer][:, place[0]] for each in (train, test))
                    by_frame[place[0]] = Interval.of_draws(read(job, *tokens), n)
                found["inputs"][a, b, stop] = by_frame[place[0]]
    per_frame = train.grid.rows * train.grid.cols
    arrays = {
        name + end: part
        for name, each in found.items()
        for end, part in (("", each.values), ("_low", each.low), ("_high", each.high))
    }
    return AfterCut(
        layers, directions, tuple(lags), per_frame, **arrays, train=len(train), test=len(test)
    )


def fading(
    states: FrameStates, layer: int, direction: str, stop: int
) -> Float[Tensor, "clips feature"]:
    """Return what the state at the first stop has been multiplied by at a later one.

    exp(A (S_stop - S_0)), S the sum of delta. So much is left however the tokens in between write.
    """
    place = (layer, direction)
    time = states.elapsed[place][:, stop] - states.elapsed[place][:, 0]
    return torch.exp(states.A[place].double() * time.unsqueeze(-1)).flatten(1)


def old_position(states: FrameStates, clip_frame: int) -> Float[np.ndarray, "clips column"]:
    """Where the object is in one clip frame: cosine and sine of x and y."""
    phases = states.plan.target.poses[:, clip_frame, :2] / TURN
    return circle(phases)
