"""Scans by a backend and by the definition: every result, by name."""

import torch

from vmamba_kernels import ScanInputs, selective_scan, selective_scan_with_states

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


def two_ways(make, *args, seeds=(0, 1), leaves=False, change=lambda x: x, **shape):
    """ScanInputs of both directions, each with parameters of its own, and the last one's gate."""
    found = []
    for seed in seeds:
        made = {
            n: x if x is None else change(x) for n, x in make(*args, seed=seed, **shape).items()
        }
        if leaves:
            made = {n: x if x is None else x.requires_grad_() for n, x in made.items()}
        z = made.pop("z")
        found.append(ScanInputs(**made))
    return *found, z


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


def kind_of(name):
    """The entry in the table of tolerances for a result of this name."""
    kinds = {"y": "scan y", "last_state": "scan states", "states": "scan states"}
    return kinds.get(name, "scan gradient")


def results(inputs, backend, *, states=False, softplus=True, seed=1, **how):
    """Every output and every gradient, by name, for random upstream gradients."""
    leaves = {n: x.detach().requires_grad_() for n, x in inputs.items() if x is not None}
    options = {"delta_softplus": softplus, "backend": backend, **how}
    if states:
        outputs = selective_scan_with_states(**leaves, **options)
    else:
        outputs = selective_scan(**leaves, **options, return_last_state=True)
    generator = torch.Generator().manual_seed(seed)
    loss = sum((x * torch.randn(x.shape, generator=generator).to(x)).sum() for x in outputs)
    grads = torch.autograd.grad(loss, list(leaves.values()))
    named = dict(zip(("y", "states" if states else "last_state"), outputs, strict=True))
    return named | {f"grad_{n}": g for n, g in zip(leaves, grads, strict=True)}


def compared(inputs, backend, **options):
    """The results of a backend, and those of the definition in float64."""
    return results(inputs, backend, **options), results(double(inputs), "naive", **options)


LAYOUTS = {
    "channel-major": lambda x: x.contiguous(),
    "half of a wider tensor": lambda x: (
        torch.cat([x, x], -2).mT.contiguous().mT[..., : x.shape[-2], :]
    ),
    "every second token": lambda x: x.repeat_interleave(2, -1)[..., ::2],
}
