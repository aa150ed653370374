"""The sentence about what decides is the same in JavaScript and Python, whatever decides."""

import shutil

import numpy as np
import pytest
import torch

from tests.vmamba_explore.view.live.engine import Engine
from tests.vmamba_explore.view.live.models import VARIANTS, model_of
from vmamba_explore.analysis.headline import decisive
from vmamba_explore.analysis.logits import LogitParts
from vmamba_explore.app.portable import portable
from vmamba_explore.trace.trace import TokenLabels

SIZES = {
    "class token": {"img_size": 64, "num_frames": 16},
    "no class token": {"img_size": 48, "num_frames": 8, "cls_position": None, "depth": 3},
    "forward only": {**VARIANTS["forward only"], "img_size": 80, "num_frames": 16},
    "one frame": VARIANTS["one token"],
}


@pytest.fixture(autouse=True)
def node(require):
    if shutil.which("node") is None:
        require("node", "there is no node on this machine")


def random_parts(model, seed):
    """Parts of a logit that are concentrated somewhere, or nowhere, and sum to it, or do not."""
    rng, config, grid = np.random.default_rng(seed), model.config, model.grid
    shape = (config.depth, len(config.directions), grid.seqlen)
    tokens = rng.normal(size=shape) * rng.choice([0.01, 1])
    for _ in range(rng.integers(3)):
        layer, direction = rng.integers(config.depth), rng.integers(shape[1])
        frames = rng.integers(grid.frames, size=rng.integers(1, 4))
        row, col = rng.integers(grid.rows), rng.integers(grid.cols)
        for frame in frames:
            tokens[layer, direction, grid.index(int(frame), int(row), int(col))] += (
                10 ** rng.uniform(0, 3)
            )
    tokens *= rng.choice([-1, 1], p=[0.1, 0.9])
    offset, embedding = rng.normal(size=shape[:2]), 0.1 * rng.normal(size=grid.seqlen)
    bias = np.float64(rng.normal())
    if seed % 11 == 0:
        tokens, offset, embedding, bias = -abs(tokens), -abs(offset), -abs(embedding), -abs(bias)
    logit = tokens.sum() + offset.sum() + embedding.sum() + bias
    logit += rng.choice(
        [0, 1e-5 * max(1, abs(logit)), 0.02 * max(1, abs(logit))], p=[0.6, 0.3, 0.1]
    )
    return tokens, offset, embedding, bias, logit


@pytest.mark.parametrize("changes", SIZES.values(), ids=SIZES)
def test_what_decides_and_its_sentence_are_those_of_python(changes):
    model = model_of(**changes)
    directions, openings = model.config.directions, set()
    with Engine(portable(model)) as engine:
        grid = engine.get(engine.network, "grid", keep=True)
        for seed in range(60):
            tokens, offset, embedding, bias, logit = random_parts(model, seed)
            parts = LogitParts(
                *(torch.tensor(part)[None] for part in (tokens, offset, embedding, bias, logit)),
                steps={name: torch.arange(model.grid.seqlen) for name in directions},
                labels=TokenLabels(model.grid, model.config.tubelet_size),
            )
            want = decisive(parts, "left − right")
            given = {
                "network": {"grid": grid, "directions": list(directions)},
                "tokens": [list(layer) for layer in tokens],
                "offsets": offset.tolist(),
                "embedding": embedding,
                "bias": bias,
                "logit": logit,
                "residual": parts.residual,
            }
            got = engine.call("decisive.js", "decisive", given)
            name, layers = "left − right", [0]
            head = engine.call(
                "decisive.js", "packedHeadline", got, name, layers, model.config.to_dict()
            )
            assert head["sentence"] == want.sentence, seed
            assert head["hedge"] == want.hedge, seed
            assert got["scan"] == list(want.scan)
            assert got["frames"] == list(want.frames)
            assert got["frame"] == want.frame
            for mine, theirs in (
                (got["framesShare"], want.frames_share), (got["scanShare"], want.scan_share),
                (got["patchShare"], want.patch_share), (got["added"], want.added),
            ):  # fmt: skip
                assert mine == pytest.approx(theirs, rel=1e-9)
            opening = head["opening"]
            assert bool(opening) == want.told
            if want.told:
                assert opening["frame"] == want.frame * model.config.tubelet_size
                assert opening.get("layer", 0) == 0
                assert ("layer" in opening) == (want.scan[0] == 0)
                assert opening.get("direction", want.scan[1]) == want.scan[1]
                assert ("direction" in opening) == want.scan_clear
            openings.add(want.sentence.split(" ")[0])
    assert openings >= {"What", "Nothing"}
    if model.grid.frames > 1:
        assert "Decided" in openings
