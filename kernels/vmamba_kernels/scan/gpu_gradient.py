"""How the gradient kernels of the scan are launched: memory to read and write, who runs what."""

import functools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vmamba_kernels.operators import token_major_like
from vmamba_kernels.scan import gpu_gradient_kernels as kernels
from vmamba_kernels.scan.gpu_forward import contiguous, on_device, tokens_of
from vmamba_kernels.scan.gpu_kernels import LOG2E
from vmamba_kernels.types import ScanInputs, ScanOptions

SCHEDULERS = 528  # of a large GPU; each wants a program of its own at least
PROGRAMS = 2 * SCHEDULERS  # that keep it busy
MOST_SPLITS = 32  # pieces of a sequence that run at once


def gradient(
    given: ScanInputs,
    z: Tensor | None,
    options: ScanOptions,
    starts: Tensor,
    grad_y: Tensor | None,
    grad_last_state: Tensor | None,
    grad_states: Tensor | None,
    slots: Tensor | None,
) -> tuple[Tensor | None, ...]:
    """Gradients of the tensors of `given` and of z; None where a tensor is None.

    Args:
        given, z, options: As given to the forward scan; B and C (batch, groups, d_state, seqlen),
            each its own groups.
        starts: float32 (batch, chunks, d_state, d_inner), the states before each chunk of steps.
        grad_y: (batch, d_inner, seqlen). None: 0, as for the next two.
        grad_last_state: (batch, d_inner, d_state).
        grad_states: (batch, rows, d_state, d_inner), gradient of the states that were stored.
        slots: int32 (seqlen,): the row of `grad_states` that belongs to a token, or -1.

    Returns:
        Shaped and typed like the tensors; those of u, delta and z in token-major memory.
    """
    u, delta, A, B, C, D, delta_bias, initial_state = given
    order, delta_softplus, reverse = options
    (batch, d_inner, seqlen), d_state = u.shape, A.shape[1]
    lanes, tile, tiles = kernels.LANES.value, kernels.TILE.value, kernels.TILES.value
    chunks = starts.shape[1]
    steps = chunks * tiles * tile
    groups = math.lcm(B.shape[1], C.shape[1])
    pair, split = cut(batch, groups, d_inner // groups, chunks)
    splits = -(-chunks // split)
    blocks = groups * -(-(d_inner // groups) // (lanes * pair))

    def rows(x: Tensor) -> Tensor:
        """B or C in scan order, up to the last step."""
        x, padding = x.float(), steps - seqlen
        x = x.flip(3) if reverse else x if order is None else x.index_select(3, order)
        return F.pad(x, (padding, 0) if reverse else (0, padding)).contiguous()

    float32 = functools.partial(u.new_empty, dtype=torch.float32)
    grad_u, grad_delta = token_major_like(u), token_major_like(delta)
    grad_z = None if z is None else token_major_like(z)
    parts = batch, splits, d_state, d_inner
    w = kernels.Write(
        tokens_of(grad_u), tokens_of(grad_delta), tokens_of(grad_z),
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
        tokens_of(u), tokens_of(delta), tokens_of(z), tokens_of(grad_y),
        (A.float() * LOG2E.value).t().contiguous(), rows(B), B.shape[1], rows(C), C.shape[1],
        contiguous(D), contiguous(delta_bias), order, starts,
        None if grad_last_state is None else grad_last_state.float().mT.contiguous(),
        *kept,
    )  # fmt: skip
    sizes = batch, seqlen, d_inner, d_state, groups, split
    constants: dict[str, Any] = {"SOFTPLUS": delta_softplus, "REVERSE": reverse}
    constants |= {"num_warps": 1, "enable_fp_fusion": True}
    with on_device(u):
        if batch and splits > 1:
            narrow = groups * -(-(d_inner // groups) // lanes)
            ragged = d_inner // groups % lanes != 0
            kernels.adjoint_summary_kernel[batch * narrow, splits - 1](
                r, w, *sizes, RAGGED=ragged, **constants
            )
        if batch:
            ragged = d_inner // groups % (lanes * pair) != 0
            kernels.gradient_kernel[batch * blocks, splits](
                r, w, *sizes, PAIR=pair, RAGGED=ragged, **constants
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
        None if delta_bias is None else w.bias.sum((0, 1)).to(delta_bias.dtype),
        None if initial_state is None else w.e[:, 0].mT.to(initial_state.dtype).contiguous(),
        grad_z,
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
