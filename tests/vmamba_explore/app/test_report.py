"""The report of a clip, from the file to the page."""

import pytest

from vmamba_explore.app import report
from vmamba_explore.clips import ClipError
from vmamba_explore.clips.encode import write_clip


@pytest.fixture
def video(clip, tmp_path):
    """Return a video file of 16 frames, whose name holds HTML."""
    path = tmp_path / "<b>disc<b>.mp4"
    write_clip(path, clip.frames, fps=8, quality=10)
    return path


def test_a_report_and_its_explorer_work_offline(video, untrained_model, tmp_path, open_offline):
    path = report(video, tmp_path / "report.html", model=untrained_model)
    assert path.stat().st_size < 6e6
    page = open_offline(path)
    page.wait_for_selector(".vmx-explorer[data-ready]")
    explorer = page.locator(".vmx-explorer")
    explorer.press("Home")
    explorer.press("ArrowRight")
    page.wait_for_selector(".vmx-explorer[data-frame='1']")
    assert explorer.get_attribute("data-quantity") == "contribution"
    assert page.locator("h1").inner_text().endswith(video.name)
    assert page.locator(".js-plotly-plot").count() == 6
    assert "<b>bold</b>" in page.locator(".js-plotly-plot .ytick text").all_text_contents()
    assert page.errors == []
    assert [url for url in page.requests if not url.startswith(("file:", "data:", "blob:"))] == []


def test_layers_that_would_exceed_the_budget_are_left_out(video, untrained_model, tmp_path):
    path = report(video, tmp_path / "r.html", model=untrained_model, budget_gib=2.9e-4)
    text = path.read_text("utf-8")
    assert "<dt>Layers shown</dt><dd>0 (of 0 to 1)</dd>" in text
    assert "vmx-explorer" in text


@pytest.mark.parametrize(
    ("clip", "output", "error", "words"),
    [
        ("notes.txt", "r.html", ClipError, "notes.txt"),
        ("absent.mp4", "absent/r.html", FileNotFoundError, "the folder .*absent does not exist"),
        ("absent.mp4", ".", IsADirectoryError, "it is a folder; name a file"),
        ("notes.txt", "notes.txt", FileExistsError, "is the input itself"),
    ],
)
def test_what_cannot_be_reported_is_named_and_nothing_is_written(
    untrained_model, tmp_path, clip, output, error, words
):
    (tmp_path / "notes.txt").write_text("no video")
    with pytest.raises(error, match=words):
        report(tmp_path / clip, tmp_path / output, model=untrained_model)
    assert (tmp_path / "notes.txt").read_text() == "no video"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_old_name_of_the_clip_still_works(tmp_path):
    with pytest.warns(FutureWarning, match=r"report\(clip_path=\) is called clip since"):
        with pytest.raises(ClipError, match="no.mp4"):
            report(clip_path=tmp_path / "no.mp4", output=tmp_path / "r.html")


def test_the_page_says_how_many_frames_only_repeat_the_last_one(video, untrained_model, tmp_path):
    told, untold = (
        report(video, tmp_path / f"{n}.html", model=untrained_model, stride=n).read_text("utf-8")
        for n in (3, 2)
    )
    assert "the last 2 repeat its last frame" in told  # frames 0, 3 ... 15 of 16, then two more
    assert "repeat its last frame" not in untold


def test_a_report_begins_at_the_source_frame_asked_for(video, untrained_model, tmp_path):
    path = report(video, tmp_path / "r.html", model=untrained_model, stride=1, start=8)
    assert "1.00 to 1.88 s" in path.read_text("utf-8")  # frames 8 to 15 at 8 per second
