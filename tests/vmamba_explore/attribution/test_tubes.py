"""The smallest tube that keeps the answer is the one that was planted."""

import pytest
import torch

from tests.vmamba_explore.attribution.cases import sliced, unmix
from tests.vmamba_explore.toys import clips_for, toy
from vmamba_explore.attribution.game import Game
from vmamba_explore.attribution.methods import attribute, make_problem
from vmamba_explore.attribution.tubes import Tube, extremal_perturbation
from vmamba_explore.attribution.units import units_of

AREAS = (6 / 64, 12 / 64, 24 / 64)


@pytest.fixture
def pattern():
    """Return what is shown in every token of the answer."""
    return 2 * torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(1)).double()


@pytest.fixture
def model(pattern):
    """Return a model that looks for the pattern in each token; its blocks do nothing."""

    def look_for_it(model):
        unmix(model)
        model.head.weight[3] = model.patch_embed(pattern.unsqueeze(0))[0, 0]

    how = {"num_frames": 8, "patch_size": 8, "cls_position": None, "pos_embed": "none"}
    return toy(dtype=torch.float64, change=look_for_it, **how)


@pytest.fixture
def planted():
    """Return where the answer is: 12 tokens of a 2 x 2 square that moves to the right."""
    tokens = torch.zeros(4, 4, 4, dtype=torch.bool)
    for frame in range(1, 4):
        tokens[frame, 1:3, frame - 1 : frame + 1] = True
    return tokens


@pytest.fixture
def background():
    """Return what is around it: not black, since RMSNorm sees a dimmed token as a bright one."""
    return torch.randn(1, 3, 8, 32, 32, generator=torch.Generator().manual_seed(2)).double()


@pytest.fixture
def clips(planted, pattern, background):
    pixels = planted.repeat_interleave(2, 0).repeat_interleave(8, 1).repeat_interleave(8, 2)
    return torch.where(pixels, pattern.repeat(1, 4, 4, 4), background)


def search(model, clips, **options):
    options = {"areas": AREAS} | options
    return attribute(model, clips, 3, "extremal_perturbation", progress=False, **options)


def test_the_tube_that_was_planted_is_found(model, clips, planted, background):
    found = search(model, clips, baselines=background)
    tube = found.details
    assert tube.tubes.flatten(2).sum(2).tolist() == [[6, 12, 24]]
    assert torch.equal(tube.tubes[0, 1], planted)
    assert torch.equal(tube.tube[0], planted)
    torch.testing.assert_close(tube.area, torch.tensor([12 / 64]).double())
    torch.testing.assert_close(tube.kept[0, 1:], torch.ones(2).double())
    with torch.no_grad():  # what each token adds by itself
        here, there = (
            model.head(model.norm_f(model.tokens(x)))[0, :, 3] for x in (clips, background)
        )
    adds = (here - there) / (here - there).sum()
    torch.testing.assert_close(tube.kept[0, 0], adds[tube.tubes[0, 0].flatten()].sum())
    assert bool((planted | ~tube.tubes[0, 0]).all())
    assert float(found.tokens()[0][planted].min()) > float(found.tokens()[0][~planted].max())
    assert found.convergence_delta is None


def test_what_is_kept_is_what_the_model_gives_for_the_tube_alone(model, clips):
    problem = make_problem(model, clips, 3)
    base = torch.randn_like(clips)
    found = extremal_perturbation(problem, areas=(0.3,), baselines=base, n_steps=2)
    game = Game(problem, units_of(problem), base)
    only = found.details.tubes[:, 0].flatten(1)
    whole, empty, part = (
        game(there, problem.which)
        for there in (torch.ones_like(only), torch.zeros_like(only), only)
    )
    torch.testing.assert_close(found.details.kept[:, 0], (part - empty) / (whole - empty))
    torch.testing.assert_close(found.baseline_output, empty)
    torch.testing.assert_close(empty, problem(base))


@pytest.mark.parametrize("cls_position", ["front", None])
def test_slices_and_clips_side_by_side_change_nothing(cls_position):
    model = toy(dtype=torch.float64, num_frames=8, cls_position=cls_position)
    clips = clips_for(model)
    problem = make_problem(model, clips, [1, 2])
    small = sliced(problem, forward_rows=3, gradient_rows=2)
    alone = make_problem(model, clips[1:], [2])
    first, again, second = (
        extremal_perturbation(p, areas=(0.2, 0.4), n_steps=3).values
        for p in (problem, small, alone)
    )
    torch.testing.assert_close(first, again)
    torch.testing.assert_close(first[1:], second)
    assert alone.cost.backward == 2 * 3


def test_the_smallest_area_that_keeps_the_answer_counts():
    tubes = torch.zeros(2, 3, 1, 2, 2, dtype=torch.bool)
    tubes[:, 1, 0, 0, 0] = tubes[:, 2, 0, 1, 1] = True
    kept = torch.tensor([[0.1, 0.95, 0.9], [0.2, 0.8, 0.89]])
    tube = Tube((0.1, 0.2, 0.4), tubes, kept, 0.9)
    assert tube.area[0] == torch.tensor(0.2) and bool(tube.area[1].isnan())
    assert torch.equal(tube.tube, torch.stack([tubes[0, 1], tubes[1, 2]]))
    assert "1 of 2 clips with none" in repr(tube)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"areas": ()}, "expected parts of the clip between 0 and 1"),
        ({"areas": (0.1, 1.5)}, r"areas are \(0.1, 1.5\); expected parts"),
        ({"n_steps": 0}, "n_steps is 0, expected more than 0"),
        ({"share": -1}, "share is -1, expected more than 0"),
        ({"smoothing": 0.0}, "smoothing is 0.0, expected more than 0"),
        ({"baselines": "dropped"}, "this method needs pixels there"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_sought_is_named(model, clips, options, message):
    with pytest.raises(ValueError, match=message):
        search(model, clips, **options)
