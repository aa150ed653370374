"""Where a logit comes from, in one sentence: which frame, which scan, which patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vmamba_explore.analysis.controls import percent
from vmamba_explore.analysis.logits import LogitParts

__all__ = ["Decisive", "decisive"]

CLEAR = 2.0
"""A part is named where it has so many times its share of an even spread, and `LEAST` of all."""
LEAST = 0.25
EXACT = 1e-3
"""The largest residual with which parts are said to be parts of the logit."""


@dataclass(frozen=True)
class Decisive:
    """Where the positive parts of a logit stand, as far as they are concentrated.

    Shares are of what adds to the logit: all positive parts, those of tokens, of the class token
    and of biases.

    Attributes:
        target: What the logit is of, such as "right - left".
        frame: The token frame that holds most.
        frames: First and last token frame: the fewest that hold half, or else that one alone.
        frames_share: Their share of all.
        frames_clear: Whether that is twice an even share at least.
        scan: The layer and the direction that hold most in these frames; in all, unless clear.
        scan_share: Their share of what stands there.
        scan_clear: Whether that is a quarter and twice an even share at least.
        patch: Row and column of the middle of the 3 x 3 patches that hold most in these frames and
            this scan; None where that is not clear.
        patch_share: Their share of what stands there.
        added: Sum of all positive parts, logits.
        logit: What the model gave, logits.
        residual: How far the sum of all parts is from the logit, relative to it.
    """

    target: str
    frame: int
    frames: tuple[int, int]
    frames_share: float
    frames_clear: bool
    scan: tuple[int, str]
    scan_share: float
    scan_clear: bool
    patch: tuple[int, int] | None
    patch_share: float
    added: float
    logit: float
    residual: float

    @property
    def told(self) -> bool:
        """Whether there is anything to tell: the parts sum to the logit, and some add to it."""
        return self.residual <= EXACT and self.added > 0

    @property
    def sentence(self) -> str:
        """One sentence; what is not clear is left out."""
        if self.residual > EXACT:
            return (
                f"What adds to {self.target} cannot be told: the parts miss the logit by "
                f"{percent(self.residual)}."
            )
        if self.added <= 0:
            return f"Nothing adds to {self.target}: every part of its logit is negative."
        first, last = self.frames
        when = f"token frame {first}" if first == last else f"token frames {first} to {last}"
        words = []
        if self.frames_clear:
            verb = "Decided at" if self.frames_share >= 0.5 else "Leans most on"
            share = f"{percent(self.frames_share)} of what adds to {self.target}"
            words.append(f"{verb} {when} ({share})")
        else:
            words.append(f"What adds to {self.target} is spread over the clip")
        if self.scan_clear:
            layer, direction = self.scan
            part = "most of it" if self.scan_share >= 0.5 else "the largest part"
            words.append(f"{part} in layer {layer}, {direction} ({percent(self.scan_share)})")
        if self.patch is not None:
            row, col = self.patch
            share = percent(self.patch_share)
            words.append(f"around row {row}, column {col} ({share} of that)")
        return f"{', '.join(words)}."

    @property
    def hedge(self) -> str:
        """What the sentence rests on, and what it does not see."""
        return (
            f"All parts sum to the logit, {self.logit:.2f}, but for {self.residual:.1g} of it. A "
            "part is what a token of a layer's input adds to the logit directly: in later layers "
            "a token also holds what others brought to it, and delta, B and C are frozen."
        )


def decisive(parts: LogitParts, target: str, clip: int = 0) -> Decisive:
    """Find where the positive parts of a logit stand.

    Args:
        parts: The logit's parts.
        target: What the logit is of, for the sentence.
        clip: Which clip of the batch.
    """
    grid = parts.labels.grid
    tokens, embedding, offset, bias = (
        part[clip].detach().double().cpu().clamp_min(0)
        for part in (parts.tokens, parts.embedding, parts.offset, parts.bias)
    )
    added = float(tokens.sum() + embedding.sum() + offset.sum() + bias.sum())
    scans = grid.split(tokens)[0].numpy()  # layer, direction, frame, row, col
    by_frame = grid.by_frame(tokens.sum((0, 1)) + embedding).numpy()
    frames, frames_share, frames_clear = _frames(_shares(by_frame, added))
    here = slice(frames[0], frames[1] + 1) if frames_clear else slice(None)
    by_scan = scans[:, :, here].sum((2, 3, 4))
    layer, direction = (int(n) for n in np.unravel_index(by_scan.argmax(), by_scan.shape))
    shares = _shares(by_scan, float(by_frame[here].sum()) if frames_clear else added)
    scan_share = float(shares[layer, direction])
    scan_clear = _is_clear(scan_share, shares.size)
    patch, patch_share = None, 0.0
    if frames_clear and scan_clear:
        patch, patch_share = _patch(scans[layer, direction, here].sum(0))
    return Decisive(
        target=target,
        frame=int(by_frame.argmax()),
        frames=frames,
        frames_share=frames_share,
        frames_clear=frames_clear,
        scan=(layer, parts.directions[direction]),
        scan_share=scan_share,
        scan_clear=scan_clear,
        patch=patch,
        patch_share=patch_share,
        added=added,
        logit=float(parts.logit[clip]),
        residual=parts.residual,
    )


def _shares(values: NDArray[np.float64], whole: float) -> NDArray[np.float64]:
    return values / whole if whole > 0 else np.zeros_like(values)


def _is_clear(share: float, among: float | int) -> bool:
    """Whether a share is a quarter, and twice what one among so many has on average."""
    return share >= max(LEAST, CLEAR / among)


def _frames(shares: NDArray[np.float64]) -> tuple[tuple[int, int], float, bool]:
    """The shortest run of frames with half of all, else the frame with most; is it clear?"""
    count = len(shares)
    sums = np.concatenate([[0.0], shares.cumsum()])
    for length in range(1, count):
        runs = sums[length:] - sums[:-length]
        first, share = int(runs.argmax()), float(runs.max())
        if share >= 0.5:
            if _is_clear(share, count / length):
                return (first, first + length - 1), share, True
            break
    best = int(shares.argmax())
    return (best, best), float(shares[best]), _is_clear(float(shares[best]), count)


def _patch(plane: NDArray[np.float64]) -> tuple[tuple[int, int] | None, float]:
    """The middle of the 3 x 3 patches that hold half and more, where that is clear."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(plane, 1), (3, 3)).sum((2, 3))
    best = np.lexsort((plane.ravel(), windows.ravel()))[-1]  # of equal ones that around the peak
    row, col = (int(n) for n in np.unravel_index(best, plane.shape))
    share = float(windows[row, col] / plane.sum())
    clear = share >= 0.5 and _is_clear(share, plane.size / 9)
    return ((row, col), share) if clear else (None, 0.0)
