"""The scan on the CPU: lay tensors out for its kernels, run them, give the results their axes.

Inside, u, delta, z, B and C are float32 or bfloat16, and so are their gradients; all else is
float32. B and C have one number of groups, and `steps` lists the token that each step reads. `part`
is "only", or "first" or "second" of two scans that share one gate: the first leaves its y in the
memory of the result, the second adds its own and gates the sum, in two passes over the inputs and
none over anything else.
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
    token_order,
    token_slots,
)
from vmamba_kernels.jit.vectormath import LOG2E
from vmamba_kernels.operators import Results
from vmamba_kernels.scan.cpu_kernels import (
    Variant,
    build_forward,
    build_gradient,
    padded_sums,
)
from vmamba_kernels.scan.cpu_pointwise import (
    gated_sum,
    gated_sum_gradient,
    step_size,
    step_size_gradient,
)
from vmamba_kernels.types import ScanInputs, ScanOptions

__all__ = [
    "KEEPS_TOTAL",
    "bidirectional",
    "bidirectional_gradient",
    "empty_starts",
    "gated_sum",
    "gated_sum_gradient",
    "gradient_shapes",
    "scan",
    "scan_gradient",
    "scan_norms",
    "step_size",
    "step_size_gradient",
]

KEEPS_TOTAL = False  # the gradient of both directions recomputes their sum


def scan(
    given: ScanInputs, z: Tensor | None, options: ScanOptions, tokens: Tensor | None, keep: bool
) -> Results:
    """See `operators.Launch`."""
    one = Scan("selective_scan", given, z, options)
    y, starts = one.empty_output(one.given.u), one.empty_starts() if keep else None
    states = slots = None
    if tokens is not None:
        states, slots = one.empty_states(len(tokens)), token_slots(one.seqlen, tokens)
    last_state = run_forward(one, "only", y, starts=starts, states=states, slots=slots)
    if states is not None and slots is not None and tokens is not None:
        if repeated(slots, tokens):  # one slot was filled for all
            states = states.index_select(1, slots[tokens])
        states = states.permute(0, 3, 2, 1)
    return y.to(given.u.dtype), one.public_states(last_state), states, starts


def scan_norms(given: ScanInputs, z: Tensor | None, options: ScanOptions, keep: bool) -> Results:
    """See `operators.Launch`."""
    one = Scan("selective_scan_with_norms", given, z, options)
    y, starts = one.empty_output(one.given.u), one.empty_starts() if keep else None
    norms = one.norm_memory()
    run_forward(one, "only", y, starts=starts, norms=norms)
    squares = total(total(norms.square_sums, 2), 1)[..., : one.d_state]
    over_channels = squares.transpose(1, 2).sqrt().contiguous()
    return y.to(given.u.dtype), norms.over_states, over_channels, norms.readout, starts


def scan_gradient(
    given: ScanInputs,
    z: Tensor | None,
    options: ScanOptions,
    tokens: Tensor | None,
    starts: Tensor,
    grad_y: Tensor | None,
    grad_last_state: Tensor | None,
    grad_states: Tensor | None,
) -> Results:
    """See `operators.Launch`."""
    one, slots = Scan("selective_scan", given, z, options), None
    if grad_states is not None and tokens is not None:
        slots = token_slots(one.seqlen, tokens)
        grad_states = grad_states.permute(0, 3, 2, 1).contiguous()
        if repeated(slots, tokens):
            zeros = torch.zeros_like(grad_states)
            grad_states = zeros.index_add(1, slots[tokens], grad_states)
    grad_z = None if one.z is None else one.empty_tokens(one.z)
    grads = run_gradient(
        one, "only", starts, grad_y, grad_z,
        grad_last_state=grad_last_state, grad_states=grad_states, slots=slots,
    )  # fmt: skip
    return *_gradients(given, one, *grads), _public_grad_z(grad_z, z)


def bidirectional(
    forward: ScanInputs, backward: ScanInputs, z: Tensor | None, options: ScanOptions, keep: bool
) -> Results:
    """See `operators.Launch`."""
    scans = _both(forward, backward, z, options)
    y = scans[0].empty_output(scans[0].given.u)
    y_first = y if y.dtype == torch.float32 else torch.empty_like(y, dtype=torch.float32)
    starts = [one.empty_starts() if keep else None for one in scans]
    for one, part, states in zip(scans, ("first", "second"), starts, strict=True):
        into = y_first if part == "first" else y
        run_forward(one, part, into, y_first=y_first, starts=states)
    return y.to(forward.u.dtype), None, *starts


def bidirectional_gradient(
    forward: ScanInputs,
    backward: ScanInputs,
    z: Tensor | None,
    options: ScanOptions,
    total: Tensor,
    starts: Tensor,
    starts_backward: Tensor,
    grad_y: Tensor,
) -> Results:
    """See `operators.Launch`."""
    scans = _both(forward, backward, z, options)
    grads: list[Tensor | None] = []
    grad_z = None if scans[0].z is None else scans[0].empty_tokens(scans[0].z)
    y_first = grad_z
    if grad_z is not None and grad_z.dtype != torch.float32:
        y_first = torch.empty_like(grad_z, dtype=torch.float32)
    for given, one, part, states in zip(
        (forward, backward), scans, ("first", "second"), (starts, starts_backward), strict=True
    ):
        found = run_gradient(one, part, states, grad_y, grad_z, y_first=y_first)
        grads += _gradients(given, one, *found)
    return *grads, _public_grad_z(grad_z, z)


def empty_starts(given: ScanInputs) -> Tensor:
    """Memory for the states at the starts of chunks."""
    return Sizes(given).empty_starts()


def gradient_shapes(given: ScanInputs) -> Results:
    """The gradients of `given` without their numbers."""
    sizes = Sizes(given)
    like = sizes.like
    tokens = [sizes.empty_tokens(readable(x)) for x in (given.u, given.delta)]
    sums = [like.new_empty(sizes.batch, sizes.groups, sizes.seqlen, sizes.sums) for _ in range(2)]
    channels = [like.new_empty(sizes.d_inner) for _ in range(2)]
    grad_state = sizes.packed_states(None)
    return _gradients(given, sizes, *tokens, grad_state.sum(0), *sums, *channels, grad_state)


def prepared(given: ScanInputs) -> ScanInputs:
    """`given` as the kernels take it: readable types, B and C with one number of groups."""
    per_token = {name: readable(getattr(given, name)) for name in ("u", "delta", "B", "C")}
    floats: Any = (None if x is None else x.float() for x in given)
    given = ScanInputs(*floats)._replace(**per_token)
    groups = math.lcm(given.B.shape[1], given.C.shape[1])
    B, C = (
        x if x.shape[1] == groups else x.float().repeat_interleave(groups // x.shape[1], dim=1)
        for x in (given.B, given.C)
    )
    return given._replace(B=B, C=C)


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
        groups = math.lcm(given.B.shape[1], given.C.shape[1])
        super().__init__(batch, seqlen, d_inner, groups)
        self.like, self.d_state = given.A.new_empty(0).float(), given.A.shape[1]
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

    def norm_memory(self) -> NormMemory:
        """Memory for the norms of states."""
        like = self.like
        return NormMemory(self.empty_output(like), self.empty_output(like), self.empty_sums())

    def empty_sums(self) -> Tensor:
        """Sums over the channels of each block, for every token."""
        return self.like.new_empty(self.batch, self.groups, self.blocks, self.seqlen, self.sums)


class Scan(Sizes):
    """One scan as the kernels take it, with its sizes."""

    def __init__(
        self, call: str, given: ScanInputs, z: Tensor | None, options: ScanOptions
    ) -> None:
        self.given, self.z = prepared(given), None if z is None else readable(z)
        super().__init__(self.given)
        self.softplus = options.delta_softplus
        self.steps = token_order(call, self.seqlen, options.reverse, options.order)

    def inputs(self) -> Arguments:
        """The arguments that forward and gradient share."""
        given = self.given
        arguments = self.arguments(self.steps) | {
            "A2": self.pack(given.A.t()).mul_(LOG2E),
            "D": self.channels(given.D, given.A),
            "bias": self.channels(given.delta_bias, given.A),
            "n_sums": self.sums,
        }
        tokens = {"u": given.u, "delta": given.delta, "z": self.z, "B": given.B, "C": given.C}
        for name, x in tokens.items():
            arguments |= token_arguments(name, None if x is None else token_major(x))
        return arguments

    def variant(self, part: str, arguments: Arguments, states: bool, norms: bool) -> Variant:
        """The kernel that these arguments need."""
        return Variant(
            self.d_state, self.ragged, self.softplus, self.z is not None, states, norms, part,
            bfloats(arguments),
        )  # fmt: skip


def _both(
    forward: ScanInputs, backward: ScanInputs, z: Tensor | None, options: ScanOptions
) -> list[Scan]:
    call, both = "bidirectional_selective_scan", (forward, backward)
    return [
        Scan(call, given, z, how) for given, how in zip(both, options.directions(), strict=True)
    ]


def run_forward(
    one: Scan,
    part: str,
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
    state = one.packed_states(one.given.initial_state)
    ask_for_large_pages(y, starts, states)
    arguments = one.inputs() | {
        "state": state,
        "starts": starts,
        "slots": slots,
        "square_sums": norms.square_sums if norms else None,
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
    variant = one.variant(part, arguments, states is not None, norms is not None)
    compiled(build_forward, variant)(one.tasks, arguments)
    return state


def run_gradient(
    one: Scan,
    part: str,
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
        One for each tensor of a scan, in their order, in the memory of the kernels.
    """
    u = one.given.u
    grad_y = torch.zeros_like(u) if grad_y is None else readable(grad_y)
    grad_u, grad_delta = one.empty_tokens(u), one.empty_tokens(one.given.delta)
    grad_B, grad_C = one.empty_sums(), one.empty_sums()
    grad_state = one.packed_states(grad_last_state)
    grad_A = torch.zeros_like(grad_state)
    grad_D, grad_bias = (one.like.new_zeros(one.batch, one.d_inner) for _ in range(2))
    ask_for_large_pages(grad_u, grad_delta, grad_z, grad_B, grad_C)
    arguments = one.inputs() | {
        "starts": starts,
        "slots": slots,
        "grad_A": grad_A,
        "grad_D": grad_D,
        "grad_bias": grad_bias,
        "grad_state": grad_state,
        "grad_B": grad_B,
        "grad_C": grad_C,
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
    variant = one.variant(part, arguments, grad_states is not None, norms=False)
    compiled(build_gradient, variant)(one.tasks, arguments)
    return (
        grad_u, grad_delta, total(grad_A, 0), total(grad_B, 2), total(grad_C, 2),
        total(grad_D, 0), total(grad_bias, 0), grad_state,
    )  # fmt: skip


def _gradients(given: ScanInputs, sizes: Sizes, *grads: Tensor) -> tuple[Tensor | None, ...]:
    """What `run_gradient` returns, with the axes and types of `given`; None where there is none."""
    grad_u, grad_delta, grad_A, grad_B, grad_C, grad_D, grad_bias, grad_initial = grads

    def selection(x: Tensor, grad: Tensor) -> Tensor:
        grad = grad[..., : sizes.d_state]
        if x.shape[1] < sizes.groups:
            grad = grad.unflatten(1, (x.shape[1], -1)).sum(2)
        return grad.transpose(2, 3)

    public = (
        grad_u.transpose(1, 2),
        grad_delta.transpose(1, 2),
        sizes.public_states(grad_A),
        selection(given.B, grad_B),
        selection(given.C, grad_C),
        grad_D,
        grad_bias,
        sizes.public_states(grad_initial),
    )
    pairs = zip(given, public, strict=True)
    return tuple(None if x is None else grad.to(x.dtype) for x, grad in pairs)


def _public_grad_z(grad_z: Tensor | None, z: Tensor | None) -> Tensor | None:
    return None if grad_z is None or z is None else grad_z.transpose(1, 2).to(z.dtype)
