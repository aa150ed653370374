"""The traits that the worker makes are those that Python makes of the same numbers."""

import io
import zlib

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from tests.vmamba_explore.view.live.models import VARIANTS, model_of
from vmamba_explore.app.portable import portable
from vmamba_explore.view.explorer.exploration import DIMS
from vmamba_explore.view.explorer.packing import pack_answer, pack_together

SHAPE = (2, 2, 3, 4, 5)


def random_map(seed, kind):
    random = np.random.default_rng(seed)
    values = {
        "positive": random.lognormal(sigma=2, size=SHAPE),
        "signed": random.normal(size=SHAPE),
        "constant": np.full(SHAPE, 3.0),
        "zero": np.zeros(SHAPE),
        "tiny": random.lognormal(sigma=9, size=SHAPE) - 1e-3,
        "nothing": np.full(SHAPE, np.nan),
    }[kind].astype(np.float32)
    values[0, 0, 0, 1:3] = np.nan
    if kind == "tiny":
        values[1, 1, 0, 0, 0] = np.inf
    return values


@pytest.mark.parametrize("kind", ["positive", "signed", "constant", "zero", "tiny", "nothing"])
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("signed", [None, True])
def test_levels_and_ranges_are_those_of_python(learned, kind, log, count, signed):
    arrays = [random_map(seed, kind) for seed in range(count)]
    attrs = {"unit": "logits", "about": "What.", "log": log}
    attrs |= {} if signed is None else {"signed": signed}
    with np.errstate(all="ignore"):
        expected, levels = pack_together(
            "a map", [xr.DataArray(values, dims=DIMS, attrs=attrs) for values in arrays]
        )
    maps = [{"values": values.ravel(), "dims": list(SHAPE), **attrs} for values in arrays]
    found = learned().call("packed.js", "packTogether", "a map", maps)
    described = found["described"]
    for name in ("ranges", "differenceRanges"):
        assert np.allclose(described.pop(name), expected.pop(name), rtol=1e-12, atol=0)
    assert described == expected
    apart = np.abs(found["levels"].astype(int) - np.frombuffer(levels, np.uint8))
    assert apart.max() <= 1
    assert (apart > 0).mean() < 1e-3


def test_a_map_without_layers_and_directions_has_one_of_each(learned):
    values = random_map(0, "signed")[0, 0]
    expected, levels = pack_together("relevance", [xr.DataArray(values, dims=DIMS[2:])])
    map_ = {"values": values.ravel(), "dims": [1, 1, *values.shape]}
    found = learned().call("packed.js", "packTogether", "relevance", [map_])
    assert found["described"]["shape"] == expected["shape"]
    assert np.array_equal(found["levels"], np.frombuffer(levels, np.uint8))


def test_an_answer_has_one_scale_for_each_kind(learned):
    arrays = [random_map(seed, "positive")[0] for seed in range(2)]
    dataset = xr.Dataset(
        {
            name: (DIMS[1:], values)
            for name, values in zip(("reads", "read_by"), arrays, strict=True)
        }
    )
    expected, buffers = pack_answer(dataset)
    maps = {
        name: {"values": values.ravel(), "dims": [1, *SHAPE[1:]]}
        for name, values in zip(("reads", "read_by"), arrays, strict=True)
    }
    found = learned().call("packed.js", "packAnswer", maps)
    assert [each["label"] for each in found["maps"]] == [each["label"] for each in expected]
    for mine, theirs in zip(found["buffers"], buffers, strict=True):
        assert np.abs(mine.astype(int) - np.frombuffer(theirs, np.uint8)).max() <= 1


@pytest.mark.parametrize("width", [1, 2, 3, 4, 7, 64])
def test_a_frame_becomes_a_picture_of_exactly_its_pixels(learned, width):
    pixels = np.random.default_rng(width).integers(0, 256, (5, width, 3), dtype=np.uint8)
    file = learned().call("packed.js", "bitmap", pixels.ravel(), 5, width)
    image = Image.open(io.BytesIO(file.tobytes()))
    assert image.format == "BMP"
    assert np.array_equal(np.asarray(image.convert("RGB")), pixels)


@pytest.mark.parametrize("name", ["front", "middle", "mean pooling", "forward only", "spatial"])
def test_steps_and_sizes_are_those_of_the_scans(learned, name):
    model = model_of(**VARIANTS[name])
    engine, grid = learned(portable(model)), model.grid
    found = engine.call("packed.js", "packModel", engine.network, model.config.num_frames)
    assert found["grid"] == [grid.frames, grid.rows, grid.cols]
    assert found["directions"] == list(model.config.directions)
    assert found["state_shape"] == [model.config.d_inner, model.config.d_state]
    tubelet = model.config.tubelet_size
    assert found["token_frames"] == [n // tubelet for n in range(model.config.num_frames)]
    steps = np.frombuffer(zlib.decompress(found["steps"]), "<i4")
    expected, of_cls = [], {}
    for direction in model.config.directions:
        step = getattr(model.layers[0].mixer, f"ssm_{direction}").steps(grid.seqlen).argsort()
        video, cls = grid.split(step)
        expected.append(video.ravel().numpy())
        if cls is not None:
            of_cls[direction] = int(cls)
    assert np.array_equal(steps, np.concatenate(expected))
    assert found["cls_steps"] == of_cls
