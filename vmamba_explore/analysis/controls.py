"""Controls: does a model's answer rest on motion? The clip frozen, reversed and shuffled."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from vmamba_explore.clips.clip import Clip, Generated, shown_by
from vmamba_explore.errors import one_line
from vmamba_explore.hooks import plain
from vmamba_explore.model.bundled import UNDECIDED, identify
from vmamba_explore.model.contrast import class_name
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.record import as_batch

Kind = Literal["original", "frozen", "reversed", "shuffled"]
DESCRIPTIONS: dict[Kind, str] = {
    "original": "the clip",
    "frozen": "its first frame held still",
    "reversed": "played backwards",
    "shuffled": "frames in random order",
}
"""What each control shows the model."""
MIB = 2**20
_BATCH_BYTES = 256 * MIB  # a run holds about nine values for each of d_inner x seqlen
OPPOSITE_WORDS = (
    ("left", "right"), ("up", "down"), ("in", "out"), ("forward", "backward"),
    ("clockwise", "counterclockwise"), ("approach", "recede"), ("appear", "vanish"),
    ("opening", "closing"), ("next", "previous"),
)  # fmt: skip
_SWAP = {a: b for pair in OPPOSITE_WORDS for a, b in (pair, pair[::-1])}


@dataclass(frozen=True)
class Answer:
    """What a model says of a clip or of one of its controls.

    Args:
        kind: Which of them.
        name: The most probable class.
        probability: Its probability, 0..1; of shuffled clips the mean over several orders.
        kept: The probability of the class that the original clip got.
        undecided_below: A less probable answer is not one.
    """

    kind: Kind
    name: str
    probability: float
    kept: float
    undecided_below: float = 0.0

    @property
    def says(self) -> str:
        """The class, or that the model does not decide."""
        return self.name if self.probability >= self.undecided_below else UNDECIDED

    def __str__(self) -> str:
        return f'"{one_line(self.says)}" ({percent(self.probability)})'


@dataclass(frozen=True)
class Controls:
    """A model's answer for a clip, and for three clips in which something is taken away.

    A label that survives freezing and reversal does not rest on motion; one that survives reversal
    does not rest on the direction of time; one that survives shuffling, too, does not rest on the
    order of the frames. Freezing alone proves little, since a model that must choose names a still
    clip, too, and by chance the same: only where reversal changes nothing either is an answer
    called one without motion.

    Args:
        model: What the model is called.
        clip: The clip's source; "" where it has none.
        original: The answer for the clip itself.
        frozen: For its first frame, held still.
        reversed: For the clip played backwards.
        shuffled: For its frames in random order, the mean over several orders.
        still: The class that is true of a picture held still; "" where no class is.
        note: Why this clip is not one that the model can answer about; "" where nothing tells.
    """

    model: str
    clip: str
    original: Answer
    frozen: Answer
    reversed: Answer
    shuffled: Answer
    still: str = ""
    note: str = ""

    @property
    def answers(self) -> tuple[Answer, Answer, Answer, Answer]:
        """All four, the original first."""
        return self.original, self.frozen, self.reversed, self.shuffled

    @property
    def survives(self) -> tuple[Kind, ...]:
        """The controls of which the model says the same as of the original."""
        return tuple(a.kind for a in self.answers[1:] if a.says == self.original.says)

    @property
    def sentence(self) -> str:
        """What the controls say of the answer, in one sentence."""
        said = f"{self.model} says {self.original}"
        if self.original.says == UNDECIDED:
            return (
                f'{self.model} does not decide: its most probable class, "'
                f'{one_line(self.original.name)}", has {percent(self.original.probability)}, and '
                f"it answers from {percent(self.original.undecided_below)} on."
            )
        likely = [percent(each.probability) for each in self.answers]
        if "frozen" in self.survives:
            said += f", and says the same of its first frame held still ({likely[1]})"
            if self.original.says == self.still:
                return f"{said}, of which it is true: freezing cannot contradict it."
            if "reversed" in self.survives:
                return f"{said}: this answer does not rest on motion."
            said += f", but of the clip reversed {self.reversed}"
            return f"{said}: one frame is enough for this answer, but another order overturns it."
        said += f"; of its first frame held still it says {self.frozen}"
        if "reversed" in self.survives:
            said += f", and of the clip reversed the same ({likely[2]})"
            if "shuffled" in self.survives:
                return f"{said}: this answer rests on several frames, not on their order."
            return f"{said}: this answer rests on motion, not on its direction."
        if self.reversed.says == opposite(self.original.says):
            said += f", and of the clip reversed the opposite, {self.reversed}"
            return f"{said}: this answer rests on the direction of time."
        said += f", and of the clip reversed {self.reversed}"
        if "shuffled" in self.survives:
            said += f", but of its frames shuffled the same ({likely[3]})"
            return f"{said}: this answer rests on several frames, and only some orders change it."
        return f"{said}: this answer rests on the order of the frames."

    @property
    def words(self) -> list[str]:
        """Why this is not a clip that the model can answer about, if it is not; the sentence."""
        return [text for text in (self.note, self.sentence) if text]

    @property
    def table(self) -> pd.DataFrame:
        """A row for each clip: what the model says, and what is left of the original's answer."""
        return pd.DataFrame(
            {
                "class": [each.says for each in self.answers],
                "probability": [each.probability for each in self.answers],
                f'probability of "{one_line(self.original.name)}"': [a.kept for a in self.answers],
            },
            index=pd.Index([DESCRIPTIONS[each.kind] for each in self.answers], name="shown"),
        )

    def _repr_html_(self) -> str:
        words = "".join(f"<p>{html.escape(text)}</p>" for text in self.words)
        return words + self.table.to_html(float_format=percent, escape=True)


def percent(share: float | int) -> str:
    """Return a share as whole per cent; only what is all or nothing is shown so."""
    shown = round(100 * share)
    if shown in (0, 100) and share not in (0, 1):
        return "under 1 %" if shown == 0 else "over 99 %"
    return f"{shown} %"


def opposite(name: str) -> str:
    """Return a class name with its words of direction turned around; "" where it has none."""
    turned = re.sub(r"\w+", _turned, name)
    return "" if turned == name else turned


def _turned(word: re.Match[str]) -> str:
    other = _SWAP.get(word[0].lower(), word[0])
    return other.capitalize() if word[0][0].isupper() else other


def controls(
    model: VideoMamba, clip: Clip | Generated | Tensor, *, shuffles: int = 8, seed: int = 0
) -> Controls:
    """Ask a model about a clip, and about the clip frozen, reversed and shuffled.

    Args:
        model: Any model; in a `with` block that edits it, the edited model is asked.
        clip: A clip, a generated one, or its tensor (channels, num_frames, height, width), float,
            normalized as `Clip.tensor()` does.
        shuffles: Random orders whose probabilities are averaged, at least 1. One order is a matter
            of luck: on real clips `motion-nano`'s label survives some orders and not others.
        seed: Of those orders.
    Returns:
        The answers, with `sentence` and `table`.
    Raises:
        ValueError: a clip of another shape than the model's, logits that are not finite, or
            shuffles less than 1.
    """
    model = plain(model)
    model.check_head("controls")
    if shuffles < 1:
        raise ValueError(f"controls: shuffles is {shuffles}, expected at least 1.")
    clip = clip if isinstance(clip, Tensor) else shown_by(clip)
    frames = as_batch(model, clip.unsqueeze(0) if isinstance(clip, Tensor) else clip)[0]
    known = identify(model)
    found = _logits(model, frames, orders_of(frames.shape[1], shuffles, seed)).softmax(-1)
    shares = [*found[:3], found[3:].mean(0)]
    first = int(shares[0].argmax())
    original, frozen, back, mixed = (
        Answer(
            kind=kind,
            name=class_name(model, int(share.argmax())),
            probability=float(share.max()),
            kept=float(share[first]),
            undecided_below=known.undecided_below if known else 0.0,
        )
        for kind, share in zip(DESCRIPTIONS, shares, strict=True)
    )
    return Controls(
        model=known.name if known else "The model",
        clip=clip.source if isinstance(clip, Clip) else "",
        original=original,
        frozen=frozen,
        reversed=back,
        shuffled=mixed,
        still=known.still if known else "",
        note=known.note(clip) if known and isinstance(clip, Clip) else "",
    )


def orders_of(count: int, shuffles: int = 1, seed: int = 0) -> list[NDArray[np.int64]]:
    """Return the order of frames in the clip and in its controls, as `DESCRIPTIONS` names them.

    Args:
        count: Frames of the clip.
        shuffles: Random orders, the last ones of the list.
        seed: Of those.
    """
    generator, number = np.random.default_rng(seed), np.arange(count)
    shuffled = [generator.permutation(count) for _ in range(shuffles)]
    return [number, np.zeros_like(number), number[::-1].copy(), *shuffled]


def _logits(
    model: VideoMamba, frames: Float[Tensor, "channels num_frames height width"],
    orders: list[NDArray[np.int64]],
) -> Float[Tensor, "orders num_classes"]:  # fmt: skip
    """The logits of a clip with its frames in several orders, as many at once as memory allows."""
    one = 9 * 4 * model.config.grid.seqlen * model.config.d_inner
    size = max(1, _BATCH_BYTES // one)
    with torch.no_grad():
        parts = [
            model(torch.stack([frames[:, torch.from_numpy(o)] for o in orders[at : at + size]]))
            for at in range(0, len(orders), size)
        ]
    logits = torch.cat(parts).float().cpu()
    if not logits.isfinite().all():
        raise ValueError(
            "controls: the model's logits are not finite; run_with_trace(model, clip) shows which "
            "layer is the first to make such numbers."
        )
    return logits
