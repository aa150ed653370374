"""The selective scan and its gradient as vector kernels; `jit.tasks` says what a tile is.

Each tile is walked in passes. Only in the recurrence does a token need the one before it; in the
passes around it (step sizes, gate) every token stands by itself, so that the processor works on
several at once instead of waiting for one long chain of operations. What one pass leaves for the
next stays in the nearest cache. While the recurrence computes, memory that is needed later is
fetched.
"""

from typing import NamedTuple

from vmamba_kernels.jit.ircode import Int, Kernel, Ptr, Var, Vec, fma
from vmamba_kernels.jit.native import Native
from vmamba_kernels.jit.tasks import (
    CHUNK,
    LANES,
    SIZES,
    Column,
    Stream,
    Tile,
    carried,
    parameters,
    summed,
    tiles,
)
from vmamba_kernels.jit.vectormath import (
    LN2,
    exp2,
    silu,
    silu_and_slope,
    softplus_and_slope,
    sum_lanes,
)

SUMS = 16  # states whose sums over channels are made together

# A2 is A * log2(e), packed; tensors of tokens as tasks.parameters describes them
INPUTS = (*SIZES, "A2", "D", "bias", *parameters(("u", "delta", "z", "B", "C")))
FORWARD = (
    *(*INPUTS, "state", "starts", "slots", "square_sums", "n_sums"),
    *parameters(("y", "y_first", "states", "over_states", "readout")),
)
GRADIENT = (
    *(*INPUTS, "starts", "slots"),
    *parameters(("grad_y", "grad_states", "grad_u", "grad_delta", "grad_z", "y_first")),
    *("grad_A", "grad_D", "grad_bias", "grad_state"),
    *("grad_B", "grad_C", "n_sums"),
)


class Variant(NamedTuple):
    """What a kernel is compiled for."""

    d_state: int
    ragged: bool
    softplus: bool
    gate: bool
    states: bool = False  # hand over the states of the tokens that have a slot
    norms: bool = False  # reduce the states as they are made
    direction: str = "only"  # "first" or "second" of two that share one gate
    bfloats: tuple[str, ...] = ()  # parameters that are bfloat16 memory


def padded_sums(d_state: int) -> int:
    """Floats in one row of sums over channels: `sum_lanes` rounds each group of states up."""
    rest = d_state % SUMS
    return d_state - rest + (1 << (rest - 1).bit_length() if rest else 0)


def y_first(variant: Variant, result: str) -> str:
    """Where the first of two directions leaves its y: in the result, if that is float32."""
    return "y_first" if result in variant.bfloats else result


class Sum:
    """A sum of products, in two halves so that one addition need not wait for the other."""

    def __init__(self) -> None:
        self.halves: list[Vec] = []
        self.terms = 0

    def add(self, a: Vec, b: Vec) -> None:
        half, self.terms = self.terms % 2, self.terms + 1
        if len(self.halves) <= half:
            self.halves.append(a * b)
        else:
            self.halves[half] = fma(a, b, self.halves[half])

    def get(self) -> Vec:
        return self.halves[0] + self.halves[1] if self.terms > 1 else self.halves[0]


class Inputs:
    """What forward and gradient share: where the inputs of one tile lie."""

    def __init__(self, tile: Tile, variant: Variant) -> None:
        self.tile, self.variant = tile, variant
        self.u, self.delta, self.z = (tile.tokens(name) for name in ("u", "delta", "z"))
        self.B, self.C = tile.selection("B"), tile.selection("C")
        self.A2 = tile.rows("A2", variant.d_state, tile.block)
        self.D, self.bias = (tile.channels(name).load(tile.mask) for name in ("D", "bias"))

    def step_size(self, t: Int) -> tuple[Vec, Vec | None]:
        """delta after bias and softplus, and its slope against delta before them."""
        delta = self.delta.at(t).load(self.tile.mask) + self.bias
        return softplus_and_slope(delta) if self.variant.softplus else (delta, None)

    def starts(self) -> list[Ptr]:
        """Where the states at the start of the chunk are saved."""
        index = self.tile.number * self.tile.k.int("n_chunks") + self.tile.chunk
        return self.tile.rows("starts", self.variant.d_state, index)

    def states_of(self, name: str, slot: Int) -> list[Ptr]:
        """Where the states of a kept token lie: (batch, slot, state, channel)."""
        first, step = self.tile.tokens(name).at(slot), self.tile.k.int("n_d_inner")
        return [first + step * n for n in range(self.variant.d_state)]

    def sums(self, name: str) -> Stream:
        """Rows of sums over this block's channels, (batch, block, token, sums)."""
        k = self.tile.k
        start = self.tile.number * k.int("n_seqlen") * k.int("n_sums")
        return Stream(k.ptr(name) + start, k.int("n_sums"))


def build_forward(variant: Variant) -> Native:
    """The scan: reads INPUTS, takes `state` from before the first token to after the last, writes
    y and, where asked, the states at chunk starts, those of tokens with a slot, and their norms.
    """
    k, states = Kernel(LANES, FORWARD, variant.bfloats), range(variant.d_state)
    deltas, writtens, readouts = (Column(k.ptr("scratch") + n * CHUNK * LANES) for n in range(3))
    with tiles(k, variant.ragged) as tile:
        inputs, mask = Inputs(tile, variant), tile.mask
        u, z, B, C, A2 = inputs.u, inputs.z, inputs.B, inputs.C, inputs.A2
        y, over_states, readout = (tile.tokens(x) for x in ("y", "over_states", "readout"))
        with carried(tile.rows("state", variant.d_state)) as h:
            with k.when_given(k.ptr("starts")):
                for n, place in enumerate(inputs.starts()):
                    place.store(h[n].get())

            with k.loop(tile.length) as i:  # step sizes
                t = tile.token(i)
                delta_t, _ = inputs.step_size(t)
                deltas.at(i).store(delta_t)
                writtens.at(i).store(delta_t * u.at(t).load(mask))

            with k.loop(tile.length) as i:  # recurrence
                t, later = tile.token(i), tile.token_to_come(i + CHUNK)
                for stream in (u, inputs.delta, *([z] if variant.gate else [])):
                    stream.at(later).prefetch()
                y.at(later).prefetch(to_write=True)
                delta_t, written = deltas.at(i).load(), writtens.at(i).load()
                read = Sum()
                for n in states:
                    A_bar = exp2(delta_t * A2[n].load())
                    h_n = fma(A_bar, h[n].get(), written * (B.at(t) + n).load_everywhere())
                    h[n].set(h_n)
                    read.add(h_n, (C.at(t) + n).load_everywhere())
                readouts.at(i).store(read.get())
                if variant.states:
                    slot = k.table("slots").at(t)
                    with k.when_not_negative(slot):
                        for n, place in enumerate(inputs.states_of("states", slot)):
                            if mask is None:  # blocks are full: each starts a cache line
                                place.store_past_caches(h[n].get())
                            else:
                                place.store(h[n].get(), mask)
                if variant.norms:
                    squares = [state.get() * state.get() for state in h]
                    over_states.at(t).store(sum(squares[1:], squares[0]).sqrt(), mask)
                    readout.at(t).store(read.get(), mask)
                    for n in states[::SUMS]:
                        square_sums = inputs.sums("square_sums").at(t) + n
                        square_sums.store(sum_lanes(squares[n : n + SUMS]))

            with k.loop(tile.length) as i:  # skip and gate
                t = tile.token(i)
                y_t = fma(inputs.D, u.at(t).load(mask), readouts.at(i).load())
                if variant.direction == "second":
                    y_t = tile.tokens(y_first(variant, "y")).at(t).load(mask) + y_t
                if variant.gate and variant.direction != "first":
                    y_t = y_t * silu(z.at(t).load(mask))
                y.at(t).store(y_t, mask)
    return Native(k, 3 * CHUNK * LANES)


def build_gradient(variant: Variant) -> Native:
    """The gradient of the scan, with g[t] = dLoss/dh[t]::

        g[t] = C[t] * grad_y[t] + grad_states[t] + A_bar[t+1] * g[t+1]

    Chunk by chunk from the last: recompute A_bar and h from the saved state, then walk back, which
    takes `grad_state` from after the last token to before the first. grad_A, grad_D and grad_bias
    are added to. grad_B and grad_C (batch, all_blocks, seqlen, sums) are sums over the channels of
    each block: the caller adds them up, in fixed order.
    """
    k, states = Kernel(LANES, GRADIENT, variant.bfloats), range(variant.d_state)
    row = LANES * variant.d_state
    A_bars = k.ptr("scratch")
    hs = A_bars + CHUNK * row  # one row more: the state at the start
    columns = [Column(hs + (CHUNK + 1) * row + n * CHUNK * LANES) for n in range(7)]
    deltas, slopes, writtens, readouts, grad_ys, to_writtens, to_exponents = columns
    with tiles(k, variant.ragged, backward=True) as tile:
        inputs, mask = Inputs(tile, variant), tile.mask
        u, z, B, C, A2 = inputs.u, inputs.z, inputs.B, inputs.C, inputs.A2
        grad_y, grad_u, grad_delta, grad_z = (
            tile.tokens(name) for name in ("grad_y", "grad_u", "grad_delta", "grad_z")
        )
        grad_B, grad_C = inputs.sums("grad_B"), inputs.sums("grad_C")
        h = [Var(k, place.load()) for place in inputs.starts()]
        per_channel = [tile.channels(name, per_batch=True) for name in ("grad_D", "grad_bias")]
        with (
            carried(tile.rows("grad_state", variant.d_state)) as g,
            summed(tile.rows("grad_A", variant.d_state)) as grad_A,
            summed(per_channel, mask) as (grad_D, grad_bias),
        ):
            with k.loop(tile.length) as i:  # step sizes
                t = tile.token(i)
                delta_t, slope = inputs.step_size(t)
                deltas.at(i).store(delta_t)
                writtens.at(i).store(delta_t * u.at(t).load(mask))
                if slope is not None:
                    slopes.at(i).store(slope)

            for n in states:
                (hs + n * LANES).store(h[n].get())
            with k.loop(tile.length) as i:  # recurrence
                t = tile.token(i)
                for stream in (grad_y, *([z] if variant.gate else [])):
                    stream.at(t).prefetch()
                if variant.gate:
                    grad_z.at(t).prefetch(to_write=True)
                delta_t, written = deltas.at(i).load(), writtens.at(i).load()
                A_bar_row, h_row = A_bars + i * row, hs + (i + 1) * row
                read = Sum()
                for n in states:
                    A_bar = exp2(delta_t * A2[n].load())
                    h_n = fma(A_bar, h[n].get(), written * (B.at(t) + n).load_everywhere())
                    h[n].set(h_n)
                    (A_bar_row + n * LANES).store(A_bar)
                    (h_row + n * LANES).store(h_n)
                    read.add(h_n, (C.at(t) + n).load_everywhere())
                readouts.at(i).store(read.get())

            with k.loop(tile.length) as i:  # gate
                t = tile.token(i)
                u_t, grad_y_t = u.at(t).load(mask), grad_y.at(t).load(mask)
                if variant.gate:
                    gate, slope_z = silu_and_slope(z.at(t).load(mask))
                    y_t = fma(inputs.D, u_t, readouts.at(i).load())
                    left = tile.tokens(y_first(variant, "grad_z")).at(t)
                    if variant.direction == "first":
                        left.store(y_t, mask)
                    else:
                        if variant.direction == "second":
                            y_t = left.load(mask) + y_t
                        grad_z.at(t).store(grad_y_t * y_t * slope_z, mask)
                    grad_y_t = grad_y_t * gate
                grad_ys.at(i).store(grad_y_t)
                grad_D.set(fma(grad_y_t, u_t, grad_D.get()))

            with k.loop(tile.length) as back:  # recurrence, from the last token to the first
                i = tile.length - 1 - back
                t, earlier = tile.token(i), tile.token_to_come(i - CHUNK)
                for stream in (u, inputs.delta):
                    stream.at(earlier).prefetch()
                for stream in (grad_u, grad_delta):
                    stream.at(t).prefetch(to_write=True)
                if variant.states:
                    slot = k.table("slots").at(t)
                    with k.when_not_negative(slot):
                        for n, place in enumerate(inputs.states_of("grad_states", slot)):
                            g[n].set(g[n].get() + place.load(mask))
                A_bar_row, h_row, before = A_bars + i * row, hs + (i + 1) * row, hs + i * row
                delta_t, written = deltas.at(i).load(), writtens.at(i).load()
                grad_y_t = grad_ys.at(i).load()
                to_written, to_exponent = Sum(), Sum()
                for_B, for_C = [], []
                for n in states:
                    g_n = fma(grad_y_t, (C.at(t) + n).load_everywhere(), g[n].get())
                    for_C.append(grad_y_t * (h_row + n * LANES).load())
                    for_B.append(g_n * written)
                    to_written.add(g_n, (B.at(t) + n).load_everywhere())
                    passed = g_n * (A_bar_row + n * LANES).load()
                    g[n].set(passed)
                    exponent = passed * (before + n * LANES).load()
                    grad_A[n].set(fma(exponent, delta_t, grad_A[n].get()))
                    to_exponent.add(exponent, A2[n].load())
                    if len(for_B) == SUMS or n == states[-1]:
                        first = n + 1 - len(for_B)
                        (grad_B.at(t) + first).store(sum_lanes(for_B))
                        (grad_C.at(t) + first).store(sum_lanes(for_C))
                        for_B, for_C = [], []
                to_writtens.at(i).store(to_written.get())
                to_exponents.at(i).store(to_exponent.get())

            with k.loop(tile.length) as i:  # back through the step sizes
                t = tile.token(i)
                to_written_t = to_writtens.at(i).load()
                from_skip = inputs.D * grad_ys.at(i).load()
                grad_u.at(t).store(fma(to_written_t, deltas.at(i).load(), from_skip), mask)
                from_written = to_written_t * u.at(t).load(mask)
                to_delta = fma(to_exponents.at(i).load(), k.number(LN2), from_written)
                if variant.softplus:
                    to_delta = to_delta * slopes.at(i).load()
                grad_delta.at(t).store(to_delta, mask)
                grad_bias.set(grad_bias.get() + to_delta)
    return Native(k, (2 * CHUNK + 1) * row + len(columns) * CHUNK * LANES)
