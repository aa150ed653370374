"""What the page unpacks are the frames that Python packed."""

import json
import pathlib
import shutil
import subprocess

import numpy as np
import pytest

from vmamba_explore import load_clip, resources
from vmamba_explore.view.live.clip_pixels import packed_pixels

LIVE = pathlib.Path(__file__).parents[4] / "vmamba_explore" / "view" / "live"
RUN = """
import { readFileSync, writeFileSync } from "node:fs";
const { clipPixels } = await import(process.argv[1]);
const [, , folder, shape] = process.argv;
writeFileSync(`${folder}/out`, await clipPixels(readFileSync(`${folder}/in`), JSON.parse(shape)));
"""


def unpacked(frames, folder, require):
    """What the page makes of packed frames."""
    node = shutil.which("node")
    if node is None:
        require("node", "there is no node on this machine")
    (folder / "in").write_bytes(packed_pixels(frames))
    words = [node, "--input-type=module", "-e", RUN, (LIVE / "clip_pixels.js").as_uri()]
    words += [folder, json.dumps(frames.shape[:3])]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return np.frombuffer((folder / "out").read_bytes(), np.uint8).reshape(frames.shape)


@pytest.mark.parametrize("name", resources.CLIPS)
def test_a_bundled_clip_comes_out_as_it_went_in(name, tmp_path, require):
    frames = load_clip(resources.path(f"clips/{name}.mp4"), img_size=64).frames
    assert np.array_equal(unpacked(frames, tmp_path, require), frames)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 2), (2, 1, 7)])
def test_noise_of_any_size_comes_out_as_it_went_in(shape, tmp_path, require):
    frames = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert np.array_equal(unpacked(frames, tmp_path, require), frames)


def test_black_and_white_that_take_turns_come_out_as_they_went_in(tmp_path, require):
    frames = np.zeros((4, 8, 8, 3), np.uint8)
    frames[1::2, ::2] = 255
    assert np.array_equal(unpacked(frames, tmp_path, require), frames)


def test_the_bundled_clips_take_a_third_of_their_pixels():
    films = [
        load_clip(resources.path(f"clips/{n}.mp4"), img_size=64).frames for n in resources.CLIPS
    ]
    assert sum(len(packed_pixels(f)) for f in films) < 0.3 * sum(f.nbytes for f in films)
