"""Measuring cost: counts and bookkeeping; no timing is asserted."""

import dataclasses
import logging
import math
import time

import pytest
import torch

from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.studies.scaling.cost import (
    Cost,
    CostTable,
    forward_pass,
    mac_curves,
    measure,
    training_step,
)
from vmamba_explore.studies.scaling.fit import fit_exponent
from vmamba_explore.studies.scaling.joint_attention import JointAttention

MIB = 2**20
CONFIG = VideoMambaConfig.preset("toy")


def nothing(frames):
    return lambda: None


# --- counts


def test_counts_of_videomamba_grow_linearly_and_those_of_attention_more():
    ours, theirs = mac_curves(VideoMambaConfig.preset("kaist_small"), [16, 32, 64, 128])
    assert fit_exponent(ours).exponent == pytest.approx(1, abs=0.001)
    assert 1.2 < fit_exponent(theirs).exponent < 2
    assert ours.values[0] == pytest.approx(39.1 + 0.9, abs=0.1)


# --- measuring


def test_both_models_are_measured_at_every_length():
    models = {"a": forward_pass(VideoMamba, CONFIG), "b": forward_pass(JointAttention, CONFIG)}
    table = measure(models, [8, 4], repeats=2)
    assert [(c.model, c.num_frames) for c in table.costs] == [
        ("a", 4), ("b", 4), ("a", 8), ("b", 8)
    ]  # fmt: skip
    assert table.notes == () and table.models == ("a", "b")
    assert all(cost.seconds > 0 and cost.peak_bytes > 0 for cost in table.costs)
    assert all(len(cost.rounds) >= 2 for cost in table.costs)


@pytest.fixture
def one_thread():
    """No second thread can then hold memory for a moment longer."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_videomamba_s_peak_memory_grows_linearly(one_thread):
    config = dataclasses.replace(CONFIG, img_size=64, d_model=64)
    table = measure({"ours": forward_pass(VideoMamba, config)}, [32, 64, 128], repeats=1)
    (memory,) = table.curves("peak_bytes")
    assert fit_exponent(memory).exponent == pytest.approx(1, abs=0.05)


def test_a_training_step_needs_more_memory_than_a_forward_pass():
    models = {
        "forward": forward_pass(VideoMamba, CONFIG),
        "step": training_step(VideoMamba, CONFIG),
    }
    forward, step = measure(models, [16], repeats=1).costs
    assert step.peak_bytes > 2 * forward.peak_bytes


def test_a_training_step_reaches_every_weight():
    built = []

    def build(config):
        built.append(VideoMamba(config))
        return built[0]

    training_step(build, CONFIG)(4)()
    assert [name for name, weight in built[0].named_parameters() if weight.grad is None] == []


def test_an_interrupted_measurement_keeps_what_it_has(caplog):
    def prepare(frames):
        if frames == 32:
            raise KeyboardInterrupt
        return lambda: None

    with caplog.at_level(logging.WARNING):
        table = measure({"a": prepare}, [8, 16, 32, 64], repeats=1)
    assert [cost.num_frames for cost in table.costs] == [8, 16]
    assert table.notes == ("Interrupted: this is what was measured until then.",)
    assert "Interrupted" in caplog.text


def test_a_model_that_does_not_fit_is_noted_and_the_others_go_on():
    def greedy(frames):
        return lambda: torch.empty(2**60 if frames > 8 else 1, dtype=torch.uint8)

    table = measure({"greedy": greedy, "modest": nothing}, [8, 16, 32], repeats=1)
    assert [(c.model, c.num_frames) for c in table.costs] == [
        ("greedy", 8), ("modest", 8), ("modest", 16), ("modest", 32)
    ]  # fmt: skip
    assert table.notes == ("greedy does not fit into memory with 16 frames or more.",)


def test_other_errors_of_a_model_are_not_swallowed():
    def broken(frames):
        return lambda: torch.zeros(2) @ torch.zeros(3)

    with pytest.raises(RuntimeError, match="size"):
        measure({"broken": broken}, [8])


def test_lengths_that_would_take_too_long_are_left_out():
    def slow(frames):
        return lambda: torch.ones(()).item() if frames < 64 else pytest.fail("was run")

    lengths = [8, 16, 32, 10**9]
    table = measure({"slow": slow}, lengths, repeats=1, limit_seconds=60.0)
    assert [cost.num_frames for cost in table.costs] == [8, 16, 32]
    assert "1000000000 frames and more were left out" in table.notes[0]


def test_no_further_round_begins_when_the_time_is_over():
    def slow_later(frames):
        calls = []

        def run():  # the first two calls, which are not timed, take no time
            calls.append(frames)
            time.sleep(0.02 * (len(calls) > 2))

        return run

    (cost,) = measure({"slow": slow_later}, [8], repeats=1000, limit_seconds=0.3).costs
    assert 1 <= len(cost.rounds) < 20


@pytest.mark.parametrize(
    ("models", "frames", "repeats"),
    [({}, [8], 1), ({"a": nothing}, [], 1), ({"a": nothing}, [0, 8], 1), ({"a": nothing}, [8], 0)],
)
def test_nothing_to_measure_is_refused(models, frames, repeats):
    with pytest.raises(ValueError, match="measure: expected at least one model"):
        measure(models, frames, repeats=repeats)


# --- the table


def test_a_ratio_is_taken_within_rounds():
    """The machine slows down from round to round, which meets both; of medians it would be 1.5."""
    costs = (Cost("a", 8, (2.0, 6.0, 6.0), 1), Cost("b", 8, (4.0, 4.0, 12.0), 1))
    ratio = CostTable(costs, "here").ratio("a", "b")
    assert (ratio.num_frames, ratio.values, ratio.unit) == ((8,), (0.5,), "")


def test_a_ratio_leaves_out_lengths_that_one_model_lacks():
    costs = (Cost("a", 8, (1.0,), 1), Cost("b", 8, (2.0,), 1), Cost("a", 16, (2.0,), 1))
    assert CostTable(costs, "here").ratio("a", "b").num_frames == (8,)


def test_unknown_names_are_refused():
    table = CostTable((Cost("a", 8, (1.0,), 1),), "here")
    with pytest.raises(ValueError, match="'b' was not measured; a were"):
        table.ratio("a", "b")
    with pytest.raises(ValueError, match="got 'joules', expected one of seconds, peak_bytes"):
        table.curves("joules")


def test_the_table_for_reading_has_a_row_per_length():
    costs = (Cost("a", 16, (0.25, 0.2, 0.3), 3 * MIB), Cost("a", 8, (0.1,), MIB))
    costs += (Cost("b", 8, (0.5,), 2 * MIB),)
    table = CostTable(costs, "here").table()
    assert table.sel(cost="a, ms").to_series().to_dict() == {8: 100.0, 16: 200.0}
    assert table.sel(cost="a, peak MiB").values.tolist() == [1.0, 3.0]
    assert math.isnan(table.sel(cost="b, ms", frames=16))


def test_a_measurement_that_never_began_is_an_empty_table():
    assert CostTable((), "here").table().shape == (0, 0)
