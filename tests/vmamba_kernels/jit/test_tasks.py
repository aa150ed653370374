"""Tests of vmamba_kernels.jit.tasks: blocks of channels, orders, slots."""

import pytest
import torch

from vmamba_kernels.jit import tasks
from vmamba_kernels.jit.tasks import LANES, Blocks


@pytest.mark.parametrize(("d_inner", "groups"), [(1, 1), (64, 1), (45, 1), (66, 2), (128, 2)])
def test_unpacking_undoes_packing_and_the_filling_is_zero(d_inner, groups):
    blocks = Blocks(2, 5, d_inner, groups)
    x = torch.randn(2, 3, d_inner)
    packed = blocks.pack(x)
    assert packed.shape == (2, blocks.all_blocks, 3, LANES) and packed.is_contiguous()
    assert torch.equal(blocks.unpack(packed), x)
    filled = packed.transpose(1, 2).reshape(2, 3, groups, -1)[..., d_inner // groups :]
    assert not filled.any()
    assert torch.equal(packed[:, 0, :, 0], x[..., 0])


def test_packing_is_a_copy_even_where_nothing_moves():
    x = torch.randn(2, 1, 32)
    Blocks(2, 5, 32).pack(x).zero_()
    assert x.all()


@pytest.mark.parametrize(("batch", "d_inner"), [(1, 768), (32, 128), (1, 33), (0, 8)])
def test_the_tasks_hold_every_block_once(by_threads, batch, d_inner):
    for blocks in by_threads(lambda: Blocks(batch, 5, d_inner), 1, 2, 64):
        held = blocks.batch_tasks * blocks.task_blocks
        assert blocks.all_blocks <= held < blocks.all_blocks + blocks.task_blocks
        assert blocks.tasks == batch * blocks.batch_tasks


def test_orders_and_slots_are_what_they_say():
    assert tasks.token_order("f", 3, False, None).tolist() == [0, 1, 2]
    assert tasks.token_order("f", 3, True, None).tolist() == [2, 1, 0]
    assert tasks.token_order("f", 3, False, torch.tensor([1, 2, 0])).tolist() == [1, 2, 0]
    assert tasks.token_slots(5, torch.tensor([3, 0])).tolist() == [1, -1, -1, 0, -1]
    slots = tasks.token_slots(5, torch.tensor([3, 0, 3]))
    assert slots.tolist() == [1, -1, -1, 2, -1]


@pytest.mark.parametrize("wrong", [[0, 1], [0, 1, 2, 3], [0, 0, 1], [1, 2, 3]], ids=str)
def test_an_order_that_is_no_permutation_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match="^f: order "):
        tasks.token_order("f", 3, False, torch.tensor(wrong))
