"""Run the scan's kernels on tensors: lay them out, and give the results their axes.

u, delta, z, B and C are float32 or bfloat16, and so are their gradients; all else is float32. y has
the type of u. B and C have one number of groups, and `order` lists the token that each step reads.
`direction` is "only", or "first" or "second" of two scans that share one gate.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vmamba_kernels.jit.memory import ask_for_large_pages, total
from vmamba_kernels.jit.native import Arguments, compiled
from vmamba_kernels.jit.tasks import (
    CHUNK,
    LANES,
    Blocks,
    bfloats,
    readable,
    token_arguments,
    token_major,
)
from vmamba_kernels.jit.vectormath import LOG2E
from vmamba_kernels.scan.cpu_kernels import (
    Variant,
    build_forward,
    build_gradient,
    padded_sums,
)
from vmamba_kernels.scan.types import ScanInputs

# what ScanInputs holds, in the schema of an operator
SCHEMA = (
    "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? delta_bias, "
    "Tensor? initial_state"
)


def prepared(given: ScanInputs) -> ScanInputs:
    """`given` as the operators take it: readable types, B and C with one number of groups."""
    per_token = {name: readable(getattr(given, name)) for name in ("u", "delta", "B", "C")}
    floats: Any = (None if x is None else x.float() for x in given)
    given = ScanInputs(*floats)._replace(**per_token)
    groups = math.lcm(given.B.shape[1], given.C.shape[1])
    B, C = (
        x if x.shape[1] == groups else x.float().repeat_interleave(groups // x.shape[1], dim=1)
        for x in (given.B, given.C)
    )
    return given._replace(B=B, C=C)


def wants_gradient(*given: Tensor | None) -> bool:
    """Whether states must be saved for a gradient."""
    return torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in given)


def repeated(slots: Tensor, tokens: Tensor) -> bool:
    """Whether a token was asked for twice; its state then has one slot only."""
    return not torch.equal(slots[tokens], torch.arange(len(tokens), device="cpu"))


class NormMemory(NamedTuple):
    """Where a scan leaves the norms of its states."""

    over_states: Tensor  # (batch, d_inner, seqlen)
    readout: Tensor  # (batch, d_inner, seqlen)
    square_sums: Tensor  # `Sizes.empty_sums`


class Sizes(Blocks):
    """The sizes of one scan, and memory for its results."""

    def __init__(self, given: ScanInputs) -> None:
        batch, d_inner, seqlen = given.u.shape
        super().__init__(batch, seqlen, d_inner, given.B.shape[1])
        self.like, self.d_state = given.A, given.A.shape[1]  # like A: float32
        self.sums = padded_sums(self.d_state)

    def packed_states(self, x: Tensor | None) -> Tensor:
        """(batch, d_inner, d_state) as packed memory; new, and 0 where there is none."""
        if x is None:
            return self.zeros_packed(self.like, self.d_state)
        return self.pack(x.transpose(-1, -2))

    def public_states(self, packed: Tensor) -> Tensor:
        """The opposite of `packed_states`; the batch axis may be missing."""
        return self.unpack(packed).transpose(-1, -2)

    def empty_starts(self) -> Tensor:
        """States at the starts of chunks: what the forward scan leaves for its gradient."""
        chunks = -(-self.seqlen // CHUNK)
        return self.like.new_empty(self.batch, self.all_blocks, chunks, self.d_state, LANES)

    def empty_states(self, count: int) -> Tensor:
        """States of `count` tokens: (batch, count, d_state, d_inner)."""
        return self.like.new_empty(self.batch, count, self.d_state, self.d_inner)

    def public_kept(self, states: Tensor, slots: Tensor, tokens: Tensor) -> Tensor:
        """The memory of `empty_states` as (batch, d_inner, d_state, count)."""
        if repeated(slots, tokens):  # one slot was filled for all
            states = states.index_select(1, slots[tokens])
        return states.permute(0, 3, 2, 1)

    def norm_memory(self) -> NormMemory:
        """Memory for the norms of states."""
        like = self.like
        return NormMemory(self.empty_output(like), self.empty_output(like), self.empty_sums())

    def empty_sums(self) -> Tensor:
        """Sums over the channels of each block, for every token."""
        return self.like.new_empty(
            self.batch, self.groups, self.blocks, self.seqlen, self.sums
        )  # fmt: skip


def run_forward(
    sizes: Sizes,
    given: ScanInputs,
    z: Tensor | None,
    softplus: bool,
    order: Tensor,
    direction: str,
    y: Tensor,
    *,
    y_first: Tensor | None = None,
    starts: Tensor | None = None,
    states: Tensor | None = None,
    slots: Tensor | None = None,
    norms: NormMemory | None = None,
) -> Tensor:
    """Run the scan, fill the memory given, and return the last state, packed.

    The second direction adds its y to `y_first`, which is `y` itself if that is float32.
    """
    state = sizes.packed_states(given.initial_state)
    ask_for_large_pages(y, starts, states)
    arguments = _inputs(sizes, given, z, order) | {
        "state": state,
        "starts": starts,
        "slots": slots,
        "square_sums": norms.square_sums if norms else None,
        "n_sums": sizes.sums,
    }
    per_token = {
        "y": y.transpose(1, 2),
        "y_first": None if y_first is None else y_first.transpose(1, 2),
        "states": states,
        "over_states": norms.over_states.transpose(1, 2) if norms else None,
        "readout": norms.readout.transpose(1, 2) if norms else None,
    }
    for name, x in per_token.items():
        arguments |= token_arguments(name, x)
    variant = Variant(
        sizes.d_state, sizes.ragged, softplus, z is not None,
        states is not None, norms is not None, direction, bfloats(arguments),
    )  # fmt: skip
    compiled(build_forward, variant)(sizes.tasks, arguments)
    return state


def run_gradient(
    sizes: Sizes,
    given: ScanInputs,
    z: Tensor | None,
    softplus: bool,
    order: Tensor,
    direction: str,
    starts: Tensor,
    grad_y: Tensor | None,
    grad_z: Tensor | None,
    *,
    y_first: Tensor | None = None,
    grad_last_state: Tensor | None = None,
    grad_states: Tensor | None = None,
    slots: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Run the gradient, fill grad_z (batch, seqlen, d_inner), and return the other gradients.

    The first direction leaves its y in `y_first`, which is `grad_z` itself if that is float32.

    Returns:
        One for each tensor of `given`, in their order; empty where there is none.
    """
    u = given.u
    if grad_y is None:
        grad_y = torch.zeros_like(u)
    grad_u, grad_delta = sizes.empty_tokens(u), sizes.empty_tokens(given.delta)
    grad_B, grad_C = sizes.empty_sums(), sizes.empty_sums()
    grad_state = sizes.packed_states(grad_last_state)
    grad_A = torch.zeros_like(grad_state)
    grad_D, grad_bias = (given.A.new_zeros(sizes.batch, sizes.d_inner) for _ in range(2))
    ask_for_large_pages(grad_u, grad_delta, grad_z, grad_B, grad_C)
    arguments = _inputs(sizes, given, z, order) | {
        "starts": starts,
        "slots": slots,
        "grad_A": grad_A,
        "grad_D": grad_D,
        "grad_bias": grad_bias,
        "grad_state": grad_state,
        "grad_B": grad_B,
        "grad_C": grad_C,
        "n_sums": sizes.sums,
    }
    per_token = {
        "grad_y": token_major(grad_y),
        "grad_states": grad_states,
        "grad_u": grad_u,
        "grad_delta": grad_delta,
        "grad_z": grad_z,
        "y_first": y_first,
    }
    for name, x in per_token.items():
        arguments |= token_arguments(name, x)
    variant = Variant(
        sizes.d_state, sizes.ragged, softplus, z is not None,
        grad_states is not None, direction=direction, bfloats=bfloats(arguments),
    )  # fmt: skip
    compiled(build_gradient, variant)(sizes.tasks, arguments)
    return _gradients(
        sizes, given, grad_u, grad_delta, total(grad_A, 0), total(grad_B, 2), total(grad_C, 2),
        total(grad_D, 0), total(grad_bias, 0), grad_state,
    )  # fmt: skip


def grad_z_shape(given: ScanInputs, z: Tensor | None) -> Tensor:
    """grad_z as the operators return it, without the numbers; empty without z."""
    return given.A.new_empty(0) if z is None else Sizes(given).empty_tokens(z).transpose(1, 2)


def gradient_shapes(given: ScanInputs) -> tuple[Tensor, ...]:
    """What `run_gradient` returns, without the numbers."""
    sizes, like = Sizes(given), given.A
    tokens = [sizes.empty_tokens(x) for x in (given.u, given.delta)]
    sums = [like.new_empty(sizes.batch, sizes.groups, sizes.seqlen, sizes.sums) for _ in range(2)]
    channels = [like.new_empty(sizes.d_inner) for _ in range(2)]
    grad_state = sizes.packed_states(None)
    return _gradients(sizes, given, *tokens, grad_state.sum(0), *sums, *channels, grad_state)


def _inputs(sizes: Sizes, given: ScanInputs, z: Tensor | None, order: Tensor) -> Arguments:
    """The arguments that forward and gradient share."""
    arguments = sizes.arguments(order) | {
        "A2": sizes.pack(given.A.t()).mul_(LOG2E),
        "D": sizes.channels(given.D, given.A),
        "bias": sizes.channels(given.delta_bias, given.A),
    }
    tokens = {"u": given.u, "delta": given.delta, "z": z, "B": given.B, "C": given.C}
    for name, x in tokens.items():
        arguments |= token_arguments(name, None if x is None else token_major(x))
    return arguments


def _gradients(sizes: Sizes, given: ScanInputs, *grads: Tensor) -> tuple[Tensor, ...]:
    """The kernel's gradients, summed, with the axes of `given`."""
    grad_u, grad_delta, grad_A, grad_B, grad_C, grad_D, grad_bias, grad_initial = grads
    nothing = [grad_A.new_empty(0) for _ in range(3)]
    return (
        grad_u.transpose(1, 2),
        grad_delta.transpose(1, 2),
        sizes.public_states(grad_A),
        grad_B[..., : sizes.d_state].to(given.B.dtype).transpose(2, 3),
        grad_C[..., : sizes.d_state].to(given.C.dtype).transpose(2, 3),
        nothing[0] if given.D is None else grad_D,
        nothing[1] if given.delta_bias is None else grad_bias,
        nothing[2] if given.initial_state is None else sizes.public_states(grad_initial),
    )
