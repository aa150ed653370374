"""The page reads of a video the frames that `load_clip` reads, in Chromium and in Firefox."""

import json
import pathlib

import numpy as np
import pytest
from films import make_film

from vmamba_explore import load_clip, resources
from vmamba_explore.view.page import html_page
from vmamba_explore.view.widgets.browser_code import plain_json, read_code

LIVE = pathlib.Path(__file__).parents[2] / "vmamba_explore" / "view" / "live"
READ = """
const look = (picture, size) => pixels.look(picture, size);
window.read = async (choice) => {
  const file = document.querySelector("input").files[0];
  try {
    const film = await Film.open(file);
    const clip = await film.clip(choice, look, () => {});
    film.close();
    const [frames, large] = [Array.from(clip.frames), clip.large?.length ?? 0];
    return { ...clip, frames, large };
  } catch (error) {
    return { error: error.message };
  }
};
window.numbers = frameNumbers;
"""
CHOICE = {"frames": 16, "size": 64, "stride": 2, "start": None}
DECODED_ALIKE = 1.5  # of 255: mean difference where the colors of a file are read in the same way
COLORS_APART = 9.5  # where a browser reads colors that the file does not name by another standard


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A page with nothing but the reading."""
    worker = plain_json({"code": read_code(LIVE / "pixel_worker.js")})
    script = (
        f"{read_code(LIVE / 'frames.js')}\nconst pixels = new PixelWorker({worker}.code);\n{READ}"
    )
    path = tmp_path_factory.mktemp("frames") / "page.html"
    body = f'<input type="file"><script type="module">{script}</script>'
    path.write_text(html_page("frames", body, live=True), "utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def in_chromium(browser, address):
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto(address)

    def read(file, **choice):
        page.set_input_files("input", file)
        return page.evaluate("choice => window.read(choice)", CHOICE | choice)

    read.page = page
    yield read
    context.close()


@pytest.fixture(scope="module")
def in_firefox(firefox, address):
    firefox.open(address)

    def read(file, **choice):
        firefox.choose("input", file)
        return firefox.value(f"window.read({json.dumps(CHOICE | choice)})")

    return read


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    return tmp_path_factory.mktemp("films")


def compared(found, file, **choice):
    """Check which frames were read, and return the mean difference of their pixels."""
    assert "error" not in found, found["error"]
    asked = {"num_frames": 16, "img_size": 64} | choice
    clip = load_clip(file, **asked)
    assert found["numbers"] == clip.indices.tolist()
    assert found["repeated"] == clip.repeated
    assert found["seconds"] == pytest.approx(clip.seconds.tolist(), abs=0.006)
    assert not found["uneven"] and not found["noisy"]
    frames = np.array(found["frames"], np.uint8).reshape(clip.frames.shape)
    return np.abs(frames.astype(int) - clip.frames).mean()


ALIKE = ["vp8.webm", "vp9.webm", "fast.webm", "wide.webm", "ntsc.mp4", "one.webm", "two.webm",
         "turned.mp4", "piped.webm"]  # fmt: skip


@pytest.mark.parametrize("name", ALIKE)
def test_chromium_reads_the_frames_that_python_reads(name, films, in_chromium, require):
    file = make_film(name, films, require)
    assert compared(in_chromium(file), file) < DECODED_ALIKE


@pytest.mark.parametrize("name", [name for name in ALIKE if name != "piped.webm"])
def test_firefox_reads_the_frames_that_python_reads(name, films, in_firefox, require):
    file = make_film(name, films, require)
    apart = compared(in_firefox(file), file)
    assert apart < (DECODED_ALIKE if name in ("vp8.webm", "wide.webm") else COLORS_APART)


@pytest.mark.parametrize("name", resources.CLIPS)
def test_chromium_reads_a_bundled_file_as_python_does(name, in_chromium):
    file = resources.path(f"clips/{name}.mp4")
    assert compared(in_chromium(file), file) < DECODED_ALIKE


def test_wide_pixels_are_stretched(films, in_chromium, in_firefox, require):
    file = make_film("stretched.mp4", films, require)
    assert compared(in_chromium(file), file) < 2 * DECODED_ALIKE
    assert compared(in_firefox(file), file) < COLORS_APART + DECODED_ALIKE


@pytest.mark.parametrize("choice", [{"stride": 1}, {"stride": 5, "start": 3}, {"stride": None}])
def test_the_frames_are_those_that_were_chosen(choice, films, in_chromium, require):
    file = make_film("vp9.webm", films, require)
    assert compared(in_chromium(file, **choice), file, **choice) < DECODED_ALIKE


@pytest.mark.parametrize("available", [1, 2, 15, 16, 17, 31, 32, 190])
def test_the_choice_of_frames_is_that_of_python(available, in_chromium):
    from vmamba_explore.clips.sampling import frame_indices

    for count in (1, 2, 8, 16):
        for stride in (1, 2, 7, None):
            for start in (None, 0, available // 2, available - 1):
                given = json.dumps([available, count, stride, start])
                found = in_chromium.page.evaluate(f"window.numbers(...{given})")
                numbers, repeated = frame_indices(available, count, stride, start)
                assert found == {"numbers": numbers.tolist(), "repeated": repeated}, given


def test_a_start_past_the_end_is_a_sentence(films, in_chromium, require):
    file = make_film("two.webm", films, require)
    assert (
        "has 2 frames, 0 to 1, so a clip cannot start at 7" in in_chromium(file, start=7)["error"]
    )


def test_a_video_of_4k_comes_with_larger_pictures_for_the_reader(films, in_chromium, require):
    file = make_film("large.webm", films, require)
    found = in_chromium(file)
    assert found["large"] == 16
    assert compared(found, file) < DECODED_ALIKE


def test_a_video_without_an_index_is_a_sentence_in_firefox(films, in_firefox, require):
    assert "add an index: ffmpeg" in in_firefox(make_film("piped.webm", films, require))["error"]
