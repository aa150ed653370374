"""How many dimensions the states use, and how alike the forward and the backward ones are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from vmamba_explore.analysis.decay import check_clip
from vmamba_explore.analysis.states import reading_strength
from vmamba_explore.hooks import UnknownNameError
from vmamba_explore.model.ssm import BOUNDARY
from vmamba_explore.trace.trace import Trace
from vmamba_explore.trace.window import state_window


def participation_ratio(samples: Float[Tensor, "samples features"]) -> float:
    """Count the directions among which the variance of samples is shared, centered.

    With l the eigenvalues of the covariance: (sum l)^2 / sum l^2. It is k where k directions have
    the same variance and all others none, and never above min(features, samples - 1).

    Args:
        samples: At least two.
    Returns:
        1 or more; NaN where all samples are equal.
    Raises:
        ValueError: fewer samples, or not two axes.
    """
    _check_samples("participation_ratio", samples)
    if len(samples) < 2:
        raise ValueError(
            f"participation_ratio: {len(samples)} samples have no variance; at least 2 are needed."
        )
    centered = samples.double() - samples.double().mean(0)
    narrow = centered if centered.shape[1] < len(centered) else centered.T
    gram = narrow.T @ narrow  # the smaller of the two has the same eigenvalues
    square = float(gram.square().sum())
    return float(gram.trace()) ** 2 / square if square > 0 else math.nan


def debiased_cka(
    x: Float[Tensor, "samples features_x"], y: Float[Tensor, "samples features_y"]
) -> float:
    """Compare two sets of features of the same samples: 1 if alike up to rotation and scale.

    Linear centered kernel alignment with the unbiased estimate of each product, which is about 0
    for unrelated features, and may fall below. (The plain one is near 1 for unrelated features
    as soon as there are more features than samples.)

    Args:
        x, y: At least four samples, in the same order.
    Raises:
        ValueError: fewer samples, not as many in both, or not two axes.
    Source:
        Kornblith et al. 2019, arXiv:1905.00414; unbiased estimate: Song et al. 2012, "Feature
        selection via dependence maximization", equation 5.
    """
    for samples in (x, y):
        _check_samples("debiased_cka", samples)
    if len(x) != len(y):
        raise ValueError(f"debiased_cka: x has {len(x)} samples and y {len(y)}; expected as many.")
    a, b = _centered_gram(x), _centered_gram(y)
    return float((a * b).sum() / (a.norm() * b.norm()))


def _check_samples(call: str, samples: Tensor) -> None:
    if samples.ndim != 2:
        raise ValueError(
            f"{call}: got the shape {tuple(samples.shape)}, expected (samples, features)."
        )


def _centered_gram(x: Tensor) -> Tensor:
    """Inner products of samples, diagonal zero, centered such that products are unbiased."""
    n = len(x)
    if n < 4:
        raise ValueError(f"debiased_cka: {n} samples are too few; at least 4 are needed.")
    x = x.double() - x.double().mean(0)  # changes nothing, keeps rounding small
    gram = (x @ x.T).fill_diagonal_(0)
    row = gram.sum(1) / (n - 2)
    gram = gram - row[:, None] - row[None, :] + gram.sum() / ((n - 1) * (n - 2))
    return gram.fill_diagonal_(0)


@dataclass(frozen=True, eq=False)
class StateSimilarity:
    """Dimensions of the states, and likeness of the forward and backward ones, of one clip.

    Attributes:
        participation: Dims layer, direction: `participation_ratio` over tokens.
        ceiling: What it cannot exceed: min(features, samples - 1).
        cka: Dim layer: `debiased_cka` of the two directions' states at the same tokens; None for
            a model with one direction.
        null: Dims layer, shift: the same after the backward states were shifted in a circle along
            the tokens, by about `shift` tokens (a whole number of samples). Both keep their own
            course, and what they share by standing at the same place and time is lost.
        tokens: Natural indices of the samples.
    """

    participation: xr.DataArray
    ceiling: int
    cka: xr.DataArray | None
    null: xr.DataArray | None
    tokens: Tensor

    @property
    def p_value(self) -> xr.DataArray | None:
        """Share of the shifts that give at least the likeness of no shift, itself counted in."""
        if self.cka is None or self.null is None:
            return None
        return ((self.null >= self.cka).sum("shift") + 1) / (self.null.sizes["shift"] + 1)


def state_similarity(
    trace: Trace, layer: int | None = None, *, samples: int = 512, clip: int = 0
) -> StateSimilarity:
    """Measure the states' dimensions, and how alike the two directions' states are.

    Each state number is first multiplied by how strongly it is read, since its scale is arbitrary
    otherwise: see `scale_free_states`.

    Args:
        trace: Holds `hook_h` and `hook_C`; or `hook_h_boundaries` with `hook_u`, `hook_delta`,
            `hook_B`, `hook_C`, from which the states are recomputed, a window at a time.
        layer: Block number; None takes every one whose states were recorded.
        samples: So many video tokens, evenly spaced; all where there are fewer.
        clip: Which clip of the batch.
    Raises:
        KeyError: something needed was not recorded.
        ValueError: no such layer or clip, or too few samples.
    """
    check_clip("state_similarity", trace, clip)
    video = trace.grid.video_tokens
    count = min(samples, len(video))
    if count < 4:
        raise ValueError(
            f"state_similarity: {count} samples are too few; at least 4 are needed, and this model "
            f"has {len(video)} video tokens."
        )
    tokens, names = video[torch.arange(count) * len(video) // count], trace.config.directions
    places = [*trace.places("h"), *trace.places("h_boundaries")]
    layers = sorted({number for number, _ in places}) if layer is None else [layer]
    if not layers:
        raise _no_states("state_similarity")
    sizes, alike, shifted, features = [], [], [], 0
    for number in layers:
        states = [scale_free_states(trace, number, name, tokens, clip) for name in names]
        sizes.append([participation_ratio(each) for each in states])
        features = states[0].shape[1]
        if len(states) == 2:
            a, b = (_centered_gram(each) for each in states)
            course = _over_shifts(a, b) / (a.norm() * b.norm())
            alike.append(float(course[0]))
            shifted.append(course[1:].cpu().numpy())
    by_layer, two = {"layer": layers}, len(names) == 2
    unit = {"unit": ""}
    return StateSimilarity(
        participation=xr.DataArray(
            np.array(sizes), by_layer | {"direction": list(names)}, ("layer", "direction"),
            "participation ratio", unit,
        ),
        ceiling=min(features, len(tokens) - 1),
        cka=xr.DataArray(alike, by_layer, ("layer",), "debiased CKA", unit) if two else None,
        null=xr.DataArray(
            np.array(shifted), by_layer | {"shift": np.arange(1, count) * len(video) / count},
            ("layer", "shift"), "debiased CKA, shifted", unit,
        ) if two else None,
        tokens=tokens,
    )  # fmt: skip


def _over_shifts(a: Tensor, b: Tensor) -> Tensor:
    """The products of `a` with `b` rolled by k along both axes, for every k: a correlation."""
    every = torch.fft.ifft2(torch.fft.fft2(a) * torch.fft.fft2(b).conj()).real
    return every.diagonal()


def scale_free_states(
    trace: Trace, layer: int, direction: str, tokens: Tensor, clip: int = 0
) -> Float[Tensor, "samples features"]:
    """Give the states at some tokens in the measure in which an arbitrary scale drops out.

    B[n] -> c B[n] with C[n] -> C[n] / c leaves the model as it is and multiplies h[n] by c; so
    each is multiplied by how strongly it is read: h[d, n, t] * rms_t(C[t, n]).

    Args:
        trace: As in `state_similarity`.
        layer, direction: Whose states.
        tokens: Natural indices, in any order, (samples,).
        clip: Which clip of the batch.
    Returns:
        One row per token, in the order of `tokens`; d_inner * d_state features, float32.
    Raises:
        KeyError: something needed was not recorded.
        ValueError: no such layer, direction, clip or token, or not one axis of tokens.
    """
    check_clip("scale_free_states", trace, clip)
    trace.ssm(layer, direction)  # raises where there is none
    seqlen = trace.grid.seqlen
    if tokens.ndim != 1 or ((tokens < 0) | (tokens >= seqlen)).any():
        raise ValueError(
            f"scale_free_states: tokens have the shape {tuple(tokens.shape)}, expected one axis of "
            f"indices from 0 to {seqlen - 1}."
        )
    at = f"layers.{layer}.mixer.ssm_{direction}.hook_"
    if f"{at}h" not in trace and f"{at}h_boundaries" not in trace:
        raise _no_states("scale_free_states", f" of layer {layer}, {direction}")
    reading = reading_strength(trace[f"{at}C"][clip].detach().float())
    if f"{at}h" in trace:
        h = trace[f"{at}h"][clip, ..., tokens].detach().float()
    else:
        h = reading.new_empty(trace.config.d_inner, trace.config.d_state, len(tokens))
        for start in range(0, seqlen, BOUNDARY):
            inside = (tokens >= start) & (tokens < start + BOUNDARY)
            if inside.any():
                stop = min(start + BOUNDARY, seqlen)
                window = state_window(trace, layer, direction, start, stop)[clip].detach().float()
                h[..., inside] = window[..., tokens[inside] - start]
    return (h * reading[:, None]).flatten(0, 1).T


def _no_states(call: str, where: str = "") -> UnknownNameError:
    return UnknownNameError(
        f"{call}: no states{where} were recorded. Record them with "
        "names_filter=['*.hook_h', '*.hook_C']."
    )
