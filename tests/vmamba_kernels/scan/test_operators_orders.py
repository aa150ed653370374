"""Properties of scans that hold for every order, length and choice of tokens: naive and cpu."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vmamba_kernels.scan.runs import TOKENS
from vmamba_kernels import selective_scan_with_states

RARELY = settings(max_examples=25, deadline=None)


@st.composite
def problems(draw):
    """The inputs of a scan, an order of its tokens, and some of the tokens."""
    seqlen = draw(st.integers(1, 70))  # up to more than two chunks of the compiled kernels
    d_inner, d_state = draw(st.sampled_from([(1, 1), (33, 3), (64, 2)]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    inputs = {
        "u": normal(2, d_inner, seqlen),
        "delta": normal(2, d_inner, seqlen) - 2,
        "A": -normal(d_inner, d_state).exp(),
        "B": normal(2, d_state, seqlen),
        "C": normal(2, d_state, seqlen),
        "z": normal(2, d_inner, seqlen),
        "initial_state": normal(2, d_inner, d_state),
    }
    order = torch.tensor(draw(st.permutations(range(seqlen))))
    tokens = draw(st.lists(st.integers(-seqlen, seqlen - 1), max_size=5))
    return inputs, order, tokens


def scan(inputs, **options):
    return selective_scan_with_states(**inputs, delta_softplus=True, **options)


@RARELY
@given(problems())
def test_an_order_is_permute_scan_permute_back_and_alike_in_both_backends(problem):
    inputs, order, tokens = problem
    permuted = {n: x[..., order] if n in TOKENS else x for n, x in inputs.items()}
    found = {}
    for backend in ("naive", "cpu"):
        found[backend] = scan(inputs, order=order, backend=backend)
        straight, back = scan(permuted, backend=backend), order.argsort()
        torch.testing.assert_close(found[backend].y, straight.y[..., back])
        torch.testing.assert_close(found[backend].states, straight.states[..., back])
        some = scan(inputs, order=order, tokens=tokens, backend=backend)
        assert torch.equal(some.y, found[backend].y)
        assert torch.equal(some.states, found[backend].states[..., tokens])
    for ours, true in zip(found["cpu"], found["naive"], strict=True):
        torch.testing.assert_close(ours, true, rtol=1e-4, atol=1e-5)


@RARELY
@given(problems())
def test_reverse_is_flip_scan_flip_and_the_order_that_counts_down(problem):
    inputs, order, _ = problem
    flipped = {n: x.flip(-1) if n in TOKENS else x for n, x in inputs.items()}
    down = torch.arange(len(order)).flip(0)
    for backend in ("naive", "cpu"):
        reverse = scan(inputs, reverse=True, backend=backend)
        straight = scan(flipped, backend=backend)
        torch.testing.assert_close(reverse.y, straight.y.flip(-1))
        torch.testing.assert_close(reverse.states, straight.states.flip(-1))
        ordered = scan(inputs, order=down, backend=backend)
        assert torch.equal(ordered.y, reverse.y) and torch.equal(ordered.states, reverse.states)


@RARELY
@given(problems())
def test_a_token_depends_on_no_token_read_after_it(problem):
    inputs, order, _ = problem
    read = len(order) // 2  # the tokens read before this step must not see those from it on
    spoiled = {n: x.clone() for n, x in inputs.items()}
    for name in TOKENS:
        spoiled[name][..., order[read:]] = torch.nan
    for backend in ("naive", "cpu"):
        true, found = (scan(x, order=order, backend=backend) for x in (inputs, spoiled))
        before = order[:read]
        assert torch.equal(found.y[..., before], true.y[..., before])
        assert torch.equal(found.states[..., before], true.states[..., before])
        assert found.y[..., order[read:]].isnan().all()
