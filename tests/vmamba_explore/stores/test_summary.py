"""Statistics of a store are those of all its values at once, and what is missing is said."""

import numpy as np
import pytest
import torch

import vmamba_explore as vx
from tests.vmamba_explore.stores.stores import made
from vmamba_explore.analysis.channels import clip_half_lives
from vmamba_explore.analysis.similarity import participation_ratio
from vmamba_explore.clips.decode import load_clip
from vmamba_explore.stores import summary
from vmamba_explore.stores.opened import blocks, open_states
from vmamba_explore.stores.summary import statistics

DIMS = {"h_boundaries": ("layer", "direction", "frame", "channel", "state")}


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, 2, 2, 1, 3, 4, 5)).astype(np.float16) + np.float16(0.5)


@pytest.mark.parametrize("block", [1, 10**4, 10**8])
def test_numbers_are_those_of_all_values_at_once_whatever_the_block(
    values, block, tmp_path, monkeypatch
):
    monkeypatch.setattr(summary, "blocks", lambda array: blocks(array, block))
    found = statistics(made(tmp_path / "s", {"h_boundaries": values}, dims=DIMS))
    wide, over = values.astype(np.float64), (0, 1, 4)
    assert found["mean"].dims == ("layer", "direction", "channel", "state")
    expected = {
        "minimum": wide.min(over), "maximum": wide.max(over), "mean": wide.mean(over),
        "deviation": wide.std(over),
        "sparsity": 1 - np.abs(wide).mean(over) ** 2 / (wide**2).mean(over),
    }  # fmt: skip
    for name, value in expected.items():
        np.testing.assert_allclose(found[name].values, value, rtol=1e-6, err_msg=name)
    assert (found.attrs["videos"], found.attrs["clips"], found.attrs["values"]) == (40, 80, 240)


def test_sparsity_is_0_for_values_of_one_size_and_near_1_where_one_is_large(tmp_path):
    values = np.zeros((100, 1, 3), np.float32)
    values[:, 0, 0] = np.where(np.arange(100) % 2, 2.0, -2.0)
    values[7, 0, 1] = 5.0
    sparsity = statistics(made(tmp_path / "s", {"embedding": values}), "embedding")["sparsity"]
    assert sparsity[0] == pytest.approx(0) and sparsity[1] == pytest.approx(0.99)
    assert np.isnan(sparsity[2])


def test_participation_is_that_of_the_vectors_and_knows_its_ceiling(values, tmp_path):
    store = made(tmp_path / "s", {"h_boundaries": values}, dims=DIMS)
    found = statistics(store)
    rows = torch.from_numpy(values[:, :, 1, 0].astype(np.float32)).reshape(-1, 20)
    assert float(found["participation_ratio"][1, 0]) == pytest.approx(participation_ratio(rows))
    assert found["ceiling"] == 20
    few = statistics(store, samples=12)
    assert few["participation_ratio"].attrs["samples"] == 12 and few["ceiling"] == 11
    rng = np.random.default_rng(1)
    line = (rng.normal(size=(40, 1, 1)) * np.ones(9)).astype(np.float32)
    one = statistics(made(tmp_path / "l", {"embedding": line}), "embedding")
    assert float(one["participation_ratio"]) == pytest.approx(1)
    with pytest.raises(ValueError, match="pass fewer samples="):
        statistics(store, budget_gib=1e-7)


def test_where_C_is_stored_an_arbitrary_scale_of_the_states_does_not_count(values, tmp_path):
    rng = np.random.default_rng(2)
    C = rng.normal(size=(40, 2, 2, 1, 3, 5)).astype(np.float32)
    dims = DIMS | {"C": ("layer", "direction", "frame", "state")}
    wide, scale = values.astype(np.float32), np.array([1, 100, 1, 1, 0.01], np.float32)
    one = made(tmp_path / "a", {"h_boundaries": wide, "C": C}, dims=dims)
    other = made(tmp_path / "b", {"h_boundaries": wide * scale, "C": C / scale}, dims=dims)
    a, b = (statistics(store)["participation_ratio"] for store in (one, other))
    np.testing.assert_allclose(a, b, rtol=1e-4)
    assert a.attrs["values"] == "h times the rms of C"


def test_half_lives_are_those_of_a_trace(model, videos, tmp_path):
    hooks = [
        f"layers.{layer}.mixer.ssm_{name}.hook_delta:mean"
        for layer in range(model.config.depth)
        for name in model.config.directions
    ]
    path = tmp_path / "s"
    vx.extract(model, videos, path, quantities=["h_boundaries", *hooks], progress=False)
    states = open_states(path).isel(video=[2])
    found = statistics(states, model=model)["half_life"].sel(layer=1)
    size = model.config.num_frames, 2
    clip = load_clip(videos.videos[2].path, *size, img_size=model.config.img_size)
    _, trace = vx.run_with_trace(model, clip, "*.hook_delta")
    video = [token for token in range(model.grid.seqlen) if model.grid.position(token)]
    for name in model.config.directions:
        delta = trace[f"layers.1.mixer.ssm_{name}.hook_delta"][0][:, video].mean(-1)
        A = trace.ssm(1, name).A.abs()
        expected = (np.log(2) / (delta[:, None] * A)).detach().numpy()
        np.testing.assert_allclose(found.sel(direction=name), expected, rtol=1e-4)
    near = clip_half_lives(trace, 1)  # the class token is in its mean
    np.testing.assert_allclose(found.transpose(*near.dims), near, rtol=0.5)


def test_what_half_lives_lack_is_said(model, videos, tmp_path):
    path = tmp_path / "s"
    vx.extract(model, videos, path, quantities=["h_boundaries", "delta"], progress=False)
    said = statistics(path, model=model).attrs["half_life"]
    assert "(delta alone is the mean over channels): 4 of 4 are not stored" in said
    assert "extract them as layers.0.mixer.ssm_forward.hook_delta:mean" in said
    assert "has no dims layer" in statistics(path, "delta").attrs["half_life"]


def test_a_model_of_other_weights_is_refused(model, videos, tmp_path):
    hooks = [f"layers.{n}.mixer.ssm_{d}.hook_delta:mean" for n in (0, 1)
             for d in ("forward", "backward")]  # fmt: skip
    path = tmp_path / "s"
    vx.extract(model, videos, path, quantities=["h_boundaries", *hooks], progress=False)
    assert "pass it as model=" in statistics(path).attrs["half_life"]
    with torch.no_grad():
        model.head.bias += 1
    with pytest.raises(ValueError, match="pass the model that made it"):
        statistics(path, model=model)
