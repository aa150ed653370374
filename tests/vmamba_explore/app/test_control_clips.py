"""The clips that controls show are those that `controls` asks about."""

import numpy as np
import pytest
import torch

from vmamba_explore import controls, load_model
from vmamba_explore.app.control_clips import CONTROLS, control_clip
from vmamba_explore.clips.motion import MotionClips


@pytest.mark.parametrize("kind", CONTROLS)
def test_the_model_says_of_a_control_clip_what_its_controls_say(kind):
    model, clip = load_model("motion-nano"), MotionClips(5)[3].clip
    said = getattr(controls(model, clip, shuffles=1), kind)
    with torch.no_grad():
        shares = model(control_clip(clip, kind).tensor()[None]).softmax(-1)[0]
    assert model.class_names[int(shares.argmax())] == said.name
    assert float(shares.max()) == pytest.approx(said.probability, abs=1e-4)


def test_a_control_clip_keeps_its_times_and_knows_its_frames():
    clip = MotionClips(5)[3].clip
    frozen, shuffled = (control_clip(clip, kind) for kind in ("frozen", "shuffled"))
    assert (frozen.frames == clip.frames[0]).all()
    assert (frozen.indices == clip.indices[0]).all()
    assert (shuffled.seconds == clip.seconds).all()
    assert sorted(shuffled.indices) == sorted(clip.indices)
    assert (shuffled.frames == clip.frames[np.searchsorted(clip.indices, shuffled.indices)]).all()
    assert "shuffled" not in shuffled.source and "random order" in shuffled.source
