"""Every figure fits its place: no label is cut or covered, and its ink follows the theme."""

import importlib
import json
import os
import pathlib
import pkgutil

import numpy as np
import pandas as pd
import pytest
import torch
from figure_examples import (
    FRAMES,
    curve,
    made_camera_motion,
    made_camera_timeline,
    made_lives,
    made_statistics,
    made_timeline,
    make_attribution,
    make_conservation,
    make_faithfulness,
    make_flow,
    make_matrix,
    make_shares,
    parts,
)
from plotly.offline import get_plotlyjs

from tests.vmamba_explore.view.lenses import made_lens
from vmamba_explore import figures, resources
from vmamba_explore.analysis.rollout import Rollout
from vmamba_explore.analysis.truth import ShareInside
from vmamba_explore.attribution.removal_scores import RandomControl
from vmamba_explore.attribution.sanity import Agreement, WeightRandomization
from vmamba_explore.studies.experiments import figures as experiments
from vmamba_explore.studies.experiments.summary import Comparison
from vmamba_explore.studies.scaling import figures as scaling
from vmamba_explore.studies.scaling.fit import Curve
from vmamba_explore.studies.scorecard import figures as card
from vmamba_explore.studies.subjects import camera_figures as camera
from vmamba_explore.studies.teaching import detector_figures as motion
from vmamba_explore.studies.teaching import scan_figures as scan
from vmamba_explore.view import figures as rooms
from vmamba_explore.view.figures import layout
from vmamba_explore.view.page import html_page

WIDTHS = (640, 848, 1400)
METHODS = [f"method_number_{n}" for n in range(9)]
STAGES = ("head", "norm_f", *(f"layers.{n}" for n in reversed(range(6))), "patch_embed")
CHECK = (pathlib.Path(__file__).parent / "fit.js").read_text("utf-8")


def bundled(end=""):
    return json.loads(resources.path(f"scorecard{end}.json").read_text("utf-8"))


def arms():
    names = ["16_frames", "8_frames", "spatial_first", "a_longer_name_of_an_arm"]
    table = pd.DataFrame(
        {
            "mean": 0.7, "low": 0.6, "high": 0.8, "each": [[0.65, 0.75]] * 4, "within_pair": 0.9,
            "paper: SSv2": 63.7, "paper: HMDB51": 58.9,
        },
        index=names,
    )  # fmt: skip
    return experiments.arms(Comparison("number_of_frames", table, pd.DataFrame(), chance=0.25))


def learning():
    rows = [(arm, seed, step, step / 1000) for arm in "abc" for seed in (0, 1) for step in (9, 99)]
    columns = ["arm", "seed", "step", "accuracy"]
    return experiments.learning(pd.DataFrame(rows, columns=columns), 0.25)


def costs():
    frames = (8, 16, 32, 64, 128)
    return scaling.cost_curves(
        [
            Curve(model, quantity, unit, frames, tuple(factor * n**power for n in frames))
            for quantity, unit, factor in (("time", "s", 1e-3), ("peak memory", "bytes", 2**20))
            for model, power in (("VideoMamba", 1.0), ("joint attention, same width", 1.9))
        ],
        fit_from=8, reach=1024,
    )  # fmt: skip


def rollout():
    shares = torch.rand(1, 6, 2)
    labels = (tuple(range(6)), ("forward", "backward"), FRAMES)
    return Rollout(torch.full((1, 6, 8), 1 / 8), shares, shares / 2, 3, *labels)


def nine_faithful():
    found = {name: make_faithfulness(1 + n / 9) for n, name in enumerate(METHODS)}
    return figures.faithfulness_curves(found, RandomControl((make_faithfulness(0.5),) * 3))


def nine_sane():
    left = torch.rand(2, len(STAGES)).double()
    return figures.sanity([WeightRandomization(m, STAGES, left, left) for m in METHODS])


def nine_agree():
    values = torch.rand(1, 9, 9).double()
    return figures.agreement_matrix(Agreement(tuple(METHODS), values))


def maps_of_nine(clip):
    truth = np.zeros((8, 4, 4), bool)
    truth[1:5, 2, 3] = True
    maps = {name: make_attribution() for name in METHODS}
    return figures.attribution_maps(clip, maps, truth=truth)


def of_crossings():
    found = torch.tensor([1.0, 1.0, 3.0]), torch.tensor([1.0, 1.0, 2.0])
    return figures.crossings({"prefixes, dropped": found, "suffixes, dropped": found}, 8)


def forming():
    u, written = torch.randn(64), torch.randn(16, 64)
    return u, torch.rand(64), written, written.cumsum(1)


def of_cameras():
    return json.loads(resources.path("camera-nano/metrics.json").read_text("utf-8"))


KINDS = [("prefix", "dropped"), ("suffix", "dropped"), ("prefix", "held"), ("suffix", "held")]
FIGURES = {
    "camera_reliability": lambda get: camera.camera_reliability(of_cameras()),
    "camera_confusion": lambda get: camera.camera_confusion(of_cameras()),
    "camera_films": lambda get: camera.camera_films(of_cameras()),
    "frames": lambda get: figures.frames(get("clip")),
    "overlay": lambda get: figures.frames(get("clip"), get("grid_map")()[0, 0], name="delta"),
    "chosen frames": lambda get: figures.frames(
        get("clip"), get("grid_map")()[0, 0], name="delta", which=[3], title=""
    ),
    "several chosen frames": lambda get: figures.frames(get("clip"), which=[0, 5, 9]),
    "curve": lambda get: figures.curve(
        get("grid_map")()[0].mean(["row", "col"]), "delta of a layer", window=(2, 3)
    ),
    "curve of layers": lambda get: figures.curve(
        get("grid_map")(layers=6)[:, 0].mean(["row", "col"]), title=""
    ),
    "class_scores": lambda get: figures.class_scores(torch.randn(8), ["Moving a thing"] * 8),
    "delta_maps": lambda get: figures.delta_maps(get("grid_map")(layers=6), get("clip")),
    "delta_by_layer": lambda get: figures.delta_maps(get("grid_map")(layers=6).mean("frame")),
    "attention_maps": lambda get: figures.attention_maps(
        get("grid_map")(signed=True).assign_attrs(residual=0.01)
    ),
    "state_lens": lambda get: figures.state_lens(made_lens()),
    "state_norms": lambda get: figures.state_norms(get("grid_map")(layers=6)),
    "channel_states": lambda get: figures.channel_states(get("h")),
    "frame_shares": lambda get: figures.frame_shares(
        {"layer 0, forward": make_shares(), "layer 0, backward": make_shares(0.1)}, (0, 1)
    ),
    "by_frame": lambda get: figures.by_frame(get("grid_map")(signed=True), (5, 8)),
    "by_layer": lambda get: figures.by_layer(
        {"share (no unit)": get("grid_map")(layers=6).mean(["frame", "row", "col"])}
    ),
    "rollout_parts": lambda get: figures.rollout_parts(rollout()),
    "shares_inside": lambda get: figures.shares_inside(
        dict.fromkeys(METHODS, ShareInside(0.9, 1.0, 0.5))
    ),
    "matrix": lambda get: figures.matrix(make_matrix(residual=0.1)),
    "attribution_maps": lambda get: maps_of_nine(get("clip")),
    "agreement_matrix": lambda get: nine_agree(),
    "camera_motion": lambda get: figures.camera_motion(made_camera_motion(cut=6)),
    "camera_motion_of_nothing": lambda get: figures.camera_motion(made_camera_motion(applies=[])),
    "channel_browser": lambda get: figures.channel_browser(get("channels"), "delta", frame=1),
    "channel_browser_log": lambda get: figures.channel_browser(get("channels"), "half-life"),
    "evidence_curves": lambda get: figures.evidence_curves(
        [curve(*kind) for kind in KINDS], window=(2, 5)
    ),
    "logit_parts": lambda get: figures.logit_parts(parts(0.1), window=(2, 5)),
    "direct_curves": lambda get: figures.direct_curves(parts().direct(), window=(2, 5)),
    "crossings": lambda get: of_crossings(),
    "faithfulness_curves": lambda get: nine_faithful(),
    "sanity": lambda get: nine_sane(),
    "half_life_histogram": lambda get: figures.half_life_histogram(
        {"a clip": made_lives([[0.5, 3, 30], [9, 99, 300]]), "twin": made_lives([[2, 3, 9]] * 2)}
    ),
    "half_life_maps": lambda get: figures.half_life_maps(get("lives"), get("clip")),
    "look_back": lambda get: figures.look_back(get("course")),
    "retention_from": lambda get: figures.retention_from(get("retention"), 3),
    "retention_tiles": lambda get: figures.retention_tiles(get("retention")),
    "state_similarity": lambda get: figures.state_similarity(get("similarity")),
    "delta_contrast": lambda get: figures.delta_contrast(get("contrast")),
    "probe_scores": lambda get: figures.probe_scores(get("probed"), "velocity"),
    "after_cut": lambda get: figures.after_cut(get("jump")),
    "ledger": lambda get: figures.ledger(make_conservation(12.0, ("gate",)), clip=1),
    "relevance_flow": lambda get: figures.relevance_flow(make_flow(), window=(2, 5)),
    "restored_share": lambda get: figures.restored_share(get("patching"), 1),
    "boundary_map": lambda get: figures.boundary_map(
        get("patching").restored_overall, "A title", "share (no unit)", (1, 6)
    ),
    "by_boundary": lambda get: figures.by_boundary(
        get("by_frame_boundary"),
        "A title",
        "right (share)",
        {"sample": (2, 2), "test": (11, 12)},
        0.25,
    ),
    "store_statistics": lambda get: figures.store_statistics(made_statistics()),
    "store_statistics_of_many_layers": lambda get: figures.store_statistics(
        made_statistics(24, half_lives=False)
    ),
    "store_statistics_of_embeddings": lambda get: figures.store_statistics(
        made_statistics()[["deviation", "sparsity", "participation_ratio", "ceiling"]]
        .isel(layer=0, direction=0, state=0)
        .rename(channel="feature")
    ),
    "state_surgery": lambda get: figures.state_surgery(get("operated"), 0.25),
    "restored_in_window": lambda get: figures.restored_in_window(get("patching"), 2, "backward"),
    "scan_bars": lambda get: figures.scan_bars(
        get("patching").restored_overall.isel(frame=0, drop=True), "A title", "share (no unit)"
    ),
    "selection_shares": lambda get: figures.selection_shares(get("swap")),
    "timeline": lambda get: figures.timeline(made_timeline(40, 6, 8, failed=[7, 8], classes=5)),
    "timeline_camera": lambda get: figures.timeline(made_camera_timeline(40, failed=[7, 8])),
    "timeline_failed": lambda get: figures.timeline(made_timeline(3, failed=[0, 1, 2])),
    "state_trajectories": lambda get: figures.state_trajectories(get("paths"), frame=2),
    "arms": lambda get: arms(),
    "learning": lambda get: learning(),
    "cost_curves": lambda get: costs(),
    "score_card": lambda get: card.score_card(bundled()),
    "removal_scores": lambda get: card.removal_scores(bundled()),
    "shortcut": lambda get: card.shortcut(bundled()),
    "parts": lambda get: card.parts(get("parts_summary")),
    "parts of recall clips": lambda get: card.parts(bundled("_recall-nano")),
    "parts of camera clips": lambda get: card.parts(bundled("_camera-nano")),
    "for_explorer": lambda get: card.for_explorer(bundled()),
    "weights alone": lambda get: card.shortcut(get("parts_summary")),
    "scores_by_class": lambda get: card.scores_by_class(bundled()),
    "space_time": lambda get: motion.space_time(torch.rand(3, 16, 24), ["right", "left", "still"]),
    "detector_tuning": lambda get: motion.detector_tuning(
        0.2, (1.0, 0.5), motion.LAGS, motion.LAGS, -motion.LAGS
    ),
    "courses": lambda get: scan.courses(
        "One channel", {"u (no unit)": {"u": forming()[0]}, "h (no unit)": {"h": forming()[0]}}
    ),
    "scan_rounds": lambda get: scan.scan_rounds(
        {"one by one": torch.rand(9, 16) * 16, "in a tree": torch.rand(5, 16) * 16}
    ),
    "states_forming": lambda get: scan.states_forming(*(forming()[i] for i in (0, 1, 3))),
    "token_step": lambda get: scan.token_step(*(forming()[i] for i in (0, 2, 3)), 3),
}


def test_every_figure_is_fitted_here():
    names = [f"{rooms.__name__}.{each.name}" for each in pkgutil.iter_modules(rooms.__path__)]
    modules = [importlib.import_module(name) for name in names]
    drawn = {
        name
        for module in (*modules, experiments, scaling, card, camera, motion, scan)
        for name, draw in vars(module).items()
        if not name.startswith("_") and getattr(draw, "__module__", "") == module.__name__
        if getattr(draw, "__annotations__", {}).get("return") == "go.Figure"
    }
    assert len(drawn) > 40 and drawn - set(FIGURES) == set()


@pytest.fixture(scope="module")
def place(browser, tmp_path_factory):
    """Return an offline page with plotly in it, and room for one figure."""
    path = tmp_path_factory.mktemp("fit") / "page.html"
    style = f"<style>{layout.THEME_CSS} body {{ max-width: none; padding: 0 }}</style>"
    scripts = f"<script>{get_plotlyjs()}</script><script>{CHECK}</script>"
    path.write_text(html_page("x", f"{style}{scripts}<div id=at></div>"), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    yield page
    page.close()


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_fits_its_place_in_both_themes(name, place, request):
    figure = FIGURES[name](request.getfixturevalue)
    assert figure.layout.width is None
    folder, faults = os.environ.get("VMAMBA_SCREENSHOTS"), []
    for width in WIDTHS:
        place.set_viewport_size({"width": width, "height": int(figure.layout.height)})
        found = place.evaluate("async figure => await fit(figure)", figure.to_json())
        faults += [f"{width}: {fault}" for fault in found]
        for scheme in ("light", "dark"):
            place.emulate_media(color_scheme=scheme)
            faults += [f"{scheme}: {fault}" for fault in place.evaluate("unreadable()")]
            if folder:
                place.screenshot(path=pathlib.Path(folder) / f"{name}-{scheme}-{width}.png")
    assert not faults, "\n".join(faults)
