"""Whether a recall model's state carries what it must: answers after surgery, and read-outs.

All clips are over photographs that no training clip has, with distractors. The surgery is done to
all layers at one boundary, and to all that crosses it: the state and the convolution's tail.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.analysis.probes import STRENGTHS, fit_ridge, inner_products
from vmamba_explore.clips.clip import normalize
from vmamba_explore.clips.recall import RecallClips
from vmamba_explore.clips.recall_plan import NUM_COLORS, Timing
from vmamba_explore.intervals import Interval, proportion
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.studies.subjects.making import TEST_SEED
from vmamba_explore.trace.past import Past, record_past, reset_state, transplant

TIMING: Timing = (2, 1, 8, 1)
"""Where every boundary is asked about: the sample in frame 2, the test in frame 11."""
INSIDE = range(TIMING[0] + TIMING[1], sum(TIMING[:3]) + 1)
"""The boundaries between sample and test: 3, just after the sample, to 11, just before the test."""
SHOWN: tuple[Literal["none", "all"], ...] = ("none", "all")
BATCH = 40
FITTED, DONORS = 320_000, 640_000  # first clips of those that probes are fitted to, and of donors


def timed_clips() -> RecallClips:
    """The clips of which every boundary is asked about."""
    return RecallClips(TEST_SEED, distractors="all", backgrounds="test", timing=TIMING)


def accuracy(model: VideoMamba, num_clips: int) -> dict[str, Any]:
    """How often a model is right, without and with distractors, by delay and by class.

    Args:
        model: The model.
        num_clips: Clips each.
    """
    found: dict[str, Any] = {}
    for name in SHOWN:
        word = "with_distractors" if name == "all" else "without_distractors"
        clips = RecallClips(TEST_SEED, distractors=name, backgrounds="test")
        right, delays, labels = [], [], []
        for begin in tqdm(range(0, num_clips, BATCH), desc=word, unit="batch", leave=False):
            indices = np.arange(begin, min(begin + BATCH, num_clips))
            frames, truth = clips.batch(indices)
            right.append(answers(model, frames) == truth)
            plan = clips.plan(indices)
            delays.append(plan.test.frames[:, 0] - plan.sample.frames[:, 1] - 1)
            labels.append(truth)
        all_right, delay, label = (np.concatenate(part) for part in (right, delays, labels))
        found[word] = {
            "top1": proportion(all_right).to_dict(),
            "top1_by_delay": _by(all_right, delay),
            "top1_by_label": _by(all_right, label),
        }
    return found


def resets(model: VideoMamba, num_clips: int) -> dict[str, Any]:
    """How often a model is right when its scans forget everything at one boundary.

    Args:
        model: The model.
        num_clips: Clips of the timing `TIMING`.
    Returns:
        "clean"; then by what is reset ("both", "forward", "backward"; "both, states only" leaves
        the convolution's tails) a share for each boundary, 1 to token frames - 1, with intervals.
    """
    frames, labels = timed_clips().batch(np.arange(num_clips))
    kinds: dict[str, dict[str, Any]] = {"both": {"tail": True}}
    if len(model.config.directions) > 1:
        kinds |= {name: {"direction": name, "tail": True} for name in model.config.directions}
    kinds["both, states only"] = {"tail": False}
    boundaries = range(1, model.grid.frames)
    found: dict[str, Any] = {"clean": proportion(answers(model, frames) == labels).to_dict()}
    for kind, how in kinds.items():
        shares = []
        for boundary in tqdm(boundaries, desc=f"reset {kind}", unit="boundary", leave=False):
            with reset_state(model, boundary, **how):
                shares.append(proportion(answers(model, frames) == labels))
        found[kind] = _columns(shares)
    return found


def swaps(model: VideoMamba, num_clips: int) -> dict[str, Any]:
    """Whose answer a model gives when a scan goes on from another clip's past at one boundary.

    Each clip gets the past of a clip over another scene with another sample (forward) or another
    test (backward). "donor" counts the answers that are right for the color that came with the
    past beside the one that was seen; "own" those that are right for the clip itself.

    Args:
        model: The model.
        num_clips: Clips of the timing `TIMING`, and as many donors.
    Returns:
        By direction a share "donor" and a share "own" for each boundary, with intervals.
    """
    clips, indices = timed_clips(), np.arange(num_clips)
    own, given = clips.plan(indices), clips.plan(indices + DONORS)
    steps = (own.sample.colors + 1 + indices % (NUM_COLORS - 1) - given.sample.colors) % NUM_COLORS
    frames, labels = clips.batch(indices)
    donors, _ = clips.batch(indices + DONORS, steps)
    given = clips.plan(indices + DONORS, steps)
    expected = {
        "forward": (own.test.colors - given.sample.colors) % NUM_COLORS,
        "backward": (given.test.colors - own.sample.colors) % NUM_COLORS,
    }
    boundaries = range(1, model.grid.frames)
    said: dict[tuple[str, int], list[NDArray[np.int64]]] = {}
    for begin in tqdm(range(0, num_clips, BATCH), desc="swap", unit="batch", leave=False):
        rows = slice(begin, begin + BATCH)
        past = _past(model, donors[rows])
        for direction in model.config.directions:
            for boundary in boundaries:
                with transplant(model, past, boundary, direction=direction):
                    answer = answers(model, frames[rows])
                said.setdefault((direction, boundary), []).append(answer)
    found: dict[str, Any] = {}
    for direction in model.config.directions:
        differ = expected[direction] != labels
        of_donor, own_label = expected[direction][differ], labels[differ]
        each = [np.concatenate(said[direction, k])[differ] for k in boundaries]
        found[direction] = {
            "donor": _columns([proportion(answer == of_donor) for answer in each]),
            "own": _columns([proportion(answer == own_label) for answer in each]),
        }
    return found


def decoded(model: VideoMamba, train_clips: int, test_clips: int) -> dict[str, Any]:
    """What a linear probe reads from the states that cross each boundary: sample and test.

    A ridge regression on the state (d_inner x d_state numbers) of one scan, fitted to some clips
    and judged by others. `layer` is, for each direction, the one whose probe of the sample
    (forward) or the test (backward) fits training clips best that were left out, within the delay.
    In a model of two directions it need not be the scan that brought it: from the second layer on
    a scan reads what the other direction has seen, too.

    Args:
        model: The model.
        train_clips: Clips to fit to.
        test_clips: Clips to judge by, at least 1.
    Returns:
        By direction: the layer; "sample" and "test", each the shares of that layer for each
        boundary with intervals; "by_layer", all layers' shares, rows are layers.
    """
    clips = timed_clips()
    lots = [np.arange(train_clips) + FITTED, np.arange(test_clips)]
    colors = [[clips.plan(lot).sample.colors, clips.plan(lot).test.colors] for lot in lots]
    train, test = ([_past(model, clips.batch(part)[0]) for part in _parts(lot)] for lot in lots)
    wanted = torch.eye(NUM_COLORS, dtype=torch.float64)[np.stack(colors[0])]  # (2, clips, color)
    columns = [slice(0, NUM_COLORS), slice(NUM_COLORS, 2 * NUM_COLORS)]
    boundaries, depth = range(1, model.grid.frames), model.config.depth
    found: dict[str, Any] = {}
    for number, direction in enumerate(model.config.directions):
        shares: list[list[list[Interval]]] = [[], []]
        fits = np.zeros(depth)
        for layer in tqdm(range(depth), desc=f"decode {direction}", unit="layer", leave=False):
            for each in shares:
                each.append([])
            for boundary in boundaries:
                states = [
                    torch.cat([past.state(layer, direction, boundary).flatten(1) for past in pasts])
                    for pasts in (train, test)
                ]
                products, crossed = inner_products(*states)
                ridge = fit_ridge(products, torch.cat(list(wanted), dim=1), columns, STRENGTHS)
                guesses = ridge.predict(crossed).numpy()
                for what, (column, truth) in enumerate(zip(columns, colors[1], strict=True)):
                    right = guesses[:, column].argmax(axis=1) == truth
                    shares[what][layer].append(proportion(right))
                if boundary in INSIDE:
                    fits[layer] += ridge.left_out[number]
        best = int(fits.argmax())
        found[direction] = {
            "layer": best,
            "sample": _columns(shares[0][best]),
            "test": _columns(shares[1][best]),
            "by_layer": {
                name: [[round(share.value, 3) for share in row] for row in shares[what]]
                for what, name in enumerate(("sample", "test"))
            },
        }
    return found


def best_votes(restarts: int = 20, steps: int = 400) -> float:
    """The highest share of right answers found that sums of single-frame votes can reach.

    A sum of votes has logits g[sample] + h[test]. Each restart climbs the mean probability of the
    right label, a smooth stand-in for the share, from random votes; the share is then counted. With
    the log-loss the best such votes are none at all: the probability of every label is 1/4.

    Args:
        restarts: Random beginnings.
        steps: Steps of each.
    """
    color = torch.arange(NUM_COLORS)
    label = (color[None] - color[:, None]) % NUM_COLORS  # of (sample, test)
    best = 0.0
    for seed in range(restarts):
        generator = torch.Generator().manual_seed(seed)
        votes = torch.randn(2, NUM_COLORS, NUM_COLORS, generator=generator).requires_grad_()
        optimizer = torch.optim.Adam([votes], lr=0.05)
        for _ in range(steps):
            logits = votes[0][:, None] + votes[1][None]
            chance = (5 * logits).softmax(-1).gather(-1, label[..., None])
            optimizer.zero_grad()
            (-chance.mean()).backward()
            optimizer.step()
        logits = votes[0][:, None] + votes[1][None]
        best = max(best, float((logits.argmax(-1) == label).double().mean()))
    return best


def answers(model: VideoMamba, frames: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The class that a model names for each clip, under the edits of the block around the call."""
    with torch.inference_mode():
        parts = [model(_tensor(model, frames[part])).argmax(-1) for part in _slices(len(frames))]
    return torch.cat(parts).cpu().numpy()


def _past(model: VideoMamba, frames: NDArray[np.uint8]) -> Past:
    with torch.inference_mode():
        return record_past(model, _tensor(model, frames))


def _tensor(model: VideoMamba, frames: NDArray[np.uint8]) -> Tensor:
    return normalize(frames).to(model.norm_f.weight.device)


def _slices(count: int) -> list[slice]:
    return [slice(begin, begin + BATCH) for begin in range(0, count, BATCH)]


def _parts(indices: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [indices[part] for part in _slices(len(indices))]


def _by(right: NDArray[np.bool_], group: NDArray[np.int64]) -> dict[str, float]:
    return {str(k): round(float(right[group == k].mean()), 4) for k in np.unique(group)}


def _columns(shares: Sequence[Interval]) -> dict[str, Any]:
    """Shares of several boundaries, as a list each of values and of the ends of the intervals."""
    rows = [share.to_dict() for share in shares]
    columns = {name: [row[name] for row in rows] for name in ("value", "low", "high")}
    return columns | {"n": rows[0]["n"]}
