"""An exported model, run by ONNX Runtime, gives the logits that torch gives."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from tests.vmamba_explore.model import families
from tests.vmamba_explore.toys import KINDS, shake, toy
from vmamba_explore import load_clip, load_model, resources
from vmamba_explore.clips.clip import normalize
from vmamba_explore.hooks import attached
from vmamba_explore.model import onnx_export
from vmamba_explore.model.bundled import BUNDLED, SHAPE
from vmamba_explore.model.checkpoints import model_from_state_dict
from vmamba_explore.model.onnx_export import export_onnx, onnx_difference

SHAPES = [
    *KINDS,
    {"pos_embed": "none", "d_conv": 3, "expand": 3},
    {"pos_embed": "sinusoidal", "in_channels": 1},
    {"pos_embed": "spatial_temporal", "tubelet_size": 1, "num_frames": 3, "dt_rank": 5},
    {"pos_embed": "spatial", "tubelet_size": 1, "num_frames": 1, "cls_position": "middle"},
    {"scan_variant": "videomambapro", "backward_order": "spatial"},
    {"scan_variant": "videomambapro", "backward_order": "temporal", "cls_position": None},
    {"cls_position": "every_frame", "direction_merge": "mean"},
    {"pool_norm": True, "cls_position": "middle"},
]
CLIPS = ("right", "recall_red_blue", "camera_pan_right")


def run(path, clips, output="logits"):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run([output], {"clips": clips.numpy()})[0])


@pytest.mark.parametrize("changes", SHAPES, ids=str)
def test_every_kind_of_model_gives_the_logits_of_torch_for_one_clip_and_for_three(
    changes, tmp_path
):
    model = toy(change=shake, **changes)
    path = export_onnx(model, tmp_path / "model.onnx")
    config = model.config
    for batch in (1, 3):
        clips = torch.randn(
            batch, config.in_channels, config.num_frames, config.img_size, config.img_size
        )
        wanted = model(clips)
        assert wanted.std() > 0.1  # else equal would mean nothing
        torch.testing.assert_close(run(path, clips), wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", families.LAYOUTS)
def test_a_model_of_every_family_gives_what_the_loop_of_its_family_gives(family, tmp_path):
    tensors = families.tensors_of(family)
    model = model_from_state_dict(tensors, families.LAYOUTS[family])
    path = export_onnx(model, tmp_path / "model.onnx")
    config = model.config
    clips = torch.randn(3, 3, config.num_frames, config.img_size, config.img_size)
    output = "features" if config.num_classes == 0 else "logits"
    wanted = families.run(family, tensors, clips).output.float()
    assert wanted.std() > 0.1
    torch.testing.assert_close(run(path, clips, output), wanted, rtol=0, atol=1e-4)
    assert onnx_difference(model, path, clips[:1]) <= 1e-4


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_model_gives_its_logits_on_bundled_clips(name, tmp_path):
    model = load_model(name)
    path = export_onnx(model, tmp_path / "model.onnx")
    num_frames, img_size = SHAPE
    clips = [
        load_clip(resources.path(f"clips/{clip}.mp4"), num_frames, img_size=img_size).tensor()
        for clip in CLIPS
    ]
    clips = torch.stack(clips)
    with torch.no_grad():
        wanted = model(clips)
    torch.testing.assert_close(run(path, clips), wanted, rtol=0, atol=1e-4)
    torch.testing.assert_close(run(path, clips[:1]), wanted[:1], rtol=0, atol=1e-4)
    assert onnx_difference(model, path, clips) <= 1e-4


def test_the_difference_is_that_of_the_file_and_the_model_that_are_given(tmp_path):
    model = toy(change=shake)
    path = export_onnx(model, tmp_path / "model.onnx")
    with torch.no_grad():
        model.head.bias[2] += 0.5
    assert onnx_difference(model, path, torch.randn(2, 3, 4, 32, 32)) == pytest.approx(0.5, 1e-3)


def test_the_file_tells_how_pixels_are_normalized_and_what_the_classes_are(tmp_path):
    model = load_model("motion-nano")
    file = onnx.load(export_onnx(model, tmp_path / "model.onnx"))
    assert [(one.domain, one.version) for one in file.opset_import] == [("", 17)]
    (clips,), (logits,) = file.graph.input, file.graph.output
    sizes = [one.dim_param or one.dim_value for one in clips.type.tensor_type.shape.dim]
    assert (clips.name, sizes) == ("clips", ["batch", 3, 16, 64, 64])
    sizes = [one.dim_param or one.dim_value for one in logits.type.tensor_type.shape.dim]
    assert (logits.name, sizes) == ("logits", ["batch", 10])
    about = {one.key: json.loads(one.value) for one in file.metadata_props}
    assert about["config"] == model.config.to_dict()
    assert tuple(about["class_names"]) == model.class_names
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    by_hand = (pixels / 255 - np.array(about["mean"])) / np.array(about["std"])
    assert np.allclose(np.moveaxis(by_hand, -1, 0), normalize(pixels), atol=1e-6)


def test_a_head_for_other_classes_is_exported_as_it_stands(tmp_path):
    model = toy(change=shake)
    model.head = nn.Linear(32, 7)
    path = export_onnx(model, tmp_path / "model.onnx")
    clips = torch.randn(2, 3, 4, 32, 32)
    torch.testing.assert_close(run(path, clips), model(clips), rtol=0, atol=1e-4)


def replace_the_head(model):
    model.head = nn.Sequential(model.head)


def watch_the_norm(model):
    model.norm_f.register_forward_hook(lambda *_: None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replace_the_head, "head is a Sequential, which has no form in the file"),
        (watch_the_norm, "norm_f has a hook of torch's"),
        (nn.Module.half, r"the weights are torch.float16, expected.*model\.float\(\)"),
        (lambda model: model.head.double(), "the weights are torch.float32, torch.float64, exp"),
    ],
)
def test_what_a_file_cannot_hold_is_refused_in_a_sentence(change, message, tmp_path):
    model = toy()
    change(model)
    with pytest.raises(ValueError, match=f"^export_onnx: {message}"):
        export_onnx(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_being_edited_is_refused(tmp_path):
    model = toy()
    with attached(model, [("layers.0.mixer.hook_out", lambda value, _: 0 * value)]):
        with pytest.raises(ValueError, match="a `with` block is open"):
            export_onnx(model, tmp_path / "model.onnx")
    with model.only_tokens([0, 1, 2]):
        with pytest.raises(ValueError, match="a `with` block is open"):
            export_onnx(model, tmp_path / "model.onnx")
    export_onnx(model, tmp_path / "model.onnx")


def test_weights_that_no_file_holds_are_refused_and_a_missing_package_is_named(
    tmp_path, monkeypatch
):
    model = toy()
    monkeypatch.setattr(onnx_export, "LARGEST", 1000)
    with pytest.raises(ValueError, match="bytes, and an ONNX file holds at most 1,000"):
        export_onnx(model, tmp_path / "model.onnx")
    monkeypatch.undo()
    for package, call in {
        "onnx": lambda: export_onnx(model, tmp_path / "model.onnx"),
        "onnxruntime": lambda: onnx_difference(model, "absent", torch.zeros(0)),
    }.items():
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ImportError, match=rf'needs {package}: pip install "vmamba-expl'):
            call()
