"""The selective scan and its gradient as vector kernels; `jit.tasks` says what a task is."""

from vmamba_kernels.jit.ircode import Kernel, Var, Vec, fma
from vmamba_kernels.jit.native import Native
from vmamba_kernels.jit.tasks import LANES, SIZES, Stream, Task, parameters
from vmamba_kernels.jit.vectormath import LN2, exp2, logistic, softplus_and_slope, sum_lanes

CHUNK = 32  # tokens between two saved states; the gradient recomputes the states in between
SUMS = 16  # states whose sums over channels are made together

# A2 is A * log2(e), (d_state, padded); tensors of tokens as tasks.parameters describes them
INPUTS = (*SIZES, "n_chunks", "A2", "D", "bias", *parameters(("u", "delta", "z", "B", "C")))
FORWARD = (*INPUTS, "initial_state", "last_state", "starts", *parameters(("y", "states")))
GRADIENT = (
    *INPUTS,
    "starts",
    *parameters(("grad_y", "grad_states", "grad_u", "grad_delta", "grad_z")),
    *("grad_A", "grad_D", "grad_bias", "grad_last_state", "grad_initial_state"),
    *("grad_B", "grad_C", "n_sums", "n_sums_token"),
)


def step_size(raw: Vec, bias: Vec, softplus: bool) -> tuple[Vec, Vec | None]:
    """delta after bias and softplus, and its slope against delta before them."""
    delta = raw + bias
    return softplus_and_slope(delta) if softplus else (delta, None)


def build_forward(d_state: int, gate: bool, softplus: bool, states: bool, ragged: bool) -> Native:
    """The scan: reads INPUTS and `initial_state`; writes y and `last_state`, and where asked
    the states at chunk starts (batch, chunk, d_state, padded) and after every token.
    """
    k = Kernel(LANES, FORWARD)
    with k.tasks() as number:
        task = Task(k, number, ragged)
        u, delta, z, y = (task.tokens(name) for name in ("u", "delta", "z", "y"))
        B, C = task.selection("B"), task.selection("C")
        A2 = task.shared_rows("A2", d_state)
        D, bias = (task.shared_rows(name, 1)[0].load() for name in ("D", "bias"))
        h = task.states("initial_state", d_state)
        with k.loop(k.int("n_chunks")) as chunk:
            with k.when_given(k.ptr("starts")):
                row = task.batch * k.int("n_chunks") + chunk
                for place, state in zip(task.rows("starts", d_state, row), h, strict=True):
                    place.store(state.get())
            first = chunk * CHUNK
            with k.loop((k.int("n_seqlen") - first).minimum(CHUNK)) as i:
                t = first + i
                u_t = u.at(t).load(task.mask)
                delta_t, _ = step_size(delta.at(t).load(task.mask), bias, softplus)
                written = delta_t * u_t
                sums = [D * u_t, k.number(0.0)]  # two, to halve the chain of additions
                for n in range(d_state):
                    A_bar = exp2(delta_t * A2[n].load())
                    h_n = fma(A_bar, h[n].get(), written * (B.at(t) + n).load_everywhere())
                    h[n].set(h_n)
                    sums[n % 2] = fma(h_n, (C.at(t) + n).load_everywhere(), sums[n % 2])
                    if states:
                        place = task.tokens("states").at(t) + k.int("n_d_inner") * n
                        place.store(h_n, task.mask)
                y_t = sums[0] + sums[1]
                if gate:
                    z_t = z.at(t).load(task.mask)
                    y_t = y_t * (z_t * logistic(z_t))
                y.at(t).store(y_t, task.mask)
        for place, state in zip(task.rows("last_state", d_state), h, strict=True):
            place.store(state.get())
    return Native(k)


def padded_sums(d_state: int) -> int:
    """Floats in one row of grad_B and grad_C: `sum_lanes` rounds each group of states up."""
    rest = d_state % SUMS
    return d_state - rest + (1 << (rest - 1).bit_length() if rest else 0)


def gradient_scratch(d_state: int) -> int:
    """Floats of scratch: A_bar and h of a chunk, and delta, its slope and y of each token."""
    return LANES * (CHUNK * d_state + (CHUNK + 1) * d_state + 3 * CHUNK)


def build_gradient(d_state: int, gate: bool, softplus: bool, states: bool, ragged: bool) -> Native:
    """The gradient of the scan, with g[t] = dLoss/dh[t]::

        g[t] = C[t] * grad_y[t] + grad_states[t] + A_bar[t+1] * g[t+1]

    Chunk by chunk from the last: recompute A_bar and h from the saved state, then walk back.
    grad_B and grad_C (batch, all_blocks, seqlen, sums) and grad_A, grad_D, grad_bias (batch, ...)
    are partial sums: the caller adds them up, in fixed order.
    """
    k = Kernel(LANES, GRADIENT)
    row = LANES * d_state
    A_bars = k.ptr("scratch")
    hs = A_bars + CHUNK * row
    kept = hs + (CHUNK + 1) * row
    with k.tasks() as number:
        task = Task(k, number, ragged)
        mask = task.mask
        u, delta, z = (task.tokens(name) for name in ("u", "delta", "z"))
        B, C = task.selection("B"), task.selection("C")
        A2 = task.shared_rows("A2", d_state)
        D, bias = (task.shared_rows(name, 1)[0].load() for name in ("D", "bias"))
        grad_y, grad_u, grad_delta, grad_z = (
            task.tokens(name) for name in ("grad_y", "grad_u", "grad_delta", "grad_z")
        )
        g = task.states("grad_last_state", d_state)
        grad_A = [Var(k, 0.0) for _ in range(d_state)]
        grad_D, grad_bias = Var(k, 0.0), Var(k, 0.0)

        sums = (task.batch * k.int("n_groups") * k.int("n_blocks") + task.block) * k.int("n_seqlen")
        grad_B, grad_C = (
            Stream(k.ptr(name) + sums * k.int("n_sums"), k.int("n_sums_token"))
            for name in ("grad_B", "grad_C")
        )

        with k.loop(k.int("n_chunks")) as done:
            chunk = k.int("n_chunks") - 1 - done
            first = chunk * CHUNK
            length = (k.int("n_seqlen") - first).minimum(CHUNK)
            saved = task.batch * k.int("n_chunks") + chunk
            for n, place in enumerate(task.rows("starts", d_state, saved)):
                (hs + n * LANES).store(place.load())
            with k.loop(length) as i:
                t = first + i
                u_t = u.at(t).load(mask)
                delta_t, slope = step_size(delta.at(t).load(mask), bias, softplus)
                written = delta_t * u_t
                y_t = D * u_t
                A_bar_row, h_row, kept_row = A_bars + i * row, hs + i * row, kept + i * (3 * LANES)
                for n in range(d_state):
                    A_bar = exp2(delta_t * A2[n].load())
                    b = (B.at(t) + n).load_everywhere()
                    h = fma(A_bar, (h_row + n * LANES).load(), written * b)
                    (A_bar_row + n * LANES).store(A_bar)
                    (h_row + (d_state + n) * LANES).store(h)
                    if gate:
                        y_t = fma(h, (C.at(t) + n).load_everywhere(), y_t)
                kept_row.store(delta_t)
                if slope is not None:
                    (kept_row + LANES).store(slope)
                if gate:
                    (kept_row + 2 * LANES).store(y_t)
            with k.loop(length) as back:
                i = length - 1 - back
                t = first + i
                A_bar_row, h_row, kept_row = A_bars + i * row, hs + i * row, kept + i * (3 * LANES)
                u_t, delta_t = u.at(t).load(mask), kept_row.load()
                written = delta_t * u_t
                gy = grad_y.at(t).load(mask)
                if gate:
                    z_t = z.at(t).load(mask)
                    s = logistic(z_t)
                    y_t = (kept_row + 2 * LANES).load()
                    slope_z = s * fma(z_t, k.number(1.0) - s, 1.0)
                    grad_z.at(t).store(gy * y_t * slope_z, mask)
                    gy = gy * (z_t * s)
                to_written, to_exponent = k.number(0.0), k.number(0.0)
                for n0 in range(0, d_state, SUMS):
                    for_B, for_C = [], []
                    for n in range(n0, min(n0 + SUMS, d_state)):
                        g_n = fma(gy, (C.at(t) + n).load_everywhere(), g[n].get())
                        if states:
                            place = task.tokens("grad_states").at(t) + k.int("n_d_inner") * n
                            g_n = g_n + place.load(mask)
                        for_C.append(gy * (h_row + (d_state + n) * LANES).load())
                        for_B.append(g_n * written)
                        to_written = fma(g_n, (B.at(t) + n).load_everywhere(), to_written)
                        passed = g_n * (A_bar_row + n * LANES).load()
                        g[n].set(passed)
                        exponent = passed * (h_row + n * LANES).load()
                        grad_A[n].set(fma(exponent, delta_t, grad_A[n].get()))
                        to_exponent = fma(exponent, A2[n].load(), to_exponent)
                    (grad_B.at(t) + n0).store(sum_lanes(for_B))
                    (grad_C.at(t) + n0).store(sum_lanes(for_C))
                grad_u.at(t).store(fma(to_written, delta_t, D * gy), mask)
                to_delta = fma(to_exponent, k.number(LN2), to_written * u_t)
                if softplus:
                    to_delta = to_delta * (kept_row + LANES).load()
                grad_delta.at(t).store(to_delta, mask)
                grad_D.set(fma(gy, u_t, grad_D.get()))
                grad_bias.set(grad_bias.get() + to_delta)
        for n in range(d_state):
            task.rows("grad_initial_state", d_state)[n].store(g[n].get())
            task.rows("grad_A", d_state)[n].store(grad_A[n].get())
        task.rows("grad_D", 1)[0].store(grad_D.get())
        task.rows("grad_bias", 1)[0].store(grad_bias.get())
    return Native(k, gradient_scratch(d_state))
