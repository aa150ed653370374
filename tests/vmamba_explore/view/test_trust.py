"""What the controls say, as sections of pages and as data for the browser."""

from dataclasses import replace

import numpy as np
import pytest

from vmamba_explore.analysis.camera_motion import COMPONENTS, THRESHOLD, CameraMotion
from vmamba_explore.analysis.controls import Answer, Controls
from vmamba_explore.view.report import report_page
from vmamba_explore.view.trust import (
    camera_words,
    packed,
    packed_camera,
    section_of,
    windows_section,
)


@pytest.fixture
def found():
    kinds = {"original": "<up>", "frozen": "<up>", "reversed": "down", "shuffled": "<up>"}
    answers = {
        kind: Answer(kind, name, 0.8, 0.8 if name == "<up>" else 0.1)
        for kind, name in kinds.items()
    }
    return Controls(model="motion-nano", clip="a.mp4", **answers, note="no ring & no object")


def test_a_section_has_the_note_the_sentence_and_a_row_for_each_clip(found):
    section = section_of(found)
    assert section.words[:2] == ["no ring & no object", found.sentence]
    (table,) = section.views
    assert [row[0].words for row in table.rows] == [
        "the clip", "its first frame held still", "played backwards", "frames in random order",
    ]  # fmt: skip
    assert [row[1].words for row in table.rows] == ["<up>", "<up>", "down", "<up>"]
    assert [row[1].bold for row in table.rows] == [False, True, False, True]
    assert [row[3].words for row in table.rows] == ["80 %", "80 %", "10 %", "80 %"]
    page = report_page("title", {}, [section])
    assert "no ring &amp; no object" in page and "<up>" not in page


def test_windows_stand_under_each_other_with_what_follows_from_each(found):
    section = windows_section([("0:00:01.0 to 0:00:03.0", found), ("0:01:00.0 to …", found)])
    (table,) = section.views
    assert [row[0].words for row in table.rows] == ["0:00:01.0 to 0:00:03.0", "0:01:00.0 to …"]
    assert table.rows[0][1].words == '"<up>" (80 %)'
    assert [cell.bold for cell in table.rows[0][2:5]] == [True, False, True]
    assert table.rows[0][5].words.startswith("one frame is enough for this answer")
    assert section.words[0] == "no ring & no object", "once, whatever the number of windows"
    assert sum(words == "no ring & no object" for words in section.words) == 1


def test_the_browser_gets_the_four_answers_in_order(found):
    sent = packed(found)
    assert sent["note"] == "no ring & no object" and sent["sentence"] == found.sentence
    assert [row["says"] for row in sent["rows"]] == ["<up>", "<up>", "down", "<up>"]
    assert [row["survives"] for row in sent["rows"]] == [False, True, False, True]
    assert {row["probability"] for row in sent["rows"]} == {"80 %"}
    assert packed(None) is None


def test_the_noise_of_a_still_camera_is_drawn_on_the_scale_of_motion():
    moves = np.full((3, 4), 1e-5)
    moves[1] = np.nan  # not measured
    motion = CameraMotion(
        moves, np.ones(3), np.array([True, False, True]), np.array([], int), np.arange(4) / 8
    )
    sent = packed_camera(motion)
    assert sent["reach"] == 2 * THRESHOLD
    assert [line["name"] for line in sent["lines"]] == list(COMPONENTS)
    assert sent["lines"][0]["values"] == pytest.approx([0, 1e-5, 1e-5, 2e-5])
    assert camera_words(motion) == 'Measured without learning: "static".'
    assert packed_camera(None) is None


@pytest.mark.parametrize("width", [640, 1000, 1400])
def test_controls_are_not_cut_off_on_a_page(width, found, tmp_path, open_offline):
    answers = {
        each.kind: replace(each, name="roll counterclockwise" if each.name == "<up>" else "static")
        for each in found.answers
    }
    turned = replace(found, **answers)
    windows = windows_section([("0:00:01.0 to 0:00:03.0", turned)] * 2)
    path = tmp_path / "page.html"
    path.write_text(report_page("Windows", {}, [section_of(turned), windows]), "utf-8")
    page = open_offline(path)
    page.set_viewport_size({"width": width, "height": 800})
    figures = page.locator("figure").all()
    assert len(figures) == 2
    for figure in figures:
        assert figure.evaluate("it => it.scrollWidth <= it.clientWidth")
