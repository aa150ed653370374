"""to_html(live=...): when a page has its model inside, what it then holds, and what is refused."""

import base64
import io
import itertools
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.vmamba_explore.view.live.models import frames_of, model_of
from vmamba_explore.app import portable as app_portable
from vmamba_explore.app.explore import explore
from vmamba_explore.clips import Clip
from vmamba_explore.interventions import mute
from vmamba_explore.view.explorer import ClipPlayer, Explorer, exports
from vmamba_explore.view.live.portable import NotPortableError

MARK = "showLive(render,"


@pytest.fixture
def explored():
    """Return a function that explores a random clip through a random model."""
    made = []

    def make(shape=None, **options):
        model = model_of(**({"num_classes": 5} | (shape or {})))
        options = {"quantities": ["delta", "relevance"], "progress": False} | options
        made.append(explore(clip_for(model), model, **options))
        return made[-1]

    yield make
    for explorer in made:
        explorer.close()


def clip_for(model):
    frames = frames_of(model)
    numbers = np.arange(len(frames))
    return Clip(frames, numbers / 8, "noise", numbers)


def state_of(page):
    """The traits and the rest that an exported page with a model gets."""
    found = re.search(r'showLive\(render, "[\w-]+", (.*)\);\n</script>', page)
    return json.loads(f"[{found[1]}]")


def pictures_of(side):
    data = base64.b64decode(side["frames"]["base64"])
    ends = side["offsets"]
    parts = [data[a:b] for a, b in itertools.pairwise(ends)]
    return [Image.open(io.BytesIO(part)) for part in parts]


def test_a_small_model_is_inside_unless_told_otherwise(explored):
    explorer = explored()
    page, without = explorer.to_html(), explorer.to_html(live=False)
    assert MARK in page and MARK not in without
    assert "worker-src blob:" in page and "worker-src" not in without
    assert "connect-src 'none'" in page and "connect-src 'none'" in without
    traits, live = state_of(page)
    assert traits["choices"]["classes"] == [f"class {n}" for n in range(5)]
    assert [side["live"] for side in traits["sides"]] == [True]
    assert live["names"] == ["delta"], "relevance needs gradients"
    assert live["about"]["config"]["num_classes"] == 5
    assert explorer.choices["classes"] == traits["choices"]["classes"]


def test_a_page_that_would_be_too_large_has_no_model_unless_it_is_insisted_on(
    explored, monkeypatch
):
    explorer = explored()
    size = len(explorer.to_html().encode())
    monkeypatch.setattr(exports, "MOST_BYTES", size - 1)
    assert MARK not in explorer.to_html()
    assert MARK in explorer.to_html(live=True)
    monkeypatch.setattr(exports, "MOST_BYTES", size)
    assert MARK in explorer.to_html()


def test_a_large_model_stays_outside_and_insisting_is_refused_with_sizes(
    explored, monkeypatch, tmp_path
):
    monkeypatch.setattr(app_portable, "MOST_PARAMETERS", 1000)
    explorer = explored()
    assert MARK not in explorer.to_html()
    with pytest.raises(ValueError, match=r"has [\d,]+ parameters, and a page runs at most 1,000"):
        explorer.to_html(tmp_path / "page.html", live=True)
    assert not (tmp_path / "page.html").exists()


def test_what_has_no_model_or_nothing_to_compute_says_so(explored):
    alone = Explorer(replace(explored().explorations[0], portable=None))
    player = ClipPlayer(clip_for(model_of()))
    for each in (alone, player):
        assert MARK not in each.to_html()
        with pytest.raises(NotPortableError, match="there is no model to put into the page"):
            each.to_html(live=True)
        each.close()
    only = explored(quantities=["relevance"])
    assert MARK not in only.to_html()
    with pytest.raises(NotPortableError, match="cannot compute relevance"):
        only.to_html(live=True)
    along = explored(target=np.ones(5, np.float32))
    assert MARK not in along.to_html()
    with pytest.raises(NotPortableError, match="explains classes, and here a direction is"):
        along.to_html(live=True)


def test_a_side_that_ran_edited_by_a_function_does_not_answer_and_one_that_was_clicked_does(
    explored,
):
    by_function = explored(compare=lambda model: mute(model, "forward"))
    assert [side["live"] for side in state_of(by_function.to_html())[0]["sides"]] == [True, False]
    clicked = explored()
    clicked.send = lambda content, buffers=None: None
    change = [{"kind": "mute", "direction": "forward"}]
    clicked._handle_custom_msg({"request": 1, "run": "change", "changes": change}, [])
    assert clicked._runs.wait(600)
    assert [side["live"] for side in state_of(clicked.to_html())[0]["sides"]] == [True, True]


def test_the_frames_inside_are_the_models_to_the_bit_whatever_their_size(explored):
    explorer = explored({"num_frames": 2, "img_size": 144, "patch_size": 48})
    traits, _ = state_of(explorer.to_html())
    frames = [np.asarray(image) for image in pictures_of(traits["sides"][0])]
    assert np.array_equal(np.stack(frames), explorer.explorations[0].clip.frames)
    other = explorer.to_html(live=False)
    assert len(other) < len(explorer.to_html())


def test_visitors_of_a_served_page_do_not_get_the_weights(explored, monkeypatch):
    explorer = explored()
    saved = explorer._saved({"kind": "html"})[1][0].decode()
    monkeypatch.setattr(exports, "for_visitors", lambda: True)
    theirs = explorer._saved({"kind": "html"})[1][0].decode()
    assert MARK in saved and MARK not in theirs


def test_what_is_saved_is_what_the_browser_showed_when_it_asked(explored):
    explorer = explored()
    shown = {**explorer.state(), "frame": 1, "layer": 0, "opacity": 0.25}
    assert shown != explorer.state()
    page = explorer._saved({"kind": "html", "shown": shown})[1][0].decode()
    traits, _ = state_of(page)
    assert {name: traits[name] for name in shown} == shown == explorer.state()


def test_the_defaults_of_an_explorer_are_all_that_it_sends(explored):
    explorer, defaults = explored(), Explorer.defaults()
    assert set(defaults) == set(explorer._state())
    for name in ("colors", "tables", "terms", "opacity", "scale", "speed", "compact"):
        assert defaults[name] == explorer._state()[name]
