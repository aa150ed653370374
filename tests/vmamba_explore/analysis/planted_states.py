"""States with a known content: what the probes must find in them, and where there is nothing."""

import numpy as np
import torch

from tests.vmamba_explore.toys import toy
from vmamba_explore.analysis.clip_targets import targets
from vmamba_explore.analysis.frame_states import FrameStates
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.tokens import TokenGrid

PICTURES = {"num_frames": 8, "img_size": 16}
CHANNELS, STATES = 8, 3


def reader(**changes):
    """Return a small random model that reads motion clips of 4 frames of 2 x 2 tokens."""
    return toy(**PICTURES | {"patch_size": 8, "d_model": 8, "num_classes": 10} | changes)


def planted(clips, seed, noise=0.3, background=1.0):
    """Return states of layer 0 in which the forward ones hold position and angle, linearly.

    The backward ones are noise. A stands for slow and fast states; every frame takes a time of 1.
    The input tokens hold the size, each frame its own.
    """
    plan = MotionClips(seed=seed).plan(range(clips))
    generator = np.random.default_rng(seed)
    known = targets(plan, 2)
    content = np.concatenate([known["position"].values, known["angle"].values], axis=-1)
    weights = np.random.default_rng(99).normal(size=(content.shape[-1], CHANNELS * STATES))
    shape = (clips, 8, CHANNELS * STATES)
    forward = content @ weights + noise * generator.normal(size=shape) + background
    backward = generator.normal(size=shape)
    inputs = known["size"].values + 0.1 * generator.normal(size=(clips, 8, 5))
    time = torch.arange(8.0, dtype=torch.float64)[None, :, None].expand(clips, 8, CHANNELS)
    rates = -torch.linspace(0.1, 2, STATES).expand(CHANNELS, STATES)
    stops = {"forward": tuple(range(4, 33, 4)), "backward": tuple(range(1, 30, 4))}
    states = {
        (0, name): torch.tensor(values, dtype=torch.float32).unflatten(-1, (CHANNELS, STATES))
        for name, values in (("forward", forward), ("backward", backward))
    }
    elapsed = {(0, "forward"): time, (0, "backward"): time.flip(1)}
    inputs = torch.tensor(inputs, dtype=torch.float32)
    return frame_states(plan, stops, states, elapsed, rates, inputs)


def frame_states(plan, stops, states, elapsed, rates, inputs):
    """Return states of layer 0 that are all read equally, of clips of 8 frames of 2 x 2 tokens."""
    return FrameStates(
        plan=plan,
        tubelet_size=2,
        grid=TokenGrid(8, 2, 2),
        stops=stops,
        states=states,
        elapsed=elapsed,
        reading=dict.fromkeys(states, torch.ones(STATES)),
        A=dict.fromkeys(states, rates),
        orders={"forward": tuple(range(8)), "backward": tuple(range(7, -1, -1))},
        inputs={0: inputs},
    )
