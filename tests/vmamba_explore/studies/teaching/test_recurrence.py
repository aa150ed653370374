"""The recurrence and three ways to run it."""

import pytest
import torch

from vmamba_explore.studies.teaching.recurrence import (
    associative_rounds,
    associative_scan,
    chunked_rounds,
    chunked_scan,
    combine,
    discretize,
    sequential_rounds,
    sequential_scan,
    tokens_known,
)
from vmamba_kernels import selective_scan_with_states

SCANS = {
    "sequential": sequential_scan,
    "associative": associative_scan,
    "chunked": chunked_scan,
    "chunks of 1": lambda a, b: chunked_scan(a, b, chunk=1),
    "one chunk": lambda a, b: chunked_scan(a, b, chunk=1000),
}


def scan_inputs(seqlen, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seqlen)
    u, delta = (torch.randn(2, 3, seqlen, dtype=dtype, generator=generator) for _ in range(2))
    B, C = (torch.randn(2, 4, seqlen, dtype=dtype, generator=generator) for _ in range(2))
    A = -4 * torch.rand(3, 4, dtype=dtype, generator=generator)
    return u, torch.nn.functional.softplus(delta), A, B, C


@pytest.mark.parametrize("seqlen", [1, 2, 7, 8, 9, 63])
@pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS)
def test_every_way_to_scan_gives_the_states_of_the_definition(scan, seqlen):
    u, delta, A, B, C = scan_inputs(seqlen)
    states = selective_scan_with_states(u, delta, A, B, C, backend="naive").states
    A_bar, B_bar = discretize(delta, A, B)
    b = B_bar * u[:, :, None]
    given = A_bar.clone(), b.clone()
    found = scan(A_bar, b)
    assert float((found - states).norm() / states.norm()) < 1e-7  # the states come as float32
    assert torch.equal(A_bar, given[0]) and torch.equal(b, given[1]), "it wrote into its input"


def test_steps_may_be_regrouped_but_not_exchanged():
    one, two, three = (tuple(pair) for pair in torch.rand(3, 2, dtype=torch.float64))
    left, right = combine(combine(one, two), three), combine(one, combine(two, three))
    assert torch.allclose(torch.stack(left), torch.stack(right))
    assert not torch.allclose(combine(one, two)[1], combine(two, one)[1])


def test_a_merged_step_does_what_its_two_parts_do():
    a1, b1, a2, b2, h = torch.tensor([0.5, 2.0, 0.25, -1.0, 8.0])
    a, b = combine((a1, b1), (a2, b2))
    assert a * h + b == a2 * (a1 * h + b1) + b2 == 0.5


def test_the_exact_rule_lands_on_the_solution_of_the_equation():
    """From h = 0, h' = -2 h + 3 u with u = 1 has the solution 1.5 (1 - exp(-2 t))."""
    delta, A = torch.full((1, 1, 4), 0.7, dtype=torch.float64), torch.tensor([[-2.0]]).double()
    A_bar, B_bar = discretize(delta, A, torch.full((1, 1, 4), 3.0).double(), rule="exact")
    times = 0.7 * torch.arange(1, 5)
    expected = 1.5 * (1 - torch.exp(-2 * times.double()))
    assert torch.allclose(sequential_scan(A_bar, B_bar)[0, 0, 0], expected, rtol=1e-12)


@pytest.mark.parametrize(("delta", "excess"), [(0.01, 0.005), (0.1, 0.0508), (1.0, 0.582)])
def test_eulers_rule_writes_too_much_by_half_the_exponent(delta, excess):
    arguments = torch.full((1, 1, 1), delta), torch.tensor([[-1.0]]), torch.ones(1, 1, 1)
    (a, mamba), (same, exact) = discretize(*arguments), discretize(*arguments, rule="exact")
    assert float(mamba / exact) - 1 == pytest.approx(excess, rel=5e-3)
    assert torch.equal(a, same)


def test_a_rule_that_is_not_there_is_refused(unchecked):
    one = torch.ones(1, 1, 1)
    with pytest.raises(
        ValueError, match="discretize: rule is 'euler', expected 'mamba' or 'exact'"
    ):
        discretize(one, -one[0], one, rule="euler")


def test_a_chunk_of_no_tokens_is_refused():
    with pytest.raises(ValueError, match="chunk is 0"):
        chunked_scan(torch.ones(4), torch.ones(4), chunk=0)


@pytest.mark.parametrize(
    ("rounds", "count"),
    [(sequential_rounds, 62), (associative_rounds, 6), (chunked_rounds, 7 + 7)],
)
def test_a_scan_of_63_tokens_takes_the_rounds_that_are_promised(rounds, count):
    known = tokens_known(rounds, 63)
    assert len(known) == count + 1
    assert torch.equal(known[0], torch.ones(63))
    assert torch.equal(known[-1], torch.arange(1.0, 64))
    assert not torch.equal(known[-2], known[-1])
    assert (known[1:] >= known[:-1]).all(), "a state never loses a token"
