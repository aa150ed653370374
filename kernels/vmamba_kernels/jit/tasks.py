"""How kernels cut a tensor into tasks, and how the caller describes tensors to them.

Channels lie on the lanes, so no token needs a sum over lanes. `LANES` neighboring channels are a
block; one task is one batch element and a few neighboring blocks, all tokens. It walks the tokens
in chunks, and takes every chunk block by block; such a piece is a tile. (A token's channels lie in
a memory page of their own, which is then visited once for all blocks.)

Two kinds of memory:

- tokens are token-major, (batch, seqlen, d_inner) with stride 1 along the channels, and in natural
  order. `order` lists which token each step of the work reads: no direction needs a copy of
  anything.
- what has several rows a channel (A, states) is packed, (..., block, rows, LANES): the rows of one
  block lie together, and the last block of a group is filled up with 0.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vmamba_kernels.checks import check_permutation
from vmamba_kernels.jit.ircode import Int, Kernel, Mask, Ptr, Var
from vmamba_kernels.jit.native import Arguments

LANES = 32  # channels in a block: two AVX-512 registers, so that one read of B and C serves both
CHUNK = 32  # tokens that a task takes block by block

SIZES = (
    *("order", "n_seqlen", "n_chunks", "n_d_inner", "n_group_size"),
    *("n_blocks", "n_all_blocks", "n_task_blocks", "n_batch_tasks"),
)
GROUPED = ("B", "C")  # (batch, group, seqlen, d_state): what a group of channels shares


def parameters(names: Iterable[str]) -> tuple[str, ...]:
    """The kernel parameters that describe tensors with tokens: address, then strides."""
    return tuple(
        parameter
        for x in names
        for parameter in (
            x,
            f"n_{x}_batch",
            *([f"n_{x}_group"] if x in GROUPED else []),
            f"n_{x}_token",
        )
    )


class Blocks:
    """The channels of one call cut into blocks of LANES, each group by itself."""

    task_blocks = 4  # at most; fewer where there are too few tasks for the threads

    def __init__(self, batch: int, seqlen: int, d_inner: int, groups: int = 1) -> None:
        self.batch, self.seqlen, self.d_inner, self.groups = batch, seqlen, d_inner, groups
        self.group_size = d_inner // groups
        self.blocks = -(-self.group_size // LANES)
        self.all_blocks = groups * self.blocks
        self.ragged = self.group_size % LANES != 0
        per_thread = batch * self.all_blocks // (6 * torch.get_num_threads())
        self.task_blocks = min(max(per_thread, 1), self.task_blocks)
        self.batch_tasks = -(-self.all_blocks // self.task_blocks)
        self.tasks = batch * self.batch_tasks

    def arguments(self, order: Tensor) -> Arguments:
        """The values of SIZES."""
        return {
            "order": order,
            "n_seqlen": self.seqlen,
            "n_chunks": -(-self.seqlen // CHUNK),
            "n_d_inner": self.d_inner,
            "n_group_size": self.group_size,
            "n_blocks": self.blocks,
            "n_all_blocks": self.all_blocks,
            "n_task_blocks": self.task_blocks,
            "n_batch_tasks": self.batch_tasks,
        }

    def pack(self, x: Tensor) -> Tensor:
        """(..., rows, d_inner) -> (..., all_blocks, rows, LANES), new memory."""
        if self.ragged:
            x = x.unflatten(-1, (self.groups, self.group_size))
            x = F.pad(x, (0, self.blocks * LANES - self.group_size)).flatten(-2)
        x = x.view(*x.shape[:-1], self.all_blocks, LANES).transpose(-3, -2)
        return x.clone(memory_format=torch.contiguous_format)

    def unpack(self, x: Tensor) -> Tensor:
        """(..., all_blocks, rows, LANES) -> (..., rows, d_inner)."""
        x = x.transpose(-3, -2).flatten(-2)
        if self.ragged:
            x = x.unflatten(-1, (self.groups, self.blocks * LANES))
            x = x[..., : self.group_size].flatten(-2)
        return x.contiguous()

    def channels(self, x: Tensor | None, like: Tensor) -> Tensor:
        """x (d_inner,) as contiguous memory, 0 where there is none."""
        return like.new_zeros(self.d_inner) if x is None else x.contiguous()

    def zeros_packed(self, like: Tensor, rows: int) -> Tensor:
        """New memory (batch, all_blocks, rows, LANES)."""
        return like.new_zeros(self.batch, self.all_blocks, rows, LANES)

    def empty_tokens(self, like: Tensor) -> Tensor:
        """New memory (batch, seqlen, d_inner)."""
        return like.new_empty(self.batch, self.seqlen, self.d_inner)

    def empty_output(self, like: Tensor) -> Tensor:
        """The same memory as (batch, d_inner, seqlen): no view, so a caller may write to it."""
        strides = self.seqlen * self.d_inner, 1, self.d_inner
        return like.new_empty_strided((self.batch, self.d_inner, self.seqlen), strides)


def token_major(x: Tensor) -> Tensor:
    """(..., channels, seqlen) -> (..., seqlen, channels) with stride 1 along the channels."""
    x = x.transpose(-1, -2)
    return x if x.stride(-1) == 1 else x.contiguous()


def token_arguments(name: str, x: Tensor | None) -> Arguments:
    """The values of `parameters([name])`; x is (batch[, group], seqlen, ...), or None."""
    if x is None:
        return dict.fromkeys(parameters([name]), 0)
    arguments: Arguments = {name: x, f"n_{name}_batch": x.stride(0)}
    if name in GROUPED:
        arguments[f"n_{name}_group"] = x.stride(1)
    return arguments | {f"n_{name}_token": x.stride(2 if name in GROUPED else 1)}


def readable(x: Tensor) -> Tensor:
    """x in a type that the kernels read."""
    return x if x.dtype == torch.bfloat16 else x.float()


def bfloats(arguments: Arguments) -> tuple[str, ...]:
    """The names of the arguments that are bfloat16 memory."""
    return tuple(
        name for name, x in arguments.items() if isinstance(x, Tensor) and x.dtype == torch.bfloat16
    )


def token_order(call: str, seqlen: int, reverse: bool, order: Tensor | None) -> Tensor:
    """The index of the token that each step reads, int64 (seqlen,).

    Raises:
        ValueError: `order` is no permutation. It is looked at here, inside the operator, so that a
            compiled graph still says it.
    """
    if order is None:
        return _natural_order(seqlen, reverse)
    if order.shape != (seqlen,):
        raise ValueError(f"{call}: order has shape {tuple(order.shape)}; seqlen is {seqlen}.")
    check_permutation(call, order)
    return order.contiguous()


@lru_cache(maxsize=8)
def _natural_order(seqlen: int, reverse: bool) -> Tensor:
    steps = torch.arange(seqlen, device="cpu")
    return steps.flip(0) if reverse else steps


def token_slots(seqlen: int, tokens: Tensor) -> Tensor:
    """Where each token goes: the last k with tokens[k] = t, or -1; int64 (seqlen,)."""
    slots = np.full(seqlen, -1)
    slots[tokens.numpy()] = np.arange(len(tokens))
    return torch.from_numpy(slots)


class Tile:
    """One block of channels and one chunk of tokens: what a task works on at a time."""

    def __init__(self, k: Kernel, batch: Int, block: Int, chunk: Int, ragged: bool) -> None:
        self.k, self.batch, self.block, self.chunk = k, batch, block, chunk
        self.number = batch * k.int("n_all_blocks") + block  # of the block, in all batch elements
        self.group, within = block // k.int("n_blocks"), block % k.int("n_blocks")
        self.channel = self.group * k.int("n_group_size") + within * k.lanes
        self.mask: Mask | None = None
        if ragged:  # the last block of a group is not full
            self.mask = k.first_lanes(k.int("n_group_size") - within * k.lanes)
        self.first = chunk * CHUNK
        self.length = (k.int("n_seqlen") - self.first).minimum(CHUNK)

    def token(self, i: Int) -> Int:
        """The token that step i of the chunk reads."""
        return self.k.table("order").at(self.first + i)

    def token_to_come(self, i: Int) -> Int:
        """Likewise; i may lie outside of the chunk, and is then kept inside of the sequence."""
        step = (self.first + i).minimum(self.k.int("n_seqlen") - 1).maximum(0)
        return self.k.table("order").at(step)

    def tokens(self, name: str) -> "Stream":
        """This block's channels of (batch, token, channel) memory."""
        k = self.k
        start = k.ptr(name) + self.batch * k.int(f"n_{name}_batch") + self.channel
        return Stream(start, k.int(f"n_{name}_token"))

    def selection(self, name: str) -> "Stream":
        """This block's group of (batch, group, token, state) memory."""
        k = self.k
        start = k.ptr(name) + self.batch * k.int(f"n_{name}_batch")
        return Stream(start + self.group * k.int(f"n_{name}_group"), k.int(f"n_{name}_token"))

    def channels(self, name: str, per_batch: bool = False) -> Ptr:
        """This block's channels of (d_inner,) or (batch, d_inner) memory."""
        row = self.batch * self.k.int("n_d_inner") if per_batch else 0
        return self.k.ptr(name) + self.channel + row

    def rows(self, name: str, count: int, index: Int | None = None) -> list[Ptr]:
        """This block's rows of packed memory (batch, block, rows, lanes).

        `index` is what else there is in place of (batch, block), counted as one number.
        """
        index = self.number if index is None else index
        start = self.k.ptr(name) + index * (count * self.k.lanes)
        return [start + self.k.lanes * n for n in range(count)]


@contextmanager
def tiles(k: Kernel, ragged: bool, backward: bool = False) -> Iterator[Tile]:
    """Run the body for every chunk and every block of every task of this thread.

    What a block hands on to its next chunk is `carried` through memory.
    """
    with k.tasks() as task:
        batch, first = task // k.int("n_batch_tasks"), task % k.int("n_batch_tasks")
        first = first * k.int("n_task_blocks")
        count = (k.int("n_all_blocks") - first).minimum(k.int("n_task_blocks"))
        with k.loop(k.int("n_chunks")) as done, k.loop(count) as block:
            chunk = k.int("n_chunks") - 1 - done if backward else done
            yield Tile(k, batch, first + block, chunk, ragged)


@contextmanager
def carried(places: Sequence[Ptr], mask: Mask | None = None) -> Iterator[list[Var]]:
    """Variables that go on from tile to tile: read from memory, and written back at the end."""
    variables = [Var(place.kernel, place.load(mask)) for place in places]
    yield variables
    for place, variable in zip(places, variables, strict=True):
        place.store(variable.get(), mask)


@contextmanager
def summed(places: Sequence[Ptr], mask: Mask | None = None) -> Iterator[list[Var]]:
    """Variables that start at 0 in each tile and are added to memory at the end.

    A sum of sums: its error grows with the tokens of a chunk and the number of chunks, not with
    their product.
    """
    variables = [Var(place.kernel, 0.0) for place in places]
    yield variables
    for place, variable in zip(places, variables, strict=True):
        place.store(place.load(mask) + variable.get(), mask)


class Stream:
    """Memory that is walked token by token."""

    def __init__(self, start: Ptr, stride: Int) -> None:
        self.start, self.stride = start, stride

    def at(self, token: Int) -> Ptr:
        return self.start + token * self.stride


class Column:
    """One `Vec` a token of a chunk, in the thread's scratch memory."""

    def __init__(self, start: Ptr) -> None:
        self.start = start

    def at(self, i: Int) -> Ptr:
        return self.start + i * self.start.kernel.lanes
