"""The page of a timeline: what is listed, and that names are text."""

import pandas as pd
import pytest

from vmamba_explore.analysis.controls import Answer, Controls
from vmamba_explore.analysis.timeline import Timeline
from vmamba_explore.app.timeline_page import MAX_ROWS, clock, timeline_page


def made(count):
    """A timeline of windows of 2 s whose class changes each time, the second one failed."""
    rows = [
        {
            "window": n, "frame": 16 * n, "start": 2.0 * n, "end": 2.0 * n + 2, "repeated": 0,
            "reason": "", "name": f"<b>{n % 2}</b>", "margin": 1.0, "class_1": float(n % 2),
            "probability_1": 0.875, "delta_0_forward": 1.0 + n,
        }
        for n in range(count)
    ]  # fmt: skip
    rows[1] |= {"reason": "damaged", "name": "", "probability_1": float("nan")}
    settings = {"class_names": ["<b>0</b>", "<b>1</b>"]}
    return Timeline(pd.DataFrame(rows), "/a/b.mp4", 2.0 * count, settings)


def test_segments_are_listed_with_times_names_and_reasons_as_text(tmp_path):
    with pytest.warns(FutureWarning, match=r"timeline_page\(found=\) is called timeline since"):
        page = timeline_page(found=made(4), output=tmp_path / "t.html", model="small<")
    text = page.read_text("utf-8")
    table = text.partition("<tbody>")[2].partition("</table>")[0]
    assert "0:00:04.0" in table and "&lt;b&gt;0&lt;/b&gt;" in table and "87.5%" in table
    assert "<strong>failed: damaged</strong>" in table
    assert "small&lt;" in text and "4, of which 1 failed" in text
    assert "<b>0</b>" not in table


def test_a_page_lists_so_many_segments_and_says_how_many_are_left_out(tmp_path):
    text = timeline_page(made(MAX_ROWS + 7), tmp_path / "t.html", "small").read_text("utf-8")
    assert text.count("</tr>") == MAX_ROWS + 1
    assert "7 more are not listed here." in text


def test_what_was_measured_of_the_camera_is_listed_beside_the_segments_and_the_cuts(tmp_path):
    found = made(4)
    table = found.table.assign(
        camera=["static", "", "mixed", "cut"], cuts=["", "", "4.500", "6.000"], measured=1.0
    )
    table = table.assign(**{f"camera_{name}": 0.1 for name in ("pan", "tilt", "zoom", "roll")})
    table.loc[3, "name"] = "cut"
    found = Timeline(table, found.path, found.seconds, found.settings)
    text = timeline_page(found, tmp_path / "t.html", "camera").read_text("utf-8")
    assert "measured without learning</th>" in text and "mixed" in text
    assert '<th scope="row">0:00:04.5</th><td>no</td>' in text
    assert '<th scope="row">0:00:06.0</th><td>yes</td>' in text
    assert "2, measured without learning" in text
    assert "without learning" not in timeline_page(made(4), tmp_path / "o.html", "x").read_text()


def test_controls_of_some_windows_are_a_section(tmp_path):
    kinds = ("original", "frozen", "reversed", "shuffled")
    controls = Controls("small", "b.mp4", *(Answer(kind, "up", 0.9, 0.9) for kind in kinds))
    page = timeline_page(made(4), tmp_path / "t.html", "small", [("0:00:01.0", controls)])
    assert "this answer does not rest on motion." in page.read_text("utf-8")


def test_a_missing_folder_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="timeline_page: cannot write .* does not exist"):
        timeline_page(made(3), tmp_path / "no" / "t.html", "small")


def test_a_clock_has_hours_minutes_seconds_and_tenths():
    assert [clock(s) for s in (0, 59.96, 3725.25)] == ["0:00:00.0", "0:01:00.0", "1:02:05.2"]
