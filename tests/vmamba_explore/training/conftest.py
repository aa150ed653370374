"""A data set of two classes, small enough to train on in a second."""

import numpy as np
import pytest

from vmamba_explore.clips.encode import write_clip


@pytest.fixture(scope="session")
def video_folders(tmp_path_factory):
    """Return a folder with train/ and test/, each with bright and dark clips in class folders."""
    root = tmp_path_factory.mktemp("videos")
    generator = np.random.default_rng(0)
    for part, count in (("train", 7), ("test", 4)):
        for low, name in ((0, "dark"), (120, "bright")):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                frames = generator.integers(low, low + 130, (6, 32, 48, 3)).astype(np.uint8)
                write_clip(root / part / name / f"{number}.mp4", frames, fps=8)
    return root
