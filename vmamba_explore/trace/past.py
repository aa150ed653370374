"""What a scan brings along at a frame boundary, and putting another past in its place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from vmamba_explore.hooks import HookPoint, attached
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.places import (
    Boundary,
    Frames,
    Layers,
    Scan,
    boundary,
    numbers,
    scans,
    usable,
)
from vmamba_explore.trace.record import Clips, as_batch
from vmamba_kernels import causal_conv1d

Key = tuple[int, str, int]


@dataclass(frozen=True, eq=False)
class Past:
    """What each scan of a run had with it when it crossed the boundaries between frames.

    This is all that the tokens on the far side can know of those on the near side through that
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
                f"boundaries {', '.join(map(str, self.frames))}. record_past makes it, from a "
                "model of the same layers and directions."
            )
        return self.states[key]


def record_past(model: VideoMamba, clips: Clips, frames: Frames | None = None) -> Past:
    """Run the model and keep what every scan hands over at the boundaries between frames.

    Boundary k lies before token frame k. A scan that reads frames in natural order hands over the
    past of the frames below k, one that reads them backwards that of k and above. No other state
    is kept: about 0.7 MB a clip for the demo model.

    Args:
        model: The model.
        clips: A tensor (batch, channels, num_frames, H, W), a `Clip`, or a list of them.
        frames: Boundaries, among 1 to token frames - 1; None: all.
    Returns:
        The `Past`. Its tensors keep their graph where gradients are on.
    Raises:
        ValueError: there is no such boundary.
    """
    batch = as_batch(clips, model)
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
    with ExitStack() as stack:
        for scan in scans(model):
            crossings = {frame: boundary(model, scan.ssm, frame) for frame in wanted}
            for frame, crossing in crossings.items():
                keep = partial(_keep, states, (scan.layer, scan.direction, frame))
                stack.enter_context(scan.ssm.at_handover(crossing.handover, keep))
            cut = partial(_keep_tails, tails, scan, crossings)
            stack.enter_context(passing(scan.mixer.hook_x, cut))
        model(batch)
    return Past(states, tails, wanted)


@contextmanager
def reset_state(
    model: VideoMamba,
    frame: Frames,
    *,
    direction: str | None = None,
    layers: Layers = None,
) -> Iterator[None]:
    """For the time of a `with` block, let scans forget everything at a frame boundary.

    The state handed over becomes zero. The convolution still reaches d_conv - 1 tokens back.

    Args:
        model: The model.
        frame: The boundary before this token frame; or one for each clip of the batch.
        direction: "forward", "backward", or None for both.
        layers: One layer, several, or None for all.
    Raises:
        ValueError: there is no such boundary, direction or layer.
    """
    with _handing_on(model, frame, None, scans(model, layers, direction)):
        yield


@contextmanager
def swap_state(
    model: VideoMamba,
    frame: Frames,
    donor: Past | Tensor,
    *,
    direction: str | None = None,
    layers: Layers = None,
) -> Iterator[None]:
    """For the time of a `with` block, replace the states that scans hand over at a boundary.

    The convolution still sees the clip's own last tokens; `transplant` replaces these too.

    Args:
        model: The model.
        frame: The boundary before this token frame; or one for each clip of the batch.
        donor: What `record_past` gave for other clips, or one state for all scans chosen,
            (batch, d_inner, d_state). A batch of 1 serves every clip.
        direction: "forward", "backward", or None for both.
        layers: One layer, several, or None for all.
    Raises:
        ValueError: there is no such boundary, direction or layer, or a state of another shape.
    """
    if not isinstance(donor, Past | Tensor):
        raise ValueError(
            f"swap_state: donor is {type(donor).__name__}, expected what record_past gives, or a "
            "tensor (batch, d_inner, d_state); reset_state puts zeros."
        )
    with _handing_on(model, frame, donor, scans(model, layers, direction)):
        yield


@contextmanager
def transplant(
    model: VideoMamba,
    past: Past,
    frame: Frames,
    *,
    direction: str | None = None,
    layers: Layers = None,
) -> Iterator[None]:
    """For the time of a `with` block, give scans another clip's past at a frame boundary.

    Replaces all that crosses the boundary in a scan: the state, and the convolution's inputs of
    the last d_conv - 1 tokens before it. The next d_conv - 1 values of u are made again from
    these, and delta, B and C follow. In a model that only reads forward, doing this at every
    layer gives every token from the boundary on what it has in the spliced clip.

    Args:
        model: The model.
        past: What `record_past` gave for other clips. A batch of 1 serves every clip.
        frame: The boundary before this token frame; or one for each clip of the batch.
        direction: "forward", "backward", or None for both.
        layers: One layer, several, or None for all.
    Raises:
        ValueError: there is no such boundary, direction or layer, or the past is of another batch
            or model.
    """
    with ExitStack() as stack:
        stack.enter_context(swap_state(model, frame, past, direction=direction, layers=layers))
        for scan in scans(model, layers, direction):
            seen: list[Tensor] = []
            stack.enter_context(passing(scan.mixer.hook_x, partial(_remember, seen)))
            for at in _distinct(frame):
                tail = past.tails[scan.layer, scan.direction, at]
                crossing = boundary(model, scan.ssm, at)
                function = partial(
                    _put_tail, model, model.kept_tokens, scan, crossing, tail, seen, frame, at
                )
                stack.enter_context(attached(model, [(scan.ssm.hook_u.name, function)]))
        yield


@contextmanager
def passing(point: HookPoint, see: Callable[[Tensor], object]) -> Iterator[None]:
    """For the time of a `with` block, call `see` with what leaves a hook point, edits included."""

    def look(module: nn.Module, arguments: object, value: Tensor) -> None:
        see(value)

    handle = point.register_forward_hook(look)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _handing_on(
    model: VideoMamba, frame: Frames, donor: Past | Tensor | None, chosen: list[Scan]
) -> Iterator[None]:
    """Let scans hand on what `donor` says, None: a state of zero."""
    with ExitStack() as stack:
        for scan in chosen:
            for at in _distinct(frame):
                crossing = boundary(model, scan.ssm, at)
                state = (
                    donor.state(scan.layer, scan.direction, at)
                    if isinstance(donor, Past)
                    else donor
                )
                function = partial(_put_state, model, model.kept_tokens, state, frame, at)
                stack.enter_context(scan.ssm.at_handover(crossing.handover, function))
        yield


def _keep(states: dict[Key, Tensor], key: Key, state: Tensor) -> None:
    states[key] = state


def _keep_tails(
    tails: dict[Key, Tensor], scan: Scan, crossings: dict[int, Boundary], x: Tensor
) -> None:
    for frame, crossing in crossings.items():
        tails[scan.layer, scan.direction, frame] = x[..., crossing.before.to(x.device)]


def _remember(seen: list[Tensor], value: Tensor) -> None:
    seen[:] = [value]


def _distinct(frame: Frames) -> list[int]:
    return sorted(set(numbers(frame)))


def _mine(frame: Frames, at: int, batch: int, device: torch.device) -> Tensor | None:
    """Which clips are cut at boundary `at`, bool (batch,); None: all."""
    wanted = numbers(frame)
    if len(wanted) != batch:
        if len(wanted) == 1 and not isinstance(frame, Sequence):
            return None
        raise ValueError(
            f"{len(wanted)} boundaries were given for a batch of {batch} clips; expected one "
            "number, or one for each clip."
        )
    return torch.tensor([k == at for k in wanted], device=device)


def _put_state(
    model: VideoMamba,
    kept: Tensor | None,
    donor: Tensor | None,
    frame: Frames,
    at: int,
    state: Tensor,
) -> Tensor:
    _check_kept(model, kept)
    if donor is None:
        new = torch.zeros_like(state)
    else:
        _check_donor("state", ("d_inner", "d_state"), donor, state)
        new = usable(donor).to(state).expand_as(state)
    mine = _mine(frame, at, len(state), state.device)
    return new if mine is None else torch.where(mine[:, None, None], new, state)


def _check_kept(model: VideoMamba, kept: Tensor | None) -> None:
    if model.kept_tokens is not kept:
        raise ValueError(
            "Which tokens are dropped has changed since a boundary was looked up: drop tokens "
            "first, and edit states in a `with` block inside that one."
        )


def _put_tail(
    model: VideoMamba,
    kept: Tensor | None,
    scan: Scan,
    crossing: Boundary,
    tail: Tensor,
    seen: list[Tensor],
    frame: Frames,
    at: int,
    u: Tensor,
    point: HookPoint,
) -> Tensor:
    _check_kept(model, kept)
    (x,), after = seen, crossing.after.to(u.device)
    own = x[..., after]
    _check_donor("convolution tail", ("d_inner", "d_conv - 1"), tail, x[..., crossing.before])
    piece = torch.cat([usable(tail).to(own).expand(len(own), -1, -1), own], dim=-1)
    conv = scan.ssm.conv1d
    made = causal_conv1d(piece, conv.weight.squeeze(1), conv.bias, activation="silu")
    new = u.clone().index_copy_(-1, after, made[..., tail.shape[-1] :].to(u.dtype))
    mine = _mine(frame, at, len(u), u.device)
    return new if mine is None else torch.where(mine[:, None, None], new, u)


def _check_donor(what: str, axes: tuple[str, str], donor: Tensor, own: Tensor) -> None:
    if donor.ndim != 3 or donor.shape[1:] != own.shape[1:] or len(donor) not in (1, len(own)):
        raise ValueError(
            f"A {what} was to be replaced by one of shape {tuple(donor.shape)}, expected (batch, "
            f"{', '.join(axes)}) = {tuple(own.shape)}, or a batch of 1."
        )
