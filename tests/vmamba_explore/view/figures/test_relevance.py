"""Figures of relevance: the ledger adds up before the reader's eyes, flow stands where it was."""

import dataclasses

import numpy as np
from figure_examples import make_conservation, make_flow

from vmamba_explore.view.figures import relevance


def test_a_ledger_lists_the_largest_biases_and_ends_with_the_logit():
    (bars,) = relevance.ledger(make_conservation(), clip=1, most=1).data
    names = ["tokens", "class token", "layers.0.x", "2 smaller biases", "sum of all above", "logit"]
    assert list(bars.y) == names
    assert list(bars.x) == [6, 1, 3, 0, 10, 10]


def test_a_ledger_that_does_not_close_says_so():
    closed = relevance.ledger(make_conservation(), clip=1).layout.title.text
    open_ = relevance.ledger(make_conservation(12.0, ("gate",)), clip=1).layout.title.text
    assert "residual" not in closed
    assert "residual 1.8e-01: how far this is from the logit" in open_
    assert "without the rules gate" in open_


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


def test_one_direction_gets_one_column():
    flow = make_flow()
    one = dataclasses.replace(
        flow, frames=flow.frames[:, :, :1], cls=flow.cls[:, :, :1],
        handed_on=flow.handed_on[:, :, :1], state=flow.state[:, :, :1],
        orders={"forward": (0, 1, 2, 3)},
    )  # fmt: skip
    assert len(relevance.relevance_flow(one).data) == 2
