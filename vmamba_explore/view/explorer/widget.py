"""Explorer: one linked view of a clip and all that was recorded of it, alone or beside another."""

from __future__ import annotations

import copy
import json
import uuid
from functools import partial
from pathlib import Path
from typing import Any, cast

import anywidget
import traitlets
from IPython.display import display

from vmamba_explore.errors import shown
from vmamba_explore.view.colors import DIRECTION_COLORS, color_table
from vmamba_explore.view.explorer.address import AnyState, read_state
from vmamba_explore.view.explorer.exploration import (
    STATE_MAP,
    Changing,
    Exploration,
    Token,
    ViewState,
    Windows,
    check_pair,
)
from vmamba_explore.view.explorer.exports import Exports
from vmamba_explore.view.explorer.film import film_work
from vmamba_explore.view.explorer.late import Sides
from vmamba_explore.view.explorer.packing import (
    common_maps,
    pack_answer,
    pack_late,
    pack_maps,
    pack_sides,
)
from vmamba_explore.view.explorer.panels import NumbersPanel
from vmamba_explore.view.explorer.runs import Runs
from vmamba_explore.view.explorer.states import choices_answer, state_answer
from vmamba_explore.view.explorer.still import still
from vmamba_explore.view.explorer.vocabulary import (
    BOTH,
    CHANGE,
    DIFFERENCE,
    LATE,
    MODEL,
    PICTURES,
    SOURCE,
    STATE,
    STRIP,
    TERMS,
    WINDOW,
)
from vmamba_explore.view.progress import Report
from vmamba_explore.view.visitors import told
from vmamba_explore.view.widgets.browser_code import (
    packed_code,
    read_code,
    read_style,
)
from vmamba_explore.view.widgets.guarded import Guarded

_HERE = Path(__file__).parent


def both_tables() -> bytes:
    """Return red, green and blue of the sequential colors, then of the diverging ones."""
    return color_table(signed=False).tobytes() + color_table(signed=True).tobytes()


class WrongValueError(traitlets.TraitError, ValueError):
    """A trait cannot have that value; of a message that sets several, none is then set."""


class Explorer(Guarded, Exports, anywidget.AnyWidget):
    """Look at a clip through the model: play it, lay any recorded quantity over it, query a patch.

    Everything recorded is sent once, so the browser needs no Python to play, scrub and switch
    layer, direction or quantity; it keeps working in a saved notebook and in the page that
    `to_html` writes. What a new patch reads, single states and changes of the model need a kernel,
    or the model inside that page.

    Args:
        exploration: What to show.
        other: A second one to show in step, with the difference (other - exploration): another
            clip, the clip reversed, or the same clip through an edited model.
        quantity: The map to show first; None for that of the headline, else the first one.
        changing: Runs the model changed, for questions by click; None where there is no model.
        windows: Runs it on another stretch of the clip's file; None where there is none.
        compact: Show the clip with its maps and nothing else (see `ClipPlayer`).

    Raises:
        ValueError: the two explorations do not fit together, or there is no such quantity.

    The traits below follow the browser and can be set:

    Attributes:
        frame: Clip frame, from 0.
        quantity: Name of the map laid over the frames; "" for none.
        layer: Block number.
        direction: "forward", "backward", "both" side by side, or their "difference" (forward -
            backward).
        query: The patch that is asked, [frame, row, col] in token frames; [] for what the logits
            are read from.
        opacity: Of the map, 0 to 1.
        path: Whether the order in which the scan reads is drawn.
        scale: "layer": colors span this layer's values; "all": those of all layers.
        speed: Of playing, as a factor.
        channel, state_number: Of the hidden state that the quantity "state" shows.
        pixels: "source": the frames in the browser have the pixels of the file, where it has more
            than the model sees; "model": those that the model sees.

    Set from Python only:

    Attributes:
        tour: Whether a tour of three steps opens by itself until the reader switches it off, which
            the browser remembers. An exported page opens none.
    """

    settable = STATE
    messages = ("request", "cancel")

    _css = read_style(_HERE.parent / "widgets" / "theme.css", _HERE / "explorer.css")
    _code = read_code(_HERE / "explorer.js")
    _esm = packed_code(_code)

    revision = traitlets.Int(0).tag(sync=True)  # one more when data below have changed
    sides = traitlets.List(traitlets.Dict()).tag(sync=True)  # one clip each, see pack_side
    late = traitlets.List(traitlets.Dict()).tag(sync=True)  # the same, what comes later
    maps = traitlets.List(traitlets.Dict()).tag(sync=True)  # what the maps are, see pack_maps
    levels = traitlets.Bytes().tag(sync=True)  # of those that are not late: uint8, one zlib stream
    late_levels = traitlets.Bytes().tag(sync=True)  # of those that are
    steps = traitlets.Bytes().tag(sync=True)  # int32, one zlib stream, see pack_steps
    cls_steps = traitlets.Dict().tag(sync=True)  # by direction
    layers = traitlets.List(traitlets.Int()).tag(sync=True)
    directions = traitlets.List(traitlets.Unicode()).tag(sync=True)
    colors = traitlets.Dict().tag(sync=True)  # of the directions
    token_frames = traitlets.List(traitlets.Int()).tag(sync=True)  # of each clip frame
    grid = traitlets.List(traitlets.Int()).tag(sync=True)  # token frames, rows, columns
    heading = traitlets.Unicode().tag(sync=True)
    key = traitlets.Unicode().tag(sync=True)  # by which the page's styles know this explorer
    terms = traitlets.Dict(TERMS).tag(sync=True)
    changes = traitlets.List(traitlets.Dict()).tag(sync=True)  # of the model, see Changing
    code = traitlets.Unicode("").tag(sync=True)  # Python that makes these changes
    choices = traitlets.Dict().tag(sync=True)  # what can be changed; empty without a model
    window = traitlets.Dict().tag(sync=True)  # of the file, see Windows; empty without one
    films = traitlets.List(traitlets.Dict()).tag(sync=True)  # of an exported page, see `to_html`
    compact = traitlets.Bool(False).tag(sync=True)
    tour = traitlets.Bool(True).tag(sync=True)
    state_shape = traitlets.List(traitlets.Int()).tag(sync=True)  # channels, states of each
    tables = traitlets.Bytes().tag(sync=True)  # red, green, blue: sequential, then diverging

    frame = traitlets.Int(0).tag(sync=True)
    quantity = traitlets.Unicode("").tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)
    direction = traitlets.Unicode(BOTH).tag(sync=True)
    query = traitlets.List(traitlets.Int()).tag(sync=True)
    opacity = traitlets.Float(0.55, min=0, max=1).tag(sync=True)
    path = traitlets.Bool(False).tag(sync=True)
    scale = traitlets.Enum(("layer", "all"), "layer").tag(sync=True)
    speed = traitlets.Float(0.5, min=0.05, max=4).tag(sync=True)
    channel = traitlets.Int(0).tag(sync=True)
    state_number = traitlets.Int(0).tag(sync=True)
    pixels = traitlets.Enum((SOURCE, MODEL), SOURCE).tag(sync=True)

    def __init__(
        self,
        exploration: Exploration,
        other: Exploration | None = None,
        *,
        quantity: str | None = None,
        changing: Changing | None = None,
        windows: Windows | None = None,
        compact: bool = False,
    ) -> None:
        sides: tuple[Exploration, ...] = (exploration,) if other is None else (exploration, other)
        if other is not None:
            check_pair(exploration, other)
        if quantity and quantity not in common_maps(sides):
            sides = tuple(side.complete() for side in sides)
        self._shown = Sides(sides, self._add)
        self._changing, self._windows = changing, windows
        self._runs = Runs()
        data = pack_sides(sides)
        directions = exploration.directions
        names = [item["name"] for item in data["maps"]]
        opening = exploration.opening if quantity is None and not compact else {}
        super().__init__(
            **data,
            colors=dict(DIRECTION_COLORS),
            choices={} if changing is None else changing.choices(),
            key=uuid.uuid4().hex[:12],
            state_shape=[] if exploration.states is None else list(exploration.states.shape),
            window={} if windows is None else windows.window(),
            compact=compact,
            tables=both_tables(),
            **{
                "quantity": next(iter(names), ""),
                "layer": exploration.layers[-1] if exploration.layers else 0,
                "direction": BOTH if len(directions) > 1 else "".join(directions),
                **(opening if opening.get("quantity") in names else {}),
                **({} if quantity is None else {"quantity": quantity}),
            },
        )

    @property
    def _sides(self) -> tuple[Exploration, ...]:
        return self._shown.now

    @property
    def explorations(self) -> tuple[Exploration, ...]:
        """What is shown, one side or two, complete: what is missing yet is computed first."""
        return self.complete()

    def complete(self, report: Report | None = None) -> tuple[Exploration, ...]:
        """Compute what is missing yet, and return the explorations.

        Args:
            report: Told what is being done; what it raises stops the work.
        """
        try:
            self._shown.catch_up(report)
        except KeyboardInterrupt:
            self._runs.cancel()
            raise
        return self._sides

    def replace(self, exploration: Exploration, other: Exploration | None = None) -> None:
        """Show something else in this place: frame, layer, direction and quantity stay.

        Args:
            exploration: What to show, of the same model.
            other: A second one to show in step.
        Raises:
            ValueError: the explorations do not fit together, or not into this explorer.
        """
        sides: tuple[Exploration, ...] = (exploration,) if other is None else (exploration, other)
        for each in sides:
            check_pair(self._sides[0], each)
        self._shown.unchanged, self._windows = sides, None
        self._put(sides, changes=[], code="", window={})

    def _put(self, sides: tuple[Exploration, ...], **traits: Any) -> None:
        """Show some sides, and set other traits with them, in one message to the browser."""
        data = pack_sides(sides)
        names = [item["name"] for item in data["maps"]]
        with self._shown.lock, self.hold_sync():
            self._shown.now = sides
            for name, value in {**data, **traits}.items():
                setattr(self, name, value)
            if self.quantity and self.quantity not in names:
                self.quantity = names[0]
            self.revision += 1

    def _add(self, sides: tuple[Exploration, ...]) -> None:
        """Send what sides have now and had not before."""
        there = {item["name"]: item for item in self.maps}
        first = [name for name in there if not there[name]["late"]]
        late = [name for name in common_maps(sides) if name not in first]
        described, levels = pack_maps(sides, late)
        there |= {item["name"]: {**item, "late": True} for item in described}
        with self.hold_sync():
            self.maps = [there[name] for name in common_maps(sides)]
            self.late_levels = levels
            self.late = [pack_late(side) for side in sides]
            self.revision += 1

    @traitlets.validate("frame")
    def _inside(self, proposal: dict[str, Any]) -> int:
        return min(max(proposal["value"], 0), self._sides[0].clip.num_frames - 1)

    @traitlets.validate("quantity", "layer", "direction")
    def _known(self, proposal: dict[str, Any]) -> str | int:
        name, value = proposal["trait"].name, proposal["value"]
        if name == "quantity" and any(value in side.coming for side in self._sides):
            self._shown.catch_up(None)
        several = [BOTH, DIFFERENCE] if len(self.directions) > 1 else []
        known: list[Any] = {
            "quantity": [
                *(item["name"] for item in self.maps),
                *([STATE_MAP] if self.state_shape else []),
                "",
            ],
            "layer": self.layers or [0],
            "direction": [*self.directions, *several] or [""],
        }[name]
        if value not in known:
            raise WrongValueError(
                f"Explorer: {name} is {shown(value)}, expected one of "
                f"{', '.join(map(repr, known))}."
            )
        return value

    @traitlets.validate("channel", "state_number")
    def _a_state(self, proposal: dict[str, Any]) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        at = ("channel", "state_number").index(name)
        count = self.state_shape[at] if self.state_shape else 1
        if not 0 <= value < count:
            raise WrongValueError(f"Explorer: {name} is {shown(value)}, expected 0 to {count - 1}.")
        return int(value)

    @traitlets.validate("query")
    def _on_the_grid(self, proposal: dict[str, Any]) -> list[int]:
        place = list(proposal["value"])
        shape = self._sides[0].grid
        inside = len(place) == 3 and all(
            0 <= n < size for n, size in zip(place, shape, strict=True)
        )
        if place and not inside:
            raise WrongValueError(
                f"Explorer: query is {place}, expected [frame, row, col] below {list(shape)}, or "
                "[] for what the logits are read from."
            )
        return place

    @property
    def view(self) -> ViewState:
        """What is shown now, as far as it is computed."""
        return ViewState(self._sides, **{**self.state(), "query": tuple(self.query)})

    def _complete_view(self) -> ViewState:
        self._shown.catch_up(None)
        return self.view

    def state(self) -> dict[str, Any]:
        """Return what is shown now as plain values: for a file, `restore`, or `explore(state=)`."""
        return {name: copy.copy(getattr(self, name)) for name in STATE}

    def restore(self, state: AnyState) -> None:
        """Show what another explorer showed.

        Args:
            state: Some of what `state()` returns, the address of an exported page, or what stands
                in it after the #.

        Raises:
            ValueError: it is not a state, or this explorer cannot show it; nothing is changed.
        """
        wanted = read_state(state, "Explorer.restore")
        values = {}
        for name, value in wanted.items():
            try:
                values[name] = self.checked(name, value)
            except traitlets.TraitError as error:
                raise WrongValueError(f"{error}") from None
        with self.hold_sync():
            for name, value in values.items():
                setattr(self, name, value)

    def ask(self, side: int, layer: int, token: Token) -> Any:
        """Return which tokens a token reads and which read it (see `Live.attention`)."""
        live = self._sides[side].live
        if live is None:
            raise ValueError(
                "Explorer: there is no model to ask; explore(...) makes an explorer that has one."
            )
        return live.attention(layer, token)

    def numbers(self) -> NumbersPanel:
        """Return tabs of figures that follow this explorer: states, channels, memory, scores."""
        return NumbersPanel(self)

    def bytes_on_load(self) -> int:
        """Return how many bytes the browser gets when the explorer is shown, code included."""
        self._shown.catch_up(None)
        buffers: list[int] = []
        text = json.dumps(self._state(), default=lambda value: buffers.append(len(value)))
        return sum(buffers) + sum(len(part.encode()) for part in (text, self._esm, self._css))

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the synced traits of an explorer of nothing, for a page that fills them."""
        traits = Explorer.class_own_traits(sync=True)
        filled = {"colors": dict(DIRECTION_COLORS), "tables": both_tables()}
        return {name: trait.default() for name, trait in traits.items()} | filled

    def hear(self, content: dict[str, Any], buffers: list[Any]) -> None:
        """Answer the browser.

        {"request": id} asks with "side", "layer", "token" for hidden attention, with "state" and
        "layer", or "layer", "side", "token" and "choices", about states, with "kind", "theme" and
        "shown", a state, for a file, with "run" for work in the background (see `Runs`);
        {"cancel": id} ends such work.
        """
        if "request" not in content:
            self._runs.cancel(content["cancel"])
            return
        reply = {"reply": content["request"]}
        if "run" in content:
            try:
                self._start(content)
            except Exception as error:
                self.send({**reply, "error": told(error, f"{error}" or type(error).__name__)}, [])
            return
        packed: list[bytes] = []
        try:
            answer = self._saved if "kind" in content else self._asked
            more, packed = (self._of_state if "state" in content else answer)(content)
            reply |= more
        except Exception as error:  # shown where it was asked
            reply["error"] = told(error, f"{error}" or type(error).__name__)
        self.send(reply, packed)

    def _start(self, content: dict[str, Any]) -> None:
        """Start what the browser wants done in the background."""
        kind, number = content["run"], content["request"]
        if kind == LATE:
            self._runs.start(kind, number, self._shown.catch_up, self.send, gives_way=True)
        elif kind == CHANGE:
            changes = content.get("changes")
            self._runs.start(kind, number, partial(self._change, changes), self.send)
        elif kind == WINDOW:
            start = content.get("start")
            self._runs.start(kind, number, partial(self._move, start), self.send)
        elif kind in (STRIP, PICTURES):
            name, work = film_work(kind, content.get("film"), self._sides)
            self._runs.start(name, number, work, self.send, gives_way=True)
        else:
            known = ", ".join(shown(each) for each in (LATE, CHANGE, PICTURES, STRIP, WINDOW))
            raise ValueError(f"Explorer: cannot run {shown(kind)}; expected one of {known}.")

    def _change(self, changes: Any, report: Report) -> None:
        """Show the model with these changes and no others."""
        if changes == []:
            self._put(self._shown.unchanged, changes=[], code="")
            return
        if self._changing is None:
            raise ValueError(
                "Explorer: there is no model to change; explore(...) makes an explorer that has "
                "one."
            )
        known = (self._shown.unchanged[0], self._sides[0])
        found = self._changing.changed(changes, known, [self.quantity], report)
        report("drawing", 1.0)  # a run that was cancelled shows nothing
        self._put(found.sides, changes=found.changes, code=found.code)

    def _move(self, start: Any, report: Report) -> None:
        """Show the model on the clip that starts at this frame of the file, as the model is."""
        if self._windows is None:
            raise ValueError("Explorer: this clip was not read from a file that could be shown.")
        if not isinstance(start, int) or isinstance(start, bool):
            raise ValueError(f"Explorer: start is {shown(start)}, expected a frame's number.")
        found = self._windows.moved(start, [self.quantity], report)
        report("drawing", 1.0)  # a run that was cancelled shows nothing
        with self._shown.lock:
            self._shown.unchanged = found.sides
            self._changing, self._windows = found.changing, found.windows
            self._put(found.sides, changes=[], code="", window=found.windows.window())

    def _asked(self, content: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        side, token = content.get("side"), content.get("token")
        if not isinstance(side, int) or side not in range(len(self._sides)):
            raise ValueError("Explorer: there is no such side to ask.")
        if not isinstance(token, list) or not all(isinstance(place, int) for place in token):
            raise ValueError("Explorer: expected a token as [frame, row, col], or [].")
        layer = self.checked("layer", content.get("layer"))
        place = cast(Token, tuple(self.checked("query", token)) or None)
        if "choices" in content:
            return choices_answer(self._sides[side], layer, place), []
        maps, packed = pack_answer(self.ask(side, layer, place))
        return {"maps": maps}, packed

    def _of_state(self, content: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        place = content["state"]
        if not isinstance(place, list) or len(place) != 2:
            raise ValueError("Explorer: expected a state as [channel, state].")
        names = ("channel", "state_number")
        channel, number = (self.checked(*each) for each in zip(names, place, strict=True))
        layer = self.checked("layer", content.get("layer"))
        return state_answer(self._sides, layer, channel, number)

    def close(self) -> None:
        """Close the widget and end what runs for it."""
        if hasattr(self, "_runs"):  # not where it was refused before it was made
            self._runs.close()
        super().close()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        if any(side.later is not None for side in self._sides):
            self._runs.start(LATE, None, self._shown.catch_up, None, gives_way=True)
        return super()._repr_mimebundle_(**options)

    def _ipython_display_(self) -> None:
        """Show the widget and, for wherever none can run, a picture of it."""
        bundle = self._repr_mimebundle_()
        if bundle is not None:
            data, metadata = bundle
            data["text/plain"] = f"{type(self).__name__}: {self.heading}"
            display(data, metadata=metadata, raw=True)
        display(still(self.view, self.key), raw=True)

    def _state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in Explorer.class_own_traits(sync=True)}
