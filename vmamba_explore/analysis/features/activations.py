"""Activations as rows: where they are taken in a model, and how they are read from an array."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.analysis.frame_states import frame_ends
from vmamba_explore.clips.clip import Clip, Generated, shown_by
from vmamba_explore.edits import Addition, editing
from vmamba_explore.errors import shown
from vmamba_explore.hooks import hook_points, plain
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.places import scans
from vmamba_explore.trace.record import as_batch

PLACES = ("video", "clip", "frame", "row", "col", "patch")
"""Dims whose places have a vector each; `video` comes first."""


@dataclass(frozen=True)
class Site:
    """Where in a model the vectors are taken.

    Without a direction they are the video tokens of the residual stream before a layer, one for
    each patch of each token frame. With one they are the states that the layer's scan hands on
    after it has read the last token of each token frame, channel by state.

    Args:
        layer: Block number, from 0.
        direction: None, "forward" or "backward".
    """

    layer: int
    direction: str | None = None

    @property
    def vector(self) -> tuple[str, ...]:
        """Dims of one vector."""
        return ("channel",) if self.direction is None else ("channel", "state")

    def __str__(self) -> str:
        if self.direction is None:
            return f"residual stream before layer {self.layer}"
        return f"{self.direction} states of layer {self.layer}"

    def size(self, model: VideoMamba) -> int:
        """Return how many numbers a vector has in a model.

        Raises:
            ValueError: the model has no such layer or direction.
        """
        model = plain(model)
        scans(model, self.layer, self.direction)
        config = model.config
        return config.d_model if self.direction is None else config.d_inner * config.d_state


class Activations:
    """The vectors of an array, each a row with a number and a place; only asked rows are read.

    Args:
        values: Dims `video`, any of `clip`, `frame`, `row`, `col`, `patch`, then those of a vector
            (`feature` or `channel` of tokens, `channel` and `state` of states), and `layer` and
            `direction`, of which the site's is selected; in any order, in memory or lazy, as
            `extract` stores them.
        site: Where they were taken.
        gauge: What each state is multiplied by, (state,), so that states are compared by how
            strongly the model reads them (`state_gauge`); None: 1.
    Raises:
        ValueError: the dims are others, one is empty, or the array lacks the layer or direction.
    """

    def __init__(
        self, values: xr.DataArray, site: Site, gauge: Float[Tensor, " state"] | None = None
    ) -> None:
        values = values.rename(_plain_dims(values, site))
        for dim, label in (("layer", site.layer), ("direction", site.direction)):
            if dim in values.dims:
                known = values[dim].values.tolist()
                if label not in known:
                    raise ValueError(
                        f"Activations: the array has the {dim}s {shown(known)}, and the site is "
                        f"the {site}. Choose a site that was stored."
                    )
                values = values.isel({dim: known.index(label)}, drop=True)
        places = [dim for dim in PLACES if dim in values.dims]
        dims = (*places, *site.vector)
        if set(dims) != set(values.dims) or places[:1] != ["video"] or 0 in values.shape:
            raise ValueError(
                f"Activations: the array has dims {dict(values.sizes)}; for the {site} expected "
                f"video, any of {', '.join(PLACES[1:])}, and {' and '.join(site.vector)}, none "
                "empty."
            )
        if gauge is not None and (site.direction is None or len(gauge) != values.sizes["state"]):
            raise ValueError(
                f"Activations: got a gauge of {len(gauge)} numbers for the {site}; expected one "
                "for each state of a site with a direction, else None."
            )
        self.values, self.site, self.gauge = values, site, gauge
        self.places = tuple(places)
        self.shape = tuple(values.sizes[dim] for dim in places)
        self.size = int(np.prod([values.sizes[dim] for dim in site.vector]))

    def __len__(self) -> int:
        return int(np.prod(self.shape))

    @property
    def videos(self) -> int:
        """Videos."""
        return self.shape[0]

    @property
    def weights(self) -> Float[Tensor, " size"]:
        """The gauge of each number of a vector."""
        if self.gauge is None:
            return torch.ones(self.size)
        return self.gauge.float().repeat(self.size // len(self.gauge))

    def take(self, videos: Sequence[int] | NDArray[np.integer]) -> Activations:
        """Return the activations of some of the videos, by their places in the array."""
        values = self.values.isel(video=np.asarray(videos, dtype=np.int64))
        return Activations(values, self.site, self.gauge)

    def place(self, rows: Sequence[int] | NDArray[np.integer]) -> dict[str, NDArray[np.int64]]:
        """Return where rows stand: by dim, the number of each along it."""
        found = np.unravel_index(np.asarray(rows, dtype=np.int64), self.shape)
        return {dim: each.astype(np.int64) for dim, each in zip(self.places, found, strict=True)}

    def rows(self, rows: Sequence[int] | NDArray[np.integer]) -> Float[Tensor, "n size"]:
        """Read some rows, float32, as the model had them (the gauge is not applied)."""
        wanted = np.asarray(rows, dtype=np.int64)
        per_video = len(self) // self.videos
        videos, inside = np.unique(wanted // per_video, return_inverse=True)
        block = self.block(videos)
        return torch.from_numpy(block[inside * per_video + wanted % per_video]).float()

    def block(self, videos: Sequence[int] | NDArray[np.integer]) -> NDArray[Any]:
        """Read all rows of some videos, (rows, size), in the dtype that the array has.

        Raises:
            ValueError: a value is not finite, as where a video was not extracted.
        """
        chosen = np.asarray(videos, dtype=np.int64)
        part = self.values.isel(video=chosen).transpose(*self.places, *self.site.vector)
        block = np.ascontiguousarray(part.values).reshape(-1, self.size)
        if not np.isfinite(block).all():
            bad = ~np.isfinite(block.reshape(len(chosen), -1)).all(1)
            raise ValueError(
                f"Activations: video {chosen[bad][0]} has values that are not finite. Select the "
                "videos that were extracted, such as .isel(video=store.done.values == 1)."
            )
        return block


def _plain_dims(values: xr.DataArray, site: Site) -> dict[Hashable, str]:
    """What to call the dims: a store tells "layer_of_NAME" from "layer"; a token has channels."""
    called = {dim: str(dim).partition("_of_")[0] for dim in values.dims}
    if site.direction is None and "channel" not in values.dims:
        called = {dim: "channel" if name == "feature" else name for dim, name in called.items()}
    return {dim: name for dim, name in called.items() if dim != name}


class ShuffledRows:
    """Batches of rows by step, shuffled: the same step gives the same batch in every run.

    An epoch reads the videos in a random order, a block of them at a time, and shuffles the rows of
    a block. One block is in memory; rows that fill no batch wait for another epoch.

    Args:
        activations: The rows.
        batch_size: Rows in a batch; fewer where a block has fewer.
        seed: Of the order.
        block_mib: Largest size of a block, MiB; at least one video.
    """

    def __init__(
        self, activations: Activations, batch_size: int, seed: int, block_mib: float = 256.0
    ) -> None:
        self.activations, self.seed = activations, seed
        per_video = len(activations) // activations.videos
        one = per_video * activations.size * activations.values.dtype.itemsize
        self.videos = int(np.clip(block_mib * 2**20 // one, 1, activations.videos))
        self.blocks = activations.videos // self.videos  # the rest waits for another epoch
        self.batch_size = min(batch_size, self.videos * per_video)
        self.per_block = self.videos * per_video // self.batch_size
        self._held: tuple[int, NDArray[Any]] = (-1, np.empty(0))

    def __call__(self, step: int) -> Float[Tensor, "batch size"]:
        number, at = divmod(step, self.per_block)
        if self._held[0] != number:
            self._held = (-1, np.empty(0))  # one block at a time
            epoch, block = divmod(number, self.blocks)
            order = np.random.default_rng([self.seed, epoch]).permutation(self.activations.videos)
            part = np.sort(order[block * self.videos : (block + 1) * self.videos])
            values = self.activations.block(part)
            np.random.default_rng([self.seed, epoch, block]).shuffle(values)
            self._held = (number, values)
        rows = self._held[1][at * self.batch_size : (at + 1) * self.batch_size]
        return torch.from_numpy(rows).float()


def record_activations(
    model: VideoMamba,
    clips: Sequence[Clip | Generated],
    site: Site,
    *,
    batch_size: int = 16,
    dtype: str = "float16",
) -> Activations:
    """Run a model on clips and keep their vectors at a site, in memory; of states, with a gauge.

    A data set that does not fit in memory is extracted to a store instead.

    Args:
        model: The model.
        clips: What to run, of the model's size.
        site: Where to take the vectors.
        batch_size: Clips at a time.
        dtype: What to keep them in, "float16" or "float32".
    Raises:
        ValueError: there is no clip, no such layer or direction, or a clip of another size.
    """
    model = plain(model)
    grid, config = model.grid, model.config
    site.size(model)
    if not len(clips):
        raise ValueError("record_activations: got no clips, expected at least one.")
    n, squares = len(clips), torch.zeros(config.d_state)
    kept = np.empty(room_for(model, site, n).shape, dtype)
    starts = tqdm(range(0, n, batch_size), desc="activations", unit="batch", leave=False)
    with torch.inference_mode():
        for start in starts:
            rows = slice(start, start + batch_size)
            batch = as_batch(model, [shown_by(clip) for clip in clips[rows]])
            into = room_for(model, site, len(batch))
            with editing(*keeping(model, site, into, squares)):
                model(batch)
            kept[rows] = into
    gauge = None if site.direction is None else (squares / (n * grid.seqlen)).sqrt()
    places = ("frame", "row", "col") if site.direction is None else ("frame",)
    return Activations(xr.DataArray(kept, dims=("video", *places, *site.vector)), site, gauge)


def state_gauge(
    model: VideoMamba, clips: Sequence[Clip | Generated], site: Site, *, batch_size: int = 16
) -> Float[Tensor, " state"]:
    """Return how strongly a scan reads each state: the rms of C over all tokens of some clips.

    B times c and C / c make the same model with c times the state; h * rms(C) is the same in both.

    Raises:
        ValueError: the site has no direction, or there is no clip.
    """
    model = plain(model)
    if site.direction is None or not len(clips):
        raise ValueError(
            f"state_gauge: got {len(clips)} clips and the {site}; expected at least one clip and a "
            "site with a direction."
        )
    (scan,) = scans(model, site.layer, site.direction)
    squares = torch.zeros(model.config.d_state)
    for start in range(0, len(clips), batch_size):
        batch = as_batch(model, [shown_by(clip) for clip in clips[start : start + batch_size]])
        addition = (scan.ssm.hook_C.functions, partial(_add_squares, squares))
        with torch.inference_mode(), editing(addition):
            model(batch)
    return (squares / (len(clips) * model.grid.seqlen)).sqrt()


def room_for(model: VideoMamba, site: Site, clips: int) -> Tensor:
    """Return room for the vectors of some clips; untouched memory costs nothing."""
    grid, config = model.grid, model.config
    if site.direction is None:
        return torch.empty(clips, *grid.shape, config.d_model)
    return torch.empty(clips, grid.frames, config.d_inner, config.d_state)


def keeping(model: VideoMamba, site: Site, into: Tensor, squares: Tensor) -> list[Addition]:
    """Edits that write the vectors of a batch into `into`, and of states the size of C."""
    if site.direction is None:
        point = hook_points(model)[f"layers.{site.layer}.hook_block_input"]

        def keep(values: Tensor, _: object) -> None:
            into[:] = model.grid.split(values, dim=1)[0].cpu()

        return [(point.functions, keep)]
    (scan,) = scans(model, site.layer, site.direction)
    _, tokens = frame_ends(model, site.direction)
    edits: list[Addition] = [(scan.ssm.hook_C.functions, partial(_add_squares, squares))]
    for frame, token in enumerate(tokens.tolist()):
        edits.append((scan.ssm.handovers, (token, partial(_keep_state, into, frame))))
    return edits


def _keep_state(into: Tensor, frame: int, state: Tensor) -> None:
    into[:, frame] = state.cpu()


def _add_squares(into: Tensor, C: Tensor, _: object) -> None:
    into += C.float().square().sum(dim=(0, 2)).cpu()
