import numpy as np
import pytest
import torch

from vmamba_explore.clips.clip import normalize
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.training.fit import Recipe, _motion_weights, fit


def toy():
    torch.manual_seed(0)
    return VideoMamba(VideoMambaConfig.preset("toy", num_classes=2, depth=1))


def batches(step):
    """Bright clips are class 1, dark ones class 0: learnable at once."""
    generator = np.random.default_rng(step)
    labels = generator.integers(0, 2, 8)
    frames = generator.integers(0, 100, (8, 4, 32, 32, 3)) + 120 * labels[:, None, None, None, None]
    return frames.astype(np.uint8), labels


RECIPE = Recipe(steps=12, learning_rate=3e-3, checkpoint_every=5)


def test_fit_learns_what_is_plain_to_see(tmp_path):
    model = toy()
    recipe = Recipe(steps=50, learning_rate=3e-3, clip_norm=5.0)
    history = fit(model, batches, recipe, tmp_path / "run.pt")
    assert not model.training
    assert history[-1]["step"] == 50
    frames, labels = batches(1000)
    assert (model(normalize(frames)).argmax(-1).numpy() == labels).all()


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path):
    whole = toy()
    fit(whole, batches, RECIPE, tmp_path / "whole.pt")

    def interrupted(step):
        if step == 8:
            raise KeyboardInterrupt
        return batches(step)

    first = toy()
    with pytest.raises(KeyboardInterrupt):
        fit(first, interrupted, RECIPE, tmp_path / "run.pt")
    assert torch.load(tmp_path / "run.pt", weights_only=True)["step"] == 5
    again = toy()
    torch.nn.init.zeros_(again.head.weight)  # what it starts from must not matter
    fit(again, batches, RECIPE, tmp_path / "run.pt")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_a_finished_run_is_loaded_and_not_trained_again(tmp_path):
    model = toy()
    fit(model, batches, RECIPE, tmp_path / "run.pt")

    def never(step):
        raise AssertionError("asked for a batch")

    again = toy()
    fit(again, never, RECIPE, tmp_path / "run.pt")
    assert torch.equal(again.head.weight, model.head.weight)


def test_a_checkpoint_of_another_recipe_or_model_is_refused(tmp_path):
    fit(toy(), batches, RECIPE, tmp_path / "run.pt")
    other = Recipe(steps=12, learning_rate=1e-3, checkpoint_every=5)
    with pytest.raises(ValueError, match=r"another recipe \(learning_rate differ\)"):
        fit(toy(), batches, other, tmp_path / "run.pt")
    model = VideoMamba(VideoMambaConfig.preset("toy", num_classes=2, depth=2))
    with pytest.raises(ValueError, match=r"another config \(depth differ\)"):
        fit(model, batches, RECIPE, tmp_path / "run.pt")


def test_a_loss_that_is_not_finite_stops_the_run_with_the_step(tmp_path):
    model = toy()
    torch.nn.init.constant_(model.head.bias, float("nan"))
    with pytest.raises(FloatingPointError, match="loss is nan at step 0"):
        fit(model, batches, RECIPE, tmp_path / "run.pt")


def test_the_learning_rate_warms_up_and_falls_to_zero():
    recipe = Recipe(steps=100, learning_rate=1.0, warmup=0.1)
    rates = [recipe.learning_rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == pytest.approx(1.0)
    assert all(a > b for a, b in zip(rates[10:], rates[11:], strict=False))
    assert rates[-1] < 0.001


def test_the_token_loss_fades_and_changes_the_gradient(tmp_path):
    recipe = Recipe(steps=10, token_loss=0.8, token_until=0.5)
    assert [recipe.token_loss_at(s) for s in (0, 5, 9)] == [0.8, 0.0, 0.0]
    with_tokens, without = toy(), toy()
    fit(with_tokens, batches, recipe, tmp_path / "a.pt")
    fit(without, batches, Recipe(steps=10), tmp_path / "b.pt")
    assert not torch.equal(with_tokens.head.weight, without.head.weight)


def test_a_token_counts_as_much_as_its_tubelet_changes():
    clips = torch.zeros(1, 3, 4, 32, 32)
    clips[:, :, 2:, 16:, :16] = 1.0  # the lower left patch changes between frames 1 and 2
    weights = _motion_weights(toy(), clips).view(2, 2, 2)  # token frame, row, col
    assert torch.equal(weights[:, 1, 0], torch.tensor([0.5, 0.5]))
    assert weights.sum() == 1
    still = _motion_weights(toy(), torch.zeros(1, 3, 4, 32, 32))
    assert torch.equal(still, torch.zeros(1, 8))
