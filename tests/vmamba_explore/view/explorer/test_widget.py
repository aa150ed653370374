"""The explorer's traits and messages, without a browser and without a model."""

import json

import numpy as np
import pytest
import xarray as xr

from vmamba_explore.view.explorer import Explorer
from vmamba_explore.view.explorer.vocabulary import BOTH, DIFFERENCE


class Answers:
    """Stands for a running kernel."""

    def __init__(self):
        self.asked = []

    def attention(self, layer, token):
        self.asked.append((layer, token))
        if token == (2, 1, 3):
            raise ValueError("no such <b>token</b>")
        values = np.full((2, 3, 2, 4), 0.5, np.float32)
        array = xr.DataArray(values, dims=("direction", "frame", "row", "col"), attrs={"unit": ""})
        return xr.Dataset({"reads": array} if token is None else {"reads": array, "read_by": array})


@pytest.fixture
def explorer(make_exploration):
    explorer = Explorer(make_exploration())
    yield explorer
    explorer.close()


@pytest.fixture
def asked(make_exploration):
    """Return a function that sends a message and returns the reply, its buffers, and who heard."""
    live = Answers()
    explorer = Explorer(make_exploration(live=live))
    sent = []
    explorer.send = lambda content, buffers=None: sent.append((content, buffers))

    def ask(**content):
        sent.clear()
        explorer._handle_custom_msg(content, [])
        assert len(sent) <= 1
        return (*(sent[0] if sent else (None, None)), live.asked)

    yield ask
    explorer.close()


def test_it_opens_at_the_first_map_of_the_last_layer(explorer):
    assert (explorer.quantity, explorer.layer, explorer.direction) == ("contribution", 3, BOTH)
    assert (explorer.frame, explorer.query) == (0, [])


def test_with_one_direction_that_one_is_shown(make_exploration):
    steps = {"forward": make_exploration().steps["forward"]}
    maps = {"delta": make_exploration().maps["delta"].isel(direction=[0])}
    explorer = Explorer(make_exploration(steps=steps, maps=maps, cls_steps={"forward": 0}))
    assert explorer.direction == "forward"
    with pytest.raises(ValueError, match="direction is 'both', expected one of 'forward'"):
        explorer.direction = BOTH


def test_a_frame_beyond_the_clip_is_its_last_or_first(explorer):
    explorer.frame = 99
    assert explorer.frame == 5
    explorer.frame = -1
    assert explorer.frame == 0


@pytest.mark.parametrize(
    ("trait", "value", "words"),
    [
        ("quantity", "age", "quantity is 'age', expected one of 'contribution', 'delta'"),
        ("layer", 1, "layer is 1, expected one of 0, 3"),
        ("direction", "up", "direction is 'up', expected one of 'forward', 'backward', 'both', "),
        ("query", [0, 0], r"query is \[0, 0\], expected \[frame, row, col\] below \[3, 2, 4\]"),
        ("query", [3, 0, 0], r"query is \[3, 0, 0\], expected"),
        ("query", [0, -1, 0], r"query is \[0, -1, 0\], expected"),
    ],
)
def test_a_wrong_value_is_refused_in_a_sentence_and_changes_nothing(explorer, trait, value, words):
    before = getattr(explorer, trait)
    with pytest.raises(ValueError, match=f"Explorer: {words}"):
        setattr(explorer, trait, value)
    assert getattr(explorer, trait) == before


@pytest.mark.parametrize(
    ("trait", "value"),
    [("quantity", ""), ("layer", 0), ("direction", DIFFERENCE), ("query", [2, 1, 3]),
     ("query", []), ("scale", "all"), ("path", True), ("speed", 2.0), ("opacity", 0.0)],
)  # fmt: skip
def test_what_can_be_shown_can_be_set(explorer, trait, value):
    setattr(explorer, trait, value)
    assert getattr(explorer, trait) == value


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ("layers", r"different layers: \(0, 3\) and \(0,\)"),
        ("directions", r"different directions: \('forward', 'backward'\) and \('forward',\)"),
        ("clip frames", "different clip frames: 6 and 5"),
        ("maps", "no map in common: contribution, delta, relevance and age"),
    ],
)
def test_two_that_do_not_fit_together_are_refused(make_exploration, changes, words):
    one = make_exploration()
    clip = one.clip
    short = type(clip)(clip.frames[:5], clip.seconds[:5], "short", clip.indices[:5])
    other = make_exploration(1, **{
        "layers": {"maps": {"delta": one.maps["delta"].isel(layer=[0])}},
        "directions": {"steps": {"forward": one.steps["forward"]}},
        "clip frames": {"clip": short},
        "maps": {"maps": {"age": one.maps["delta"]}},
    }[changes])  # fmt: skip
    with pytest.raises(ValueError, match=f"the two explorations have {words}"):
        Explorer(one, other)


def test_a_question_is_answered_with_its_number_and_a_buffer_for_each_map(asked):
    reply, buffers, heard = asked(request=7, side=0, layer=3, token=[1, 0, 2])
    assert heard == [(3, (1, 0, 2))]
    assert reply["reply"] == 7 and [m["name"] for m in reply["maps"]] == ["reads", "read_by"]
    assert [len(buffer) for buffer in buffers] == [2 * 24, 2 * 24]
    json.dumps(reply, allow_nan=False)


def test_no_token_asks_what_the_logits_are_read_from(asked):
    reply, buffers, heard = asked(request=8, side=0, layer=0, token=[])
    assert heard == [(0, None)]
    assert [m["name"] for m in reply["maps"]] == ["reads"] and len(buffers) == 1


def test_an_error_is_answered_in_words(asked):
    reply, buffers, _ = asked(request=9, side=0, layer=0, token=[2, 1, 3])
    assert reply == {"reply": 9, "error": "no such <b>token</b>"} and buffers == []


@pytest.mark.parametrize(
    "message", [{}, {"request": 1}, {"request": 1, "side": 4, "layer": 0, "token": []}]
)
def test_a_message_that_asks_nothing_sensible_breaks_nothing(asked, message):
    reply, _, heard = asked(**message)
    assert reply is None if not message else reply["reply"] == 1 and reply["error"]
    assert heard == []
    assert "maps" in asked(request=2, side=0, layer=0, token=[])[0]


def test_without_a_model_there_is_nobody_to_ask(explorer):
    with pytest.raises(ValueError, match="there is no model to ask; explore"):
        explorer.ask(0, 0, None)


def test_what_is_saved_is_named_after_the_clip_without_its_html(asked):
    reply, (data,), _ = asked(request=3, kind="csv")
    assert reply["reply"] == 3 and reply["mime"] == "text/csv"
    assert reply["name"] == "clip_b_0_b_.mp4-explorer.csv"
    assert data.decode().count("\n") > 2 * 2 * 24


def test_an_unknown_kind_of_file_is_refused_in_words(asked):
    reply, _, _ = asked(request=4, kind="__class__")
    assert reply["reply"] == 4
    assert reply["error"].startswith("Explorer: cannot save as '__class__'; expected png, html")


def test_an_exported_page_says_that_nobody_can_be_asked(make_exploration):
    explorer = Explorer(make_exploration(live=Answers()))
    assert explorer.sides[0]["live"] is True
    page = explorer.to_fragment()
    assert '"live": false' in page and '"live": true' not in page
    assert explorer.sides[0]["live"] is True


def test_bytes_on_load_counts_frames_maps_and_code(explorer):
    least = len(explorer.levels) + len(explorer.sides[0]["frames"]) + len(explorer._esm)
    assert least < explorer.bytes_on_load() < least + 20_000


def test_a_message_from_the_browser_with_a_wrong_value_sets_nothing(explorer):
    with pytest.raises(ValueError, match="layer is 99, expected one of 0, 3"):
        explorer.set_state({"layer": 99, "frame": 2})
    assert (explorer.layer, explorer.frame) == (3, 0)
