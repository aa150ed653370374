"""The store: its arrays, its identity, its lock, and what it takes before anything runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmamba_explore.datasets.lists import VideoList
from vmamba_explore.errors import check_fields, one_line, shown
from vmamba_explore.files import AnyPath, atomic_folder
from vmamba_explore.model.checkpoints import fingerprint
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.stores.quantities import Quantity, Variable, variables

FORMAT = 1
UNSEEN, DONE, BROKEN = 0, 1, 2
"""What `done` says of a video: not yet, its region is whole, it could not be read."""
LARGEST_CHUNK = 4 * 2**20
"""Bytes of a chunk; the values of a video that are more have several."""
SPLIT_FIRST = ("layer", "clip", "direction", "frame", "row")
"""Dims along which these are split, the first one first."""
KNOWN = ("seconds", "indices", "error", "done")
"""What a store holds of each video beside its quantities."""
LISTED = 10_000
"""Videos in a chunk of what is known beforehand: paths and labels."""


@dataclass(frozen=True)
class Sampling:
    """Which frames of a video are shown to the model.

    Args:
        num_frames: Frames of a clip.
        img_size: Height and width, pixels.
        stride: Source frames from one frame of a clip to the next; None spreads one clip over the
            whole video.
        clips_per_video: Clips, spread evenly from the start of the video to its end; one is its
            middle.
    Raises:
        ValueError: less than one clip, or several that are each spread over the whole video.
    """

    num_frames: int
    img_size: int
    stride: int | None = 2
    clips_per_video: int = 1

    def __post_init__(self) -> None:
        check_fields(
            self,
            clips_per_video=(
                self.clips_per_video >= 1
                and (self.clips_per_video == 1 or self.stride is not None),
                "at least 1, and 1 where stride is None: one clip is spread over the video",
            ),
        )


@dataclass(frozen=True)
class Layout:
    """What a store holds of each video.

    Args:
        variables: The quantities.
        sampling: Which frames are shown.
    """

    variables: tuple[Variable, ...]
    sampling: Sampling

    def arrays(self, count: int) -> dict[str, dict[str, Any]]:
        """The arrays of a store of so many videos, as `zarr.Group.create_array` takes them."""
        clips, frames = self.sampling.clips_per_video, self.sampling.num_frames
        listed = max(1, min(count, LISTED))

        def known(dtype: Any, fill: Any, chunk: int) -> dict[str, Any]:
            return _array(("video",), (count,), (chunk,), dtype, fill)

        found = {"path": known(str, "", listed), "label": known("int64", -1, listed)}
        for one in self.variables:
            dims, shape = ("video", "clip", *one.dims), (count, clips, *one.shape)
            chunks = (1, *_chunk(dims[1:], shape[1:], one.quantity.values.itemsize))
            found[one.name] = _array(dims, shape, chunks, one.quantity.dtype, np.nan)
        shown_dims, each = ("video", "clip", "clip_frame"), (clips, frames)
        for name, dtype, fill in (("seconds", "float64", np.nan), ("indices", "int64", -1)):
            found[name] = _array(shown_dims, (count, *each), (1, *each), dtype, fill)
        found["error"] = known(str, "", 1)
        found["done"] = known("uint8", UNSEEN, 1)
        return found

    def labels(self) -> dict[str, Sequence[Any]]:
        """By dim, what its places are called."""
        found: dict[str, Sequence[Any]] = {}
        for one in self.variables:
            for dim, places in one.labels.items():
                if dim.startswith("patch"):
                    found |= {f"{dim}_row": [r for r, _ in places]}
                    found |= {f"{dim}_col": [c for _, c in places]}
                else:
                    found[dim] = list(places)
        return found

    def settings(self) -> dict[str, Any]:
        """What tells this layout from others, as a store's attributes have it."""
        return {
            "quantities": [one.quantity.to_dict() for one in self.variables],
            "sampling": asdict(self.sampling),
        }


def _array(dims: Any, shape: Any, chunks: Any, dtype: Any, fill: Any) -> dict[str, Any]:
    return {
        "dimension_names": dims,
        "shape": shape,
        "chunks": chunks,
        "dtype": dtype,
        "fill_value": fill,
        "compressors": None,
    }


def _chunk(dims: Sequence[str], shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """The shape of a chunk of one video's values."""
    chunk = dict(zip(dims, shape, strict=True))
    for first in SPLIT_FIRST:
        for dim in (dim for dim in dims if dim.partition("_of_")[0] == first):
            size = itemsize * int(np.prod(list(chunk.values()), dtype=np.int64))
            parts = min(chunk[dim], -(-size // LARGEST_CHUNK))
            chunk[dim] = -(-chunk[dim] // parts)  # equal parts, as the last one is padded
    return tuple(chunk.values())


class StateStore:
    """A store that is open to be written, a video at a time, by any number of processes.

    Every chunk belongs to one video and is replaced at once, and `done` is written last, so that
    the store can be read at any moment, whatever is killed.

    Args:
        path: Its folder.
    Raises:
        ValueError: it is not a store of states, or one of another version.
        ImportError: zarr is not installed.
    """

    def __init__(self, path: AnyPath) -> None:
        zarr = import_zarr()
        self.path = Path(path)
        try:
            self.group = zarr.open_group(str(self.path), mode="r+", zarr_format=3)
            self.attrs = dict(self.group.attrs)
            known = self.attrs.get("format")
        except (FileNotFoundError, ValueError, KeyError):
            known = None
        if known != FORMAT:
            what = "is not a store of states" if known is None else f"has the format {shown(known)}"
            raise ValueError(
                f"extract: {one_line(path)} {what}, expected one that extract made (format "
                f"{FORMAT}); name another folder."
            )
        self.sampling = Sampling(**self.attrs["sampling"])
        self.quantities = tuple(Quantity(**one) for one in self.attrs["quantities"])
        self._arrays: dict[str, Any] = {}
        self._variables: tuple[VideoMamba, tuple[Variable, ...]] | None = None

    @property
    def names(self) -> list[str]:
        """What it holds of each video."""
        return [*(one.name for one in self.quantities), *KNOWN]

    def variables(self, model: VideoMamba) -> tuple[Variable, ...]:
        """Its variables.

        Args:
            model: The model that it is for.
        Raises:
            ValueError: it is for another one.
        """
        if self._variables is None or self._variables[0] is not model:
            if (now := fingerprint(model)) != self.attrs["model"]["fingerprint"]:
                raise ValueError(
                    f"extract: {one_line(self.path)} holds what another model made "
                    f"({_called(self.attrs['model'])}; this one has {now})."
                )
            self._variables = model, variables(model, self.quantities)
        return self._variables[1]

    def array(self, name: str) -> Any:
        """One of its arrays."""
        if name not in self._arrays:
            self._arrays[name] = self.group[name]
        return self._arrays[name]

    @cached_property
    def count(self) -> int:
        """How many videos it is for."""
        return int(self.array("done").shape[0])

    def done(self) -> NDArray[np.uint8]:
        """What is known of each video now: `UNSEEN`, `DONE` or `BROKEN`."""
        return done_states(self.path)

    def write(self, number: int, values: Mapping[str, Any]) -> None:
        """Write the region of a video, and then that it is done.

        Raises:
            OSError: the disk is full, or the store cannot be written to; what is done is kept.
        """
        with self._said():
            for name, value in values.items():
                self.array(name)[number] = value
            if self.array("error")[number] != "":
                self.array("error")[number] = ""
            self.array("done")[number] = DONE

    def give_up(self, number: int, reason: str) -> None:
        """Note that a video cannot be read, and why."""
        with self._said():
            self.array("error")[number] = reason
            self.array("done")[number] = BROKEN

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        """Raise what the system refused as a sentence."""
        try:
            yield
        except OSError as error:
            raise OSError(
                error.errno,
                f"extract: cannot write to the store ({error.strerror}); the videos that are done "
                "are kept, and the same command resumes",
                one_line(self.path),
            ) from None


def done_states(folder: AnyPath) -> NDArray[np.uint8]:
    """What is known of each video of a store now: `UNSEEN`, `DONE` or `BROKEN`.

    Each is a chunk of one byte, which is read as the file that it is: by zarr it takes ten times as
    long.
    """
    array = import_zarr().open_array(os.path.join(folder, "done"), mode="r", zarr_format=3)
    if array.chunks != (1,) or array.compressors or array.filters:
        return np.asarray(array[:], np.uint8)
    found = np.full(array.shape, UNSEEN, np.uint8)
    with (
        contextlib.suppress(FileNotFoundError),
        os.scandir(os.path.join(folder, "done", "c")) as it,
    ):
        for entry in it:
            if entry.name.isdigit():  # others are being written
                with open(entry.path, "rb") as file:
                    found[int(entry.name)] = file.read(1)[0]
    return found


def import_zarr() -> Any:
    """Return the package zarr, or say how to install it."""
    try:
        import zarr
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "extract needs the package zarr, which is not installed: pip install "
            "'vmamba-explore[extract]'."
        ) from None
    return zarr


def prepare(
    path: AnyPath, layout: Layout, videos: VideoList, model: Mapping[str, Any]
) -> StateStore:
    """Open the store of an extraction, made where there is none.

    Args:
        path: Its folder.
        layout: What it is to hold.
        videos: Of these.
        model: Which model: "fingerprint", and what loads it again.
    Raises:
        ValueError: what is there is not a store, or one of another model, list, quantities or
            sampling.
        OSError: it cannot be written.
    """
    if not os.path.isdir(path) or not os.listdir(path):
        with contextlib.suppress(FileExistsError):  # another run was a moment faster
            atomic_folder(path, lambda new: _make(new, layout, videos, model), replace=False)
    store = StateStore(path)
    _check(store, layout, videos, model)
    return store


def _make(folder: Path, layout: Layout, videos: VideoList, model: Mapping[str, Any]) -> None:
    """Write the metadata of a store, and what is known of its videos beforehand."""
    group = import_zarr().create_group(
        store=str(folder),
        zarr_format=3,
        attributes={
            "format": FORMAT,
            "model": dict(model),
            "videos": videos.identity(),
            "class_names": list(videos.class_names),
            **layout.settings(),
        },
    )
    whole = {"write_empty_chunks": True}  # labels may all be what an array is filled with
    arrays = {
        name: group.create_array(name, **one, config=whole)
        for name, one in _all_arrays(layout, videos)
    }
    if videos.videos:
        arrays["path"][:] = np.array([as_text(video.path) for video in videos.videos], dtype=object)
        arrays["label"][:] = [video.label for video in videos.videos]
    for name, places in layout.labels().items():
        arrays[name][:] = np.array(places, dtype=object if isinstance(places[0], str) else None)


def _all_arrays(layout: Layout, videos: VideoList) -> Iterator[tuple[str, dict[str, Any]]]:
    attributes = {one.name: {"attributes": one.attrs()} for one in layout.variables}
    for name, array in layout.arrays(len(videos)).items():
        yield name, array | attributes.get(name, {})
    for name, places in layout.labels().items():
        dim = name.removesuffix("_row").removesuffix("_col")
        kind = str if isinstance(places[0], str) else "int64"
        size = (len(places),)
        yield name, _array((dim,), size, size, kind, "" if kind is str else 0)


def as_text(path: AnyPath) -> str:
    """A path as text that every reader takes; a name that is not UTF-8 has escapes."""
    return os.fsdecode(path).encode(errors="backslashreplace").decode()


def _check(store: StateStore, layout: Layout, videos: VideoList, model: Mapping[str, Any]) -> None:
    """Raise ValueError where a store is not that of an extraction."""
    begin = f"extract: {one_line(store.path)} holds"
    end = "Name another store, or use what this one was made with to go on with it."
    there = store.attrs["model"]
    if there["fingerprint"] != model["fingerprint"]:
        raise ValueError(
            f"{begin} what another model made ({_called(there)}, now {_called(model)}). {end}"
        )
    if store.attrs["videos"] != videos.identity():
        before, other = store.attrs["videos"], videos.identity()
        raise ValueError(
            f"{begin} another list of videos ({one_line(before['name'])}, {before['videos']} "
            f"videos; now {one_line(other['name'])}, {other['videos']}). {end}"
        )
    settings = layout.settings()
    if store.attrs["quantities"] != settings["quantities"]:
        known = ", ".join(_said_as(one) for one in store.attrs["quantities"])
        now = ", ".join(_said_as(one) for one in settings["quantities"])
        raise ValueError(f"{begin} other quantities ({known}; now {now}). {end}")
    for name, value in settings["sampling"].items():
        if store.attrs["sampling"][name] != value:
            raise ValueError(
                f"{begin} other frames: {name} is {store.attrs['sampling'][name]}, now {value}. "
                f"{end}"
            )


def _called(model: Mapping[str, Any]) -> str:
    return f"{one_line(model.get('name') or 'a model')} with the fingerprint {model['fingerprint']}"


def _said_as(chosen: Mapping[str, Any]) -> str:
    """A quantity as a request."""
    rest = [f"{key} {shown(value, 30)}" for key, value in chosen.items() if key != "name"]
    return f"{chosen['name']} ({', '.join(rest)})"
