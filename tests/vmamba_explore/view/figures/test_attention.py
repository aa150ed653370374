"""Figures of hidden attention: what they draw stands where it belongs, with units and residual."""

import numpy as np
import pytest
import torch
from figure_examples import TOKENS, make_matrix, make_shares

from vmamba_explore.analysis.rollout import Rollout
from vmamba_explore.analysis.truth import ShareInside
from vmamba_explore.view.figures import attention


@pytest.mark.parametrize(("residual", "shown"), [(3e-7, False), (2.5e-3, True)])
def test_a_residual_is_shown_where_it_is_not_rounding(grid_map, residual, shown):
    maps = grid_map(signed=True)
    maps.attrs["residual"] = residual
    per_layer = maps.sum(["frame", "row", "col"]).assign_attrs(residual=residual)
    figures = [
        attention.attention_maps(maps),
        attention.by_frame(maps),
        attention.by_layer({"a (b)": per_layer}),
        attention.frame_shares({"both": make_shares(residual)}),
        attention.matrix(make_matrix(residual=residual)),
    ]
    for figure in figures:
        assert ("residual 2.5e-03" in figure.layout.title.text) is shown


def test_frame_shares_are_in_percent_with_the_sources_named():
    figure = attention.frame_shares({"layer 0 <b>": make_shares(), "1": make_shares()}, (0, 1))
    assert np.allclose(figure.data[0].z, [[90, -10, 20], [0, 100, 0]])
    assert list(figure.data[0].x) == ["0", "1", "offset"]
    assert figure.layout.annotations[0].text == "layer 0 &lt;b&gt;"
    assert figure.layout.coloraxis.cmin == -figure.layout.coloraxis.cmax == -100
    assert len(figure.layout.shapes) == 2
    assert (figure.layout.shapes[0].x0, figure.layout.shapes[0].x1) == (-0.5, 1.5)


def test_frames_add_up_their_tokens_and_layers_by_direction(grid_map):
    maps = grid_map(signed=True).rename("contribution").assign_attrs(unit="logits")
    figure = attention.by_frame(maps, window=(5, 8))
    assert [bar.name for bar in figure.data] == ["forward", "backward"]
    expected = maps.sel(direction="backward", frame=3).sum()
    assert figure.data[1].y[3] == pytest.approx(float(expected))
    assert "logits" in figure.layout.yaxis.title.text
    shape = figure.layout.shapes[0]
    assert (shape.x0, shape.x1) == (1.5, 4.5)  # clip frames 5 to 8 stand in token frames 2 to 4


def test_one_direction_needs_no_legend(grid_map):
    figure = attention.by_frame(grid_map().sel(direction="backward", drop=True))
    assert len(figure.data) == 1
    assert not figure.data[0].showlegend


def test_layers_have_a_bar_for_each_direction(grid_map):
    values = grid_map().mean(["frame", "row", "col"])
    figure = attention.by_layer({"share (%)": values, "size": 2 * values})
    assert len(figure.data) == 4
    assert figure.data[1].y == pytest.approx(values.sel(direction="backward").values)
    assert [bar.showlegend for bar in figure.data] == [True, True, False, False]


def test_a_rollout_shows_both_of_its_parts():
    parts = torch.tensor([[[0.25, 0.75]], [[0.5, 0.5]]])
    rollout = Rollout(
        torch.full((2, 1, 13), 1 / 13), parts, parts / 2, 4, (0,), ("forward", "backward"), TOKENS
    )
    figure = attention.rollout_parts(rollout, clip=1)
    assert [list(bar.y) for bar in figure.data] == [[0.5], [0.5], [0.25], [0.25]]


def test_shares_stand_beside_their_areas():
    shares = {"a": ShareInside(0.9, 0.8, 0.5), "b": ShareInside(0.1, 0.2, 0.25)}
    figure = attention.shares_inside(shares, "the window")
    assert list(figure.data[0].x) == [90, 10]
    assert list(figure.data[1].x) == [50, 25]
    assert "the window" in figure.layout.title.text


def test_the_matrix_names_its_tokens_and_rules_off_frames():
    figure = attention.matrix(make_matrix())
    names = list(figure.data[0].x)
    assert names[6] == "class token"
    assert names[7] == "frame 1, row 0, col 0"
    assert names[5] == "frame 0, row 1, col 2"
    assert figure.layout.coloraxis.cmin == -figure.layout.coloraxis.cmax
    assert {shape.x0 for shape in figure.layout.shapes} == {-0.5, 6.5}


def test_a_large_matrix_is_averaged_over_neighbors(monkeypatch):
    monkeypatch.setattr(attention, "_MOST_CELLS", 5)
    values = torch.rand(1, 13, 13)
    drawn = attention.matrix(make_matrix(values=values)).data[0].z  # 3 x 3 cells, the rest smaller
    assert drawn.shape == (5, 5)
    assert drawn[1, 2] == pytest.approx(float(values[0, 3:6, 6:9].mean()))
    assert drawn[4, 0] == pytest.approx(float(values[0, 12, 0:3].mean()))
