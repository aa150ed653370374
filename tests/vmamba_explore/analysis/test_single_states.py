"""One state at every token, what each adds to the logit, and how large each is."""

import pytest
import torch

from tests.vmamba_explore.toys import KINDS, SMALL, clips_for, enliven, toy
from vmamba_explore.analysis.evidence import LogitReadout, logit_readout
from vmamba_explore.analysis.single_states import state_contributions, state_map, state_sizes
from vmamba_explore.analysis.states import reading_strength
from vmamba_explore.trace.record import replay_layer, run_with_trace
from vmamba_explore.trace.window import window_names


def recorded(**changes):
    model = toy(**SMALL | changes, change=enliven)
    names = ["*.hook_block_input", "*.hook_h", "*.hook_C", "*.hook_u", "*.hook_y", "*.hook_z"]
    with torch.no_grad():
        return run_with_trace(model, clips_for(model), [*names, *LogitReadout.names(model)])[1]


def few(trace, layer):
    """The layer replayed with one state in 64."""
    with torch.no_grad():
        return replay_layer(trace, layer, [*window_names(trace, layer), "*.hook_z"])


@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_a_map_is_the_state_times_how_strongly_it_is_read_at_every_token(changes):
    trace = recorded(**changes)
    found = state_map(few(trace, 1), 1, 5, 2, clip=1)
    for direction in trace.config.directions:
        at = f"layers.1.mixer.ssm_{direction}.hook_"
        wanted = trace[f"{at}h"][1, 5, 2] * reading_strength(trace[f"{at}C"][1])[2]
        video = trace.grid.split(wanted)[0].numpy()
        torch.testing.assert_close(
            torch.from_numpy(found.sel(direction=direction).values), torch.from_numpy(video)
        )
    assert found.dims == ("direction", "frame", "row", "col")


def test_the_scale_that_B_and_C_may_trade_changes_neither_map_nor_sizes():
    def trade(model):
        enliven(model)
        for layer in model.layers:
            rank, states = model.config.dt_rank, model.config.d_state
            weight = layer.mixer.ssm_forward.x_proj.weight
            weight[rank : rank + states] *= 4
            weight[rank + states :] /= 4

    plain, traded = (toy(**SMALL, change=change) for change in (enliven, trade))
    maps, sizes = [], []
    for model in (plain, traded):
        with torch.no_grad():
            trace = run_with_trace(model, clips_for(model), "*.hook_block_input")[1]
        run = few(trace, 0)
        maps.append(torch.from_numpy(state_map(run, 0, 3, 1).values))
        sizes.append(torch.from_numpy(state_sizes(run, 0, "forward").values))
    torch.testing.assert_close(*maps)
    torch.testing.assert_close(*sizes)


@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_contributions_sum_to_what_the_scan_adds_to_the_logit_less_its_skip(changes):
    trace = recorded(**changes)
    readout = logit_readout(trace, 1)
    for layer in range(trace.config.depth):
        run = few(trace, layer)
        for direction in trace.config.directions:
            found = state_contributions(run, layer, direction, readout, clip=1)
            at = f"layers.{layer}.mixer.ssm_{direction}.hook_"
            skip = trace.ssm(layer, direction).D.detach()[:, None] * trace[f"{at}u"]
            gate = torch.nn.functional.silu(trace[f"layers.{layer}.mixer.hook_z"])
            gate = gate * trace.mixer(layer).scale
            wanted = (readout.at_mixer(trace, layer) * gate * (trace[f"{at}y"] - skip))[1].sum(-1)
            torch.testing.assert_close(
                torch.from_numpy(found.sum("state").values).float(), wanted, rtol=1e-3, atol=1e-6
            )


def test_sizes_are_those_of_all_tokens_or_of_one():
    trace = recorded()
    run, at = few(trace, 1), "layers.1.mixer.ssm_backward.hook_"
    h = trace[f"{at}h"][0] * reading_strength(trace[f"{at}C"][0])[:, None]
    sizes = state_sizes(run, 1, "backward")
    one = state_sizes(run, 1, "backward", 7)
    torch.testing.assert_close(torch.from_numpy(sizes.values), h.square().mean(-1).sqrt())
    torch.testing.assert_close(torch.from_numpy(one.values), h[..., 7].abs())


def test_a_state_that_is_not_there_is_named_with_those_that_are():
    run = few(recorded(), 0)
    with pytest.raises(ValueError, match="state_map: channel is 16, expected 0 to 15"):
        state_map(run, 0, 16, 0)
    with pytest.raises(ValueError, match="state_map: state is -1, expected 0 to 2"):
        state_map(run, 0, 0, -1)
