"""Which states carry what a clip has shown across a boundary: how long each lasts, what each does.

A state is one number: a channel and a state index of one scan. That it lasts says that it could
carry something; that something can be read from it says that it is there. Whether the answer
depends on it is decided by changing it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.analysis.decay import Place, decay, frame_tokens, places, stack
from vmamba_explore.analysis.patching import by_clip
from vmamba_explore.analysis.probes import IntervalArray, labeled
from vmamba_explore.hooks import plain
from vmamba_explore.intervals import proportion
from vmamba_explore.model.contrast import Classes, Contrast, class_numbers
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.past import Past, record_past, reset_state, swap_state
from vmamba_explore.trace.places import Frames, Layers, numbers, scans
from vmamba_explore.trace.record import Clips, as_batch
from vmamba_explore.trace.trace import Trace

DIMS = ("layer", "direction", "channel", "state")
OPERATIONS = ("only these kept", "these reset", "these swapped")
"""What `state_surgery` does at the boundary, convolution tails included, but for the swap."""


@dataclass(frozen=True, eq=False)
class StateEffects:
    """What each state brings of a donor's answer when the donor's states are put in.

    With m the donor's logit less the clip's own and h the states at the boundary, the effect of a
    state is its part of m(h of the donor) - m(h of the clip) along the straight line between the
    two (integrated gradients): the parts of all states sum to the whole.

    Args:
        values: Logits, mean over clips: layer, direction, channel, state.
        plain: m of the clips, (clip,).
        swapped: m with all the donor's states put in, (clip,).
        residual: How far the sum of the effects is from swapped - plain, as a share of it.
    Source:
        Sundararajan, Taly and Yan 2017, arXiv:1703.01365.
    """

    values: xr.DataArray
    plain: xr.DataArray
    swapped: xr.DataArray
    residual: float


@dataclass(frozen=True, eq=False)
class StateSurgery:
    """Which clips are answered as they should while some states are kept, reset or swapped.

    Args:
        right: Bool: operation, order, share, clip. Right is the clip's own label, after "these
            swapped" the donor's.
        plain: Bool: without surgery, (clip,).
    """

    right: xr.DataArray
    plain: xr.DataArray

    @property
    def accuracy(self) -> xr.DataArray:
        """The share of right answers: operation, order, share; coords low and high, 95 %."""
        values = self.right.transpose(..., "clip").values
        found = IntervalArray(*values.shape[:-1])
        for place in np.ndindex(*values.shape[:-1]):
            found[place] = proportion(values[place])
        dims = {name: self.right[name].values.tolist() for name in ("operation", "order", "share")}
        return labeled("accuracy", dims, found.values, found.low, found.high)


def state_half_lives(trace: Trace, frames: tuple[int, int]) -> xr.DataArray:
    """Measure how long each state of all recorded scans lasts in a part of the clip.

    At the mean step size that its channel has over the tokens of these frames and all clips of the
    batch: ln 2 / (|A| times the sum of delta over a frame).

    Args:
        trace: Holds `hook_delta` of the scans.
        frames: First and last token frame of the part.
    Returns:
        Token frames: dims layer, direction, channel, state.
    Raises:
        KeyError: delta was recorded nowhere.
        ValueError: the clip does not have these frames.
    """
    first, last = frames
    if not 0 <= first <= last < trace.grid.frames:
        raise ValueError(
            f"state_half_lives: frames are {first} to {last}, expected a first and a last of 0 to "
            f"{trace.grid.frames - 1}."
        )
    found = {}
    for layer, direction in places(trace, None, None, "half-lives"):
        fading = decay(trace, layer, direction)
        delta = trace[f"layers.{layer}.mixer.ssm_{direction}.hook_delta"].detach().double()
        tokens = torch.cat(frame_tokens(trace.grid, fading.steps)[first : last + 1])
        passed = delta[..., tokens].mean(0).sum(-1) / (last + 1 - first)  # a frame, by channel
        found[layer, direction] = math.log(2) / (passed[:, None] * fading.A.abs())
    return _by_state(found).rename("half-life").assign_attrs(unit="token frames")


def state_effects(
    model: VideoMamba,
    clips: Clips,
    donors: Clips,
    labels: Classes,
    donor_labels: Classes,
    frame: Frames,
    *,
    direction: str | None = None,
    layers: Layers = None,
    steps: int = 8,
    batch_size: int = 8,
) -> StateEffects:
    """Split what the donors' states do to the answer among all states at one boundary.

    Donors that differ from their clips in one thing alone, such as the color of the sample, ask
    for the states that carry that thing.

    Args:
        model: The model.
        clips: One or several clips.
        donors: As many, whose states are put in.
        labels: The clips' classes.
        donor_labels: What would be right with the donors' past and the clips' future.
        frame: The boundary before this token frame; or one for each clip.
        direction, layers: Whose states; as for `reset_state`.
        steps: Places along the straight line at which the gradient is taken.
        batch_size: Clips at a time.
    Returns:
        A `StateEffects`. Shows a progress bar; nothing stays behind when it is interrupted.
    Raises:
        ValueError: there are not as many donors as clips; the model does not have this class,
            boundary, direction or layer; or `steps` is less than 1.
    """
    if steps < 1 or batch_size < 1:
        raise ValueError(
            f"state_effects: steps is {steps} and batch_size {batch_size}, expected at least 1."
        )
    names = ("donor_labels", "labels")
    model = plain(model)
    ours, theirs = as_batch(model, clips), as_batch(model, donors)
    if len(ours) != len(theirs):
        raise ValueError(f"state_effects: got {len(ours)} clips and {len(theirs)} donors.")
    contrast = Contrast.of(model, len(ours), donor_labels, labels, "state_effects", names=names)
    whose = {(scan.layer, scan.direction) for scan in scans(model, layers, direction)}
    still = model.with_constant_weights()
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    line = list(zip((nodes + 1) / 2, weights / 2, strict=True))
    effects: dict[Place, Tensor] = {}
    ends: dict[str, list[Tensor]] = {"plain": [], "swapped": []}
    batches = torch.arange(len(ours)).split(batch_size)
    with tqdm(total=len(batches) * steps, desc="state effects", unit="step", leave=False) as bar:
        for rows in batches:
            at = _boundaries(frame, rows)
            measure = contrast.take(rows).of_logits
            with torch.no_grad():
                own, other = (
                    record_past(still, each[rows], sorted({*numbers(at)})).of(whose)
                    for each in (ours, theirs)
                )
                ends["plain"].append(measure(still(ours[rows])))
                with swap_state(still, at, other, direction=direction, layers=layers):
                    ends["swapped"].append(measure(still(ours[rows])))
            for place, weight in line:
                with torch.enable_grad():
                    between = {
                        key: (state + place * (other.states[key] - state)).requires_grad_()
                        for key, state in own.states.items()
                    }
                    donor = replace(own, states=between)
                    with swap_state(still, at, donor, direction=direction, layers=layers):
                        moved = measure(still(ours[rows])).sum()
                    slopes = torch.autograd.grad(
                        moved, list(between.values()), materialize_grads=True
                    )
                for key, slope in zip(between, slopes, strict=True):
                    part = weight * slope.double() * (other.states[key] - own.states[key]).double()
                    effects[key[:2]] = effects.get(key[:2], 0) + part.sum(0) / len(ours)
                bar.update()
    before, swapped = (torch.cat(ends[name]).double() for name in ("plain", "swapped"))
    values = _by_state(effects).rename("effect").assign_attrs(unit="logits")
    whole = float((swapped - before).mean())
    missing = abs(float(values.sum()) - whole)
    residual = missing / abs(whole) if whole else (math.inf if missing else 0.0)
    return StateEffects(values, by_clip(before), by_clip(swapped), residual)


def top_states(values: xr.DataArray, share: int | float) -> xr.DataArray:
    """Mark the states with the largest values, a share of all states of all scans together.

    Args:
        values: A number for each state, such as a half-life or an effect.
        share: 0 to 1.
    Returns:
        Bool, shaped like `values`: what `reset_state` and `swap_state` take as `states`.
    Raises:
        ValueError: a share out of range, or a value that is not a number.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"top_states: share is {share}, expected 0 to 1.")
    if bool(values.isnull().any()):
        raise ValueError("top_states: some values are NaN, and cannot be ranked.")
    flat = values.values.ravel()
    chosen = np.zeros(flat.shape, bool)
    chosen[np.argsort(-flat, kind="stable")[: round(share * flat.size)]] = True
    return values.copy(data=chosen.reshape(values.shape)).rename("chosen").drop_attrs()


def state_surgery(
    model: VideoMamba,
    clips: Clips,
    labels: Classes,
    frame: Frames,
    orders: Mapping[str, xr.DataArray],
    shares: Sequence[int | float],
    donors: Clips | None = None,
    donor_labels: Classes | None = None,
    *,
    batch_size: int = 16,
) -> StateSurgery:
    """Keep, reset or swap the first states of several orders at a boundary, and count the answers.

    "Only these kept" resets all other states and the convolution tails, "these reset" resets these
    and the tails; so a share of 0 is the same as everything reset in the one, and as tails alone in
    the other. "These swapped" puts the donors' in, and leaves all else alone.

    Args:
        model: The model.
        clips: Several clips, best others than those that the orders were made with.
        labels: Their classes.
        frame: The boundary before this token frame; or one for each clip.
        orders: By name, a number for each state: the largest come first; see `top_states`. States
            of scans that an order does not hold are left alone.
        shares: Of the states, 0 to 1.
        donors: As many clips, for "these swapped"; None: no swap.
        donor_labels: What would be right with the donors' past and the clips' future.
        batch_size: Clips at a time.
    Returns:
        A `StateSurgery`. Shows a progress bar; nothing stays behind when it is interrupted.
    Raises:
        ValueError: no order or share, or donors without labels or of another number.
    """
    model = plain(model)
    batch = as_batch(model, clips)
    given = None if donors is None else as_batch(model, donors)
    swaps = 0 if given is None else len(given)
    if (given is None) != (donor_labels is None) or swaps not in (0, len(batch)):
        raise ValueError(
            f"state_surgery: got {len(batch)} clips, {swaps} donors and "
            f"{'no ' if donor_labels is None else ''}donor_labels, expected as many donors as "
            "clips and their labels, or neither."
        )
    if not orders or not len(shares):
        raise ValueError(
            f"state_surgery: got {len(orders)} orders and {len(shares)} shares, expected at least "
            "one of each."
        )
    model.check_head("state_surgery")
    count = model.config.num_classes
    named, call = model.class_names, "state_surgery: {}".format
    own = class_numbers(labels, len(batch), count, call("labels"), names=named).cpu()
    wanted = dict.fromkeys(OPERATIONS[:2], own)
    if donor_labels is not None:
        theirs = class_numbers(donor_labels, len(batch), count, call("donor_labels"), names=named)
        wanted[OPERATIONS[2]] = theirs.cpu()
    masks = {(name, share): top_states(order, share)
             for name, order in orders.items() for share in shares}  # fmt: skip
    right = np.zeros((len(wanted), len(masks), len(batch)), bool)
    unhurt = np.zeros(len(batch), bool)
    parts = torch.arange(len(batch)).split(batch_size)
    total = len(parts) * len(wanted) * len(masks)
    with tqdm(total=total, desc="state surgery", unit="run", leave=False) as bar, torch.no_grad():
        for rows in parts:
            at = _boundaries(frame, rows)
            unhurt[rows] = (model(batch[rows]).argmax(1).cpu() == own[rows]).numpy()
            past = None
            if given is not None:
                past = record_past(model, given[rows], sorted({*numbers(at)}))
            for i, (operation, truth) in enumerate(wanted.items()):
                for j, mask in enumerate(masks.values()):
                    with _surgery(model, at, operation, mask, past):
                        answers = model(batch[rows]).argmax(1).cpu()
                    right[i, j, rows] = (answers == truth[rows]).numpy()
                    bar.update()
    coords = {"operation": list(wanted), "order": list(orders), "share": list(shares)}
    values = right.reshape(len(wanted), len(orders), len(shares), -1)
    found = xr.DataArray(values, coords, (*coords, "clip"), "right")
    return StateSurgery(found, xr.DataArray(unhurt, dims=["clip"]))


def _surgery(
    model: VideoMamba, frame: Frames, operation: str, states: xr.DataArray, donor: Past | None
) -> AbstractContextManager[None]:
    held = states["direction"].values.tolist()
    where: dict[str, Any] = {
        "direction": held[0] if len(held) == 1 else None,
        "layers": states["layer"].values.tolist(),
    }
    if operation == "these swapped" and donor is not None:
        return swap_state(model, frame, donor, states=states, **where)
    reset = ~states if operation == "only these kept" else states
    return reset_state(model, frame, states=reset, tail=True, **where)


def _boundaries(frame: Frames, rows: Tensor) -> Frames:
    """The boundaries of some of the clips."""
    return [frame[i] for i in rows.tolist()] if isinstance(frame, Sequence) else frame


def _by_state(found: Mapping[Place, Tensor]) -> xr.DataArray:
    """Put numbers (channel, state) of several scans together."""
    arrays = {
        place: xr.DataArray(values.cpu().numpy(), dims=DIMS[2:]) for place, values in found.items()
    }
    return stack(arrays)
