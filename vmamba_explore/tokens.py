"""Where a clip's tokens stand: index <-> (frame, row, col), class token, scan orders."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from vmamba_explore.errors import shown

BackwardOrder = Literal["spatiotemporal", "spatial", "temporal"]
ClsPosition = Literal["front", "middle"]
BACKWARD_ORDERS: tuple[str, ...] = get_args(BackwardOrder)


@dataclass(frozen=True)
class TokenGrid:
    """The token sequence of a clip in natural order: time-major, then rows, then columns.

    Args:
        frames: Token frames (tubelets along time), `num_frames // tubelet_size`.
        rows: Patches from top to bottom.
        cols: Patches from left to right.
        cls_position: Place of the class token in the sequence: "front", "middle" or None.
    Raises:
        ValueError: a side is below 1.
    Source:
        Park et al. 2024, arXiv:2407.08476, section 3; class token in the middle: Zhu et al. 2024,
        arXiv:2401.09417.
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
        """Tokens in the sequence, the class token included."""
        return self.num_patches + (self.cls_position is not None)

    @property
    def cls_index(self) -> int | None:
        """The class token's place in the natural sequence, None without one."""
        if self.cls_position is None:
            return None
        return 0 if self.cls_position == "front" else self.num_patches // 2

    def index(self, frame: int, row: int, col: int) -> int:
        """The place in the natural sequence of the token at (frame, row, col)."""
        for name, value, size in zip(
            ("frame", "row", "col"), (frame, row, col), self.shape, strict=True
        ):
            if not 0 <= value < size:
                raise IndexError(
                    f"TokenGrid.index: {name} {value} is outside 0..{size - 1} of this grid."
                )
        place = (frame * self.rows + row) * self.cols + col
        return place + (self.cls_index is not None and place >= self.cls_index)

    def position(self, index: int) -> tuple[int, int, int] | None:
        """(frame, row, col) of the token at `index`, None for the class token."""
        if not 0 <= index < self.seqlen:
            raise IndexError(
                f"TokenGrid.position: index {index} is outside 0..{self.seqlen - 1} of this grid."
            )
        if index == self.cls_index:
            return None
        place = index - (self.cls_index is not None and index > self.cls_index)
        return (
            place // (self.rows * self.cols),
            place // self.cols % self.rows,
            place % self.cols,
        )

    def insert_cls(self, tokens: Tensor, cls_token: Tensor) -> Tensor:
        """Put `cls_token` (batch, 1, d_model) into `tokens` (batch, num_patches, d_model)."""
        if self.cls_index is None:
            return tokens
        before, after = tokens[:, : self.cls_index], tokens[:, self.cls_index :]
        return torch.cat([before, cls_token, after], dim=1)

    def split(self, values: Tensor, dim: int = -1) -> tuple[Tensor, Tensor | None]:
        """Separate the class token from the video tokens and give these their three axes.

        Args:
            values: Any tensor whose axis `dim` has length `seqlen`.
            dim: The token axis.
        Returns:
            The video tokens, `dim` replaced by (frame, row, col), and the class token's slice
            (`dim` dropped) or None without one.
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
        if self.cls_index is None:
            return values.unflatten(dim, self.shape), None
        before = values.narrow(dim, 0, self.cls_index)
        after = values.narrow(dim, self.cls_index + 1, self.seqlen - self.cls_index - 1)
        video = after if self.cls_index == 0 else torch.cat([before, after], dim)
        return video.unflatten(dim, self.shape), values.select(dim, self.cls_index)

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
        """The token frame of every token in natural order, -1 for the class token: (seqlen,)."""
        frame = torch.arange(self.frames).repeat_interleave(self.rows * self.cols)
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
            ValueError: an unknown order, or a middle class token with `spatial` or `temporal`.
        Source:
            Park et al. 2024, arXiv:2407.08476, section 4.4 (run there without a class token).
        """
        if order not in BACKWARD_ORDERS:
            raise ValueError(
                f"backward_order must be one of {', '.join(BACKWARD_ORDERS)}, got {shown(order)}."
            )
        if order == "spatiotemporal":
            return torch.arange(self.seqlen).flip(0)
        if self.cls_position == "middle":
            raise ValueError(
                f"backward_order={shown(order)} is not defined with a class token in the middle; "
                "use 'spatiotemporal', or cls_position='front' or None."
            )
        offset = int(self.cls_position == "front")
        video = torch.arange(offset, self.seqlen).view(self.frames, self.rows * self.cols)
        video = video.flip(1 if order == "spatial" else 0).flatten()
        return torch.cat([video, torch.zeros(offset, dtype=torch.long)])
