"""What a read-out asks of the states, against autograd through the written-out recurrence."""

import dataclasses

import pytest
import torch

from vmamba_explore.analysis.frozen_scan import FrozenScan

SEQLEN = 11
INTERLEAVED = torch.tensor([5, 0, 9, 2, 7, 1, 10, 3, 8, 6, 4])
each_way = pytest.mark.parametrize(
    "way", [{}, {"reverse": True}, {"order": INTERLEAVED}], ids=["forward", "backward", "order"]
)


def frozen(reverse=False, order=None, batch=2):
    """A scan of 3 channels and 4 states with drawn delta, A, B, C and D."""
    torch.manual_seed(0)
    delta = torch.rand(batch, 3, SEQLEN).double() + 0.05
    B, C = torch.randn(2, batch, 4, SEQLEN).double()
    A, D = -torch.rand(3, 4).double() - 0.1, torch.randn(3).double()
    return FrozenScan(delta, A, B, C, D, reverse, order)


def written_out(scan, v, u):
    """The gradient of sum(v * y) with respect to every state, and to u, by autograd."""
    u, state, states, y = u.clone().requires_grad_(), 0.0, {}, torch.zeros_like(u)
    for t in scan.steps.tolist():
        delta = scan.delta[..., t, None]
        state = torch.exp(delta * scan.A) * state + delta * scan.B[:, None, :, t] * u[..., t, None]
        state.retain_grad()
        states[t] = state
        there = torch.arange(SEQLEN) == t
        y = y + there * ((state * scan.C[:, None, :, t]).sum(-1) + scan.D * u[..., t])[..., None]
    (v * y).sum().backward()
    return torch.stack([states[t].grad for t in range(SEQLEN)], dim=-1), u.grad


@each_way
def test_adjoint_states_are_the_gradient_of_the_states(way):
    scan = frozen(**way)
    v, u = torch.randn(2, 2, 3, SEQLEN).double()
    states, through_u = written_out(scan, v, u)
    assert (scan.adjoint_states(v) - states).abs().max() <= 1e-12
    few = scan.adjoint_states(v, [7, 0, 10])
    assert (few - states[..., [7, 0, 10]]).abs().max() <= 1e-12
    assert (scan.adjoint(v) - through_u).abs().max() <= 1e-12


def test_adjoint_states_know_the_gate_of_a_whole_mixer_and_several_read_outs_of_one_clip():
    scan = frozen(batch=1)
    gate, v = torch.randn(1, 3, SEQLEN).double(), torch.randn(4, 3, SEQLEN).double()
    gated = dataclasses.replace(scan, after=gate)
    assert torch.equal(gated.adjoint_states(v), scan.adjoint_states(v * gate))
    for row in range(4):
        one = scan.adjoint_states(v[row : row + 1])
        assert (scan.adjoint_states(v)[row : row + 1] - one).abs().max() <= 1e-12


@each_way
def test_what_is_read_from_the_states_is_what_the_scan_gives(way):
    scan = frozen(**way)
    u = torch.randn(2, 3, SEQLEN).double()
    read = (scan.states(u) * scan.C[:, None]).sum(2) + scan.D[:, None] * u
    assert (read - scan.apply(u)).abs().max() <= 1e-12
    assert torch.equal(scan.states(u, [7, 0]), scan.states(u)[..., [7, 0]])


def test_the_states_of_a_whole_mixer_come_after_its_convolution_and_before_its_gate():
    scan = frozen(reverse=True)
    gate, opened, x = torch.randn(3, 2, 3, SEQLEN).double()
    mixer = dataclasses.replace(
        scan,
        kernel=torch.randn(3, 4).double(),
        before=opened,
        after=gate,
        D=torch.zeros_like(scan.D),
    )
    read = (mixer.states(x) * mixer.C[:, None]).sum(2) * gate
    assert (read - mixer.apply(x)).abs().max() <= 1e-12
