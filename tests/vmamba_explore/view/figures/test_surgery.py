"""The figures of surgery show the numbers they are given, the window and the residual."""

import numpy as np
import pytest
from figure_examples import of_type

from vmamba_explore.view.colors import DIRECTION_COLORS
from vmamba_explore.view.figures.surgery import (
    by_boundary,
    restored_in_window,
    restored_share,
    scan_bars,
    selection_shares,
    state_surgery,
)


def test_each_direction_is_a_panel_of_layers_by_boundaries(patching):
    figure = restored_share(patching, 1)
    heats = of_type(figure, "heatmap")
    assert [heat.name for heat in heats] == ["forward", "backward"]
    for heat in heats:
        wanted = patching.restored.isel(clip=1).sel(direction=heat.name)
        assert np.allclose(heat.z, wanted.transpose("layer", "frame"))
        assert list(heat.x) == list(range(1, 8)) and list(heat.y) == ["0", "1", "2"]
    assert figure.layout.coloraxis.cmin == -figure.layout.coloraxis.cmax
    assert figure.layout.yaxis.autorange == "reversed"


def test_the_window_is_drawn_from_its_first_frame_to_the_end_of_its_last(patching):
    for clip, (first, last) in enumerate(patching.windows):
        boxes = restored_share(patching, clip).layout.shapes
        assert [(box.x0, box.x1) for box in boxes] == [(first / 2, (last + 1) / 2)] * 2
    assert restored_share(patching).layout.shapes == ()


def test_all_pairs_together_are_drawn_without_a_window(patching):
    forward, _ = restored_share(patching).data
    wanted = patching.restored_overall.sel(direction="forward").transpose("layer", "frame")
    assert np.allclose(forward.z, wanted)


def test_a_residual_is_shown_when_it_is_not_negligible(patching, swap):
    figures = [restored_share(patching, 0), restored_in_window(patching, 2, "backward")]
    for figure in figures:
        assert "residual 2.0e-03: how far this is moved by surgery" in figure.layout.title.text
    assert "residual" not in selection_shares(swap).layout.title.text


def test_windows_of_all_pairs_are_laid_over_each_other(patching):
    figure = restored_in_window(patching, 2, "backward")
    lines = of_type(figure, "scatter")
    for clip, line in enumerate(lines):
        first, last = patching.windows[clip]
        assert np.allclose(line.x, (2 * np.arange(1, 8) - first) / (last + 1 - first))
        assert np.allclose(line.y, patching.restored.sel(layer=2, direction="backward", clip=clip))
        assert line.line.color == DIRECTION_COLORS["backward"]
    assert [shape.x0 for shape in figure.layout.shapes] == [0, 1]


def test_bars_stand_for_scans_and_an_index_of_minus_one_for_all_layers(patching):
    values = patching.restored_overall.isel(frame=0, drop=True)
    values = values.assign_coords(layer=[0, 1, -1])
    figure = scan_bars(values, "title", "share (no unit)")
    assert [bar.name for bar in figure.data] == ["forward", "backward"]
    assert list(figure.data[0].x) == ["0", "1", "all"]
    assert np.allclose(figure.data[1].y, values.sel(direction="backward"))


def test_shares_of_u_and_of_the_selection_are_stacked_per_scan(swap):
    figure = selection_shares(swap)
    assert len(figure.data) == 6
    by_u, by_selection = figure.data[:3], figure.data[3:]
    for parts, share in ((by_u, swap.by_u), (by_selection, swap.by_selection)):
        for bars, direction in zip(parts, ("forward", "backward", "both"), strict=True):
            wanted = share.sel(direction=direction).dropna("layer")
            assert list(bars.x) == ["all" if n == -1 else str(n) for n in wanted["layer"].values]
            assert np.allclose(bars.y, wanted)
    assert figure.layout.barmode == "relative"


def test_every_axis_names_what_it_shows_and_its_unit(patching, swap):
    assert restored_share(patching).layout.xaxis.title.text == (
        "boundary before token frame (number)"
    )
    assert "(no unit)" in selection_shares(swap).layout.yaxis.title.text
    assert "(no unit)" in restored_in_window(patching, 0, "forward").layout.yaxis.title.text


def test_boundaries_are_drawn_at_the_edges_of_what_the_frames_show(by_frame_boundary):
    spans = {"sample": (2, 2), "test": (11, 12)}
    figure = by_boundary(by_frame_boundary, "title", "right (share)", spans, 0.25)
    lines = [line for line in of_type(figure, "scatter") if line.name]
    assert [line.name for line in lines] == ["both", "forward", "backward"]
    for line in lines:
        assert list(line.x) == list(range(1, 16))
        assert np.allclose(line.y, by_frame_boundary.sel(direction=line.name))
    assert [line.line.color for line in lines[1:]] == list(DIRECTION_COLORS.values())[:2]
    others = by_frame_boundary.assign_coords(direction=["both", "one way", "another"])
    colors = {line.line.color for line in of_type(by_boundary(others, "", ""), "scatter")}
    assert len(colors - {None}) == 3
    boxes = [(box.x0, box.x1) for box in figure.layout.shapes if box.type == "rect"]
    assert boxes == [(2, 3), (11, 13)]
    assert [note.text for note in figure.layout.annotations] == ["sample", "test"]
    (dotted,) = (box for box in figure.layout.shapes if box.type == "line")
    assert dotted.y0 == dotted.y1 == 0.25
    one = by_boundary(by_frame_boundary.sel(direction="both", drop=True), "title", "right (share)")
    assert sum(bool(line.name) for line in of_type(one, "scatter")) == 1


def test_surgery_on_some_states_is_a_panel_for_each_operation_in_percent(operated):
    figure = state_surgery(operated, 0.25)
    accuracy = operated.accuracy
    lines = [line for line in of_type(figure, "scatter") if line.name]
    assert len(lines) == 6
    for line, operation in zip(lines, np.repeat(accuracy["operation"].values, 2), strict=True):
        wanted = accuracy.sel(operation=operation, order=line.name)
        assert np.allclose(line.y, 100 * wanted)
        assert np.allclose(line.customdata[:, 0], [0, 1, 3, 10, 30, 100])
        assert np.allclose(line.customdata[:, 1:], 100 * np.stack([wanted.low, wanted.high], -1))
    assert list(figure.layout.xaxis.ticktext) == ["0", "1", "3", "10", "30", "100"]
    assert [line.y0 for line in figure.layout.shapes] == pytest.approx([25] * 3)
