# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disable-error-code=assignment
"""The selective scan on a GPU: its kernels, in Triton. `gpu_launch` launches them.

How the work is laid out. Channels lie on the lanes of a warp, and the axis of the scan lies inside
the thread: a thread holds TILE tokens of one channel in registers, walks through them for one state
after the other, and carries the states on to the next tile. So no token needs a sum over lanes, and
what the tokens share (B and C) is read once for all 32 channels. Memory is token-major, (batch,
seqlen, d_inner) with stride 1 along the channels: one read of a warp is one piece of memory.

Steps. A scan walks over steps, in scan order; each step reads and writes the token that belongs
to it, so nothing is ever flipped or permuted:

    forward   token = step
    reverse   token = steps - 1 - step      steps = seqlen rounded up to whole chunks of CHUNK
    order     token = order[step]

A step whose token lies beyond the sequence changes nothing (its delta is 0). Reverse is the exact
mirror image of forward: its padding comes first, and both cut the tokens at the same places.

The same bits. `fma` is written out wherever a product is added to something, so that the compiler
has no choice to make, and every variant of a kernel computes the same y.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import triton
import triton.language as tl

TILE = tl.constexpr(16)  # tokens in registers
CHUNK = tl.constexpr(64)  # tokens between two saved states, from which the gradient recomputes
TILES_IN_CHUNK = tl.constexpr(4)
LOG2E = tl.constexpr(1.4426950408889634)
# log(1 + e) = e * (1 + e * (C1 + e * (C2 + ...))) on [0, 1]: fitted to 3e-8 relative (1.5e-7 in
# float32). log2(1 + e) would lose the digits of a small step size when it adds the 1.
C1 = tl.constexpr(-0.49999648332595825)
C2 = tl.constexpr(0.3332132399082184)
C3 = tl.constexpr(-0.24857163429260254)
C4 = tl.constexpr(0.19153651595115662)
C5 = tl.constexpr(-0.13753795623779297)
C6 = tl.constexpr(0.07920445501804352)
C7 = tl.constexpr(-0.030065739527344704)
C8 = tl.constexpr(0.005364810582250357)


def pinned(kernel: Callable[..., None]) -> Any:
    """Compile a kernel once for all sizes, without looking at what they divide by.

    Where Triton finds out that the channels of a program begin at a multiple of 16, it gives a
    thread eight neighboring channels and spreads the tokens over lanes: three times the
    instructions. (It does look at what stands inside tuples: addresses, strides.)
    """
    arguments = inspect.signature(kernel).parameters.values()
    sizes = [x.name for x in arguments if x.annotation is int]
    return triton.jit(kernel, do_not_specialize=sizes)


@triton.jit
def softplus(x):
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), to 3e-7 relative for every x."""
    e = tl.exp2(tl.abs(x) * -LOG2E)
    p = tl.fma(e, C8, C7)
    p = tl.fma(e, p, C6)
    p = tl.fma(e, p, C5)
    p = tl.fma(e, p, C4)
    p = tl.fma(e, p, C3)
    p = tl.fma(e, p, C2)
    p = tl.fma(e, p, C1)
    p = tl.fma(e, p, 1.0)
    return tl.fma(e, p, tl.maximum(x, 0.0))


@triton.jit
def step_size(raw, SOFTPLUS: tl.constexpr):
    """delta from delta + bias."""
    return softplus(raw) if SOFTPLUS else raw


@triton.jit
def logistic(x):
    """1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + tl.exp2(x * -LOG2E))


@triton.jit
def gated(y, z):
    """y * silu(z)."""
    return y * (z * logistic(z))


@triton.jit
def later(a0, h0, a1, h1):
    """Two stretches of h -> a * h + b, one after the other, as one."""
    return a1 * a0, tl.fma(a1, h0, h1)


class Direction(NamedTuple):
    """What one direction of a scan reads and writes. None: not given, or not wanted.

    A number behind a tensor is the stride of one of its axes; tensors without are contiguous.
    """

    u: Any
    u_batch: int
    u_token: int
    delta: Any
    delta_batch: int
    delta_token: int
    A: Any
    A_channel: int
    A_state: int
    B: Any  # (batch, groups_B, tiles, padded states, TILE) float32: see `selection_kernel`
    groups_B: int
    C: Any
    groups_C: int
    D: Any
    bias: Any
    initial: Any  # (batch, d_inner, d_state)
    order: Any
    first: int  # token of step 0
    sign: int  # from the token of one step to the next
    ends: Any  # (batch, splits, d_state, d_inner): where a split ends that starts from 0
    sums: Any  # (batch, splits, d_inner): sum of delta over a split
    carry: Any  # (batch, splits, d_state, d_inner): states in waiting, where they take turns
    last: Any  # (batch, d_state, d_inner): the last state
    starts: Any  # (batch, chunks, d_state, d_inner): states before each chunk


class Output(NamedTuple):
    """What a scan writes for every token, in natural order. None: not wanted."""

    y: Any  # (batch, seqlen, d_inner)
    z: Any
    z_batch: int
    z_token: int
    total: Any  # (batch, seqlen, d_inner): y of both directions before the gate, float32
    slots: Any  # (seqlen,): the row of `states` that keeps the token's state, or -1
    tile_slots: Any  # (tiles,): the same for the last step of each tile, if only these are kept
    states: Any  # (batch, rows, d_state, d_inner)
    squares: Any  # (batch, seqlen, d_inner): sum of h * h over states
    partial: Any  # (blocks of channels, batch, d_state, seqlen): sum of h * h over a block
    readout: Any  # (batch, seqlen, d_inner): sum of C * h over states


class Shape(NamedTuple):
    """The sizes of a scan, known inside a kernel only."""

    batch: Any
    seqlen: Any
    d_inner: Any
    groups: Any  # of channels that share B and C
    group_size: Any
    blocks: Any  # programs for one group
    chunks: Any
    tiles: Any  # that have a token
    split: Any  # tiles in a split: a piece of the sequence that runs on its own
    splits: Any


@triton.jit
def shape_of(batch, seqlen, d_inner, groups, split, BLOCK: tl.constexpr):
    group_size = d_inner // groups
    tiles = (seqlen + TILE - 1) // TILE
    return Shape(
        batch, seqlen, d_inner, groups, group_size, (group_size + BLOCK - 1) // BLOCK,
        (seqlen + CHUNK - 1) // CHUNK, tiles, split, (tiles + split - 1) // split,
    )  # fmt: skip


@triton.jit
def place(program, shape, BLOCK: tl.constexpr, RAGGED: tl.constexpr):
    """Batch element, block, group and channels of a program, and which of the channels exist.

    The compiler must not know what `group_size` divides by (see `pinned`).
    """
    batch = (program // (shape.groups * shape.blocks)).to(tl.int64)
    block = program % (shape.groups * shape.blocks)
    group = block // shape.blocks
    within = (block % shape.blocks) * BLOCK + tl.arange(0, BLOCK)
    if RAGGED:
        lanes = within < shape.group_size
    else:
        lanes = tl.full([BLOCK], True, tl.int1)
    return batch, block, group, group * shape.group_size + within, lanes


@triton.jit
def tiles_of_split(s, shape, split):
    """First and last tile of a split, and its number in scan order.

    Splits are pieces of the natural order, so that both directions have the same ones.
    """
    begin = split * shape.split
    end = tl.minimum(begin + shape.split, shape.tiles)
    number = split
    if s.sign < 0:
        tiles = shape.chunks * TILES_IN_CHUNK
        begin, end = tiles - end, tiles - begin
        number = shape.splits - 1 - split
    return begin, end, number


@triton.jit
def tokens_at(step, order, seqlen, first, sign):
    """The natural index of the token of each step; seqlen or more where there is none."""
    if order is not None:
        token = tl.load(order + step, mask=step < seqlen, other=seqlen).to(tl.int32)
        token = tl.where(token < 0, seqlen, token)  # no order may lead out of the memory
    else:
        token = first + sign * step
    return token


class Place(NamedTuple):
    """Where the tokens of a tile lie: token = base + offset."""

    token: Any  # [TILE]
    base: Any  # of the tile
    offset: Any  # [TILE], the same for every tile unless there is an order


@triton.jit
def place_of_tile(s, shape, tile):
    """The tokens of a tile, given so that addresses inside it need no 64-bit arithmetic."""
    if s.order is not None:
        step = tile * TILE + tl.arange(0, TILE)
        token = tokens_at(step, s.order, shape.seqlen, s.first, s.sign)
        return Place(token, s.first, token.to(tl.int64))
    else:
        base = s.first + s.sign * (tile * TILE)
        offset = s.sign * tl.arange(0, TILE)
        return Place(base + offset, base, offset)


@triton.jit
def tile_pointers(x, x_batch, x_token, batch, at, channel):
    """Where a tile lies in token-major memory, [TILE, BLOCK]."""
    start = x + batch * x_batch + at.base.to(tl.int64) * x_token
    return (start + channel)[None, :] + (at.offset * x_token)[:, None]


@triton.jit
def rows_of_group(x, groups_x, shape, batch, group, PADDED: tl.constexpr):
    """Where a group's B or C begins: (tiles, padded states, TILE)."""
    shared = group // (shape.groups // groups_x)
    return x + (batch * groups_x + shared) * PADDED * (shape.chunks * CHUNK)


@triton.jit
def load_row(rows, n):
    """B or C of state n at the steps of a tile, from where the tile begins."""
    return tl.load(rows + n * TILE + tl.arange(0, TILE))


@triton.jit
def where_state(there, n, D_STATE: tl.constexpr):
    """The mask `there`, empty where state n is padding."""
    return there & (tl.full(there.shape, n, tl.int32) < D_STATE)


@triton.jit
def load_states(x, row, n, d_inner, channel, lanes, D_STATE: tl.constexpr, WIDTH: tl.constexpr):
    """States n to n + WIDTH - 1 of (row, d_state, d_inner) memory: a tuple of [BLOCK]."""
    h = ()
    for i in tl.static_range(WIDTH):
        at = (row * D_STATE + n + i) * d_inner + channel
        h = h + (tl.load(x + at, mask=where_state(lanes, n + i, D_STATE), other=0.0),)
    return h


@triton.jit
def store_states(h, x, row, n, d_inner, channel, lanes, D_STATE: tl.constexpr, WIDTH: tl.constexpr):
    """The opposite of `load_states`."""
    for i in tl.static_range(WIDTH):
        at = (row * D_STATE + n + i) * d_inner + channel
        tl.store(x + at, h[i], mask=where_state(lanes, n + i, D_STATE))


@triton.jit
def decay_rates(s, n, channel, lanes, D_STATE: tl.constexpr, WIDTH: tl.constexpr):
    """A * log2(e) of states n to n + WIDTH - 1, so that 2 ** (delta * it) is the decay."""
    A2 = ()
    for i in tl.static_range(WIDTH):
        at = channel * s.A_channel + (n + i) * s.A_state
        A = tl.load(s.A + at, mask=where_state(lanes, n + i, D_STATE), other=0.0)
        A2 = A2 + (A.to(tl.float32) * LOG2E,)
    return A2


@triton.jit
def first_states(
    s, shape, A2, number, batch, n, channel, lanes, D_STATE: tl.constexpr, WIDTH: tl.constexpr
):
    """The states before split `number`: the initial state, led through the earlier splits."""
    h = ()
    for i in tl.static_range(WIDTH):
        if s.initial is not None:
            at = (batch * shape.d_inner + channel) * D_STATE + n + i
            there = where_state(lanes, n + i, D_STATE)
            h = h + (tl.load(s.initial + at, mask=there, other=0.0).to(tl.float32),)
        else:
            h = h + (tl.zeros(channel.shape, tl.float32),)
    if s.ends is not None:
        for earlier in range(number):
            row = batch * shape.splits + earlier
            delta = tl.load(s.sums + row * shape.d_inner + channel, mask=lanes, other=0.0)
            end = load_states(s.ends, row, n, shape.d_inner, channel, lanes, D_STATE, WIDTH)
            after = ()
            for i in tl.static_range(WIDTH):
                after = after + (tl.fma(tl.exp2(delta * A2[i]), h[i], end[i]),)
            h = after
    return h


@triton.jit
def read_tile(s, shape, bias, batch, at, channel, lanes, SOFTPLUS: tl.constexpr):
    """u, delta, delta * u of a tile, and where it has tokens: elsewhere u and delta are 0."""
    there = (at.token < shape.seqlen)[:, None] & lanes[None, :]
    from_u = tile_pointers(s.u, s.u_batch, s.u_token, batch, at, channel)
    u = tl.load(from_u, mask=there, other=0.0).to(tl.float32)
    from_delta = tile_pointers(s.delta, s.delta_batch, s.delta_token, batch, at, channel)
    nothing = float("-inf") if SOFTPLUS else 0.0
    raw = tl.load(from_delta, mask=there, other=nothing).to(tl.float32)
    if s.bias is not None:
        raw = raw + bias[None, :]
    delta = step_size(raw, SOFTPLUS)
    if not SOFTPLUS:
        delta = tl.where(there, delta, 0.0)
    return u, delta, delta * u, there


@triton.jit
def states_of_tile(h, A2, delta, written, B):
    """One state of every channel after each token of a tile [TILE, BLOCK], and after the last.

    h, A2 [BLOCK]; delta, written = delta * u [TILE, BLOCK]; B [TILE].
    """
    i = tl.arange(0, TILE)[:, None]
    a = tl.exp2(delta * A2[None, :])
    b = written * B[:, None]
    b = tl.where(i == 0, tl.fma(a, h[None, :], b), b)  # the first token takes in what was before
    states = tl.associative_scan((a, b), 0, later)[1]  # within the thread: one fma a token
    # A sum in which all but one number are 0. Of integers, since the compiler then adds nothing.
    bits = tl.where(i == TILE - 1, states.to(tl.int32, bitcast=True), 0)
    return states, tl.sum(bits, 0).to(tl.float32, bitcast=True)


@pinned
def summary_kernel(
    directions,
    batch: int,
    seqlen: int,
    d_inner: int,
    groups: int,
    split: int,
    D_STATE: tl.constexpr,
    WIDTH: tl.constexpr,
    ROUNDS: tl.constexpr,
    BLOCK: tl.constexpr,
    RAGGED: tl.constexpr,
    SOFTPLUS: tl.constexpr,
):
    """Where each split ends if it starts from 0, and its sum of delta: all that later ones need.

    Grid: (batch x blocks x rounds of states, splits but the last, directions).
    """
    shape = shape_of(batch, seqlen, d_inner, groups, split, BLOCK)
    for i in tl.static_range(len(directions)):
        if tl.program_id(2) == i:
            summary_of_split(directions[i], shape, D_STATE, WIDTH, ROUNDS, BLOCK, RAGGED, SOFTPLUS)


@triton.jit
def summary_of_split(
    s,
    shape,
    D_STATE: tl.constexpr,
    WIDTH: tl.constexpr,
    ROUNDS: tl.constexpr,
    BLOCK: tl.constexpr,
    RAGGED: tl.constexpr,
    SOFTPLUS: tl.constexpr,
):
    batch, _, group, channel, lanes = place(tl.program_id(0) // ROUNDS, shape, BLOCK, RAGGED)
    split = tl.program_id(1)
    if s.sign < 0:
        split = shape.splits - 1 - split
    begin, end, number = tiles_of_split(s, shape, split)
    n = (tl.program_id(0) % ROUNDS) * WIDTH
    B_rows = rows_of_group(s.B, s.groups_B, shape, batch, group, ROUNDS * WIDTH)
    wide = tl.full([], ROUNDS * WIDTH * TILE, tl.int64)  # numbers in a tile of B
    bias = 0.0
    if s.bias is not None:
        bias = tl.load(s.bias + channel, mask=lanes, other=0.0).to(tl.float32)
    A2 = decay_rates(s, n, channel, lanes, D_STATE, WIDTH)
    total = tl.zeros([BLOCK], tl.float32)
    h = ()
    for i in tl.static_range(WIDTH):
        h = h + (tl.zeros_like(A2[i]),)
    for tile in range(begin, end):
        at = place_of_tile(s, shape, tile)
        read = read_tile(s, shape, bias, batch, at, channel, lanes, SOFTPLUS)
        delta, written = read[1], read[2]
        total += tl.sum(delta, 0)
        B_tile = B_rows + tile * wide
        after = ()
        for i in tl.static_range(WIDTH):
            B = load_row(B_tile, n + i)
            after = after + (states_of_tile(h[i], A2[i], delta, written, B)[1],)
        h = after
    row = batch * shape.splits + number
    store_states(h, s.ends, row, n, shape.d_inner, channel, lanes, D_STATE, WIDTH)
    tl.store(s.sums + row * shape.d_inner + channel, total, mask=where_state(lanes, n, 1))


@pinned
def scan_kernel(
    directions,
    out,
    batch: int,
    seqlen: int,
    d_inner: int,
    groups: int,
    split: int,
    rows: int,
    FIRST: tl.constexpr,
    LAST: tl.constexpr,
    KEEP_TOTAL: tl.constexpr,
    D_STATE: tl.constexpr,
    WIDTH: tl.constexpr,
    ROUNDS: tl.constexpr,
    BLOCK: tl.constexpr,
    RAGGED: tl.constexpr,
    SOFTPLUS: tl.constexpr,
):
    """The scan: y and whatever else `out` asks for, of one direction or of the sum of two.

    A program takes one split of its channels through one direction after the other. What it wrote
    in the first one it reads again in the second, so nothing has to wait for another program.
    `FIRST` and `LAST` say whether these directions are the first and the last of the sum.

    Grid: (batch x blocks, splits).
    """
    shape = shape_of(batch, seqlen, d_inner, groups, split, BLOCK)
    for i in tl.static_range(len(directions)):
        if i > 0:
            tl.debug_barrier()
        scan_split(
            directions[i], out, shape, rows, FIRST and i == 0, LAST and i == len(directions) - 1,
            KEEP_TOTAL, D_STATE, WIDTH, ROUNDS, BLOCK, RAGGED, SOFTPLUS,
        )  # fmt: skip


@triton.jit
def scan_split(
    s,
    out,
    shape,
    rows,
    FIRST: tl.constexpr,
    LAST: tl.constexpr,
    KEEP_TOTAL: tl.constexpr,
    D_STATE: tl.constexpr,
    WIDTH: tl.constexpr,
    ROUNDS: tl.constexpr,
    BLOCK: tl.constexpr,
    RAGGED: tl.constexpr,
    SOFTPLUS: tl.constexpr,
):
    batch, block, group, channel, lanes = place(tl.program_id(0), shape, BLOCK, RAGGED)
    begin, end, number = tiles_of_split(s, shape, tl.program_id(1))
    B_rows = rows_of_group(s.B, s.groups_B, shape, batch, group, ROUNDS * WIDTH)
    C_rows = rows_of_group(s.C, s.groups_C, shape, batch, group, ROUNDS * WIDTH)
    wide = tl.full([], ROUNDS * WIDTH * TILE, tl.int64)  # numbers in a tile of B or C
    bias, D = 0.0, 0.0
    if s.bias is not None:
        bias = tl.load(s.bias + channel, mask=lanes, other=0.0).to(tl.float32)
    if s.D is not None:
        D = tl.load(s.D + channel, mask=lanes, other=0.0).to(tl.float32)

    # Up to STATES states stay in registers. More of them wait in memory and take turns.
    row = batch * shape.splits + number
    if ROUNDS == 1:
        A2 = decay_rates(s, 0, channel, lanes, D_STATE, WIDTH)
        h = first_states(s, shape, A2, number, batch, 0, channel, lanes, D_STATE, WIDTH)
    else:
        for r in range(ROUNDS):
            n = r * WIDTH
            A2 = decay_rates(s, n, channel, lanes, D_STATE, WIDTH)
            h = first_states(s, shape, A2, number, batch, n, channel, lanes, D_STATE, WIDTH)
            store_states(h, s.carry, row, n, shape.d_inner, channel, lanes, D_STATE, WIDTH)

    for tile in range(begin, end):
        if s.starts is not None:
            # in reverse the first chunk begins with tiles that are skipped
            in_scan = tile // TILES_IN_CHUNK
            if (in_scan * TILES_IN_CHUNK == tile) | ((tile == begin) & (number == 0)):
                chunk = batch * shape.chunks + in_scan
                if ROUNDS == 1:
                    store_states(
                        h, s.starts, chunk, 0, shape.d_inner, channel, lanes, D_STATE, WIDTH
                    )
                else:
                    copy_states(
                        s.carry, row, s.starts, chunk, shape.d_inner, channel, lanes, D_STATE
                    )
        at = place_of_tile(s, shape, tile)
        u, delta, written, there = read_tile(s, shape, bias, batch, at, channel, lanes, SOFTPLUS)
        B_tile, C_tile = B_rows + tile * wide, C_rows + tile * wide
        y = tl.zeros([TILE, BLOCK], tl.float32)
        squares = y
        if ROUNDS == 1:
            h, y, squares = through_tile(
                h, A2, y, squares, delta, written, B_tile, C_tile, 0, at, there,
                out, shape, rows, batch, block, channel, D_STATE, WIDTH,
            )  # fmt: skip
        else:
            for r in range(ROUNDS):
                n = r * WIDTH
                A2 = decay_rates(s, n, channel, lanes, D_STATE, WIDTH)
                h = load_states(s.carry, row, n, shape.d_inner, channel, lanes, D_STATE, WIDTH)
                h, y, squares = through_tile(
                    h, A2, y, squares, delta, written, B_tile, C_tile, n, at, there,
                    out, shape, rows, batch, block, channel, D_STATE, WIDTH,
                )  # fmt: skip
                store_states(h, s.carry, row, n, shape.d_inner, channel, lanes, D_STATE, WIDTH)
        if out.tile_slots is not None:
            slot = tl.load(out.tile_slots + tile)
            if slot >= 0:
                to = batch * rows + slot
                if ROUNDS == 1:
                    store_states(
                        h, out.states, to, 0, shape.d_inner, channel, lanes, D_STATE, WIDTH
                    )
                else:
                    copy_states(
                        s.carry, row, out.states, to, shape.d_inner, channel, lanes, D_STATE
                    )
        finish_tile(
            y, squares, u, D, s, out, shape, batch, at, channel, there, FIRST, LAST, KEEP_TOTAL
        )

    if number == shape.splits - 1:
        if ROUNDS == 1:
            store_states(h, s.last, batch, 0, shape.d_inner, channel, lanes, D_STATE, WIDTH)
        else:
            copy_states(s.carry, row, s.last, batch, shape.d_inner, channel, lanes, D_STATE)


@triton.jit
def copy_states(source, from_row, target, to_row, d_inner, channel, lanes, D_STATE: tl.constexpr):
    """All states of one row of (row, d_state, d_inner) memory to another one."""
    for n in range(D_STATE):
        h = tl.load(source + (from_row * D_STATE + n) * d_inner + channel, mask=lanes)
        tl.store(target + (to_row * D_STATE + n) * d_inner + channel, h, mask=lanes)


@triton.jit
def through_tile(
    h, A2, y, squares, delta, written, B_tile, C_tile, n, at, there,
    out, shape, rows, batch, block, channel, D_STATE: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Take WIDTH states through a tile, and add to y what the tokens read from them."""
    slot, kept = at.token, False
    if out.slots is not None:
        slot = tl.load(out.slots + at.token, mask=at.token < shape.seqlen, other=-1)
        kept = tl.max(slot, 0) >= 0  # most tiles keep no state
    after = ()
    for i in tl.static_range(WIDTH):
        B, C = load_row(B_tile, n + i), load_row(C_tile, n + i)
        states, end = states_of_tile(h[i], A2[i], delta, written, B)
        after = after + (end,)
        y = tl.fma(states, C[:, None], y)
        if out.slots is not None:
            if kept:
                row = (batch * rows + slot) * D_STATE + n + i
                to = out.states + (row * shape.d_inner)[:, None] + channel[None, :]
                keep = where_state(there & (slot >= 0)[:, None], n + i, D_STATE)
                tl.store(to, states, mask=keep)
        if out.squares is not None:
            square = states * states
            squares += square
            row = (block * shape.batch + batch) * D_STATE + n + i
            within = where_state(at.token < shape.seqlen, n + i, D_STATE)
            to = out.partial + row * shape.seqlen + at.token
            tl.store(to, tl.sum(square, 1), mask=within)
    return after, y, squares


@triton.jit
def finish_tile(
    y, squares, u, D, s, out, shape, batch, at, channel, there,
    FIRST: tl.constexpr, LAST: tl.constexpr, KEEP_TOTAL: tl.constexpr,
):  # fmt: skip
    """Skip, sum of directions, gate; and write."""
    plain = shape.seqlen.to(tl.int64) * shape.d_inner  # stride of a batch element of new memory
    if out.squares is not None:
        to = tile_pointers(out.squares, plain, shape.d_inner, batch, at, channel)
        tl.store(to, squares, mask=there)
        to = tile_pointers(out.readout, plain, shape.d_inner, batch, at, channel)
        tl.store(to, y, mask=there)
    if s.D is not None:
        y = tl.fma(u, D[None, :], y)
    if out.total is not None:
        total = tile_pointers(out.total, plain, shape.d_inner, batch, at, channel)
        if not FIRST:
            y = tl.load(total, mask=there, other=0.0) + y
        if KEEP_TOTAL or not LAST:
            tl.store(total, y, mask=there)
    if LAST:
        if out.z is not None:
            from_z = tile_pointers(out.z, out.z_batch, out.z_token, batch, at, channel)
            y = gated(y, tl.load(from_z, mask=there, other=0.0).to(tl.float32))
        to = tile_pointers(out.y, plain, shape.d_inner, batch, at, channel)
        tl.store(to, y.to(out.y.dtype.element_ty), mask=there)


class Selection(NamedTuple):
    """B or C of one direction, and where its rows go."""

    x: Any  # (batch, groups, d_state, seqlen)
    x_batch: int
    x_group: int
    x_state: int
    x_token: int
    rows: Any  # (batch, groups, steps / run, padded states, run)
    groups: int
    order: Any
    first: int
    sign: int


@triton.jit
def selection_kernel(
    selections, batch, seqlen, steps, run,
    D_STATE: tl.constexpr, PADDED: tl.constexpr, STATES: tl.constexpr, TOKENS: tl.constexpr,
):  # fmt: skip
    """B and C in scan order, `run` steps of a state side by side; 0 where there is no token.

    A thread of the scan then reads four tokens of a state at once.
    Grid: (batch x most groups x pieces of TOKENS, selections).
    """
    pieces = (steps + TOKENS - 1) // TOKENS
    for i in tl.static_range(len(selections)):
        if tl.program_id(1) == i:
            s = selections[i]
            b = (tl.program_id(0) // pieces // s.groups).to(tl.int64)
            group = (tl.program_id(0) // pieces % s.groups).to(tl.int64)
            step = (tl.program_id(0) % pieces) * TOKENS + tl.arange(0, TOKENS)
            n = tl.arange(0, STATES).to(tl.int64)
            if b < batch:
                token = tokens_at(step, s.order, seqlen, s.first, s.sign)
                at = s.x + b * s.x_batch + group * s.x_group
                at = at + (token.to(tl.int64) * s.x_token)[:, None] + (n * s.x_state)[None, :]
                there = (token < seqlen)[:, None] & (n < D_STATE)[None, :]
                x = tl.load(at, mask=there, other=0.0).to(tl.float32)
                to = s.rows + (b * s.groups + group) * PADDED * steps + (n * run)[None, :]
                to = to + ((step // run).to(tl.int64) * (PADDED * run) + step % run)[:, None]
                within = (step < steps)[:, None] & (n < PADDED)[None, :]
                tl.store(to, x, mask=within)


class Tokens(NamedTuple):
    """Token-major memory, (batch, seqlen, d_inner) with stride 1 along the channels."""

    x: Any
    batch: int  # strides
    token: int


@triton.jit
def tile_of_tokens(seqlen, d_inner, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Batch element, tokens, channels of an element-wise program, and which of them exist."""
    pieces = (seqlen + ROWS - 1) // ROWS
    batch = (tl.program_id(0) // pieces).to(tl.int64)
    token = (tl.program_id(0) % pieces) * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    return batch, token, channel, (token < seqlen)[:, None] & (channel < d_inner)[None, :]


@triton.jit
def token_pointers(t, batch, token, channel):
    """Where tokens lie, [tokens, channels]."""
    return (t.x + batch * t.batch + channel)[None, :] + (token.to(tl.int64) * t.token)[:, None]


@triton.jit
def load_tokens(t, batch, token, channel, there):
    at = token_pointers(t, batch, token, channel)
    return tl.load(at, mask=there, other=0.0).to(tl.float32)


@triton.jit
def store_tokens(t, x, batch, token, channel, there):
    at = token_pointers(t, batch, token, channel)
    tl.store(at, x.to(t.x.dtype.element_ty), mask=there)


@triton.jit
def step_size_kernel(
    delta, bias, out, grad, seqlen, d_inner, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """softplus(delta + bias); with `grad`, grad times its slope instead."""
    batch, token, channel, there = tile_of_tokens(seqlen, d_inner, ROWS, COLUMNS)
    raw = load_tokens(delta, batch, token, channel, there)
    if bias is not None:
        b = tl.load(bias + channel, mask=channel < d_inner, other=0.0).to(tl.float32)
        raw = raw + b[None, :]
    if grad is None:
        x = step_size(raw, True)
    else:
        x = load_tokens(grad, batch, token, channel, there) * logistic(raw)
    store_tokens(out, x, batch, token, channel, there)


@triton.jit
def gated_sum_kernel(
    y, y_backward, z, out, seqlen, d_inner, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """(y + y_backward) * silu(z)."""
    batch, token, channel, there = tile_of_tokens(seqlen, d_inner, ROWS, COLUMNS)
    total = load_tokens(y, batch, token, channel, there)
    if y_backward is not None:
        total = total + load_tokens(y_backward, batch, token, channel, there)
    total = gated(total, load_tokens(z, batch, token, channel, there))
    store_tokens(out, total, batch, token, channel, there)


@triton.jit
def gated_sum_gradient_kernel(
    grad, y, y_backward, z, grad_y, grad_z, seqlen, d_inner,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Gradients of the sum and of z."""
    batch, token, channel, there = tile_of_tokens(seqlen, d_inner, ROWS, COLUMNS)
    total = load_tokens(y, batch, token, channel, there)
    if y_backward is not None:
        total = total + load_tokens(y_backward, batch, token, channel, there)
    g = load_tokens(grad, batch, token, channel, there)
    z = load_tokens(z, batch, token, channel, there)
    s = logistic(z)
    store_tokens(grad_y, g * (z * s), batch, token, channel, there)
    store_tokens(grad_z, g * total * (s * (1.0 + z * (1.0 - s))), batch, token, channel, there)
