"""Stores that are made by hand, of values that a test chooses, and films to make others of."""

import numpy as np
import xarray as xr

from vmamba_explore.clips.encode import write_clip
from vmamba_explore.stores.layout import DONE, FORMAT

TEXT = np.dtypes.StringDType()


def write_film(path, seed, frames=12):
    """Write a film of noise, 32 pixels wide."""
    small = np.random.default_rng(seed).integers(0, 255, (frames, 4, 4, 3), np.uint8)
    write_clip(path, small.repeat(8, 1).repeat(8, 2))


def made(path, values, labels=None, *, done=None, paths=None, dims=None, **attrs):
    """Write a store of some quantities, arrays (video, clip, ...), and return its folder.

    Args:
        path: The folder.
        values: By quantity.
        labels: One a video; 0 by default.
        done: One a video; all by default.
        paths: One a video.
        dims: By quantity, the dims after video and clip; "feature" by default.
        attrs: What else its attributes have.
    """
    first = next(iter(values.values()))
    count, clips = first.shape[:2]
    data = {
        name: (("video", "clip", *(dims or {}).get(name, ("feature",))), value)
        for name, value in values.items()
    }
    labels = np.zeros(count) if labels is None else labels
    data["path"] = ("video", np.array(paths or [f"/films/{n}.mp4" for n in range(count)], TEXT))
    data["label"] = ("video", np.asarray(labels, np.int64))
    data["done"] = ("video", np.asarray([DONE] * count if done is None else done, np.uint8))
    data["error"] = ("video", np.array([""] * count, TEXT))
    shown = ("video", "clip", "clip_frame")
    data["seconds"] = (shown, np.zeros((count, clips, 4)))
    data["indices"] = (shown, np.zeros((count, clips, 4), np.int64) + np.arange(4))
    listed = {"name": "films", "videos": count, "labels": 0}
    attrs = {"format": FORMAT, "class_names": [], "videos": listed, "model": {}} | attrs
    chunks = {name: {"chunks": (1, *array.shape[1:])} for name, (_, array) in data.items()}
    xr.Dataset(data, attrs=attrs).to_zarr(path, zarr_format=3, consolidated=False, encoding=chunks)
    return path
