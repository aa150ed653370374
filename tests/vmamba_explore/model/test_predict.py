import pytest
import torch

from tests.vmamba_explore.toys import toy
from vmamba_explore import load_model
from vmamba_explore.clips.motion import CLASS_NAMES, MotionClips
from vmamba_explore.model.predict import top_predictions


def test_predictions_are_the_softmax_of_the_logits_the_most_probable_first():
    found = top_predictions(torch.tensor([1.0, 3.0, 2.0]), ("a", "b", "c"), 2)
    assert [(p.name, p.index) for p in found] == [("b", 1), ("c", 2)]
    assert found[0].probability == pytest.approx(0.66524, abs=1e-5)
    everything = top_predictions(torch.tensor([1.0, 3.0, 2.0]), None, 9)
    assert [p.name for p in everything] == ["class 1", "class 2", "class 0"]
    assert sum(p.probability for p in everything) == pytest.approx(1)


def test_a_clip_a_motion_clip_and_their_tensor_are_the_same_question():
    model, clip = load_model("motion-nano"), MotionClips(3, backgrounds="test")[0]
    answer = model.predict(clip)
    assert answer == model.predict(clip.clip) == model.predict(clip.clip.tensor())
    assert answer[0].name == CLASS_NAMES[clip.label]
    assert len(answer) == 5


def test_a_prediction_leaves_no_graph_and_no_change_of_mode():
    model = toy().train()
    model.predict(torch.zeros(3, 4, 32, 32), k=1)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_cannot_be_predicted_is_refused(unchecked):
    model = toy()
    with pytest.raises(ValueError, match="num_frames 8, this model expects 4"):
        model.predict(torch.zeros(3, 8, 32, 32))
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        model.predict(torch.zeros(3, 4, 32, 32), k=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_gets_no_prediction(value):
    clip = torch.zeros(3, 4, 32, 32)
    clip[0, 1, 2, 3] = value
    with pytest.raises(ValueError, match="the clip has pixels that are not finite"):
        toy().predict(clip)
    broken = toy(change=lambda model: model.head.bias[2:4].fill_(value))
    with pytest.raises(ValueError, match="2 of 5 logits are not finite"):
        broken.predict(torch.zeros(3, 4, 32, 32))
