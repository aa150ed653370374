import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.vmamba_explore import toys
from tests.vmamba_explore.training.runs import first_gradient
from vmamba_explore.clips.clip import normalize
from vmamba_explore.training.fit import TrainingLoss, fit, motion_weights, read_checkpoint
from vmamba_explore.training.recipe import Recipe


def toy(**changes):
    return toys.toy(**{"num_classes": 2, "depth": 1} | changes)


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


def test_a_run_stopped_anywhere_goes_on_to_the_same_bits_and_history(tmp_path):
    recipe, whole, again = Recipe(steps=70, checkpoint_every=20), toy(), toy()
    history = fit(whole, batches, recipe, tmp_path / "whole.pt")

    def interrupted(step):
        if step == 64:
            raise KeyboardInterrupt
        return batches(step)

    for until in (33, 61):  # neither where a row ends nor where a checkpoint is due
        fit(toy(), batches, recipe, tmp_path / "run.pt", until=until)
        assert torch.load(tmp_path / "run.pt", weights_only=True)["step"] == until
    with pytest.raises(KeyboardInterrupt):
        fit(toy(), interrupted, recipe, tmp_path / "run.pt")
    assert torch.load(tmp_path / "run.pt", weights_only=True)["step"] == 61
    torch.nn.init.zeros_(again.head.weight)  # what it starts from must not matter
    stopped = fit(again, batches, recipe, tmp_path / "run.pt")
    assert [row["step"] for row in history] == [50, 70]
    assert without_seconds(stopped) == without_seconds(history)
    finished = toy()
    assert fit(finished, lambda step: 1 / 0, recipe, tmp_path / "run.pt") == stopped
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
        assert torch.equal(value, finished.state_dict()[name]), name


def test_a_checkpoint_of_another_recipe_or_model_is_refused(tmp_path):
    fit(toy(), batches, RECIPE, tmp_path / "run.pt")
    other = Recipe(steps=12, learning_rate=1e-3, checkpoint_every=5)
    with pytest.raises(ValueError, match=r"another recipe \(learning_rate differ\)"):
        fit(toy(), batches, other, tmp_path / "run.pt")
    with pytest.raises(ValueError, match=r"another config \(depth differ\)"):
        fit(toy(depth=2), batches, RECIPE, tmp_path / "run.pt")


def test_a_loss_that_is_not_finite_stops_the_run_with_the_step(tmp_path):
    model = toy()
    torch.nn.init.constant_(model.head.bias, float("nan"))
    with pytest.raises(FloatingPointError, match="loss is nan at step 0"):
        fit(model, batches, RECIPE, tmp_path / "run.pt")


@pytest.mark.parametrize("error", [PermissionError("no"), torch.OutOfMemoryError("no")])
def test_a_checkpoint_that_cannot_be_read_now_is_not_called_damaged(tmp_path, monkeypatch, error):
    def fail(*given, **options):
        raise error

    fit(toy(), batches, RECIPE, tmp_path / "checkpoint.pt", until=1)
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(type(error)):
        read_checkpoint(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": -1}, "step is missing or of another kind"),
        ({"step": torch.tensor(3)}, "step is missing or of another kind"),
        ({"history": None, "recipe": [1]}, "recipe, history is missing or of another kind"),
        ({"model": {"head.weight": torch.zeros(2, 32)}}, "tensors do not fit: missing"),
        ({"model": {"head.weight": torch.zeros(2, 32).to_sparse()}}, "head.weight is sparse"),
        ({"optimizer": {}}, "optimizer does not fit"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_refused_and_kept(tmp_path, change, message):
    path = tmp_path / "run.pt"
    fit(toy(), batches, RECIPE, path, until=1)
    torch.save(torch.load(path, weights_only=True) | change, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message) as caught:
        fit(toy(), batches, RECIPE, path)
    assert "Move it away to start anew" in str(caught.value) and str(path) in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "change", [{"token_loss": 0.8, "token_until": 0.5}, {"label_smoothing": 0.1}]
)
def test_what_the_loss_asks_for_changes_what_is_learned(tmp_path, change):
    changed, plain = toy(), toy()
    fit(changed, batches, Recipe(steps=10, **change), tmp_path / "a.pt")
    fit(plain, batches, Recipe(steps=10), tmp_path / "b.pt")
    assert not torch.equal(changed.head.weight, plain.head.weight)


def test_the_log_gets_every_row_and_the_old_ones_after_a_stop(tmp_path):
    recipe, seen = Recipe(steps=60, checkpoint_every=20), []
    fit(toy(), batches, recipe, tmp_path / "run.pt", log=lambda h: seen.append(len(h)), until=55)
    fit(toy(), batches, recipe, tmp_path / "run.pt", log=lambda h: seen.append(len(h)))
    assert seen == [1, 1, 2]


def test_a_batch_in_parts_has_the_gradient_of_the_whole(tmp_path):
    for parts in (1, 3):  # 3 + 3 + 2 clips
        fit(toy(), batches, RECIPE, tmp_path / f"{parts}.pt", until=1, parts=parts)
    whole, parts = (first_gradient(tmp_path / f"{parts}.pt") for parts in (1, 3))
    assert (parts - whole).norm() < 2e-6 * whole.norm()  # measured: 1.3e-7


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_wrong_with_a_batch_is_said_in_its_own_words(tmp_path, workers):
    def broken(step):
        raise ValueError("step 0 has no clips.")

    with pytest.raises(ValueError, match=r"^step 0 has no clips\.$"):
        fit(toy(), broken, RECIPE, tmp_path / "run.pt", workers)


def test_a_checkpoint_of_an_older_recipe_is_gone_on_with(tmp_path):
    """What it lacks was done as the defaults say."""
    fit(toy(), batches, RECIPE, tmp_path / "run.pt", until=5)
    saved = torch.load(tmp_path / "run.pt", weights_only=True)
    del saved["recipe"]["label_smoothing"], saved["recent"]
    torch.save(saved, tmp_path / "run.pt")
    assert fit(toy(), batches, RECIPE, tmp_path / "run.pt")[-1]["step"] == 12


class WithBrightness(torch.nn.Module):
    """Cross-entropy, and a head for training only that estimates a clip's mean brightness."""

    def __init__(self, model):
        super().__init__()
        self.model, self.estimate = model, torch.nn.Linear(2, 1)
        self.progress = []

    def forward(self, clips, target, progress, brightness):
        self.progress.append(progress)
        logits = self.model(clips)
        error = (self.estimate(logits)[:, 0] - brightness).square().mean()
        return F.cross_entropy(logits, target) + error, logits


def batches_with_brightness(step):
    frames, labels = batches(step)
    return frames, labels, frames.mean((1, 2, 3, 4), dtype=np.float32) / 255


def test_an_objective_gets_the_truth_and_trains_its_own_head(tmp_path):
    objective = WithBrightness(toy())
    fit(
        objective.model, batches_with_brightness, Recipe(steps=50, learning_rate=3e-3),
        tmp_path / "run.pt", objective=objective,
    )  # fmt: skip
    assert objective.progress == [step / 50 for step in range(50)]
    assert not objective.training
    frames, _, brightness = batches_with_brightness(1000)
    estimate = objective.estimate(objective.model(normalize(frames)))[:, 0].detach().numpy()
    assert np.corrcoef(estimate, brightness)[0, 1] > 0.9


def test_a_run_with_an_objective_resumes_to_the_same_bits_of_its_head(tmp_path):
    def run(name, until=None):
        objective = WithBrightness(toy())
        path = tmp_path / name
        fit(
            objective.model, batches_with_brightness, RECIPE, path, until=until, objective=objective
        )
        return objective.state_dict()

    torch.manual_seed(0)
    whole = run("whole.pt")
    torch.manual_seed(0)
    run("stopped.pt", until=7)
    resumed = run("stopped.pt")  # its head starts elsewhere, which must not matter
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_a_checkpoint_of_another_objective_is_refused(tmp_path):
    fit(toy(), batches, RECIPE, tmp_path / "run.pt", until=1)
    objective = WithBrightness(toy())
    with pytest.raises(ValueError, match="another objective. Move it away"):
        fit(
            objective.model, batches_with_brightness, RECIPE, tmp_path / "run.pt",
            objective=objective,
        )  # fmt: skip


def test_an_objective_of_another_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="WithBrightness has another model, or none"):
        fit(toy(), batches, RECIPE, tmp_path / "run.pt", objective=WithBrightness(toy()))


def without_seconds(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


# The loss


def test_smoothing_spreads_a_share_of_the_target_over_all_classes():
    model, clips, target = toy(num_classes=3), torch.randn(2, 3, 4, 32, 32), torch.tensor([0, 2])
    loss, logits = TrainingLoss(model, Recipe(label_smoothing=0.3))(clips, target, 0.0)
    wanted = 0.7 * F.one_hot(target, 3) + 0.1
    torch.testing.assert_close(loss, -(wanted * logits.log_softmax(-1)).sum(1).mean())
    assert torch.equal(logits, model(clips))


def test_the_token_loss_alone_does_not_read_the_class_token():
    model, clips, target = toy(), torch.randn(1, 3, 4, 32, 32), torch.tensor([1])
    residual = model.encode(clips)
    residual.retain_grad()
    model.encode = lambda clips: residual
    TrainingLoss(model, Recipe(token_loss=1.0))(clips, target, 0.0)[0].backward()
    index = model.grid.cls_index
    assert not residual.grad[:, index].any() and residual.grad[:, index + 1 :].any()


def test_a_token_counts_as_much_as_its_tubelet_changes():
    clips = torch.zeros(1, 3, 4, 32, 32)
    clips[:, :, 2:, 16:, :16] = 1.0  # the lower left patch changes between frames 1 and 2
    weights = motion_weights(toy(), clips).view(2, 2, 2)  # token frame, row, col
    assert torch.equal(weights[:, 1, 0], torch.tensor([0.5, 0.5]))
    assert weights.sum() == 1
    still = motion_weights(toy(), torch.zeros(1, 3, 4, 32, 32))
    assert torch.equal(still, torch.zeros(1, 8))
