"""From a video to its region of a store: one plain function, which any engine can call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from einops import reduce
from numpy.typing import NDArray
from torch import Tensor

from vmamba_explore.analysis.frame_states import frame_ends
from vmamba_explore.clips.clip import Clip, ClipError, normalize
from vmamba_explore.clips.decode import load_frames
from vmamba_explore.clips.picture import middle_square
from vmamba_explore.clips.sampling import frame_indices
from vmamba_explore.datasets.views import spread
from vmamba_explore.edits import Addition, editing
from vmamba_explore.errors import one_line
from vmamba_explore.files import AnyPath
from vmamba_explore.hooks import HookPoint, hook_points, plain
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.stores.layout import DONE, Sampling, StateStore
from vmamba_explore.stores.quantities import (
    FRAME_ENDS,
    PIXELS,
    READ_OUT,
    Variable,
    chosen_patches,
)
from vmamba_explore.trace.places import scans

Values = dict[str, NDArray[Any]]


def write_video(
    store: StateStore | AnyPath,
    number: int,
    model: VideoMamba,
    path: AnyPath | None = None,
) -> str:
    """Run a model on one video of a store and write the video's region.

    Calls for different videos may run anywhere at once, with the store's folder in common. A video
    that is done is left alone; one that was interrupted is written again, to the same bytes.

    Args:
        store: What `layout.prepare` made, or its folder.
        number: The place of the video in the store.
        model: The model that the store is for.
        path: The file; None: as the store has it.
    Returns:
        "" where the region is written; else the sentence that says why the video cannot be, which
        the store has as `error`.
    Raises:
        OSError: the store cannot be written to.
        ValueError: it is for another model.
    """
    store = store if isinstance(store, StateStore) else StateStore(store)
    if store.array("done")[number] == DONE:
        return ""
    model = plain(model)
    wanted = store.variables(model)
    file = str(store.array("path")[number]) if path is None else path
    try:
        clip = read_clips(file, store.sampling)
        values = video_values(model, clip, wanted, store.sampling)
    except (ClipError, OSError, FloatingPointError) as error:
        reason = one_line(error, 1000)
        store.give_up(number, reason)
        return reason
    store.write(number, values)
    return ""


def read_clips(path: AnyPath, sampling: Sampling) -> Clip:
    """Read all clips of a video, one after the other; a frame that several share is decoded once.

    One clip is what `load_clip` reads.

    Raises:
        ClipError: the file cannot be read.
    """
    frames, stride = sampling.num_frames, sampling.stride

    def choose(available: int) -> tuple[NDArray[np.int64], int]:
        if stride is None:
            return frame_indices(available, frames, None)
        last = max(0, available - 1 - (frames - 1) * stride)
        starts = spread(last, sampling.clips_per_video)
        return np.concatenate([frame_indices(available, frames, stride, at)[0] for at in starts]), 0

    return load_frames(path, choose, partial(middle_square, size=sampling.img_size))


def video_values(
    model: VideoMamba, clip: Clip, wanted: tuple[Variable, ...], sampling: Sampling
) -> Values:
    """Run a model on the clips of a video, one at a time.

    Args:
        model: The model.
        clip: The clips, one after the other.
        wanted: What to keep.
        sampling: How many there are.
    Returns:
        By variable, its region without the dim video; `seconds` and `indices` among them.
    Raises:
        FloatingPointError: a value is not finite, or too large for its type.
    """
    count, frames = sampling.clips_per_video, sampling.num_frames
    parts = clip.frames.reshape(count, frames, *clip.frames.shape[1:])
    runs = [clip_values(model, one, wanted) for one in parts]
    found = {one.name: np.stack([run[one.name] for run in runs]) for one in wanted}
    found["seconds"] = clip.seconds.reshape(count, frames)
    found["indices"] = clip.indices.reshape(count, frames)
    return found


def clip_values(
    model: VideoMamba, frames: NDArray[np.uint8], wanted: tuple[Variable, ...]
) -> Values:
    """Run a model on one clip and keep what is wanted; nothing else is kept meanwhile.

    Args:
        model: The model.
        frames: uint8 (num_frames, height, width, 3).
        wanted: What to keep.
    Raises:
        FloatingPointError: a value is not finite, or too large for its type.
    """
    model = plain(model)
    kept = {one.name: np.full(one.shape, np.nan, np.float32) for one in wanted}
    read_out = [one for one in wanted if one.name in READ_OUT]
    batch = normalize(frames[None]).to(model.norm_f.weight.device)
    with torch.inference_mode(), editing(*_edits(model, wanted, kept)):
        residual = model.encode(batch, None if read_out else _depth(model, wanted))
        for one in read_out:
            read = {
                "embedding": model.features,
                "frame_features": model.read_frames,
                "logits": model.read_out,
            }[one.name]
            value = read(residual)[0].float().cpu()
            if one.name == "frame_features" and one.quantity.frames is not None:
                value = value[list(one.quantity.frames)]
            kept[one.name][...] = value.numpy()
    for one in wanted:
        if one.name == PIXELS:
            colors = _reduced(_colors(model, frames)[_places(model, one)], one)
            kept[PIXELS][...] = colors.numpy().reshape(kept[PIXELS].shape)
    return {one.name: _narrowed(one, kept[one.name]) for one in wanted}


def _colors(model: VideoMamba, frames: NDArray[np.uint8]) -> Tensor:
    """The mean color of each token's pixels, (frame, row, col, color), 0 to 1."""
    grid, config = model.grid, model.config
    time, size = config.num_frames // grid.frames, config.img_size // grid.rows
    return reduce(
        torch.from_numpy(frames).float() / 255,
        "(frame time) (row height) (col width) color -> frame row col color",
        "mean", time=time, height=size, width=size,
    )  # fmt: skip


def _depth(model: VideoMamba, wanted: tuple[Variable, ...]) -> int:
    """How many blocks must run for what is wanted of them."""
    last = 0
    for one in wanted:
        if one.name == PIXELS:
            continue
        places = next((p for dim, p in one.labels.items() if dim.startswith("layer")), None)
        last = max(last, int(one.name.split(".")[1]) if places is None else max(places))
    return last + 1


def _edits(
    model: VideoMamba, wanted: tuple[Variable, ...], kept: Mapping[str, NDArray[np.float32]]
) -> Iterator[Addition]:
    """What writes the values into `kept` as they pass."""
    points = hook_points(model)
    for one in wanted:
        into = kept[one.name]
        if one.name in (*READ_OUT, PIXELS):
            continue
        if one.name == FRAME_ENDS:
            layers, directions, frames = one.labels.values()
            ends = {name: frame_ends(model, name)[1].tolist() for name in directions}
            for scan in scans(model, layers):
                place = into[layers.index(scan.layer), directions.index(scan.direction)]
                for at, frame in enumerate(frames):
                    end = ends[scan.direction][frame]
                    yield scan.ssm.handovers, (end, partial(_keep_state, place[at]))
            continue
        tokens = _tokens(model, one)
        for name in _hooks(points, one):
            place = into
            for dim, places in one.labels.items():
                if dim.startswith("layer"):
                    place = place[places.index(int(name.split(".")[1]))]
                elif dim == "direction":
                    place = place[places.index(name.split(".ssm_")[1].partition(".")[0])]
            yield points[name].functions, partial(_keep, place, one, tokens)


def _hooks(points: Mapping[str, HookPoint], one: Variable) -> list[str]:
    """The hook points whose values a variable has."""
    if one.name in points:
        return [one.name]
    layers = next(places for dim, places in one.labels.items() if dim.startswith("layer"))
    return [
        name
        for name in points
        if name.endswith(f".hook_{one.name}") and int(name.split(".")[1]) in layers
    ]


def _tokens(model: VideoMamba, one: Variable) -> Tensor | None:
    """The natural indices of the tokens that a variable keeps, (frame, patch)."""
    frames = next((places for dim, places in one.labels.items() if dim.startswith("frame")), None)
    if frames is None:
        return None
    tokens, _ = model.grid.split(torch.arange(model.grid.seqlen))
    return tokens[_places(model, one)]


def _places(model: VideoMamba, one: Variable) -> tuple[Tensor, Tensor, Tensor]:
    """The index of what a variable keeps among frames, rows and columns, (frame, patch)."""
    frames = next(places for dim, places in one.labels.items() if dim.startswith("frame"))
    rows, cols = torch.tensor(chosen_patches(model, one.quantity)).T
    return torch.tensor(frames)[:, None], rows, cols


def _keep_state(into: NDArray[np.float32], state: Tensor) -> None:
    into[...] = state[0].cpu().numpy()


def _keep(
    into: NDArray[np.float32], one: Variable, tokens: Tensor | None, value: Tensor, point: HookPoint
) -> None:
    """Write what a variable keeps of a hook point's value of one clip."""
    value, axes = value[0].detach(), point.axes[1:]
    if tokens is not None:
        value = value.movedim(axes.index("seqlen"), 0)[tokens.to(value.device)]
        if one.name == "delta":
            value = value.mean(dim=-1)
        value = _reduced(value, one)
    into[...] = value.float().cpu().numpy().reshape(into.shape)


def _reduced(value: Tensor, one: Variable) -> Tensor:
    """What becomes of the patches of each token frame; (frame, patch, ...) comes in."""
    if one.quantity.reduction == "mean":
        return value.float().mean(dim=1)
    return value.amax(dim=1) if one.quantity.reduction == "max" else value


def _narrowed(one: Variable, values: NDArray[np.float32]) -> NDArray[Any]:
    """Values in the type that they are stored in.

    Raises:
        FloatingPointError: some are not finite, or too large for it.
    """
    if bad := int((~np.isfinite(values)).sum()):
        raise FloatingPointError(
            f"{one.name}: {bad} of {values.size} numbers are not finite, as the model computes "
            "them; first_nonfinite(model, clip) shows where they begin."
        )
    with np.errstate(over="ignore"):
        narrow = values.astype(one.quantity.values)
    if over := int((~np.isfinite(narrow)).sum()):
        most = float(np.finfo(narrow.dtype).max)
        raise FloatingPointError(
            f"{one.name}: {over} of {values.size} numbers are beyond {most:,.0f}, the largest that "
            f"{one.quantity.dtype} has ({np.abs(values).max():,.0f} is the largest here); store it "
            "as float32."
        )
    return narrow
