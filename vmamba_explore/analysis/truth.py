"""How much of a map lies where it should, on clips whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float32
from numpy.typing import NDArray


@dataclass(frozen=True)
class ShareInside:
    """What part of a map lies inside a region, beside the region's part of the grid.

    Args:
        positive: Of the sum of the positive values.
        size: Of the sum of the absolute values.
        area: Of the tokens: what a map that knows nothing would reach.
    """

    positive: float
    size: float
    area: float

    @property
    def lift(self) -> float:
        """`positive` over `area`: 1 for a map that knows nothing."""
        return self.positive / self.area


def touched(
    mask: Bool[np.ndarray, "num_frames height width"], like: xr.DataArray
) -> Bool[np.ndarray, "frame row col"]:
    """Tell which tokens touch a region of the clip's pixels.

    Args:
        mask: The region, such as the `evidence` of a motion clip.
        like: A map with dims frame, row and col; gives the grid.
    Returns:
        True where at least one pixel of a token's tubelet is in the region.
    Raises:
        ValueError: the clip cannot be cut into that grid.
    """
    return touched_tokens(mask, tuple(like.sizes.get(dim, 0) for dim in ("frame", "row", "col")))


def touched_tokens(
    mask: Bool[np.ndarray, "num_frames height width"], shape: tuple[int, ...]
) -> Bool[np.ndarray, "frame row col"]:
    """As `touched`, for a grid of `shape` (frame, row, col)."""
    return token_share(mask, shape) > 0


def token_share(
    mask: Bool[np.ndarray, "num_frames height width"], shape: tuple[int, ...]
) -> Float32[np.ndarray, "frame row col"]:
    """Return the share of each token's tubelet that a mask covers; `touched` with shares."""
    sizes = tuple(mask.shape)
    if 0 in shape or any(size % count for size, count in zip(sizes, shape, strict=True)):
        raise ValueError(
            f"A mask of {sizes} (frames, height, width) cannot be cut into a grid of {shape} "
            "(frame, row, col); expected whole tubelets."
        )
    t, h, w = shape
    cut = mask.reshape(t, sizes[0] // t, h, sizes[1] // h, w, sizes[2] // w)
    return cut.mean(axis=(1, 3, 5), dtype=np.float32)


def in_window(
    window: tuple[int, int], like: xr.DataArray, tubelet_size: int | None = None
) -> Bool[np.ndarray, "frame row col"]:
    """Tell which tokens' tubelets hold a frame of the window.

    Args:
        window: First and last clip frame.
        like: A map with dims frame, row and col, and the coordinate `clip_frame`; all token
            frames or some of them.
        tubelet_size: Clip frames in a token frame. None: clip_frame over frame, which a map of
            token frame 0 alone does not tell.
    Raises:
        ValueError: a dim or clip_frame is missing, or the tubelet size is not known.
    """
    if not {"frame", "row", "col"} <= set(like.dims) or "clip_frame" not in like.coords:
        raise ValueError(
            f"in_window: got dims {like.dims} and coordinates {tuple(like.coords)}, expected "
            "frame, row and col, and the coordinate clip_frame; keep them when selecting."
        )
    first = like["clip_frame"].values
    length = _tubelet(like) if tubelet_size is None else tubelet_size
    frames = (first + length - 1 >= window[0]) & (first <= window[1])
    shape = [like.sizes[dim] for dim in ("frame", "row", "col")]
    return np.broadcast_to(frames[:, None, None], shape)


def _tubelet(like: xr.DataArray) -> int:
    """Clip frames in a token frame: clip_frame = frame * tubelet_size."""
    first = like["clip_frame"].values
    # without numbers of the frames nothing says whether they follow each other
    number = like["frame"].values if "frame" in like.coords else np.zeros(len(first), np.int64)
    later = number > 0
    sizes = set((first[later] / number[later]).tolist())
    if len(sizes) != 1 or not (size := sizes.pop()).is_integer():
        raise ValueError(
            f"in_window: token frames {number.tolist()} that begin at clip frames "
            f"{first.tolist()} do not tell how long a tubelet is; pass tubelet_size=."
        )
    return int(size)


def share_inside(values: xr.DataArray, region: NDArray[np.bool_]) -> ShareInside:
    """Measure how much of a map lies inside a region of the token grid.

    Args:
        values: Dims frame, row, col, and any others, which are summed.
        region: (frame, row, col).
    Returns:
        The shares; NaN where the map has nothing to share.
    Raises:
        ValueError: frame, row or col is missing, or the region has another shape.
    """
    dims = ("frame", "row", "col")
    if not set(dims) <= set(values.dims):
        raise ValueError(f"share_inside: got dims {values.dims}, expected frame, row and col.")
    maps = values.sum([dim for dim in values.dims if dim not in dims]).transpose(*dims).values
    if region.shape != maps.shape:
        raise ValueError(
            f"share_inside: the region is {region.shape}, the map (frame, row, col) {maps.shape}."
        )
    sizes = {"positive": np.clip(maps, 0, None), "size": np.abs(maps)}
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = {name: float(x[region].sum() / x.sum()) for name, x in sizes.items()}
    return ShareInside(**shares, area=float(region.mean()))
