"""The read-out of a logit, and curves of truncated clips, against the model itself."""

import numpy as np
import pytest
import torch

from tests.vmamba_explore import toys
from tests.vmamba_explore.toys import KINDS, clips_for
from vmamba_explore.analysis.evidence import (
    EvidenceCurve,
    LogitReadout,
    held_frame_curve,
    logit_readout,
    prefix_curve,
    suffix_curve,
)
from vmamba_explore.analysis.logits import LogitParts, logit_parts
from vmamba_explore.clips.clip import Clip
from vmamba_explore.hooks import UnknownNameError
from vmamba_explore.tokens import TokenGrid
from vmamba_explore.trace.trace import TokenLabels

FRAMES = 3


def toy(**changes):
    def change(model):
        if model.head is not None:
            model.head.bias.normal_()
        if model.pool_norm is not None:
            model.pool_norm.bias.normal_()
            model.pool_norm.weight.uniform_(0.5, 1.5)
        model.norm_f.weight.uniform_(0.5, 1.5)

    return toys.toy(num_frames=2 * FRAMES, change=change, **changes)


def record(model, names=None):
    return toys.record(model, names or LogitReadout.names(model))


# ---------------------------------------------------------------- read-out


@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_the_read_out_sums_to_the_models_logit(changes):
    model = toy(**changes)
    trace = record(model)
    readout = logit_readout(trace, [3, 1], 0)
    residual = trace["layers.1.hook_block_input"] + trace["layers.1.mixer.hook_out"]
    total = torch.einsum("bct,btc->b", readout.q, residual) + readout.bias
    with torch.no_grad():
        logits = model(clips_for(model))
    wanted = logits[[0, 1], [3, 1]] - logits[:, 0]
    assert torch.allclose(total, wanted, atol=1e-5)
    assert torch.equal(readout.logit, wanted)
    assert readout.residual <= 1e-5


@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_only_the_token_that_is_read_has_weights(changes):
    model = toy(**changes)
    readout = logit_readout(record(model), 0)
    used = readout.q.abs().sum(1) > 0
    read = torch.tensor(model.grid.cls_indices)
    wanted = torch.isin(torch.arange(used.shape[1]), read)
    if not len(read) or model.config.pool_norm:
        wanted[:] = True
    assert torch.equal(used, wanted.expand_as(used))


@pytest.mark.parametrize(
    "changes", [*KINDS, {"cls_position": "middle", "pool_norm": True}], ids=str
)
def test_a_direction_over_an_encoders_features_is_read_out_like_a_class(changes):
    model = toy(num_classes=0, **changes)
    clips, direction = clips_for(model), torch.randn(2, 32)
    trace = record(model)
    readout = logit_readout(trace, direction)
    residual = trace["layers.1.hook_block_input"] + trace["layers.1.mixer.hook_out"]
    total = torch.einsum("bct,btc->b", readout.q, residual) + readout.bias
    with torch.no_grad():
        wanted = (model.embed(clips) * direction).sum(-1)
    assert torch.allclose(total, wanted, atol=1e-4) and readout.residual <= 1e-4
    less = logit_readout(trace, direction, np.ones(32, np.float32))
    with torch.no_grad():
        wanted = wanted - model(clips).sum(-1)
    assert torch.allclose(less.logit, wanted, atol=1e-4) and less.residual <= 1e-4
    parts = logit_parts(record(model, LogitParts.names(model)), direction, progress=False)
    assert parts.residual <= 1e-4
    for curve in (prefix_curve, suffix_curve, held_frame_curve):
        found = curve(model, clips, direction)
        assert torch.allclose(found.full, parts.logit, atol=1e-4)


def test_q_is_the_gradient_with_a_frozen_root_mean_square():
    model = toy(cls_position=None)
    trace = record(model)
    residual = trace["layers.1.hook_block_input"] + trace["layers.1.mixer.hook_out"]
    residual.requires_grad_()
    rms = (residual.square().mean(-1, keepdim=True) + model.config.norm_eps).sqrt().detach()
    logits = model.head((residual / rms * model.norm_f.weight).mean(1))
    (logits[:, 2] - logits[:, 4]).sum().backward()
    assert torch.allclose(logit_readout(trace, 2, 4).q, residual.grad.mT, atol=1e-7)


def test_at_mixer_reads_what_the_output_projection_writes():
    model = toy()
    trace = toys.record(model)
    readout = logit_readout(trace, 1)
    inner = torch.randn(2, model.config.d_inner, model.grid.seqlen)
    out = model.layers[0].mixer.out_proj(inner.mT)
    through = (readout.at_mixer(trace, 0) * inner).sum((1, 2))
    assert torch.allclose(through, torch.einsum("bct,btc->b", readout.q, out), atol=1e-5)
    with pytest.raises(ValueError, match="no layer 2; the model has 0 to 1"):
        readout.at_mixer(trace, 2)


def test_what_a_trace_lacks_and_a_class_that_does_not_exist_are_named():
    model = toy()
    with pytest.raises(UnknownNameError, match="lacks layers.1.mixer.hook_out. Record with"):
        logit_readout(toys.record(model, "layers.1.hook_block_input"), 0)
    with pytest.raises(ValueError, match="logit_readout: target is 5; this model's classes are 0"):
        logit_readout(record(model), 5)
    with pytest.raises(ValueError, match="prefix curve: minus is -1; this model's classes are 0"):
        prefix_curve(model, clips_for(model), 1, -1)


# ---------------------------------------------------------------- curves


@pytest.mark.parametrize("changes", KINDS, ids=str)
@pytest.mark.parametrize("curve", [prefix_curve, suffix_curve, held_frame_curve])
def test_a_curve_ends_in_the_logit_of_the_whole_clip(changes, curve):
    model = toy(**changes)
    clips = clips_for(model)
    with torch.no_grad():
        logits = model(clips)
    found = curve(model, clips, [3, 1], 2)
    assert found.values.shape == (2, FRAMES)
    assert torch.allclose(found.full, logits[[0, 1], [3, 1]] - logits[:, 2], atol=1e-6)


@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_what_a_curve_has_not_seen_yet_cannot_change_it(changes):
    model = toy(**changes)
    clips = clips_for(model)
    other = clips.clone()
    other[:, :, 2:4] = torch.randn_like(other[:, :, 2:4])  # token frame 1 of 3
    for curve, unseen in ((prefix_curve, 0), (suffix_curve, 2)):
        before, after = (curve(model, each, 0).values for each in (clips, other))
        assert torch.equal(before[:, unseen], after[:, unseen])
        assert not torch.allclose(before[:, 1], after[:, 1])


def test_a_prefix_is_a_shorter_model_on_a_shorter_clip():
    """Dropping the end is running a model of one frame, with the same weights, on that frame."""
    model = toy(cls_position=None)
    shorter = toys.toy(num_frames=2, cls_position=None)
    weights = model.state_dict()
    per_frame = model.grid.rows * model.grid.cols
    weights["pos_embed"] = weights["pos_embed"][:, :per_frame]
    shorter.load_state_dict(weights)
    clips = clips_for(model)
    with torch.no_grad():
        wanted = shorter(clips[:, :, :2])[:, 1]
    assert torch.allclose(prefix_curve(model, clips, 1).values[:, 0], wanted, atol=1e-6)


@pytest.mark.parametrize("kind", ["prefix", "suffix"])
def test_a_held_clip_stands_still_where_it_was_cut(kind):
    model = toy()
    clips = clips_for(model)
    still = clips.clone()
    if kind == "prefix":
        still[:, :, 4:] = clips[:, :, 3:4]
    else:
        still[:, :, :2] = clips[:, :, 2:3]
    with torch.no_grad():
        wanted = model(still)[:, 0]
    found = held_frame_curve(model, clips, 0, kind=kind)
    assert torch.allclose(found.values[:, 1], wanted, atol=1e-6)
    assert (found.kind, found.removal) == (kind, "held")


def parts(model, _, target, **how):
    return logit_parts(toys.record(model), target, **how)


@pytest.mark.parametrize("call", [prefix_curve, suffix_curve, parts])
def test_a_bar_is_drawn_unless_it_is_unwanted(call, capsys):
    model = toy()
    shown = call(model, clips_for(model), 1)
    assert capsys.readouterr().err
    quiet = call(model, clips_for(model), 1, progress=False)
    assert capsys.readouterr().err == ""
    assert torch.equal(shown.values, quiet.values)


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_kind_is_told_so():
    model = toy()
    with pytest.raises(ValueError, match="kind is 'middle', expected 'prefix' or 'suffix'"):
        held_frame_curve(model, clips_for(model), 0, kind="middle")


@pytest.mark.parametrize(
    ("kind", "values", "frame"),
    [
        ("prefix", [0.0, 1.0, 5.0, 9.0, 10.0], 2),
        ("prefix", [9.0, 0.0, 6.0, 4.0, 10.0], 4),  # passes, falls back, passes again
        ("prefix", [9.0, 8.0, 7.0, 6.0, 10.0], 0),
        ("prefix", [0.0, 0.0, 0.0, 0.0, 10.0], 4),
        ("prefix", [1.0, -3.0, -4.0], 1),  # a wrong clip, on its own side
        ("prefix", [1.0, 2.0, 0.0], np.nan),
        ("prefix", [1.0, 1.0, np.nan], np.nan),
        ("suffix", [10.0, 9.0, 5.0, 1.0, 0.0], 2),  # counts from the end
        ("suffix", [10.0, 4.0, 6.0, 0.0, 9.0], 0),
    ],
)
def test_half_crossing_is_where_a_curve_passes_half_for_good(kind, values, frame):
    labels = TokenLabels(TokenGrid(len(values), 1, 1), 2)
    curve = EvidenceCurve(torch.tensor([values]), kind, "dropped", labels)
    assert float(curve.half_crossing()) == pytest.approx(frame, nan_ok=True)


def test_an_array_carries_frames_and_seconds():
    model = toy()
    size = model.config.img_size
    frames = np.zeros((6, size, size, 3), np.uint8)
    clip = Clip(frames, np.arange(6) / 10, "made", np.arange(6))
    array = suffix_curve(model, clip, 0).array()
    assert array.dims == ("frame",) and array.attrs["unit"] == "logits"
    assert array["clip_frame"].values.tolist() == [0, 2, 4]
    assert array["seconds"].values.tolist() == pytest.approx([0.0, 0.2, 0.4])
    assert prefix_curve(model, clip.tensor()[None], 0).array()["seconds"].isnull().all()
