"""The gradient of the selective scan on a GPU: what it is given, what it writes, who runs what.

Triton is imported by the first call, so that importing this module needs none.
"""

import functools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

SCHEDULERS = 528  # of a large GPU; each wants a program of its own at least
PROGRAMS = 2 * SCHEDULERS  # that keep it busy
MOST_SPLITS = 32  # pieces of a sequence that run at once


def gradient(
    grad_y: Tensor | None,
    grad_last_state: Tensor | None,
    grad_states: Tensor | None,
    slots: Tensor | None,
    starts: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    initial_state: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
    order: Tensor | None,
) -> tuple[Tensor | None, ...]:
    """Gradients of the nine tensors of a scan, in their order; None where a tensor is None.

    Args:
        grad_y: (batch, d_inner, seqlen). None: 0, as for the next two.
        grad_last_state: (batch, d_inner, d_state).
        grad_states: (batch, rows, d_state, d_inner), gradient of the states that were kept.
        slots: int32 (seqlen,): the row of `grad_states` that belongs to a token, or -1.
        starts: float32 (batch, chunks, d_state, d_inner), the states before each chunk of steps.
        u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus, reverse, order: As given
            to the forward scan; B and C (batch, groups, d_state, seqlen), each its own groups.

    Returns:
        Shaped and typed like the tensors; those of u, delta and z in token-major memory.
    """
    from vmamba_kernels.scan import gpu_gradient_kernels as kernels
    from vmamba_kernels.scan.gpu_kernels import LOG2E
    from vmamba_kernels.scan.gpu_launch import empty_tokens, on_device, token_major

    (batch, d_inner, seqlen), d_state = u.shape, A.shape[1]
    lanes, tile, tiles = kernels.LANES.value, kernels.TILE.value, kernels.TILES.value
    chunks = starts.shape[1]
    steps = chunks * tiles * tile
    groups = math.lcm(B.shape[1], C.shape[1])
    pair, split = cut(batch, groups, d_inner // groups, chunks)
    splits = -(-chunks // split)
    blocks = groups * -(-(d_inner // groups) // (lanes * pair))

    def tokens(x: Tensor | None) -> Any:
        x = None if x is None else token_major(x)
        return None if x is None else kernels.Tokens(x, x.stride(0), x.stride(2))

    def contiguous(x: Tensor | None) -> Tensor | None:
        return None if x is None else x.contiguous()

    def rows(x: Tensor) -> Tensor:
        """B or C in scan order, up to the last step."""
        x, padding = x.float(), steps - seqlen
        x = x.flip(3) if reverse else x if order is None else x.index_select(3, order)
        return F.pad(x, (padding, 0) if reverse else (0, padding)).contiguous()

    float32 = functools.partial(u.new_empty, dtype=torch.float32)
    grad_u, grad_delta = empty_tokens(u, u.dtype), empty_tokens(u, delta.dtype)
    grad_z = None if z is None else empty_tokens(u, z.dtype)
    parts = batch, splits, d_state, d_inner
    w = kernels.Write(
        tokens(grad_u), tokens(grad_delta), tokens(grad_z),
        e=float32(parts), A=float32(parts),
        D=float32(batch, splits, d_inner), bias=float32(batch, splits, d_inner),
        sums=float32(blocks, batch, chunks * tiles, d_state, 2 * tile),
        notes=float32(batch * blocks * splits, tiles, d_state, lanes * pair),
        own=float32(parts) if splits > 1 else None,
        total=float32(batch, splits, d_inner) if splits > 1 else None,
    )  # fmt: skip
    kept: tuple[Any, ...] = None, None, 0, 0, 0, 0
    if grad_states is not None:
        kept = slots, grad_states, *grad_states.stride()
    r = kernels.Read(
        tokens(u), tokens(delta), tokens(z), tokens(grad_y),
        (A.float() * LOG2E.value).t().contiguous(), rows(B), B.shape[1], rows(C), C.shape[1],
        contiguous(D), contiguous(delta_bias), contiguous(order), starts,
        None if grad_last_state is None else grad_last_state.float().mT.contiguous(),
        *kept,
    )  # fmt: skip
    sizes = batch, seqlen, d_inner, d_state, groups, split
    options: dict[str, Any] = {"SOFTPLUS": delta_softplus, "REVERSE": reverse}
    options |= {"num_warps": 1, "enable_fp_fusion": True}
    with on_device(u):
        if batch and splits > 1:
            narrow = groups * -(-(d_inner // groups) // lanes)
            ragged = d_inner // groups % lanes != 0
            kernels.adjoint_summary_kernel[batch * narrow, splits - 1](
                r, w, *sizes, RAGGED=ragged, **options
            )
        if batch:
            ragged = d_inner // groups % (lanes * pair) != 0
            kernels.gradient_kernel[batch * blocks, splits](
                r, w, *sizes, PAIR=pair, RAGGED=ragged, **options
            )
    step = None if order is None else order.argsort()  # of every token

    def selection(x: Tensor, parts: Tensor) -> Tensor:
        """The parts of grad_B or grad_C added up, in natural order."""
        # the blocks of a group follow each other
        grad = parts.unflatten(0, (x.shape[1], -1)).sum(1).permute(1, 0, 3, 2, 4).flatten(3)
        if step is not None:
            grad = grad.index_select(3, step)
        else:
            grad = (grad.flip(3) if reverse else grad)[..., :seqlen]
        return grad.to(x.dtype).contiguous()

    return (
        grad_u,
        grad_delta,
        w.A.sum((0, 1)).t().to(A.dtype).contiguous(),
        selection(B, w.sums[..., :tile]),
        selection(C, w.sums[..., tile:]),
        None if D is None else w.D.sum((0, 1)).to(D.dtype),
        grad_z,
        None if delta_bias is None else w.bias.sum((0, 1)).to(delta_bias.dtype),
        None if initial_state is None else w.e[:, 0].mT.to(initial_state.dtype).contiguous(),
    )


def cut(batch: int, groups: int, group_size: int, chunks: int) -> tuple[int, int]:
    """How the work is cut: channels in a thread, and chunks in each split of the sequence.

    Two channels in a thread need a fifth fewer instructions than one, but make half as many
    programs. Not timed: two for each scheduler of an H200, and at most MOST_SPLITS splits, since
    every program walks over the summaries of all splits behind it.
    """
    pair, splits = 1, 1
    for pair in (2, 1):
        programs = max(batch * groups * -(-group_size // (32 * pair)), 1)
        splits = min(-(-PROGRAMS // programs), chunks, MOST_SPLITS)
        if group_size > 32 and programs * splits >= SCHEDULERS:
            break
    return pair, -(-chunks // splits)
