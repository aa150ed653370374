"""Delta on moving and on still tokens, where both are known."""

import dataclasses

import numpy as np
import pytest
import torch

from vmamba_explore.analysis.delta import delta_contrast
from vmamba_explore.analysis.truth import token_share
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.trace.trace import Trace

CONFIG = VideoMambaConfig(num_frames=16, img_size=64, patch_size=8, d_model=8, depth=2)
CLIPS = MotionClips(seed=3, distractors="all")


@pytest.fixture(scope="module")
def clips():
    """Return two motion clips with a distractor each."""
    return [CLIPS[0], CLIPS[1]]


def make_trace(values):
    """Return a trace whose delta, in 4 channels, has these values over the tokens (clip, ...)."""
    flat = values.flatten(1).float()
    cls = torch.full((len(flat), 1), 99.0)
    delta = torch.cat([cls, flat], 1)[:, None] * torch.tensor([0.5, 1.5, 0.7, 1.3])[:, None]
    names = [
        f"layers.{n}.mixer.ssm_{d}.hook_delta" for n in (0, 1) for d in ("forward", "backward")
    ]
    return Trace({name: delta * (2 if "1" in name else 1) for name in names}, {}, CONFIG)


def moving_tokens(clips):
    return torch.from_numpy(np.stack([token_share(c.evidence, (8, 8, 8)) >= 0.1 for c in clips]))


def test_a_delta_that_is_three_times_as_large_on_what_moves_says_three(clips):
    moving = moving_tokens(clips)
    found = delta_contrast(make_trace(torch.where(moving, 3.0, 1.0)), clips)
    assert found.ratio.dims == ("clip", "layer", "direction") and found.ratio.shape == (2, 2, 2)
    assert np.allclose(found.ratio, 3) and np.allclose(found.ratio_beside, 3)
    assert np.allclose(found.distractor / found.still, 1)
    assert np.allclose(found.ratio_frames, 1)
    assert np.allclose(found.moving.sel(layer=1), 6)


def test_a_delta_that_is_larger_in_frames_with_motion_is_not_larger_on_what_moves(clips):
    moving = moving_tokens(clips)
    frames = moving.any((2, 3), keepdim=True).expand_as(moving)
    found = delta_contrast(make_trace(torch.where(frames, 2.0, 1.0)), clips)
    assert (found.ratio > 1.2).all()
    assert np.allclose(found.ratio_beside, 1)
    assert np.allclose(found.ratio_frames, 2)


def test_the_spread_is_relative_and_leaves_out_the_class_token(clips):
    values = torch.rand(2, 8, 8, 8)
    found = delta_contrast(make_trace(values), clips).spread
    expected = values.flatten(1).std(1) / values.flatten(1).mean(1)
    assert np.allclose(found.sel(layer=1, direction="forward"), expected, rtol=1e-5)


def test_a_clip_without_a_distractor_has_no_mean_over_it(clips):
    alone = dataclasses.replace(clips[0], distractor=np.zeros_like(clips[0].distractor))
    found = delta_contrast(make_trace(torch.ones(2, 8, 8, 8)), [alone, clips[1]])
    assert found.distractor[0].isnull().all() and found.distractor[1].notnull().all()


def test_a_wrong_argument_gets_its_sentence(clips, unchecked):
    trace = make_trace(torch.ones(2, 8, 8, 8))
    with pytest.raises(ValueError, match="1 motion clips for a batch of 2"):
        delta_contrast(trace, clips[:1])
    with pytest.raises(ValueError, match="min_share is 0, expected above 0"):
        delta_contrast(trace, clips, min_share=0)
    with pytest.raises(KeyError, match=r"names_filter='\*.hook_delta'"):
        delta_contrast(Trace({}, {}, CONFIG), clips)
