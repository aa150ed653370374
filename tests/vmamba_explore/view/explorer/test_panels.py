"""The panel of numbers follows its explorer, computes what is looked at, and lets go."""

import asyncio
from dataclasses import replace

import pytest
from ipywidgets.widgets.widget import _instances

from vmamba_explore import resources
from vmamba_explore.analysis.channels import STATISTICS
from vmamba_explore.app.control_clips import backwards
from vmamba_explore.trace.interventions import mute
from vmamba_explore.view.explorer import Explorer
from vmamba_explore.view.explorer.panels import DELAY, NumbersPanel
from vmamba_explore.view.explorer.vocabulary import side_titles
from vmamba_explore.view.widgets.static_figure import MIMETYPE

STATES, CHANNELS, MEMORY, SCORES = range(4)


@pytest.fixture(autouse=True)
def no_running_loop():
    """As in a script: a browser that other tests opened leaves its loop running in this thread."""
    running = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    yield
    asyncio._set_running_loop(running)


@pytest.fixture(scope="module")
def sides(motion):
    """Explorations of a motion clip, forwards, backwards, and through an edited model."""
    clip, explored = motion
    edited = explored(clip, edit=lambda model: mute(model, "forward"), name="edited model")
    return explored(clip, name="<b>forwards"), explored(backwards(clip)), edited


@pytest.fixture
def explorer(sides):
    return Explorer(sides[0])


@pytest.fixture
def pair(sides):
    return Explorer(sides[0], sides[1])


@pytest.fixture
def panel(explorer):
    panel = NumbersPanel(explorer)
    yield panel
    panel.close()


def figure(tab, number=0):
    outputs = tab.figures[number].outputs
    return outputs[-1]["data"][MIMETYPE] if outputs else None  # after its style


def figure_of(shown):
    return shown.outputs[-1]["data"][MIMETYPE]


def title(tab, number=0):
    return figure(tab, number)["layout"]["title"]["text"]


def test_only_the_open_tab_is_computed(sides, counted):
    numbers = counted(sides[0].numbers)
    panel = NumbersPanel(Explorer(replace(sides[0], numbers=numbers)))
    assert numbers.asked == [("states", 1, None)]
    assert [figure(tab) is None for tab in panel.tabs.children[:3]] == [False, True, True]
    panel.tabs.selected_index = MEMORY
    assert numbers.asked == [("states", 1, None), ("half_lives", 1)]


def test_a_panel_that_is_not_active_asks_nothing_until_it_is(sides, counted):
    numbers = counted(sides[0].numbers)
    explorer = Explorer(replace(sides[0], numbers=numbers))
    panel = NumbersPanel(explorer, active=False)
    explorer.layer = 0
    assert numbers.asked == [] and figure(panel.tabs.children[STATES]) is None
    panel.active = True
    assert numbers.asked == [("states", 0, None)]


def test_a_layer_that_was_seen_before_is_not_computed_again(sides, counted):
    numbers = counted(sides[0].numbers)
    explorer = Explorer(replace(sides[0], numbers=numbers))
    NumbersPanel(explorer)
    for layer in (0, 1, 0):
        explorer.layer = layer
    explorer.frame = 5
    assert numbers.asked == [("states", 1, None), ("states", 0, None)]


def test_states_follow_layer_and_frame(panel, explorer):
    states = panel.tabs.children[STATES]
    assert title(states) == "Where the state of layer 1 goes, after each frame"
    explorer.layer = 0
    assert title(states) == "Where the state of layer 0 goes, after each frame"
    marks = []
    for frame in (2, 3, 6):  # two clip frames to a token frame
        explorer.frame = frame
        marks.append([t["x"] for t in figure(states)["data"] if t["mode"] == "markers"])
    assert marks[0] == marks[1] != marks[2]


def test_states_are_taken_at_the_asked_patch(panel, explorer):
    states = panel.tabs.children[STATES]
    states.where.value = "at the asked patch"
    assert "No patch is asked yet" in states.about.value
    explorer.query = [1, 2, 3]
    assert title(states) == "Where the state of layer 1 goes, at row 2, column 3"
    assert "No patch" not in states.about.value


def test_channels_follow_a_single_direction_and_are_free_to_choose_one_of_two(panel, explorer):
    channels = panel.tabs.children[CHANNELS]
    panel.tabs.selected_index = CHANNELS
    assert title(channels) == "Channels of layer 1, forward" and not channels.direction.disabled
    channels.direction.value = "backward"
    assert title(channels) == "Channels of layer 1, backward"
    explorer.direction = "forward"
    assert title(channels) == "Channels of layer 1, forward" and channels.direction.disabled


@pytest.mark.parametrize("statistic", STATISTICS)
def test_every_statistic_sorts_the_channels_it_lists(panel, statistic):
    channels = panel.tabs.children[CHANNELS]
    panel.tabs.selected_index = CHANNELS
    channels.statistic.value = statistic
    found = panel.answers.ask("channels", 1, "forward", side=0)
    listed = [number for _, number in channels.channel.options]
    assert listed == found.ranked(statistic).tolist()
    unit = STATISTICS[statistic].unit
    first = found.values[statistic].values[listed[0]]
    assert channels.channel.options[0][0] == f"{listed[0]}: {first:.3g} {unit}".strip()


def test_a_chosen_channel_stays_while_the_scan_does(panel, explorer):
    channels = panel.tabs.children[CHANNELS]
    panel.tabs.selected_index = CHANNELS
    channels.channel.value = last = channels.channel.options[-1][1]
    assert channels.figures[0].outputs != channels.figures[1].outputs
    assert f"states of channel {last}" in channels.about.value
    channels.statistic.value = "half-life"
    assert channels.channel.value == last
    explorer.layer = 0
    assert channels.channel.value == channels.channel.options[0][1]
    channels.statistic.value = "delta"
    assert channels.channel.value == channels.channel.options[0][1], "nobody chose the other"


def test_memory_counts_all_states_and_says_the_median(panel):
    panel.tabs.selected_index = MEMORY
    memory = panel.tabs.children[MEMORY]
    lives = panel.answers.ask("half_lives", 1, side=0)
    assert title(memory) == "How long the states of layer 1 last"
    assert f"forward: median {float(lives[0].median()):.3g} tokens" in memory.about.value


def test_two_clips_are_in_one_picture_or_one_is_chosen(pair):
    panel = NumbersPanel(pair)
    names = side_titles(pair.explorations)
    assert [name[:3] for name in names] == ["A: ", "B: "] and panel.side in panel.children
    lines = [t for t in figure(panel.tabs.children[STATES])["data"] if "lines" in t["mode"]]
    assert len(lines) == 4 and panel.side.disabled
    panel.tabs.selected_index = CHANNELS
    assert not panel.side.disabled
    channels = panel.tabs.children[CHANNELS]
    before = figure(channels)
    panel.side.value = 1
    assert figure(channels) != before


def test_the_panel_follows_what_the_explorer_shows_instead(sides):
    explorer = Explorer(sides[0])
    panel = NumbersPanel(explorer)
    before = figure(panel.tabs.children[STATES])
    explorer.replace(sides[0], sides[2])
    assert panel.side in panel.children
    assert [name for name, _ in panel.side.options] == side_titles(sides[::2])
    assert (
        len([t for t in figure(panel.tabs.children[STATES])["data"] if "lines" in t["mode"]]) == 4
    )
    answers = panel.answers
    explorer.replace(sides[0], replace(sides[2], curves={}))  # the same clips and models
    assert panel.answers is answers
    explorer.replace(sides[0])
    assert panel.side not in panel.children and panel.side.value == 0
    assert figure(panel.tabs.children[STATES]) == before
    panel.close()


def test_without_a_model_to_ask_the_panel_says_so_and_keeps_what_it_showed(sides):
    panel = NumbersPanel(Explorer(replace(sides[0], numbers=None)))
    assert panel.words.value.startswith("There is no model to ask for numbers")
    assert figure(panel.tabs.children[STATES]) is None


def test_an_unforeseen_error_is_words_with_its_type_and_its_html_as_text(sides, counted):
    def broken(layer, place):
        raise RuntimeError("<script>boom")

    numbers = counted(sides[0].numbers, states=broken)
    panel = NumbersPanel(Explorer(replace(sides[0], numbers=numbers)))
    assert panel.words.value == "RuntimeError: &lt;script&gt;boom"
    panel.tabs.selected_index = MEMORY
    assert panel.words.value == "" and figure(panel.tabs.children[MEMORY])


def test_a_statistic_that_an_edited_run_lacks_is_explained(sides, counted):
    def cut(layer, direction):
        found = sides[0].numbers.channels(layer, direction)
        return replace(found, values=found.values.drop_vars("contribution"))

    numbers = counted(sides[0].numbers, channels=cut)
    panel = NumbersPanel(Explorer(replace(sides[0], numbers=numbers)))
    panel.tabs.selected_index = CHANNELS
    channels = panel.tabs.children[CHANNELS]
    assert figure(channels)
    channels.statistic.value = "contribution"
    assert "choose another statistic" in panel.words.value.lower()
    assert figure(channels) is None, "what it showed before is not this"
    channels.statistic.value = "delta"
    assert panel.words.value == "" and figure(channels)


def test_an_edited_side_has_numbers_but_no_score_card(sides):
    panel = NumbersPanel(Explorer(sides[0], sides[2]))
    panel.side.value = 1
    for index in (STATES, CHANNELS, MEMORY):
        panel.tabs.selected_index = index
        assert panel.words.value == "" and figure(panel.tabs.children[index])
    panel.tabs.selected_index = SCORES
    assert "this side ran edited" in panel.scores.words.value and panel.scores.run.disabled


def test_the_measured_card_is_offered_for_the_model_that_has_one(sides, counted):
    bundled = resources.path("scorecard_figure.json")
    with_card = replace(sides[0], numbers=counted(sides[0].numbers, card=lambda: bundled))
    panel = NumbersPanel(Explorer(with_card, sides[1]))
    panel.tabs.selected_index = SCORES
    scores = panel.scores
    assert scores.measured.layout.visibility == "visible"
    assert scores.measured.description == "motion-nano on 300 clips"
    scores.measured.value = True
    assert figure_of(scores.card)["layout"]["title"]["text"].startswith("The score card")
    panel.side.value = 1  # an untrained model
    assert scores.measured.layout.visibility == "hidden" and not scores.measured.value
    assert not scores.card.outputs


def test_scrubbing_in_a_kernel_draws_once(sides, monkeypatch):
    explorer = Explorer(sides[0])
    panel, drawn = NumbersPanel(explorer), []
    monkeypatch.setattr(
        panel.tabs.children[STATES], "draw", lambda view, *_: drawn.append(view.frame)
    )

    async def scrub():
        for frame in range(1, 8):
            explorer.frame = frame
            await asyncio.sleep(DELAY / 20)
        assert drawn == []
        await asyncio.sleep(3 * DELAY)

    asyncio.run(scrub())
    assert drawn == [7]


def test_what_is_drawn_after_a_block_is_not_edited_by_it(panel, explorer):
    model = explorer.explorations[0].numbers.trace.model

    async def scrub():
        with mute(model, "forward"):
            explorer.layer = 0
        await asyncio.sleep(3 * DELAY)

    asyncio.run(scrub())
    assert panel.words.value == ""


def test_a_closed_panel_follows_no_longer_and_leaves_no_widget(explorer):
    before = set(_instances)
    panel = NumbersPanel(explorer)
    drawn = figure(panel.tabs.children[STATES])
    panel.close()
    panel.close()
    explorer.layer = 0
    assert figure(panel.tabs.children[STATES]) == drawn
    assert set(_instances) == before


def test_the_explorer_gives_its_panel(explorer):
    panel = explorer.numbers()
    assert panel.explorer is explorer and panel.side not in panel.children, "it has one clip"
