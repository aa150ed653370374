"""The parts of a logit: their sum, where each comes from, and their order along a scan."""

import pytest
import torch

from tests.vmamba_explore import toys
from tests.vmamba_explore.toys import KINDS, clips_for
from vmamba_explore import load_model
from vmamba_explore.analysis.logits import LogitParts, logit_parts
from vmamba_explore.analysis.scan_operator import ScanOperator
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.hooks import UnknownNameError
from vmamba_explore.trace.record import matching_names, run_with_hooks, run_with_trace


def toy(double=False, **changes):
    def change(model):
        model.head.weight.normal_()
        model.head.bias.normal_()
        for layer in model.layers:
            for ssm in layer.mixer.directions.values():
                ssm.conv1d.bias.normal_()

    dtype = torch.float64 if double else torch.float32
    return toys.toy(dtype=dtype, num_frames=6, change=change, **changes)


def split(model, target=1, minus=None):
    with torch.no_grad():
        logits, trace = run_with_trace(model, clips_for(model), LogitParts.names(model))
        return logits, trace, logit_parts(trace, target, minus)


@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_the_parts_sum_to_the_logit(changes):
    logits, _, parts = split(toy(**changes), [1, 4], 2)
    wanted = logits[[0, 1], [1, 4]] - logits[:, 2]
    by_source = parts.values.sum((1, 2, 3)) + parts.embedding.sum(1) + parts.bias
    assert torch.allclose(by_source, wanted, rtol=1e-5, atol=1e-5)
    assert parts.residual <= 1e-5


@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_in_float64_only_rounding_is_left(changes):
    _, _, parts = split(toy(double=True, **changes))
    assert parts.residual <= 1e-12


def test_the_bundled_models_parts_sum_to_its_logit():
    model, clip = load_model("motion-nano"), MotionClips(3, backgrounds="test")[0]
    with torch.no_grad():
        _, trace = run_with_trace(model, clip.clip, LogitParts.names(model))
        parts = logit_parts(trace, clip.label, clip.label ^ 1)
    assert parts.residual <= 1e-5
    assert parts.logit.abs() > 1, "a logit near zero would make a relative residual meaningless"


@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_axes_and_sources_are_those_of_the_model(changes):
    model = toy(**changes)
    _, trace, parts = split(model)
    cls = ["cls"] if model.grid.cls_index is not None else []
    assert list(parts.sources) == [0, 1, 2, *cls, "offset"]
    assert parts.directions == model.config.directions
    assert parts.values.shape == (2, 2, len(parts.directions), len(parts.sources))
    array = parts.array(1)
    assert array.dims == ("layer", "direction", "source")
    assert array["source"].values.tolist() == [str(source) for source in parts.sources]
    assert array.attrs["logit"] == pytest.approx(float(parts.logit[1]))
    total = float(array.sum()) + sum(array.attrs["embedding"]) + array.attrs["bias"]
    assert total == pytest.approx(array.attrs["logit"], abs=1e-4)
    assert trace.labels is parts.labels


def test_each_directions_part_is_what_that_direction_wrote():
    """Without its backward y, a layer's output lacks just the backward part of the logit."""
    model = toy(double=True, cls_position="middle")
    _, trace, parts = split(model)
    kept = {}

    def silent(value, _):
        return torch.zeros_like(value)

    def keep(value, _):
        kept["out"] = value

    with torch.no_grad():
        run_with_hooks(
            model,
            clips_for(model),
            [("layers.1.mixer.ssm_backward.hook_y", silent), ("layers.1.mixer.hook_out", keep)],
        )
    lost = trace["layers.1.mixer.hook_out"] - kept["out"]
    head, norm = model.head.weight[1], model.norm_f.weight
    residual = trace["layers.1.hook_block_input"] + trace["layers.1.mixer.hook_out"]
    cls = model.grid.cls_index
    rms = (residual[:, cls].square().mean(-1) + model.config.norm_eps).sqrt()
    wanted = (lost[:, cls] * norm * head).sum(-1) / rms
    assert torch.allclose(parts.values[:, 1, 1].sum(-1), wanted, atol=1e-10)


def test_a_forward_scan_brings_nothing_of_the_clip_to_a_class_token_in_front():
    _, _, parts = split(toy(cls_position="front"))
    of_frames = parts.values[..., :3]
    assert (of_frames[:, :, 0] == 0).all() and (of_frames[:, :, 1] != 0).all()


def test_parts_of_frames_add_layers_directions_and_their_embedding():
    _, _, parts = split(toy(cls_position=None))
    wanted = parts.values[..., :3].sum((1, 2)) + parts.embedding.view(2, 3, -1).sum(-1)
    assert torch.allclose(parts.frames, wanted, atol=1e-6)
    assert torch.allclose(
        parts.frames.sum(1) + parts.offset.sum((1, 2)) + parts.bias, parts.logit, atol=1e-4
    )


# ---------------------------------------------------------------- along the scan


@pytest.mark.parametrize("order", ["spatiotemporal", "spatial", "temporal"])
def test_direct_curves_add_up_in_the_order_of_each_scan(order):
    _, _, parts = split(toy(backward_order=order, cls_position=None))
    curves = parts.direct()
    assert curves.values.shape == (2, 2, 2, 3)
    by_frame = parts.values[..., :3]
    forward = by_frame[:, :, 0].cumsum(-1)
    assert torch.allclose(curves.values[:, :, 0], forward, atol=1e-5)
    backward = by_frame[:, :, 1]
    in_time, reversed_time = backward.cumsum(-1), backward.flip(-1).cumsum(-1).flip(-1)
    wanted = in_time if order == "spatial" else reversed_time
    assert torch.allclose(curves.values[:, :, 1], wanted, atol=1e-5)


def test_a_class_token_in_front_is_read_first_forward_and_last_backward():
    _, _, parts = split(toy(cls_position="front"))
    (forward, backward), by_source = parts.direct().values.unbind(2), parts.values
    cls = by_source[:, :, 0, parts.sources.index("cls")]
    assert torch.allclose(forward[..., 0], cls + by_source[:, :, 0, 0], atol=1e-5)
    frames = by_source[:, :, 1, :3].sum(-1)  # the class token comes after them
    assert torch.allclose(backward[..., 0], frames, atol=1e-5)


def test_only_layer_0_is_said_to_read_patches():
    _, _, parts = split(toy())
    curves = parts.direct()
    assert curves.array()["tokens"].values.tolist() == ["patches", "mixed tokens"]
    assert curves.layer_name(0) == "layer 0, patches"
    assert curves.layer_name(1) == "layer 1, mixed tokens"
    assert curves.array().dims == ("layer", "direction", "frame")


def test_recorded_scans_and_scans_run_again_give_the_same_parts():
    model = toy(cls_position="middle")
    trace = toys.record(model, [*LogitParts.names(model), *ScanOperator.names(kind="beta")])
    _, light, parts = split(model)
    assert light.nbytes < trace.nbytes / 4
    assert torch.equal(logit_parts(trace, 1).values, parts.values)


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        ("layers.0.hook_block_input", "lacks layers.0.hook_block_input, the embedding"),
        ("layers.1.hook_block_input", "lacks ssm_forward.hook_u.* of layer 1"),
        ("layers.2.mixer.hook_out", "lacks layers.2.mixer.hook_out"),
    ],
)
def test_what_a_trace_lacks_is_named(lacking, words):
    model = toy(depth=3)
    needed = matching_names(model, LogitParts.names(model))
    trace = toys.record(model, [name for name in needed if name != lacking])
    with pytest.raises(UnknownNameError, match=words):
        logit_parts(trace, 0)


def test_clips_of_a_batch_do_not_mix():
    model = toy(cls_position="middle")
    clips = clips_for(model)
    with torch.no_grad():
        alone = logit_parts(run_with_trace(model, clips[1:], LogitParts.names(model))[1], 1)
    _, _, both = split(model)
    assert torch.allclose(both.values[1:], alone.values, atol=1e-5)
