"""The recurrence of a selective scan, and three ways to run it, written to be read.

`vmamba_kernels` is what computes; this module is what notebook 01 takes apart. Everything here is
plain torch, for one step of the recurrence written as h -> a h + b.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vmamba_explore.errors import shown

Pair = tuple[Tensor, Tensor]
Rounds = Callable[[Tensor, Tensor], Iterator[Tensor]]


def discretize(
    delta: Float[Tensor, "batch d_inner seqlen"],
    A: Float[Tensor, "d_inner d_state"],
    B: Float[Tensor, "batch d_state seqlen"],
    rule: Literal["mamba", "exact"] = "mamba",
) -> Pair:
    """Turn h' = A h + B u into one step per token: h[t] = A_bar[t] h[t-1] + B_bar[t] u[t].

    With u held during the step (zero-order hold) the equation has the solution::

        A_bar = exp(delta A)        B_bar = (exp(delta A) - 1) / A * B

    Mamba keeps A_bar and takes the first order of B_bar, Euler's rule: B_bar = delta B.

    Args:
        delta: Length of the step, after softplus. Positive, no unit.
        A: Decay rate. Negative, so that states fade.
        B: What a token writes.
        rule: "mamba", or "exact" for the zero-order hold of B too.

    Returns:
        A_bar and B_bar, (batch, d_inner, d_state, seqlen).

    Source:
        Gu and Dao 2023, arXiv:2312.00752, equation 4 ("exact"); their code uses Euler's rule for B.
    """
    if rule not in ("mamba", "exact"):
        raise ValueError(f"discretize: rule is {shown(rule)}, expected 'mamba' or 'exact'.")
    exponent = delta[:, :, None] * A[:, :, None]
    step = delta[:, :, None] if rule == "mamba" else torch.expm1(exponent) / A[:, :, None]
    return torch.exp(exponent), step * B[:, None]


def combine(earlier: Pair, later: Pair) -> Pair:
    """Merge two steps into one that does both: (a1, b1) o (a2, b2) = (a2 a1, a2 b1 + b2).

    The operator is associative, so neighbors may be merged in any grouping; (1, 0), the step that
    changes nothing, is its neutral element.
    """
    (a1, b1), (a2, b2) = earlier, later
    return a2 * a1, a2 * b1 + b2


def sequential_rounds(a: Tensor, b: Tensor) -> Iterator[Tensor]:
    """Run the recurrence one token after the other: seqlen - 1 rounds of one step each.

    Args:
        a, b: The steps h -> a h + b, (..., seqlen).

    Yields:
        What every token knows after each round, (..., seqlen), starting with round 0: itself only.
        One tensor that is written into; copy it to keep it.
    """
    h = b.clone()
    yield h
    for t in range(1, b.shape[-1]):
        h[..., t] += a[..., t] * h[..., t - 1]
        yield h


def associative_rounds(a: Tensor, b: Tensor) -> Iterator[Tensor]:
    """Let every token merge with the one 1, 2, 4, ... places before it: log2(seqlen) rounds.

    Args, Yields: As in `sequential_rounds`.

    Source:
        Hillis and Steele 1986, "Data parallel algorithms"; Blelloch 1990 has a variant with less
        work and twice the rounds.
    """
    yield b
    reach = 1
    while reach < b.shape[-1]:
        a_new, b_new = combine((a[..., :-reach], b[..., :-reach]), (a[..., reach:], b[..., reach:]))
        a, b = (torch.cat([x[..., :reach], new], -1) for x, new in ((a, a_new), (b, b_new)))
        reach *= 2
        yield b


def chunked_rounds(a: Tensor, b: Tensor, chunk: int = 8) -> Iterator[Tensor]:
    """Scan all chunks side by side, then hand the state on from chunk to chunk.

    Args:
        a, b: As in `sequential_rounds`.
        chunk: Tokens in a chunk; the last one may be shorter.

    Yields:
        As in `sequential_rounds`: chunk - 1 rounds inside the chunks, then one per border.
    """
    if chunk < 1:
        raise ValueError(f"chunked_rounds: chunk is {chunk}, expected at least 1.")
    seqlen = b.shape[-1]
    fill = *b.shape[:-1], -seqlen % chunk
    a = torch.cat([a, a.new_ones(fill)], -1).unflatten(-1, (-1, chunk))  # the step (1, 0)
    b = torch.cat([b, b.new_zeros(fill)], -1).unflatten(-1, (-1, chunk))
    yield b.flatten(-2)[..., :seqlen]
    for t in range(1, chunk):
        before, here = (a[..., t - 1], b[..., t - 1]), (a[..., t], b[..., t])
        a[..., t], b[..., t] = combine(before, here)
        yield b.flatten(-2)[..., :seqlen]
    for number in range(1, b.shape[-2]):
        border = b[..., number - 1, -1:]
        b[..., number, :] += a[..., number, :] * border  # a is now the decay since the border
        yield b.flatten(-2)[..., :seqlen]


def sequential_scan(a: Tensor, b: Tensor) -> Tensor:
    """Return every state of h[t] = a[t] h[t-1] + b[t], h[-1] = 0, token after token.

    Args:
        a, b: (..., seqlen), of one shape.
    """
    return _last(sequential_rounds(a, b))


def associative_scan(a: Tensor, b: Tensor) -> Tensor:
    """Return the states of `sequential_scan`, by merging steps in log2(seqlen) rounds."""
    return _last(associative_rounds(a, b))


def chunked_scan(a: Tensor, b: Tensor, chunk: int = 8) -> Tensor:
    """Return the states of `sequential_scan`, scanning chunks of tokens side by side."""
    return _last(chunked_rounds(a, b, chunk))


def tokens_known(rounds: Rounds, seqlen: int) -> Float[Tensor, "rounds seqlen"]:
    """Count how many tokens each state holds after each round of a scan.

    With every step h -> h + 1 the state is that count, so the scan itself does the counting.

    Args:
        rounds: `sequential_rounds`, `associative_rounds` or `chunked_rounds`.
        seqlen: Number of tokens.
    """
    ones = torch.ones(seqlen)
    return torch.stack([h.clone() for h in rounds(ones, ones)])


def _last(rounds: Iterator[Tensor]) -> Tensor:
    return deque(rounds, maxlen=1).pop()
