"""What crosses a frame boundary in a scan, and how to replace it by another clip's past."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from vmamba_explore.edits import Addition, editing
from vmamba_explore.model.ssm import SelectiveSSM
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.places import Frames, Layers, Scan, boundary, numbers, scans, usable
from vmamba_explore.trace.record import Clips, as_batch
from vmamba_kernels import causal_conv1d

Key = tuple[int, str, int]


@dataclass(frozen=True, eq=False)
class Past:
    """What crosses the boundaries between frames in each scan of a run.

    This is all that reaches the tokens on the far side from those on the near side through that
    scan: the state, and the last inputs of its convolution.

    Args:
        states: By (layer, direction, frame), the state handed over, (batch, d_inner, d_state).
        tails: By the same, the convolution inputs x of the last d_conv - 1 tokens, in the order in
            which they were read, (batch, d_inner, d_conv - 1).
        frames: The boundaries; k lies before token frame k.
    """

    states: Mapping[Key, Tensor]
    tails: Mapping[Key, Tensor]
    frames: tuple[int, ...]

    @property
    def batch(self) -> int:
        """Clips."""
        return len(next(iter(self.states.values())))

    def take(self, clips: Sequence[int] | Tensor) -> Past:
        """The past of some of the clips, in the order given; a clip may occur more than once."""
        index = torch.as_tensor(clips, dtype=torch.long)
        states = {key: state[index.to(state.device)] for key, state in self.states.items()}
        tails = {key: tail[index.to(tail.device)] for key, tail in self.tails.items()}
        return replace(self, states=states, tails=tails)

    def of(self, places: Collection[tuple[int, str]]) -> Past:
        """The past of some scans only, named by (layer, direction)."""
        states = {key: state for key, state in self.states.items() if key[:2] in places}
        tails = {key: tail for key, tail in self.tails.items() if key[:2] in places}
        return replace(self, states=states, tails=tails)

    def state(self, layer: int, direction: str, frame: int) -> Tensor:
        """The state handed over at one boundary, (batch, d_inner, d_state).

        Raises:
            ValueError: it was not recorded.
        """
        key = (layer, direction, frame)
        if key not in self.states:
            raise ValueError(
                f"This past holds no boundary {frame} of layer {layer}, {direction}; it holds "
                f"boundaries {', '.join(map(str, self.frames))}. record_past makes one, from a "
                "model of the same layers and directions."
            )
        return self.states[key]


def record_past(model: VideoMamba, clips: Clips, frames: Frames | None = None) -> Past:
    """Run the model and record what every scan hands over at the boundaries between frames.

    Boundary k lies before token frame k. A scan that reads frames in natural order hands over the
    past of the frames below k, one that reads them backwards that of k and above. No other state
    is stored: about 0.7 MB a clip for the demo model.

    Args:
        model, clips: As for `run_with_trace`.
        frames: Boundaries, among 1 to token frames - 1; None: all.
    Returns:
        The `Past`. Its tensors keep their graph where gradients are on.
    Raises:
        ValueError: there is no such boundary.
    """
    batch = as_batch(model, clips)
    wanted = tuple(range(1, model.grid.frames) if frames is None else numbers(frames))
    if not wanted:
        raise ValueError(
            "record_past: there is no boundary between frames to record; this model has "
            f"{model.grid.frames} token frames, so its boundaries are 1 to {model.grid.frames - 1}."
            if model.grid.frames > 1
            else "record_past: this model has one token frame, so there is no boundary to record."
        )
    states: dict[Key, Tensor] = {}
    tails: dict[Key, Tensor] = {}
    edits: list[Addition] = []
    for scan in scans(model):
        for frame in wanted:
            crossing, key = boundary(model, scan.ssm, frame), (scan.layer, scan.direction, frame)
            edits += [
                (scan.ssm.handovers, (crossing.handover, partial(states.__setitem__, key))),
                (scan.mixer.hook_x.observers, partial(_keep_tail, tails, key, crossing.before)),
            ]
    with editing(*edits):
        model(batch)
    return Past(states, tails, wanted)


def reset_state(
    model: VideoMamba,
    frame: Frames,
    *,
    direction: str | None = None,
    layers: Layers = None,
    tail: bool = False,
) -> AbstractContextManager[None]:
    """Make scans hand over zeros at a frame boundary, for the duration of the block.

    A boundary is crossed by two things: the state, and in each layer the last d_conv - 1 tokens,
    which the convolution still sees from the other side. With `tail` neither is left: the scan goes
    on as it begins a clip. Without class token, and with every scan reset so, the two sides are
    two clips that know nothing of each other.

    Args:
        model: The model.
        frame: The boundary before this token frame; or one for each clip of the batch.
        direction: "forward", "backward", or None for both.
        layers: One layer, several, or None for all.
        tail: Whether the convolution, too, sees zeros in place of the tokens before the boundary.
            False leaves it alone: the state is what is asked about then, and small answers may
            cross beside it.
    Raises:
        ValueError: there is no such boundary, direction or layer.
    """
    chosen = scans(model, layers, direction)
    edits = _states(model, frame, None, chosen)
    return editing(*edits, *(_tails(model, frame, None, chosen) if tail else ()))


def swap_state(
    model: VideoMamba,
    frame: Frames,
    donor: Past | Tensor,
    *,
    direction: str | None = None,
    layers: Layers = None,
) -> AbstractContextManager[None]:
    """Replace the states that scans hand over at a boundary, for the duration of the block.

    The convolution still reads the clip's own last tokens; `transplant` replaces these too.

    Args:
        model: The model.
        frame, direction, layers: As for `reset_state`.
        donor: The `Past` of other clips, or one state for all scans chosen,
            (batch, d_inner, d_state). A batch of 1 serves every clip.
    Raises:
        ValueError: there is no such boundary, direction or layer, or a state of another shape.
    """
    if not isinstance(donor, Past | Tensor):
        raise ValueError(
            f"swap_state: donor is {type(donor).__name__}, expected what record_past gives, or a "
            "tensor (batch, d_inner, d_state); reset_state puts zeros."
        )
    return editing(*_states(model, frame, donor, scans(model, layers, direction)))


def transplant(
    model: VideoMamba,
    past: Past,
    frame: Frames,
    *,
    direction: str | None = None,
    layers: Layers = None,
) -> AbstractContextManager[None]:
    """Give scans another clip's past at a frame boundary, for the duration of the block.

    Replaces all that crosses the boundary in a scan: the state, and the convolution's inputs of
    the last d_conv - 1 tokens before it. The next d_conv - 1 values of u are recomputed from
    these, and delta, B and C follow. In a model that only reads forward, doing this at every
    layer gives every token from the boundary on the values it has in the spliced clip.

    Args:
        model: The model.
        past: The `Past` of other clips. A batch of 1 serves every clip.
        frame, direction, layers: As for `reset_state`.
    Raises:
        ValueError: there is no such boundary, direction or layer, or the past is of another batch
            or model.
    """
    chosen = scans(model, layers, direction)
    return editing(*_states(model, frame, past, chosen), *_tails(model, frame, past, chosen))


def _states(
    model: VideoMamba, frame: Frames, donor: Past | Tensor | None, chosen: list[Scan]
) -> list[Addition]:
    """The edits that replace the states handed over by those of `donor`, None: by zeros."""
    edits: list[Addition] = []
    for scan in chosen:
        for at in _distinct(frame):
            find = partial(_handover, model, scan.ssm, at)
            find()  # raises where there is no such boundary
            state = (
                donor.state(scan.layer, scan.direction, at) if isinstance(donor, Past) else donor
            )
            edits.append((scan.ssm.handovers, (find, partial(_put_state, state, frame, at))))
    return edits


def _tails(
    model: VideoMamba, frame: Frames, donor: Past | None, chosen: list[Scan]
) -> list[Addition]:
    """The edits that replace what convolutions see across the boundary, None: by zeros."""
    edits: list[Addition] = []
    for scan in chosen:
        for at in _distinct(frame):
            tail = None if donor is None else donor.tails[scan.layer, scan.direction, at]
            edits.append((scan.ssm.convolved, partial(_put_tail, model, scan.ssm, tail, frame, at)))
    return edits


def _handover(model: VideoMamba, ssm: SelectiveSSM, frame: int) -> int:
    return boundary(model, ssm, frame).handover


def _keep_tail(tails: dict[Key, Tensor], key: Key, before: Tensor, x: Tensor) -> None:
    tails[key] = x[..., before.to(x.device)]


def _distinct(frame: Frames) -> list[int]:
    return sorted(set(numbers(frame)))


def _where_mine(frame: Frames, at: int, new: Tensor, old: Tensor) -> Tensor:
    """`new` for the clips that are cut at boundary `at`, `old` for the others."""
    wanted, batch = numbers(frame), len(old)
    if len(wanted) != batch:
        if len(wanted) == 1 and not isinstance(frame, Sequence):
            return new
        raise ValueError(
            f"{len(wanted)} boundaries were given for a batch of {batch} clips; expected one "
            "number, or one for each clip."
        )
    mine = torch.tensor([k == at for k in wanted], device=old.device)
    return torch.where(mine[:, None, None], new, old)


def _put_state(donor: Tensor | None, frame: Frames, at: int, state: Tensor) -> Tensor:
    if donor is None:
        new = torch.zeros_like(state)
    else:
        _check_donor("state", ("d_inner", "d_state"), donor, state)
        new = usable(donor).to(state).expand_as(state)
    return _where_mine(frame, at, new, state)


def _put_tail(
    model: VideoMamba,
    ssm: SelectiveSSM,
    donor: Tensor | None,
    frame: Frames,
    at: int,
    x: Tensor,
    u: Tensor,
) -> Tensor:
    crossing = boundary(model, ssm, at)
    after = crossing.after.to(u.device)
    own, before = x[..., after], x[..., crossing.before.to(x.device)]
    if donor is None:
        tail = torch.zeros_like(before)
    else:
        _check_donor("convolution tail", ("d_inner", "d_conv - 1"), donor, before)
        tail = usable(donor).to(own).expand_as(before)
    piece = torch.cat([tail, own], dim=-1)
    conv = ssm.conv1d
    made = causal_conv1d(piece, conv.weight.squeeze(1), conv.bias, activation="silu")
    new = u.clone().index_copy_(-1, after, made[..., tail.shape[-1] :].to(u.dtype))
    return _where_mine(frame, at, new, u)


def _check_donor(what: str, axes: tuple[str, str], donor: Tensor, own: Tensor) -> None:
    if donor.ndim != 3 or donor.shape[1:] != own.shape[1:] or len(donor) not in (1, len(own)):
        raise ValueError(
            f"A {what} was to be replaced by one of shape {tuple(donor.shape)}, expected (batch, "
            f"{', '.join(axes)}) = {tuple(own.shape)}, or a batch of 1."
        )
