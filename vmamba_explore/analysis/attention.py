"""Hidden attention: which tokens a token reads, in every layer and direction, from one scan each.

With delta, B and C frozen a scan is a matrix with one number for every pair of tokens and every
channel. Nothing here holds that matrix: a row of it is one scan of the transposed operator, a
column one scan. (`attention_matrix` lays out the mean over channels, row by row.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.analysis.logits import LogitParts, logit_parts
from vmamba_explore.analysis.scan_operator import Kind, ScanOperator
from vmamba_explore.analysis.token_weights import over_channels
from vmamba_explore.errors import check_choice
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.contrast import Classes
from vmamba_explore.trace.trace import TokenLabels, Trace

Token = int | tuple[int, int, int] | Literal["cls"] | None
"""A natural index, a place (frame, row, col), the class token, or None: what the logits read."""
Reduce = Literal["mean", "abs", "positive"]
Of = Literal["weights", "contributions", "norms"]
_NAMES = {"weights": "weight", "contributions": "contribution", "norms": "norm of contribution"}
_REDUCED = {"mean": "mean {}", "abs": "mean |{}|", "positive": "mean positive {}"}


@dataclass(frozen=True, eq=False)
class TokenAttention:
    """What one token reads, or where it goes: one number per layer, direction and other token.

    Attributes:
        values: (batch, layer, direction, seqlen), natural order.
        offset: (batch, layer), what the layers add that comes from no token (the convolution's
            bias), where the values are contributions to a logit; None elsewhere.
        layers: The number of each entry of the axis `layer`.
        directions: The name of each entry of the axis `direction`.
        name: What the values are.
        residuals: By layer, how far the frozen operator is from what the run computed: the
            relative distance of the two outputs.
        labels: Places and times of the tokens.
        unit: Of the values; empty where there is none.
    """

    values: Float[Tensor, "batch layer direction seqlen"]
    offset: Float[Tensor, "batch layer"] | None
    layers: tuple[int, ...]
    directions: tuple[str, ...]
    name: str
    residuals: tuple[float, ...]
    labels: TokenLabels
    unit: str = ""

    @property
    def residual(self) -> float:
        """The largest of `residuals`."""
        return max(self.residuals)

    @property
    def cls(self) -> Float[Tensor, "batch layer direction *frame"] | None:
        """The class token's own entries (of all, where every frame has one); None without one."""
        return self.labels.grid.split(self.values)[1]

    def shares(self) -> Float[Tensor, "batch layer direction"]:
        """How much of a layer's entries comes through each direction, by the sum of sizes."""
        sizes = self.values.abs().sum(-1)
        return sizes / sizes.sum(-1, keepdim=True).clamp_min(torch.finfo(sizes.dtype).tiny)

    def array(self, clip: int = 0) -> xr.DataArray:
        """The video tokens' entries of one clip: dims layer, direction, frame, row, col.

        `attrs["cls"]` has the class token's own, (layer, direction); `attrs["residual"]` is the
        largest residual.
        """
        dims = {"layer": self.layers, "direction": self.directions}
        attrs = {"residual": self.residual, "unit": self.unit}
        array = self.labels.array(self.values[clip], clip, self.name, dims, **attrs)
        if self.cls is not None:
            array.attrs["cls"] = self.cls[clip].cpu().numpy()
        return array


def hidden_attention(
    trace: Trace,
    token: Token = None,
    *,
    side: Literal["reads", "reaches"] = "reads",
    layers: Iterable[int] | None = None,
    kind: Kind = "alpha",
    of: Of = "weights",
    reduce: Reduce = "abs",
) -> TokenAttention:
    """Measure what a token reads from every other, or where it goes, layer by layer.

    A row of alpha (or beta) is one scan of the transposed operator, a column one scan; both for
    all channels, of which a mean remains::

        weights        alpha[t, s]                    the matrix alone
        contributions  alpha[t, s] u[s]               what s adds to y[t]
        norms          |W_out beta[t, s] x[s]|        the length of what s adds to the block's
                                                      output at t, a vector (kind="beta")

    Args:
        trace: Holds what `ScanOperator.names(layer, kind)` lists, for each layer.
        token: Natural index, (frame, row, col), "cls", or None for what the logits are read from:
            the class token, or the mean over all tokens where there is none.
        side: "reads" for a row, "reaches" for a column.
        layers: Which ones, None for all of the model.
        kind: "alpha" for the scan alone, from its input u to its output y; "beta" for the whole
            mixer, convolution and gate included, from x to the input of out_proj.
        of: "weights", "contributions" or "norms".
        reduce: Over channels: "mean" keeps signs, "abs" and "positive" are means of the absolute
            values and of the positive parts. Norms need none.
    Returns:
        One number per layer, direction and token.
    Raises:
        IndexError: the token is not in the grid.
        KeyError: something was not recorded.
        ValueError: a layer does not exist, there is no class token, or an option is unknown.
    Source:
        Ali, Zimerman and Wolf 2024, arXiv:2403.01590, for alpha; here per channel, signed, with
        the skip D on the diagonal, and without the matrix.
    """
    check_choice("hidden_attention: of", of, _NAMES)
    check_choice("hidden_attention: side", side, ("reads", "reaches"))
    check_choice("hidden_attention: reduce", reduce, _REDUCED)
    if of == "norms" and kind != "beta":
        raise ValueError(
            'hidden_attention: of="norms" is the length of what passes out_proj, to which only '
            'the whole mixer leads; pass kind="beta" with it.'
        )
    weights = readout_weights(trace.config, token)
    if side == "reaches" and int((weights > 0).sum()) != 1:
        raise ValueError(
            "hidden_attention: this model has no class token, so token=None means all of them; "
            'side="reaches" starts from one token. Pass its index or (frame, row, col).'
        )
    chosen = chosen_layers(trace, layers)
    values, residuals = [], []
    for layer in chosen:
        with torch.no_grad():
            operator = ScanOperator.from_trace(trace, layer=layer, direction="both", kind=kind)
            entries = []
            for part in operator.parts:
                entry = _entries(part, weights, side, of)
                if of == "norms":
                    out_proj = trace.mixer(layer).out_proj.weight.to(entry)
                    entries.append(torch.linalg.vector_norm(out_proj @ entry, dim=1))
                else:
                    entries.append(over_channels(entry, reduce))
            values.append(torch.stack(entries, 1))
            residuals.append(operator.residual)
    name = _NAMES[of] if of == "norms" else _REDUCED[reduce].format(_NAMES[of])
    return TokenAttention(
        torch.stack(values, 1),
        None,
        chosen,
        tuple(operator.directions),
        name,
        tuple(residuals),
        trace.labels,
    )


def logit_attention(
    trace: Trace, target: Classes, minus: Classes | None = None, *, progress: bool = True
) -> TokenAttention:
    """Measure what each token of each layer adds to a logit, directly, by layer and direction.

    What a token adds to a layer's output is a vector in every channel; it is projected on the
    one vector that the logit reads, with the last RMSNorm's scale frozen, so that positive and
    negative channels cancel as they do in the model::

        values[layer, direction, s] = sum over t, d of v[t, d] beta[t, s, d] x[s, d]
        v = W_out^T q,  q = what each entry of the last residual stream adds to the logit

    Summed over everything, with `offset`, the embedding's part and the head's bias, this is the
    logit (`analysis.logit_parts` keeps those too). "Directly" means: what a layer adds where the
    logit is read. Tokens of later layers hold what earlier layers brought to them, so from layer
    1 on a token is no longer only its own patch.

    Args:
        trace: Holds what `LogitParts.names(model)` lists.
        target, minus, progress: As for `logit_parts`.
    Returns:
        Signed contributions, in logits.
    Raises:
        KeyError, ValueError: as `logit_parts`.
    """
    with torch.no_grad():
        return contributions(logit_parts(trace, target, minus, progress=progress))


def contributions(parts: LogitParts) -> TokenAttention:
    """Return what each token of each layer adds to a logit; see `logit_attention`."""
    layers = tuple(range(parts.tokens.shape[1]))
    return TokenAttention(
        parts.tokens,
        parts.offset.sum(-1),
        layers,
        parts.directions,
        "contribution",
        (parts.residual,) * len(layers),
        parts.labels,
        "logits",
    )


@dataclass(frozen=True, eq=False)
class AttentionMatrix:
    """The mean over channels of a layer's matrix: row t is what token t reads.

    Attributes:
        values: float32 (batch, seqlen, seqlen): reader, source, natural order.
        layer: Of the model.
        direction: "forward", "backward" or "both".
        name: What the values are.
        residual: Relative distance of the frozen operator's output to the run's.
        labels: Places and times of the tokens.
    """

    values: Float[Tensor, "batch seqlen seqlen"]
    layer: int
    direction: str
    name: str
    residual: float
    labels: TokenLabels

    def by_frame(self) -> Float[Tensor, "batch reader source"]:
        """What a token of one frame reads from a whole frame: sum over sources, mean over readers.

        Returns:
            Readers and sources are the token frames, then the class token where there is one.
        """
        masks = self.labels.masks(self.values.device).to(self.values)
        readers = masks / masks.sum(-1, keepdim=True)
        return readers @ self.values @ masks.mT


def attention_matrix(
    trace: Trace,
    layer: int,
    direction: Literal["forward", "backward", "both"] = "both",
    *,
    kind: Kind = "alpha",
    reduce: Reduce = "mean",
    budget_gib: float = 1.0,
) -> AttentionMatrix:
    """Lay out the mean over channels of a layer's hidden attention, one row at a time.

    The matrix of every channel, d_inner times as large, never exists: each row is reduced as soon
    as its scan is done. It takes seqlen scans; for single tokens use `hidden_attention`.

    Args:
        trace: Holds what `ScanOperator.names(layer, kind)` lists.
        layer: Which one.
        direction: "both" adds the two up.
        kind, reduce: See `hidden_attention`; "both" adds the directions up channel by channel
            before it reduces.
        budget_gib: The most that the matrix may hold, GiB.
    Raises:
        MemoryError: it would be larger than the budget; nothing has run.
        KeyError, ValueError: as `hidden_attention`.
    """
    check_choice("attention_matrix: reduce", reduce, _REDUCED)
    with torch.no_grad():
        operator = ScanOperator.from_trace(trace, layer=layer, direction=direction, kind=kind)
        batch, seqlen = operator.batch, operator.seqlen
        size = 4 * batch * seqlen**2 / 2**30
        if size > budget_gib:
            raise MemoryError(
                f"attention_matrix: {batch} x {seqlen} x {seqlen} numbers would take {size:.2f} "
                f"GiB; the budget is {budget_gib:.2f} GiB. Take fewer clips, or single tokens with "
                "hidden_attention, or pass budget_gib=."
            )
        values = torch.empty(batch, seqlen, seqlen)
        tiles = operator.T.columns(range(seqlen))
        count = -(-seqlen // operator.columns_at_once)
        title = f"matrix of layer {layer}"
        for tokens, rows in tqdm(tiles, title, total=count, unit="tile", leave=False):
            values[:, tokens] = over_channels(rows, reduce).to(values)
    return AttentionMatrix(
        values,
        layer,
        direction,
        _REDUCED[reduce].format("weight"),
        operator.residual,
        trace.labels,
    )


def readout_weights(config: VideoMambaConfig, token: Token) -> Float[Tensor, " seqlen"]:
    """Return the float64 weights over the grid that stand for a token: a one, or a mean.

    Args:
        config: Of the model: where the tokens stand, and which are read.
        token: Natural index, (frame, row, col), "cls", or None for what the logits read.
    Raises:
        IndexError: the token is not in the grid.
        ValueError: "cls" without a class token.
    """
    grid = config.grid
    if token == "cls" and grid.cls_index is None:
        has, read = "has no class token", "all tokens"
        if grid.cls_position is not None:
            has, read = "has a class token in every frame", "all class tokens"
        raise ValueError(
            f'token="cls", but this model {has}. Its logits read the mean of {read}: pass None '
            "for that, an index, or (frame, row, col)."
        )
    if token is None:
        return config.read_weights()
    if token == "cls":
        index = grid.cls_index
    elif isinstance(token, tuple):
        index = grid.index(*token)
    else:
        grid.position(index := int(token))  # raises where it is out of range
    weights = torch.zeros(grid.seqlen, dtype=torch.float64)
    weights[index] = 1
    return weights


def _entries(part: ScanOperator, weights: Tensor, side: str, of: str) -> Tensor:
    """One direction's row or column for every channel, (batch, d_inner, seqlen)."""
    source = part.source
    start = weights.to(source).expand_as(source).contiguous()
    if side == "reads":
        read = part.T @ start
        return read if of == "weights" else read * source
    return part @ (start if of == "weights" else start * source)


def chosen_layers(trace: Trace, layers: Iterable[int] | None) -> tuple[int, ...]:
    """The chosen layers, checked; None: all of the model."""
    chosen = tuple(range(trace.config.depth) if layers is None else layers)
    if not chosen:
        raise ValueError("layers is empty, expected at least one; None takes all of them.")
    for layer in chosen:
        trace.mixer(layer)
    return chosen
