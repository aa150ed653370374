"""Find sparse features of activations; stop and resume at any step, with the same bits."""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.analysis.features.activations import Activations, ShuffledRows
from vmamba_explore.analysis.features.sae import (
    FILES,
    FeatureSettings,
    Kind,
    SparseFeatures,
    load_features,
    only_largest,
    read_tensors,
)
from vmamba_explore.errors import one_line, shown
from vmamba_explore.files import atomic_write, output_path
from vmamba_explore.hooks import plain
from vmamba_explore.model.own_format import fingerprint
from vmamba_explore.model.videomamba import VideoMamba

CHECKPOINT = "training.safetensors"
_HEADER = "training"
_MOMENT_ROWS = 200_000
"""Mean and scale are those of so many rows, or of all."""
_CALIBRATION = 32
"""The threshold of BatchTopK is the mean over so many batches."""


def train_features(
    activations: Activations,
    *,
    width: int,
    k: int,
    steps: int = 3000,
    batch_size: int = 1024,
    kind: Kind = "batchtopk",
    learning_rate: float | None = None,
    seed: int = 0,
    aux: float = 1 / 32,
    dead_after: int | None = None,
    path: str | os.PathLike[str] | None = None,
    model: VideoMamba | None = None,
    checkpoint_every: int = 500,
    until: int | None = None,
    device: str | torch.device = "cpu",
    block_mib: float = 256.0,
) -> SparseFeatures:
    """Find sparse features: directions of which a few at a time add up to each vector.

    The loss is the squared error in the measure (gauge over one common scale, mean taken off),
    plus `aux` times that of what is left, as dead features would explain it. Adam; a linear
    warm-up over a twentieth of the steps and a linear decay over the last fifth.

    Args:
        activations: The vectors; one block of them is in memory at a time.
        width: How many features; more than the kinds of content that are expected.
        k: How many are active in a vector, on average. As many principal components explain a
            given share of the variance, too; features say more than these where k is well below
            the number that explains most of it, and then also come out alike from other seeds
            (`feature_agreement`).
        steps: Steps of the optimizer.
        batch_size: Vectors in a step.
        kind: "batchtopk" or "topk"; see `FeatureSettings`.
        learning_rate: Of Adam; None: 2e-4 / sqrt(width / 16384), at most 3e-3. With a few hundred
            features 5e-3 needed half the steps.
        seed: Of the start and of the order of rows.
        aux: Weight of what brings dead features back; 0: nothing does.
        dead_after: A feature is dead that was not active in so many vectors; None: a tenth of all
            that are trained on.
        path: Folder for the features, and for a checkpoint until they are done. The same call
            resumes, or returns features that are done.
        model: The model, whose fingerprint is kept with the features.
        checkpoint_every: Steps between two checkpoints.
        until: Stop before this step, with a checkpoint, and return the features so far.
        device: Where to compute.
        block_mib: Largest block of vectors in memory, MiB.
    Raises:
        ValueError: a setting makes no sense, or the folder holds features of other settings or
            data.
        FloatingPointError: the loss is not finite.
    Source:
        Gao et al. 2024, arXiv:2406.04093, appendix A; Bussmann et al. 2024, arXiv:2412.06410.
    """
    model = None if model is None else plain(model)
    for name, value, least in (
        ("width", width, 1), ("k", k, 1), ("steps", steps, 1), ("batch_size", batch_size, 2),
        ("checkpoint_every", checkpoint_every, 1), ("seed", seed, 0),
    ):  # fmt: skip
        if value < least:
            raise ValueError(f"train_features: {name} is {shown(value)}, expected {least} or more.")
    if path is not None:
        path = output_path(path, "train_features", folder=True, parents=True)
    batches = ShuffledRows(activations, batch_size, seed, block_mib)
    settings = FeatureSettings(
        site=activations.site,
        width=width,
        k=k,
        kind=kind,
        steps=steps,
        batch_size=batches.batch_size,
        learning_rate=learning_rate or min(2e-4 / math.sqrt(width / 16384), 3e-3),
        seed=seed,
        aux=aux,
        dead_after=dead_after or max(1, steps * batches.batch_size // 10),
        rows=len(activations),
        data=hashlib.sha256(batches(0).numpy().tobytes()).hexdigest()[:16],
        model=fingerprint(model) if model is not None else "",
    )
    if path is not None and os.path.isfile(Path(path) / FILES[0]):
        done = load_features(path)
        _check_same(done.settings, settings, path)
        return done.to(device)
    run = _Run(settings, batches, activations, path, device)
    stop = steps if until is None else min(until, steps)
    bar = tqdm(total=steps, initial=run.step, desc="features", unit="step")
    with bar:
        while run.step < stop:
            run.advance(batches(run.step))
            bar.update()
            if run.step % checkpoint_every == 0 or run.step == stop:
                bar.set_postfix(loss=f"{run.loss:.4f}", dead=f"{run.dead:.1%}")
                if path is not None and run.step < steps:
                    run.save(Path(path) / CHECKPOINT)
    features = run.features.eval().requires_grad_(False)
    if kind == "batchtopk":
        run.calibrate()
    if path is not None and run.step == steps:
        features.save(path)
        (Path(path) / CHECKPOINT).unlink(missing_ok=True)
    return features


class _Run:
    """A training: the features, their optimizer, and how long each feature has been silent."""

    def __init__(
        self,
        settings: FeatureSettings,
        batches: ShuffledRows,
        activations: Activations,
        path: str | os.PathLike[str] | None,
        device: str | torch.device,
    ) -> None:
        self.settings, self.batches, self.step, self.loss = settings, batches, 0, math.nan
        held: dict[str, Tensor] = {}
        if path is not None and os.path.isfile(file := Path(path) / CHECKPOINT):
            header, held = read_tensors(file, _HEADER, "train_features")
            _check_same(FeatureSettings.from_dict(header["settings"]), settings, path)
            self.step = int(header["step"])
            mean, measure = held["features.mean"], held["features.measure"]
        else:
            mean, measure = _moments(batches, activations)
        self.features = SparseFeatures(settings, mean, measure).to(device)
        self.silent = torch.zeros(settings.width, dtype=torch.long, device=device)
        self.adam = torch.optim.Adam(self.features.parameters(), settings.learning_rate)
        if held:
            self._restore(held)

    @property
    def dead(self) -> float:
        """Share of the features that are dead."""
        return float((self.silent >= self.settings.dead_after).float().mean())

    def advance(self, rows: Float[Tensor, "batch size"]) -> None:
        """Take a step."""
        settings, features = self.settings, self.features
        for group in self.adam.param_groups:
            group["lr"] = settings.learning_rate * _schedule(self.step, settings.steps)
        measured = features.measured(rows)
        codes = features.raw_codes(measured)
        if settings.kind == "topk":
            active = only_largest(codes, settings.k)
        else:
            flat = codes.reshape(1, -1)
            active = only_largest(flat, settings.k * len(rows)).reshape(codes.shape)
        left = measured - active @ features.decoder
        error = left.square().mean()
        loss = error + settings.aux * self._revival(codes, left.detach())
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"train_features: the loss of step {self.step} is {float(loss)}; lower the "
                "learning rate."
            )
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        decoder = features.decoder
        with torch.no_grad():
            assert decoder.grad is not None
            along = (decoder.grad * decoder).sum(1, keepdim=True)
            decoder.grad -= along * decoder  # a step along a direction is undone by its norm
            self.adam.step()
            decoder.div_(decoder.norm(dim=1, keepdim=True).clamp_min(1e-12))
            self.silent = torch.where((active > 0).any(0), 0, self.silent + len(rows))
        self.step, self.loss = self.step + 1, float(error.detach())

    def _revival(
        self, codes: Float[Tensor, "batch width"], left: Float[Tensor, "batch size"]
    ) -> Tensor:
        """The error of the dead features in explaining what is left, as a share of it."""
        dead = self.silent >= self.settings.dead_after
        count = int(dead.sum())
        if not count or not self.settings.aux:
            return codes.new_zeros(())
        chosen = only_largest(codes[:, dead], min(count, max(1, left.shape[1] // 2)))
        wrong = (left - chosen @ self.features.decoder[dead]).square().mean()
        return wrong / left.square().mean().clamp_min(1e-12)

    @torch.no_grad()
    def calibrate(self) -> None:
        """Set the threshold above which k codes of a vector lie, in the mean over batches."""
        features, found = self.features, []
        for step in range(_CALIBRATION):
            codes = features.raw_codes(features.measured(self.batches(step)))
            count = self.settings.k * len(codes)
            found.append(codes.flatten().topk(min(count + 1, codes.numel())).values[-1])
        features.threshold.copy_(torch.stack(found).mean())

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        tensors = {f"features.{name}": each for name, each in self.features.state_dict().items()}
        for number, state in self.adam.state_dict()["state"].items():
            tensors |= {f"adam.{number}.{name}": each for name, each in state.items()}
        tensors["silent"] = self.silent
        header = {"settings": asdict(self.settings), "step": self.step}
        whole = {name: each.detach().cpu().contiguous() for name, each in tensors.items()}
        atomic_write(path, save(whole, {_HEADER: json.dumps(header)}))

    def _restore(self, held: dict[str, Tensor]) -> None:
        weights = {
            name.removeprefix("features."): each
            for name, each in held.items()
            if name.startswith("features.")
        }
        self.features.load_state_dict(weights)
        self.silent.copy_(held["silent"])
        whole: dict[str, Any] = self.adam.state_dict()
        for name, each in held.items():
            if name.startswith("adam."):
                _, number, part = name.split(".")
                whole["state"].setdefault(int(number), {})[part] = each
        self.adam.load_state_dict(whole)


def _moments(batches: ShuffledRows, activations: Activations) -> tuple[Tensor, Tensor]:
    """The mean of the vectors, and the gauge over their common scale."""
    sums = torch.zeros(activations.size, dtype=torch.float64)
    squares, rows = torch.zeros_like(sums), 0
    for step in range(batches.blocks * batches.per_block):
        batch = batches(step).double()
        sums, squares = sums + batch.sum(0), squares + batch.square().sum(0)
        rows += len(batch)
        if rows >= _MOMENT_ROWS:
            break
    mean = sums / rows
    gauge = activations.weights.double()
    scale = ((squares / rows - mean.square()).clamp_min(0) * gauge.square()).mean().sqrt()
    if not scale > 0:
        raise ValueError("train_features: all vectors are the same; there is nothing to find.")
    # a state that is never read has no size in the gauge, and could not be brought back
    gauge = gauge.clamp_min(1e-6 * float(gauge.max()))
    return mean.float(), (gauge / scale).float()


def _schedule(step: int, steps: int) -> float:
    """The learning rate's share at a step: up over a twentieth, down over the last fifth."""
    up, down = max(1.0, steps / 20), max(1.0, steps / 5)
    return min(1.0, (step + 1) / up, (steps - step) / down)


def _check_same(
    held: FeatureSettings, wanted: FeatureSettings, path: str | os.PathLike[str]
) -> None:
    """Raise where a folder holds a training of other settings or data."""
    before, now = asdict(held), asdict(replace(wanted, model=wanted.model or held.model))
    for name, value in now.items():
        if before[name] != value:
            raise ValueError(
                f"train_features: {one_line(path)} holds features with {name} = "
                f"{shown(before[name])}, and {shown(value)} is asked for. Name another folder, or "
                "delete this one."
            )
