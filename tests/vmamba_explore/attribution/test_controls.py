"""Maps without a model, on clips whose differences and edges can be counted by hand."""

import pytest
import torch

from tests.vmamba_explore.toys import clips_for, toy
from vmamba_explore.attribution.clip_scores import CONTROLS
from vmamba_explore.attribution.methods import attribute


@pytest.fixture(scope="module")
def model():
    return toy()


def clip_with_a_jump():
    """A bright square that jumps once, from frame 1 to frame 2; 4 frames of 32 x 32."""
    clip = torch.zeros(1, 3, 4, 32, 32)
    clip[:, :, :2, 2:6, 2:6] = 1
    clip[:, :, 2:, 20:24, 20:24] = 1
    return clip


@pytest.mark.parametrize("method", CONTROLS)
@pytest.mark.parametrize("cls_position", ["front", "middle", None])
def test_the_weights_change_no_control(method, cls_position):
    maps = []
    for seed in (0, 1):
        model = toy(seed=seed, cls_position=cls_position)
        found = attribute(model, clips_for(model), 0, method)
        assert found.cost.backward == 0
        maps.append(found.tokens())
        assert found.tokens().shape == (2, *model.grid.shape)
        if found.cls is not None:
            assert (found.cls == 0).all()
    torch.testing.assert_close(*maps, rtol=0, atol=0)


def test_a_difference_of_frames_shows_both_sides_of_a_jump_and_nothing_else(model):
    values = attribute(model, clip_with_a_jump(), 0, "frame_difference").pixels()[0]
    square = torch.zeros(32, 32, dtype=torch.bool)
    square[2:6, 2:6] = square[20:24, 20:24] = True
    for frame, size in enumerate((0, 1.5, 1.5, 0)):  # of three colors, half a neighbor's
        assert (values[frame][square] == size).all()
        assert (values[frame][~square] == 0).all()


def test_the_first_and_the_last_frame_count_their_only_neighbor_in_full(model):
    clip = torch.zeros(1, 3, 4, 32, 32)
    clip[:, :, 0] = 1
    values = attribute(model, clip, 0, "frame_difference").pixels()[0]
    assert values.mean((1, 2)).tolist() == [3, 1.5, 0, 0]
    single = toy(num_frames=1, tubelet_size=1)
    assert not attribute(single, clips_for(single), 0, "frame_difference").values.any()


def test_edges_lie_around_a_square_and_not_in_it(model):
    energy = attribute(model, clip_with_a_jump(), 0, "edge_energy", still=False).pixels()[0]
    assert energy[0, 2, 3] > 0 and energy[0, 1, 3] > 0
    assert not energy[0, 3:5, 3:5].any() and not energy[0, 10:18].any()
    assert not energy[0, 19:25].any() and energy[3, 20, 21] > 0


def test_an_edge_of_one_unit_has_a_slope_of_half_a_unit_on_either_side(model):
    clip = torch.zeros(1, 3, 4, 32, 32)
    clip[..., 16:] = 1
    energy = attribute(model, clip, 0, "edge_energy").values
    assert (energy[..., 15:17] == 0.25).all()
    assert not energy[..., :15].any() and not energy[..., 17:].any()


def test_still_edges_do_not_know_when(model):
    clips = clip_with_a_jump()
    still = attribute(model, clips, 0, "edge_energy").values
    moving = attribute(model, clips, 0, "edge_energy", still=False).values
    torch.testing.assert_close(still[:, :, 0], moving.mean(2))
    assert (still == still[:, :, :1]).all()


def test_the_center_prior_is_highest_in_the_middle_and_alike_on_all_sides():
    model = toy(num_frames=6, img_size=48)
    values, wide = (
        attribute(model, clips_for(model), 0, "center_prior", **options).tokens()[0]
        for options in ({}, {"width": 5})
    )
    assert values.argmax() == values.numel() // 2 and values[1, 1, 1] == 1
    for dim in range(3):
        torch.testing.assert_close(values, values.flip(dim))
    assert (wide >= values).all() and wide.min() > 0.9


def test_chance_repeats_with_its_seed_only(model):
    clips = torch.zeros(2, 3, 4, 32, 32)
    one, same, other = (attribute(model, clips, 0, "random", seed=s).tokens() for s in (1, 1, 2))
    torch.testing.assert_close(one, same, rtol=0, atol=0)
    assert not torch.equal(one, other) and not torch.equal(one[0], one[1])
    assert 0 <= one.min() <= one.max() <= 1


def test_a_center_without_width_is_refused(model, unchecked):
    with pytest.raises(ValueError, match="center_prior's width is 0, expected more than 0"):
        attribute(model, torch.zeros(1, 3, 4, 32, 32), 0, "center_prior", width=0)
