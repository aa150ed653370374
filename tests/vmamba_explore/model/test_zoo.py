"""Published checkpoints by name: the table agrees with itself, and a name leads to its file."""

import re
from dataclasses import replace

import pytest
import torch
from huggingface_hub import DryRunFileInfo

from tests.vmamba_explore.model import families
from vmamba_explore import load_model
from vmamba_explore.model import hub
from vmamba_explore.model.bundled import BUNDLED
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.published import published_name
from vmamba_explore.model.tensor_files import CheckpointError
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.model.zoo import nearest_names, published_models

MODELS = published_models()
CLASSES = {
    "in1k": 1000, "k400": 400, "ssv2": 174, "breakfast": 10, "coin": 180
}  # fmt: skip
NOT_LINKED = {  # names that no link of the publishers' tables leads to
    "videomamba-ti-in1k-448", "videomamba-m-k400-mask-f16", "videomamba-m-ssv2-mask-f16"
}  # fmt: skip


def test_the_names_and_files_are_all_different_and_none_is_a_bundled_model():
    assert len({model.reference for model in MODELS.values()}) == len(MODELS) == 65
    assert not MODELS.keys() & BUNDLED.keys()


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
def test_a_name_says_what_the_file_and_the_row_say(model):
    family, size, data, *rest = model.name.split("-")
    frames = int(next((part[1:] for part in rest if part[0] == "f"), "1"))
    side = int(rest[-1]) if rest and rest[-1].isdecimal() else 224
    encoder = "pt" in rest or data in ("5m", "17m", "25m")
    assert (model.frames, model.img_size) == (frames, side)
    assert model.classes == (None if encoder else CLASSES[data])
    assert (model.top1 is None) == encoder
    assert (model.layout == "opengvlab") == (frames == 1)
    if family == "vivim":
        assert model.repo == "cg1177/video-mamba-suite" and model.license == "MIT"
        return
    assert model.repo == "OpenGVLab/VideoMamba" and model.license == "Apache-2.0"
    mask = "_mask_pt" if "pt" in rest else "_mask_ft" if "mask" in rest else ""
    steps = {224: "", 576: "to448to576"}.get(side, f"to{side}")
    of_frames = "" if frames == 1 else f"_f{frames}"
    stem = f"videomamba_{size[0]}16_{data}{mask}{of_frames}_res224{steps}.pth"
    assert model.file.lower() == stem
    assert bool(model.note) == (
        model.name in NOT_LINKED or model.name == "videomamba-m-breakfast-mask-f64"
    )


@pytest.mark.parametrize(
    ("name", "top1"),
    [
        ("videomamba-ti-k400-f16", 78.1),
        ("videomamba-m-k400-mask-f64-384", 85.0),
        ("videomamba-m-ssv2-mask-f16", 71.0),
        ("videomamba-s-breakfast-f64", 97.4),
        ("videomamba-m-coin-mask-f64", 90.4),
        ("videomamba-b-in1k", 82.7),
        ("vivim-s-k400-f16", 80.47),
    ],
)
def test_accuracies_are_those_that_were_published(name, top1):
    assert MODELS[name].top1 == top1


@pytest.fixture
def served(monkeypatch, tmp_path):
    """Serve one small published file under every reference; what was asked for is listed."""
    asked = []

    def serve(tensors):
        torch.save({"model": tensors}, tmp_path / "served.pth")

        def download(repo, file, dry_run=False, **options):
            if dry_run:
                return DryRunFileInfo("0" * 40, 0, file, file, False, True)
            asked.append(f"{repo}:{file}")
            return str(tmp_path / "served.pth")

        monkeypatch.setattr(hub, "hf_hub_download", download)
        return asked

    return serve


SMALL = VideoMambaConfig.preset(
    "opengvlab_tiny", num_frames=16, img_size=32, d_model=32, depth=2, num_classes=400
)
IMAGE = replace(SMALL, num_frames=1, pos_embed="spatial", num_classes=1000)


def published(config):
    """The tensors of a file with this configuration."""
    weights = VideoMamba(config).state_dict()
    tensors = {published_name(name): value for name, value in weights.items()}
    if config.pos_embed == "spatial":
        tensors["patch_embed.proj.weight"] = tensors["patch_embed.proj.weight"].squeeze(2)
    return tensors


def test_a_name_loads_the_file_it_stands_for(served):
    asked = served(published(SMALL))
    model = load_model("videomamba-ti-k400-f16")
    assert asked == ["OpenGVLab/VideoMamba:videomamba_t16_k400_f16_res224.pth"]
    assert model.config == SMALL and model.class_names is not None


@pytest.mark.parametrize("what", ["videomamba-s-in1k", MODELS["videomamba-s-in1k"].reference])
def test_an_image_model_known_by_name_needs_no_layout(served, what):
    served(published(IMAGE))
    assert load_model(what).config == IMAGE
    with pytest.raises(CheckpointError, match=r"Pass layout=\."):
        load_model("some/other:file.pth")


@pytest.mark.parametrize(
    ("name", "family", "encoder"),
    [
        ("videomamba-m-ssv2-mask-pt-f8", "masked", True),
        ("videomamba-m-25m-f8", "text-video", True),
        ("vivim-t-k400-f16", "vivim", False),
    ],
)
def test_names_of_encoders_and_of_vivim_load_as_what_they_are(name, family, encoder, served):
    asked = served(families.tensors_of(family))
    model = load_model(name)
    assert asked == [MODELS[name].reference]
    assert model.is_encoder == encoder == (MODELS[name].classes is None)
    assert (model.config.cls_position == "every_frame") == (family == "vivim")


def test_a_file_of_other_frames_than_published_is_said_to_be_one(served, caplog):
    served(published(replace(SMALL, num_frames=8)))
    assert load_model("videomamba-ti-k400-f16").config.num_frames == 8
    assert re.search("as a model of 16 frames, and the file holds one of 8", caplog.text)
    caplog.clear()
    load_model("videomamba-ti-k400-f8")
    assert caplog.text == ""


def test_a_local_folder_takes_precedence_over_a_published_name(served, tmp_path, monkeypatch):
    asked = served(published(SMALL))
    monkeypatch.chdir(tmp_path)
    mine = VideoMamba(replace(SMALL, num_classes=3))
    mine.save_pretrained("videomamba-ti-k400-f16")
    assert load_model("videomamba-ti-k400-f16").config.num_classes == 3 and asked == []


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("videomamba-tiny-k400-f16", "videomamba-ti-k400-f16"),
        ("VideoMamba_S_SSv2_f16", "videomamba-s-ssv2-f16"),
        ("videomamba_m16_25M_f8_res224.pth", "videomamba-m-25m-f8"),
        ("downloads/videomamba_t16_k400_f16_res224.pth", "videomamba-ti-k400-f16"),
        ("motoin-nano", "motion-nano"),
    ],
)
def test_a_misspelled_name_is_answered_with_the_nearest(wrong, right):
    with pytest.raises(CheckpointError, match=rf"Did you mean {right}\b.*vmamba-explore models"):
        load_model(wrong)


def test_a_name_like_none_is_answered_with_none():
    assert nearest_names("swin") == []
    assert nearest_names("x" * 100_000) == []
