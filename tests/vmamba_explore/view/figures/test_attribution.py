"""Attributions: every tile shows its method, frame, place and scale; every curve its method."""

import numpy as np
import pytest
import torch
from figure_examples import make_attribution, make_faithfulness, named, of_type

from vmamba_explore.attribution.removal_scores import RandomControl
from vmamba_explore.attribution.sanity import Agreement, WeightRandomization
from vmamba_explore.view.figures import attribution as draw


def test_each_line_is_scaled_by_its_own_peak(clip):
    figure = draw.attribution_maps(
        clip, {"a": make_attribution(), "<b>": make_attribution(1e3), "zero": make_attribution(0.0)}
    )
    first, second, zero = of_type(figure, "heatmap")
    assert np.allclose(first.z, second.z, equal_nan=True)
    assert np.nanmax(first.z) == pytest.approx(1)
    assert np.nanmin(first.z) == pytest.approx(-0.5, abs=0.02)
    assert np.nanmax(np.abs(zero.z)) == 0
    assert [note.text for note in figure.layout.annotations] == ["peak 1", "peak 1e+03", "peak 0"]
    assert figure.layout.coloraxis.cmin == -figure.layout.coloraxis.cmax == -1
    assert figure.layout.yaxis.ticktext == ("a", "&lt;b&gt;", "zero")


def test_a_tile_stands_in_the_column_of_its_frame(clip):
    attribution = make_attribution()
    (trace,) = of_type(draw.attribution_maps(clip, {"a": attribution}), "heatmap")
    expected = attribution.tokens()[0]
    assert trace.z[2, 3 * 5 + 1] == pytest.approx(float(expected[3, 2, 1]))
    assert trace.customdata[2, 3 * 5 + 1].tolist() == [3, 2, 1]
    assert np.isnan(trace.z[0, 4])  # between two tiles


def test_frames_can_be_chosen_and_keep_their_numbers_and_scale(clip):
    attribution = make_attribution()
    figure = draw.attribution_maps(clip, {"a": attribution}, frames=[5, 1])
    (trace,) = of_type(figure, "heatmap")
    assert trace.customdata[0, 0].tolist() == [5, 0, 0]
    assert trace.z[0, 5] == pytest.approx(float(attribution.tokens()[0, 1, 0, 0]))
    assert len(figure.layout.images) == 2


def test_a_part_and_a_clip_of_the_batch_can_be_chosen(clip):
    attribution = make_attribution(batch=2)
    attribution.values[1] *= -1
    (trace,) = of_type(
        draw.attribution_maps(clip, {"a": attribution}, 1, part="positive"), "heatmap"
    )
    assert np.nanmin(trace.z) == 0
    assert trace.z[0, 0] == pytest.approx(1)  # the most negative of the other clip


def test_the_truth_is_outlined_in_every_line(clip):
    truth = np.zeros((8, 4, 4), bool)
    truth[1, 2, 3] = True
    maps = {"a": make_attribution(), "b": make_attribution()}
    line = draw.attribution_maps(clip, maps, truth=truth).data[-1]
    assert line.name == "where it should be"
    edges = {
        frozenset([(line.x[i], line.y[i]), (line.x[i + 1], line.y[i + 1])])
        for i in range(0, len(line.x), 3)
    }
    left, top = 5 + 3 - 0.5, 2 - 0.5  # the second tile begins at 5
    corners = [(left, top), (left + 1, top), (left + 1, top + 1), (left, top + 1)]
    square = {frozenset([corners[i], corners[i - 1]]) for i in range(4)}
    below = {frozenset((x, y + 5) for x, y in edge) for edge in square}
    assert edges == square | below


def test_agreement_is_the_mean_over_clips():
    values = torch.tensor([[[1.0, 0.2], [0.2, 1.0]], [[1.0, torch.nan], [torch.nan, 1.0]]])
    figure = draw.agreement_matrix(Agreement(("a", "<b>"), values.double()))
    assert np.allclose(figure.data[0].z, [[1, 0.2], [0.2, 1]])
    assert list(figure.data[0].x) == ["a", "&lt;b&gt;"]
    assert figure.layout.coloraxis.cmin == -1


def test_curves_are_means_over_clips_unless_one_is_asked_for():
    found, chance = {"<i>a": make_faithfulness(1.0)}, RandomControl((make_faithfulness(0.5),) * 3)
    mean = draw.faithfulness_curves(found, chance)
    deletion, insertion = named(mean, "&lt;i&gt;a: 1.50, 1.50")
    assert list(deletion.y) == [3.0, 1.5, 0.0]
    assert list(insertion.y) == [0.0, 1.5, 3.0]
    assert len(named(mean, "random orders")) == 6
    one = draw.faithfulness_curves(found, clip=1, of="probabilities")
    assert one.data[0].y == pytest.approx([0.4, 0.2, 0.0])
    assert "mean of" not in one.layout.title.text
    assert "probability" in one.layout.yaxis.title.text


def test_what_is_left_of_a_map_starts_at_the_trained_model():
    each = torch.tensor([[0.5, 0.1], [0.7, torch.nan]]).double()
    figure = draw.sanity([WeightRandomization("a", ("head", "patch_embed"), each, each / 2)])
    assert list(figure.data[0].x) == ["trained", "head", "patch_embed"]
    assert figure.data[0].y == pytest.approx([1, 0.6, 0.1])
    assert figure.data[1].y == pytest.approx([1, 0.3, 0.05])
