"""Where a clip's tokens stand: index <-> (frame, row, col), class token, scan orders."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from vmamba_explore.errors import shown

BackwardOrder = Literal["spatiotemporal", "spatial", "temporal"]
ClsPosition = Literal["front", "middle", "every_frame"]
BACKWARD_ORDERS: tuple[str, ...] = get_args(BackwardOrder)


@dataclass(frozen=True)
class TokenGrid:
    """The token sequence of a clip in natural order: time-major, then rows, then columns.

    Args:
        frames: Token frames (tubelets along time), `num_frames // tubelet_size`.
        rows: Patches from top to bottom.
        cols: Patches from left to right.
        cls_position: Place of the class token in the sequence: "front", "middle", or "every_frame",
            one in the middle of each token frame, which belongs to that frame; None without one.
    Raises:
        ValueError: a side is below 1.
    Source:
        Park et al. 2024, arXiv:2407.08476, section 3; class token in the middle: Zhu et al. 2024,
        arXiv:2401.09417; in the middle of every frame: Chen et al. 2024, arXiv:2403.09626.
    """

    frames: int
    rows: int
    cols: int
    cls_position: ClsPosition | None = "front"

    def __post_init__(self) -> None:
        if min(self.frames, self.rows, self.cols) < 1:
            raise ValueError(
                f"TokenGrid: every side must be at least 1, got frames={self.frames}, "
                f"rows={self.rows}, cols={self.cols}."
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(frames, rows, cols)."""
        return self.frames, self.rows, self.cols

    @property
    def num_patches(self) -> int:
        """Video tokens, the class token not counted."""
        return math.prod(self.shape)

    @property
    def seqlen(self) -> int:
        """Tokens in the sequence, class tokens included."""
        cls_tokens = self.frames if self.cls_position == "every_frame" else 1
        return self.num_patches + (0 if self.cls_position is None else cls_tokens)

    @property
    def tokens_per_frame(self) -> int:
        """Tokens that belong to one token frame."""
        return self.rows * self.cols + (self.cls_position == "every_frame")

    @property
    def cls_indices(self) -> tuple[int, ...]:
        """The places of all class tokens in the natural sequence."""
        if self.cls_position == "every_frame":
            patches = self.rows * self.cols
            return tuple(n * (patches + 1) + patches // 2 for n in range(self.frames))
        if self.cls_position is None:
            return ()
        return (0 if self.cls_position == "front" else self.num_patches // 2,)

    @property
    def cls_index(self) -> int | None:
        """The place of the one class token that belongs to no frame, None without such a one."""
        one = self.cls_position in ("front", "middle")
        return self.cls_indices[0] if one else None

    def index(self, frame: int, row: int, col: int) -> int:
        """The place in the natural sequence of the token at (frame, row, col)."""
        for name, value, size in zip(
            ("frame", "row", "col"), (frame, row, col), self.shape, strict=True
        ):
            if not 0 <= value < size:
                raise IndexError(
                    f"TokenGrid.index: {name} {value} is outside 0..{size - 1} of this grid."
                )
        return int(self._video[(frame * self.rows + row) * self.cols + col])

    def position(self, index: int) -> tuple[int, int, int] | None:
        """(frame, row, col) of the token at `index`, None for a class token."""
        if not 0 <= index < self.seqlen:
            raise IndexError(
                f"TokenGrid.position: index {index} is outside 0..{self.seqlen - 1} of this grid."
            )
        if index in self.cls_indices:
            return None
        place = index - sum(cls < index for cls in self.cls_indices)
        return (
            place // (self.rows * self.cols),
            place // self.cols % self.rows,
            place % self.cols,
        )

    def insert_cls(self, tokens: Tensor, cls_token: Tensor) -> Tensor:
        """Put class tokens into `tokens` (batch, num_patches, d_model).

        Args:
            tokens: The video tokens.
            cls_token: (batch, 1, d_model), for every class token, or one for each.
        """
        if self.cls_position is None:
            return tokens
        if self.cls_position == "every_frame":
            frames, half = tokens.unflatten(1, (self.frames, -1)), self.rows * self.cols // 2
            cls = cls_token.expand(-1, self.frames, -1).unsqueeze(2)
            return torch.cat([frames[:, :, :half], cls, frames[:, :, half:]], dim=2).flatten(1, 2)
        (index,) = self.cls_indices
        return torch.cat([tokens[:, :index], cls_token, tokens[:, index:]], dim=1)

    def split(self, values: Tensor, dim: int = -1) -> tuple[Tensor, Tensor | None]:
        """Separate class tokens from the video tokens and give these their three axes.

        Args:
            values: Any tensor whose axis `dim` has length `seqlen`.
            dim: The token axis.
        Returns:
            The video tokens, `dim` replaced by (frame, row, col); and the class token's slice
            (`dim` dropped), those of all frames (`dim` replaced by frame), or None without one.
        Raises:
            ValueError: axis `dim` is not `seqlen` long.
        """
        dim = dim % values.ndim
        if values.shape[dim] != self.seqlen:
            raise ValueError(
                f"TokenGrid.split: axis {dim} has {values.shape[dim]} tokens, the grid has "
                f"{self.seqlen} ({self.frames} x {self.rows} x {self.cols}, class token "
                f"{self.cls_position})."
            )
        if self.cls_position is None:
            return values.unflatten(dim, self.shape), None
        if self.cls_index is None:
            frames = values.unflatten(dim, (self.frames, -1))
            half, patches = self.rows * self.cols // 2, self.rows * self.cols
            parts = (
                frames.narrow(dim + 1, 0, half),
                frames.narrow(dim + 1, half + 1, patches - half),
            )
            video = torch.cat(parts, dim + 1).unflatten(dim + 1, (self.rows, self.cols))
            return video, frames.select(dim + 1, half)
        before = values.narrow(dim, 0, self.cls_index)
        after = values.narrow(dim, self.cls_index + 1, self.seqlen - self.cls_index - 1)
        video = after if self.cls_index == 0 else torch.cat([before, after], dim)
        return video.unflatten(dim, self.shape), values.select(dim, self.cls_index)

    def by_frame(self, values: Tensor) -> Tensor:
        """Sum over the tokens of each frame, a class token that belongs to it among them.

        Args:
            values: (..., seqlen).
        Returns:
            (..., frame).
        """
        video, cls = self.split(values)
        frames = video.sum((-2, -1))
        return frames + cls if self.cls_position == "every_frame" and cls is not None else frames

    @property
    def video_tokens(self) -> Tensor:
        """The natural indices of all video tokens, int64 (num_patches,)."""
        return self._video

    @cached_property
    def _video(self) -> Tensor:
        video = torch.ones(self.seqlen, dtype=torch.bool)
        video[list(self.cls_indices)] = False
        return video.nonzero()[:, 0]

    def checked(self, tokens: int | Iterable[int] | Tensor, call: str) -> Tensor:
        """Natural indices as an int64 tensor, sorted, each once.

        Args:
            tokens: One or several, whole numbers.
            call: Begins the message of an error.
        Raises:
            ValueError: one is out of range, or they are no whole numbers (such as a mask).
        """
        if not isinstance(tokens, Tensor):
            tokens = torch.as_tensor(list(tokens) if isinstance(tokens, Iterable) else tokens)
        chosen = tokens.detach().cpu().reshape(-1)
        if chosen.numel() and (chosen.dtype == torch.bool or chosen.is_floating_point()):
            raise ValueError(
                f"{call}: tokens are {chosen.dtype}, expected natural indices, whole numbers; "
                "mask.nonzero()[:, 0] turns a mask into them."
            )
        chosen = chosen.long().unique()
        for token in chosen[(chosen < 0) | (chosen >= self.seqlen)].tolist():
            raise ValueError(
                f"{call}: there is no token {token}; there are {self.seqlen}, 0 to "
                f"{self.seqlen - 1}. grid.index(frame, row, col) gives the index of a place."
            )
        return chosen

    def frame_of_tokens(self) -> Tensor:
        """The token frame of every token in natural order, -1 for a class token of the whole clip:
        (seqlen,)."""
        frame = torch.arange(self.frames).repeat_interleave(self.tokens_per_frame)
        if self.cls_index is None:
            return frame
        cls = torch.tensor([-1])
        return torch.cat([frame[: self.cls_index], cls, frame[self.cls_index :]])

    def backward_indices(self, order: BackwardOrder) -> Tensor:
        """The natural indices in the order in which the backward scan reads them.

        `spatiotemporal` reverses the whole list, `spatial` reverses the tokens inside each frame,
        `temporal` reverses the frames. A front class token is read last in every order.

        Returns:
            int64 (seqlen,): entry i is the natural index of the i-th token read.
        Raises:
            ValueError: an unknown order, or a class token that is not in front with `spatial` or
                `temporal`.
        Source:
            Park et al. 2024, arXiv:2407.08476, section 4.4 (run there without a class token).
        """
        if order not in BACKWARD_ORDERS:
            raise ValueError(
                f"backward_order must be one of {', '.join(BACKWARD_ORDERS)}, got {shown(order)}."
            )
        if order == "spatiotemporal":
            return torch.arange(self.seqlen).flip(0)
        if self.cls_position in ("middle", "every_frame"):
            raise ValueError(
                f"backward_order={shown(order)} is not defined with a class token in the middle; "
                "use 'spatiotemporal', or cls_position='front' or None."
            )
        offset = int(self.cls_position == "front")
        video = torch.arange(offset, self.seqlen).view(self.frames, self.rows * self.cols)
        video = video.flip(1 if order == "spatial" else 0).flatten()
        return torch.cat([video, torch.zeros(offset, dtype=torch.long)])
