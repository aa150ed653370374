"""The checkup of a checkpoint: what it says of a file is what `load_model` does with it."""

import argparse
import pickle
from dataclasses import replace

import pytest
import torch

from tests.vmamba_explore.model import families
from tests.vmamba_explore.toys import toy
from vmamba_explore import CheckpointError, check_checkpoint, load_model
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.doctor import LINES
from vmamba_explore.model.published import published_name
from vmamba_explore.model.videomamba import VideoMamba

CONFIG = VideoMambaConfig.preset("opengvlab_tiny", img_size=32, d_model=32, depth=3)


def video():
    """The tensors of a published video model."""
    weights = VideoMamba(CONFIG).state_dict()
    return {published_name(name): value for name, value in weights.items()}


def image():
    """The tensors of a published image model."""
    tensors = video()
    kernel = "patch_embed.proj.weight"
    del tensors["temporal_pos_embedding"]
    return tensors | {kernel: tensors[kernel].squeeze(2)}


def saved(content, path):
    torch.save(content, path)
    return path


def test_a_good_file_is_named_measured_and_loaded_by_the_calls_that_are_printed(tmp_path):
    held = {"model": video(), "epoch": 3, "args": argparse.Namespace(lr=1)}
    path = saved(held, tmp_path / "video.pth")
    checkup = check_checkpoint(path)
    assert checkup and checkup.problem == "" and checkup.config == CONFIG
    assert checkup.size == path.stat().st_size and checkup.beside == ("epoch", "args")
    assert {one.name: one.shape for one in checkup.tensors} == {
        name: tuple(value.shape) for name, value in video().items()
    }
    assert {one.verdict for one in checkup.tensors} == {"fits"}
    ways = [eval(call, {"load_model": load_model}).config for call in checkup.calls]
    assert ways == [CONFIG, replace(CONFIG, scan_variant="videomambapro")]
    assert list(checkup.calls.values()) == [
        "OpenGVLab's VideoMamba (clips)", "VideoMambaPro (clips)"
    ]  # fmt: skip
    assert next(iter(checkup.calls)) == f"load_model('{path}')"
    *lines, _, first, second = str(checkup).splitlines()
    assert "family: OpenGVLab's VideoMamba (clips) or VideoMambaPro (clips)" in lines
    assert "tensors: 59; 59 fit" in lines and "8 frames of 32 x 32 pixels" in str(checkup)
    assert first == f"  load_model('{path}')  OpenGVLab's VideoMamba (clips)"
    assert "layout='videomambapro')  VideoMambaPro (clips)" in second
    (row,) = [line for line in lines if "A_b_log" in line]
    assert row.split() == "layers.*.mixer.A_b_log (64, 16) float32 x 3 fits".split()


def test_each_tensor_that_does_not_fit_has_its_own_line_that_says_why(tmp_path):
    tensors = video()
    del tensors["head.bias"]
    tensors["layers.1.norm.weight"] = torch.ones(31)
    tensors["layers.0.mixer.D"][5] = float("nan")
    tensors["layers.2.extra"] = torch.ones(2, dtype=torch.int64)
    checkup = check_checkpoint(saved(tensors, tmp_path / "bad.pth"))
    assert not checkup and checkup.calls == {} and checkup.config == CONFIG
    assert checkup.family == "OpenGVLab's VideoMamba (clips)"
    assert {one.name: one.verdict for one in checkup.tensors if one.verdict != "fits"} == {
        "head.bias": "missing",
        "layers.1.norm.weight": "is (31,), expected (32,)",
        "layers.0.mixer.D": "is not finite in 1 of 64 numbers",
        "layers.2.extra": "left over",
    }
    lines = [" ".join(line.split()) for line in str(checkup).splitlines()]
    assert "tensors: 59; 56 fit, 3 do not, 1 missing" in lines
    assert "head.bias missing" in lines
    assert "layers.1.norm.weight (31,) float32 is (31,), expected (32,)" in lines
    assert "layers.*.norm.weight (32,) float32 x 2 fits" in lines
    assert "layers.2.extra (2,) int64 left over" in lines
    with pytest.raises(CheckpointError) as refused:
        load_model(tmp_path / "bad.pth")
    assert lines[-1] == f"does not load: {refused.value}"


FAMILIES = {
    "opengvlab": {"OpenGVLab's VideoMamba (clips)", "VideoMambaPro (clips)"},
    "videomambapro": {"OpenGVLab's VideoMamba (clips)", "VideoMambaPro (clips)"},
    "opengvlab image": {
        "OpenGVLab's VideoMamba (images)", "Vim (images)", "VideoMambaPro (images)"
    },
    "vim": {"OpenGVLab's VideoMamba (images)", "Vim (images)", "VideoMambaPro (images)"},
    "vivim": {"ViViM (clips)"},
    "vivim with texts": {"ViViM (clips, no head)"},
    "masked": {"OpenGVLab's VideoMamba (clips, no head)", "VideoMambaPro (clips, no head)"},
    "text-video": {"OpenGVLab's VideoMamba (clips, no head)", "VideoMambaPro (clips, no head)"},
}  # fmt: skip
NOT_USED = {
    "vivim with texts": {
        "textual.text_projection", "textual.token_embedding.weight", "logit_scale",
        "visual.head.weight", "visual.head.bias",
    },
    "masked": {"clip_decoder.0.head.weight", "clip_decoder.0.norm.weight"},
    "text-video": {
        "vision_encoder.clip_decoder.0.head.weight", "vision_encoder.clip_decoder.0.norm.weight",
        "text_encoder.bert.embeddings.weight", "temp", "text_proj.weight", "itm_head.weight",
    },
}  # fmt: skip


@pytest.mark.parametrize("family", families.LAYOUTS)
def test_a_file_of_every_family_is_called_all_that_it_may_be_and_nothing_else(family, tmp_path):
    tensors = families.tensors_of(family)
    checkup = check_checkpoint(saved(tensors, tmp_path / "weights.bin"))
    assert set(checkup.calls.values()) == FAMILIES[family]
    for call in checkup.calls:
        eval(call, {"load_model": load_model})
    names = [name.removeprefix("module.") for name in tensors]  # what a wrapper put before all
    assert {one.name: one.verdict for one in checkup.tensors} == {
        name: "not used" if name in NOT_USED.get(family, ()) else "fits" for name in names
    }


@pytest.mark.parametrize("family", ["text-video", "vivim with texts", "masked"])
def test_a_wrong_tensor_of_an_encoder_is_found_under_the_name_that_the_file_has(family, tmp_path):
    tensors = families.tensors_of(family)
    (name,) = [name for name in tensors if name.endswith("layers.1.mixer.D_b")]
    tensors[name] = torch.ones(3)
    checkup = check_checkpoint(saved(tensors, tmp_path / "weights.bin"))
    wrong = {one.name: one.verdict for one in checkup.tensors if one.verdict[:2] in ("is", "mi")}
    assert wrong == {name.removeprefix("module."): "is (3,), expected (24,)"}


def test_layout_asks_about_one_layout_only(tmp_path):
    path = saved(image(), tmp_path / "image.pth")
    assert check_checkpoint(path, layout="vim").calls == {
        f"load_model('{path}', layout='vim')": "Vim (images)"
    }
    assert "no temporal_embedding" in check_checkpoint(path, layout="vivim").problem


def test_what_a_name_or_a_note_hints_at_is_said(tmp_path):
    path = saved(video(), tmp_path / "videomamba_pro_m.pth")
    assert "says that this may be a VideoMambaPro" in check_checkpoint(path).verdict
    assert not check_checkpoint(path, layout="opengvlab").doubt
    assert not check_checkpoint(saved(video(), tmp_path / "video.pth")).doubt


def test_the_head_of_a_self_distillation_is_not_used_and_does_not_hinder(tmp_path):
    beside = {"distill_head.0.weight": torch.ones(32), "distill_head.1.bias": torch.ones(48)}
    checkup = check_checkpoint(saved(image() | beside, tmp_path / "m16.pth"), layout="opengvlab")
    assert checkup
    assert {one.name for one in checkup.tensors if one.verdict == "not used"} == beside.keys()


def test_an_image_model_with_a_wrong_tensor_is_still_told_which_tensor(tmp_path):
    tensors = image() | {"norm_f.weight": torch.ones(3)}
    checkup = check_checkpoint(saved(tensors, tmp_path / "image.pth"))
    assert "norm_f.weight is (3,), expected (32,)" in checkup.problem
    assert [one.name for one in checkup.tensors if one.verdict != "fits"] == ["norm_f.weight"]


class Runs:
    def __reduce__(self):
        return exec, ("open('ran', 'w')",)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"<!doctype html><p>Sign in", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\nsize 29000000\n", "a pointer of Git LFS"),
        (pickle.dumps({"model": Runs()}), "damaged, or neither safetensors nor what torch.save"),
        (b"PK\x03\x04" + b"\0" * 100, "is cut"),
        (b"\xff" * 300, "is damaged"),
    ],
)
def test_a_file_that_cannot_be_read_gets_one_sentence_and_nothing_of_it_runs(
    content, problem, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    checkup = check_checkpoint(path)
    assert not checkup and problem in checkup.problem and "\n" not in checkup.problem
    assert (checkup.family, checkup.config, checkup.tensors) == ("", None, ())
    assert len(str(checkup).splitlines()) == 2
    assert [one.name for one in tmp_path.iterdir()] == ["weights.pth"]


def test_a_pickle_that_would_run_code_is_refused_and_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkup = check_checkpoint(saved({"model": Runs()}, "weights.pth"))
    assert "asks for exec, which could run code" in checkup.problem
    assert [one.name for one in tmp_path.iterdir()] == ["weights.pth"]


def test_another_family_is_named_and_its_tensors_are_listed_without_a_verdict(tmp_path):
    tensors = {f"blocks.{n}.attn.qkv.weight": torch.ones(n + 1) for n in range(LINES + 5)}
    checkup = check_checkpoint(saved(tensors, tmp_path / "vit.pth"))
    assert "a vision transformer (ViT)" in checkup.problem
    assert {one.verdict for one in checkup.tensors} == {""}
    assert "  and 5 more kinds of tensors" in str(checkup)
    assert "fits" not in str(checkup) and f"tensors: {LINES + 5}" in str(checkup)


def test_a_folder_of_this_package_and_a_bundled_name_are_checked_too(tmp_path):
    model = toy()
    model.save_pretrained(tmp_path)
    checkup = check_checkpoint(tmp_path)
    assert checkup.config == model.config and "in its own format" in checkup.family
    assert len(checkup.tensors) == len(model.state_dict())
    assert list(check_checkpoint("motion-nano").calls) == ["load_model('motion-nano')"]
    (tmp_path / "model.safetensors").unlink()
    checkup = check_checkpoint(tmp_path)
    assert "lacks model.safetensors" in checkup.problem and checkup.size == 0


def test_what_is_not_there_is_said_in_a_sentence(tmp_path):
    checkup = check_checkpoint(tmp_path / "videomamba_t16_k400_f16_res224.pth")
    assert "Did you mean videomamba-ti-k400-f16?" in checkup.problem
    assert not checkup.tensors


def test_a_configuration_too_large_for_its_file_leaves_the_tensors_without_a_verdict(tmp_path):
    tensors = video() | {"temporal_pos_embedding": torch.zeros(1, 1, 32).expand(1, 2**24, 32)}
    checkup = check_checkpoint(saved(tensors, tmp_path / "long.pth"))
    assert "max_bytes" in checkup.problem
    assert {one.verdict for one in checkup.tensors} == {""}
