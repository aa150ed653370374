"""How kernels cut a tensor into tasks, and how the caller describes tensors to them.

One task is one batch element and one block of `LANES` channels, all tokens. Channels lie on the
lanes, so no token needs a sum over lanes, and what the tokens hand on (states, the window of the
convolution) stays with the core that works on it. Memory is token-major: (batch, seqlen, d_inner)
with stride 1 along the channels. Tokens are counted in scan order, the order in which the work is
done; the caller gives the address of the first one and a stride per token, negative in reverse.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from vmamba_kernels.jit.ircode import Int, Kernel, Mask, Ptr, Var
from vmamba_kernels.jit.native import Arguments

LANES = 32  # channels in a block: two AVX-512 registers, so that one read of B and C serves both

SIZES = ("n_seqlen", "n_d_inner", "n_groups", "n_blocks", "n_padded")
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
    """The channels of one call cut into blocks of LANES, each group by itself.

    Vectors over channels are padded with 0 to (..., padded), so that every block of them is full.
    """

    def __init__(self, batch: int, seqlen: int, d_inner: int, groups: int = 1) -> None:
        self.batch, self.seqlen, self.d_inner, self.groups = batch, seqlen, d_inner, groups
        self.group_size = d_inner // groups
        self.blocks = -(-self.group_size // LANES)
        self.padded = groups * self.blocks * LANES
        self.ragged = self.padded != d_inner
        self.tasks = batch * groups * self.blocks

    def arguments(self) -> Arguments:
        """The values of SIZES."""
        return {
            "n_seqlen": self.seqlen,
            "n_d_inner": self.d_inner,
            "n_groups": self.groups,
            "n_blocks": self.blocks,
            "n_padded": self.padded,
        }

    def pad(self, x: Tensor) -> Tensor:
        """(..., d_inner) -> (..., padded), contiguous, every group filled up with 0."""
        if not self.ragged:
            return x.contiguous()
        grouped = x.reshape(*x.shape[:-1], self.groups, self.group_size)
        return F.pad(grouped, (0, self.blocks * LANES - self.group_size)).flatten(-2).contiguous()

    def unpad(self, x: Tensor) -> Tensor:
        """(..., padded) -> (..., d_inner)."""
        if not self.ragged:
            return x
        grouped = x.reshape(*x.shape[:-1], self.groups, self.blocks * LANES)
        return grouped[..., : self.group_size].flatten(-2).contiguous()

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


def token_arguments(name: str, x: Tensor | None, reverse: bool) -> Arguments:
    """The values of `parameters([name])`; x is (batch[, group], seqlen, ...), or None."""
    if x is None:
        return dict.fromkeys(parameters([name]), 0) | {name: None}
    axis = 2 if name in GROUPED else 1
    step = x.stride(axis)
    arguments: Arguments = {
        name: x.narrow(axis, x.shape[axis] - 1, 1) if reverse else x,
        f"n_{name}_batch": x.stride(0),
        f"n_{name}_token": -step if reverse else step,
    }
    return arguments | ({f"n_{name}_group": x.stride(1)} if name in GROUPED else {})


def total(parts: Tensor, axis: int) -> Tensor:
    """Sum over an axis: by numpy, which never splits it over threads, so the order is fixed."""
    return torch.from_numpy(parts.numpy().sum(axis))


class Task:
    """Which batch element and channels a task has, and where they lie."""

    def __init__(self, k: Kernel, task: Int, ragged: bool) -> None:
        self.k = k
        per_batch = k.int("n_groups") * k.int("n_blocks")
        self.batch, within = task // per_batch, task % per_batch
        self.group, block = within // k.int("n_blocks"), within % k.int("n_blocks")
        group_size = k.int("n_d_inner") // k.int("n_groups")
        self.block = within
        self.channel = self.group * group_size + block * k.lanes
        self.padded = within * k.lanes
        self.mask: Mask | None = None
        if ragged:  # the last block of a group is not full
            self.mask = k.first_lanes(group_size - block * k.lanes)

    def tokens(self, name: str) -> "Stream":
        """This task's channels of (batch, token, channel) memory."""
        k = self.k
        start = k.ptr(name) + self.batch * k.int(f"n_{name}_batch") + self.channel
        return Stream(start, k.int(f"n_{name}_token"))

    def selection(self, name: str) -> "Stream":
        """This task's group of (batch, group, token, state) memory."""
        k = self.k
        start = k.ptr(name) + self.batch * k.int(f"n_{name}_batch")
        return Stream(start + self.group * k.int(f"n_{name}_group"), k.int(f"n_{name}_token"))

    def rows(self, name: str, count: int, row: Int | None = None) -> list[Ptr]:
        """This task's channels of (..., count, padded) memory at index `row` of the first axes.

        `row` is the batch element unless given.
        """
        row = self.batch if row is None else row
        return self.shared_rows(name, count, row * count)

    def shared_rows(self, name: str, count: int, first: Int | int = 0) -> list[Ptr]:
        """This task's channels of `count` rows of (rows, padded) memory."""
        step = self.k.int("n_padded")
        start = self.k.ptr(name) + self.padded + step * first
        return [start + step * n for n in range(count)]

    def states(self, name: str, d_state: int) -> list[Var]:
        """One variable a state, read from (batch, d_state, padded) memory; 0 without memory."""
        states = [Var(self.k, 0.0) for _ in range(d_state)]
        with self.k.when_given(self.k.ptr(name)):
            for state, place in zip(states, self.rows(name, d_state), strict=True):
                state.set(place.load())
        return states


class Stream:
    """Memory that is walked token by token."""

    def __init__(self, start: Ptr, stride: Int) -> None:
        self.start, self.stride = start, stride

    def at(self, token: Int) -> Ptr:
        return self.start + token * self.stride
