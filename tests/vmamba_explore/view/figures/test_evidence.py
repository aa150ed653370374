"""Figures of evidence, from made-up results: what is drawn, where, and with which words."""

import numpy as np
import pytest
import torch
from figure_examples import FRAMES, WINDOW, curve, parts

from vmamba_explore.analysis.logits import LogitParts
from vmamba_explore.view.colors import DIRECTION_COLORS
from vmamba_explore.view.figures.evidence import (
    crossings,
    direct_curves,
    evidence_curves,
    logit_parts,
)


def shaded(figure):
    return [(shape.x0, shape.x1) for shape in figure.layout.shapes]


def test_a_curve_is_drawn_with_a_ring_where_it_passes_half_for_good():
    line, ring = evidence_curves(curve()).data
    assert list(line.y) == [0, 1, 6, 8]
    assert (list(ring.x), list(ring.y)) == ([2], [6])


def test_a_curve_that_never_passes_has_no_ring():
    assert len(evidence_curves(curve(), clip=1).data) == 1


def test_kinds_differ_in_color_and_removals_in_dash():
    kinds = [curve(), curve("suffix"), curve(removal="held")]
    prefix, suffix, held = evidence_curves(kinds).data[::2]
    assert prefix.line.color == held.line.color != suffix.line.color
    assert prefix.line.dash == suffix.line.dash != held.line.dash
    assert held.name == "prefix, the rest held"


def test_the_shaded_window_covers_whole_token_frames_from_edge_to_edge():
    assert shaded(evidence_curves(curve(), window=WINDOW)) == [(0.5, 2.5)]
    assert shaded(evidence_curves(curve(), window=(3, 5))) == [(1.0, 2.5)]
    assert shaded(evidence_curves(curve())) == []


def test_axes_of_curves_carry_units():
    layout = evidence_curves(curve()).layout
    assert layout.yaxis.title.text == "true minus twin logit (logits)"
    assert layout.xaxis.title.text.endswith("token frame seen (number)")


def test_a_map_for_each_direction_shares_one_scale_centered_on_zero():
    result = parts()
    figure = logit_parts(result, clip=1)
    forward, backward = figure.data[:2]
    assert np.allclose(forward.z, result.values[1, :, 0]) and forward.z.shape == (4, 6)
    assert np.allclose(backward.z, result.values[1, :, 1])
    assert figure.layout.coloraxis.cmin == -figure.layout.coloraxis.cmax
    assert list(forward.x) == ["0", "1", "2", "3", "class<br>token", "conv.<br>bias"]


def test_the_bars_sum_to_the_logit_in_the_title():
    result = parts()
    figure = logit_parts(result)
    total = sum(sum(bar.y) for bar in figure.data[2:])
    assert total == pytest.approx(float(result.logit[0]), abs=1e-4)
    assert f"{float(result.logit[0]):.2f} logits" in figure.layout.title.text
    assert [bar.name for bar in figure.data[2:]] == ["through the scans", "embedding", "head bias"]


def test_a_residual_is_told_only_where_it_is_not_negligible():
    assert "residual" not in logit_parts(parts()).layout.title.text
    wrong = parts(error=0.01)
    assert wrong.residual == pytest.approx(0.01, rel=0.02)
    told = f"residual {wrong.residual:.1e}: how far this is from the logit"
    assert told in logit_parts(wrong).layout.title.text


def test_one_direction_gets_one_map():
    both = parts()
    alone = LogitParts(
        both.tokens[:, :, :1], both.offset[:, :, :1], both.embedding, both.bias, both.logit,
        {"forward": both.steps["forward"]}, FRAMES,
    )  # fmt: skip
    kinds = [trace.type for trace in logit_parts(alone, window=WINDOW).data]
    assert kinds == ["heatmap", "bar", "bar", "bar"]


def test_direct_curves_have_a_panel_per_layer_and_say_which_tokens_are_mixed():
    result = parts().direct()
    figure = direct_curves(result, window=WINDOW)
    titles = [note.text for note in figure.layout.annotations]
    assert titles == ["layer 0, patches", *(f"layer {n}, mixed tokens" for n in (1, 2, 3))]
    assert np.allclose(figure.data[3].y, result.values[0, 1, 1])
    assert figure.data[3].line.color == DIRECTION_COLORS["backward"]
    assert shaded(figure) == [(0.5, 2.5)] * 4


def test_crossings_count_clips_and_tell_how_many_are_exact():
    found = torch.tensor([1.0, 1.0, 3.0, float("nan")])
    figure = crossings({"prefix": (found, torch.tensor([1.0, 1.0, 2.0, 0.0]))}, frames=4)
    table = np.nan_to_num(np.asarray(figure.data[0].z, dtype=float))
    assert table[1, 1] == 2 and table[3, 2] == 1 and table.sum() == 3
    assert figure.layout.annotations[0].text == "prefix: 2 of 4 exact"
