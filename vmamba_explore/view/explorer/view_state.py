"""ViewState: what an explorer shows at one moment, without the widget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from vmamba_explore.view.explorer.exploration import Exploration


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
