"""What of a run can be stored: quantities by name, the dims they have, and how they are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np

from vmamba_explore.analysis.frame_states import frame_ends
from vmamba_explore.errors import check_choice, shown
from vmamba_explore.hooks import hook_points, nearest, plain
from vmamba_explore.model.ssm import BOUNDARY
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.trace import QUANTITIES as TRACED

Reduction = Literal["none", "mean", "max"]
DType = Literal["float32", "float16"]

READ_OUT: Mapping[str, tuple[str, ...]] = {
    "embedding": ("feature",),
    "frame_features": ("frame", "feature"),
    "logits": ("class",),
}
"""Quantities that the read-out gives, and their dims."""
FRAME_ENDS = "h_boundaries"
"""The state after the last token of each token frame, in the order of its scan."""
PIXELS = "pixels"
"""The mean color of each token's pixels, 0 to 1: what a probe of states must beat."""
GAUGE = (
    "as the model has it; B times c and C / c make the same model with c times the state, so "
    "compare a state with itself, or h times the rms of C"
)
NAMES = (*READ_OUT, FRAME_ENDS, PIXELS, *TRACED)
"""Quantities by name; any other name is that of one hook point."""
DIMS = {"d_model": "feature", "d_inner": "channel", "d_state": "state", "boundary": "boundary"}
"""What a store calls the axes of hook points."""


@dataclass(frozen=True)
class Quantity:
    """One quantity to store, and what to keep of it.

    Args:
        name: One of `NAMES`, whose places are all layers and directions, or a hook point's name
            ("layers.3.hook_block_input"; see `hook_names`), whose place is that one. "delta" is
            the mean over its channels; its hook points have every channel. "pixels" is no value of
            the model, but the mean color of each token's pixels, 0 to 1: a baseline.
        layers: Which layers; None: all.
        frames: Which token frames; None: all.
        patches: Which patches of each of them, (row, col); None: all.
        reduction: What the patches of a token frame become: their "mean", their "max", or "none"
            to keep each.
        dtype: "float32" or "float16".
    Raises:
        ValueError: an unknown reduction or dtype, or an empty choice.
    """

    name: str
    layers: Sequence[int] | None = None
    frames: Sequence[int] | None = None
    patches: Sequence[Sequence[int]] | None = None
    reduction: Reduction = "none"
    dtype: DType = "float32"

    def __post_init__(self) -> None:
        check_choice(f"Quantity {self.name}: reduction", self.reduction, get_args(Reduction))
        check_choice(f"Quantity {self.name}: dtype", self.dtype, get_args(DType))
        for what in ("layers", "frames", "patches"):
            given = getattr(self, what)
            if given is None:
                continue
            chosen = tuple(tuple(map(int, one)) if what == "patches" else int(one) for one in given)
            object.__setattr__(self, what, chosen)
            if not chosen or len(set(chosen)) < len(chosen):
                raise ValueError(
                    f"Quantity {self.name}: {what} is {shown(given)}, expected at least one, each "
                    "once; None takes all."
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON gives them back: lists for tuples, only what was chosen."""
        chosen = {name: value for name, value in asdict(self).items() if value is not None}
        lists = {name: np.array(chosen[name]).tolist() for name in chosen.keys() & _CHOICES}
        return chosen | lists

    @property
    def values(self) -> np.dtype[Any]:
        """The type of the numbers."""
        return np.dtype(self.dtype)


_CHOICES = {"layers", "frames", "patches"}


def quantity(asked: str | Quantity | Mapping[str, Any]) -> Quantity:
    """Read a request: "name", "name:reduction", "name:dtype" or "name:reduction:dtype".

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(asked, Quantity):
        return asked
    if isinstance(asked, Mapping):
        return Quantity(**asked)
    name, *rest = str(asked).strip().split(":")
    fields: dict[str, Any] = {}
    for word in rest:
        which = "dtype" if word in get_args(DType) else "reduction"
        if which in fields or word not in (*get_args(Reduction), *get_args(DType)):
            raise ValueError(
                f"quantity {shown(asked)}: {shown(word)} is not part of a request; expected "
                f"NAME[:REDUCTION][:DTYPE] with a reduction {' or '.join(get_args(Reduction))} and "
                f"a dtype {' or '.join(get_args(DType))}."
            )
        fields[which] = word
    return Quantity(name, **fields)


@dataclass(frozen=True)
class Variable:
    """A quantity of one model: a variable of a store, without the dims video and clip.

    Args:
        quantity: What it is.
        dims: The dims of one clip's values.
        shape: Their lengths.
        labels: By dim, what its places are: layers, directions, token frames, or patches.
        attrs: Gives what its values need to be understood, for the store's reader.
    """

    quantity: Quantity
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    labels: Mapping[str, tuple[Any, ...]]
    attrs: Callable[[], dict[str, Any]] = field(default=dict, compare=False)

    @property
    def name(self) -> str:
        """What the store calls it."""
        return self.quantity.name

    @property
    def nbytes(self) -> int:
        """Bytes of one clip's values."""
        return math.prod(self.shape) * self.quantity.values.itemsize


def variables(
    model: VideoMamba, asked: Iterable[str | Quantity | Mapping[str, Any]]
) -> tuple[Variable, ...]:
    """Say what quantities are of a model.

    Args:
        model: The model.
        asked: What to store.
    Returns:
        The variables, in this order. Their dims are those of `trace.sel`, but for "feature", the
        width of the residual stream ("channel" is that of a scan), and "patch", where patches were
        chosen. A variable that has other layers, frames or patches than an earlier one has a dim of
        its own for them, such as "layer_of_h".
    Raises:
        ValueError: nothing, or the same twice, is asked for; the model has no such quantity, layer,
            frame or patch; or a quantity has none of what is chosen or reduced.
    """
    model = plain(model)
    wanted = [quantity(one) for one in asked]
    names = [one.name for one in wanted]
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"extract: the quantities are {', '.join(names) or 'none'}; expected at least one, "
            "each once."
        )
    return _told_apart([_variable(model, one) for one in wanted])


def _variable(model: VideoMamba, asked: Quantity) -> Variable:
    config, grid = model.config, model.grid
    frames = _inside(asked, "frames", grid.frames)
    layers = _inside(asked, "layers", config.depth)
    labels: dict[str, tuple[Any, ...]]
    if asked.name in READ_OUT:
        if asked.name == "logits":
            model.check_head("extract")
        dims, labels = READ_OUT[asked.name], {"frame": frames}
    elif asked.name == FRAME_ENDS:
        dims = ("layer", "direction", "frame", "channel", "state")
        labels = {"layer": layers, "direction": config.directions, "frame": frames}
    elif asked.name == PIXELS:
        dims = ("frame", *_kept_patches(asked), "color")
        labels = {"frame": frames, "patch": chosen_patches(model, asked)}
    else:
        points = hook_points(model)
        first = next((n for n in points if n.endswith(f".hook_{asked.name}")), asked.name)
        if first not in points:
            near = nearest(asked.name, list(points)) if "." in asked.name else None
            raise ValueError(
                f"extract: there is no quantity {shown(asked.name)}; expected one of "
                f"{', '.join(NAMES)}, or the name of a hook point"
                f"{f', such as {near}' if near else ' (hook_names(model) lists them)'}."
            )
        dims = tuple(DIMS[axis] for axis in points[first].axes[1:] if axis != "seqlen")
        if asked.name == "delta":
            dims = ()
        if "seqlen" in points[first].axes:
            dims = ("frame", *_kept_patches(asked), *dims)
        if first != asked.name:
            dims = ("layer", *(("direction",) if ".ssm_" in first else ()), *dims)
        labels = {"layer": layers, "direction": config.directions, "frame": frames}
        labels["patch"] = chosen_patches(model, asked)
    _refuse_unused(asked, dims)
    labels = {dim: labels[dim] for dim in dims if dim in labels}
    sizes = {
        "class": config.num_classes,
        "feature": config.d_model,
        "channel": config.d_inner,
        "state": config.d_state,
        "color": 3,
        "row": grid.rows,
        "col": grid.cols,
        "boundary": grid.seqlen // BOUNDARY,
    } | {dim: len(places) for dim, places in labels.items()}
    shape = tuple(sizes[dim] for dim in dims)
    return Variable(
        asked, dims, shape, labels, partial(_described, model, asked.name, labels, dims)
    )


def _described(
    model: VideoMamba, name: str, labels: Mapping[str, Sequence[Any]], dims: Sequence[str]
) -> dict[str, Any]:
    """What the values of a quantity need to be understood."""
    found: dict[str, Any] = {}
    if name == FRAME_ENDS:
        found["says"] = "the state after the last token that the scan reads of a token frame"
        ends = {way: frame_ends(model, way)[1].tolist() for way in labels["direction"]}
        found["tokens"] = {
            way: [at[frame] for frame in labels["frame"]] for way, at in ends.items()
        }
    if "state" in dims and name != "C":
        found["scale"] = GAUGE
    return found


def _kept_patches(asked: Quantity) -> tuple[str, ...]:
    """The dims that tell the patches of a token frame apart."""
    if asked.reduction != "none":
        return ()
    return ("row", "col") if asked.patches is None else ("patch",)


def _inside(asked: Quantity, what: str, count: int) -> tuple[int, ...]:
    """The layers or frames that are asked for, of which each exists."""
    chosen = getattr(asked, what)
    if chosen is None:
        return tuple(range(count))
    for number in chosen:
        if not 0 <= number < count:
            raise ValueError(
                f"Quantity {asked.name}: {what} has {number}; this model has 0 to {count - 1}."
            )
    return tuple(chosen)


def chosen_patches(model: VideoMamba, asked: Quantity) -> tuple[tuple[int, int], ...]:
    """The patches of a token frame that a quantity is about, (row, col).

    Raises:
        ValueError: there is no such patch.
    """
    grid = model.grid
    every = tuple((row, col) for row in range(grid.rows) for col in range(grid.cols))
    for patch in asked.patches or ():
        if patch not in every:
            raise ValueError(
                f"Quantity {asked.name}: there is no patch {patch}; this model has rows 0 to "
                f"{grid.rows - 1} and columns 0 to {grid.cols - 1}."
            )
    return every if asked.patches is None else tuple((row, col) for row, col in asked.patches)


def _refuse_unused(asked: Quantity, dims: Sequence[str]) -> None:
    """Raise ValueError where a request chooses among what the quantity does not have."""
    patches = "frame" in dims and asked.name not in (*READ_OUT, FRAME_ENDS)
    has = {"layers": "layer" in dims, "frames": "frame" in dims, "patches": patches}
    unused = [what for what, there in has.items() if not there and getattr(asked, what) is not None]
    if asked.reduction != "none" and not patches:
        unused.append(f"reduction {asked.reduction}")
    if unused:
        raise ValueError(
            f"Quantity {asked.name}: it has no {unused[0].replace('reduction', 'patches for the')}"
            f"{' to choose' if 'reduction' not in unused[0] else ''}; its dims are "
            f"{', '.join(dims)}. Leave that out."
        )


def _told_apart(found: Sequence[Variable]) -> tuple[Variable, ...]:
    """Give variables that have other labels along a dim than an earlier one a dim of their own."""
    known: dict[str, tuple[Any, ...]] = {}
    apart = []
    for one in found:
        called = {
            dim: dim if known.setdefault(dim, places) == places else f"{dim}_of_{one.name}"
            for dim, places in one.labels.items()
        }
        dims = tuple(called.get(dim, dim) for dim in one.dims)
        labels = {called[dim]: places for dim, places in one.labels.items()}
        apart.append(replace(one, dims=dims, labels=labels))
    return tuple(apart)
