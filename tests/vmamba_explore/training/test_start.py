import pytest
import torch

from tests.vmamba_explore.toys import toy
from vmamba_explore.model.checkpoints import save_model
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.labels import label_names
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.training.start import in_order_of, starting_model, with_classes


def test_a_preset_gets_the_classes_and_sizes_that_are_asked_for():
    model = starting_model("toy", ["a", "b", "c"], num_frames=8, pos_embed="sinusoidal")
    config = model.config
    assert (config.num_classes, config.num_frames, config.pos_embed) == (3, 8, "sinusoidal")
    assert config.img_size == 32 and model.class_names == ("a", "b", "c")


def test_the_seed_decides_the_weights():
    first, same, other = (starting_model("toy", "ab", seed=seed).head.weight for seed in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_a_trained_model_keeps_its_weights_but_for_the_head(tmp_path, untrained_model):
    save_model(untrained_model, tmp_path)
    model = starting_model(str(tmp_path), ["x", "y"])
    assert model.config.num_classes == 2 and model.class_names == ("x", "y")
    for name, value in untrained_model.state_dict().items():
        if not name.startswith("head."):
            assert torch.equal(value, model.state_dict()[name]), name


def test_a_head_of_the_same_classes_is_kept(untrained_model):
    assert with_classes(untrained_model, untrained_model.class_names) is untrained_model
    other = with_classes(untrained_model, ("left", "right", "up"))  # as many, but others
    assert not torch.equal(other.head.weight, untrained_model.head.weight)


def test_an_image_checkpoint_is_inflated(tmp_path):
    image = VideoMamba(
        VideoMambaConfig.preset(
            "toy",
            num_frames=1,
            tubelet_size=1,
            pos_embed="spatial",
            cls_position="middle",
            direction_merge="mean",
        )
    )
    save_model(image, tmp_path)
    model = starting_model("toy", "ab", init=str(tmp_path))
    assert torch.equal(model.norm_f.weight, image.norm_f.weight)
    name = "layers.0.mixer.out_proj.weight"
    assert torch.equal(model.state_dict()[name], image.state_dict()[name] / 2)


def test_a_checkpoint_takes_no_second_one(tmp_path):
    with pytest.raises(ValueError, match="init and pos_embed are for presets"):
        starting_model("motion-nano", "ab", init="vim.pth")


def test_a_misspelt_preset_is_answered_with_all_presets():
    with pytest.raises(ValueError, match=r"'kaist_smal' is neither a preset \(kaist_small, kaist_"):
        starting_model("kaist_smal", "ab")


def test_a_model_can_answer_in_the_order_of_another_list():
    model = toy(num_classes=400)
    torch.nn.init.normal_(model.head.bias)
    model.class_names = label_names("kinetics400")
    folders = [name.replace(" ", "_") for name in sorted(model.class_names)]  # usual names of these
    other = in_order_of(model, folders)
    clip = torch.randn(3, 4, 32, 32)
    before, after = model.predict(clip, 400), other.predict(clip, 400)
    assert [p.name.replace(" ", "_") for p in before] == [p.name for p in after]
    assert [p.probability for p in after] == pytest.approx([p.probability for p in before])
    assert [p.index for p in before] != [p.index for p in after]
    assert model.class_names == label_names("kinetics400")  # the one given is not changed


def test_a_model_of_other_or_unknown_classes_is_left_as_it_is():
    model = toy()
    assert in_order_of(model, "edcba") is model
    model.class_names = tuple("abcde")
    for names in ("abcde", "abcdf", "abcd", "abcdea"):
        assert in_order_of(model, names) is model
    assert in_order_of(model, "edcba").class_names == tuple("edcba")
    renamed = in_order_of(model, "ABCDE")
    assert renamed.class_names == tuple("ABCDE")
    assert torch.equal(renamed.head.weight, model.head.weight)
