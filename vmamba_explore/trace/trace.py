"""A recording of one run: tensors by hook name, labeled arrays by what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn

from vmamba_explore.errors import check_choice, shown
from vmamba_explore.hooks import UnknownNameError, nearest
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.mixer import BidirectionalMixer
from vmamba_explore.model.ssm import SelectiveSSM
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.tokens import TokenGrid
from vmamba_explore.trace.places import scans

_PER_BLOCK = {
    "block_input": "hook_block_input",
    "x": "mixer.hook_x",
    "z": "mixer.hook_z",
    "out": "mixer.hook_out",
}
_NORMS = ("h_over_states", "h_over_channels")
_PER_DIRECTION = ("u", "delta", "B", "C", "A_bar", "write", "h", *_NORMS, "y")
QUANTITIES = (*_PER_BLOCK, *_PER_DIRECTION)
Labels = int | str | Sequence[int] | Sequence[str] | slice | None
"""One label, several, or a slice of them, as xarray's `sel` takes them; None: all."""
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

    @property
    def sources(self) -> tuple[int | str, ...]:
        """Names of the parts of a clip: token frames by number, "cls" where there is one."""
        return (*range(self.grid.frames), *(() if self.grid.cls_index is None else ("cls",)))

    def masks(self, device: torch.device) -> Tensor:
        """Tell which tokens belong to each of `sources`: bool (source, seqlen)."""
        marks = [-1 if name == "cls" else int(name) for name in self.sources]
        return self.grid.frame_of_tokens().to(device) == torch.tensor(marks, device=device)[:, None]

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
        self,
        values: Tensor,
        clip: int = 0,
        name: str = "value",
        dims: Sequence[str] | Mapping[str, Sequence[object]] = (),
        **attrs: object,
    ) -> xr.DataArray:
        """Label values over the tokens of one clip.

        Args:
            values: (*dims, seqlen), natural clip order.
            clip: Which clip of the batch they belong to (for the times).
            name: Name of the quantity, also in `attrs["quantity"]`.
            dims: Names of the axes before the tokens; a mapping has their labels, too.
            attrs: More of these, such as `unit`.
        Returns:
            A float32 copy with dims (*dims, frame, row, col); the class token is left out.
        """
        video, _ = self.grid.split(values.detach())
        return self.frames(video.float(), clip, name, dims, ("frame", "row", "col"), **attrs)

    def frames(
        self,
        values: Tensor,
        clip: int = 0,
        name: str = "value",
        dims: Sequence[str] | Mapping[str, Sequence[object]] = (),
        over: Sequence[str] = ("frame",),
        **attrs: object,
    ) -> xr.DataArray:
        """Label values (*dims, *over) of one clip; `over` starts with its token frames.

        The other arguments are those of `array`.
        """
        copy = np.array(values.detach().cpu().numpy(), order="C")
        labels = {dim: list(dims[dim]) for dim in dims} if isinstance(dims, Mapping) else {}
        coords = labels | self.frame_coords(clip)
        return xr.DataArray(copy, coords, (*dims, *over), name, {"quantity": name, **attrs})


class Trace(Mapping[str, Tensor]):
    """What passed the hook points of a model in one run, always in natural clip order.

    `trace[name]` is the tensor under a hook name; `trace.sel(...)` gives a labeled array. A deep
    copy has its own tensors, cut from the graph, and knows the same model; so does a pickled trace,
    without the model.

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

    def __copy__(self) -> Trace:
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        return new

    def __deepcopy__(self, memo: dict[int, Any]) -> Trace:
        new = memo[id(self)] = self.__copy__()
        new._values = {name: value.detach().clone() for name, value in self.items()}
        return new

    def __getstate__(self) -> dict[str, Any]:
        values = {name: value.detach() for name, value in self.items()}
        return self.__dict__ | {"_values": values, "_model": None, "_weights": []}

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
        return scans(self.model, layer)[0].mixer

    def ssm(self, layer: int, direction: str) -> SelectiveSSM:
        """One direction of a block of the model that ran.

        Raises:
            ValueError: there is no such layer or direction, or `model` raises.
        """
        return scans(self.model, layer, direction)[0].ssm

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
            hint = f" Closest recorded: {shown(nearest(name, self.names))}." if self._values else ""
            raise UnknownNameError(
                f"{shown(name)} was not recorded.{hint} trace.names lists what was."
            )
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        layers, grid = sorted({place[0] for place in self.places()}), self.grid
        return (
            f"Trace of {len(self)} values, {self.nbytes / 2**20:.1f} MiB, layers {layers}, tokens "
            f"{grid.frames} x {grid.rows} x {grid.cols} (frame, row, col), class token "
            f"{grid.cls_position}"
        )

    def sel(
        self,
        layer: Labels = None,
        direction: Labels = None,
        quantity: str | None = None,
        clip: int = 0,
        token: Literal["cls"] | None = None,
        *,
        frame: Labels = None,
        row: Labels = None,
        col: Labels = None,
        channel: Labels = None,
        state: Labels = None,
    ) -> xr.DataArray:
        """Select one quantity as a labeled array; only what is selected is copied.

        Labels are as in xarray: one drops its dim and stays as a scalar coordinate, a list or a
        slice keeps it, None takes all of it. Slices of layer, direction and frame include their
        end; row, col, channel and state are positions.

        Args:
            layer: Block numbers, from 0; None: every recorded block.
            direction: "forward" or "backward"; None: the recorded ones. Not for block_input, x, z
                and out, which have no direction.
            quantity: One of block_input, x, u, z, delta, B, C, A_bar, write, h, h_over_states,
                h_over_channels, y, out. There is no default.
            clip: Which clip of the batch.
            token: None for the video tokens, "cls" for the class token, or for that of every frame.
            frame, row, col: Places of video tokens; `frame` counts token frames.
            channel, state: Of d_inner (or d_model) and of d_state.
        Returns:
            A read-only float32 copy with dims among layer, direction, frame, row, col, channel,
            state, in this order. `frame` counts token frames (one tubelet each) and has the
            coordinates `clip_frame` (the tubelet's first frame) and `seconds` (NaN where the
            clip's times are not known).
        Raises:
            KeyError: the quantity was not recorded there; the message says what was.
            ValueError: no or an unknown quantity, an unknown direction, no class token, or a dim
                that the quantity does not have.
            IndexError: no such frame, row, col, channel or state.
        """
        if quantity is None or quantity not in QUANTITIES:
            missing = "name a quantity" if quantity is None else f"no quantity {shown(quantity)}"
            raise ValueError(
                f"trace.sel: {missing}. This trace has {', '.join(self.quantities) or 'none'}; all "
                f"quantities are {', '.join(QUANTITIES)}. (Boundary states are read by "
                "state_window.)"
            )
        if direction is not None and quantity in _PER_BLOCK:
            raise ValueError(
                f"trace.sel: {shown(quantity)} belongs to both directions; leave direction out."
            )
        named = [direction] if isinstance(direction, str) else direction
        for name in named if isinstance(named, Sequence) else ():
            check_choice("trace.sel: direction", name, ("forward", "backward"))
        if token not in (None, "cls") or (token == "cls" and self.grid.cls_position is None):
            raise ValueError(
                f"trace.sel: token={shown(token)}; this model's class token is "
                f"{shown(self.grid.cls_position)}. Use None for the video tokens, 'cls' for the "
                "class token where there is one."
            )
        given = {"frame": frame, "row": row, "col": col, "channel": channel, "state": state}
        wanted = {dim: _unfrozen(labels) for dim, labels in given.items()}
        layers, directions = self._chosen(quantity, _unfrozen(layer), _unfrozen(direction))
        names = [
            f"layers.{n}.{_hook(quantity, d)}" for n in _listed(layers) for d in _listed(directions)
        ]
        places = self._positions(names[0], clip, token, wanted)
        parts = [self._part(name, clip, places) for name in names]
        values = np.stack(parts).reshape(*layers.shape, *directions.shape, *parts[0].shape)
        values.flags.writeable = False
        dims = (*layers.dims, *directions.dims, *(dim for x in places.values() for dim in x.dims))
        coords: dict[Any, xr.DataArray] = {"layer": layers, "direction": directions}
        if quantity in _PER_BLOCK:
            del coords["direction"]
        coords |= {key: value for x in places.values() for key, value in x.coords.items()}
        return xr.DataArray(values, coords, dims, quantity, {"quantity": quantity})

    @property
    def quantities(self) -> list[str]:
        """The recorded quantities that `sel` takes."""
        return [quantity for quantity in QUANTITIES if self.places(quantity)]

    def _chosen(
        self, quantity: str, layer: Labels, direction: Labels
    ) -> tuple[xr.DataArray, xr.DataArray]:
        """The layers and directions that were asked for, each labeled with itself.

        Raises:
            KeyError: the quantity was not recorded at all of them.
        """
        recorded = self.places(quantity)
        try:
            layers = _selected("layer", sorted({n for n, _ in recorded}), layer)
            here = {d for n, d in recorded if n in layers.values}
            known = [d for d in ("forward", "backward") if d in here]
            directions = xr.DataArray(None)  # of a whole block
            if None not in here:
                directions = _selected("direction", known, direction)
        except KeyError:
            layers = directions = _selected("layer", [], None)
        places = [(n, d) for n in _listed(layers) for d in _listed(directions)]
        if not places:
            raise UnknownNameError(
                f"{shown(quantity)} of layer {layer}, direction {direction} was not recorded; it "
                f"was recorded at {sorted(recorded, key=str) or 'no layer'}. Record it with "
                f"names_filter='*.{_hook(quantity, None).rpartition('.')[2]}'."
            )
        absent = [place for place in places if place not in recorded]
        if absent:
            raise UnknownNameError(
                f"{shown(quantity)} was recorded at {sorted(recorded, key=str)} but not at "
                f"{absent}, so they cannot be stacked. Choose layer= and direction=, or record the "
                "rest."
            )
        return layers, directions

    def _positions(
        self, name: str, clip: int, token: str | None, wanted: dict[str, Labels]
    ) -> dict[str, xr.DataArray]:
        """By dim of a recorded value, the positions that were asked for, labeled."""
        shape = dict(zip(self._axes[name], self[name].shape, strict=True))
        if not 0 <= clip < shape["batch"]:
            raise UnknownNameError(
                f"trace.sel: clip {clip} is outside this batch of {shape['batch']}."
            )
        sizes = dict(zip(("frame", "row", "col"), self.grid.shape, strict=True))
        coords = {"frame": self.labels.frame_coords(clip)}
        if token == "cls":
            every = self.grid.cls_position == "every_frame"
            sizes = {"frame": sizes["frame"]} if every else {}
        sizes |= {_DIMS[axis]: size for axis, size in shape.items() if axis in _DIMS}
        places = {}
        for dim, labels in wanted.items():
            if dim in sizes:
                index = xr.DataArray(np.arange(sizes[dim]), coords.get(dim), (dim,))
                try:
                    places[dim] = index if labels is None else index.sel({dim: labels})
                except (KeyError, IndexError):
                    raise IndexError(
                        f"trace.sel: {dim} is {shown(labels)}, expected some of 0 to "
                        f"{sizes[dim] - 1}."
                    ) from None
            elif labels is not None:
                raise ValueError(
                    f"trace.sel: {dim} is {shown(labels)}, and these values have no {dim}; they "
                    f"have {', '.join(sizes)}."
                )
        return places

    def _part(self, name: str, clip: int, places: dict[str, xr.DataArray]) -> NDArray[np.float32]:
        """The chosen places of one recorded value, tokens first."""
        value, axes = self[name][clip].detach(), list(self._axes[name][1:])
        value = value.movedim(axes.index("seqlen"), 0)
        axes.remove("seqlen")
        # the last axis first, so that the others keep their numbers; nothing else is copied
        for axis, dim in reversed([(n, _DIMS[each]) for n, each in enumerate(axes, start=1)]):
            value = value[(slice(None),) * axis + (_index(places[dim]),)]
        tokens, cls = self.grid.split(torch.arange(self.grid.seqlen))
        if "row" not in places:
            tokens = cast(Tensor, cls)
            tokens = tokens[_index(places["frame"])] if "frame" in places else tokens
        else:
            for axis, dim in enumerate(("col", "row", "frame")):
                tokens = tokens[(slice(None),) * (2 - axis) + (_index(places[dim]),)]
        return value[tokens].float().cpu().numpy()

    def places(self, quantity: str | None = None) -> list[tuple[int, Any]]:
        """List the (layer, direction) of every recorded value, or of those of one quantity."""
        places = []
        for name in self._values:
            _, layer, hook = name.split(".", 2)
            direction = hook.split(".")[1].removeprefix("ssm_") if ".ssm_" in hook else None
            if quantity is None or hook == _hook(quantity, direction):
                places.append((int(layer), direction))
        return places


def _selected(dim: str, labels: Sequence[object], wanted: Labels) -> xr.DataArray:
    """Labels along a dim, those that were asked for, each labeled with itself."""
    array = xr.DataArray(list(labels), {dim: list(labels)}, (dim,))
    return array if wanted is None else array.sel({dim: wanted})


def _unfrozen(labels: Labels) -> Labels:
    """A tuple as a list: xarray takes a tuple for one label."""
    return list(labels) if isinstance(labels, tuple) else labels


def _listed(labels: xr.DataArray) -> list[Any]:
    return labels.values.ravel().tolist()


def _index(places: xr.DataArray) -> int | slice | Tensor:
    """Positions as torch takes them: a slice, which copies nothing, where they are in a row."""
    numbers = places.to_numpy()
    if numbers.ndim == 0:
        return int(numbers)
    if len(numbers) and bool((np.diff(numbers) == 1).all()):
        return slice(int(numbers[0]), int(numbers[-1]) + 1)
    return torch.from_numpy(numbers.copy())  # of a slice that counts down, too


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
