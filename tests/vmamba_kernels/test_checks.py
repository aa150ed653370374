"""Tests of vmamba_kernels.checks, through the public functions."""

import pytest
import torch

from vmamba_kernels import (
    ScanInputs,
    bidirectional_selective_scan,
    bidirectional_selective_scan_with_states,
    causal_conv1d,
    gated_sum,
    scan_window,
    selective_scan,
    selective_scan_with_norms,
    selective_scan_with_states,
    step_size,
)


def scan_arguments(**changes):
    batch, d_inner, seqlen, d_state = 2, 384, 9, 16
    tokens, selection = torch.zeros(batch, d_inner, seqlen), torch.zeros(batch, d_state, seqlen)
    arguments = {
        "u": tokens,
        "delta": tokens,
        "A": torch.zeros(d_inner, d_state),
        "B": selection,
        "C": selection,
    }
    return arguments | changes


def refusal(call, *args, **arguments):
    """What a call says when it refuses its arguments, without its name."""
    with pytest.raises(ValueError) as error:
        call(*args, **arguments)
    assert str(error.value).startswith(call.__name__)
    return str(error.value).removeprefix(call.__name__)


CALLS = [selective_scan, selective_scan_with_states, selective_scan_with_norms]


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_axis_is_named_with_both_sizes_and_both_shapes(call):
    assert refusal(call, **scan_arguments(A=torch.zeros(192, 16))) == (
        ": u and A disagree on d_inner: 384 and 192. u is (batch, d_inner, seqlen) = (2, 384, 9), "
        "A is (d_inner, d_state) = (192, 16)."
    )


@pytest.mark.parametrize(
    ("name", "shape", "pair"),
    [
        ("delta", (3, 384, 9), "u and delta disagree on batch: 2 and 3."),
        ("delta", (2, 384, 8), "u and delta disagree on seqlen: 9 and 8."),
        ("B", (2, 15, 9), "A and B disagree on d_state: 16 and 15."),
        ("B", (2, 16, 1), "u and B disagree on seqlen: 9 and 1."),
        ("C", (2, 2, 16, 8), "u and C disagree on seqlen: 9 and 8."),
        ("C", (1, 16, 9), "u and C disagree on batch: 2 and 1."),
        ("D", (16,), "u and D disagree on d_inner: 384 and 16."),
        ("z", (2, 383, 9), "u and z disagree on d_inner: 384 and 383."),
        ("delta_bias", (1,), "u and delta_bias disagree on d_inner: 384 and 1."),
        ("initial_state", (2, 384, 1), "A and initial_state disagree on d_state: 16 and 1."),
    ],
)
def test_every_axis_of_every_argument_is_held_to_the_others(name, shape, pair):
    message = refusal(selective_scan, **scan_arguments(**{name: torch.zeros(shape)}))
    assert message.startswith(f": {pair} ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"A": torch.zeros(384)}, "A must have 2 axes (d_inner, d_state), got shape (384,)."),
        ({"D": torch.zeros(384, 1)}, "D must have 1 axes (d_inner,), got shape (384, 1)."),
        (
            {"A": torch.zeros(384, 16, dtype=torch.complex64)},
            "A must be real floating point (float32, float16, bfloat16 or float64), "
            "got torch.complex64. Convert it, for example with A.float().",
        ),
        (
            {"u": torch.zeros(2, 384, 9, dtype=torch.int64)},
            "u must be real floating point (float32, float16, bfloat16 or float64), "
            "got torch.int64. Convert it, for example with u.float().",
        ),
        (
            {"B": torch.zeros(384, 16)},
            "B has shape (384, 16): a constant B (d_inner, d_state) is not supported. "
            "Give one for every token: (batch, d_state, seqlen).",
        ),
        (
            {"C": torch.zeros(2, 5, 16, 9)},
            "the groups of C must divide d_inner: 5 groups and d_inner = 384. "
            "Channel d reads group d // (d_inner // groups).",
        ),
        (
            {"delta": [0.1]},
            "delta must be a torch.Tensor (batch, d_inner, seqlen), got list.",
        ),
        (
            {"z": torch.zeros(2, 384, 9, device="meta")},
            "u and z are on different devices: cpu and meta. Move them to one device first.",
        ),
        (
            {"u": torch.zeros(2, 384, 0)},
            "u has seqlen = 0; it must be at least 1. u is (batch, d_inner, seqlen) = (2, 384, 0).",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_what_would(changes, message):
    assert refusal(selective_scan, **scan_arguments(**changes)) == f": {message}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": torch.zeros(5, 4)}, "x and weight disagree on d_inner: 6 and 5. "),
        ({"weight": torch.zeros(6, 9)}, "weight has d_conv = 9; it must be 1 to 8. "),
        ({"weight": torch.zeros(6, 1, 4)}, "weight must have 2 axes (d_inner, d_conv), got "),
        ({"bias": torch.zeros(6, 1)}, "bias must have 1 axes (d_inner,), got shape (6, 1)."),
        ({"activation": "gelu"}, "activation must be \"silu\" or None, got 'gelu'."),
    ],
)
def test_the_convolution_names_what_does_not_fit(changes, message):
    arguments = {"x": torch.zeros(2, 6, 9), "weight": torch.zeros(6, 4)} | changes
    assert refusal(causal_conv1d, **arguments).startswith(f": {message}")


@pytest.mark.parametrize("backend", ["naive", "cpu"])
@pytest.mark.parametrize("call", [*CALLS, causal_conv1d])
@pytest.mark.parametrize(
    ("order", "reverse", "message"),
    [
        (torch.arange(9), True, "reverse=True and order=... both say how to read; give one."),
        (torch.arange(8), False, "order must be an int64 tensor (seqlen,) = (9,), "),
        (torch.arange(9.0), False, "order must be an int64 tensor (seqlen,) = (9,), "),
        ([*range(9)], False, "order must be an int64 tensor (seqlen,) = (9,), "),
        (torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 7]), False, "order must name each of the 9 tokens"),
        (torch.arange(9) + 1, False, "order must name each of the 9 tokens once; it holds 9 "),
    ],
)
def test_an_order_that_is_no_permutation_is_refused(call, order, reverse, message, backend):
    arguments = {"x": torch.zeros(2, 6, 9), "weight": torch.zeros(6, 4)}
    if call is not causal_conv1d:
        arguments = scan_arguments()
    with pytest.raises(ValueError) as error:
        call(**arguments, reverse=reverse, order=order, backend=backend)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([3, 9], "there is no token 9; seqlen is 9."),
        ([-10], "there is no token -10; seqlen is 9."),
        (torch.arange(9) == 7, "tokens is a mask of True and False; give numbers instead, for "),
        ([1.5], "tokens must be a slice, a range or whole numbers, got [1.5]."),
    ],
)
def test_tokens_that_are_not_there_are_refused(tokens, message):
    found = refusal(selective_scan_with_states, **scan_arguments(), tokens=tokens)
    assert found.startswith(f": {message}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": 4, "stop": 4}, "start 4 and stop 4 are no window of 9 tokens; "),
        ({"stop": 10}, "start 0 and stop 10 are no window of 9 tokens; "),
        ({"channels": [384]}, "there is no channel 384; d_inner is 384."),
        ({"order": torch.zeros(9, dtype=torch.int64)}, "order must name each of the 9 tokens"),
        ({"tokens": [1, 2]}, "states is (2, 384, 16, 1), expected (batch, d_inner, d_state, "),
    ],
)
def test_a_window_names_what_does_not_fit(changes, message):
    window = {"states": torch.zeros(2, 384, 16, 1), "tokens": [3], "start": 0, "stop": 5}
    found = refusal(scan_window, **scan_arguments(), **(window | changes))
    assert found.startswith(f": {message}")


@pytest.mark.parametrize(
    "call", [bidirectional_selective_scan, bidirectional_selective_scan_with_states]
)
def test_a_bidirectional_scan_says_which_direction_does_not_fit(call):
    good = ScanInputs(**scan_arguments())
    bad = ScanInputs(**scan_arguments(A=torch.zeros(192, 16)))
    short = ScanInputs(*(x[:1] if x.dim() == 3 else x for x in good[:5]))
    for pair, message in (
        ((good, bad), ", backward: u and A disagree on d_inner: 384 and 192. "),
        ((bad, good), ", forward: u and A disagree on d_inner: 384 and 192. "),
        ((good, tuple(good)), ": backward must be ScanInputs(u, delta, A, B, C, D, delta_bias, "),
        ((good, short), ": forward.u and backward.u disagree on batch: 2 and 1. "),
    ):
        assert refusal(call, *pair).startswith(message)


def test_the_elementwise_parts_name_what_does_not_fit():
    tokens = torch.zeros(2, 6, 9)
    assert ": delta and delta_bias disagree on d_inner" in refusal(
        step_size, tokens, torch.zeros(5)
    )
    assert ": y_forward and z disagree on seqlen" in refusal(
        gated_sum, tokens, None, tokens[..., :8]
    )
