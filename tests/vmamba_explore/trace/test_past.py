"""What crosses a frame boundary, and what follows from another past."""

import pytest
import torch

from tests.vmamba_explore.trace.toys import clips, each_kind, toy
from vmamba_explore.trace.past import record_past, reset_state, swap_state, transplant
from vmamba_explore.trace.record import run_with_hooks, run_with_trace


@each_kind
def test_a_past_holds_the_recorded_states_and_the_inputs_of_the_last_convolutions(changes):
    model = toy(**changes)
    past = record_past(model, clips())
    _, trace = run_with_trace(model, clips(), ["*.hook_h", "*.hook_x"])
    assert past.frames == (1, 2, 3) and past.batch == 2
    for (layer, direction, frame), state in past.states.items():
        ssm = trace.ssm(layer, direction)
        h = trace[f"layers.{layer}.mixer.ssm_{direction}.hook_h"]
        steps = ssm.steps(model.grid.seqlen)
        by_step = h[..., steps]
        same = [(by_step[..., s] - state).abs().max() < 1e-6 for s in range(len(steps))]
        (step,) = [s for s, equal in enumerate(same) if equal]
        x = trace[f"layers.{layer}.mixer.hook_x"][..., steps]
        assert torch.equal(past.tails[layer, direction, frame], x[..., step - 2 : step + 1])


@each_kind
def test_a_run_that_gets_its_own_past_stays_as_it_was(changes):
    model = toy(**changes)
    plain, past = model(clips()), record_past(model, clips())
    for frame in (1, 2, 3, [3, 1]):
        with transplant(model, past, frame):
            assert torch.allclose(model(clips()), plain, atol=1e-6)
        with swap_state(model, frame, past):
            assert torch.allclose(model(clips()), plain, atol=1e-6)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
@pytest.mark.parametrize("cls_position", ["front", "middle", None])
@pytest.mark.parametrize("frame", [1, 2, 3])
def test_a_forward_model_with_another_past_is_the_model_on_the_spliced_clip(
    frame, cls_position, dtype, atol
):
    """From the boundary on every token has what it has in the spliced clip; h alone is not enough.

    Where the class token stands in the middle it is read before boundary 2 is crossed.
    """
    model = toy(backward_order=None, cls_position=cls_position).to(dtype)
    own, other = clips(seed=1).to(dtype), clips(seed=2).to(dtype)
    spliced = torch.cat([other[:, :, : 2 * frame], own[:, :, 2 * frame :]], dim=2)
    past = record_past(model, other)
    after = slice(model.grid.index(frame, 0, 0), None)
    wanted = model.encode(spliced)[:, after]
    with transplant(model, past, frame):
        assert torch.allclose(model.encode(own)[:, after], wanted, atol=atol)
    with swap_state(model, frame, past):
        assert not torch.allclose(model.encode(own)[:, after], wanted, atol=1e-3)
    assert not torch.allclose(model.encode(own)[:, after], wanted, atol=1e-3)


def test_each_clip_of_a_batch_may_have_a_boundary_of_its_own():
    model = toy()
    past = record_past(model, clips(3, seed=2))
    with transplant(model, past, [1, 3, 1]):
        together = model(clips(3))
    for clip, frame in enumerate([1, 3, 1]):
        with transplant(model, past.take([clip]), frame):
            alone = model(clips(3)[clip : clip + 1])
        assert torch.allclose(together[clip : clip + 1], alone, atol=1e-6)


def test_a_past_of_one_clip_serves_a_whole_batch():
    model = toy()
    past = record_past(model, clips(1, seed=2))
    with transplant(model, past, 2):
        one = model(clips())
    with transplant(model, past.take([0, 0]), 2):
        assert torch.equal(model(clips()), one)


def test_a_reset_is_a_swap_with_a_state_of_zero():
    model = toy()
    nothing = torch.zeros(1, 64, 4)
    for direction in ("forward", "backward", None):
        with swap_state(model, 2, nothing, direction=direction):
            wanted = model(clips())
        with reset_state(model, 2, direction=direction):
            assert torch.equal(model(clips()), wanted)


def test_after_a_reset_of_everything_the_state_before_it_is_unknown():
    """y after the boundary is the same whatever stands before it, up to the convolution's reach."""
    model = toy(backward_order=None, depth=1)
    other = clips().clone()
    other[:, :, :4] += 1
    name = "layers.0.mixer.ssm_forward.hook_y"
    reach = model.grid.index(2, 0, 0) + 3
    # B, C and u of the first three tokens still saw the past, and wrote it into the state
    fed = "layers.0.mixer.ssm_forward.hook_u"
    u = [run_with_trace(model, x, fed)[1][fed] for x in (clips(), other)]
    assert torch.allclose(u[0][..., reach:], u[1][..., reach:], atol=1e-6)
    # a convolution that looks at the present token only
    model.layers[0].mixer.ssm_forward.conv1d.weight[..., :-1] = 0
    with reset_state(model, 2):
        first, second = (run_with_trace(model, x, name)[1][name] for x in (clips(), other))
    assert torch.allclose(first[..., reach - 3 :], second[..., reach - 3 :], atol=1e-6)
    assert not torch.allclose(first[..., 1:reach], second[..., 1:reach], atol=1e-3)


@pytest.mark.parametrize("backward_order", [None, "spatiotemporal", "spatial", "temporal"])
def test_with_its_tail_a_reset_makes_two_clips_of_one(backward_order):
    """Each side is bit for bit what the model says of its tokens alone; the state is not enough."""
    model = toy(backward_order=backward_order, cls_position=None).double()
    x = clips().double()
    tokens = model.grid.rows * model.grid.cols
    for frame in (1, 2, 3):
        sides = range(frame * tokens), range(frame * tokens, model.grid.seqlen)
        alone = []
        for side in sides:
            with model.only_tokens(list(side)):
                alone.append(model.encode(x))
        with reset_state(model, frame, tail=True):
            cut = model.encode(x)
        with reset_state(model, frame):
            leaking = model.encode(x)
        upper = slice(frame * tokens, None)  # a model that only reads forward leaves the lower one
        assert torch.allclose(cut, torch.cat(alone, dim=1), atol=1e-13, rtol=0)
        assert not torch.allclose(leaking[:, upper], alone[1], atol=1e-4)


def test_what_a_reset_leaves_of_another_clip_is_its_convolution_tail():
    """Two pasts, one future: without tails the future cannot tell them apart."""
    model = toy(backward_order=None)
    other = torch.cat([clips(seed=2)[:, :, :4], clips()[:, :, 4:]], dim=2)
    after = slice(model.grid.index(2, 0, 0), None)
    for tail, forgets in ((True, True), (False, False)):
        with reset_state(model, 2, tail=tail):
            first, second = (model.encode(each)[:, after] for each in (clips(), other))
        assert torch.equal(first, second) == forgets


def test_each_clip_of_a_batch_loses_its_tail_at_a_boundary_of_its_own():
    model = toy()
    with reset_state(model, [1, 3], tail=True, direction="backward", layers=[0]):
        together = model(clips())
    for clip, frame in enumerate([1, 3]):
        with reset_state(model, frame, tail=True, direction="backward", layers=0):
            alone = model(clips()[clip : clip + 1])
        assert torch.allclose(together[clip : clip + 1], alone, atol=1e-6)


@each_kind
def test_surgery_at_one_boundary_leaves_what_was_read_before_it(changes):
    model = toy(**changes)
    past = record_past(model, clips(seed=2))
    for direction in model.config.directions:
        name = f"layers.0.mixer.ssm_{direction}.hook_y"
        _, plain = run_with_trace(model, clips(), name)
        with transplant(model, past, 2, direction=direction):
            _, changed = run_with_trace(model, clips(), name)
        ssm = plain.ssm(0, direction)
        same = (plain[name] == changed[name]).flatten(0, 1).all(0)[ssm.steps(model.grid.seqlen)]
        first = int((~same).nonzero()[0])
        assert same[:first].all() and not same[first]
        # the first token beyond the boundary sees the other past
        frames = [model.grid.position(t) for t in ssm.steps(model.grid.seqlen).tolist()]
        sides = [None if p is None else p[0] >= 2 for p in frames]
        video = [s for s, side in enumerate(sides) if side is not None]
        crossing = next(s for s in video if sides[s] != sides[video[0]])
        assert first == crossing


def test_a_state_of_another_shape_batch_or_boundary_gets_its_sentence():
    model = toy()
    past = record_past(model, clips(3), frames=[1])
    shape = r"state .* of shape \(3, 64, 4\), expected \(batch, d_inner, d_state\) = \(2, 64, 4\)"
    with pytest.raises(ValueError, match=shape), swap_state(model, 1, past):
        model(clips(2))
    tail = r"tail .* \(3, 64, 3\), expected \(batch, d_inner, d_conv - 1\) = \(2, 64, 3\)"
    with pytest.raises(ValueError, match=tail), transplant(model, past, 1):
        model(clips(2))
    state, wrong = torch.zeros(2, 4, 64), r"shape \(2, 4, 64\)"
    with pytest.raises(ValueError, match=wrong), swap_state(model, 1, state):
        model(clips(2))
    with pytest.raises(ValueError, match="holds no boundary 2 of layer 0, forward; it holds .* 1"):
        transplant(model, past, 2)
    many = "3 boundaries were given for a batch of 2 clips"
    with pytest.raises(ValueError, match=many), reset_state(model, [1, 2, 3]):
        model(clips(2))
    with pytest.raises(ValueError, match="no boundary before token frame 4"):
        record_past(model, clips(), frames=[4])


def test_a_boundary_is_found_among_the_tokens_of_the_run_in_any_order_of_blocks():
    model, kept = toy(), [0, 1, 2, 6, 7, 9, 10, 14, 15]
    past = record_past(model, clips(1, seed=2))
    for surgery in (lambda: reset_state(model, 2), lambda: transplant(model, past, 2)):
        with model.only_tokens(kept), surgery():
            wanted = model(clips())
        with surgery(), model.only_tokens(kept):
            assert torch.equal(model(clips()), wanted)


def test_gradients_reach_the_donor():
    model = toy()
    x = clips(1, seed=2).requires_grad_()
    with transplant(model, record_past(model, x), 2, direction="backward"):
        logits = run_with_hooks(model, clips(1), [])
    logits[0, 0].backward()
    assert x.grad[:, :, 4:].abs().max() > 0  # backward hands over frames 2 and 3
    assert x.grad[:, :, :4].abs().max() > 0  # which had seen the others in layer 0
