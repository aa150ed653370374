"""Tests of vmamba_kernels.checks, through the public functions."""

import pytest
import torch

from vmamba_kernels import causal_conv1d, selective_scan, selective_scan_with_states


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


@pytest.mark.parametrize("call", [selective_scan, selective_scan_with_states])
def test_a_wrong_axis_is_named_with_both_sizes_and_both_shapes(call):
    with pytest.raises(ValueError) as error:
        call(**scan_arguments(A=torch.zeros(192, 16)))
    assert str(error.value) == (
        f"{call.__name__}: u and A disagree on d_inner: 384 and 192. u is (batch, d_inner, seqlen) "
        "= (2, 384, 9), A is (d_inner, d_state) = (192, 16)."
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
    with pytest.raises(ValueError) as error:
        selective_scan(**scan_arguments(**{name: torch.zeros(shape)}))
    assert str(error.value).startswith(f"selective_scan: {pair} ")


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
    with pytest.raises(ValueError) as error:
        selective_scan(**scan_arguments(**changes))
    assert str(error.value) == f"selective_scan: {message}"


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
    with pytest.raises(ValueError) as error:
        causal_conv1d(**arguments)
    assert str(error.value).startswith(f"causal_conv1d: {message}")
