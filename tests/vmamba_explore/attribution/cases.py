"""What the tests of attributions ask, and how they compare what comes back."""

from dataclasses import replace

import torch

from tests.vmamba_explore.analysis.dense import SIZES
from tests.vmamba_explore.toys import clips_for, shake, toy
from vmamba_explore.attribution.methods import attribute

TARGET, MINUS = [2, 0], [1, 1]
QUANTITIES = [f"*.hook_{q}" for q in ("u", "delta", "B", "C", "y")]


def build(dtype=torch.float64, seed=0, **changes):
    """Return a small model in which every weight is random, and two clips for it."""
    model = toy(dtype=dtype, seed=seed, change=shake, **SIZES | changes)
    return model, clips_for(model, seed=seed + 1)


def explained(problem, method, **options):
    """Return the attribution of what a problem asks, in classes."""
    target, minus = problem.target, problem.minus
    return attribute(problem.model, problem.inputs, target, method, minus=minus, **options)


def sliced(problem, **limits):
    """Return the same problem with other limits."""
    return replace(problem, limits=replace(problem.limits, **limits))


def unmix(model):
    """Let no token see another: the blocks add nothing."""
    for layer in model.layers:
        layer.mixer.out_proj.weight.zero_()


def by_scan(model, function):
    """Return `function(hook prefix, layer, direction)` as (batch, layer, direction, seqlen)."""
    rows = [
        torch.stack(
            [
                function(f"layers.{layer}.mixer.ssm_{direction}.hook_", layer, direction)
                for direction in model.config.directions
            ],
            1,
        )
        for layer in range(model.config.depth)
    ]
    return torch.stack(rows, 1).detach()


def same(found, expected):
    """Whether float64 results agree up to rounding."""
    return torch.allclose(found, expected, rtol=1e-9, atol=1e-12 * float(expected.abs().max()))
