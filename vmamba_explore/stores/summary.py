"""Statistics of a store's values: what each channel and state does over thousands of clips."""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from tqdm.auto import tqdm

from vmamba_explore.analysis.similarity import participation_ratio
from vmamba_explore.hooks import plain
from vmamba_explore.model.own_format import fingerprint
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.stores.opened import AnyStore, as_states, blocks, stored
from vmamba_explore.trace.places import scans

KEPT = ("layer", "direction", "channel", "state", "feature", "class", "boundary")
"""Dims of which each place has numbers of its own; over the others they are taken."""
PLACES = ("layer", "direction")
SPARSITY = "1 - mean(|x|)^2 / mean(x^2): 0 where all |x| are equal, near 1 where few are large"
GIB = 2**30


def statistics(
    store: AnyStore,
    quantity: str = "h_boundaries",
    *,
    model: VideoMamba | None = None,
    samples: int = 1024,
    budget_gib: float = 2.0,
) -> xr.Dataset:
    """Describe a quantity of a store over all of its clips, reading it once, a block at a time.

    Args:
        store: A store.
        quantity: What to describe.
        model: The model of the store, whose decay rates A half-lives need.
        samples: Of how many vectors at most the participation ratio is taken: the values of evenly
            spaced videos.
        budget_gib: The most that these may take, GiB.
    Returns:
        Over videos, clips, frames and patches, for each layer, direction, channel and state, or
        whatever of these the quantity has: `minimum`, `maximum`, `mean`, `deviation` (standard) and
        `sparsity` (Treves and Rolls): 1 - mean(|x|)^2 / mean(x^2), 0 where all values are of one
        size, near 1 where few are large; NaN where all are 0. For each layer and direction
        `participation_ratio`, of how many directions the variance is, and `ceiling`, which it
        cannot exceed. `half_life`, of each channel and state, in tokens, at the mean step size that
        the channel has in the store: ln 2 / (mean delta |A|), where the step sizes of each channel
        are stored and a model is given; else `attrs["half_life"]` says what is missing. `attrs`
        have the numbers of videos, clips and values.

        States are described as they are stored. B times c and C / c make the same model with c
        times the state, so compare sizes between clips or channels of one state, not between
        states; where C is stored, the participation ratio is that of h times the rms of C.
    Raises:
        ValueError: there is no such quantity, no video is done, the samples are over budget, or the
            model is another one than that of the store.
    Source:
        Treves and Rolls 1991, Network 2:371 (sparsity, as one minus theirs).
    """
    model = None if model is None else plain(model)
    states = as_states(store, "statistics")
    array = stored(states, quantity, "statistics")
    dims = tuple(str(dim) for dim in array.dims if _is(dim, KEPT))
    axes = tuple(at for at, dim in enumerate(array.dims) if dim not in dims)
    shape = tuple(array.sizes[dim] for dim in dims)
    low, high = np.full(shape, np.inf), np.full(shape, -np.inf)
    total, sizes, squares = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    with tqdm(total=array.sizes["video"], desc="statistics", unit="video", leave=False) as bar:
        for _, values in blocks(array):
            low = np.minimum(low, values.min(axes))
            high = np.maximum(high, values.max(axes))
            total += values.sum(axes, dtype=np.float64)
            sizes += np.abs(values).sum(axes, dtype=np.float64)
            squares += np.square(values, dtype=np.float64).sum(axes)
            bar.update(len(values))
    count = math.prod(array.shape[at] for at in axes)
    mean, square = total / count, squares / count
    with np.errstate(invalid="ignore", divide="ignore"):
        sparsity = 1 - np.square(sizes / count) / np.where(square > 0, square, np.nan)
    found = {
        "minimum": (dims, low), "maximum": (dims, high), "mean": (dims, mean),
        "deviation": (dims, np.sqrt(np.maximum(square - mean**2, 0))), "sparsity": (dims, sparsity),
    }  # fmt: skip
    coords = {dim: array[dim].values.tolist() for dim in dims if dim in array.coords}
    data = xr.Dataset(found, coords)
    data["sparsity"].attrs["definition"] = SPARSITY
    _participation(data, states, array, samples, budget_gib)
    data.attrs |= {
        "quantity": quantity,
        "videos": array.sizes["video"],
        "clips": array.sizes["video"] * array.sizes["clip"],
        "values": count,
    }
    lives = _half_lives(states, array, model)
    if isinstance(lives, str):
        data.attrs["half_life"] = lives
    else:
        data["half_life"] = lives
    return data


def _is(dim: object, names: tuple[str, ...]) -> bool:
    return str(dim).partition("_of_")[0] in names


def _participation(
    data: xr.Dataset, states: xr.Dataset, array: xr.DataArray, samples: int, budget_gib: float
) -> None:
    """Add the participation ratio of each layer and direction, one at a time."""
    places = [str(dim) for dim in array.dims if _is(dim, PLACES)]
    inside = [str(dim) for dim in array.dims if _is(dim, KEPT) and dim not in places]
    others = [str(dim) for dim in array.dims if dim not in (*places, *inside)]
    width = math.prod(array.sizes[dim] for dim in inside)
    per_video = math.prod(array.sizes[dim] for dim in others if dim != "video")
    videos = min(array.sizes["video"], max(1, samples // per_video))
    if 8 * videos * per_video * width > budget_gib * GIB:
        raise ValueError(
            f"statistics: {videos * per_video} samples of {width} values take "
            f"{8 * videos * per_video * width / GIB:.1f} GiB, and the budget is {budget_gib:g} GiB;"
            " pass fewer samples=."
        )
    chosen = np.linspace(0, array.sizes["video"] - 1, videos).round().astype(np.int64)
    some, reading = array.isel(video=chosen), _reading(states, array, chosen)
    ratios = np.full([array.sizes[dim] for dim in places], np.nan)
    for place in np.ndindex(ratios.shape):
        at = dict(zip(places, place, strict=True))
        values = some.isel(at).transpose(*others, *inside).astype(np.float32)
        if reading is not None:
            values = values * reading.isel({dim: at[dim] for dim in places})
        rows = torch.from_numpy(np.ascontiguousarray(values.values)).reshape(-1, width)
        if len(rows) > 1:
            ratios[place] = participation_ratio(rows)
    data["participation_ratio"] = (places, ratios)
    gauge = "as stored" if reading is None else "h times the rms of C"
    data["participation_ratio"].attrs |= {"samples": videos * per_video, "values": gauge}
    data["ceiling"] = min(width, max(videos * per_video - 1, 1))


def _reading(
    states: xr.Dataset, array: xr.DataArray, videos: NDArray[np.int64]
) -> xr.DataArray | None:
    """How strongly each state is read, the rms of C; None where C is not stored for all of it."""
    if "C" not in states or "state" not in array.dims or array.name == "C":
        return None
    C = states["C"]
    if any(dim not in C.dims for dim in array.dims if _is(dim, PLACES)):
        return None
    C = C.isel(video=videos).astype(np.float32)
    over = [dim for dim in C.dims if not _is(dim, (*PLACES, "state"))]
    return (C**2).mean(over) ** 0.5


def _half_lives(
    states: xr.Dataset, array: xr.DataArray, model: VideoMamba | None
) -> xr.DataArray | str:
    """Half-lives of each channel and state, or what is missing for them."""
    names = ("layer", "direction", "channel", "state")
    if not {"layer", "direction", "channel", "state"} <= set(array.dims):
        return f"{array.name} has no dims {', '.join(names)}, of which half-lives are."
    layers, directions = array["layer"].values, [str(d) for d in array["direction"].values]
    hooks = {
        (int(layer), name): f"layers.{layer}.mixer.ssm_{name}.hook_delta"
        for layer in layers
        for name in directions
    }
    missing = [hook for hook in hooks.values() if not _is_mean(states, hook)]
    if missing:
        also = " (delta alone is the mean over channels)" if "delta" in states else ""
        return (
            f"Half-lives need the step sizes of each channel{also}: {len(missing)} of "
            f"{len(hooks)} are not stored, {missing[0]} first; extract them as {missing[0]}:mean."
        )
    if model is None:
        return "Half-lives need the decay rates A of the model: pass it as model=."
    known = states.attrs.get("model", {}).get("fingerprint")
    if fingerprint(model) != known:
        raise ValueError(
            f"statistics: the model has the fingerprint {fingerprint(model)} and the store was "
            f"made with {known}; pass the model that made it."
        )
    rates = {(scan.layer, scan.direction): scan.ssm.A for scan in scans(model)}
    found = np.empty([array.sizes[dim] for dim in names])
    for (layer, name), hook in hooks.items():
        delta, count = np.zeros(array.sizes["channel"]), 0
        for _, values in blocks(states[hook]):
            flat = values.reshape(-1, values.shape[-1])
            delta, count = delta + flat.sum(0, dtype=np.float64), count + len(flat)
        A = rates[layer, name].detach().double().abs().cpu().numpy()
        place = list(layers).index(layer), directions.index(name)
        found[place] = math.log(2) / ((delta / count)[:, None] * A)
    coords = {"layer": layers, "direction": directions}
    return xr.DataArray(found, coords, names, attrs={"unit": "tokens"})


def _is_mean(states: xr.Dataset, hook: str) -> bool:
    """Whether the mean over the stored values is that over the tokens."""
    asked = {one["name"]: one for one in states.attrs.get("quantities", ())}
    return hook in states and asked.get(hook, {}).get("reduction", "none") != "max"
