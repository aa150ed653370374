"""What stands in the region of a video is what the model does in a run of its own."""

import numpy as np
import pytest
import torch

from tests.vmamba_explore.toys import KINDS, SMALL, enliven, toy
from vmamba_explore.analysis.frame_states import frame_ends
from vmamba_explore.clips.clip import Clip
from vmamba_explore.clips.decode import load_clip
from vmamba_explore.stores.layout import Sampling
from vmamba_explore.stores.quantities import Quantity, variables
from vmamba_explore.stores.regions import clip_values, read_clips
from vmamba_explore.trace.record import run_with_trace


def random_frames(model, seed=0):
    size = (model.config.num_frames, model.config.img_size, model.config.img_size, 3)
    return np.random.default_rng(seed).integers(0, 255, size, np.uint8)


def clip_of(frames):
    numbers = np.arange(len(frames))
    return Clip(frames, numbers / 8, "noise", numbers)


def kept(model, *asked):
    wanted = variables(model, asked)
    return clip_values(model, random_frames(model), wanted)


@pytest.mark.parametrize("changes", KINDS)
def test_values_are_those_of_a_recorded_run_in_every_kind_of_model(changes):
    model = toy(change=enliven, **SMALL | changes)
    names = ("h_over_channels", "B", "block_input", "u", "h", "layers.1.hook_block_input")
    found = kept(model, "embedding", "frame_features", "logits", "delta", *names)
    clip = clip_of(random_frames(model))
    logits, trace = run_with_trace(model, clip, ["*.hook_h*", "*.hook_[uB]", "*hook_b*", "*delta"])
    batch = clip.tensor()[None]
    assert np.array_equal(found["logits"], logits[0].detach().numpy())
    assert np.array_equal(found["embedding"], model.embed(batch)[0].detach().numpy())
    assert np.array_equal(found["frame_features"], model.frame_features(batch)[0].detach().numpy())
    for name in names[:-1]:
        assert np.array_equal(found[name], trace.sel(quantity=name).values), name
    assert np.array_equal(found[names[-1]], trace.sel(1, quantity="block_input").values)
    delta = trace.sel(quantity="delta").mean("channel").values
    np.testing.assert_allclose(found["delta"], delta, rtol=1e-6)


@pytest.mark.parametrize("changes", KINDS)
def test_boundary_states_are_those_after_the_last_token_of_each_frame_in_scan_order(changes):
    model = toy(change=enliven, **SMALL | changes)
    found = kept(model, "h_boundaries")["h_boundaries"]
    _, trace = run_with_trace(model, clip_of(random_frames(model)), "*.hook_h")
    for layer in range(model.config.depth):
        for place, direction in enumerate(model.config.directions):
            _, ends = frame_ends(model, direction)
            h = trace[f"layers.{layer}.mixer.ssm_{direction}.hook_h"][0, :, :, ends]
            expected = h.permute(2, 0, 1).detach().numpy()
            np.testing.assert_allclose(found[layer, place], expected, rtol=1e-5, atol=1e-6)


def test_chosen_layers_frames_and_patches_are_cut_from_the_whole():
    model = toy(change=enliven, num_frames=6)
    whole = kept(model, "h")["h"]
    patches = ((1, 0), (0, 1))
    some = kept(model, Quantity("h", layers=(1,), frames=(2, 0), patches=patches))["h"]
    rows, cols = [1, 0], [0, 1]
    assert np.array_equal(some, whole[[1]][:, :, [2, 0]][:, :, :, rows, cols])


@pytest.mark.parametrize("changes", KINDS)
def test_pixels_are_the_mean_color_of_each_token(changes):
    model = toy(**SMALL | changes)
    frames, grid = random_frames(model), model.grid
    found = kept(model, "pixels")["pixels"]
    assert found.shape == (grid.frames, grid.rows, grid.cols, 3)
    time, size = len(frames) // grid.frames, frames.shape[1] // grid.rows
    for t, r, c in np.ndindex(*found.shape[:3]):
        cut = frames[time * t :][:time, size * r :][:, :size, size * c :][:, :, :size]
        np.testing.assert_allclose(found[t, r, c], cut.mean((0, 1, 2)) / 255, rtol=1e-5)


def test_pixels_can_be_chosen_and_reduced_as_other_quantities_are():
    model = toy(num_frames=6)
    whole = kept(model, "pixels")["pixels"]
    some = kept(model, Quantity("pixels", frames=(2, 0), patches=((1, 0), (0, 1))))["pixels"]
    assert np.array_equal(some, whole[[2, 0]][:, [1, 0], [0, 1]])
    mean = kept(model, "pixels:mean")["pixels"]
    np.testing.assert_allclose(mean, whole.mean((1, 2)), rtol=1e-6)


def test_reductions_run_over_the_patches_of_a_frame(model):
    whole = kept(model, "delta")["delta"]
    np.testing.assert_allclose(kept(model, "delta:mean")["delta"], whole.mean((-2, -1)), rtol=1e-6)
    assert np.array_equal(kept(model, "delta:max")["delta"], whole.max((-2, -1)))


def test_blocks_that_nothing_is_wanted_of_do_not_run(model):
    ran = []
    for number, block in enumerate(model.layers):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    kept(model, Quantity("delta", layers=(0,)), "layers.0.hook_block_input")
    assert ran == [0]


def test_a_number_too_large_for_float16_is_said():
    def large(model):
        model.head.weight *= 1e6

    model = toy(change=large)
    assert kept(model, "logits")["logits"].dtype == np.float32
    with pytest.raises(FloatingPointError, match=r"logits: \d+ of \d+ .* 65,504.*float32"):
        kept(model, "logits:float16")


def test_a_number_that_is_not_finite_is_said():
    model = toy(change=lambda model: model.head.bias.fill_(torch.nan))
    with pytest.raises(FloatingPointError, match="logits: .* not finite"):
        kept(model, "logits")


@pytest.mark.parametrize("stride", [1, 2, None])
def test_one_clip_is_what_load_clip_reads(videos, stride):
    path = videos.videos[0].path
    one = read_clips(path, Sampling(4, 16, stride))
    other = load_clip(path, 4, stride, img_size=16)
    assert np.array_equal(one.frames, other.frames)
    assert np.array_equal(one.indices, other.indices)
    assert np.array_equal(one.seconds, other.seconds)


def test_several_clips_go_from_the_start_to_the_end(videos):
    clip = read_clips(videos.videos[0].path, Sampling(4, 16, 1, clips_per_video=3))
    assert clip.indices.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
