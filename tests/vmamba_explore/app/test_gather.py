"""Every map of the explorer against the analysis called directly, for every kind of model."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from vmamba_explore.analysis.attention import hidden_attention, logit_attention
from vmamba_explore.analysis.evidence import prefix_curve, suffix_curve
from vmamba_explore.analysis.memory import retained_share
from vmamba_explore.analysis.reach import look_back
from vmamba_explore.analysis.states import state_norms
from vmamba_explore.app.gather import begin, gather
from vmamba_explore.app.question import QUANTITIES, Cancelled, Question
from vmamba_explore.attribution.methods import attribute
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.clips.recall import RecallClips
from vmamba_explore.edits import current
from vmamba_explore.trace.interventions import mute
from vmamba_explore.trace.record import run_with_trace
from vmamba_explore.view.explorer import Explorer

QUIET = Question(progress=False)
KINDS = {
    "front": {},
    "middle": {"cls_position": "middle"},
    "none": {"cls_position": None},
    "spatial": {"backward_order": "spatial"},
    "temporal, none": {"backward_order": "temporal", "cls_position": None},
    "forward only": {"backward_order": None},
    "one token frame": {"num_frames": 2},
    "image": {"num_frames": 1, "tubelet_size": 1, "cls_position": None},
    "3 x 3": {"img_size": 24},
    "one class": {"num_classes": 1},
    "every frame": {"cls_position": "every_frame"},
    "pool norm": {"pool_norm": True},
    "videomambapro": {"scan_variant": "videomambapro"},
}


@pytest.fixture
def clip(model, noise_clip):
    return noise_clip(model)


def state_of(model):
    """Everything that a run could leave behind in a model."""
    return (
        [p.requires_grad for p in model.parameters()],
        [module.training for module in model.modules()],
        [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
        current().blocks,
        [p.grad is None for p in model.parameters()],
    )


def recorded(model, clip):
    names = ["delta", "u", "B", "C", "h_over_channels", "block_input", "out", "x", "z", "y"]
    with torch.no_grad():
        return run_with_trace(model, clip, [f"*hook_{name}" for name in names])[1]


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_every_map_is_what_its_analysis_gives(small_model, noise_clip, changes):
    model = small_model(**changes)
    clip = noise_clip(model)
    found = gather(model, clip, QUIET)
    trace, directions = recorded(model, clip), model.config.directions
    target = model(clip.tensor()[None]).argmax(-1)
    assert found.explained == (int(target), None)
    expected = {
        "delta": trace.sel(quantity="delta").mean("channel"),
        "state norm": state_norms(trace),
        "hidden attention": hidden_attention(trace).array(),
        "contribution": logit_attention(trace, target, progress=False).array(),
        "relevance": attribute(model, clip, target, "mamba_lrp", progress=False).array(),
    }
    assert list(found.maps) == list(QUANTITIES)
    for name, wanted in expected.items():
        values = found.maps[name]
        wanted = wanted.transpose(*values.dims)
        if name == "hidden attention":
            assert (wanted.values[np.isnan(values.values)] == 0).all()  # what cannot be read
            wanted = wanted.where(np.isfinite(values.values))
        np.testing.assert_allclose(
            values.values, wanted.values, rtol=1e-4, atol=1e-7, equal_nan=True, err_msg=name
        )
    for layer in range(model.config.depth):
        for direction in directions:
            here = {"layer": layer, "direction": direction}
            for name, wanted in (
                ("retention", retained_share(trace, layer, direction)),
                ("look-back", look_back(trace, layer, direction, unit="frames").array()),
            ):
                values = found.maps[name].sel(here).values
                np.testing.assert_allclose(values, wanted.values, rtol=1e-4, err_msg=name)
    json.dumps(Explorer(found)._state(), default=lambda value: "", allow_nan=False)


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_the_steps_count_every_token_once_in_the_order_of_the_scan(
    small_model, noise_clip, changes
):
    model = small_model(**changes)
    found = gather(model, noise_clip(model), Question(quantities=["delta"], progress=False))
    grid = model.grid
    assert found.directions == model.config.directions
    for direction, steps in found.steps.items():
        order = model.layers[0].mixer.directions[direction].steps(grid.seqlen).tolist()
        of_cls = [order.index(place) for place in grid.cls_indices]
        assert sorted([*steps.ravel().tolist(), *of_cls]) == list(range(grid.seqlen))
        assert found.cls_steps.get(direction) == (of_cls[0] if grid.cls_index is not None else None)
        for place in np.ndindex(grid.shape):
            assert order[steps[place]] == grid.index(*place)
    assert bool(found.cls_steps) == (grid.cls_index is not None)


def test_the_curves_are_the_evidence_from_both_ends(model, clip):
    found = gather(model, clip, Question(target=1, minus=3, quantities=["delta"], progress=False))
    for name, curve in {"start": prefix_curve, "end": suffix_curve}.items():
        wanted = curve(model, clip, 1, 3, progress=False).array()
        shown = found.curves[f"seen from the {name}"]
        np.testing.assert_array_equal(shown.values, wanted.values)
        assert shown.dims == ("frame",)
    assert found.target == "class 1 − class 3" and found.explained == (1, 3)


def test_contributions_sum_to_the_logit_but_for_what_no_token_brings(model, clip):
    found = gather(model, clip, Question(target=2, quantities=["contribution"], progress=False))
    parts = logit_attention(recorded(model, clip), 2, progress=False)
    assert float(found.maps["contribution"].sum()) == pytest.approx(
        float(parts.values.sum() - parts.cls.sum()), abs=1e-4
    )


def test_classes_are_the_most_probable_first_and_named(small_model, noise_clip):
    model = small_model()
    model.class_names = ("a", "b", "<i>c</i>", "d", "e")
    clip = noise_clip(model)
    found = gather(model, clip, Question(quantities=["delta"], progress=False))
    shares = model(clip.tensor()[None]).softmax(-1)[0].tolist()
    wanted = sorted(zip(model.class_names, shares, strict=True), key=lambda pair: -pair[1])
    assert [name for name, _ in found.classes] == [name for name, _ in wanted]
    assert [share for _, share in found.classes] == pytest.approx([share for _, share in wanted])
    assert found.target == wanted[0][0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_model_of_another_precision_gives_nearly_the_same_maps(model, small_model, clip, dtype):
    question = Question(target=0, progress=False)
    wanted = gather(model, clip, question).maps
    found = gather(small_model().to(dtype), clip, question).maps
    limit = 1e-4 if dtype is torch.float64 else 0.1
    for name, values in found.items():
        assert values.dtype == np.float32
        one, other = values.values.astype(float), wanted[name].values.astype(float)
        np.testing.assert_array_equal(np.isnan(one), np.isnan(other))
        distance = np.sqrt(np.nansum((one - other) ** 2) / np.nansum(other**2))
        assert distance < limit, (name, distance)


def test_only_the_chosen_layers_and_quantities_are_made(small_model, noise_clip):
    model = small_model(depth=3)
    clip = noise_clip(model)
    chosen = Question(quantities=["look-back", "contribution"], layers=[2, 0, 2], progress=False)
    found, every = gather(model, clip, chosen), gather(model, clip, QUIET)
    assert set(found.maps) == {"look-back", "contribution"} and found.layers == (0, 2)
    for name, values in found.maps.items():
        np.testing.assert_array_equal(values.values, every.maps[name].sel(layer=[0, 2]).values)


def test_training_and_inference_mode_change_nothing_and_come_back(model, clip):
    wanted = gather(model, clip, QUIET)
    model.train()
    model.head.weight.requires_grad_(False)
    before = state_of(model)
    with torch.enable_grad():
        found = gather(model, clip, QUIET)
    assert state_of(model) == before and model.training
    with torch.inference_mode():
        other = gather(model, clip, QUIET)
        assert torch.is_inference_mode_enabled()
    assert found.maps.keys() == other.maps.keys() == wanted.maps.keys()
    for name, values in wanted.maps.items():
        np.testing.assert_array_equal(found.maps[name].values, values.values)
        np.testing.assert_array_equal(other.maps[name].values, values.values)


def test_an_edited_model_is_that_model_run_inside_its_block(model, clip):
    before = state_of(model)
    question = Question(target=1, quantities=["delta", "hidden attention"], progress=False)
    plain = gather(model, clip, question)
    found = gather(model, clip, question, edit=lambda model: mute(model, "forward"), name="muted")
    assert state_of(model) == before
    with torch.no_grad(), mute(model, "forward"):
        logits = model(clip.tensor()[None])
        trace = recorded(model, clip)
        curve = prefix_curve(model, clip, 1, progress=False).array()
    shares = sorted(logits.softmax(-1)[0].tolist(), reverse=True)
    assert [share for _, share in found.classes] == pytest.approx(shares)
    wanted = trace.sel(quantity="delta").mean("channel").transpose(*found.maps["delta"].dims)
    np.testing.assert_allclose(found.maps["delta"].values, wanted.values, rtol=1e-5)
    np.testing.assert_array_equal(found.curves["seen from the start"].values, curve.values)
    assert not np.allclose(plain.maps["delta"].values[1], found.maps["delta"].values[1])
    assert found.title == "muted"


def test_contributions_that_an_edit_falsifies_are_left_out_and_relevance_too(model, clip):
    found = gather(model, clip, QUIET, edit=lambda model: mute(model, "backward"))
    assert set(QUANTITIES) - set(found.maps) == {"contribution", "relevance"}
    for asked in (["contribution"], ["contribution", "relevance"]):
        question = Question(quantities=asked, progress=False)
        with pytest.raises(ValueError, match="with this edit they do not sum to the logit; add an"):
            gather(model, clip, question, edit=lambda model: mute(model, "backward"))


def test_the_deciding_frames_of_a_generated_clip_are_stored(model):
    motion = MotionClips(3, num_frames=8, img_size=32)[0]
    recall = RecallClips(3, num_frames=8, img_size=32, delay=(2, 2))[0]
    question = Question(quantities=["delta"], progress=False)
    assert gather(model, motion, question).deciding == [motion.window]
    assert gather(model, recall, question).deciding == [recall.sample, recall.test]
    assert not gather(model, motion.clip, question).deciding


@pytest.mark.parametrize("at", range(6))
def test_cancelling_at_any_step_leaves_the_model_as_it_was(small_model, noise_clip, at):
    model = small_model()
    model.train()
    before, heard = state_of(model), []

    def report(words, done):
        heard.append((words, done))
        if len(heard) > at:
            raise Cancelled

    question = Question(progress=False, report=report)
    with pytest.raises(Cancelled):
        gather(model, noise_clip(model), question, edit=lambda model: mute(model, "forward"))
    assert state_of(model) == before and len(heard) == at + 1
    with torch.no_grad():
        clip = noise_clip(model).tensor()[None]
        assert torch.equal(model(clip), small_model()(clip))


def test_the_report_hears_every_step_and_no_bar_is_drawn(small_model, noise_clip, capsys):
    heard, model = [], small_model()
    question = Question(progress=False, report=lambda words, done: heard.append((words, done)))
    begun = begin(model, noise_clip(model), question)
    assert [words for words, _ in heard] == [
        "running the model", "layer 0", "layer 1", "contributions",
    ]  # fmt: skip
    assert [done for _, done in heard] == pytest.approx([n / 4 for n in range(4)])
    heard.clear()
    begun.complete(lambda words, done: heard.append((words, done)))
    assert list(dict.fromkeys(words for words, _ in heard)) == [
        "layer 0", "layer 1", "relevance", "state lens", "evidence", "controls",
    ]  # fmt: skip
    shares = [done for _, done in heard]
    assert shares == sorted(shares)
    assert sorted(set(shares)) == pytest.approx([n / 6 for n in range(6)])
    assert capsys.readouterr() == ("", "")


FORWARD = {"edit": lambda model: mute(model, "forward")}


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({"quantities": "delta"}, {}, "quantities is 'delta', expected a list of some of delta"),
        ({"quantities": ["delta", "age"]}, {}, r"quantities is \['delta', 'age'\], expected"),
        ({"quantities": []}, {}, r"quantities is \[\], expected a list of some of"),
        ({"layers": []}, {}, r"layers is \[\], expected"),
        ({"layers": 1}, {}, "layers is 1, expected a list of some of 0, 1; None takes all"),
        ({"layers": [2]}, {}, r"layers is \[2\], expected a list of some of 0, 1"),
        ({"layers": [-1]}, {}, r"layers is \[-1\], expected"),
        ({"target": 5}, {}, "explore: target is 5; this model's classes are 0 to 4"),
        ({"target": "right"}, {}, "explore: target is 'right'"),
        ({"minus": -1}, {}, "explore: minus is -1; this model's classes are 0 to 4"),
        ({"target": 1, "minus": 1}, {}, "explore: target and minus are the same class .class 1."),
        ({"quantities": ["relevance"]}, FORWARD, "MambaLRP explains no edited model; add another"),
    ],
)
def test_a_wrong_question_is_refused_in_a_sentence(model, clip, unchecked, changes, options, words):
    with pytest.raises(ValueError, match=words):
        gather(model, clip, Question(progress=False, **changes), **options)


def test_what_cannot_be_run_is_refused_in_a_sentence(
    model, small_model, clip, noise_clip, unchecked
):
    with pytest.raises(TypeError, match="compare returned NoneType, expected a `with` block"):
        gather(model, clip, QUIET, edit=lambda model: None)
    with pytest.raises(ValueError, match="clips has height 24, this model expects 32"):
        gather(model, noise_clip(small_model(img_size=24)), QUIET)
    model.head.weight.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="logits are not finite; run_with_trace"):
        gather(model, clip, QUIET)


def test_relevance_over_budget_is_left_out_unless_it_was_asked_for(model, clip, monkeypatch):
    def too_much(*args, **options):
        raise MemoryError("over budget")

    monkeypatch.setattr("vmamba_explore.app.gather.attribute", too_much)
    assert "relevance" not in gather(model, clip, QUIET).maps
    with pytest.raises(MemoryError, match="over budget"):
        gather(model, clip, Question(quantities=["relevance"], progress=False))


def test_an_encoder_is_explained_along_a_direction_over_its_features(small_model, noise_clip):
    encoder = small_model(num_classes=0, pool_norm=True)
    clip = noise_clip(encoder)
    with torch.no_grad():
        direction = encoder.embed(noise_clip(encoder, seed=1).tensor()[None])[0]
    found = gather(encoder, clip, replace(QUIET, target=direction))
    assert found.target == "the direction" and found.explained == (None, None)
    assert not found.classes and found.controls is None and found.headline is not None
    assert list(found.maps) == list(QUANTITIES)
    wanted = logit_attention(recorded(encoder, clip), direction, progress=False).array()
    contribution = found.maps["contribution"]
    np.testing.assert_allclose(
        contribution.values, wanted.transpose(*contribution.dims).values, rtol=1e-4, atol=1e-6
    )
    assert contribution.attrs["unit"] == "" and "the direction" in contribution.attrs["about"]
    with torch.no_grad():
        number = float(encoder(clip.tensor()[None])[0] @ direction)
    assert found.curves["seen from the start"].values[-1] == pytest.approx(number, rel=1e-4)
    json.dumps(Explorer(found)._state(), default=lambda value: "", allow_nan=False)
    with pytest.raises(ValueError, match="target is None, expected a direction over the features"):
        gather(encoder, clip, QUIET)
