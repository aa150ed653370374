# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# mypy: disable-error-code="assignment, var-annotated, misc"
"""The gradient of the selective scan on a GPU: its kernels, in Triton.

What is computed. Forward, with a[t] = 2 ** (delta[t] * A2) and written[t] = delta[t] * u[t],

    h[t] = a[t] * h[t-1] + written[t] * B[t]        y[t] = sum over states of C[t] * h[t]

Let d[t] be the gradient of the loss with respect to h[t], and e[t] what of it step t hands on to
h[t-1]. From the last step to the first,

    d[t] = C[t] * grad_y[t] + e[t+1]        grad_B[t] = sum over channels of d[t] * written[t]
    e[t] = a[t] * d[t]                      grad_C[t] = sum over channels of grad_y[t] * h[t]

The gradient with respect to written[t] is the sum of d[t] * B[t] over states. The one with respect
to the exponent delta[t] * A2 is e[t] * h[t-1] (times ln 2): A and delta get it.

How the work is laid out. As forward, channels lie on the lanes of a warp, one warp is one program,
and a tile of TILE steps lies inside the thread. d needs the steps from the last to the first, but h
is made from the first to the last. Forward has kept h before each chunk. A program takes one chunk
after the other, the last one first, and

    1. walks forward through the chunk once and notes the states before each tile, then
    2. takes the tiles from the last to the first: forward through the tile in registers for h,
       back through it for d and e.

The loop over states is the inner one. Between two tiles, e and the program's part of grad_A wait in
memory, where only this thread reads them (a cache holds them): so registers do not limit d_state.

Sums over channels (grad_B, grad_C) need all lanes. `sum_lanes` makes 2 * TILE of them at once, and
each program writes its own: the caller adds them up. No atomics, so the same bits every time.

Splits. Where batch and channels are too few for the GPU, the chunks are cut into splits that run at
once. e before a split is linear in e behind it: e_before = own + 2 ** (A2 * sum(delta)) * e_behind.
`adjoint_summary_kernel` makes `own` and the sum; each program then folds the splits behind it.
"""

from typing import Any, NamedTuple

import triton
import triton.language as tl

from vmamba_kernels.scan.gpu_kernels import CHUNK, Tokens, logistic, pinned, softplus

LANES = tl.constexpr(32)
TILE = tl.constexpr(8)  # steps in registers
TILES = tl.constexpr(8)  # in a chunk
LN2 = tl.constexpr(0.6931471805599453)


class Read(NamedTuple):
    """What the gradient reads. None: not given."""

    u: Tokens
    delta: Tokens
    z: Tokens | None
    grad_y: Tokens | None
    A2: Any  # (d_state, d_inner): A * log2(e)
    B: Any  # (batch, groups_B, d_state, steps) float32, in scan order
    groups_B: int
    C: Any
    groups_C: int
    D: Any
    bias: Any
    order: Any
    starts: Any  # (batch, chunks, d_state, d_inner): states before each chunk
    grad_last: Any  # (batch, d_state, d_inner)
    slots: Any  # (seqlen,): the row of grad_states that belongs to a token, or -1
    grad_states: Any  # (batch, rows, d_state, d_inner), any strides
    grad_states_batch: int
    grad_states_row: int
    grad_states_state: int
    grad_states_channel: int


class Write(NamedTuple):
    """What the gradient writes. None: not wanted."""

    u: Tokens
    delta: Tokens
    z: Tokens | None
    e: Any  # (batch, splits, d_state, d_inner): e[t] of the first step of a split, in the end
    A: Any  # the same shape: the part of grad_A that comes from a split
    D: Any  # (batch, splits, d_inner), likewise
    bias: Any
    sums: Any  # (blocks, batch, tiles, d_state, 2 * TILE): grad_B, then grad_C, of a block
    notes: Any  # (programs, TILES, d_state, block): states before the tiles of a chunk
    own: Any  # (batch, splits, d_state, d_inner): e before a split if it is 0 behind it
    total: Any  # (batch, splits, d_inner): sum of delta over a split


class Shape(NamedTuple):
    """The sizes of a scan."""

    batch: int
    seqlen: int
    d_inner: int
    d_state: int
    groups: int  # of channels that share B and C
    group_size: int
    blocks: int  # programs for one group
    chunks: int
    begin: int  # first step that has a token
    split: int  # chunks in a split
    splits: int


@triton.jit
def shape_of(
    batch, seqlen, d_inner, d_state, groups, split, PAIR: tl.constexpr, REVERSE: tl.constexpr
):
    group_size = d_inner // groups
    chunks = (seqlen + CHUNK - 1) // CHUNK
    begin = chunks * CHUNK - seqlen if REVERSE else 0  # reverse: the padding comes first
    return Shape(
        batch, seqlen, d_inner, d_state, groups, group_size,
        (group_size + PAIR * LANES - 1) // (PAIR * LANES), chunks, begin,
        split, (chunks + split - 1) // split,
    )  # fmt: skip


@triton.jit
def row(tile, i):
    """Row i of a tile whose rows lie in registers.

    Summed as whole numbers: zeros then fold away, and nothing is left to compute.
    """
    here = tl.arange(0, TILE)[:, None] == i
    bits = tl.where(here, tile.to(tl.int32, bitcast=True), 0)
    return tl.sum(bits, 0).to(tl.float32, bitcast=True)


@triton.jit
def tile_of(rows):
    """The opposite of `row`: TILE rows [LANES] -> [TILE, LANES]."""
    tile = tl.zeros([TILE, LANES], tl.float32)
    for i in tl.static_range(TILE):
        tile = tl.where(tl.arange(0, TILE)[:, None] == i, rows[i][None, :], tile)
    return tile


@triton.jit
def walk(a, b, h):
    """h = a[t] * h + b[t] through a tile: the states before each step, after each, after all."""
    before, after = (), ()
    for t in tl.static_range(TILE):
        before = before + (h,)
        h = row(a, t) * h + row(b, t)
        after = after + (h,)
    return tile_of(before), tile_of(after), h


@triton.jit
def walk_back(a, gradient, e):
    """d = gradient[t] + e, e = a[t] * d from the last step of a tile to its first."""
    ds, es = (), ()
    for t in tl.static_range(TILE - 1, -1, -1):
        d = row(gradient, t) + e
        e = row(a, t) * d
        ds, es = (d,) + ds, (e,) + es
    return tile_of(ds), tile_of(es), e


@triton.jit
def sum_lanes(x, y):
    """Sums over lanes of every row of two tiles: lane 2 i has that of row i, of x and then of y.

    A sum of its own for each row would need 5 exchanges between lanes. Instead, two rows share one:
    the lower half of the lanes goes on with the first row, the upper half with the second one, and
    each half gives the other what that one needs. Then the same with quarters, eighths, ...
    """
    lane = tl.arange(0, LANES)
    rows = ()
    for i in tl.static_range(TILE):
        rows = rows + (row(x, i),)
    for i in tl.static_range(TILE):
        rows = rows + (row(y, i),)
    for level in tl.static_range(4):
        upper = (lane & (16 >> level)) != 0
        merged = ()
        for i in tl.static_range(TILE >> level):
            first, second = rows[i], rows[i + (TILE >> level)]
            keep, give = tl.where(upper, second, first), tl.where(upper, first, second)
            merged = merged + (keep + tl.gather(give, lane ^ (16 >> level), 0),)
        rows = merged
    return rows[0] + tl.gather(rows[0], lane ^ 1, 0)


@triton.jit
def channels(block, q, shape, PAIR: tl.constexpr, RAGGED: tl.constexpr):
    """The q-th channel of each thread of a block, and which of them exist.

    The compiler must not know what `group_size` divides by (see `pinned`).
    """
    lane = tl.arange(0, LANES)
    within = ((block % shape.blocks) * PAIR + q) * LANES + lane
    if RAGGED:
        lanes = within < shape.group_size
    else:
        lanes = lane < LANES
    return (block // shape.blocks) * shape.group_size + within, lanes


@triton.jit
def tokens_of(step, order, shape, REVERSE: tl.constexpr):
    """Token of the first step of a tile, how far from it those of all its steps are, and both.

    Negative, or seqlen and more, where there is no token.
    """
    i = tl.arange(0, TILE)
    if order is not None:
        base = 0
        offset = tl.load(order + step + i, mask=step + i < shape.seqlen, other=shape.seqlen)
        token = offset
    else:
        base = shape.chunks * CHUNK - 1 - step if REVERSE else step
        offset = -i if REVERSE else i
        token = base + offset
    return base, offset, token


@triton.jit
def pointers(t, batch, base, offset, channel):
    """Where a tile lies in token-major memory, [TILE, LANES]."""
    start = t.x + batch * t.batch + tl.full([], base, tl.int64) * t.token
    return (start + channel)[None, :] + (offset * t.token)[:, None]


@triton.jit
def load_tokens(t, batch, base, offset, channel, there):
    at = pointers(t, batch, base, offset, channel)
    return tl.load(at, mask=there, other=0.0).to(tl.float32)


@triton.jit
def store_tokens(t, x, batch, base, offset, channel, there):
    at = pointers(t, batch, base, offset, channel)
    tl.store(at, x.to(t.x.dtype.element_ty), mask=there)


@triton.jit
def load_channels(x, channel, lanes):
    """x[channel]; 0 if there is no x."""
    found = tl.zeros([LANES], tl.float32)
    if x is not None:
        found = tl.load(x + channel, mask=lanes, other=0.0).to(tl.float32)
    return found


@triton.jit
def rows_of(x, groups_x, shape, batch, block):
    """Where the rows of B or C that a block reads begin: each (steps,), one state after another."""
    group = (block // shape.blocks) // (shape.groups // groups_x)
    return x + (batch * groups_x + group) * shape.d_state * (shape.chunks * CHUNK)


@triton.jit
def load_row(rows, n, step, shape):
    """B or C of state n at the steps of a tile. Said to be aligned, so that it is read by fours."""
    at = rows + n * (shape.chunks * CHUNK) + step + tl.arange(0, TILE)
    return tl.load(tl.multiple_of(at, 4 * TILE))[:, None]


@triton.jit
def step_sizes(r, batch, base, offset, channel, there, bias, SOFTPLUS: tl.constexpr):
    """delta of a tile and its slope against what was given; both 0 where there is no token."""
    at = pointers(r.delta, batch, base, offset, channel)
    if SOFTPLUS:
        raw = tl.load(at, mask=there, other=float("-inf")).to(tl.float32) + bias[None, :]
        delta, slope = softplus(raw), logistic(raw)
    else:
        raw = tl.load(at, mask=there, other=0.0).to(tl.float32) + bias[None, :]
        delta, slope = tl.where(there, raw, 0.0), tl.where(there, 1.0, 0.0)
    return delta, slope


@triton.jit
def gate(r, batch, base, offset, channel, there):
    """grad_y behind the gate, and what y has to be multiplied with to give grad_z."""
    g = tl.zeros(there.shape, tl.float32)
    if r.grad_y is not None:
        g = load_tokens(r.grad_y, batch, base, offset, channel, there)
    to_z = g
    if r.z is not None:
        z = load_tokens(r.z, batch, base, offset, channel, there)
        s = logistic(z)
        to_z = g * (s * (1.0 + z * (1.0 - s)))
        g = g * (z * s)
    return g, to_z


@triton.jit
def kept_slots(r, shape, token):
    """The rows of grad_states that belong to the tokens of a tile, and whether there are any."""
    slot, any_kept = token, False
    if r.slots is not None:
        there = (token >= 0) & (token < shape.seqlen)
        slot = tl.load(r.slots + token, mask=there, other=-1)
        any_kept = tl.max(slot, 0) >= 0
    return slot, any_kept


@triton.jit
def gradient_of_states(r, grad_y, C, batch, n, slot, any_kept, channel, there):
    """What reaches state n of each step directly: through y, and from the states that are kept."""
    g = grad_y * C
    if r.slots is not None:
        if any_kept:  # most tiles keep no state
            state = tl.full([], n, tl.int64)
            at = r.grad_states + batch * r.grad_states_batch + state * r.grad_states_state
            at = at + (slot.to(tl.int64) * r.grad_states_row)[:, None]
            at = at + (channel.to(tl.int64) * r.grad_states_channel)[None, :]
            g += tl.load(at, mask=there & (slot >= 0)[:, None], other=0.0).to(tl.float32)
    return g


@triton.jit
def chunks_of(shape, split):
    """The first chunk of a split, and the one after its last."""
    return split * shape.split, tl.minimum((split + 1) * shape.split, shape.chunks)


@triton.jit
def tiles_of(shape, chunk):
    """The first tile of a chunk that has a token, and the one after the last that has."""
    first = tl.maximum(chunk * TILES, shape.begin // TILE)
    end = (shape.begin + shape.seqlen + TILE - 1) // TILE
    return first, tl.minimum((chunk + 1) * TILES, end)


@pinned
def adjoint_summary_kernel(
    r, w, batch: int, seqlen: int, d_inner: int, d_state: int, groups: int, split: int,
    RAGGED: tl.constexpr, SOFTPLUS: tl.constexpr, REVERSE: tl.constexpr,
):  # fmt: skip
    """e before each split if it is 0 behind it, and the sum of delta: what earlier splits need.

    Grid: (batch x blocks of LANES channels, splits but the first).
    """
    shape = shape_of(batch, seqlen, d_inner, d_state, groups, split, 1, REVERSE)
    blocks = shape.groups * shape.blocks
    b, block = (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(0) % blocks
    number = tl.program_id(1) + 1
    channel, lanes = channels(block, 0, shape, 1, RAGGED)
    C_rows = rows_of(r.C, r.groups_C, shape, b, block)
    bias = load_channels(r.bias, channel, lanes)
    part = b * shape.splits + number
    own = w.own + part * d_state * d_inner + channel
    for n in range(d_state):
        tl.store(own + n * d_inner, 0.0, mask=lanes)
    total = tl.zeros([LANES], tl.float32)
    begin, end = chunks_of(shape, number)
    first, last = tiles_of(shape, begin)[0], tiles_of(shape, end - 1)[1]
    for back in range(last - first):
        tl.debug_barrier()
        step = (last - 1 - back) * TILE
        base, offset, token = tokens_of(step, r.order, shape, REVERSE)
        there = ((token >= 0) & (token < seqlen))[:, None] & lanes[None, :]
        delta = step_sizes(r, b, base, offset, channel, there, bias, SOFTPLUS)[0]
        grad_y = gate(r, b, base, offset, channel, there)[0]
        slot, any_kept = kept_slots(r, shape, token)
        total += tl.sum(delta, 0)
        for n in range(d_state):
            A2 = tl.load(r.A2 + n * d_inner + channel, mask=lanes, other=0.0)
            e = tl.load(own + n * d_inner, mask=lanes, other=0.0)
            C = load_row(C_rows, n, step, shape)
            g = gradient_of_states(r, grad_y, C, b, n, slot, any_kept, channel, there)
            e = walk_back(tl.exp2(delta * A2[None, :]), g, e)[2]
            tl.store(own + n * d_inner, e, mask=lanes)
    tl.store(w.total + part * d_inner + channel, total, mask=lanes)


@pinned
def gradient_kernel(
    r, w, batch: int, seqlen: int, d_inner: int, d_state: int, groups: int, split: int,
    PAIR: tl.constexpr, RAGGED: tl.constexpr, SOFTPLUS: tl.constexpr, REVERSE: tl.constexpr,
):  # fmt: skip
    """All gradients; those that several programs add to as one part from each.

    A thread has PAIR channels, LANES apart. What they share (reading B and C, the exchanges
    between lanes) is done once for both.

    Grid: (batch x blocks of PAIR * LANES channels, splits).
    """
    shape = shape_of(batch, seqlen, d_inner, d_state, groups, split, PAIR, REVERSE)
    blocks = shape.groups * shape.blocks
    b, block = (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(0) % blocks
    number = tl.program_id(1)
    part = b * shape.splits + number
    notes = w.notes + (part * blocks + block) * (TILES * PAIR * LANES) * d_state
    channel, lanes, bias, D, grad_D, grad_bias = (), (), (), (), (), ()
    for q in tl.static_range(PAIR):
        c, exist = channels(block, q, shape, PAIR, RAGGED)
        channel, lanes = channel + (c,), lanes + (exist,)
        bias = bias + (load_channels(r.bias, c, exist),)
        D = D + (load_channels(r.D, c, exist),)
        grad_D = grad_D + (tl.zeros([LANES], tl.float32),)
        grad_bias = grad_bias + (tl.zeros([LANES], tl.float32),)
        start_back(r, w, shape, b, number, c, exist)

    begin, end = chunks_of(shape, number)
    for done in range(end - begin):
        chunk = end - 1 - done
        first, last = tiles_of(shape, chunk)
        tl.debug_barrier()
        note_states(
            r, shape, b, block, chunk, first, last, notes, channel, lanes, bias,
            PAIR, SOFTPLUS, REVERSE,
        )  # fmt: skip
        for back in range(last - first):
            tl.debug_barrier()
            tile = last - 1 - back
            base, offset, token = tokens_of(tile * TILE, r.order, shape, REVERSE)
            there, u, delta, slope, written, grad_y, to_z = (), (), (), (), (), (), ()
            for q in tl.static_range(PAIR):
                here = ((token >= 0) & (token < seqlen))[:, None] & lanes[q][None, :]
                delta_q, slope_q = step_sizes(
                    r, b, base, offset, channel[q], here, bias[q], SOFTPLUS
                )
                u_q = load_tokens(r.u, b, base, offset, channel[q], here)
                grad_y_q, to_z_q = gate(r, b, base, offset, channel[q], here)
                there, u, delta = there + (here,), u + (u_q,), delta + (delta_q,)
                slope, written = slope + (slope_q,), written + (delta_q * u_q,)
                grad_y, to_z = grad_y + (grad_y_q,), to_z + (to_z_q,)
            to_written, to_exponent, y = through_states(
                r, w, shape, b, block, part, tile, tile - chunk * TILES, token, notes,
                channel, lanes, there, delta, written, grad_y, PAIR,
            )  # fmt: skip
            D_after, bias_after = (), ()
            for q in tl.static_range(PAIR):
                skip = D[q][None, :]
                to_u = to_written[q] * delta[q] + grad_y[q] * skip
                store_tokens(w.u, to_u, b, base, offset, channel[q], there[q])
                to_delta = (to_written[q] * u[q] + to_exponent[q] * LN2) * slope[q]
                store_tokens(w.delta, to_delta, b, base, offset, channel[q], there[q])
                if r.z is not None:
                    gated = to_z[q] * (y[q] + skip * u[q])
                    store_tokens(w.z, gated, b, base, offset, channel[q], there[q])
                D_after = D_after + (grad_D[q] + tl.sum(grad_y[q] * u[q], 0),)
                bias_after = bias_after + (grad_bias[q] + tl.sum(to_delta, 0),)
            grad_D, grad_bias = D_after, bias_after
    for q in tl.static_range(PAIR):
        tl.store(w.D + part * d_inner + channel[q], grad_D[q], mask=lanes[q])
        tl.store(w.bias + part * d_inner + channel[q], grad_bias[q], mask=lanes[q])


@triton.jit
def start_back(r, w, shape, b, number, channel, lanes):
    """Write e behind a split: the last state's gradient, led back through the splits behind it."""
    for n in range(shape.d_state):
        at = n * shape.d_inner + channel
        size = shape.d_state * shape.d_inner
        A2 = tl.load(r.A2 + at, mask=lanes, other=0.0)
        e = tl.zeros([LANES], tl.float32)
        if r.grad_last is not None:
            e = tl.load(r.grad_last + b * size + at, mask=lanes, other=0.0)
        if w.own is not None:
            for back in range(shape.splits - 1 - number):
                part = b * shape.splits + shape.splits - 1 - back
                total = tl.load(w.total + part * shape.d_inner + channel, mask=lanes, other=0.0)
                own = tl.load(w.own + part * size + at, mask=lanes, other=0.0)
                e = own + tl.exp2(total * A2) * e
        part = b * shape.splits + number
        tl.store(w.e + part * size + at, e, mask=lanes)
        tl.store(w.A + part * size + at, 0.0, mask=lanes)


@triton.jit
def note_states(
    r, shape, b, block, chunk, first, last, notes, channel, lanes, bias,
    PAIR: tl.constexpr, SOFTPLUS: tl.constexpr, REVERSE: tl.constexpr,
):  # fmt: skip
    """Walk forward through a chunk, and note the states before each of its tiles."""
    B_rows = rows_of(r.B, r.groups_B, shape, b, block)
    starts = r.starts + (b * shape.chunks + chunk) * shape.d_state * shape.d_inner
    note = notes + (first - chunk * TILES) * shape.d_state * (PAIR * LANES) + tl.arange(0, LANES)
    for n in range(shape.d_state):
        for q in tl.static_range(PAIR):
            h = tl.load(starts + n * shape.d_inner + channel[q], mask=lanes[q], other=0.0)
            tl.store(note + (n * PAIR + q) * LANES, h)
    for tile in range(first, last - 1):
        tl.debug_barrier()
        base, offset, token = tokens_of(tile * TILE, r.order, shape, REVERSE)
        delta, written = (), ()
        for q in tl.static_range(PAIR):
            there = ((token >= 0) & (token < shape.seqlen))[:, None] & lanes[q][None, :]
            delta_q = step_sizes(r, b, base, offset, channel[q], there, bias[q], SOFTPLUS)[0]
            u = load_tokens(r.u, b, base, offset, channel[q], there)
            delta, written = delta + (delta_q,), written + (delta_q * u,)
        note = notes + (tile - chunk * TILES) * shape.d_state * (PAIR * LANES) + tl.arange(0, LANES)
        for n in range(shape.d_state):
            B = load_row(B_rows, n, tile * TILE, shape)
            for q in tl.static_range(PAIR):
                A2 = tl.load(r.A2 + n * shape.d_inner + channel[q], mask=lanes[q], other=0.0)
                h = tl.load(note + (n * PAIR + q) * LANES)
                h = walk(tl.exp2(delta[q] * A2[None, :]), written[q] * B, h)[2]
                tl.store(note + ((shape.d_state + n) * PAIR + q) * LANES, h)


@triton.jit
def through_states(
    r, w, shape, b, block, part, tile, place, token, notes, channel, lanes, there,
    delta, written, grad_y, PAIR: tl.constexpr,
):  # fmt: skip
    """Take a tile back through all states, one after the other.

    Returns:
        For each of the PAIR channels: the gradient with respect to written = delta * u, the sum of
        the gradients with respect to the exponents times A2, and y without D and gate.
    """
    B_rows = rows_of(r.B, r.groups_B, shape, b, block)
    C_rows = rows_of(r.C, r.groups_C, shape, b, block)
    note = notes + place * shape.d_state * (PAIR * LANES) + tl.arange(0, LANES)
    tiles = (block * shape.batch + b) * shape.chunks * TILES + tile
    sums = w.sums + tiles * shape.d_state * (2 * TILE) + tl.arange(0, LANES) // 2
    slot, any_kept = kept_slots(r, shape, token)
    nothing = tl.zeros([TILE, LANES], tl.float32)
    to_written, to_exponent, y = (), (), ()
    for _q in tl.static_range(PAIR):
        to_written, to_exponent = to_written + (nothing,), to_exponent + (nothing,)
        y = y + (nothing,)
    for n in range(shape.d_state):
        B, C = load_row(B_rows, n, tile * TILE, shape), load_row(C_rows, n, tile * TILE, shape)
        for_B, for_C = nothing, nothing
        written_after, exponent_after, y_after = (), (), ()
        for q in tl.static_range(PAIR):
            at = n * shape.d_inner + channel[q]
            A2 = tl.load(r.A2 + at, mask=lanes[q], other=0.0)[None, :]
            e_at = w.e + part * shape.d_state * shape.d_inner + at
            A_at = w.A + part * shape.d_state * shape.d_inner + at
            a = tl.exp2(delta[q] * A2)
            h = tl.load(note + (n * PAIR + q) * LANES)
            before, after, h = walk(a, written[q] * B, h)
            direct = gradient_of_states(r, grad_y[q], C, b, n, slot, any_kept, channel[q], there[q])
            e = tl.load(e_at, mask=lanes[q], other=0.0)
            d, handed_on, e = walk_back(a, direct, e)
            tl.store(e_at, e, mask=lanes[q])
            exponent = handed_on * before
            grad_A = tl.load(A_at, mask=lanes[q], other=0.0)
            tl.store(A_at, grad_A + tl.sum(exponent * delta[q], 0), mask=lanes[q])
            written_after = written_after + (to_written[q] + d * B,)
            exponent_after = exponent_after + (to_exponent[q] + exponent * A2,)
            y_after = y_after + (y[q] + after * C,)
            for_B += d * written[q]
            for_C += after * grad_y[q]
        to_written, to_exponent, y = written_after, exponent_after, y_after
        mine = tl.arange(0, LANES) % 2 == 0
        tl.store(sums + n * (2 * TILE), sum_lanes(for_B, for_C), mask=mine)
    return to_written, to_exponent, y
