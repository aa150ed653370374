"""Context managers that change one thing inside a running model (those in `past`, too).

Each applies to every run of the model that the thread or asyncio task of its block makes, for the
duration of the block; see `edits`. They can be nested, and nothing stays behind, even on error. All
run on the fast kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import Tensor

from vmamba_explore.edits import editing
from vmamba_explore.errors import shown
from vmamba_explore.hooks import HookFunction, HookPoint, attached, hook_points, plain
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.places import (
    Frames,
    Layers,
    Tokens,
    frame_tokens,
    natural_tokens,
    scans,
    usable,
)
from vmamba_explore.trace.record import matching_names
from vmamba_explore.trace.trace import Trace


def ablate(
    model: VideoMamba,
    name: str | Sequence[str],
    value: float | int | Literal["mean"] = 0.0,
    *,
    frames: Frames | None = None,
) -> AbstractContextManager[None]:
    """Replace the values at hook points by a constant for the duration of the block.

    Args:
        model: The model.
        name: A hook name, a pattern such as "layers.3.*hook_delta", or a list of these.
        value: A number; or "mean", the clip's own mean over its video tokens, channel by channel,
            which replaces every video token (the class token keeps its own value).
        frames: Only at the tokens of these token frames; None: everywhere.
    Raises:
        KeyError: a name matches no hook point.
        ValueError: there is no such frame, or a hook point is read-only.
    """
    model = plain(model)
    if isinstance(value, str) and value != "mean":
        raise ValueError(f"ablate: value is {shown(value)}, expected a number or 'mean'.")
    tokens = None if frames is None else frame_tokens(model.grid, frames)

    def replace(old: Tensor, point: HookPoint) -> Tensor:
        if value != "mean":
            return _put(model, old, torch.full_like(old, float(value)), point, tokens)
        video = model.grid.video_tokens
        axis = point.axes.index("seqlen")
        mean = old.index_select(axis, _places(model, video, old.device)).mean(axis, keepdim=True)
        return _put(model, old, mean.expand_as(old), point, video if tokens is None else tokens)

    return attached(model, _hooks(model, name, replace, "ablate"))


def patch(
    model: VideoMamba,
    name: str | Sequence[str],
    source: Trace | Tensor,
    *,
    frames: Frames | None = None,
) -> AbstractContextManager[None]:
    """Replace the values at hook points by those of another run for the duration of the block.

    Args:
        model, name, frames: As for `ablate`.
        source: The `Trace` of the other run, or one tensor. A batch of 1 serves every clip.
    Raises:
        KeyError: a name matches no hook point, or was not recorded.
        ValueError: the source has another shape, there is no such frame, or a hook point is
            read-only.
    """
    model = plain(model)
    tokens = None if frames is None else frame_tokens(model.grid, frames)

    def replace(old: Tensor, point: HookPoint) -> Tensor:
        new = source[point.name] if isinstance(source, Trace) else source
        if new.shape[1:] != old.shape[1:] or len(new) not in (1, len(old)):
            raise ValueError(
                f"patch: {point.name} is ({', '.join(point.axes)}) = {tuple(old.shape)} in this "
                f"run, and the source has {tuple(new.shape)}; expected the same, or a batch of 1."
            )
        return _put(model, old, usable(new).to(old).expand_as(old), point, tokens)

    hooks = _hooks(model, name, replace, "patch")
    if isinstance(source, Trace):
        for hook, _ in hooks:
            source[hook]  # names what is missing before anything runs
    return attached(model, hooks)


def mute(model: VideoMamba, direction: str, layers: Layers = None) -> AbstractContextManager[None]:
    """Mute one direction's output in some layers for the duration of the block.

    Its y is zero, the skip D u included; the other direction and the gate are unchanged.

    Args:
        model: The model.
        direction: "forward" or "backward".
        layers: One layer, several, or None for all.
    Raises:
        ValueError: there is no such direction or layer.
    """
    names = [scan.ssm.hook_y.name for scan in scans(model, layers, direction)]
    return attached(model, [(name, lambda y, point: torch.zeros_like(y)) for name in names])


def freeze_state(
    model: VideoMamba,
    frames: Frames | None = None,
    *,
    tokens: Tokens | None = None,
    direction: str | None = None,
    layers: Layers = None,
) -> AbstractContextManager[None]:
    """Let some tokens neither write to nor decay the state, for the duration of the block.

    delta is 0 there, so A_bar is 1 and B_bar is 0: inside the scan this equals deleting them. They
    still read the state, and the convolutions of their neighbors still read them. The state that
    a VideoMambaPro starts from stays that of its first token.

    Args:
        model: The model.
        frames: Token frames.
        tokens: Natural indices, instead of or beside frames.
        direction: "forward", "backward", or None for both.
        layers: One layer, several, or None for all.
    Raises:
        ValueError: there is no such frame, token, direction or layer.
    """
    model = plain(model)
    chosen = _chosen(model, frames, tokens, "freeze_state")

    def replace(delta: Tensor, point: HookPoint) -> Tensor:
        return _put(model, delta, torch.zeros_like(delta), point, chosen)

    names = [scan.ssm.hook_delta.name for scan in scans(model, layers, direction)]
    return attached(model, [(name, replace) for name in names])


def drop_tokens(
    model: VideoMamba,
    tokens: Tokens | None = None,
    *,
    frames: Frames | None = None,
) -> AbstractContextManager[None]:
    """Remove tokens after they got their positions, for the duration of the block.

    They reach no block: this is the model's own way of not having seen something.

    Args:
        model: The model.
        tokens: Natural indices.
        frames: Token frames, instead of or beside tokens.
    Raises:
        ValueError: there is no such frame or token, none would be left, or the class token, which
            the logits are read from, would be dropped.
    """
    model = plain(model)
    kept = torch.ones(model.grid.seqlen, dtype=torch.bool)
    kept[_chosen(model, frames, tokens, "drop_tokens")] = False
    return model.only_tokens(kept.nonzero()[:, 0])


def cut_edges(
    model: VideoMamba, layer: int, direction: str, sources: Tokens, targets: Tokens
) -> AbstractContextManager[None]:
    """Cut what some tokens bring to others through one scan, for the duration of the block.

    With the delta, B and C of the run, the scan is linear in u; what `sources` bring to `targets`
    is subtracted::

        y[targets] -= scan(u at the sources, 0 elsewhere)[targets]

    A token in both also loses what it brings to itself, the skip D u included. Everything else,
    this layer's other direction included, is unchanged. Edges that several cuts share are cut
    once, and edits of `hook_y`, such as `mute`, come after.

    Args:
        model: The model.
        layer: Block number, from 0.
        direction: "forward" or "backward".
        sources, targets: Natural indices of the tokens at the two ends of the cut edges.
    Raises:
        ValueError: there is no such layer, direction or token; while the model runs, if states of
            this scan are replaced at the same time, because they do not depend on u.
    """
    (scan,) = scans(model, layer, direction)
    hidden = model.grid.checked(sources, "cut_edges, sources")
    blind = model.grid.checked(targets, "cut_edges, targets")

    def places() -> tuple[Tensor, Tensor]:
        device = scan.ssm.D.device
        return _places(model, hidden, device), _places(model, blind, device)

    return editing((scan.ssm.cuts, places))


def _hooks(
    model: VideoMamba, name: str | Sequence[str], function: HookFunction, call: str
) -> list[tuple[str, HookFunction]]:
    names = matching_names(model, name)
    points = hook_points(model)
    for hook in names:
        if points[hook].read_only:
            raise ValueError(
                f"{call}: {hook} is computed for reading only and feeds nothing; name what should "
                "change, such as hook_u, hook_delta, hook_B, hook_C, hook_write, hook_h or hook_y."
            )
    return [(hook, function) for hook in names]


def _chosen(
    model: VideoMamba,
    frames: Frames | None,
    tokens: Tokens | None,
    call: str,
) -> Tensor:
    if frames is None and tokens is None:
        raise ValueError(f"{call}: name token frames or tokens.")
    found = [] if frames is None else [frame_tokens(model.grid, frames)]
    if tokens is not None:
        found.append(model.grid.checked(tokens, call))
    return torch.cat(found).unique()


def _places(model: VideoMamba, tokens: Tensor, device: torch.device) -> Tensor:
    """The places of natural tokens in the sequence of this run, dropped ones left out."""
    return torch.isin(natural_tokens(model), tokens).nonzero()[:, 0].to(device)


def _put(
    model: VideoMamba, old: Tensor, new: Tensor, point: HookPoint, tokens: Tensor | None
) -> Tensor:
    """Return `old` with `new` at some natural tokens (None: all)."""
    if tokens is None:
        return new
    axis, where = point.axes.index("seqlen"), _places(model, tokens, old.device)
    changed = old.clone()  # keeps the order of its memory, on which sums of products depend
    return changed.index_copy_(axis, where, new.index_select(axis, where))
