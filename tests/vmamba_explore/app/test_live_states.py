"""Single states of an explored clip, asked of the running model."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from vmamba_explore.app.explore import explore
from vmamba_explore.app.gather import gather
from vmamba_explore.app.live_states import LiveStates
from vmamba_explore.app.question import Question
from vmamba_explore.model.contrast import Contrast
from vmamba_explore.trace.interventions import mute
from vmamba_explore.trace.past import reset_state
from vmamba_explore.trace.record import run_with_trace

DELTA = Question(quantities=["delta"], progress=False)


def recorded_state(model, clip, layer, channel, state):
    trace = run_with_trace(model, clip, ["*.hook_h", "*.hook_C"])[1]
    found = []
    for direction in model.config.directions:
        at = f"layers.{layer}.mixer.ssm_{direction}.hook_"
        rms = trace[f"{at}C"][0, state].square().mean().sqrt()
        found.append(model.grid.split(trace[f"{at}h"][0, channel, state] * rms)[0].detach().numpy())
    return np.stack(found)


@pytest.mark.parametrize(
    "edit",
    [lambda _: nullcontext(), lambda model: reset_state(model, 2), lambda m: mute(m, "forward")],
    ids=["plain", "reset", "muted"],
)
def test_the_state_is_the_one_that_the_run_had_edited_or_not(model, noise_clip, edit):
    clip = noise_clip(model)
    with torch.no_grad(), edit(model):
        trace = run_with_trace(model, clip, ["*.hook_block_input"])[1]
        wanted = recorded_state(model, clip, 1, 5, 3)
    live = LiveStates(trace, lambda: edit(model), Contrast.of(model, 1, 0, None, "test"))
    np.testing.assert_allclose(live.state(1, 5, 3).values, wanted, rtol=1e-4, atol=1e-7)


def test_choices_name_the_state_that_is_largest_at_the_asked_patch(model, noise_clip):
    live = gather(model, noise_clip(model), DELTA).states
    place = (2, 1, 3)
    found = {(each.direction, each.words): each for each in live.choices(0, place)}
    channels, states = live.shape
    for at, direction in enumerate(model.config.directions):
        here = found[direction, "largest at the asked patch"]
        sizes = [
            abs(float(live.state(0, channel, state).values[at][place]))
            for channel in range(channels)
            for state in range(states)
        ]
        assert np.argmax(sizes) == here.channel * states + here.state
        assert here.value == pytest.approx(max(sizes), rel=1e-4)
        assert here.unit == "" and found[direction, "lasts longest"].unit == "tokens"
    assert not any(words.endswith("patch") for _, words in {
        (each.direction, each.words) for each in live.choices(0, None)
    })  # fmt: skip


def test_an_edited_run_offers_no_state_by_what_it_adds(model, noise_clip):
    live = gather(model, noise_clip(model), DELTA, edit=lambda m: mute(m, "forward")).states
    assert {each.words for each in live.choices(1, None)} == {"largest", "lasts longest"}


def test_the_explorer_answers_with_the_state_of_both_sides_on_one_scale(model, noise_clip):
    clip, other = noise_clip(model), noise_clip(model, 1)
    explorer = explore(clip, model, compare=other, quantities=["delta"], progress=False)
    sent = []
    explorer.send = lambda content, buffers=None: sent.append((content, buffers))
    explorer.hear({"request": "1", "state": [4, 7], "layer": 1}, [])
    explorer.hear({"request": "2", "state": [4, 16], "layer": 1}, [])
    explorer.hear({"request": "3", "state": "x", "layer": 1}, [])
    explorer.hear({"request": "4", "choices": True, "side": 1, "layer": 0, "token": [0, 0, 9]}, [])
    explorer.hear({"request": "5", "choices": True, "side": 1, "layer": 0, "token": []}, [])
    (answer, buffers), *errors, (choices, _) = sent
    levels = np.frombuffer(buffers[0], np.uint8).reshape(3, 2, *model.grid.shape[:3])
    ((low, high),) = answer["map"]["ranges"]
    assert low == -high and answer["map"]["label"] == "state 7 of channel 4, layer 1"
    for side, exploration in enumerate(explorer.explorations):
        values = low + levels[side] / 254 * (high - low)
        wanted = exploration.states.state(1, 4, 7).values
        assert np.abs(values - wanted).max() <= (high - low) / 254 / 2 * 1.001
    assert [error["error"].split(",")[0] for error, _ in errors] == [
        "Explorer: state_number is 16", "Explorer: expected a state as [channel",
        "Explorer: query is [0",
    ]  # fmt: skip
    assert {each["direction"] for each in choices["choices"]} == {"forward", "backward"}


def test_a_picture_of_a_state_needs_the_model_and_has_its_name(model, noise_clip):
    explorer = explore(noise_clip(model), model, quantities=["delta"], progress=False)
    explorer.quantity, explorer.channel, explorer.state_number = "state", 5, 3
    first = explorer.to_png()
    explorer.channel = 6
    assert explorer.to_png() != first
    with pytest.raises(ValueError, match="channel is 99, expected 0 to 31"):
        explorer.channel = 99
