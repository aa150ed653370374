"""What a model costs as clips grow longer: seconds and memory, measured where it runs."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from vmamba_explore.analysis.peak_memory import peak_bytes
from vmamba_explore.errors import shown
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.studies.scaling.fit import Curve, make_curve
from vmamba_explore.studies.scaling.joint_attention import attention_macs

Run = Callable[[], object]
Prepare = Callable[[int], Run]

logger = logging.getLogger(__name__)

_MIN_SECONDS = 1.0  # short runs are repeated until they have taken this long together
_MAX_ROUNDS = 50
_QUANTITIES = {"seconds": ("time", "s"), "peak_bytes": ("peak memory", "bytes")}


@dataclass(frozen=True)
class Cost:
    """What one model cost on clips of one length.

    Attributes:
        model: Its name.
        num_frames: Frames of the clip.
        rounds: Seconds of each timed run.
        peak_bytes: The most memory that was held at one time, beyond what was there before the
            run (weights, clip).
    """

    model: str
    num_frames: int
    rounds: tuple[float, ...]
    peak_bytes: int

    @property
    def seconds(self) -> float:
        """The fastest round: whatever else the machine does only adds time."""
        return min(self.rounds)


@dataclass(frozen=True)
class CostTable:
    """What several models cost on clips of several lengths, measured in turn on one machine.

    Attributes:
        costs: One entry per model and length.
        machine: Where it was measured.
        notes: What is missing and why; empty where all was measured.
    """

    costs: tuple[Cost, ...]
    machine: str
    notes: tuple[str, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models, as they were given."""
        return tuple(dict.fromkeys(cost.model for cost in self.costs))

    def curves(self, quantity: str = "seconds") -> tuple[Curve, ...]:
        """Return "seconds" (fastest rounds) or "peak_bytes" of each model against the frames.

        Raises:
            ValueError: another quantity.
        """
        if quantity not in _QUANTITIES:
            raise ValueError(
                f"CostTable.curves: got {shown(quantity)}, expected one of "
                f"{', '.join(_QUANTITIES)}."
            )
        name, unit = _QUANTITIES[quantity]
        values: dict[str, dict[int, float]] = {model: {} for model in self.models}
        for cost in self.costs:
            values[cost.model][cost.num_frames] = getattr(cost, quantity)
        return tuple(make_curve(model, name, unit, own) for model, own in values.items())

    def ratio(self, model: str, to: str) -> Curve:
        """Return how many times as long `model` takes as `to`.

        The runs of a round follow each other, so whatever else the machine does meets both: each
        value is the median over the rounds of the ratio within a round.

        Raises:
            ValueError: a name that was not measured.
        """
        for name in (model, to):
            if name not in self.models:
                raise ValueError(
                    f"CostTable.ratio: {shown(name)} was not measured; {', '.join(self.models)} "
                    "were."
                )
        rounds = {(cost.model, cost.num_frames): cost.rounds for cost in self.costs}
        ratios = {
            frames: statistics.median(a / b for a, b in zip(own, rounds[to, frames], strict=True))
            for (name, frames), own in rounds.items()
            if name == model and (to, frames) in rounds
        }
        return make_curve(f"{model} / {to}", "ratio of times", "", ratios)

    def table(self) -> xr.DataArray:
        """Return milliseconds and MiB for reading: dims frames and cost; `.to_pandas()` shows it.

        What was not measured is NaN.
        """
        values = {
            f"{model}, {unit}": {
                cost.num_frames: getattr(cost, name) * factor
                for cost in self.costs
                if cost.model == model
            }
            for name, unit, factor in (("seconds", "ms", 1e3), ("peak_bytes", "peak MiB", 2**-20))
            for model in self.models
        }
        frames = sorted({cost.num_frames for cost in self.costs})
        rows = [[column.get(n, math.nan) for column in values.values()] for n in frames]
        return xr.DataArray(
            np.array(rows).reshape(len(frames), len(values)),
            {"frames": frames, "cost": list(values)},
            ("frames", "cost"),
        )


def measure(
    models: Mapping[str, Prepare],
    num_frames: Sequence[int],
    *,
    repeats: int = 5,
    limit_seconds: float = 60.0,
    device: torch.device | str = "cpu",
) -> CostTable:
    """Measure time and peak memory of models on clips of growing length.

    For each length all models are prepared, run once without counting (kernels are compiled,
    buffers touched), run once under the eye of `peak_bytes`, and then timed in turn, round after
    round. Interrupting (Ctrl-C, or the stop button) gives what was measured until then.

    Args:
        models: Name -> function that takes a number of frames and returns what to run, such as
            `forward_pass(VideoMamba, config)`.
        num_frames: Lengths of the clips.
        repeats: Timed rounds, at least; more where runs are short.
        limit_seconds: Longer clips are left out when they would take the whole beyond this, and
            rounds too when it is over, all but the first.
        device: Where the models run.
    Returns:
        A table; `notes` says what is missing and why.
    Raises:
        ValueError: no model, or a length below 1.
    """
    lengths = sorted(set(num_frames))
    if not models or not lengths or lengths[0] < 1 or repeats < 1:
        raise ValueError(
            "measure: expected at least one model, one length and one repeat, lengths of at least "
            f"1; got models {list(models)}, num_frames {list(num_frames)}, repeats {repeats}."
        )
    left = dict(models)
    costs: list[Cost] = []
    notes: list[str] = []
    started = time.perf_counter()
    try:
        for frames in tqdm(lengths, desc="lengths of clip", unit="length"):
            # at most quadratic growth; two runs of each model are not timed
            last = costs[-len(left) :]
            once = sum(
                statistics.mean(cost.rounds) * (frames / cost.num_frames) ** 2 for cost in last
            )
            expected = (repeats + 2) * once
            if time.perf_counter() - started + expected > limit_seconds:
                notes.append(
                    f"{frames} frames and more were left out: they could take {expected:.0f} s, "
                    f"and limit_seconds, for all lengths together, is {limit_seconds:.0f}."
                )
                break
            deadline = started + limit_seconds
            costs += _measure_one_length(left, frames, repeats, torch.device(device), deadline)
            measured = [cost.model for cost in costs if cost.num_frames == frames]
            for name in left.keys() - measured:
                notes.append(f"{name} does not fit into memory with {frames} frames or more.")
                del left[name]
            if not left:
                break
    except KeyboardInterrupt:
        notes.append("Interrupted: this is what was measured until then.")
    for note in notes:
        logger.warning("measure: %s", note)
    return CostTable(tuple(costs), machine(device), tuple(notes))


def forward_pass(
    model: Callable[[VideoMambaConfig], nn.Module],
    config: VideoMambaConfig,
    *,
    device: torch.device | str = "cpu",
) -> Prepare:
    """Return, for `measure`, one clip's way through a model with random weights, no gradient.

    Args:
        model: Makes a model of a configuration: `VideoMamba`, `JointAttention`.
        config: Its `num_frames` is replaced by each length in turn.
        device: Where it runs.
    """

    def prepare(num_frames: int) -> Run:
        built, clips = _model_and_clip(model, config, num_frames, device)
        return torch.inference_mode()(lambda: built(clips))

    return prepare


def training_step(
    model: Callable[[VideoMambaConfig], nn.Module],
    config: VideoMambaConfig,
    *,
    device: torch.device | str = "cpu",
) -> Prepare:
    """Return, for `measure`, loss and gradients for one clip (no optimizer step).

    Args:
        model: Makes a model of a configuration: `VideoMamba`, `JointAttention`.
        config: Its `num_frames` is replaced by each length in turn.
        device: Where it runs.
    """

    def prepare(num_frames: int) -> Run:
        built, clips = _model_and_clip(model, config, num_frames, device)
        built.train()
        target = torch.zeros(1, dtype=torch.long, device=device)

        def step() -> None:
            built.zero_grad(set_to_none=True)
            F.cross_entropy(built(clips), target).backward()

        return step

    return prepare


def mac_curves(config: VideoMambaConfig, num_frames: Sequence[int]) -> tuple[Curve, Curve]:
    """Count multiply-accumulates of `VideoMamba` and `JointAttention`; nothing runs.

    Args:
        config: Its `num_frames` is replaced by each length in turn.
        num_frames: Lengths of the clips.
    Returns:
        Of VideoMamba (all linear and convolution layers, and one per state and token for the
        scans), and of joint attention (linear layers and attention), in 10^9.
    """
    configs = {n: dataclasses.replace(config, num_frames=n) for n in sorted(set(num_frames))}
    counts = {n: config.macs() for n, config in configs.items()}
    ours = {n: (count.total + count.state_updates) / 1e9 for n, count in counts.items()}
    theirs = {n: attention_macs(config).total / 1e9 for n, config in configs.items()}
    unit = "10⁹"
    return (
        make_curve("VideoMamba", "multiply-accumulates", unit, ours),
        make_curve("joint attention", "multiply-accumulates", unit, theirs),
    )


def machine(device: torch.device | str = "cpu") -> str:
    """Return what it was measured on: device, threads, torch."""
    if torch.device(device).type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    threads = torch.get_num_threads()
    return (
        f"{threads} threads on {os.cpu_count()} cores ({platform.machine()}, "
        f"{torch.backends.cpu.get_cpu_capability()}), torch {torch.__version__}"
    )


def _measure_one_length(
    models: Mapping[str, Prepare], frames: int, repeats: int, device: torch.device, deadline: float
) -> list[Cost]:
    """The cost of each model that fits into memory; after the deadline no round is begun."""
    runs: dict[str, Run] = {}
    peaks: dict[str, int] = {}
    for name, prepare in models.items():
        try:
            run = prepare(frames)
            run()
            peaks[name] = peak_bytes(run, device)
            runs[name] = run
        except RuntimeError as error:
            # torch's CPU allocator has no error type of its own
            if not isinstance(error, torch.OutOfMemoryError) and "can't allocate" not in str(error):
                raise
    rounds: dict[str, list[float]] = {name: [] for name in runs}
    spent = 0.0
    while runs and (len(rounds[next(iter(runs))]) < repeats or spent < _MIN_SECONDS):
        for name, run in runs.items():
            seconds = _seconds(run, device)
            rounds[name].append(seconds)
            spent += seconds
        if len(rounds[name]) >= max(repeats, _MAX_ROUNDS) or time.perf_counter() > deadline:
            break
    return [Cost(name, frames, tuple(rounds[name]), peaks[name]) for name in runs]


def _seconds(run: Run, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _model_and_clip(
    model: Callable[[VideoMambaConfig], nn.Module],
    config: VideoMambaConfig,
    num_frames: int,
    device: torch.device | str,
) -> tuple[nn.Module, torch.Tensor]:
    config = dataclasses.replace(config, num_frames=num_frames)
    shape = (1, config.in_channels, num_frames, config.img_size, config.img_size)
    return model(config).to(device).eval(), torch.randn(shape, device=device)
