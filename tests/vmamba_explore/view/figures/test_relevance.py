"""Figures of relevance: the ledger adds up before the reader's eyes, flow stands where it was."""

import dataclasses

import numpy as np
import pytest
import torch

from vmamba_explore.attribution.conservation import Conservation
from vmamba_explore.attribution.relevance import RelevanceFlow
from vmamba_explore.tokens import TokenGrid
from vmamba_explore.trace.trace import TokenLabels
from vmamba_explore.view.figures import relevance


def make_conservation(logit=10.0, rules_off=()):
    entries = {"tokens": 6.0, "class token": 1.0, "head.bias": -0.5, "layers.0.x": 3.0, "b": 0.5}
    return Conservation(
        {name: torch.tensor([0.0, value]) for name, value in entries.items()},
        torch.tensor([0.0, logit]), torch.tensor([1.0, 11.0]), torch.zeros(2, 2), rules_off,
    )  # fmt: skip


def make_flow(cls=True):
    frames = torch.arange(16, dtype=torch.float32).view(1, 2, 2, 4)
    return RelevanceFlow(
        frames, torch.full((1, 2, 2), -5.0) if cls else None, frames * 10, frames,
        {"forward": (0, 1, 2, 3), "backward": (3, 2, 1, 0)}, make_conservation(),
        TokenLabels(TokenGrid(4, 1, 1, "front" if cls else None), 2),
    )  # fmt: skip


def test_a_ledger_lists_the_largest_biases_and_ends_with_the_logit():
    (bars,) = relevance.ledger(make_conservation(), clip=1, most=1).data
    names = ["tokens", "class token", "layers.0.x", "2 smaller biases", "sum of all above", "logit"]
    assert list(bars.y) == names
    assert list(bars.x) == [6, 1, 3, 0, 10, 10]


def test_a_ledger_that_does_not_close_says_so():
    closed = relevance.ledger(make_conservation(), clip=1).layout.title.text
    open_ = relevance.ledger(make_conservation(12.0, ("gate",)), clip=1).layout.title.text
    assert "misses" not in closed
    assert "misses the logit by 1.8e-01" in open_
    assert "without the rules gate" in open_
    with pytest.raises(ValueError, match="no clip 2 in this batch of 2"):
        relevance.ledger(make_conservation(), clip=2)


def test_flow_has_a_map_per_direction_and_quantity():
    figure = relevance.relevance_flow(make_flow(), window=(3, 5))
    given = figure.data[1]  # backward
    assert list(given.x) == [-1, 0, 1, 2, 3]
    assert np.allclose(given.z, [[-5, 4, 5, 6, 7], [-5, 12, 13, 14, 15]])
    assert list(given.customdata[0][:2]) == ["class token", "frame 0"]
    assert np.allclose(figure.data[3].z, [[40, 50, 60, 70], [120, 130, 140, 150]])
    assert figure.layout.coloraxis2.cmin == -150
    assert {(s.x0, s.x1) for s in figure.layout.shapes} == {(0.5, 2.5)}  # token frames 1 and 2


def test_a_model_without_a_class_token_has_no_column_for_it():
    figure = relevance.relevance_flow(make_flow(cls=False))
    assert list(figure.data[0].x) == [0, 1, 2, 3]
    assert figure.layout.xaxis.ticktext[0] != "class<br>token"


def test_one_direction_and_a_wrong_clip():
    flow = make_flow()
    one = dataclasses.replace(
        flow, frames=flow.frames[:, :, :1], cls=flow.cls[:, :, :1],
        handed_on=flow.handed_on[:, :, :1], state=flow.state[:, :, :1],
        orders={"forward": (0, 1, 2, 3)},
    )  # fmt: skip
    assert len(relevance.relevance_flow(one).data) == 2
    with pytest.raises(ValueError, match="no clip 1 in this batch of 1"):
        relevance.relevance_flow(flow, clip=1)
