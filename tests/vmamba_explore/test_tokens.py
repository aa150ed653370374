import pytest
import torch

from vmamba_explore.tokens import TokenGrid


@pytest.mark.parametrize("cls_position", ["front", "middle", None])
def test_index_and_position_are_inverse_and_cover_the_sequence(cls_position):
    grid = TokenGrid(3, 2, 4, cls_position)
    places = [grid.position(i) for i in range(grid.seqlen)]
    video = [p for p in places if p is not None]
    assert video == [(f, r, c) for f in range(3) for r in range(2) for c in range(4)]
    assert [grid.index(*p) for p in video] == [i for i in range(grid.seqlen) if i != grid.cls_index]


def test_cls_index_is_front_or_half_the_patches():
    assert TokenGrid(2, 3, 3, "front").cls_index == 0
    assert TokenGrid(1, 14, 14, "middle").cls_index == 98  # Vim-S, 196 patches
    assert TokenGrid(2, 3, 3, None).cls_index is None
    assert TokenGrid(8, 14, 14, "front").seqlen == 1569


@pytest.mark.parametrize("cls_position", ["front", "middle", None])
def test_split_undoes_insert_cls(cls_position):
    grid = TokenGrid(2, 2, 3, cls_position)
    video, cls = torch.randn(4, 12, 5), torch.randn(4, 1, 5)
    tokens = grid.insert_cls(video, cls)
    assert tokens.shape == (4, grid.seqlen, 5)
    back, back_cls = grid.split(tokens, dim=1)
    assert torch.equal(back.flatten(1, 3), video)
    if cls_position is None:
        assert back_cls is None
    else:
        assert torch.equal(back_cls, cls[:, 0])
        assert torch.equal(tokens[:, grid.cls_index], cls[:, 0])


def test_backward_orders_are_what_the_paper_describes():
    # two frames of 1 x 3 patches: tokens 0 1 2 | 3 4 5
    grid = TokenGrid(2, 1, 3, None)
    assert grid.backward_indices("spatiotemporal").tolist() == [5, 4, 3, 2, 1, 0]
    assert grid.backward_indices("spatial").tolist() == [2, 1, 0, 5, 4, 3]
    assert grid.backward_indices("temporal").tolist() == [3, 4, 5, 0, 1, 2]


@pytest.mark.parametrize("order", ["spatiotemporal", "spatial", "temporal"])
def test_a_front_class_token_is_read_last_in_every_backward_order(order):
    grid = TokenGrid(2, 2, 2, "front")
    indices = grid.backward_indices(order)
    assert indices[-1] == 0
    assert sorted(indices.tolist()) == list(range(grid.seqlen))


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


@pytest.mark.parametrize("cls_position", ["front", "middle", None])
def test_every_token_knows_its_frame(cls_position):
    grid = TokenGrid(3, 2, 2, cls_position)
    frames = grid.frame_of_tokens().tolist()
    for index, frame in enumerate(frames):
        place = grid.position(index)
        assert frame == (-1 if place is None else place[0])
    assert len(frames) == grid.seqlen


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
