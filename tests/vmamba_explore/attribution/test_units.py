"""What is taken away at a time."""

import pytest
import torch

from tests.vmamba_explore.toys import clips_for, toy
from vmamba_explore.attribution.methods import make_problem
from vmamba_explore.attribution.units import units_of


def problem(clips=None, **config):
    model = toy(num_frames=8, patch_size=8, **config)
    return make_problem(model, clips_for(model) if clips is None else clips, 0)


def test_a_tubelet_is_one_token_and_a_frame_all_of_its_own():
    asked = problem()
    tubelets, frames = units_of(asked, "tubelets"), units_of(asked, "frames")
    assert tubelets.count == 64 and bool((tubelets.sizes == 1).all())
    assert frames.count == 4 and bool((frames.sizes == 16).all())
    of_token = frames.numbers[1].view(4, 4, 4)
    assert bool((of_token == torch.arange(4).view(4, 1, 1)).all())


def test_sums_and_shares_go_there_and_back():
    asked = problem()
    numbers = torch.randint(0, 5, (2, 4, 4, 4), generator=torch.Generator().manual_seed(3))
    units = units_of(asked, numbers)
    values = torch.randn(2, 4, 4, 4)
    sums = units.sums(values)
    torch.testing.assert_close(sums[1, 2], values[1][numbers[1] == 2].sum())
    assert int(units.sizes[0, 4]) == int((numbers[0] == 4).sum())
    spread = units.spread(sums)
    torch.testing.assert_close(units.sums(spread), sums)
    torch.testing.assert_close(spread[0][numbers[0] == 3].std(), torch.tensor(0.0))


def test_a_token_is_there_when_its_unit_is():
    asked = problem()
    numbers = torch.randint(0, 3, (2, 4, 4, 4), generator=torch.Generator().manual_seed(3))
    units = units_of(asked, numbers)
    present = torch.tensor([[True, False, True], [False, True, False]])
    found = units.tokens(present, torch.tensor([1, 0]))
    assert torch.equal(found[0], numbers[1] != 1)
    assert torch.equal(found[1], numbers[0] == 1)


@pytest.mark.parametrize("channels", [3, 1])
def test_tubes_follow_what_moves(channels):
    """A bright half of the picture grows to the right, a token a token frame."""
    clips = torch.full((1, channels, 8, 32, 32), -1.5)
    for frame in range(8):
        clips[0, :, frame, :, : 8 + 8 * (frame // 2)] = 1.5
    units = units_of(problem(clips, in_channels=channels), "tubes", n_tubes=6)
    bright = clips.view(channels, 4, 2, 4, 8, 4, 8)[0, :, 0, :, 0, :, 0].flatten() > 0
    share = units.sums(bright.float().view(1, 4, 4, 4)) / units.sizes
    assert 2 <= units.count <= 20
    assert bool(((share == 0) | (share == 1)).all())
    frames = [units.numbers[0].view(4, 16)[t].unique().tolist() for t in range(4)]
    assert set(frames[0]) & set(frames[1]), "no tube lasts longer than a token frame"


def test_clips_may_have_fewer_tubes_than_others():
    clips = torch.zeros(2, 3, 8, 32, 32)
    clips[1] = torch.randn(3, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    units = units_of(problem(clips), "tubes", n_tubes=12)
    counts = (units.sizes > 0).sum(1)
    assert int(counts.max()) == units.count and int(counts.min()) < units.count
    for clip, count in enumerate(counts.tolist()):
        assert units.numbers[clip].unique().tolist() == list(range(count))


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        ("tube", "unit is 'tube'; expected one of tubelets, frames, tubes, or a tensor"),
        (torch.zeros(65, dtype=torch.long), r"unit is \(65,\); expected a number for every video"),
        (torch.zeros(4, 4, 4), "unit is torch.float32, expected whole numbers"),
        (torch.full((64,), -1), "numbers -1 to -1; expected 0 to at most 63"),
        (torch.full((64,), 64), "numbers 64 to 64; expected 0 to at most 63"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_units_are_named(unit, message):
    with pytest.raises(ValueError, match=message):
        units_of(problem(), unit)


def test_the_number_of_tubes_is_positive():
    with pytest.raises(ValueError, match="n_tubes is 0, expected at least 1"):
        units_of(problem(), "tubes", n_tubes=0)
