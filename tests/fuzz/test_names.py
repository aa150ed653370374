"""Names that no file has, or that break a line, in every place where a path is given."""

import numpy as np
import plotly.graph_objects as go
import pytest
import xarray as xr

import vmamba_explore as vx
from tests.fuzz.checkpoints import model
from tests.fuzz.door import message_fault
from tests.fuzz.messages import _explored as explored
from tests.fuzz.worker import is_ours
from vmamba_explore.clips.encode import write_clip
from vmamba_explore.datasets.lists import from_csv, from_folders, from_hmdb51, from_ssv2, read_list
from vmamba_explore.training.start import starting_model

pytestmark = pytest.mark.fuzz
NAMES = {
    "long": "x" * 5000,
    "long path": "/".join(["y" * 200] * 40),
    "line ends": "a\rb\u2029c",
    "NUL": "a\0b",
    "another home": "~no-such-user/x",
    "surrogate": "\udcff",
}


def listed(name):
    """Read a list whose one video has this name."""
    with open("odd.csv", "w", errors="surrogateescape") as file:
        file.write(f"path,label\n{name}.mp4,up\n")
    return from_csv("odd.csv")


def found_features(name):
    """Train features of a few numbers into a folder of this name; the features, and the numbers."""
    values = xr.DataArray(np.random.default_rng(0).normal(size=(4, 8, 6)).astype("float32"))
    rows = vx.analysis.Activations(
        values.rename(dim_0="video", dim_1="frame", dim_2="channel"), vx.analysis.Site(0)
    )
    return vx.analysis.train_features(rows, width=8, k=2, steps=2, batch_size=8, path=name), rows


CALLS = {
    "load_clip": vx.load_clip,
    "load_model": vx.load_model,
    "load_model of a folder": lambda name: vx.load_model(f"{name}/model"),
    "check_checkpoint": lambda name: str(vx.check_checkpoint(name)),
    "from_image_checkpoint": lambda name: vx.from_image_checkpoint(name, model().config),
    "starting_model": lambda name: starting_model(name, ("up", "down", "none")),
    "from_folders": from_folders,
    "from_csv": from_csv,
    "from_csv below": lambda name: from_csv("list.csv", name),
    "from_csv of it": listed,
    "from_ssv2": lambda name: from_ssv2(name, name, name),
    "from_hmdb51": lambda name: from_hmdb51(name, name),
    "from_hmdb51 below": lambda name: from_hmdb51(".", name),
    "read_list": read_list,
    "watch": lambda name: vx.watch(name, model(), progress=False),
    "watch to": lambda name: vx.watch("film.mp4", model(), csv=name, progress=False),
    "explore": lambda name: vx.explore(name, model(), progress=False),
    "report": lambda name: vx.report(name, "report.html", model=model()),
    "report to": lambda name: vx.report("film.mp4", f"{name}.html", model=model()),
    "report over a film": lambda name: vx.report(name, "film.mp4", model=model()),
    "open_states": vx.open_states,
    "to_html": lambda name: explored(None).to_html(name),
    "figures.save": lambda name: vx.figures.save(go.Figure(), f"{name}.html"),
    "figures.save of no kind": lambda name: vx.figures.save(go.Figure(), name),
    "to_zarr": lambda name: explored(None).to_zarr(name),
    "evaluate_videos": lambda name: vx.evaluate_videos(model(), from_csv("list.csv"), name),
    "extract": lambda name: vx.extract(model(), [name], "states.zarr", progress=False),
    "extract to": lambda name: vx.extract(model(), ["film.mp4"], name, progress=False),
    "store_size": lambda name: vx.store_size(model(), [name]),
    "train": lambda name: vx.train(model(), from_csv("list.csv"), name, epochs=1, batch_size=2),
    "export_onnx": lambda name: vx.export_onnx(model(), name),
    "load_features": vx.analysis.load_features,
    "train_features": found_features,
    "feature_page": lambda name: vx.feature_page(
        model(), *found_features(None), f"{name}.html", []
    ),
    "save_pretrained": lambda name: model().save_pretrained(name),
}


@pytest.mark.parametrize("call", CALLS)
def test_an_odd_name_gives_a_value_or_a_sentence_of_ours(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write_clip("film.mp4", np.zeros((40, 32, 32, 3), np.uint8))
    (tmp_path / "list.csv").write_text("film.mp4,up\nfilm.mp4,down\nfilm.mp4,none\n")
    for kind, name in NAMES.items():
        try:
            CALLS[call](name)
        except Exception as error:
            assert is_ours(error), f"{kind}: {error!r:.300}"
            assert message_fault(error) is None, f"{kind}: {message_fault(error)}, {error!s:.300}"
