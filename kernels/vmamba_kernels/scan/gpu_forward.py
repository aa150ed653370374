"""How the forward kernels of the scan are launched: sizes, memory to write, who runs what."""

import functools
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
import triton
from torch import Tensor

from vmamba_kernels.operators import token_major_like
from vmamba_kernels.scan.gpu_kernels import (
    CHUNK,
    TILE,
    Direction,
    Output,
    Selection,
    Tokens,
    scan_kernel,
    selection_kernel,
    summary_kernel,
)
from vmamba_kernels.types import ScanInputs, ScanOptions

LANES = 32  # threads in a warp; one warp is one program, each thread has one channel
STATES = 16  # states in registers; more of them take turns
MOST_SPLITS = 32  # pieces of a sequence that run at once
FULL_GPU = 1056 * LANES  # channels that keep a large GPU busy: two warps for each of 528 schedulers

# Said explicitly, since Triton 3.10 changes its default; exp2 is cheaper with it. Kernels write fma
# out where a product is added to something: no two variants of a kernel are contracted differently.
COMPILATION = {"enable_fp_fusion": True}


Scan = tuple[ScanInputs, ScanOptions]


class Sizes:
    """How one or two scans are cut into programs."""

    def __init__(self, u: Tensor, A: Tensor, *selections: Tensor) -> None:
        self.batch, self.d_inner, self.seqlen = u.shape
        self.d_state = A.shape[1]
        self.rounds = -(-self.d_state // STATES)
        self.width = -(-self.d_state // self.rounds)  # states in registers at a time
        self.padded = self.rounds * self.width
        self.groups = math.lcm(*(x.shape[1] for x in selections))
        self.group_size = self.d_inner // self.groups
        self.blocks = -(-self.group_size // LANES)  # programs for a group
        self.chunks = -(-self.seqlen // CHUNK.value)
        self.steps = self.chunks * CHUNK.value
        self.tiles = -(-self.seqlen // TILE.value)
        self.split = tiles_in_split(self.batch * self.d_inner, self.seqlen)
        self.splits = -(-self.tiles // self.split)

    @classmethod
    def of(cls, scans: Sequence[Scan]) -> "Sizes":
        first, _ = scans[0]
        return cls(first.u, first.A, *(x for given, _ in scans for x in (given.B, given.C)))

    @property
    def programs(self) -> int:
        return self.batch * self.groups * self.blocks

    def numbers(self) -> tuple[int, ...]:
        """The sizes that all scan kernels are told."""
        return self.batch, self.seqlen, self.d_inner, self.groups, self.split

    def constants(self, softplus: bool) -> dict[str, Any]:
        """The arguments that all scan kernels are compiled for, and how."""
        return COMPILATION | {
            "D_STATE": self.d_state,
            "WIDTH": self.width,
            "ROUNDS": self.rounds,
            "BLOCK": LANES,
            "RAGGED": self.group_size % LANES != 0,
            "SOFTPLUS": softplus,
            "num_warps": 1,
        }

    def steps_of(self, reverse: bool) -> tuple[int, int]:
        """`first` and `sign` of a direction without an order."""
        return (self.steps - 1, -1) if reverse else (0, 1)


def tiles_in_split(channels: int, seqlen: int) -> int:
    """How long the pieces are that run at once: the whole sequence where channels fill the GPU.

    Not timed: two warps for each scheduler of an H200, pieces of at least CHUNK tokens, and no more
    than MOST_SPLITS of them, since every program walks over the summaries of all earlier ones.
    """
    wanted = -(-FULL_GPU // max(channels, 1))
    splits = min(wanted, -(-seqlen // CHUNK.value), MOST_SPLITS)
    return -(-seqlen // (splits * TILE.value))


def token_major(x: Tensor) -> Tensor:
    """x (batch, channels, seqlen) itself if its stride along the channels is 1, else a copy.

    Inside a tile the kernels count in 32 bits, so tokens must not lie too far apart.
    """
    in_place = x.stride(1) == 1 and x.stride(2) < 2**31 // TILE.value
    return x if in_place else token_major_like(x).copy_(x)


def contiguous(x: Tensor | None) -> Tensor | None:
    """x in contiguous memory."""
    return None if x is None else x.contiguous()


def tokens_of(x: Tensor | None) -> Any:
    """x (batch, channels, seqlen) as the kernels take it, with its strides."""
    if x is None:
        return None
    x = token_major(x)
    return Tokens(x, x.stride(0), x.stride(2))


def on_device(x: Tensor) -> AbstractContextManager[Any]:
    """Launch on the device of x; the interpreter needs nothing."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def rows_in_scan_order(
    sizes: Sizes, selections: Sequence[tuple[Tensor, ScanOptions]]
) -> list[Tensor]:
    """Launch `selection_kernel` for some B or C and how each is read.

    Returns:
        For each of them (batch, groups, tiles, padded states, TILE) float32.
    """
    found, arguments, tile = [], [], TILE.value
    for x, options in selections:
        first, sign = sizes.steps_of(options.reverse)
        shape = *x.shape[:2], sizes.steps // tile, sizes.padded, tile
        found.append(x.new_empty(shape, dtype=torch.float32))
        strides = x.stride(0), x.stride(1), x.stride(2), x.stride(3)
        arguments.append(Selection(x, *strides, found[-1], x.shape[1], options.order, first, sign))
    tokens = 64
    groups = max(x.shape[1] for x in found)
    grid = sizes.batch * groups * -(-sizes.steps // tokens), len(found)
    if sizes.batch:
        selection_kernel[grid](
            tuple(arguments), sizes.batch, sizes.seqlen, sizes.steps, tile,
            D_STATE=sizes.d_state, PADDED=sizes.padded,
            STATES=triton.next_power_of_2(sizes.padded), TOKENS=tokens, **COMPILATION,
        )  # fmt: skip
    return found


class Kept:
    """Which row of memory keeps the state of which token.

    Row k belongs to token tokens[k]; of the rows of a token that is named again, only the last.
    """

    def __init__(self, tokens: Tensor, seqlen: int) -> None:
        named = tokens.cpu().numpy()
        self.rows = len(named)
        self._row = np.full(seqlen, -1, np.int32)
        self._row[named] = np.arange(self.rows)
        self._owner = self._row[named]  # k, unless the token is named again
        self._again = [k for k in range(self.rows) if self._owner[k] != k]

    def slots(self, device: torch.device) -> Tensor:
        """int32 (seqlen,): the row that keeps a token's state, or -1."""
        return torch.from_numpy(self._row).to(device)

    def where(self, options: ScanOptions, device: torch.device) -> dict[str, Any]:
        """What `scan` is told about it."""
        seqlen, reverse = len(self._row), options.reverse
        steps = -(-seqlen // CHUNK.value) * CHUNK.value
        tile_rows = np.full(steps // TILE.value, -1, np.int32)
        tokens = np.flatnonzero(self._row >= 0)
        step = steps - 1 - tokens if reverse else tokens
        last = step % TILE.value == TILE.value - 1
        if not reverse:
            last |= tokens == seqlen - 1  # what comes behind it changes nothing
        if options.order is None and last.all():
            tile_rows[step // TILE.value] = self._row[tokens]
            return {"tile_slots": torch.from_numpy(tile_rows).to(device), "rows": self.rows}
        return {"slots": self.slots(device), "rows": self.rows}

    def columns(self, states: Tensor) -> Tensor:
        """The states that were asked for, (batch, rows, ...), from the rows that were written."""
        if not self._again:
            return states
        return states.index_select(1, torch.from_numpy(self._owner).to(states.device))

    def sums(self, grads: Tensor) -> Tensor:
        """The gradient of each token's state, in its row; in fixed order."""
        if not self._again:
            return grads
        grads = grads.clone()
        for k in self._again:
            grads[:, self._owner[k]] += grads[:, k]
        return grads


class Results(NamedTuple):
    """What `scan` gives; lists have one entry a direction, None is what was not asked for."""

    y: Tensor
    last: list[Tensor]  # (batch, d_state, d_inner)
    starts: list[Tensor | None]
    total: Tensor | None
    states: Tensor | None
    sums: tuple[Tensor, ...]  # of states, where asked for: Output's squares, partial, readout


def scan(
    scans: Sequence[Scan],
    z: Tensor | None,
    *,
    slots: Tensor | None = None,
    tile_slots: Tensor | None = None,
    rows: int = 0,
    starts: bool = False,
    total: bool = False,
    norms: bool = False,
) -> Results:
    """Launch one scan, or the gated sum of two.

    Args:
        slots: int32 (seqlen,), the row that keeps a token's state, or -1.
        tile_slots: int32 (tiles,), the row that keeps the state after each tile in scan order, or
            -1: given instead of `slots`, since it costs nothing where nothing is kept.
        rows: How many rows there are.
        starts: Keep the states before each chunk, for the gradient.
        total: Keep the sum before the gate, for the gradient.
        norms: Make the sums that norms need.
    """
    (u, *_), (_, softplus, _) = scans[0]
    sizes = Sizes.of(scans)
    batch, seqlen, d_inner, d_state = sizes.batch, sizes.seqlen, sizes.d_inner, sizes.d_state
    float32 = functools.partial(u.new_empty, dtype=torch.float32)
    tokens, y = (batch, seqlen, d_inner), token_major_like(u)
    both = None
    if total or len(scans) > 1:  # the first direction leaves its y for the second one
        reuse = u.dtype == torch.float32 and not total
        both = y if reuse else float32(tokens)
    keep = slots is not None or tile_slots is not None
    states = float32(batch, rows, d_state, d_inner) if keep else None
    sums: tuple[Tensor, ...] = ()
    if norms:
        partial = float32(sizes.groups * sizes.blocks, batch, d_state, seqlen)
        sums = float32(tokens), partial, float32(tokens)
    z = None if z is None else token_major(z)
    strides_z = (0, 0) if z is None else (z.stride(0), z.stride(2))
    sums_or_none = sums or (None,) * 3
    out = Output(y, z, *strides_z, both, slots, tile_slots, states, *sums_or_none)

    # An order mixes the splits: the second direction must wait for the first one.
    mixed = sizes.splits > 1 and any(options.order is not None for _, options in scans)
    together = not mixed and len({given.A.shape[1] for given, _ in scans}) == 1
    launches = [scans] if together else [[scan] for scan in scans]
    directions: list[Direction] = []
    with on_device(u):
        for i, launch in enumerate(launches):
            sizes = Sizes.of(launch)
            prepared = _directions(sizes, launch, starts)
            directions += prepared
            if sizes.programs:
                scan_kernel[sizes.programs, sizes.splits](
                    prepared, out, *sizes.numbers(), rows,
                    FIRST=i == 0, LAST=i == len(launches) - 1, KEEP_TOTAL=total,
                    **sizes.constants(softplus),
                )  # fmt: skip
    last, chunks = [d.last for d in directions], [d.starts for d in directions]
    return Results(y, last, chunks, both, states, sums)


def _directions(sizes: Sizes, scans: Sequence[Scan], starts: bool) -> tuple[Direction, ...]:
    """Make what the scan kernel reads besides the caller's tensors, and the memory it writes."""
    batch, d_state, d_inner, splits = sizes.batch, sizes.d_state, sizes.d_inner, sizes.splits
    float32 = functools.partial(scans[0][0].u.new_empty, dtype=torch.float32)
    selections = [(x, options) for given, options in scans for x in (given.B, given.C)]
    rows = rows_in_scan_order(sizes, selections)
    directions = []
    for (given, options), B, C in zip(scans, rows[::2], rows[1::2], strict=True):
        u, delta, A = token_major(given.u), token_major(given.delta), given.A
        if sizes.rounds > 1:  # read again at every tile
            A = A.t().contiguous().t()
        first, sign = sizes.steps_of(options.reverse)
        states = batch, splits, d_state, d_inner
        directions.append(
            Direction(
                u, u.stride(0), u.stride(2), delta, delta.stride(0), delta.stride(2),
                A, A.stride(0), A.stride(1), B, given.B.shape[1], C, given.C.shape[1],
                contiguous(given.D),
                contiguous(given.delta_bias),
                contiguous(given.initial_state),
                options.order,
                first,
                sign,
                ends=float32(states) if splits > 1 else None,
                sums=float32(batch, splits, d_inner) if splits > 1 else None,
                carry=float32(states) if sizes.rounds > 1 else None,
                last=float32(batch, d_state, d_inner),
                starts=float32(batch, sizes.chunks, d_state, d_inner) if starts else None,
            )
        )  # fmt: skip
    if splits > 1 and sizes.programs:
        summary_kernel[sizes.programs * sizes.rounds, splits - 1, len(scans)](
            tuple(directions), *sizes.numbers(), **sizes.constants(scans[0][1].delta_softplus)
        )
    return tuple(directions)
