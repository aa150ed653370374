"""Published checkpoints: the golden files of the two sister projects, loaded and traced."""

import argparse
import hashlib
import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from tests.vmamba_explore.toys import toy
from vmamba_explore import load_clip, resources
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.model.checkpoints import (
    CheckpointError,
    fingerprint,
    load_model,
    model_from_state_dict,
    ours_name,
    published_name,
    save_model,
)
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.studies.subjects.samples import SAMPLES
from vmamba_explore.trace.record import run_with_trace
from vmamba_explore.training.evaluate_videos import predict_logits

RECALL_MODELS = ("recall-nano", "recall-nano-forward", "recall-nano-class-token")
# Verdicts that are not met, by model. In the first layer, which alone reads backward only, the test
# is known for five frames. One boundary after the test costs the forward model 3.1 points, not 3.
# With a class token in front all must travel back to it: a reset anywhere before the test destroys
# the answer, and the forward past is not the whole of it.
UNFED = "test read from backward states that the other direction did not feed: fewest"
OUTSIDE = "reset outside the delay: fewest right"
SWAP = "forward past swapped in the delay: most with the donor's answer"
KNOWN_TO_MISS = {
    "recall-nano": {UNFED},
    "recall-nano-forward": {OUTSIDE},
    "recall-nano-class-token": {UNFED, OUTSIDE, SWAP},
}
LAYOUTS = {"opengvlab_f4_k1": None, "opengvlab_f8_k2": None, "vim_midcls_div2": "vim"}
TOLERANCE = 1e-5  # relative, asked for


def as_clips(images):
    return images.unsqueeze(2) if images.ndim == 4 else images


def relative_error(value, wanted):
    return ((value - wanted).norm() / wanted.norm()).item()


@pytest.fixture(params=LAYOUTS)
def golden(load_golden, request):
    config, state_dict, tensors = load_golden(request.param)
    model = model_from_state_dict(state_dict, layout=LAYOUTS[request.param])
    assert model.config.img_size == config["img_size"]
    return model, tensors


def write_pickle(state_dict, path, wrapper):
    torch.save({wrapper: state_dict, "epoch": 3} if wrapper else state_dict, path)


def write_safetensors(state_dict, path, wrapper):
    prefix = f"{wrapper}." if wrapper else ""
    save_file({f"{prefix}{name}": value for name, value in state_dict.items()}, path)


@pytest.mark.parametrize("write", [write_pickle, write_safetensors])
@pytest.mark.parametrize("wrapper", ["", "model", "module"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_golden_files_on_disk_give_their_logits(load_golden, name, wrapper, write, tmp_path):
    config, state_dict, tensors = load_golden(name)
    write(state_dict, tmp_path / "weights.bin", wrapper)
    model = load_model(tmp_path / "weights.bin", layout=LAYOUTS[name])
    with torch.no_grad():
        logits = model(as_clips(tensors["input"]))
    assert relative_error(logits, tensors["logits"]) < TOLERANCE
    assert model.config.img_size == config["img_size"]
    assert not model.training


def test_a_wrapped_and_prefixed_training_checkpoint_gives_the_same_bits(load_golden, tmp_path):
    _, state_dict, tensors = load_golden("opengvlab_f4_k1")
    prefixed = {f"module.{name}": value for name, value in state_dict.items()}
    options = argparse.Namespace(lr=1e-3)  # what such scripts store beside the weights
    torch.save({"module": {"model": prefixed}, "args": options}, tmp_path / "nested.pth")
    torch.save(state_dict, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    wanted = model_from_state_dict(state_dict)(tensors["input"])
    for name in ("nested.pth", "old.pth"):
        assert torch.equal(load_model(tmp_path / name)(tensors["input"]), wanted)


def test_golden_logits_and_input_gradient_match(golden):
    model, tensors = golden
    clips = as_clips(tensors["input"]).requires_grad_()
    logits = model(clips)
    assert relative_error(logits, tensors["logits"]) < TOLERANCE
    logits[:, 1].sum().backward()
    wanted = as_clips(tensors["grad_input_logit1"])
    assert relative_error(clips.grad, wanted) < TOLERANCE


def test_golden_mixer_outputs_and_every_state_match(golden):
    model, tensors = golden
    with torch.no_grad():
        logits, trace = run_with_trace(model, as_clips(tensors["input"]))
    assert relative_error(logits, tensors["logits"]) < TOLERANCE
    compared = 0
    for key, wanted in tensors.items():
        kind, *place = key.split(".")
        if kind == "mixer_out":
            assert relative_error(trace[f"layers.{place[0]}.mixer.hook_out"], wanted) < TOLERANCE
            compared += 1
        if kind != "trace":
            continue
        layer, way, quantity = place
        direction = {"fwd": "forward", "bwd": "backward"}[way]
        ssm = f"layers.{layer}.mixer.ssm_{direction}"
        value = trace[f"{ssm}.hook_{'h' if quantity == 'h_last' else quantity}"]
        if quantity == "y":  # the golden y is after the gate, ours before it
            value = value * F.silu(trace[f"layers.{layer}.mixer.hook_z"])
        if way == "bwd":  # golden values stand in scan order
            value = value.flip(-1)
        if quantity == "h":
            value = value.permute(0, 3, 1, 2)
        if quantity == "h_last":
            value = value[..., -1]
        assert relative_error(value, wanted) < TOLERANCE, key
        compared += 1
    assert compared >= 22


def test_the_name_map_is_a_bijection_over_a_published_checkpoint(load_golden):
    _, state_dict, _ = load_golden("opengvlab_f4_k1")
    ours = [ours_name(name) for name in state_dict]
    assert len(set(ours)) == len(state_dict)
    assert [published_name(name) for name in ours] == list(state_dict)
    assert set(ours) == set(model_from_state_dict(state_dict).state_dict())


def test_zeroing_the_backward_direction_changes_the_logits(load_golden):
    _, state_dict, tensors = load_golden("opengvlab_f4_k1")
    for name in state_dict:
        if "_b." in name or name.endswith(("A_b_log", "D_b")):
            state_dict[name] = torch.zeros_like(state_dict[name])
    logits = model_from_state_dict(state_dict)(tensors["input"])
    assert relative_error(logits, tensors["logits"]) > 1e-2


def test_the_layout_decides_the_logits_of_an_image_checkpoint(load_golden):
    _, state_dict, tensors = load_golden("vim_midcls_div2")
    model = model_from_state_dict(state_dict, layout="opengvlab")
    assert model.grid.cls_index == 0
    logits = model(as_clips(tensors["input"]))
    assert relative_error(logits, tensors["logits"]) > 1e-2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("norm_f.weight"), "1 tensor does not fit: missing norm_f.weight"),
        (lambda s: s.update(extra=torch.zeros(1)), "left over extra"),
        (
            lambda s: s.update({"layers.1.mixer.D_b": torch.zeros(3)}),
            r"layers.1.mixer.D_b is \(3,\), expected \(64,\)",
        ),
        (
            lambda s: s.update({"norm_f.weight": torch.full((32,), torch.nan)}),
            "norm_f.weight is not finite in 32 of 32 numbers",
        ),
        (
            lambda s: s.update({"norm_f.weight": torch.ones(32, dtype=torch.int64)}),
            "norm_f.weight is torch.int64, expected floating-point",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_tensor(
    load_golden, change, message, tmp_path
):
    _, state_dict, _ = load_golden("opengvlab_f4_k1")
    change(state_dict)
    torch.save(state_dict, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path / "weights.pth")


def test_every_tensor_that_does_not_fit_is_listed_though_the_message_names_four(load_golden):
    _, state_dict, _ = load_golden("opengvlab_f4_k1")
    gone = [name for name in state_dict if name.startswith("layers.1.") and "_b" in name]
    for name in gone:
        del state_dict[name]
    state_dict |= {"one": torch.zeros(1), "two": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=f"and {len(gone) - 2} more") as caught:
        model_from_state_dict(state_dict)
    expected = {f"missing {name}" for name in gone} | {"left over one", "left over two"}
    assert set(caught.value.problems) == expected


def test_half_precision_weights_are_read_as_they_are(load_golden):
    _, state_dict, _ = load_golden("opengvlab_f4_k1")
    half = {name: value.bfloat16() for name, value in state_dict.items()}
    model = model_from_state_dict(half)
    assert model.head.weight.dtype == torch.float32
    assert torch.equal(model.head.weight, half["head.weight"].float())


@pytest.mark.parametrize(("num_classes", "name"), [(400, "riding a bike"), (174, None), (51, None)])
def test_a_published_video_model_is_named_by_its_number_of_classes(load_golden, num_classes, name):
    _, state_dict, tensors = load_golden("opengvlab_f4_k1")
    state_dict["head.weight"] = torch.zeros(num_classes, 32)
    state_dict["head.bias"] = torch.arange(num_classes, 0.0, -1)
    model = model_from_state_dict(state_dict)
    if num_classes == 51:
        assert model.class_names is None
        assert model.predict(tensors["input"][0], k=1)[0].name == "class 0"
    else:
        first = model.predict(tensors["input"][0], k=1)[0]
        assert (first.name, first.index) == (name or "Approaching something with your camera", 0)


def test_another_codes_configuration_beside_published_tensors_is_passed_over(load_golden, tmp_path):
    _, state_dict, _ = load_golden("opengvlab_f4_k1")
    path = tmp_path / "weights.pth"
    torch.save({"model": state_dict, "config": {"lr": 1e-3}, "step": 7}, path)
    assert fingerprint(load_model(path)) == fingerprint(model_from_state_dict(state_dict))


def test_an_image_model_gets_no_class_names(load_golden):
    _, state_dict, _ = load_golden("vim_midcls_div2")
    state_dict["head.weight"], state_dict["head.bias"] = torch.zeros(400, 32), torch.zeros(400)
    assert model_from_state_dict(state_dict, layout="vim").class_names is None


def test_other_sizes_are_given_on_request_and_only_then(load_golden, tmp_path):
    config, state_dict, tensors = load_golden("opengvlab_f4_k1")
    torch.save(state_dict, tmp_path / "weights.pth")
    kept = load_model(tmp_path / "weights.pth", img_size=config["img_size"], num_frames=4)
    assert torch.equal(kept(tensors["input"]), model_from_state_dict(state_dict)(tensors["input"]))
    other = load_model(tmp_path / "weights.pth", img_size=64, num_frames=8)
    assert (other.config.img_size, other.config.num_frames) == (64, 8)
    assert other(torch.randn(1, 3, 8, 64, 64)).isfinite().all()


def test_a_folder_needs_no_layout_and_its_weights_may_be_named(tmp_path):
    model = toy()
    save_model(model, tmp_path)
    assert fingerprint(load_model(tmp_path / "model.safetensors")) == fingerprint(model)
    with pytest.raises(CheckpointError, match="layout='vim' is for a published file"):
        load_model(tmp_path, layout="vim")


def test_a_local_folder_goes_before_a_hub_reference_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = toy()
    save_model(model, tmp_path / "someone" / "something")
    assert fingerprint(load_model("someone/something")) == fingerprint(model)


def test_a_missing_model_says_what_to_give(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"not a file or folder, a bundled model \(motion-nano"
    ):
        load_model(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="not a file or folder"):
        load_model("runs/lost.pth")  # not taken for a repository
    with pytest.raises(CheckpointError, match=r"lacks config.json and model.safetensors"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"config.json is not JSON \(Expecting"),
        ('{"depth": 0}', "depth must be an integer"),
        ('{"layers": 3}', "unexpected keyword argument 'layers'"),
        ("[]", "config.json holds a JSON list, expected a dict"),
        ('{"model_type": "videomae", "depth": 2}', "it describes a 'videomae'"),
        ('{"num_classes": 5, "class_names": ["a"]}', "1 class names for 5 classes"),
        ('{"num_classes": 5, "class_names": 5}', "class_names is 5, expected a list of names"),
        ('{"num_classes": 5, "class_names": "abcde"}', "class_names is 'abcde', expected a list"),
        ('{"num_classes": 1, "class_names": [1]}', r"class_names\[0\] is 1, expected a string"),
    ],
)
def test_a_damaged_folder_is_refused_with_its_path(text, message, tmp_path):
    save_model(toy(), tmp_path)
    weights = tmp_path / "model.safetensors"
    save_file(load_file(weights), weights)  # without the configuration in its header
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="model.safetensors is damaged"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path)


def test_a_name_that_no_file_can_have_is_refused_in_a_sentence():
    for name in (
        "a" * 5000,
        "~unknown-user-name/x",
        "a\0b",
        "a/b:../x",
        "a/b:x/../../y",
        "a/b:/x",
    ):
        with pytest.raises(CheckpointError) as caught:
            load_model(name)
        assert len(str(caught.value)) < 500 and str(caught.value).isprintable()


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_a_name_that_is_not_utf_8_is_refused_in_letters_that_can_be_printed(tmp_path):
    torch.save(toy().state_dict(), tmp_path / "weights.pth")
    os.rename(tmp_path / "weights.pth", os.fsencode(tmp_path) + b"/\xff\xfe.pth")
    (path,) = tmp_path.iterdir()
    with pytest.raises(CheckpointError, match=r"\\udcff\\udcfe.pth' is not UTF-8.*Rename it"):
        load_model(path)


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])
def test_the_bundled_model_names_every_bundled_clip(sample):
    model = load_model(sample.model)
    clip = load_clip(resources.path(f"clips/{sample.name}.mp4"), img_size=model.config.img_size)
    with torch.no_grad():
        scores = model(clip.tensor().unsqueeze(0))[0].softmax(-1)
    assert model.class_names[scores.argmax()] == sample.shows
    assert scores.max() > (0.5 if sample.model == "camera-nano" else 0.9)


@pytest.mark.parametrize("name", ["motion-nano", *RECALL_MODELS])
def test_the_bundled_metrics_belong_to_the_bundled_model_and_meet_what_was_asked(name):
    model = load_model(name)
    metrics = json.loads(resources.path(f"{name}/metrics.json").read_text())
    assert VideoMambaConfig(**metrics["model"]["config"]) == model.config
    missed = {what for what, verdict in metrics["test"]["verdicts"].items() if not verdict["met"]}
    assert missed == KNOWN_TO_MISS.get(name, set())
    weights = resources.path(f"{name}/model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() in resources.path("SOURCES.md").read_text()


def test_the_bundled_model_is_as_right_on_fresh_clips_as_its_metrics_say():
    clips = MotionClips(99, distractors="all", backgrounds="test")
    frames, labels = clips.batch(range(100))
    right = predict_logits(load_model("motion-nano"), frames).argmax(-1).numpy() == labels
    assert right.mean() >= 0.95  # 98.9 % on 2 000 clips; below 95 of 100 once in a thousand
