"""Exploration: every number that the explorer shows of one clip; ViewState: what it shows now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import xarray as xr
from jaxtyping import Int64

from vmamba_explore.clips import Clip
from vmamba_explore.errors import one_line, shown
from vmamba_explore.view.pictures import first_clip_frames, token_frames
from vmamba_explore.view.progress import Report

if TYPE_CHECKING:
    from vmamba_explore.analysis.camera_motion import CameraMotion
    from vmamba_explore.analysis.channels import Channels
    from vmamba_explore.analysis.controls import Controls
    from vmamba_explore.analysis.headline import Decisive
    from vmamba_explore.analysis.lens import LensReading
    from vmamba_explore.attribution.clip_scores import ClipScore
    from vmamba_explore.view.live.portable import PortableModel

DIMS = ("layer", "direction", "frame", "row", "col")
"""The dims of a map; one that does not depend on layer and direction lacks the first two."""

STATE_MAP = "state"
"""The quantity that is one hidden state, asked of the kernel; it is not among the maps."""
STATE_LABEL = "state {state} of channel {channel}, layer {layer}"
STATE_ABOUT = (
    "State {state} of channel {channel} in each direction's scan, at each token as its output is "
    "read from it: h times the rms over tokens of the C that reads it. The two directions share "
    "the channel, not the parameters of the scan."
)

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


@runtime_checkable
class Changing(Protocol):
    """Answers questions by click: the same clip, with the model changed."""

    def choices(self) -> dict[str, Any]:
        """What a reader can choose among: "classes", the names of all classes by number."""

    def changed(
        self,
        changes: Any,
        known: Sequence[Exploration],
        first: Sequence[str],
        report: Report,
    ) -> Changed:
        """Run the model with some changes.

        Args:
            changes: What a browser sent: a list of changes, each an object with "kind".
            known: Explorations of the model as it is; the first is the one that was shown first.
            first: Names of the maps to compute at once.
            report: Told often what is being done; what it raises stops it.
        Raises:
            ValueError: a change is not one, or the model has no such direction, layer, patch,
                frame or class; the message is a sentence.
        """


@dataclass(frozen=True, eq=False)
class Changed:
    """What changes of a model came to.

    Attributes:
        sides: The model as it is and, where it was changed, the changed one.
        changes: The changes as the browser sends them, each with "words".
        code: Python that does the same.
    """

    sides: tuple[Exploration, ...]
    changes: list[dict[str, Any]]
    code: str


class StateChoice(NamedTuple):
    """A state that stands out among those of a scan.

    Args:
        words: In what it does.
        direction: Of the scan.
        channel, state: Which one.
        value: In what it does, the number.
        unit: Of the number.
    """

    words: str
    direction: str
    channel: int
    state: int
    value: float
    unit: str


@runtime_checkable
class SingleStates(Protocol):
    """The live backend for single hidden states; a saved page has none."""

    @property
    def shape(self) -> tuple[int, int]:
        """How many channels a scan has, and how many states a channel."""

    def state(self, layer: int, channel: int, state: int) -> xr.DataArray:
        """Return one state at every token: dims direction, frame, row, col, signed.

        Args:
            layer, channel, state: Which one.
        Returns:
            h times the rms of the C that reads it.
        Raises:
            ValueError: there is no such state.
        """

    def choices(self, layer: int, token: Token) -> list[StateChoice]:
        """Return the states that stand out: by contribution, by size, by how long they last.

        Args:
            layer: Block number.
            token: Also the largest there; None: no such choice.
        """


@runtime_checkable
class Windows(Protocol):
    """Runs the model on another stretch of the file that a clip was read from."""

    def window(self) -> dict[str, Any]:
        """Where the clip lies.

        Returns:
            "name" of the file; "first" and "last" frame; "spread": whether a clip that starts
            elsewhere ends with the file, too; "least": how many frames it covers at least; "code",
            Python that shows it.
        """

    def moved(self, start: int, first: Sequence[str], report: Report) -> Moved:
        """Run the model on the clip that starts at another frame.

        Args:
            start: That frame; the clip stays within the file.
            first: Names of the maps to compute at once.
            report: Told often what is being done; what it raises stops it.
        Raises:
            ClipError: the file is gone, or damaged there; the message is a sentence.
        """


@dataclass(frozen=True, eq=False)
class Moved:
    """What was found in another stretch of a file.

    Attributes:
        sides: The clip there and, where there was one, what it is compared with.
        changing: Runs the model changed on that clip.
        windows: Moves on from there.
    """

    sides: tuple[Exploration, ...]
    changing: Changing | None
    windows: Windows


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
        classes: The most probable ones, highest first: (name, probability); none of an encoder.
        target: What `maps` of contributions and `curves` of evidence explain: the class, or two
            of which the second's logit is subtracted ("right - left").
        explained: The numbers of those classes, the second None where nothing is subtracted; both
            None where a direction is explained.
        model: The model's name; empty where none has run.
        steps: By direction, at which step its scan reads each token: int64 (frame, row, col),
            steps counted from 0 and the class token's included. Empty where nothing is known but
            maps of a clip without directions.
        cls_steps: By direction, at which step it reads the class token; empty without one.
        deciding: First and last clip frame of each stretch that decides the label; empty where that
            is not known.
        name: What this side of a comparison is called; by default the clip's source.
        live: Live backend for hidden attention, or None.
        states: Live backend for single states, or None.
        lens: What the bundled probes read from the states after each token frame, or None.
        numbers: Live backend for the panel of numbers, or None.
        controls: What the model says of the clip frozen, reversed and shuffled, or None.
        camera: What the camera does, measured without learning, where the model names it, or None.
        headline: Where the explained logit is decided, or None.
        later: Computes what is missing yet and returns the complete exploration, whose `later` is
            None. It gets a `Report`, or None; what that raises stops it.
        coming: Names of the maps that `later` may add.
        portable: Makes the model plain data, for a page that runs it; None where there is no model,
            or where it ran edited.
    """

    clip: Clip
    maps: Mapping[str, xr.DataArray]
    curves: Mapping[str, xr.DataArray] = field(default_factory=dict)
    classes: Sequence[tuple[str, float]] = ()
    target: str = ""
    explained: tuple[int | None, int | None] = (0, None)
    model: str = ""
    steps: Mapping[str, Int64[np.ndarray, "frame row col"]] = field(default_factory=dict)
    cls_steps: Mapping[str, int] = field(default_factory=dict)
    deciding: Sequence[tuple[int, int]] = ()
    name: str = ""
    live: Live | None = None
    states: SingleStates | None = None
    lens: LensReading | None = None
    numbers: Numbers | None = None
    controls: Controls | None = None
    camera: CameraMotion | None = None
    headline: Decisive | None = None
    later: Callable[[Report | None], Exploration] | None = field(default=None, repr=False)
    coming: Sequence[str] = ()
    portable: Callable[[], PortableModel] | None = field(default=None, repr=False)

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

    def complete(self, report: Report | None = None) -> Exploration:
        """Return the exploration with everything that is missing computed.

        Args:
            report: Told what is being done; what it raises stops the work.
        """
        return self if self.later is None else self.later(report)

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

    @property
    def opening(self) -> dict[str, Any]:
        """The quantity, layer, direction and frame of the headline, as traits of an explorer."""
        found = self.headline
        if found is None or "contribution" not in self.maps or not found.told:
            return {}
        layer, direction = found.scan
        return {
            "quantity": "contribution",
            "frame": int(self.first_clip_frames[found.frame]),
            **({"layer": layer} if layer in self.layers else {}),
            **({"direction": direction} if found.scan_clear else {}),
        }

    def dataset(self) -> xr.Dataset:
        """Return all maps and curves as one labeled dataset; names with "_" for spaces."""
        arrays = {
            name.replace(" ", "_"): values.rename(name.replace(" ", "_"))
            for name, values in {**self.maps, **self.curves}.items()
        }
        attrs = {"clip": self.clip.source, "model": self.model, "target": self.target}
        return xr.Dataset(arrays, attrs=attrs)


def check_pair(one: Exploration, other: Exploration) -> None:
    """Refuse two explorations that cannot be shown in step.

    Raises:
        ValueError: they differ in frames, layers, directions or tokens, or share no map.
    """
    for what, mine, theirs in (
        ("clip frames", one.clip.num_frames, other.clip.num_frames),
        ("layers", one.layers, other.layers),
        ("directions", one.directions, other.directions),
        ("token grids", one.grid, other.grid),
    ):
        if mine != theirs:
            raise ValueError(
                f"Explorer: the two explorations have different {what}: {mine} and {theirs}. "
                "Compare two clips through one model, explored with the same options."
            )
    if not set(one.maps) & set(other.maps):
        raise ValueError(
            f"Explorer: the two explorations have no map in common: {', '.join(one.maps)} and "
            f"{', '.join(other.maps)}."
        )


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
    channel: int = 0
    state_number: int = 0
    pixels: Literal["source", "model"] = "source"

    @property
    def maps(self) -> list[xr.DataArray]:
        """The map that is shown, of each side; none where there is none.

        Raises:
            ValueError: it is that of a state, and there is no model to ask.
        """
        if not self.quantity:
            return []
        if self.quantity == STATE_MAP:
            return [
                state_of(side, self.layer, self.channel, self.state_number) for side in self.sides
            ]
        return [side.maps[self.quantity] for side in self.sides]

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


def state_label(layer: int, channel: int, number: int) -> str:
    """Return what to call the map of one state."""
    return STATE_LABEL.format(state=number, channel=channel, layer=layer)


def state_of(side: Exploration, layer: int, channel: int, number: int) -> xr.DataArray:
    """Return one state of one side as a map: `DIMS`, of one layer.

    Raises:
        ValueError: there is no model to ask, or no such state.
    """
    if side.states is None:
        raise ValueError(
            "Explorer: there is no model to ask for a state; explore(...) makes an explorer that "
            "has one."
        )
    found = side.states.state(layer, channel, number)
    about = STATE_ABOUT.format(state=number, channel=channel)
    attrs = {"unit": "", "about": about, "log": False, "signed": True}
    return found.expand_dims(layer=[layer]).transpose(*DIMS).assign_attrs(attrs)
