import copy

import pytest
import torch

from tests.vmamba_explore.toys import clips_for, toy
from vmamba_explore.analysis.controls import controls
from vmamba_explore.model.checkpoints import load_model
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.interventions import mute
from vmamba_explore.training.fit import TrainingLoss
from vmamba_explore.training.recipe import Recipe
from vmamba_explore.training.start import with_classes


@pytest.mark.parametrize("cls_position", ["front", "middle", None])
@pytest.mark.parametrize("merge", ["sum", "mean"])
def test_every_class_token_and_merge_gives_logits_and_gradients(cls_position, merge):
    model = toy(cls_position=cls_position, direction_merge=merge)
    logits = model(torch.randn(3, 3, 4, 32, 32))
    assert logits.shape == (3, 5)
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("order", ["spatiotemporal", "spatial", "temporal", None])
def test_every_backward_order_gives_its_own_logits(order):
    state = toy(backward_order="spatiotemporal").state_dict()

    def logits(order):
        model = toy(backward_order=order)
        model.load_state_dict({k: v for k, v in state.items() if k in model.state_dict()})
        return model(clips_for(model))

    for other in {"spatiotemporal", "spatial", "temporal", None} - {order}:
        assert not torch.allclose(logits(order), logits(other), atol=1e-4)


def test_a_clip_gives_the_same_logits_in_any_batch():
    model = toy()
    clips = torch.randn(3, 3, 4, 32, 32)
    assert torch.allclose(model(clips)[1:2], model(clips[1:2]), atol=1e-6)


def test_tokens_are_time_major_and_carry_their_position():
    model = toy(pos_embed="spatial_temporal", num_frames=4, tubelet_size=1)
    with torch.no_grad():
        model.patch_embed.proj.weight.zero_()
        model.temporal_pos_embedding.copy_(torch.arange(4.0).view(1, 4, 1).expand(1, 4, 32) * 100)
        model.pos_embed.copy_(torch.arange(5.0).view(1, 5, 1).expand(1, 5, 32))
        model.cls_token.fill_(-1)
    tokens = model.tokens(torch.randn(1, 3, 4, 32, 32))
    wanted = [-1.0] + [100.0 * f + p for f in range(4) for p in (1, 2, 3, 4)]
    assert tokens[0, :, 0].tolist() == wanted


def test_a_middle_class_token_takes_the_middle_row_of_the_table():
    config = VideoMambaConfig.preset("vim_small", d_model=32, depth=1, img_size=48)
    model = VideoMamba(config)
    with torch.no_grad():
        model.patch_embed.proj.weight.zero_()
        model.pos_embed.copy_(torch.arange(10.0).view(1, 10, 1).expand(1, 10, 32))
        model.cls_token.fill_(0)
    tokens = model.tokens(torch.randn(1, 3, 1, 48, 48))
    assert tokens[0, :, 0].tolist() == list(range(10))


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        (torch.zeros(1, 3, 4, 32, 32, dtype=torch.uint8), r"clips is torch.uint8.*Clip.tensor\(\)"),
        (torch.zeros(3, 4, 32, 32), r"clips has 4 axes.*clip.tensor\(\).unsqueeze\(0\)"),
        (torch.zeros(1, 1, 4, 32, 32), "channels 1, this model expects 3"),
        (torch.zeros(1, 3, 8, 32, 32), "num_frames 8, this model expects 4"),
        (torch.zeros(1, 3, 4, 32, 64), "width 64, this model expects 32"),
    ],
)
def test_clips_that_the_model_does_not_read_are_refused_by_axis(clips, message, unchecked):
    with pytest.raises(ValueError, match=message):
        toy()(clips)


def test_what_is_not_a_tensor_is_refused_with_the_call_that_makes_one(unchecked):
    message = r"clips is a str, expected a tensor .*clip.tensor\(\).unsqueeze\(0\)"
    for read in (toy(), toy().embed, toy().frame_features):
        with pytest.raises(TypeError, match=message):
            read("a.mp4")


def test_bfloat16_weights_agree_with_float32_to_their_precision():
    model, clips = toy(), torch.randn(2, 3, 4, 32, 32)
    wanted = model(clips)
    got = model.bfloat16()(clips).float()
    assert (got - wanted).abs().max() < 0.05 * wanted.abs().max()


# Only some of the tokens


def fed_only(model, clips, kept):
    """Logits of a model that never had the other tokens: each scan reads its own short list."""
    grid, config = model.grid, model.config
    residual = model.tokens(clips)[:, kept]
    orders = {}
    if config.backward_order is not None:
        place = {token: i for i, token in enumerate(kept)}
        read = grid.backward_indices(config.backward_order).tolist()
        orders["backward"] = torch.tensor([place[t] for t in read if t in place])
    for block in model.layers:
        mixer, hidden = block.mixer, block.norm(residual)
        x, z = mixer.in_proj(hidden).mT.chunk(2, dim=1)
        y = 0
        for direction, ssm in mixer.directions.items():
            order = orders.get(direction, torch.arange(len(kept)))
            forward = copy.deepcopy(ssm)  # reads what it is given, first to last
            forward.reverse, forward.full_order = False, None
            y = y + forward(x[..., order])[..., order.argsort()]
        y = y * torch.nn.functional.silu(z) * mixer.scale
        residual = residual + mixer.out_proj(y.mT)
    if grid.cls_index is None:
        return model.head(model.norm_f(residual).mean(dim=1))
    return model.head(model.norm_f(residual[:, kept.index(grid.cls_index)]))


@pytest.mark.parametrize("order", ["spatiotemporal", "spatial", "temporal", None])
@pytest.mark.parametrize("cls_position", ["front", "middle", None])
def test_dropped_tokens_are_met_by_no_block(order, cls_position):
    if cls_position == "middle" and order in ("spatial", "temporal"):
        return  # not defined
    model = toy(backward_order=order, cls_position=cls_position, num_frames=8, tubelet_size=2)
    clips = torch.randn(2, 3, 8, 32, 32)
    dropped = {2, 5, 6, 11, 16}
    kept = [t for t in range(model.grid.seqlen) if t not in dropped]
    with torch.no_grad():
        plain = model(clips)
        with model.only_tokens(kept):
            logits = model(clips)
            assert model.encode(clips).shape[1] == len(kept)
        assert torch.allclose(logits, fed_only(model, clips, kept), atol=1e-5)
        blind = order is None and cls_position == "front"  # the class token reads nothing then
        assert torch.allclose(logits, plain, atol=1e-4) == blind
        assert torch.equal(model(clips), plain)
        with model.only_tokens(range(model.grid.seqlen)):
            assert torch.allclose(model(clips), plain, atol=1e-6)


def test_tokens_may_be_named_in_any_order_and_more_than_once():
    model, clips = toy(), torch.randn(1, 3, 4, 32, 32)
    with model.only_tokens([0, 3, 4, 7]):
        wanted = model(clips)
    with model.only_tokens(torch.tensor([7, 4, 0, 3, 3])):
        assert torch.equal(model(clips), wanted)


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ([], r"got 0 tokens, expected at least one of 0 to 8\."),
        ([0, 9], r"only_tokens: there is no token 9; there are 9, 0 to 8\."),
        ([-1, 0], "only_tokens: there is no token -1"),
        ([1, 2], "the class token, index 0, is what the logits are read from and must be kept"),
    ],
)
def test_tokens_that_cannot_be_kept_get_their_sentence(kept, message):
    model = toy()
    with pytest.raises(ValueError, match=message), model.only_tokens(kept):
        raise AssertionError
    assert model.kept_tokens is None


def test_nested_blocks_drop_what_either_drops():
    model, clips = toy(backward_order="spatial"), torch.randn(1, 3, 4, 32, 32)
    with model.only_tokens([0, 3, 7]):
        wanted = model(clips)
    with model.only_tokens([0, 1, 3, 7]), model.only_tokens([0, 2, 3, 7]):
        assert torch.equal(model(clips), wanted)


def test_constant_weights_are_the_same_memory_and_the_model_stays_as_it_is():
    model, clips = toy().train(), torch.randn(1, 3, 4, 32, 32)
    other = model.with_constant_weights()
    assert not other.training and not any(p.requires_grad for p in other.parameters())
    assert model.training and all(p.requires_grad for p in model.parameters())
    ours, theirs = (dict(m.state_dict(keep_vars=True)) for m in (model, other))
    assert {k: v.data_ptr() for k, v in ours.items()} == {
        k: v.data_ptr() for k, v in theirs.items()
    }
    with model.only_tokens([0, 3, 7]):  # edits of one are edits of the other
        assert torch.equal(other(clips), model(clips))
    other.register_forward_hook(lambda *_: 1 / 0)
    model(clips)


# Encoders: models without a head

POOLED = [{}, {"cls_position": None}, {"cls_position": "every_frame"}, {"pool_norm": True}]


@pytest.mark.parametrize("changes", POOLED, ids=str)
def test_a_model_without_its_head_gives_what_the_head_reads(changes):
    model = toy(**changes)
    clips = clips_for(model)
    encoder = model.encoder()
    with torch.no_grad():
        features = model.embed(clips)
        assert features.shape == (2, 32)
        assert torch.equal(encoder(clips), features) and torch.equal(encoder.embed(clips), features)
        assert torch.equal(model.head(features), model(clips))
    assert encoder.is_encoder and not model.is_encoder
    assert encoder.config.num_classes == 0 and model.config.num_classes == 5
    assert encoder.norm_f.weight is model.norm_f.weight


def test_a_hook_attached_to_a_model_is_attached_to_its_encoder():
    model = toy()
    clips = clips_for(model)
    encoder = model.encoder()
    plain = encoder(clips)
    with mute(model, "backward"):
        assert not torch.equal(encoder(clips), plain)
        assert torch.equal(encoder(clips), model.embed(clips))
    assert torch.equal(encoder(clips), plain)


@pytest.mark.parametrize("changes", POOLED, ids=str)
def test_features_of_frames_are_those_of_their_own_tokens(changes):
    model = toy(num_frames=6, **changes)
    if model.pool_norm is not None:
        torch.nn.init.normal_(model.pool_norm.weight)
    clips = clips_for(model)
    with torch.no_grad():
        found, residual = model.frame_features(clips), model.encode(clips)
        normed = model.norm_f(residual)
        assert found.shape == (2, 3, 32)
        for frame in range(3):
            of_frame = model.grid.frame_of_tokens() == frame
            if changes.get("cls_position") == "every_frame":
                wanted = normed[:, model.grid.cls_indices[frame]]
            elif model.pool_norm is not None:
                wanted = model.pool_norm(normed[:, 0] + normed[:, of_frame].mean(1))
            else:
                wanted = normed[:, of_frame].mean(1)
            assert torch.allclose(found[:, frame], wanted, atol=1e-6)
        if changes.get("cls_position", "front") in (None, "every_frame"):
            assert torch.allclose(found.mean(1), model.embed(clips), atol=1e-6)
        with model.only_tokens(range(5)), pytest.raises(ValueError, match="frame_features: tokens"):
            model.frame_features(clips)


def test_an_encoder_is_saved_and_loaded_as_one_and_gets_a_head_for_training(tmp_path):
    encoder = toy(num_classes=0, pool_norm=True, text_dim=7)
    encoder.save_pretrained(tmp_path)
    assert "embed(" in (tmp_path / "README.md").read_text()
    again = load_model(tmp_path)
    clips = clips_for(again)
    assert torch.equal(again(clips), encoder(clips)) and again.config == encoder.config
    larger = load_model(tmp_path, num_frames=8)
    assert larger(clips_for(larger)).shape == (2, 32)
    classifier = with_classes(encoder, ["a", "b"])
    assert classifier(clips).shape == (2, 2)
    assert torch.equal(classifier.embed(clips), encoder(clips))


@pytest.mark.parametrize(
    "call",
    [
        lambda model, clips: model.predict(clips[0]),
        lambda model, clips: controls(model, clips[0]),
        lambda model, clips: TrainingLoss(model, Recipe()),
    ],
)
def test_what_needs_a_head_says_that_it_is_missing(call):
    model = toy(num_classes=0)
    with pytest.raises(ValueError, match=r"encoder, without the head \(head.weight\).*embed"):
        call(model, clips_for(model))


def test_a_text_is_a_direction_that_gives_the_dot_product_but_for_a_constant():
    model = toy(num_classes=0, pool_norm=True, text_dim=7)
    torch.nn.init.normal_(model.vision_proj.bias)
    text, features = torch.randn(3, 7), model.embed(clips_for(model))
    shared = model.vision_proj(features) @ text.T
    found = features @ model.text_direction(text).T
    constant = text @ model.vision_proj.bias
    assert torch.allclose(found + constant, shared, atol=1e-5)
    with pytest.raises(ValueError, match=r"is \(3, 6\), expected 7 numbers"):
        model.text_direction(text[:, 1:])
    with pytest.raises(ValueError, match="shares no space|no projection into a space"):
        toy(num_classes=0).text_direction(text)


def test_one_of_several_class_tokens_is_enough_to_read_from():
    model = toy(cls_position="every_frame", num_frames=6)  # 3 frames of 5 tokens
    clips = clips_for(model)
    with torch.no_grad(), model.only_tokens(range(5, 15)):
        residual = model.encode(clips)
        wanted = model.head(model.norm_f(residual[:, [2, 7]]).mean(1))
        assert torch.allclose(model(clips), wanted, atol=1e-6)
    with pytest.raises(ValueError, match="class tokens, indices 2, 7, 12, are .* at least one"):
        with model.only_tokens([0, 1, 5]):
            pass
