"""Tests of vmamba_kernels.jit.ircode: memory types, integers, loops, through small kernels."""

import pytest
import torch

from vmamba_kernels.jit.ircode import Kernel, Var
from vmamba_kernels.jit.native import Native

LANES = 16


@pytest.mark.parametrize("count", [1, 15, 16])
def test_bfloat16_memory_is_read_exactly_and_written_as_torch_rounds(count):
    # every upper half, with lower halves below, on and above the middle, to the even and the odd
    upper = torch.arange(1 << 16, dtype=torch.int64) << 16
    lower = torch.tensor([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF])
    bits = (upper[:, None] + lower).flatten()
    x = torch.where(bits >= 1 << 31, bits - (1 << 32), bits).to(torch.int32).view(torch.float32)
    x = x[: x.numel() // count * count]
    k = Kernel(LANES, ("x", "short", "long", "n_count"), bfloats=("short",))
    with k.tasks() as row:
        first = row * count
        mask = None if count == LANES else k.first_lanes(k.int("n_count"))
        (k.ptr("short") + first).store((k.ptr("x") + first).load(mask), mask)
        (k.ptr("long") + first).store((k.ptr("short") + first).load(mask), mask)
    short, long = torch.empty_like(x, dtype=torch.bfloat16), torch.empty_like(x)
    Native(k)(x.numel() // count, {"x": x, "short": short, "long": long, "n_count": count})
    torch.testing.assert_close(short, x.bfloat16(), rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(long, short.float(), rtol=0, atol=0, equal_nan=True)


def test_one_bfloat16_fills_every_lane():
    k = Kernel(LANES, ("x", "out"), bfloats=("x",))
    with k.tasks() as row:
        (k.ptr("out") + row * LANES).store((k.ptr("x") + row).load_everywhere())
    x, out = torch.randn(7).bfloat16(), torch.empty(7, LANES)
    Native(k)(7, {"x": x, "out": out})
    assert torch.equal(out, x.float()[:, None].expand(7, LANES))


def test_a_table_gives_the_order_of_rows_and_loops_count_from_zero():
    k = Kernel(LANES, ("order", "x", "out", "n_rows"))
    with k.tasks():
        total = Var(k, 0.0)
        with k.loop(k.int("n_rows")) as i:
            row = k.table("order").at(i)
            total.set(total.get() * 2.0 + (k.ptr("x") + row * LANES).load())
            (k.ptr("out") + i * LANES).store(total.get())
    order, x = torch.tensor([2, 0, 1]), torch.randn(3, LANES)
    out = torch.empty(3, LANES)
    Native(k)(1, {"order": order, "x": x, "out": out, "n_rows": 3})
    expected = [x[2], x[2] * 2 + x[0], (x[2] * 2 + x[0]) * 2 + x[1]]
    torch.testing.assert_close(out, torch.stack(expected))


def test_stores_past_the_caches_and_prefetches_leave_the_same_numbers():
    k = Kernel(LANES, ("x", "out"))
    with k.tasks() as row:
        x, out = k.ptr("x") + row * LANES, k.ptr("out") + row * LANES
        x.prefetch()
        out.prefetch(to_write=True)
        out.store_past_caches(x.load())
    x, out = torch.randn(100, LANES), torch.empty(100, LANES)
    assert out.data_ptr() % 64 == 0
    Native(k)(100, {"x": x, "out": out})
    assert torch.equal(out, x)
