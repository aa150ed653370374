"""The state lens: what can be decoded from the state after each token frame of one clip.

Its probes are fitted beforehand, to clips over training photographs, and judged on clips over
photographs that neither the model nor a probe has seen. They come with the bundled models and
belong to their weights: a model that was trained further has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int8
from safetensors.torch import load_file
from torch import Tensor

from vmamba_explore import resources
from vmamba_explore.analysis.decay import check_clip, frame_tokens
from vmamba_explore.edits import editing
from vmamba_explore.errors import check_choice, one_line
from vmamba_explore.files import read_json
from vmamba_explore.hooks import plain
from vmamba_explore.model.checkpoints import fingerprint
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.record import replay_layer
from vmamba_explore.trace.trace import Trace

FILES = ("lens.json", "lens.safetensors")
PLACES = ("layer", "direction", "frame")
SCORES = ("accuracy", "low", "high", "shuffled")
"""By layer, direction and token frame: the share of unseen clips whose answer is right, the ends of
its 95 % interval, and the same of probes that were fitted to shuffled labels."""
PARTS = ("after", "before")
"""Token frames at which the scan has read what decides the answer, and those at which it has not;
each with the scores above, by layer and direction."""


@dataclass(frozen=True, eq=False)
class Probes:
    """Linear probes of one target, a softmax over its answers for each layer and direction.

    The state h after a token frame gives answer a the logit `steps[a] * (weights[a] @ (scale * h))
    + bias[frame, a]`; the last answer has the logit 0.

    Args:
        weights: Rounded to 8 bits, with one step for each answer.
        steps: Of the weights.
        bias: By token frame.
    """

    weights: Int8[Tensor, "layer direction answer feature"]
    steps: Float[Tensor, "layer direction answer"]
    bias: Float[Tensor, "layer direction frame answer"]

    def logits(
        self, layer: int, direction: int, features: Float[Tensor, "*clips frame feature"]
    ) -> Float[Tensor, "*clips frame answer"]:
        """Return the logits of every answer, the last one included.

        Args:
            layer, direction: Their places on the axes.
            features: scale * h of every token frame.
        """
        weights = self.weights[layer, direction].float() * self.steps[layer, direction][:, None]
        logits = features.float() @ weights.T + self.bias[layer, direction]
        return torch.nn.functional.pad(logits, (0, 1))


@dataclass(frozen=True, eq=False)
class LensReading:
    """What a state lens reads from one clip, beside how far it can be trusted.

    Args:
        model: The model that the lens belongs to.
        probabilities: By target, dims layer, direction, frame, answer; they sum to 1 over answers.
        scores: By target, of held-out clips: `SCORES`, dims layer, direction, frame; and for each
            of `PARTS`, such as "after accuracy", dims layer, direction. `attrs["chance"]`.
        clips: Held-out clips behind the scores.
        note: What a read-out does not show.
    """

    model: str
    probabilities: Mapping[str, xr.DataArray]
    scores: Mapping[str, xr.Dataset]
    clips: int
    note: str

    @property
    def targets(self) -> tuple[str, ...]:
        """What can be read."""
        return tuple(self.probabilities)

    def answers(self, target: str) -> xr.DataArray:
        """Return the most probable answer at each layer, direction and token frame, a name.

        Raises:
            ValueError: there is no such target.
        """
        check_choice("LensReading: target", target, self.targets)
        found = self.probabilities[target]
        names = found["answer"].values[found.argmax("answer").values]
        return found.isel(answer=0, drop=True).copy(data=names)


@dataclass(frozen=True, eq=False)
class StateLens:
    """Linear probes of the states of one model, for every layer and direction.

    A probe is a softmax regression from the state that a scan hands on at the end of a token frame;
    one serves all token frames, with an offset for each.

    Args:
        model: Name of the model.
        weights: Its fingerprint.
        directions: Of the scans.
        answers: By target, the names of the answers.
        scale: What each state is multiplied by.
        probes: By target.
        scores: By target; see `LensReading`.
        clips: How many clips the probes were fitted to ("train") and judged on ("test").
    """

    model: str
    weights: str
    directions: tuple[str, ...]
    answers: Mapping[str, tuple[str, ...]]
    scale: Float[Tensor, "layer direction feature"]
    probes: Mapping[str, Probes]
    scores: Mapping[str, xr.Dataset]
    clips: Mapping[str, int]

    @property
    def note(self) -> str:
        """What a read-out does not show."""
        decodable = "A read-out shows what a state holds, not that the answer depends on it"
        if len(self.directions) == 1:
            return f"{decodable}; resets and swaps of states show that."
        return (
            f"{decodable}. From layer 1 on, it does not show either which direction carried it: "
            "each scan reads what both scans of the layers below have seen. Resets and swaps of "
            "states decide."
        )

    def read(
        self, trace: Trace, layers: Sequence[int] | None = None, *, clip: int = 0
    ) -> LensReading:
        """Read what the states of a clip hold after each token frame.

        Args:
            trace: A recording of the model with `hook_block_input` of the layers, from which one
                layer at a time is replayed.
            layers: Which layers; None: all.
            clip: Which clip of the batch.
        Raises:
            KeyError: the block inputs were not recorded.
            ValueError: the trace is of another model, or there is no such layer or clip.
        """
        check_clip("StateLens.read", trace, clip)
        if fingerprint(trace.model) != self.weights:
            raise ValueError(
                f"StateLens.read: the trace is of a model with other weights than {self.model}; "
                "record that model, or ask state_lens(model) for the lens of this one."
            )
        wanted = list(range(trace.config.depth)) if layers is None else list(layers)
        found: dict[str, list[np.ndarray]] = {name: [] for name in self.probes}
        for layer in wanted:
            states = [
                states.flatten(1) * scale
                for states, scale in zip(
                    _handed_on(trace, layer, clip).values(), self.scale[layer], strict=True
                )
            ]
            for name, probes in self.probes.items():
                logits = [probes.logits(layer, at, each) for at, each in enumerate(states)]
                found[name].append(torch.stack(logits).softmax(-1).numpy())
        frames = trace.labels.frame_coords(clip)
        coords = {"layer": wanted, "direction": list(self.directions), **frames}
        return LensReading(
            model=self.model,
            probabilities={
                name: xr.DataArray(
                    np.stack(values), coords | {"answer": list(self.answers[name])},
                    (*PLACES, "answer"), name, {"unit": ""},
                )
                for name, values in found.items()
            },
            scores={name: each.sel(layer=wanted) for name, each in self.scores.items()},
            clips=self.clips["test"],
            note=self.note,
        )  # fmt: skip


def state_lens(model: VideoMamba) -> StateLens:
    """Return the lens that comes with a bundled model.

    Args:
        model: The model, weight for weight as it was shipped.
    Raises:
        ValueError: there is no lens for it.
    """
    found = find_lens(plain(model))
    if found is None:
        known = ", ".join(sorted(one_line(folder.name) for folder in _folders()))
        raise ValueError(
            f"state_lens: there is no lens for this model. Lenses come with {known or 'no model'}, "
            "weight for weight; for another model fit probes to its states with "
            "analysis.collect and analysis.probe."
        )
    return found


def find_lens(model: VideoMamba) -> StateLens | None:
    """Return the lens of a model; None where there is none."""
    own = fingerprint(model)
    for folder in _folders():
        lens = read_lens(folder)
        if lens.weights == own:
            return lens
    return None


def _folders() -> list[Path]:
    return sorted(file.parent for file in resources.data_dir().glob(f"*/{FILES[0]}"))


@lru_cache
def read_lens(folder: Path) -> StateLens:
    """Read the lens that is in a folder, as `studies.lens` writes it."""
    held: dict[str, Any] = read_json(folder / FILES[0], dict, "state lens")
    tensors = load_file(folder / FILES[1])
    return StateLens(
        model=held["model"],
        weights=held["weights"],
        directions=tuple(held["directions"]),
        answers={name: tuple(each["answers"]) for name, each in held["targets"].items()},
        scale=tensors["scale"].float(),
        probes={
            name: Probes(*(tensors[f"{name}.{part}"] for part in ("weights", "steps", "bias")))
            for name in held["targets"]
        },
        scores={name: _scores(each, held["directions"]) for name, each in held["targets"].items()},
        clips=held["clips"],
    )


def _scores(held: Mapping[str, Any], directions: Sequence[str]) -> xr.Dataset:
    """The scores of one target, from nested lists, None for what is not defined."""
    arrays = {
        name: np.array(held[name], dtype=np.float64)
        for name in (*SCORES, *(f"{part} {score}" for part in PARTS for score in SCORES))
    }
    layers, _, frames = arrays["accuracy"].shape
    coords = {"layer": np.arange(layers), "direction": list(directions), "frame": np.arange(frames)}
    variables = {name: (PLACES[: array.ndim], array) for name, array in arrays.items()}
    return xr.Dataset(variables, coords, {"chance": 1 / len(held["answers"])})


def _handed_on(trace: Trace, layer: int, clip: int) -> dict[str, Tensor]:
    """By direction, the states that a layer's scans hand on after each token frame: (frame, ...).

    The layer is replayed, its scans stopped there; what is being replaced there is taken as it is
    handed on.
    """
    found: dict[str, Tensor] = {}
    stops = []
    for direction in trace.config.directions:
        ssm = trace.ssm(layer, direction)
        shape = trace.grid.frames, trace.config.d_inner, trace.config.d_state
        found[direction] = torch.empty(shape)
        for frame, read in enumerate(frame_tokens(trace.grid, ssm.steps(trace.grid.seqlen).cpu())):
            keep = partial(_keep, found[direction], frame, clip)
            stops.append((ssm.handovers, (int(read[-1]), keep)))
    with torch.no_grad(), editing(*stops):
        replay_layer(trace, layer, f"layers.{layer}.mixer.ssm_*.hook_C")
    return found


def _keep(into: Tensor, frame: int, clip: int, state: Tensor) -> None:
    into[frame] = state[clip].detach().float().cpu()
