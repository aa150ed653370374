"""Changes of a model as values: what a reader clicks, what it does, and the Python that does it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, cast

import torch

from vmamba_explore.analysis.controls import DESCRIPTIONS, Kind
from vmamba_explore.app.control_clips import CONTROLS, control_clip
from vmamba_explore.app.gather import begin
from vmamba_explore.app.question import Edit, Question, Report, part
from vmamba_explore.clips.clip import Clip, Generated, shown_by
from vmamba_explore.errors import one_line, shown
from vmamba_explore.model.contrast import class_name
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.interventions import ablate, freeze_state, mute
from vmamba_explore.trace.past import Past, record_past, reset_state, swap_state
from vmamba_explore.view.explorer.exploration import Changed, Exploration

PAST = "past = record_past(model, clip.tensor().flip(1)[None])  # of the clip played backwards"


@dataclass(frozen=True)
class Mute:
    """Mute a direction, a layer, or one direction of a layer.

    Args:
        direction: "forward", "backward", or None for both.
        layer: Block number, or None for all.
    """

    kind: ClassVar[str] = "mute"
    direction: str | None = None
    layer: int | None = None

    @property
    def words(self) -> str:
        """What is changed, in words."""
        if self.direction is None:
            return f"layer {self.layer} muted"
        where = "" if self.layer is None else f" of layer {self.layer}"
        return f"{one_line(self.direction)} scans{where} muted"

    def code(self, model: VideoMamba) -> str:
        """The call that does it."""
        if self.direction is None:
            return "ablate(model, " + repr(self._out) + ")"
        where = "" if self.layer is None else f", {self.layer}"
        return "mute(model, " + repr(self.direction) + where + ")"

    def block(self, model: VideoMamba, past: Past | None) -> AbstractContextManager[object]:
        """Open the block in which it is done."""
        if self.direction is not None:
            return mute(model, self.direction, self.layer)
        if self.layer is None or not 0 <= self.layer < len(model.layers):
            raise ValueError(
                f"mute: layer is {self.layer}; expected one of 0 to {len(model.layers) - 1}, or a "
                "direction."
            )
        return ablate(model, self._out)

    @property
    def _out(self) -> str:
        return f"layers.{self.layer}.mixer.hook_out"


@dataclass(frozen=True)
class Freeze:
    """Let some patches, or a whole token frame, neither write to the state nor decay it.

    Tokens that are dropped altogether (`drop_tokens`) have no maps, so they are frozen here: for
    the scans that is the same.

    Args:
        patches: Places (frame, row, col).
        frame: A token frame, instead of patches.
    """

    kind: ClassVar[str] = "freeze"
    patches: tuple[tuple[int, int, int], ...] = ()
    frame: int | None = None

    @property
    def words(self) -> str:
        """What is changed, in words."""
        if self.frame is not None:
            what = f"token frame {self.frame}"
        elif len(self.patches) == 1:
            frame, row, col = self.patches[0]
            what = f"the patch at token frame {frame}, row {row}, column {col}"
        else:
            what = f"{len(self.patches)} patches"
        return f"{what} kept out of the state"

    def code(self, model: VideoMamba) -> str:
        """The call that does it."""
        if self.frame is not None:
            return f"freeze_state(model, {self.frame})"
        return f"freeze_state(model, tokens={self._tokens(model)})"

    def block(self, model: VideoMamba, past: Past | None) -> AbstractContextManager[object]:
        """Open the block in which it is done."""
        if self.frame is not None:
            return freeze_state(model, self.frame)
        if not self.patches:
            raise ValueError("freeze: no patch is named; ask one, or brush over some.")
        return freeze_state(model, tokens=self._tokens(model))

    def _tokens(self, model: VideoMamba) -> list[int]:
        return [model.grid.index(*place) for place in self.patches]


@dataclass(frozen=True)
class Reset:
    """Hand over zeros, or the state of the clip played backwards, at a frame boundary.

    Args:
        frame: The boundary before this token frame.
        direction: "forward", "backward", or None for both.
    """

    kind: ClassVar[str] = "reset"
    frame: int
    direction: str | None = None

    @property
    def words(self) -> str:
        """What is changed, in words."""
        return f"{self._which} reset before token frame {self.frame}"

    def code(self, model: VideoMamba) -> str:
        """The call that does it."""
        return f"reset_state(model, {self.frame}{self._where})"

    def block(self, model: VideoMamba, past: Past | None) -> AbstractContextManager[object]:
        """Open the block in which it is done."""
        return reset_state(model, self.frame, direction=self.direction)

    @property
    def _which(self) -> str:
        return "states" if self.direction is None else f"{one_line(self.direction)} states"

    @property
    def _where(self) -> str:
        return "" if self.direction is None else ", direction=" + repr(self.direction)


@dataclass(frozen=True)
class Swap(Reset):
    """Hand over the state that the clip played backwards has at a frame boundary.

    Args:
        frame, direction: As for `Reset`.
    """

    kind: ClassVar[str] = "swap"

    @property
    def words(self) -> str:
        """What is changed, in words."""
        return f"{self._which} before token frame {self.frame} those of the clip played backwards"

    def code(self, model: VideoMamba) -> str:
        """The call that does it."""
        return f"swap_state(model, {self.frame}, past{self._where})"

    def block(self, model: VideoMamba, past: Past | None) -> AbstractContextManager[object]:
        """Open the block in which it is done."""
        assert past is not None
        return swap_state(model, self.frame, past, direction=self.direction)


@dataclass(frozen=True)
class Explain:
    """Ask about another class; the model stays as it is.

    Args:
        target: The class that contributions and evidence explain.
        minus: The class whose logit is subtracted, or None.
    """

    kind: ClassVar[str] = "explain"
    target: int
    minus: int | None = None


@dataclass(frozen=True)
class Show:
    """Show the model the clip frozen, reversed or shuffled; the model stays as it is.

    Args:
        shown: One of `CONTROLS`.
    """

    kind: ClassVar[str] = "show"
    shown: str

    @property
    def words(self) -> str:
        """What is changed, in words."""
        return f"shown: {DESCRIPTIONS[cast(Kind, self.shown)]}"


EditChange = Mute | Freeze | Reset | Swap
Change = EditChange | Explain | Show
KINDS: dict[str, type[Change]] = {c.kind: c for c in (Mute, Freeze, Reset, Swap, Explain, Show)}


class Changer:
    """Answers questions by click about one clip (see `Changing` in view.explorer.exploration).

    Args:
        model: The model as it is.
        clip: The clip.
        question: What was asked at first.
    """

    def __init__(self, model: VideoMamba, clip: Clip | Generated, question: Question) -> None:
        self._model, self._clip = model, clip
        self._question = replace(question, progress=False, report=None)

    def choices(self) -> dict[str, Any]:
        """What a reader can choose among: the names of all classes."""
        count = self._model.config.num_classes
        return {"classes": [one_line(class_name(self._model, n)) for n in range(count)]}

    def changed(
        self,
        changes: Any,
        known: Sequence[Exploration],
        first: Sequence[str],
        report: Report,
    ) -> Changed:
        """Run the model with some changes; see `Changing.changed`."""
        listed = [parsed(each) for each in _list(changes)]
        explain = next((each for each in reversed(listed) if isinstance(each, Explain)), None)
        other = next((each for each in reversed(listed) if isinstance(each, Show)), None)
        edits = [each for each in listed if not isinstance(each, Explain | Show)]
        if other is not None and edits:
            raise ValueError(
                "Explorer: a changed model is compared with the model as it is, on the same clip. "
                "Undo the changes of the model to compare clips."
            )
        explained = known[0].explained if explain is None else (explain.target, explain.minus)
        question = replace(self._question, report=report)
        if explained[0] is not None:
            question = replace(question, target=explained[0], minus=explained[1])
        one = next((side for side in known if side.explained == explained), None)
        runs = (one is None) + bool(edits or other)
        if one is None:
            one = begin(self._model, self._clip, part(question, 0, runs), first=first)
        sides = [one]
        if edits:
            edit, name = self._edit(edits), ", ".join(each.words for each in edits)
            last = part(question, runs - 1, runs)
            sides.append(begin(self._model, self._clip, last, edit=edit, name=name, first=first))
        if other is not None:
            clip = control_clip(self._clip, other.shown)
            sides.append(begin(self._model, clip, part(question, runs - 1, runs), first=first))
        as_json = [{"kind": each.kind, **asdict(each)} for each in listed]
        words = [
            each.words if not isinstance(each, Explain) else f"explained: {self._names(each)}"
            for each in listed
        ]
        given = [{**each, "words": text} for each, text in zip(as_json, words, strict=True)]
        code = self.code(edits, explained, other) if listed else ""
        return Changed(tuple(sides), given, code)

    def code(
        self,
        edits: Sequence[EditChange],
        explained: tuple[int | None, int | None],
        other: Show | None = None,
    ) -> str:
        """Return Python that shows the same, given `clip`, a `Clip`, and `model`; and `target` and
        `minus` where these are directions."""
        target, minus = explained
        asked = "target=target" if target is None else f"target={self._class(target)}"
        if target is None and self._question.minus is not None:
            asked += ", minus=minus"
        if minus is not None:
            asked += f", minus={self._class(minus)}"
        calls = [each.code(self._model) for each in edits]
        swaps = any(isinstance(each, Swap) for each in edits)
        names = {call.partition("(")[0] for call in calls} | ({"record_past"} if swaps else set())
        lines = ["from vmamba_explore import explore"]
        if names:
            lines.append(f"from vmamba_explore.interventions import {', '.join(sorted(names))}")
        if len(calls) > 1:
            lines.insert(0, "from contextlib import contextmanager")
        if swaps:
            lines += ["", PAST]
        if len(calls) > 1:
            lines += ["", "@contextmanager", "def changed(model):"]
            lines += [f"{'    ' * depth}with {call}:" for depth, call in enumerate(calls, 1)]
            lines += [f"{'    ' * (len(calls) + 1)}yield", ""]
        if calls:
            edit = "changed" if len(calls) > 1 else f"lambda model: {calls[0]}"
            asked += f", compare={edit}"
        if other is not None:
            asked += ", compare=" + repr(other.shown)
        lines.append(f"explore(clip, model, {asked})")
        return "\n".join(lines)

    def _class(self, number: int) -> str:
        return repr(self._model.class_names[number] if self._model.class_names else number)

    def _names(self, explain: Explain) -> str:
        numbers = [n for n in (explain.target, explain.minus) if n is not None]
        return " − ".join(one_line(class_name(self._model, number)) for number in numbers)

    def _edit(self, edits: Sequence[EditChange]) -> Edit:
        past = None
        if any(isinstance(each, Swap) for each in edits):
            backwards = shown_by(self._clip).tensor().flip(1)[None]
            with torch.inference_mode(False), torch.no_grad():
                past = record_past(self._model, backwards)

        @contextmanager
        def edited(model: VideoMamba) -> Iterator[None]:
            with ExitStack() as stack:
                for each in edits:
                    stack.enter_context(each.block(model, past))
                yield

        return edited


def parsed(given: Any) -> Change:
    """Return the change that a browser describes.

    Args:
        given: {"kind": one of `KINDS`}, and the fields of that change by name; others are left out.
    Raises:
        ValueError: it describes none.
    """
    kind = given.get("kind") if isinstance(given, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(
            f"Explorer: a change is {shown(given)}, expected one whose kind is one of "
            f"{', '.join(KINDS)}."
        )
    values = {}
    for each in fields(KINDS[kind]):
        if each.name not in given:
            continue
        value = given[each.name]
        if each.name == "patches":
            value = _patches(value)
        elif each.name == "shown" and value not in CONTROLS:
            raise ValueError(
                f"Explorer: {shown(value)} cannot be shown; expected one of {', '.join(CONTROLS)}."
            )
        elif not (value is None or _is(value, str if each.name in _WORDS else int)):
            raise ValueError(
                f"Explorer: {kind} has {each.name} {shown(value)}, which it cannot be."
            )
        values[each.name] = value
    if any(values.get(name) is None for name in _NEEDED[kind]):
        raise ValueError(f"Explorer: {kind} needs its {_NEEDED[kind][0]}.")
    return KINDS[kind](**values)


_NEEDED: dict[str, tuple[str, ...]] = {
    "mute": (), "freeze": (), "reset": ("frame",), "swap": ("frame",), "explain": ("target",),
    "show": ("shown",),
}  # fmt: skip
_WORDS = ("direction", "shown")
_MOST = 64
"""Changes in a list, at most."""


def _list(changes: Any) -> list[Any]:
    if not isinstance(changes, list) or len(changes) > _MOST:
        raise ValueError(
            f"Explorer: changes are {shown(changes)}, expected a list of at most {_MOST}."
        )
    return changes


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _patches(value: Any) -> tuple[tuple[int, int, int], ...]:
    places = value if isinstance(value, list) else [value]
    for place in places:
        if not (isinstance(place, list) and len(place) == 3 and all(_is(n, int) for n in place)):
            raise ValueError(
                f"Explorer: patches are {shown(value)}, expected a list of [frame, row, col]."
            )
    return tuple(dict.fromkeys((int(f), int(r), int(c)) for f, r, c in places))
