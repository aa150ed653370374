"""What a page gets of a model."""

import json

import numpy as np
import pytest
import torch

from vmamba_explore.analysis.controls import orders_of
from vmamba_explore.app.portable import MOST_PARAMETERS, portable
from vmamba_explore.app.question import QUANTITIES
from vmamba_explore.model.bundled import BUNDLED
from vmamba_explore.model.checkpoints import load_model
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba


def toy(**changes) -> VideoMamba:
    return VideoMamba(VideoMambaConfig.preset("toy", **changes))


def test_a_bundled_model_brings_its_question_its_classes_and_its_threshold():
    model = load_model("camera-nano")
    found = portable(model, "what a user calls it")
    assert found.name == found.about["name"] == "camera-nano"
    assert found.parameters == model.config.num_parameters()
    about = json.loads(json.dumps(found.about))
    assert about["question"] == BUNDLED["camera-nano"].question
    assert about["class_names"] == list(model.class_names)
    assert about["still"] == "static"
    assert about["undecided_below"] == BUNDLED["camera-nano"].undecided_below
    assert VideoMambaConfig(**about["config"]) == model.config
    assert [each["name"] for each in about["quantities"]] == list(QUANTITIES)
    assert [each["name"] for each in about["quantities"] if each["log"]] == [
        "delta", "state norm", "hidden attention",
    ]  # fmt: skip
    wanted = orders_of(16, shuffles=8)
    assert np.array_equal(about["orders"], wanted) and len(wanted) == 11


def test_any_other_model_keeps_its_name_and_its_classes_are_numbered():
    found = portable(toy(), "mine")
    assert (found.name, found.about["question"], found.about["still"]) == ("mine", "", "")
    assert len(found.about["class_names"]) == 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_are_the_models_own_as_float32(dtype):
    model = toy().to(dtype)
    found = portable(model)
    for name, weight in model.state_dict().items():
        assert found.tensors[name].dtype == np.float32
        assert np.array_equal(found.tensors[name], weight.float().numpy()), name


def test_a_fixed_position_table_goes_along_and_is_not_counted():
    model = toy(pos_embed="sinusoidal")
    found = portable(model)
    assert np.array_equal(found.tensors["pos_embed"], model.pos_embed.numpy())
    assert found.parameters == sum(weight.numel() for weight in model.parameters())


def test_a_model_that_is_too_large_is_refused_with_its_size_and_the_limit():
    model = toy(d_model=192, depth=8)
    count = model.config.num_parameters()
    assert count > MOST_PARAMETERS
    with pytest.raises(ValueError) as refusal:
        portable(model, "big\r\none")
    assert str(refusal.value) == (
        f"portable: big\\r\\none has {count:,} parameters, and a page runs at most 2,000,000; "
        "choose a smaller model, or explore this one in a notebook."
    )


def test_a_model_of_other_channels_than_colors_is_refused():
    with pytest.raises(ValueError, match="reads 1 channels, and a page's videos have 3 colors"):
        portable(toy(in_channels=1))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"scan_variant": "videomambapro"}, "scan_variant='videomambapro'"),
        ({"cls_position": "every_frame"}, "cls_position='every_frame'"),
        ({"pool_norm": True}, "pool_norm=True"),
        ({"num_classes": 0}, "no head"),
    ],
)
def test_a_family_that_a_page_does_not_run_is_refused(changes, what):
    with pytest.raises(ValueError, match=f"has {what}, which a page does not run"):
        portable(toy(**changes), "mine")
