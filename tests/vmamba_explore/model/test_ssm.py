"""SelectiveSSM against a definition written out, in every order, and edited states."""

import pytest
import torch
from torch.nn import functional as F

from tests.vmamba_explore.toys import toy, watched
from vmamba_explore.hooks import attached, name_hooks
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.ssm import SelectiveSSM
from vmamba_kernels import selective_scan


def build(order, cls_position=None, batch=2, scan_variant="mamba"):
    """A direction with random decay and skip, its input, and the order in which it reads."""
    torch.manual_seed(3)
    config = VideoMambaConfig.preset(
        "toy", num_frames=6, img_size=32, backward_order=order, cls_position=cls_position,
        scan_variant=scan_variant,
    )  # fmt: skip
    ssm = SelectiveSSM(config, "backward" if order else "forward")
    torch.nn.init.normal_(ssm.A_log, std=0.5)
    torch.nn.init.normal_(ssm.D)
    name_hooks(ssm)
    grid = config.grid
    indices = grid.backward_indices(order) if order else torch.arange(grid.seqlen)
    return ssm, torch.randn(batch, config.d_inner, grid.seqlen), indices


def definition(ssm, x, order, change=lambda write, token: write):
    """y and h of one direction by the docstring's formulas, token by token, in scan order.

    `change(write, token)` is written in place of what the model writes.
    """
    x = x[..., order]
    padded = F.pad(x, (ssm.conv1d.kernel_size[0] - 1, 0))
    u = F.silu(F.conv1d(padded, ssm.conv1d.weight, ssm.conv1d.bias, groups=x.shape[1]))
    dt, B, C = ssm.x_proj(u.mT).split(ssm.split_sizes, -1)
    delta = F.softplus(ssm.dt_proj(dt)).mT
    A = -torch.exp(ssm.A_log)
    h, ys, hs = x.new_zeros(x.shape[0], *A.shape), [], []
    for t in range(x.shape[-1]):
        step = delta[..., t, None]
        write = change(step * B[:, t, None, :] * u[..., t, None], int(order[t]))
        h = torch.exp(step * A) * h + write
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


# Edited writes


@pytest.mark.parametrize("order", [None, "spatiotemporal", "spatial", "temporal"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@torch.no_grad()
def test_an_edited_write_is_carried_on_by_the_recurrence(order, dtype):
    ssm, x, indices = build(order, "front")
    ssm, x = ssm.to(dtype), x.to(dtype)
    noise, edited = torch.randn(*ssm.A.shape, dtype=dtype), [int(indices[2]), int(indices[5])]

    def change(write, token):
        return write * 0.3 + noise if token in edited else write

    def edit(write, point):
        return torch.stack([change(w, t) for t, w in enumerate(write.unbind(-1))], -1)

    plain = ssm(x)
    names = ["hook_h", "hook_h_over_states", "hook_h_over_channels"]
    with attached(ssm, [("hook_write", edit)]):
        y = ssm(x)
        with watched(ssm, names) as seen:
            assert torch.equal(ssm(x), y)
    wanted, states = definition(ssm, x, indices, change)
    size = 1e-12 if dtype == torch.float64 else 1e-5
    assert (y - wanted).abs().max() < size * wanted.abs().max()
    assert (seen["hook_h"] - states).abs().max() < size * states.abs().max()
    assert torch.allclose(seen["hook_h_over_states"], states.norm(dim=2), rtol=10 * size)
    assert torch.allclose(seen["hook_h_over_channels"], states.norm(dim=1), rtol=10 * size)
    assert torch.equal(y[..., indices[:2]], plain[..., indices[:2]])  # what was read before
    assert (y[..., indices[2:]] != plain[..., indices[2:]]).flatten(0, 1).any(0).all()


@torch.no_grad()
def test_a_write_is_delta_b_u_and_reading_it_changes_no_bit():
    ssm, x, _ = build("spatial")
    plain = ssm(x)
    for function in (lambda v, p: None, lambda v, p: v, lambda v, p: v.clone()):
        with attached(ssm, [("hook_write", function)]):
            assert torch.equal(ssm(x), plain)
    with watched(ssm, ["hook_write"]) as seen:
        ssm(x)
    u, delta, B, _ = record(ssm, x)
    assert torch.allclose(seen["hook_write"], torch.einsum("bdt,bnt->bdnt", delta * u, B))


@torch.no_grad()
def test_without_writes_only_the_skip_is_left_and_other_clips_keep_their_bits():
    ssm, x, _ = build("spatiotemporal")
    plain = ssm(x)
    with attached(
        ssm, [("hook_write", lambda w, p: w * torch.tensor([0.0, 1])[:, None, None, None])]
    ):
        y = ssm(x)
    assert torch.allclose(y[0], (ssm.D[:, None] * record(ssm, x)[0])[0], atol=1e-5)
    assert torch.equal(y[1], plain[1])


@torch.no_grad()
def test_a_write_can_be_put_where_the_step_is_zero():
    """As where a state is frozen: nothing is written or forgotten there by the model itself."""
    ssm, x, indices = build(None, batch=1)
    mask = torch.ones(len(indices))
    mask[3] = 0

    def put(write, point):
        assert not write[..., 3].any()
        write = write.clone()
        write[..., 3] = 2.0
        return write

    with attached(ssm, [("hook_delta", lambda d, p: d * mask), ("hook_write", put)]):
        with watched(ssm, ["hook_h"]) as seen:
            ssm(x)
    h = seen["hook_h"]
    assert torch.allclose(h[..., 3], h[..., 2] + 2, atol=1e-6)


def test_gradients_flow_through_an_edited_write():
    """In float64 they are those of the recurrence, for the input and for what is put in."""
    ssm, x, indices = build("spatiotemporal", batch=1)
    ssm, x = ssm.double(), x.double()
    put = torch.randn(*ssm.A.shape, dtype=torch.float64)
    found = []
    for by_hand in (False, True):
        leaves = [x.clone().requires_grad_(), put.clone().requires_grad_()]

        def change(write, token, put=leaves[1]):
            return 0.5 * write + put if token == 4 else write

        def edit(write, point, change=change):
            return torch.stack([change(w, t) for t, w in enumerate(write.unbind(-1))], -1)

        if by_hand:
            with attached(ssm, [("hook_write", edit)]):
                y = ssm(leaves[0])
        else:
            y = definition(ssm, leaves[0], indices, change)[0]
        found.append(torch.autograd.grad(y[..., :3].square().sum(), leaves))
    for one, other in zip(*found, strict=True):
        assert one.abs().max() > 0
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("other", ["hook_h", "handover"])
def test_writes_are_not_edited_beside_states(other):
    ssm, x, _ = build(None, batch=1)
    if other == "hook_h":
        block = attached(ssm, [("hook_h", lambda h, p: 0 * h)])
    else:
        block = ssm.at_handover(3, lambda h: None)
    with block, attached(ssm, [("hook_write", lambda w, p: 0 * w)]):
        with pytest.raises(ValueError, match="cannot be edited while"):
            ssm(x)


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


# VideoMambaPro


def pro(ssm, x, order, edits=(), handovers=(), writes=()):
    """y and h of a VideoMambaPro's direction, token by token, in scan order.

    Args:
        edits: By step what is added to the state that is read and handed on.
        handovers: By step the state that is handed on in place of the token's own.
        writes: By step what is added to what the token writes.
    """
    edits, handovers, writes = dict(edits), dict(handovers), dict(writes)
    u, delta, B, C = (value[..., order] for value in record(ssm, x))
    A, ys, hs = -torch.exp(ssm.A_log), [], []
    h = u[..., :1].expand(-1, -1, A.shape[1])
    for t in range(x.shape[-1]):
        step = delta[..., t, None]
        own = step * B[:, None, :, t] * u[..., t, None] + writes.get(t, 0)
        h = torch.exp(step * A) * h + own + edits.get(t, 0)
        read = h
        if ssm.leaves_out_own:
            read = torch.zeros_like(h) if t == 0 else h - own
        hs.append(h)
        ys.append((read * C[:, None, :, t]).sum(-1) + ssm.D * u[..., t])
        h = handovers.get(t, h)
    inverse = order.argsort()
    return torch.stack(ys, -1)[..., inverse], torch.stack(hs, -1)[..., inverse]


@pytest.mark.parametrize("cls_position", [None, "front"])
@pytest.mark.parametrize("order", [None, "spatiotemporal", "spatial", "temporal"])
def test_a_videomambapro_starts_from_its_first_u_and_leaves_out_what_is_written(
    order, cls_position
):
    ssm, x, indices = build(order, cls_position, scan_variant="videomambapro")
    with watched(ssm, ["hook_h"]) as seen:
        y = ssm(x)
    wanted_y, wanted_h = pro(ssm, x, indices)
    assert torch.allclose(y, wanted_y, atol=2e-5)
    assert torch.allclose(seen["hook_h"], wanted_h, atol=2e-5)
    assert torch.equal(ssm(x), y)  # looked at or not
    assert not torch.allclose(y, definition(ssm, x, indices)[0], atol=1e-2)


@pytest.mark.parametrize("order", [None, "spatiotemporal", "temporal"])
def test_states_of_a_videomambapro_are_edited_and_handed_on_like_others(order):
    ssm, x, indices = build(order, scan_variant="videomambapro")
    shape = (*x.shape[:2], ssm.A_log.shape[1])
    change, other = torch.randn(2, *shape)
    for step in (0, 5):
        token = int(indices[step])

        def edit(h, point, token=token):
            h = h.clone()
            h[..., token] += change
            return h

        with attached(ssm, [("hook_h", edit)]):
            y = ssm(x)
        assert torch.allclose(y, pro(ssm, x, indices, edits=[(step, change)])[0], atol=2e-5)
        with ssm.at_handover(token, lambda state: other):
            y = ssm(x)
        assert torch.allclose(y, pro(ssm, x, indices, handovers=[(step, other)])[0], atol=2e-5)
        with attached(ssm, [("hook_write", edit)]), watched(ssm, ["hook_h"]) as seen:
            y = ssm(x)
        wanted_y, wanted_h = pro(ssm, x, indices, writes=[(step, change)])
        assert torch.allclose(y, wanted_y, atol=2e-5)
        assert torch.allclose(seen["hook_h"], wanted_h, atol=2e-5)


def test_the_first_token_of_a_videomambapro_is_the_first_that_is_kept():
    model = toy(scan_variant="videomambapro", cls_position=None)
    clips = torch.randn(1, 3, 4, 32, 32)
    ssm, at = model.layers[0].mixer.ssm_backward, "layers.0.mixer.ssm_backward.hook_"
    with model.only_tokens(range(1, 6)), watched(model, [f"{at}{q}" for q in "uBh"]) as seen:
        with watched(model, [f"{at}delta"]) as steps:
            model(clips)
    u, B, h = (seen[f"{at}{q}"][..., -1] for q in "uBh")  # of token 5, which is read first
    delta = steps[f"{at}delta"][..., -1, None]
    wanted = torch.exp(delta * ssm.A) * u[..., None] + delta * B[:, None] * u[..., None]
    assert torch.allclose(h, wanted, atol=2e-5)


def test_a_videomambapro_in_half_precision_rounds_its_output_only():
    model = toy(scan_variant="videomambapro")
    clips = torch.randn(2, 3, 4, 32, 32)
    wanted = model(clips)
    found = model.bfloat16()(clips).float()
    assert (found - wanted).abs().max() < 0.05 * wanted.abs().max()
