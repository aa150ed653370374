"""SelectiveSSM against a definition written out, in every order, and edited states."""

import pytest
import torch
from torch.nn import functional as F

from tests.vmamba_explore.toys import watched
from vmamba_explore.hooks import attached, name_hooks
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.ssm import SelectiveSSM
from vmamba_kernels import selective_scan


def build(order, cls_position=None, batch=2):
    """A direction with random decay and skip, its input, and the order in which it reads."""
    torch.manual_seed(3)
    config = VideoMambaConfig.preset(
        "toy", num_frames=6, img_size=32, backward_order=order, cls_position=cls_position
    )
    ssm = SelectiveSSM(config, "backward" if order else "forward")
    torch.nn.init.normal_(ssm.A_log, std=0.5)
    torch.nn.init.normal_(ssm.D)
    name_hooks(ssm)
    grid = config.grid
    indices = grid.backward_indices(order) if order else torch.arange(grid.seqlen)
    return ssm, torch.randn(batch, config.d_inner, grid.seqlen), indices


def definition(ssm, x, order):
    """y and h of one direction by the docstring's formulas, token by token, in scan order."""
    x = x[..., order]
    padded = F.pad(x, (ssm.conv1d.kernel_size[0] - 1, 0))
    u = F.silu(F.conv1d(padded, ssm.conv1d.weight, ssm.conv1d.bias, groups=x.shape[1]))
    dt, B, C = ssm.x_proj(u.mT).split(ssm.split_sizes, -1)
    delta = F.softplus(ssm.dt_proj(dt)).mT
    A = -torch.exp(ssm.A_log)
    h, ys, hs = torch.zeros(x.shape[0], *A.shape), [], []
    for t in range(x.shape[-1]):
        step = delta[..., t, None]
        h = torch.exp(step * A) * h + step * B[:, t, None, :] * u[..., t, None]
        hs.append(h)
        ys.append((h * C[:, t, None, :]).sum(-1) + ssm.D * u[..., t])
    inverse = order.argsort()
    return torch.stack(ys, -1)[..., inverse], torch.stack(hs, -1)[..., inverse]


@pytest.mark.parametrize("order", [None, "spatiotemporal", "spatial", "temporal"])
@pytest.mark.parametrize("cls_position", [None, "front"])
def test_every_order_equals_the_definition_over_the_permuted_tokens(order, cls_position):
    ssm, x, indices = build(order, cls_position)
    with watched(ssm, ["hook_h"]) as seen:
        y = ssm(x)
    wanted_y, wanted_h = definition(ssm, x, indices)
    assert torch.allclose(y, wanted_y, atol=2e-5)
    assert torch.allclose(seen["hook_h"], wanted_h, atol=2e-5)


@pytest.mark.parametrize("order", [None, "spatiotemporal", "temporal"])
def test_observing_changes_no_bit_and_equal_states_change_no_bit(order):
    ssm, x, _ = build(order)
    plain = ssm(x)
    for function in (lambda v, p: None, lambda v, p: v, lambda v, p: v.clone()):
        with attached(ssm, [("hook_h", function)]):
            assert torch.equal(ssm(x), plain)


@pytest.mark.parametrize("order", [None, "spatiotemporal", "spatial"])
def test_an_edited_state_feeds_its_own_y_and_all_later_tokens(order):
    """Edits at scattered tokens, clips and channels equal a recurrence that takes them over."""
    ssm, x, indices = build(order)
    edits = {2: (0, 5, 1), 3: (0, 5, 1), 7: (1, 8, 0), len(indices) - 1: (0, 2, 2)}  # scan position
    taken = {}

    def edit(h, point):
        h = h.clone()
        for position, (clip, channel, state) in edits.items():
            token = indices[position]
            h[clip, channel, state, token] += 1.5
            taken[position] = h[clip, channel, state, token]
        return h

    plain = ssm(x)
    with attached(ssm, [("hook_h", edit)]):
        y = ssm(x)

    u, delta, B, C = record(ssm, x)
    A = -torch.exp(ssm.A_log)
    h, wanted = torch.zeros(2, *A.shape), torch.empty_like(y)
    for position, token in enumerate(indices):
        step = delta[..., token, None]
        h = torch.exp(step * A) * h + step * B[:, None, :, token] * u[..., token, None]
        if position in edits:
            h[edits[position]] = taken[position]
        wanted[..., token] = (h * C[:, None, :, token]).sum(-1) + ssm.D * u[..., token]
    assert torch.allclose(y, wanted, atol=2e-5)
    assert torch.equal(y[..., indices[:2]], plain[..., indices[:2]])
    assert not torch.allclose(y[0, 5, indices[4]], plain[0, 5, indices[4]], atol=1e-4)
    untouched = [c for c in range(x.shape[1]) if c not in (2, 5, 8)]
    assert torch.allclose(y[:, untouched], plain[:, untouched], atol=2e-5)


def record(ssm, x):
    names = ["hook_u", "hook_delta", "hook_B", "hook_C"]
    with watched(ssm, names) as seen:
        ssm(x)
    return [seen[name].detach() for name in names]


def test_zeroing_all_states_leaves_the_skip_path_alone():
    ssm, x, _ = build(None, batch=1)
    with attached(ssm, [("hook_h", lambda v, p: torch.zeros_like(v))]):
        y = ssm(x)
    u = record(ssm, x)[0]
    assert torch.allclose(y, ssm.D[:, None] * u, atol=1e-6)


def test_a_bar_is_the_decay_of_the_recorded_step():
    ssm, x, _ = build("spatial", batch=1)
    with watched(ssm, ["hook_A_bar"]) as seen:
        ssm(x)
    delta = record(ssm, x)[1]
    wanted = torch.exp(delta[:, :, None] * -torch.exp(ssm.A_log)[None, :, :, None])
    assert torch.allclose(seen["hook_A_bar"], wanted)


def test_gradients_flow_through_an_edit_to_the_states_before_it():
    ssm, x, _ = build("spatiotemporal", batch=1)
    x.requires_grad_()

    def halve_token_4(h, point):
        mask = torch.ones_like(h)
        mask[..., 4] = 0.5
        return h * mask

    with attached(ssm, [("hook_h", halve_token_4)]):
        y = ssm(x)
    y[..., 0].sum().backward()  # token 0 is read after token 4 by the backward scan
    assert x.grad[..., 7:].abs().max() > 0


@pytest.mark.parametrize("order", [None, "spatiotemporal", "temporal"])
def test_norms_are_those_of_the_states(order):
    ssm, x, _ = build(order)
    with watched(ssm, ["hook_h", "hook_h_over_states", "hook_h_over_channels"]) as seen:
        ssm(x)
    assert torch.allclose(seen["hook_h_over_states"], seen["hook_h"].norm(dim=2), atol=1e-5)
    assert torch.allclose(seen["hook_h_over_channels"], seen["hook_h"].norm(dim=1), atol=1e-5)


@pytest.mark.parametrize("order", [None, "spatiotemporal", "temporal"])
def test_boundaries_are_the_states_after_every_64th_token_read(order):
    ssm, x, _ = build(order, batch=1)
    x = torch.randn(1, x.shape[1], 200)
    ssm.full_order = None if ssm.full_order is None else torch.randperm(200)
    with watched(ssm, ["hook_h", "hook_h_boundaries"]) as seen:
        y = ssm(x)
    tokens = ssm.steps(200)[[63, 127, 191]]
    assert torch.equal(seen["hook_h_boundaries"], seen["hook_h"][..., tokens])
    assert torch.equal(y, ssm(x))


# Handing states on


@pytest.mark.parametrize("order", [None, "spatiotemporal", "spatial", "temporal"])
@pytest.mark.parametrize("step", [0, 6, 9, -1])
def test_a_state_handed_on_is_that_of_a_scan_cut_in_two_by_hand(order, step):
    """Reading it changes no y; replacing it changes all later y, and its own token's not."""
    (ssm, x, indices), seen = build(order, "front"), []
    plain = ssm(x)
    token = int(indices[step])
    with ssm.at_handover(token, seen.append):
        assert torch.allclose(ssm(x), plain, atol=1e-6)
    u, delta, B, C = (value[..., indices] for value in record(ssm, x))
    cut = step % len(indices) + 1
    first = (u[..., :cut], delta[..., :cut], ssm.A, B[..., :cut], C[..., :cut], ssm.D)
    _, state = selective_scan(*first, return_last_state=True)
    assert torch.allclose(seen[0], state, atol=1e-6)

    other = torch.randn_like(state)
    with ssm.at_handover(token, lambda state: other):
        y = ssm(x)[..., indices]
    assert torch.allclose(y[..., :cut], plain[..., indices[:cut]], atol=1e-6)
    if cut < len(indices):
        rest = (u[..., cut:], delta[..., cut:], ssm.A, B[..., cut:], C[..., cut:], ssm.D)
        wanted = selective_scan(*rest, initial_state=other)
        assert torch.allclose(y[..., cut:], wanted, atol=1e-5)
        assert not torch.allclose(y[..., cut], plain[..., indices[cut]], atol=1e-3)


@pytest.mark.parametrize("order", [None, "spatiotemporal", "spatial"])
def test_functions_at_one_token_follow_each_other_and_several_tokens_work(order):
    (ssm, x, _), seen = build(order, batch=1), []
    with ssm.at_handover(9, lambda h: 2 * h), ssm.at_handover(9, seen.append):
        with ssm.at_handover(9, lambda h: h / 2), ssm.at_handover(-1, lambda h: None):
            y = ssm(x)
    with ssm.at_handover(9, seen.append):
        assert torch.allclose(ssm(x), y, atol=1e-6)
    assert torch.allclose(seen[0], 2 * seen[1], atol=1e-6)
    assert not ssm.handovers


@pytest.mark.parametrize("order", [None, "spatiotemporal", "temporal"])
def test_states_recorded_beside_a_handover_are_those_that_ran(order):
    """h at the token is what it was; from the next one on it follows from the new state."""
    ssm, x, steps = build(order)
    names = ["hook_h", "hook_h_over_states", "hook_h_over_channels", "hook_C", "hook_u", "hook_y"]
    with watched(ssm, names) as plain:
        ssm(x)
    with ssm.at_handover(7, lambda h: torch.zeros_like(h)), watched(ssm, names) as seen:
        ssm(x)
    place = int((steps == 7).nonzero()) + 1
    before, after = steps[:place], steps[place:]
    h = seen["hook_h"]
    assert torch.allclose(h[..., before], plain["hook_h"][..., before], atol=1e-6)
    assert not torch.allclose(h[..., after[0]], plain["hook_h"][..., after[0]], atol=1e-3)
    read = torch.einsum("bdnt,bnt->bdt", h, seen["hook_C"]) + ssm.D[:, None] * seen["hook_u"]
    assert torch.allclose(read, seen["hook_y"], atol=1e-5)
    assert torch.allclose(seen["hook_h_over_states"], h.norm(dim=2), atol=1e-5)
    assert torch.allclose(seen["hook_h_over_channels"], h.norm(dim=1), atol=1e-5)


def test_gradients_flow_through_a_state_that_is_handed_on():
    ssm, x, _ = build("spatiotemporal", batch=1)
    x.requires_grad_()
    state = torch.randn(1, *ssm.A.shape, requires_grad=True)
    with ssm.at_handover(4, lambda h: h + state):
        ssm(x)[..., 0].sum().backward()
    assert x.grad[..., 7:].abs().max() > 0 and state.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("token", "given", "message"),
    [
        *(
            (token, None, rf"after token {token}, but there are only 12 tokens, 0 to 11\.")
            for token in (12, -13, 99)
        ),
        (3, torch.zeros(1, 3), r"by \(1, 3\), expected .*\(batch, d_inner, d_state\) = \(2, 64, "),
        (3, 0.0, r"by float, expected a tensor \(batch, d_inner, d_state\) = \(2, 64, "),
    ],
    ids=str,
)
def test_a_token_or_a_state_that_is_none_is_refused_when_the_scan_runs(token, given, message):
    ssm, x, _ = build(None)
    with ssm.at_handover(token, lambda h: given), pytest.raises(ValueError, match=message):
        ssm(x)
    assert not ssm.handovers


def test_states_cannot_be_edited_in_both_ways_at_once():
    ssm, x, _ = build(None, batch=1)
    with ssm.at_handover(3, lambda h: 0 * h), attached(ssm, [("hook_h", lambda h, p: 0 * h)]):
        with pytest.raises(ValueError, match="hook_h cannot be edited while states are read or"):
            ssm(x)
