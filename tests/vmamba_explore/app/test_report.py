"""The report of a clip, from the file to the page."""

import av
import pytest

from vmamba_explore.app import report
from vmamba_explore.clips import ClipError


@pytest.fixture
def video(clip, tmp_path):
    """Return a video file of 16 frames, whose name holds HTML."""
    path = tmp_path / "<b>disc<b>.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8, options={"crf": "10"})
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for frame in clip.frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_a_report_and_its_explorer_work_offline(video, untrained_model, tmp_path, open_offline):
    path = report(video, tmp_path / "report.html", model=untrained_model)
    assert path.stat().st_size < 6e6
    page = open_offline(path)
    page.wait_for_selector(".vmx-explorer[data-ready]")
    explorer = page.locator(".vmx-explorer")
    explorer.press("ArrowRight")
    page.wait_for_selector(".vmx-explorer[data-frame='1']")
    assert explorer.get_attribute("data-quantity") == "delta"
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


def test_a_file_that_is_no_video_is_a_clip_error(untrained_model, tmp_path):
    (tmp_path / "notes.txt").write_text("no video")
    with pytest.raises(ClipError, match="notes.txt"):
        report(tmp_path / "notes.txt", tmp_path / "report.html", model=untrained_model)


def test_a_missing_folder_is_named_before_anything_runs(tmp_path, untrained_model):
    with pytest.raises(FileNotFoundError, match="the folder .*absent does not exist"):
        report("absent.mp4", tmp_path / "absent" / "report.html", model=untrained_model)


def test_a_folder_in_place_of_the_page_is_named_before_anything_runs(tmp_path, untrained_model):
    with pytest.raises(IsADirectoryError, match="it is a folder; name a file"):
        report("absent.mp4", tmp_path, model=untrained_model)


def test_the_page_says_how_many_frames_only_repeat_the_last_one(video, untrained_model, tmp_path):
    told, untold = (
        report(video, tmp_path / f"{n}.html", model=untrained_model, stride=n).read_text("utf-8")
        for n in (3, 2)
    )
    assert "the last 2 repeat its last frame" in told  # frames 0, 3 ... 15 of 16, then two more
    assert "repeat its last frame" not in untold


def test_a_report_never_overwrites_the_clip(video, untrained_model):
    before = video.read_bytes()
    with pytest.raises(FileExistsError, match="is the clip itself"):
        report(video, video, model=untrained_model)
    assert video.read_bytes() == before


def test_a_report_begins_at_the_source_frame_asked_for(video, untrained_model, tmp_path):
    path = report(video, tmp_path / "r.html", model=untrained_model, stride=1, start=8)
    assert "1.00 to 1.88 s" in path.read_text("utf-8")  # frames 8 to 15 at 8 per second
