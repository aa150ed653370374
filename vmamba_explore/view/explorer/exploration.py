"""Exploration: every number that the explorer shows of one clip; ViewState: what it shows now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import xarray as xr
from jaxtyping import Int64

from vmamba_explore.clips import Clip
from vmamba_explore.errors import one_line, shown
from vmamba_explore.view.pictures import first_clip_frames, token_frames

if TYPE_CHECKING:
    from vmamba_explore.analysis.camera_motion import CameraMotion
    from vmamba_explore.analysis.channels import Channels
    from vmamba_explore.analysis.controls import Controls
    from vmamba_explore.attribution.clip_scores import ClipScore

DIMS = ("layer", "direction", "frame", "row", "col")
"""The dims of a map; one that does not depend on layer and direction lacks the first two."""

Token = tuple[int, int, int] | None
"""A place (frame, row, col), or None: what the logits are read from."""


@runtime_checkable
class Numbers(Protocol):
    """What the panel of numbers asks of a running kernel (see `NumbersPanel`)."""

    def methods(self) -> tuple[str, ...]:
        """The attribution methods that `score` knows; empty where there is nothing to score."""

    def truth(self) -> npt.NDArray[np.bool_] | None:
        """The tokens that show what decides, (frame, row, col); None where that is unknown."""

    def card(self) -> Path | None:
        """The bundled figure of this model's score card; None where there is none."""

    def states(self, layer: int, place: tuple[int, int] | None = None) -> xr.DataArray:
        """Return the state in every token frame: dims direction, frame, channel, state.

        Args:
            layer: Block number.
            place: (row, col): after the token there. None: after the frame.
        """

    def channels(self, layer: int, direction: str) -> Channels:
        """Return numbers of every channel of a scan."""

    def half_lives(self, layer: int) -> xr.DataArray:
        """Return how many tokens every state lasts: dims direction, channel, state."""

    def score(
        self, methods: Sequence[str], report: Callable[[str, float], None] | None = None
    ) -> Iterator[ClipScore]:
        """Explain the clip with several methods, and score each map.

        Args:
            methods: Some of `methods()`.
            report: Told often what is being done, and the share done; what it raises ends it.
        """


@runtime_checkable
class Live(Protocol):
    """The live backend for hidden attention; a saved page has none."""

    def attention(self, layer: int, token: Token) -> xr.Dataset:
        """Return which tokens a token reads, and which read it, in one layer.

        Args:
            layer: Block number.
            token: A place, or None for what the logits are read from.
        Returns:
            `reads`, and `read_by` where the token is one place: dims direction, frame, row, col;
            NaN where the scan cannot have read one from the other.
        Raises:
            ValueError: what was asked for cannot be given; the message says why.
        """


@dataclass(frozen=True, eq=False)
class Exploration:
    """All numbers of one clip that the explorer shows.

    Attributes:
        clip: The frames the model saw.
        maps: By name, a number for every token: dims frame, row, col, and layer, direction before
            them where it has them, natural clip order; NaN where there is no value. `attrs` hold
            "unit", "about" (a sentence), "log" (draw it on a logarithmic scale, all values
            positive) and "signed".
        curves: By name, dim frame: numbers for every token frame, in `attrs["unit"]`. Where
            `attrs["direction"]` is given, the curve has that direction's color.
        classes: The most probable ones, highest first: (name, probability).
        target: What `maps` of contributions and `curves` of evidence explain: the class, or two
            of which the second's logit is subtracted ("right - left").
        explained: The numbers of those classes, the second None where nothing is subtracted.
        model: The model's name; empty where none has run.
        steps: By direction, at which step its scan reads each token: int64 (frame, row, col),
            steps counted from 0 and the class token's included. Empty where nothing is known but
            maps of a clip without directions.
        cls_steps: By direction, at which step it reads the class token; empty without one.
        deciding: First and last clip frame of what decides the label, where that is known.
        name: What this side of a comparison is called; by default the clip's source.
        live: Live backend for hidden attention, or None.
        numbers: Live backend for the panel of numbers, or None.
        controls: What the model says of the clip frozen, reversed and shuffled, or None.
        camera: What the camera does, measured without learning, where the model names it, or None.
    """

    clip: Clip
    maps: Mapping[str, xr.DataArray]
    curves: Mapping[str, xr.DataArray] = field(default_factory=dict)
    classes: Sequence[tuple[str, float]] = ()
    target: str = ""
    explained: tuple[int, int | None] = (0, None)
    model: str = ""
    steps: Mapping[str, Int64[np.ndarray, "frame row col"]] = field(default_factory=dict)
    cls_steps: Mapping[str, int] = field(default_factory=dict)
    deciding: tuple[int, int] | None = None
    name: str = ""
    live: Live | None = None
    numbers: Numbers | None = None
    controls: Controls | None = None
    camera: CameraMotion | None = None

    def __post_init__(self) -> None:
        if self.steps and not self.maps:
            raise ValueError("Exploration: maps is empty, expected at least one.")
        if not self.steps and any("direction" in values.dims for values in self.maps.values()):
            raise ValueError("Exploration: steps is empty, expected those of every direction.")
        for name, values in self.maps.items():
            if values.dims not in (DIMS, DIMS[2:]) or 0 in values.shape:
                raise ValueError(
                    f"Exploration: map {shown(name)} has dims {dict(values.sizes)}, expected "
                    f"{', '.join(DIMS)}, or the last three, none empty."
                )
        shapes = {values.shape[-3:] for values in self.maps.values()}
        shapes |= {steps.shape for steps in self.steps.values()}
        if len(shapes) > 1:
            raise ValueError(
                f"Exploration: maps and steps are over grids of {sorted(shapes)} tokens, expected "
                "one grid (frame, row, col)."
            )

    @property
    def title(self) -> str:
        """What to call it: `name`, or the clip's source."""
        return one_line(self.name) or self.clip.source

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions of the model's scans."""
        return tuple(self.steps)

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers of the maps, by number."""
        for values in self.maps.values():
            if "layer" in values.dims:
                return tuple(int(layer) for layer in values["layer"].values)
        return ()

    @property
    def first_clip_frames(self) -> Int64[np.ndarray, " frame"]:
        """The first clip frame of each token frame."""
        known = (values for values in self.maps.values() if "clip_frame" in values.coords)
        unknown = xr.DataArray(np.empty(self.grid[0]), dims="frame")
        return first_clip_frames(next(known, unknown), self.clip.num_frames)

    @property
    def grid(self) -> tuple[int, int, int]:
        """Token frames, rows and columns; a token for each clip frame where nothing tells."""
        shapes = [steps.shape for steps in self.steps.values()]
        shapes += [values.shape for values in self.maps.values()]
        for *_, frames, rows, cols in shapes:
            return frames, rows, cols
        return self.clip.num_frames, 1, 1

    @property
    def token_frames(self) -> list[int]:
        """The token frame of each clip frame."""
        return token_frames(self.first_clip_frames, self.clip.num_frames).tolist()

    def dataset(self) -> xr.Dataset:
        """Return all maps and curves as one labeled dataset; names with "_" for spaces."""
        arrays = {
            name.replace(" ", "_"): values.rename(name.replace(" ", "_"))
            for name, values in {**self.maps, **self.curves}.items()
        }
        attrs = {"clip": self.clip.source, "model": self.model, "target": self.target}
        return xr.Dataset(arrays, attrs=attrs)


@dataclass(frozen=True, eq=False)
class ViewState:
    """What an explorer shows: one side or two, and the traits of `Explorer` by the same names."""

    sides: tuple[Exploration, ...]
    frame: int
    quantity: str
    layer: int
    direction: str
    query: tuple[int, ...]
    opacity: float | int
    path: bool
    scale: Literal["layer", "all"]
    speed: float | int

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions of the model's scans; none for a clip with maps alone."""
        return self.sides[0].directions

    @property
    def one_direction(self) -> str | None:
        """The one direction that is shown; None where it is two."""
        return self.direction if self.direction in self.directions else None

    @property
    def token_frame(self) -> int:
        """The token frame of the clip frame."""
        return self.sides[0].token_frames[self.frame]

    @property
    def frames_per_second(self) -> float:
        """How fast the clip is played."""
        return (self.sides[0].clip.fps or 8.0) * self.speed


@runtime_checkable
class Viewed(Protocol):
    """A widget with a state to follow."""

    @property
    def view(self) -> ViewState:
        """What it shows now."""

    def observe(self, handler: Callable[..., Any], names: Any) -> None:
        """Call a function when one of the traits changes."""

    def unobserve(self, handler: Callable[..., Any], names: Any) -> None:
        """Call it no more."""
