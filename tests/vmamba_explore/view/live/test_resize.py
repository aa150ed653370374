"""The page's resize gives the very pixels that `load_clip` gives."""

import json
import pathlib
import shutil
import subprocess

import numpy as np
import pytest

from vmamba_explore.clips.picture import middle_square, square_box

LIVE = pathlib.Path(__file__).parents[4] / "vmamba_explore" / "view" / "live"
RUN = """
import { readFileSync, writeFileSync } from "node:fs";
const { middleSquare, squareBox } = await import(process.argv[1]);
const [, , folder, height, width, size] = process.argv;
const pixels = readFileSync(`${folder}/in`);
writeFileSync(`${folder}/out`, middleSquare(pixels, +height, +width, +size));
console.log(JSON.stringify(squareBox(+height, +width, +size)));
"""
SIDES = [
    (64, 64, 64), (224, 224, 64), (128, 96, 64), (97, 131, 64), (65, 64, 64), (40, 30, 64),
    (64, 200, 64), (360, 640, 64), (480, 640, 224), (1, 7, 3), (2160, 3840, 64), (101, 64, 64),
]  # fmt: skip


@pytest.mark.parametrize(("height", "width", "size"), SIDES)
def test_a_picture_of_any_size_is_resized_to_the_bit_as_in_python(
    height, width, size, tmp_path, require
):
    node = shutil.which("node")
    if node is None:
        require("node", "there is no node on this machine")
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 4), np.uint8)
    pixels[: height // 2] = pixels[: height // 2] // 128 * 255  # where rounding could clip
    (tmp_path / "in").write_bytes(pixels.tobytes())
    words = [node, "--input-type=module", "-e", RUN, (LIVE / "resize.js").as_uri(), tmp_path]
    words += [f"{height}", f"{width}", f"{size}"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = np.frombuffer((tmp_path / "out").read_bytes(), np.uint8).reshape(size, size, 3)
    assert np.array_equal(found, middle_square(np.ascontiguousarray(pixels[..., :3]), size))
    left, top, wide, tall = json.loads(done.stdout)
    assert [left, top, left + wide, top + tall] == pytest.approx(square_box(height, width, size))
