"""What a checkpoint file holds, whether it loads, and by which call: nothing in it is run."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from torch import Tensor

from vmamba_explore.errors import few, one_line, shown
from vmamba_explore.model.checkpoints import Layout, load_model, located
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.families import as_classifier
from vmamba_explore.model.own_format import FILES
from vmamba_explore.model.published import WRAPPERS, unwrapped
from vmamba_explore.model.tensor_files import CheckpointError, read_tensors

LINES = 200
"""The most lines of tensors that are shown."""


@dataclass(frozen=True)
class TensorFit:
    """One tensor of a checkpoint, or one that it should have.

    Args:
        name: As the file has it, without what a wrapper put before all names; of a missing one, as
            the file of a classifier would have it.
        shape: Its shape; None where the file lacks it.
        dtype: Its type, such as "float32"; "" where the file lacks it.
        verdict: "fits"; "not used", such as the texts' side of a text–video checkpoint; why it
            does not fit: "missing", "left over", "is ..., expected ..."; "" where nothing is known
            that it could be compared with.
    """

    name: str
    shape: tuple[int, ...] | None
    dtype: str
    verdict: str


@dataclass(frozen=True)
class Checkup:
    """What `check_checkpoint` found; `print` shows it, `bool` is whether the checkpoint loads.

    Args:
        path: The file or folder.
        size: Bytes of the file with the tensors; 0 where there is none.
        beside: What lies in the file beside the tensors.
        config: Its configuration; None where it could not be read.
        tensors: Every tensor, and those that are missing.
        calls: What loads it, each with the kind of model that it then is. Of several the tensors do
            not tell which is right.
        problem: Why it does not load, one sentence; "" where it does.
        nearest: The kind of model that a checkpoint that does not load is nearest to; "" where it
            is not known.
        doubt: Why it does not load without `layout=`, one sentence; "" where it does.
    """

    path: str
    size: int
    beside: tuple[str, ...]
    config: VideoMambaConfig | None
    tensors: tuple[TensorFit, ...]
    calls: Mapping[str, str]
    problem: str
    nearest: str = ""
    doubt: str = ""

    def __bool__(self) -> bool:
        return not self.problem

    def __str__(self) -> str:
        return f"{self.details}\n{self.verdict}"

    @property
    def details(self) -> str:
        """What the checkpoint holds, tensor by tensor; those alike in several layers share a line.

        At most `LINES` lines of tensors.
        """
        size = f"  {self.size / 1e6:,.1f} MB" if self.size else ""
        lines = [f"{one_line(self.path)}{size}"]
        if self.beside:
            lines.append(f"beside the tensors: {few(self.beside, 10)}")
        if self.family:
            lines.append(f"family: {self.family}")
        if self.config is not None:
            lines.append(f"sizes: {_sizes(self.config)}")
        if self.tensors:
            lines += [_summary(self.tensors), *_rows(self.tensors)]
        return "\n".join(lines)

    @property
    def family(self) -> str:
        """The kind of model, all that it may be; "" where it is not known."""
        return " or ".join(dict.fromkeys(self.calls.values())) or self.nearest

    @property
    def verdict(self) -> str:
        """Why it does not load, or the call that loads it."""
        if self.problem:
            return f"does not load: {self.problem}"
        if len(self.calls) == 1:
            return f"loads: {next(iter(self.calls))}"
        ways = "\n".join(f"  {call}  {family}" for call, family in self.calls.items())
        return (
            f"loads in {len(self.calls)} ways, and its tensors do not tell which is right:\n{ways}"
            + (f"\nwithout layout=: {self.doubt}" if self.doubt else "")
        )


def check_checkpoint(what: str | Path, *, layout: Layout | None = None) -> Checkup:
    """Say what a checkpoint is, which of its tensors fit, and which call loads it.

    Every call that is named has been tried. Nothing in the file is run: pickles give tensors and
    plain values only, as for `load_model`.

    Args:
        what: As for `load_model`; what is on the Hub is downloaded.
        layout: As for `load_model`; None tries all of them where it is needed.
    Raises:
        OSError: a file cannot be read now.
    """
    try:
        path, published = located(what)
    except CheckpointError as error:
        return Checkup(str(what), 0, (), None, (), {}, str(error))
    weights = path / FILES[1] if path.is_dir() else path
    size = weights.stat().st_size if weights.is_file() else 0
    held, beside = _held(weights)
    layouts: tuple[Layout | None, ...] = (layout,)
    if layout is None and published is None and not path.is_dir():
        layouts = (None, *get_args(Layout))
    configs: dict[Layout | None, VideoMambaConfig] = {}
    refusals: list[CheckpointError] = []
    for one in layouts:
        try:
            config = load_model(what, layout=one).config
        except CheckpointError as error:
            refusals.append(error)
        else:
            if config not in configs.values():
                configs[one] = config
    if configs:
        calls = {_call(what, one): family_of(config, path) for one, config in configs.items()}
        config = next(iter(configs.values()))
        doubt = "" if layouts[0] in configs else str(refusals[0])
        return Checkup(str(path), size, beside, config, _fits(held, None), calls, "", doubt=doubt)
    nearest = min(refusals, key=lambda one: len(one.misfits) if one.config else math.inf)
    family = () if nearest.config is None else (family_of(nearest.config, path),)
    return Checkup(
        str(path), size, beside, nearest.config, _fits(held, nearest), {}, str(nearest), *family
    )


def family_of(config: VideoMambaConfig, path: Path) -> str:
    """Name the kind of model that a configuration describes, read from a file or folder."""
    if path.is_dir() or config.pos_embed not in ("spatial", "spatial_temporal"):
        return "a model of this package, in its own format"
    clips = config.pos_embed == "spatial_temporal"
    family = {"front": "OpenGVLab's VideoMamba", "middle": "Vim"}.get(
        config.cls_position or "", "ViViM"
    )
    if config.scan_variant == "videomambapro":
        family = "VideoMambaPro"
    head = "" if config.num_classes else ", no head"
    return f"{family} ({'clips' if clips else 'images'}{head})"


def _held(weights: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors of a file and what lies beside them; nothing of an unreadable one."""
    try:
        found = read_tensors(weights)
        tensors = unwrapped(found, "check_checkpoint")
    except (CheckpointError, FileNotFoundError):
        return {}, ()
    wrapped = any(key in found for key in WRAPPERS)
    return tensors, tuple(str(key) for key in found if wrapped and key not in WRAPPERS)


def _fits(held: Mapping[str, Tensor], refusal: CheckpointError | None) -> tuple[TensorFit, ...]:
    """Each tensor with what became of it, and those that are missing."""
    if refusal is not None and not refusal.misfits:
        verdicts = dict.fromkeys(held, "")
        missing: dict[str, str] = {}
    else:
        misfits = {} if refusal is None else refusal.misfits
        read = _read(held)
        verdicts = {
            name: misfits.get(read[name], "fits") if name in read else "not used" for name in held
        }
        known = set(read.values())
        missing = {name: misfits[name] for name in misfits if name not in known}
    return (
        *(TensorFit(name, None, "", verdict) for name, verdict in missing.items()),
        *(
            TensorFit(
                name,
                tuple(value.shape),
                str(value.dtype).removeprefix("torch."),
                verdicts[name],
            )
            for name, value in held.items()
        ),
    )


def _read(held: Mapping[str, Tensor]) -> dict[str, str]:
    """By the name of each tensor that is read: its name in the file of a classifier."""
    named = as_classifier(held, "check_checkpoint")
    places = {_place(value): name for name, value in named.items()}
    return {
        name: name if named.get(name) is value else places[_place(value)]
        for name, value in held.items()
        if named.get(name) is value or _place(value) in places
    }


def _place(value: Tensor) -> tuple[int, int]:
    """Where a tensor lies in memory; its transpose lies there too."""
    return value.untyped_storage().data_ptr(), int(value.storage_offset())


def _call(what: str | Path, layout: Layout | None) -> str:
    options = "" if layout is None else f", layout={shown(layout)}"
    return f"load_model({shown(str(what), 500)}{options})"


def _sizes(config: VideoMambaConfig) -> str:
    frames = f"{config.num_frames} frames of " if config.num_frames > 1 else ""
    classes = f"{config.num_classes} classes" if config.num_classes else "no classes"
    return (
        f"{frames}{config.img_size} x {config.img_size} pixels in tubelets of "
        f"{config.tubelet_size} x {config.patch_size} x {config.patch_size}, d_model "
        f"{config.d_model}, depth {config.depth}, d_state {config.d_state}, "
        f"{classes}; {config.num_parameters() / 1e6:,.2f} M parameters"
    )


def _summary(tensors: tuple[TensorFit, ...]) -> str:
    kinds = ("fits", "not used", "missing")
    counts = Counter(one.verdict if one.verdict in (*kinds, "") else "wrong" for one in tensors)
    held = len(tensors) - counts["missing"]
    words = {"fits": "fit", "wrong": "do not", "missing": "missing", "not used": "not used"}
    parts = [f"{counts[kind]} {word}" for kind, word in words.items() if counts[kind]]
    return f"tensors: {held}" + (f"; {', '.join(parts)}" if parts else "")


def _rows(tensors: tuple[TensorFit, ...]) -> Iterator[str]:
    """A line for each tensor; those that are alike in several layers share one."""
    alike = [(_in_any_layer(one.name), one.shape, one.dtype, one.verdict) for one in tensors]
    counts = Counter(alike)
    names = {key: one.name for key, one in zip(alike, tensors, strict=True)}
    for key in list(counts)[:LINES]:
        name, shape, dtype, verdict = key
        if counts[key] == 1:
            name = names[key]
        often = f" x {counts[key]}" if counts[key] > 1 else ""
        kind = "" if shape is None else f"{shape} {dtype}{often}"
        yield f"  {one_line(name, 80):44} {kind:34} {verdict}".rstrip()
    if len(counts) > LINES:
        yield f"  and {len(counts) - LINES} more kinds of tensors"


def _in_any_layer(name: str) -> str:
    return re.sub(r"\blayers\.\d+\.", "layers.*.", name)
