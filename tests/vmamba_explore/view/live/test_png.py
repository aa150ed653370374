"""The pixels of an exported page are those that the model saw, to the bit."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.vmamba_explore.view.live.engine import JavaScriptError
from vmamba_explore import resources
from vmamba_explore.clips import load_clip
from vmamba_explore.view.pictures import encode


def kinds_of_filter(png):
    """The filters of a picture's rows."""
    import zlib

    packed, at = b"", 8
    while at < len(png):
        size = int.from_bytes(png[at : at + 4])
        packed += png[at + 8 : at + 8 + size] if png[at + 4 : at + 8] == b"IDAT" else b""
        at += size + 12
    width = int.from_bytes(png[16:20])
    return set(zlib.decompress(packed)[:: 3 * width + 1])


def test_every_picture_that_python_writes_is_read_to_the_bit(learned):
    engine, random, seen = learned(), np.random.default_rng(0), set()
    ramp = np.linspace(0, 255, 40, dtype=np.uint8)
    clip = load_clip(resources.path("clips/city.mp4"), 16, img_size=64)
    noise = random.integers(0, 256, (7, 5, 3), dtype=np.uint8)
    columns = np.broadcast_to(noise[:1], (9, 5, 3))
    for frame in (
        noise, np.ascontiguousarray(columns), noise[:1, :1], *clip.frames,
        np.stack([np.add.outer(ramp, ramp)] * 3, axis=2),
        random.integers(0, 256, (150, 2, 3), np.uint8),
    ):  # fmt: skip
        png = encode(frame, exact=True)
        seen |= kinds_of_filter(png)
        pixels = engine.call("png.js", "pngPixels", np.frombuffer(png, np.uint8))
        assert np.array_equal(pixels, frame.ravel())
    assert seen == {0, 1, 2, 3, 4}, "a filter was never met"


@pytest.mark.parametrize("mode", ["L", "P", "RGBA"])
def test_a_picture_of_another_kind_is_refused_in_a_sentence(learned, mode):
    buffer = io.BytesIO()
    Image.new(mode, (4, 4)).save(buffer, "PNG")
    with pytest.raises(JavaScriptError, match="not the PNG picture that it was written as"):
        learned().call("png.js", "pngPixels", np.frombuffer(buffer.getvalue(), np.uint8))
