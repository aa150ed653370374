"""How many clips fit into a memory budget at a time, and whether blocks must be run twice."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vmamba_explore.analysis.peak_memory import peak_bytes
from vmamba_explore.model.mixer import Block
from vmamba_explore.model.videomamba import VideoMamba

GIB = 2**30
MOST_ROWS = 16
"""More clips at a time than this make nothing faster."""
_USABLE = 0.7  # of the budget, for scratch memory that nobody sees
_RESIDENT = 2.5  # resident bytes to each that lives: glibc keeps much of what was freed
_COPIES = 6  # of the clips that a method holds beside the model: baselines, sums, samples


@dataclass(frozen=True)
class Limits:
    """What a memory budget allows.

    Args:
        forward_rows: Clips at a time without gradient.
        gradient_rows: Clips at a time with gradient.
        recompute: Whether a gradient keeps the input of each block only and runs it again.
        forward_bytes: Estimated bytes that a forward pass of one clip holds at most.
        gradient_bytes: The same for a gradient, the blocks run again where `recompute` says so.
    """

    forward_rows: int
    gradient_rows: int
    recompute: bool
    forward_bytes: int = 0
    gradient_bytes: int = 0

    @classmethod
    def within(
        cls, model: VideoMamba, budget_gib: float | int = 1.0, observes_states: bool = False
    ) -> Limits:
        """Choose limits for a model; one block runs on one empty clip to see what it holds.

        Args:
            model: The model.
            budget_gib: Memory that may be taken above what is there now, GiB.
            observes_states: Whether all states of one scan are read too.
        Raises:
            ValueError: the budget is not positive.
            MemoryError: not even one clip fits.
        """
        if not budget_gib > 0:
            raise ValueError(f"attribute: budget_gib is {budget_gib}, expected more than 0.")
        weight = model.norm_f.weight
        key = model.config, weight.dtype, weight.device, observes_states
        if key not in _KNOWN:
            with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
                _KNOWN[key] = _measured(model, observes_states)
        sizes = _KNOWN[key]
        usable = _USABLE * budget_gib * GIB - _COPIES * sizes.clip
        recompute = usable < _RESIDENT * sizes.gradient
        gradient = sizes.recomputed if recompute else sizes.gradient
        if usable < _RESIDENT * gradient:
            needed = (_RESIDENT * gradient + _COPIES * sizes.clip) / _USABLE / GIB
            raise MemoryError(
                f"attribute: one clip needs about {needed:.3g} GiB and the budget is "
                f"{budget_gib:.3g} GiB. Pass budget_gib={needed * 1.1:.3g}, or use a shorter clip."
            )
        rows = [
            min(MOST_ROWS, int(usable // (_RESIDENT * size))) for size in (sizes.forward, gradient)
        ]
        return cls(rows[0], rows[1], recompute, sizes.forward, gradient)


@dataclass(frozen=True)
class _Sizes:
    """Bytes for one clip."""

    clip: int
    forward: int
    gradient: int
    recomputed: int


_KNOWN: dict[object, _Sizes] = {}


def _measured(model: VideoMamba, observes_states: bool) -> _Sizes:
    """What one clip holds at most, from the peaks of one block: all blocks are alike.

    Without gradient one block lives at a time; with it each keeps what it saved (its input where
    blocks are recomputed), and one block's peak comes on top.
    """
    config = model.config
    weight = model.norm_f.weight
    residual = torch.zeros(1, config.grid.seqlen, config.d_model, device=weight.device)
    residual = residual.double() if weight.dtype == torch.float64 else residual
    block = Block(config).to(weight.device, weight.dtype).requires_grad_(False)  # without hooks
    saved: dict[int, int] = {}
    own = {parameter.data_ptr() for parameter in block.parameters()}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return value

    def gradient() -> None:
        start = residual.clone().requires_grad_()
        with torch.enable_grad():
            torch.autograd.grad(block(start).sum(), start)

    def forward() -> None:
        with torch.no_grad():
            block(residual)

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        output = block(residual.clone().requires_grad_())
    del output
    peak, kept, depth = peak_bytes(gradient, weight.device), sum(saved.values()), config.depth
    clip = config.in_channels * config.num_frames * config.img_size**2 * weight.element_size()
    # reading all states of one scan: they, and as much again for their gradient
    states = 2 * config.grid.seqlen * config.d_inner * config.d_state * 4 * observes_states
    inputs = depth * residual.nbytes
    return _Sizes(
        clip,
        forward=peak_bytes(forward, weight.device) + 3 * clip + states // 2,
        gradient=depth * kept + peak + 3 * clip + states,
        recomputed=inputs + peak + 3 * clip + states,
    )
