"""Look-back distances against their definition over all pairs of tokens."""

from functools import partial

import pytest
import torch

from tests.vmamba_explore.toys import ORDERS, altered, recorded, vary_steps, without
from vmamba_explore.analysis.peak_memory import peak_bytes
from vmamba_explore.analysis.reach import look_back, look_back_course

NAMES = [f"*.hook_{name}" for name in ("u", "delta", "B", "C")]
# a trace of two random clips; the class token in the middle splits a frame
record = partial(
    recorded, NAMES, dtype=torch.float64, change=partial(vary_steps, shift=0), num_frames=6, depth=1
)


def by_definition(trace, direction, unit, weights, decay):
    """Equation 4 over all pairs: every weight of every source, every age counted token by token."""
    ssm = trace.ssm(0, direction)
    at = f"layers.0.mixer.ssm_{direction}.hook_"
    u, delta, B, C = (trace[at + name] for name in ("u", "delta", "B", "C"))
    order, A = ssm.steps(trace.grid.seqlen).tolist(), ssm.A.detach() * decay
    frames, read = set(), []  # so many tokens, or frames opened, at each step
    for token in order:
        position = trace.grid.position(token)
        frames |= set() if position is None else {position[0]}
        read.append(len(frames) if unit == "frames" else len(read))
    result = torch.empty_like(delta)
    for i, t in enumerate(order):
        mass = aged = torch.zeros_like(delta[..., 0])
        for j, s in enumerate(order[: i + 1]):
            passed = delta[..., order[j + 1 : i + 1]].sum(-1)
            kept = torch.exp(A * passed[..., None])  # batch, d_inner, d_state
            written = delta[..., s] * (u[..., s].abs() if weights == "written" else 1)
            weight = torch.einsum("bdn,bn->bd", kept, C[..., t].abs() * B[..., s].abs()) * written
            if ssm.leaves_out_own and j == i:
                weight = torch.zeros_like(weight)
            if ssm.starts_from_first and j == 0 and not (ssm.leaves_out_own and i == 0):
                start = torch.exp(A * delta[..., order[: i + 1]].sum(-1)[..., None])
                start = torch.einsum("bdn,bn->bd", start, C[..., t].abs())
                weight = weight + start * (u[..., s].abs() if weights == "written" else 1)
            mass, aged = mass + weight, aged + (read[i] - read[j]) * weight
        result[..., t] = aged / mass
    return result


@pytest.mark.parametrize("unit", ["tokens", "frames"])
@pytest.mark.parametrize("kind", ORDERS, ids=str)
def test_two_scans_give_the_mean_age_over_all_pairs(kind, unit):
    trace = record(**kind)
    for direction in ("forward", "backward"):
        found = look_back(trace, 0, direction, unit=unit)
        expected = by_definition(trace, direction, unit, "written", decay=1)
        ceiling = by_definition(trace, direction, unit, "written", decay=0)
        for value, wanted in ((found.distance, expected), (found.ceiling, ceiling)):
            torch.testing.assert_close(value, wanted, rtol=0, atol=1e-12, equal_nan=True)


def test_the_unweighted_look_back_leaves_out_what_was_written():
    trace = record()
    found = look_back(trace, 0, "backward", weights="writable").distance
    expected = by_definition(trace, "backward", "tokens", "writable", decay=1)
    assert (found - expected).abs().max() < 1e-12
    assert (found - look_back(trace, 0, "backward").distance).abs().max() > 0.1


def test_float32_is_as_good_as_its_docstring_says():
    exact = record(num_frames=256)
    values = {name: value.float() for name, value in exact.items()}
    rounded = altered(exact, values)
    read = {"tokens": 512, "frames": 128}
    for unit, reach in read.items():
        found = look_back(rounded, 0, "forward", unit=unit).distance
        assert found.dtype == torch.float32
        error = found - look_back(exact, 0, "forward", unit=unit).distance
        assert error.abs().max() < 1e-6 * reach  # measured: 0.4e-6


def test_fading_only_brings_the_look_back_down_where_all_tokens_write_alike():
    trace = record()
    for direction in ("forward", "backward"):
        found = look_back(trace, 0, direction, weights="writable")
        first = int(trace.ssm(0, direction).steps(trace.grid.seqlen)[0])
        assert (found.distance[..., first] == 0).all() and (found.distance >= 0).all()
        assert (found.distance <= found.ceiling + 1e-9).all()


def test_channel_groups_run_from_the_longest_memory_to_the_shortest():
    trace = record(num_frames=16)
    course = look_back_course(trace, unit="tokens", groups=4)
    assert course.distance.dims == ("layer", "direction", "group", "frame")
    late = course.distance.sel(direction="forward", layer=0).isel(frame=-1)
    assert late[0] > 2 * late[3] and (course.distance < course.ceiling).mean() > 0.9
    every = look_back_course(trace, unit="tokens").distance.sel(group=0)
    assert abs(course.distance.mean("group") - every).max() < 1e-4
    assert course.distance.attrs["unit"] == "tokens"


def test_look_back_holds_no_matrix_and_no_states():
    small, large = (record(num_frames=n, dtype=torch.float32) for n in (64, 256))
    peaks = [peak_bytes(lambda t=t: look_back(t, 0, "forward")) for t in (small, large)]
    assert peaks[1] < 5 * peaks[0]
    u = large["layers.0.mixer.ssm_forward.hook_u"]
    assert peaks[1] < 20 * u.numel() * 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"unit": "seconds"}, "unit is 'seconds', expected 'tokens' or 'frames'"),
        ({"weights": "all"}, "weights is 'all', expected 'written' or 'writable'"),
        ({"layer": 3}, "no layer 3; the model has 0 to 0"),
        ({"direction": "sideways"}, "no direction 'sideways'"),
    ],
)
def test_a_wrong_argument_gets_its_sentence(arguments, words, unchecked):
    given = {"layer": 0, "direction": "forward"} | arguments
    with pytest.raises(ValueError, match=words):
        look_back(record(), **given)


def test_a_model_that_reads_forward_only_has_no_backward_look_back():
    trace = record(num_frames=4, backward_order=None)
    assert look_back_course(trace).distance["direction"].values.tolist() == ["forward"]


def test_what_was_not_recorded_is_named():
    with pytest.raises(KeyError, match="ssm_forward.hook_B' was not recorded"):
        look_back(without(record(), "hook_B"), 0, "forward")


def test_a_direction_the_model_does_not_have_gets_its_sentence():
    trace = record(backward_order=None)
    with pytest.raises(ValueError, match="no direction 'backward'; expected 'forward'"):
        look_back(trace, 0, "backward")
