"""Scans on a GPU and by the definition, for the tests of the GPU kernels."""

import torch

from vmamba_kernels import selective_scan, selective_scan_with_states

TOKENS = ("u", "delta", "B", "C", "z")
ORDER = torch.randperm(37, generator=torch.Generator().manual_seed(4))
HOW = {"forward": {}, "reverse": {"reverse": True}, "order": {"order": ORDER}}
SOFTPLUS = {"delta_softplus": True, "backend": "gpu"}


def on(device, how):
    """How to read, with its tensors on a device."""
    return {n: x.to(device) if isinstance(x, torch.Tensor) else x for n, x in how.items()}


def to(x, device):
    """To a device, with the same strides."""
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=device).copy_(x)


def double(inputs):
    return {n: None if x is None else x.double().cpu() for n, x in inputs.items()}


def run(inputs, backend="gpu", **options):
    """y, the last state and the states of every third token."""
    options = {"delta_softplus": True, "backend": backend} | options
    if options.get("order") is not None:
        options["order"] = options["order"].to(inputs["u"].device)
    y, last = selective_scan(**inputs, return_last_state=True, **options)
    states = selective_scan_with_states(**inputs, tokens=slice(0, None, 3), **options).states
    return {"y": y, "last_state": last, "states": states}


def both(inputs, **options):
    return run(inputs, **options), run(double(inputs), "naive", **options)
