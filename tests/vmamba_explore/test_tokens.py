import itertools

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from vmamba_explore.tokens import BACKWARD_ORDERS, TokenGrid

SIDES = st.integers(1, 6)
PLACES = ["front", "middle", "every_frame", None]
GRIDS = st.builds(TokenGrid, SIDES, SIDES, SIDES, st.sampled_from(PLACES))


@given(GRIDS)
def test_index_and_position_are_inverse_and_cover_the_sequence(grid):
    places = [grid.position(i) for i in range(grid.seqlen)]
    video = [p for p in places if p is not None]
    assert video == list(itertools.product(*(range(side) for side in grid.shape)))
    others = [i for i in range(grid.seqlen) if i not in grid.cls_indices]
    assert [grid.index(*p) for p in video] == others == grid.video_tokens.tolist()
    if grid.cls_position == "every_frame":  # a class token belongs to its frame
        assert len(places) == grid.frames * grid.tokens_per_frame
        places = [(i // grid.tokens_per_frame,) for i in range(grid.seqlen)]
    assert grid.frame_of_tokens().tolist() == [-1 if p is None else p[0] for p in places]


def test_cls_index_is_front_or_half_the_patches():
    assert TokenGrid(2, 3, 3, "front").cls_index == 0
    assert TokenGrid(1, 14, 14, "middle").cls_index == 98  # Vim-S, 196 patches
    assert TokenGrid(2, 3, 3, None).cls_index is None
    assert TokenGrid(8, 14, 14, "front").seqlen == 1569
    vivim = TokenGrid(16, 14, 14, "every_frame")  # 197 tokens a frame
    assert vivim.cls_index is None and vivim.seqlen == 16 * 197
    assert vivim.cls_indices == tuple(range(98, 16 * 197, 197))


@given(GRIDS)
def test_split_undoes_insert_cls(grid):
    video, cls = torch.randn(2, grid.num_patches, 3), torch.randn(2, 1, 3)
    if grid.cls_position == "every_frame":
        cls = torch.randn(2, grid.frames, 3)
    tokens = grid.insert_cls(video, cls)
    back, back_cls = grid.split(tokens, dim=1)
    assert tokens.shape == (2, grid.seqlen, 3) and back.shape == (2, *grid.shape, 3)
    assert torch.equal(back.flatten(1, 3), video)
    if grid.cls_position is None:
        assert back_cls is None
    else:
        wanted = cls if grid.cls_position == "every_frame" else cls[:, 0]
        assert torch.equal(back_cls, wanted)
        assert torch.equal(tokens[:, list(grid.cls_indices)], cls)
    frame = grid.frame_of_tokens()
    sums = [tokens[:, frame == n].sum(1) for n in range(grid.frames)]
    assert torch.allclose(grid.by_frame(tokens.mT), torch.stack(sums, -1), atol=1e-5)


def test_one_class_token_is_put_into_every_frame():
    grid = TokenGrid(2, 1, 3, "every_frame")
    tokens = grid.insert_cls(torch.arange(6.0).view(1, 6, 1), torch.full((1, 1, 1), 9.0))
    assert tokens.flatten().tolist() == [0, 9, 1, 2, 3, 9, 4, 5]


def test_backward_orders_are_what_the_paper_describes():
    # two frames of 1 x 3 patches: tokens 0 1 2 | 3 4 5
    grid = TokenGrid(2, 1, 3, None)
    assert grid.backward_indices("spatiotemporal").tolist() == [5, 4, 3, 2, 1, 0]
    assert grid.backward_indices("spatial").tolist() == [2, 1, 0, 5, 4, 3]
    assert grid.backward_indices("temporal").tolist() == [3, 4, 5, 0, 1, 2]


@given(GRIDS, st.sampled_from(BACKWARD_ORDERS))
def test_a_backward_order_is_its_own_inverse_and_reads_a_front_class_token_last(grid, order):
    assume(grid.cls_position in ("front", None) or order == "spatiotemporal")
    indices = grid.backward_indices(order)
    assert sorted(indices.tolist()) == list(range(grid.seqlen))
    if grid.cls_position == "front":
        assert indices[-1] == 0
    video = indices[indices != 0] - 1 if grid.cls_position == "front" else indices
    assert torch.equal(video[video], torch.arange(len(video)))
    moved = [grid.position(int(i)) for i in indices if int(i) not in grid.cls_indices]
    kept = {"spatiotemporal": (), "spatial": (0,), "temporal": (1, 2)}[order]
    for place, came in zip(itertools.product(*map(range, grid.shape)), moved, strict=True):
        mirrored = [side - 1 - at for at, side in zip(place, grid.shape, strict=True)]
        assert came == tuple(place[a] if a in kept else mirrored[a] for a in range(3))


def test_impossible_orders_and_places_are_refused(unchecked):
    with pytest.raises(ValueError, match="class token in the middle"):
        TokenGrid(2, 2, 2, "middle").backward_indices("spatial")
    with pytest.raises(ValueError, match="spatiotemporal, spatial, temporal"):
        TokenGrid(2, 2, 2).backward_indices("zigzag")
    with pytest.raises(IndexError, match="row 2 is outside 0..1"):
        TokenGrid(2, 2, 2).index(0, 2, 0)
    with pytest.raises(IndexError, match=r"outside 0\.\.8"):
        TokenGrid(2, 2, 2).position(9)
    with pytest.raises(ValueError, match="frames=0"):
        TokenGrid(0, 2, 2)
    with pytest.raises(ValueError, match="axis 1 has 7 tokens, the grid has 9"):
        TokenGrid(2, 2, 2).split(torch.zeros(1, 7))


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ([3, 13], r"here: there is no token 13; there are 13, 0 to 12\. grid.index"),
        (torch.tensor([20, -1]), "here: there is no token -1"),
        (torch.ones(13) > 0, r"tokens are torch.bool, expected natural indices.*mask.nonzero"),
        ([True, False], "tokens are torch.bool"),
        ([1.0], "tokens are torch.float32"),
    ],
)
def test_what_names_no_token_is_refused(tokens, words, unchecked):
    with pytest.raises(ValueError, match=words):
        TokenGrid(3, 2, 2).checked(tokens, "here")


@pytest.mark.parametrize("tokens", [[5, 3, 5], torch.tensor([3, 5]), range(3, 6, 2), {3, 5}])
def test_tokens_come_sorted_and_once(tokens):
    assert TokenGrid(3, 2, 2).checked(tokens, "here").tolist() == [3, 5]
    assert TokenGrid(3, 2, 2).checked(12, "here").tolist() == [12]
    assert TokenGrid(3, 2, 2).checked([], "here").tolist() == []
