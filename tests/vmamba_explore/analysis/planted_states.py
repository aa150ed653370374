"""States with a known content: what the probes must find in them, and where there is nothing."""

import numpy as np
import torch

from vmamba_explore.analysis.frame_states import FrameStates
from vmamba_explore.analysis.motion_targets import targets
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.tokens import TokenGrid

GRID = TokenGrid(8, 2, 2)
CHANNELS, STATES = 8, 3


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
    places = [(0, "forward"), (0, "backward")]
    time = torch.arange(8.0, dtype=torch.float64)[None, :, None].expand(clips, 8, CHANNELS)
    rates = -torch.linspace(0.1, 2, STATES).expand(CHANNELS, STATES)
    return FrameStates(
        plan=plan,
        tubelet_size=2,
        grid=GRID,
        stops={"forward": tuple(range(4, 33, 4)), "backward": tuple(range(1, 30, 4))},
        states={
            place: torch.tensor(values, dtype=torch.float32).unflatten(-1, (CHANNELS, STATES))
            for place, values in zip(places, (forward, backward), strict=True)
        },
        elapsed={(0, "forward"): time, (0, "backward"): time.flip(1)},
        reading={place: torch.ones(STATES) for place in places},
        A=dict.fromkeys(places, rates),
        orders={"forward": tuple(range(8)), "backward": tuple(range(7, -1, -1))},
        inputs={0: torch.tensor(inputs, dtype=torch.float32)},
    )
