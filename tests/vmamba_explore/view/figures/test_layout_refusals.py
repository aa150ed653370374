"""What cannot be drawn is refused in one sentence, by every figure."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from figure_examples import (
    curve,
    made_lives,
    make_attribution,
    make_conservation,
    make_faithfulness,
    make_flow,
    parts,
)

from vmamba_explore import figures as draw
from vmamba_explore.studies.scaling.figures import cost_curves
from vmamba_explore.studies.scaling.fit import Curve
from vmamba_explore.studies.scorecard import figures as card
from vmamba_explore.studies.teaching.detector_figures import space_time
from vmamba_explore.studies.teaching.scan_figures import courses, scan_rounds
from vmamba_explore.tokens import TokenGrid

ONE, EMPTY, BATCH = {"a": make_attribution()}, {"methods": {}}, "no clip 2 in this batch of 2"
GRIDS = {**ONE, "b": make_attribution(grid=TokenGrid(8, 2, 2, "front"))}
LIVES, OTHER = made_lives([[5.0, 7]]), made_lives([[5.0, 7, 8]])
LENGTHS = "half_life_histogram: .*one or two clips in the same layer"
MADE = "the summary holds no method; run `make scorecard`"


def without_windows(get):
    bare = dataclasses.replace(get("patching"), windows=None)
    return draw.restored_in_window(bare, 0, "forward")


def without_clip_frames(get):
    values = get("patching").restored_overall.drop_vars("clip_frame")
    return draw.boundary_map(values, "title", "label", (1, 6))


def maps(get, found, **options):
    return draw.attribution_maps(get("clip"), found, **options)


REFUSED = [
    (lambda get: draw.frame_shares({}), "frame_shares: expected at least one panel"),
    (lambda get: draw.frame_shares({"x": get("grid_map")()}), "'x' has dims .*target and source"),
    (lambda get: draw.by_frame(get("grid_map")().mean("frame")), "by_frame: .*expected frame"),
    (lambda get: draw.by_layer({"x": get("grid_map")()}), "by_layer: .*dims layer and direction"),
    (lambda get: draw.shares_inside({}), "shares_inside: expected at least one map"),
    (lambda get: maps(get, {}), "attribution_maps: got no attribution"),
    (lambda get: maps(get, ONE, index=1), "no clip 1 in this batch of 1"),
    (lambda get: maps(get, GRIDS), "on different grids"),
    (lambda get: maps(get, {"a": make_attribution(tubelet=4)}), "reach clip frame 28, .* has 16"),
    (lambda get: maps(get, ONE, truth=np.zeros((2, 4, 4), bool)), "the truth is"),
    (lambda get: maps(get, ONE, frames=[8]), "no token frame 8; expected 0 to 7"),
    (lambda get: maps(get, ONE, frames=[]), "frames is empty"),
    (lambda get: draw.faithfulness_curves({}), "got no method"),
    (lambda get: draw.faithfulness_curves({"a": make_faithfulness(1.0)}, clip=2), BATCH),
    (lambda get: draw.sanity([]), "got no method"),
    (lambda get: draw.evidence_curves([]), "expected at least one"),
    (lambda get: draw.evidence_curves(curve(), clip=2), BATCH),
    (lambda get: draw.evidence_curves(curve(), clip=-1), "no clip -1 in this batch of 2"),
    (lambda get: draw.logit_parts(parts(), clip=2), BATCH),
    (lambda get: draw.direct_curves(parts().direct(), clip=2), BATCH),
    (lambda get: draw.crossings({}, frames=4), "at least one name"),
    (lambda get: draw.frames(get("clip"), get("grid_map")()[0]), "'direction': 2.*frame, row and"),
    (lambda get: draw.delta_maps(get("grid_map")().expand_dims("state")), "expected row and col"),
    (lambda get: draw.delta_maps(get("grid_map")()[:0]), "'layer': 0"),
    (lambda get: draw.half_life_maps(get("lives"), unit="seconds"), "unit is 'seconds', expected"),
    (lambda get: draw.retention_from(get("retention"), 8), "no frame 8; .* token frames 0 to 7"),
    (lambda get: draw.half_life_histogram({"a": LIVES, "b": OTHER}), LENGTHS),
    (lambda get: draw.half_life_histogram(dict.fromkeys("abc", LIVES)), LENGTHS),
    (lambda get: draw.half_life_histogram({}), LENGTHS),
    (
        lambda get: draw.probe_scores(get("probed"), "speed"),
        "target is 'speed', expected 'velocity'",
    ),
    (lambda get: draw.ledger(make_conservation(), clip=2), BATCH),
    (lambda get: draw.relevance_flow(make_flow(), clip=1), "no clip 1 in this batch of 1"),
    (lambda get: draw.channel_browser(get("channels"), "delta", 40), "channel 40; .* 0 to 39"),
    (lambda get: draw.channel_states(get("h").expand_dims("channel")), r"'channel': 1.*\.sel\("),
    (lambda get: draw.state_norms(get("grid_map")().mean("frame")), "state_norms: got dims"),
    (lambda get: draw.state_trajectories(get("paths"), names=["one"]), "1 names for 2 clips"),
    (lambda get: draw.boundary_map(get("patching").restored, "", ""), "'clip'.* expected layer"),
    (
        lambda get: draw.by_boundary(get("patching").restored_overall, "", ""),
        "by_boundary: got dims .*'layer': 3",
    ),
    (lambda get: draw.scan_bars(get("patching").restored, "", ""), "scan_bars: got dims"),
    (lambda get: draw.restored_share(get("patching"), 2), "there is no pair 2; there are 2"),
    (without_clip_frames, "needs the coordinate clip_frame"),
    (without_windows, "give twin_patching the windows"),
    (lambda get: cost_curves([Curve("ours", "time", "s", (), ())]), "1 curves without a value"),
    (
        lambda get: card.score_card(get("score_summary"), "beauty"),
        "sort_by is 'beauty', expected .* or 'share'",
    ),
    (
        lambda get: card.scores_by_class(get("score_summary"), "beauty"),
        "score is 'beauty', expected .* or 'share'",
    ),
    (lambda get: card.score_card(EMPTY), f"score_card: {MADE}"),
    (lambda get: card.removal_scores(EMPTY), f"removal_scores: {MADE}"),
    (lambda get: card.shortcut(EMPTY), f"shortcut: {MADE}"),
    (lambda get: card.parts(EMPTY), f"parts: {MADE}"),
    (lambda get: card.scores_by_class(EMPTY), f"scores_by_class: {MADE}"),
    (lambda get: space_time(torch.zeros(0, 2, 2), []), "a title for each movie"),
    (lambda get: space_time(torch.zeros(2, 2, 2), ["a"]), "a title for each movie"),
    (lambda get: courses("", {}), "at least one panel, and a line in each"),
    (lambda get: courses("", {"a": {}}), "at least one panel, and a line in each"),
    (lambda get: scan_rounds({}), "at least one scan"),
]


@pytest.mark.parametrize(("call", "words"), REFUSED)
def test_what_cannot_be_drawn_gets_its_sentence(call, words, request):
    with pytest.raises(ValueError, match=words) as refused:
        call(request.getfixturevalue)
    assert re.match(r"\w+: ", str(refused.value)), "which call it was is not said"
