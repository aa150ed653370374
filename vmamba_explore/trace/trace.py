"""A recording of one run: tensors by hook name, labeled arrays by what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from vmamba_explore.hooks import UnknownNameError, nearest
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.mixer import BidirectionalMixer
from vmamba_explore.model.ssm import SelectiveSSM
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.tokens import TokenGrid

_PER_BLOCK = {
    "block_input": "hook_block_input",
    "x": "mixer.hook_x",
    "z": "mixer.hook_z",
    "out": "mixer.hook_out",
}
_NORMS = ("h_over_states", "h_over_channels")
_PER_DIRECTION = ("u", "delta", "B", "C", "A_bar", "h", *_NORMS, "y")
QUANTITIES = (*_PER_BLOCK, *_PER_DIRECTION)
_DIMS = {"d_model": "channel", "d_inner": "channel", "d_state": "state"}


@dataclass(frozen=True, eq=False)
class TokenLabels:
    """What the tokens of a recording are: their places, and their times.

    Args:
        grid: Places.
        tubelet_size: Clip frames in one token frame.
        seconds: For each clip the time of every clip frame, seconds; None where not known.
    """

    grid: TokenGrid
    tubelet_size: int
    seconds: Sequence[Sequence[float]] | None = None

    def frame_coords(self, clip: int) -> dict[str, object]:
        """Coordinates of the dim `frame`: its numbers, first clip frames, and seconds (or NaN)."""
        clip_frame = np.arange(self.grid.frames) * self.tubelet_size
        seconds = np.full(self.grid.frames, np.nan)
        if self.seconds is not None:
            seconds = np.asarray(self.seconds[clip], dtype=np.float64)[clip_frame]
        return {
            "frame": np.arange(self.grid.frames),
            "clip_frame": ("frame", clip_frame),
            "seconds": ("frame", seconds),
        }

    def array(
        self, values: Tensor, clip: int = 0, name: str = "value", dims: Sequence[str] = ()
    ) -> xr.DataArray:
        """Label values over the tokens of one clip.

        Args:
            values: (*dims, seqlen), natural clip order.
            clip: Which clip of the batch they belong to (for the times).
            name: Name of the quantity, also in `attrs["quantity"]`.
            dims: Names of the axes before the tokens.
        Returns:
            A float32 copy with dims (*dims, frame, row, col); the class token is left out.
        """
        video, _ = self.grid.split(values.detach())
        copy = np.array(video.float().cpu().numpy(), order="C")
        dims = (*dims, "frame", "row", "col")
        return xr.DataArray(copy, self.frame_coords(clip), dims, name, {"quantity": name})


class Trace(Mapping[str, Tensor]):
    """What passed the hook points of a model in one run, always in natural clip order.

    `trace[name]` is the tensor under a hook name; `trace.sel(...)` gives a labeled array.

    Args:
        values: Recorded tensors by hook name.
        axes: The names of each tensor's axes.
        config: The model's configuration.
        seconds: For each clip the time of every frame, seconds; None where it is not known.
        model: The model that ran. What follows from a trace and the weights (A, D, the
            convolutions) takes them from here, and notices when they have changed since.
    """

    def __init__(
        self,
        values: Mapping[str, Tensor],
        axes: Mapping[str, tuple[str, ...]],
        config: VideoMambaConfig,
        seconds: Sequence[Sequence[float]] | None = None,
        model: VideoMamba | None = None,
    ) -> None:
        self._values = dict(values)
        self._axes = dict(axes)
        self.config = config
        self.grid = config.grid
        self.labels = TokenLabels(config.grid, config.tubelet_size, seconds)
        self._model = model
        self._weights = [] if model is None else _weights_of(model)

    @property
    def seconds(self) -> Sequence[Sequence[float]] | None:
        """For each clip the time of every frame, seconds; None where it is not known."""
        return self.labels.seconds

    def token_array(
        self, values: Tensor, clip: int = 0, name: str = "value", dims: Sequence[str] = ()
    ) -> xr.DataArray:
        """Label values (*dims, seqlen) of one clip; see `TokenLabels.array`."""
        return self.labels.array(values, clip, name, dims)

    @property
    def model(self) -> VideoMamba:
        """The model that ran, its weights as they were.

        Raises:
            ValueError: the model is not known, its weights have changed since, or tokens are being
                dropped from this run.
        """
        if self._model is None:
            raise ValueError("This trace does not know its model; run_with_trace makes one.")
        self._model.check_whole("Trace.model")
        if not all(weight.is_unchanged for weight in self._weights):
            raise ValueError(
                "The model's weights have changed since this trace was recorded, so they do not "
                "belong together; record again with run_with_trace."
            )
        return self._model

    def mixer(self, layer: int) -> BidirectionalMixer:
        """The mixer of block `layer` of the model that ran.

        Raises:
            ValueError: there is no such layer, or `model` raises.
        """
        layers = self.model.layers
        if not 0 <= layer < len(layers):
            raise ValueError(f"There is no layer {layer}; the model has 0 to {len(layers) - 1}.")
        return cast(BidirectionalMixer, layers[layer].mixer)

    def ssm(self, layer: int, direction: str) -> SelectiveSSM:
        """One direction of a block of the model that ran.

        Raises:
            ValueError: there is no such layer or direction, or `model` raises.
        """
        mixer = self.mixer(layer)
        if direction not in mixer.directions:
            raise ValueError(
                f"This model has no direction {direction!r}; expected "
                f"{' or '.join(map(repr, mixer.directions))}."
            )
        return mixer.directions[direction]

    @property
    def names(self) -> list[str]:
        """The recorded hook names, from input to output."""
        return list(self._values)

    @property
    def nbytes(self) -> int:
        """Bytes of all recorded values."""
        return sum(value.numel() * value.element_size() for value in self._values.values())

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._values:
            hint = f" Closest recorded: {nearest(name, self.names)!r}." if self._values else ""
            raise UnknownNameError(f"{name!r} was not recorded.{hint} trace.names lists what was.")
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        layers, grid = sorted({place[0] for place in self._places()}), self.grid
        return (
            f"Trace of {len(self)} values, {self.nbytes / 2**20:.1f} MiB, layers {layers}, tokens "
            f"{grid.frames} x {grid.rows} x {grid.cols} (frame, row, col), class token "
            f"{grid.cls_position}"
        )

    def sel(
        self,
        layer: int | None = None,
        direction: str | None = None,
        quantity: str = "delta",
        clip: int = 0,
        token: Literal["cls"] | None = None,
    ) -> xr.DataArray:
        """Take one quantity as a labeled array.

        Args:
            layer: Block number, from 0; None stacks every recorded block on a dim `layer`.
            direction: "forward" or "backward"; None stacks the recorded ones on a dim
                `direction`. Not for block_input, x, z and out, which have no direction.
            quantity: One of block_input, x, u, z, delta, B, C, A_bar, h, h_over_states,
                h_over_channels, y, out.
            clip: Which clip of the batch.
            token: None for the video tokens, "cls" for the class token.
        Returns:
            A read-only float32 copy with dims among layer, direction, frame, row, col, channel,
            state, in this order. `frame` counts token frames (one tubelet each) and has the
            coordinates `clip_frame` (the tubelet's first frame) and `seconds` (NaN where the
            clip's times are not known). A chosen layer or direction stays as a scalar coordinate.
        Raises:
            KeyError: the quantity was not recorded there; the message says what was.
            ValueError: an unknown quantity or direction, or no class token.
        """
        if quantity not in QUANTITIES:
            raise ValueError(
                f"trace.sel: no quantity {quantity!r}. Quantities: {', '.join(QUANTITIES)}. "
                "(Boundary states are read by state_window.)"
            )
        if direction not in (None, "forward", "backward"):
            raise ValueError(
                f"trace.sel: direction must be 'forward', 'backward' or None, got {direction!r}."
            )
        if direction is not None and quantity in _PER_BLOCK:
            raise ValueError(
                f"trace.sel: {quantity!r} belongs to both directions; leave direction out."
            )
        if token not in (None, "cls") or (token == "cls" and self.grid.cls_index is None):
            raise ValueError(
                f"trace.sel: token={token!r}; this model's class token is "
                f"{self.grid.cls_position!r}. Use None for the video tokens, 'cls' for the "
                "class token where there is one."
            )
        places = [
            place
            for place in self._places(quantity)
            if layer in (None, place[0]) and direction in (None, place[1])
        ]
        if not places:
            recorded = sorted({(n, d) for n, d in self._places(quantity)}, key=str)
            raise UnknownNameError(
                f"{quantity!r} of layer {layer}, direction {direction} was not recorded; it was "
                f"recorded at {recorded or 'no layer'}. Record it with names_filter="
                f"'*.{_hook(quantity, None).rpartition('.')[2]}'."
            )
        layers = sorted({place[0] for place in places})
        directions = [d for d in ("forward", "backward", None) if d in {p[1] for p in places}]
        absent = [(n, d) for n in layers for d in directions if (n, d) not in places]
        if absent:
            raise UnknownNameError(
                f"{quantity!r} was recorded at {sorted(places, key=str)} but not at {absent}, so "
                "they cannot be stacked. Choose layer= and direction=, or record the rest."
            )
        rows = []
        for n in layers:
            found = [self._array(n, d, quantity, clip, token) for d in directions]
            rows.append(found[0] if len(found) == 1 else xr.concat(found, "direction"))
        array = rows[0] if layer is not None else xr.concat(rows, "layer")
        if direction is None and "direction" not in array.dims and directions != [None]:
            array = array.expand_dims("direction", axis=int(layer is None))
        array = array.assign_coords(layer=layers if layer is None else layer)
        if directions != [None]:
            stacked = "direction" in array.dims
            array = array.assign_coords(direction=directions if stacked else direction)
        array.values.flags.writeable = False
        return array

    def _array(
        self, layer: int, direction: str | None, quantity: str, clip: int, token: str | None
    ) -> xr.DataArray:
        name = f"layers.{layer}.{_hook(quantity, direction)}"
        value, axes = self[name], self._axes[name]
        if not 0 <= clip < value.shape[0]:
            raise UnknownNameError(
                f"trace.sel: clip {clip} is outside this batch of {value.shape[0]}."
            )
        video, cls = self.grid.split(value[clip].detach().float(), axes.index("seqlen") - 1)
        dims = [_DIMS[axis] for axis in axes if axis in _DIMS]
        coords: dict[str, object] = {}
        if token == "cls":
            assert cls is not None
            values = cls
        else:
            place = axes.index("seqlen") - 1
            values = video.movedim((place, place + 1, place + 2), (0, 1, 2))
            dims = ["frame", "row", "col", *dims]
            coords = self.labels.frame_coords(clip)
        # a copy: the recording stays as it was, whatever is done to the array
        copy = np.array(values.cpu().numpy(), order="C")
        return xr.DataArray(copy, coords, dims, name=quantity, attrs={"quantity": quantity})

    def _places(self, quantity: str | None = None) -> list[tuple[int, str | None]]:
        """(layer, direction) of every recorded value, or of those of one quantity."""
        places = []
        for name in self._values:
            _, layer, hook = name.split(".", 2)
            direction = hook.split(".")[1].removeprefix("ssm_") if ".ssm_" in hook else None
            if quantity is None or hook == _hook(quantity, direction):
                places.append((int(layer), direction))
        return places


def _hook(quantity: str, direction: str | None) -> str:
    """The hook point of a quantity, below `layers.{n}.`."""
    if quantity in _PER_BLOCK:
        return _PER_BLOCK[quantity]
    return f"mixer.ssm_{direction}.hook_{quantity}"


class _Weight(NamedTuple):
    """A weight as it was: writing into it, moving, casting or replacing it changes one of these.

    Writing through `.data` is the one way that leaves no trace.
    """

    holder: dict[str, nn.Parameter | None]  # the module's own, to look without a walk
    key: str
    value: nn.Parameter
    version: int | None
    address: int
    dtype: torch.dtype

    @property
    def is_unchanged(self) -> bool:
        now = self.value
        return (
            self.holder.get(self.key) is now
            and self.version == _version(now)
            and self.address == now.data_ptr()
            and self.dtype == now.dtype
        )


def _version(weight: Tensor) -> int | None:
    return None if weight.is_inference() else weight._version


def _weights_of(model: nn.Module) -> list[_Weight]:
    return [
        _Weight(module._parameters, key, value, _version(value), value.data_ptr(), value.dtype)
        for module in model.modules()
        for key, value in module._parameters.items()
        if value is not None
    ]
