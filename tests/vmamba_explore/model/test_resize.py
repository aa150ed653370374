"""Position tables for other frame counts and resolutions, and everything else untouched."""

from dataclasses import replace

import pytest
import torch

from tests.vmamba_explore.toys import toy
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.position import resize_table
from vmamba_explore.model.resize import resized
from vmamba_explore.model.videomamba import VideoMamba

VIDEO = VideoMambaConfig.preset(
    "opengvlab_small", num_frames=4, img_size=48, patch_size=8, d_model=32, depth=2, num_classes=7
)
IMAGE = VideoMambaConfig.preset("vim_small", img_size=48, patch_size=8, d_model=32, depth=2)
VIVIM = replace(VIDEO, cls_position="every_frame", direction_merge="mean")
JOINT = VideoMambaConfig.preset("toy", num_frames=8, img_size=48, patch_size=8)


@pytest.fixture(params=[VIDEO, VIVIM, IMAGE, JOINT], ids=["opengvlab", "vivim", "vim", "joint"])
def model(request):
    found = VideoMamba(request.param)
    if found.config.pos_embed == "spatial_temporal":
        torch.nn.init.normal_(found.temporal_pos_embedding)
    return found


def test_the_same_size_gives_the_same_model(model):
    assert resized(model) is model
    config = model.config
    assert resized(model, num_frames=config.num_frames, img_size=config.img_size) is model


def test_only_position_tables_change(model):
    model.class_names = tuple(map(str, range(model.config.num_classes)))
    other = resized(model, img_size=64)
    assert other.config.img_size == 64 and other.class_names == model.class_names
    before, after = model.state_dict(), other.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"pos_embed"}
    assert not other.training


def test_the_class_tokens_row_stays_as_it_is(model):
    _, row = model.positions()
    _, other = resized(model, img_size=80).positions()
    assert (row is None) == (other is None) == (model.config == JOINT)
    if row is not None:
        assert torch.equal(row, other)


def test_a_constant_table_stays_constant():
    table = torch.full((2 * 3 * 3, 4), 0.7)
    for size in ((2, 5, 5), (7, 3, 3), (1, 2, 2), (6, 8, 8)):
        found = resize_table(table, (2, 3, 3), size)
        assert found.shape == (size[0] * size[1] * size[2], 4)
        assert torch.allclose(found, torch.full_like(found, 0.7))


def test_two_new_rows_make_an_old_one_and_rows_are_not_mixed_up_with_columns():
    rows, cols = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    table = torch.stack([rows.flatten(), cols.flatten()], 1)
    inner = resize_table(table, (1, 8, 8), (1, 16, 16)).view(16, 16, 2)[4:-4, 4:-4]
    down, right = inner[2:] - inner[:-2], inner[:, 2:] - inner[:, :-2]
    assert torch.allclose(down, torch.tensor([1.0, 0.0]), atol=1e-5)
    assert torch.allclose(right, torch.tensor([0.0, 1.0]), atol=1e-5)


def test_frames_are_interpolated_by_line_between_their_neighbors():
    table = torch.tensor([[0.0], [10.0]])  # two frames of one patch
    found = resize_table(table, (2, 1, 1), (4, 1, 1))
    assert torch.allclose(found[:, 0], torch.tensor([0.0, 2.5, 7.5, 10.0]))


def test_an_expanded_table_stays_the_same_for_every_frame():
    model = VideoMamba(JOINT)  # starts as an image table repeated
    longer = resized(model, num_frames=16).positions()[0].view(8, 36, -1)
    assert torch.allclose(longer, model.positions()[0].view(4, 36, -1)[:1].expand(8, -1, -1))


def test_twice_the_frames_of_an_opengvlab_model_change_the_temporal_table_alone():
    model = VideoMamba(VIDEO)
    torch.nn.init.normal_(model.temporal_pos_embedding)
    other = resized(model, num_frames=8)
    assert torch.equal(other.pos_embed, model.pos_embed)
    assert other.temporal_pos_embedding.shape == (1, 8, 32)
    assert torch.equal(other.temporal_pos_embedding[:, 0], model.temporal_pos_embedding[:, 0])


def test_a_model_without_a_learned_table_needs_none():
    model = toy(pos_embed="sinusoidal")
    assert resized(model, num_frames=8, img_size=64).config.grid.shape == (4, 4, 4)


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="num_frames=7 is not a multiple of tubelet_size=2"):
        resized(VideoMamba(JOINT), num_frames=7)
    with pytest.raises(ValueError, match="num_frames=8 for an image model.*from_image_checkpoint"):
        resized(VideoMamba(IMAGE), num_frames=8)
