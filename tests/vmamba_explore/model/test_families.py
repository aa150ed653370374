"""Every family of checkpoints: its numbers against its own loop, and none taken for another."""

import argparse
import pickle
from typing import get_args

import pytest
import torch
from safetensors.torch import save_file

from tests.vmamba_explore.model.families import CLASSES, D_MODEL, FRAMES, LAYOUTS, run, tensors_of
from vmamba_explore.model.checkpoints import (
    CheckpointError,
    load_model,
    model_from_state_dict,
)
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.families import Layout, as_classifier, with_vivim, words_in
from vmamba_explore.model.published import published_config, published_name
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.record import run_with_trace

TOLERANCE = 1e-5  # relative, asked for
each_family = pytest.mark.parametrize("family", LAYOUTS)


def clips_for(model, batch=2):
    size = (3, model.config.num_frames, model.config.img_size, model.config.img_size)
    return torch.randn(batch, *size, generator=torch.Generator().manual_seed(1))


def error(value, wanted):
    wanted = wanted.detach()
    return float((value.detach().double() - wanted).norm() / wanted.norm())


@each_family
def test_output_states_and_input_gradient_are_those_of_the_familys_own_loop(family):
    tensors = tensors_of(family)
    model = model_from_state_dict(tensors, layout=LAYOUTS[family])
    clips = clips_for(model).requires_grad_()
    output, trace = run_with_trace(model, clips, "*.hook_h")
    wanted_clips = clips.detach().clone().requires_grad_()
    wanted = run(family, tensors, wanted_clips)
    assert output.shape == wanted.output.shape and error(output, wanted.output) < TOLERANCE
    assert torch.equal(model(clips), output)
    for (layer, direction), states in wanted.states.items():
        found = trace[f"layers.{layer}.mixer.ssm_{direction}.hook_h"]
        assert error(found, states) < TOLERANCE
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(2))
    (gradient,) = torch.autograd.grad((output * weights).sum(), clips)
    (wanted_gradient,) = torch.autograd.grad((wanted.output * weights).sum(), wanted_clips)
    assert error(gradient, wanted_gradient) < TOLERANCE


ACCEPTED = {
    "opengvlab": {None, "opengvlab", "videomambapro"},
    "videomambapro": {None, "opengvlab", "videomambapro"},
    "masked": {None, "opengvlab", "videomambapro"},
    "text-video": {None, "opengvlab", "videomambapro"},
    "opengvlab image": {"opengvlab", "vim", "videomambapro"},
    "vim": {"opengvlab", "vim", "videomambapro"},
    "vivim": {None, "vivim"},
    "vivim with texts": {None, "vivim"},
}
"""The layouts with which each family's tensors load: more than one where the same tensors may be of
several families, which only their layout tells."""


@each_family
def test_a_layout_is_refused_unless_the_tensors_may_be_of_its_family(family):
    tensors, taken = tensors_of(family), set()
    for layout in (None, *get_args(Layout)):
        try:
            model_from_state_dict(tensors, layout=layout)
            taken.add(layout)
        except CheckpointError as refused:
            assert "layout" in str(refused)
    assert taken == ACCEPTED[family]


@each_family
def test_a_file_without_a_word_of_layout_is_refused_or_right(family, tmp_path):
    """Nothing in a file tells a VideoMambaPro from OpenGVLab's but its name; see below."""
    name = {"videomambapro": "videomambapro_t16.pth"}.get(family, "best.pth")
    torch.save({"model": tensors_of(family), "epoch": 3}, tmp_path / name)
    if None in ACCEPTED[family] - ({None} if family == "videomambapro" else set()):
        model = load_model(tmp_path / name)
        clips = clips_for(model)
        assert error(model(clips), run(family, tensors_of(family), clips).output) < 1e-5
    else:
        with pytest.raises(CheckpointError, match="Pass layout="):
            load_model(tmp_path / name)


@pytest.mark.parametrize(
    "place",
    [
        "videomambapro_m16_k400.pth",
        "VideoMambaPro/best.pth",
        "VideoMambaPro/runs/4/best.pth",
        "models--hotfinda--VideoMambaPro/snapshots/1/best.pth",
        "VIDEOMAMBA_PRO.pth",
        "videomamba-pro.pth",
        "vm_pro_t.pth",
        "pro/best.pth",
    ],
)
def test_a_place_that_says_pro_asks_for_the_layout_and_takes_either(place, tmp_path):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tensors_of("videomambapro"), path)
    with pytest.raises(CheckpointError, match=r"may be a VideoMambaPro.*layout='videomambapro'"):
        load_model(path)
    for layout in ("videomambapro", "opengvlab"):
        model = load_model(path, layout=layout)
        clips = clips_for(model)
        wanted = run(layout, tensors_of("videomambapro"), clips).output
        assert error(model(clips), wanted) < TOLERANCE


@pytest.mark.parametrize(
    "place",
    [
        "videomamba_t16_k400_f16_res224.pth",
        "videomamba-project/best.pth",
        "VideoMambaProduction/best.pth",
        "prototype/probe_profile.pth",
        "pro/runs/best.pth",  # a word of a folder further up says nothing of a checkpoint
    ],
)
def test_other_places_load_as_opengvlabs_without_a_word(place, tmp_path, recwarn):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tensors_of("opengvlab"), path)
    model = load_model(path)
    assert model.config.scan_variant == "mamba" and not recwarn.list


def test_what_lies_beside_the_tensors_asks_for_the_layout_too(tmp_path):
    tensors, asked = tensors_of("videomambapro"), "may be a VideoMambaPro"
    options = argparse.Namespace(model="videomambapro_tiny", lr=0.1)
    for beside in ({"args": options}, {"args": {"output_dir": "exp/videomamba_pro/run"}}):
        torch.save({"model": tensors, **beside}, tmp_path / "best.pth")
        with pytest.raises(CheckpointError, match=asked):
            load_model(tmp_path / "best.pth")
        with pytest.raises(CheckpointError, match=asked):
            model_from_state_dict({"model": tensors, **beside})
    save_file(tensors, tmp_path / "best.safetensors", {"architecture": "VideoMambaPro"})
    with pytest.raises(CheckpointError, match=asked):
        load_model(tmp_path / "best.safetensors")
    model = load_model(tmp_path / "best.safetensors", layout="videomambapro")
    assert model.config.scan_variant == "videomambapro"


def test_a_saved_videomambapro_is_one_when_it_is_loaded_again(tmp_path):
    model = model_from_state_dict(tensors_of("videomambapro"), layout="videomambapro")
    model.save_pretrained(tmp_path)
    clips = clips_for(model)
    assert torch.equal(load_model(tmp_path)(clips), model(clips))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("levels.2.blocks.0.mixer.conv1d_x.weight", "MambaVision"),
        ("layers.0.blocks.0.op.A_logs", "VMamba"),
        ("layers.0.mixer.A_b_log", r"bimamba v1, and in VideoMambaPro's published code|conv1d_b"),
        ("visual.blocks.0.attn.qkv.weight", "vision transformer"),
        ("backbone.embedding.weight", "Mamba language model"),
    ],
)
def test_other_families_are_refused_by_name(name, words):
    with pytest.raises(CheckpointError, match=words):
        model_from_state_dict({name: torch.zeros(2, 2)})


def test_a_text_video_checkpoint_with_tensors_of_neither_side_is_refused():
    tensors = tensors_of("text-video") | {"fusion.weight": torch.zeros(2)}
    with pytest.raises(CheckpointError, match=r"fusion.weight .* belongs neither"):
        model_from_state_dict(tensors)


def test_two_tensors_that_would_get_one_name_are_both_read_and_do_not_fit():
    tensors = tensors_of("vivim")
    table = tensors["temporal_embedding"]
    tensors["temporal_pos_embedding"] = table.transpose(0, 1) if table.ndim == 3 else table
    with pytest.raises(CheckpointError, match="left over temporal_embedding"):
        model_from_state_dict(tensors)
    tensors = tensors_of("vivim with texts")
    proj = {"weight": torch.zeros(3, D_MODEL), "bias": torch.zeros(3)}
    tensors |= {f"module.visual.vision_proj.{name}": value for name, value in proj.items()}
    with pytest.raises(CheckpointError, match="left over image_projection"):
        model_from_state_dict(tensors)


def test_an_error_about_a_checkpoint_reaches_another_process():
    tensors = tensors_of("opengvlab") | {"more": torch.zeros(1)}
    with pytest.raises(CheckpointError) as caught:
        model_from_state_dict(tensors)
    for error in (caught.value, CheckpointError("alone")):
        copy = pickle.loads(pickle.dumps(error))
        assert (str(copy), copy.problems, copy.misfits) == (
            str(error), error.problems, error.misfits
        )  # fmt: skip


def test_encoders_have_no_head_and_others_have():
    for family, layout in LAYOUTS.items():
        model = model_from_state_dict(tensors_of(family), layout=layout)
        encoder = family in ("masked", "text-video", "vivim with texts")
        assert model.is_encoder == encoder
        assert model.config.num_classes == (0 if encoder else CLASSES)
        assert model.num_outputs == (D_MODEL if encoder else CLASSES)


def test_vivims_class_tokens_belong_to_their_frames():
    model = model_from_state_dict(tensors_of("vivim"))
    assert model.grid.cls_indices == tuple(4 + 10 * frame for frame in range(FRAMES))
    assert model.grid.frame_of_tokens().tolist() == [n // 10 for n in range(10 * FRAMES)]


@pytest.mark.parametrize("family", ["text-video", "vivim with texts"])
def test_the_space_shared_with_texts_is_that_of_the_checkpoint(family):
    tensors = tensors_of(family)
    model = model_from_state_dict(tensors)
    clips = clips_for(model)
    features = run(family, tensors, clips).output
    if family == "text-video":
        shared = features @ tensors["vision_proj.weight"].double().T
        shared = shared + tensors["vision_proj.bias"].double()
    else:
        shared = features @ tensors["module.visual.image_projection"].double()
    assert error(model.vision_proj(model.embed(clips)), shared) < TOLERANCE
    assert model.config.text_dim == 6


def test_features_of_frames_of_a_text_video_model_are_its_own():
    """As its code gives them with `keep_temporal`: the class token and the frame's mean, normed."""
    tensors = tensors_of("text-video")
    model = model_from_state_dict(tensors)
    clips = clips_for(model)
    with torch.no_grad():
        normed = model.norm_f(model.encode(clips)).double()
    each = normed[:, :1] + normed[:, 1:].unflatten(1, (FRAMES, -1)).mean(2)
    weight, bias = (tensors[f"vision_encoder.pool_norm.{n}"].double() for n in ("weight", "bias"))
    wanted = torch.nn.functional.layer_norm(each, (D_MODEL,), weight, bias)
    assert error(model.frame_features(clips), wanted) < TOLERANCE


def test_words_are_found_in_any_depth_once_and_in_bounded_time():
    ring = {"note": "a"}
    ring["again"] = ring
    wide = {"words": ["b", ("c", argparse.Namespace(name="d"))], "number": 3}
    for _ in range(30):  # 2 ** 30 paths to the same few values
        wide = {"left": wide, "right": wide}
    assert sorted(words_in({"ring": ring, "wide": wide})) == ["a", "b", "c", "d"]
    assert words_in([str(n) for n in range(50)], most=11) == [str(n) for n in range(10)]


@pytest.mark.parametrize(("d_model", "millions"), [(192, 7), (384, 26)])
def test_vivims_published_sizes_are_read_from_shapes_alone(d_model, millions):
    config = VideoMambaConfig(
        tubelet_size=1, d_model=d_model, cls_position="every_frame", direction_merge="mean",
        pos_embed="spatial_temporal",
    )  # fmt: skip
    with torch.device("meta"):
        state = VideoMamba(config).state_dict()
    tensors = {published_name(name): value for name, value in state.items()}
    tensors["temporal_embedding"] = tensors.pop("temporal_pos_embedding").transpose(0, 1)
    tensors["patch_embed.proj.weight"] = tensors["patch_embed.proj.weight"].squeeze(2)
    assert tensors["temporal_embedding"].shape == (16, 1, d_model)
    layout = with_vivim(None, tensors, "here")
    assert published_config(as_classifier(tensors, "here"), layout, "here") == config
    assert round(config.num_parameters() / 1e6) == millions
