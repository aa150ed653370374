"""What is timed: the same work done by our kernels, by the definition, and by others.

"ours" is the backend of the device in the memory it likes best, token-major; "naive" is the
definition; "yardstick" is the algorithm of the published reference (`published.py`), which for the
convolution is torch's own. Peers are named by their package. Rows of ours have an entry in `work`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from limits import Work, conv_work, scan_work
from peers import Peer
from published import published_scan
from timing import Run
from torch import Tensor

import vmamba_kernels
from vmamba_kernels import ScanInputs

EVERY = 64  # one state in so many is kept at chunk boundaries
BOUNDARIES = slice(EVERY - 1, None, EVERY)
WINDOW = 64
D_CONV = 4


class Shape(NamedTuple):
    batch: int
    d_inner: int
    seqlen: int
    d_state: int

    def __str__(self) -> str:
        return ", ".join(f"{name} {size}" for name, size in self._asdict().items())


QUICK = Shape(1, 64, 200, 16)


class Setting(NamedTuple):
    """Where and on what a case runs."""

    shape: Shape
    dtype: torch.dtype
    backend: str
    peers: Sequence[Peer]

    @property
    def device(self) -> str:
        return "cuda" if self.backend == "gpu" else "cpu"


class Case(NamedTuple):
    """Implementation -> what to call, the work of those that are ours, why others are missing."""

    runs: dict[str, Run]
    work: dict[str, Work]
    left_out: dict[str, str]


def tensors(setting: Setting, seed: int = 0) -> list[Tensor]:
    """u, delta, A, B, C, D, z, delta_bias: token-major memory; step sizes from 0.001 to 0.05."""
    batch, d_inner, seqlen, d_state = setting.shape
    random = torch.Generator().manual_seed(seed)

    def tokens(channels: int) -> Tensor:
        x = torch.randn(batch, seqlen, channels, generator=random)
        return x.to(setting.device, setting.dtype).mT

    A = -torch.arange(1.0, d_state + 1).repeat(d_inner, 1)
    delta_bias = torch.rand(d_inner, generator=random) * 4 - 7
    A, D, delta_bias = (x.to(setting.device) for x in (A, torch.ones(d_inner), delta_bias))
    u, delta, z = (tokens(d_inner) for _ in range(3))
    B, C = (tokens(d_state) for _ in range(2))
    return [u, delta, A, B, C, D, z, delta_bias]


def yardstick(*args: Tensor) -> Tensor:
    """The published reference computes in float32, and casts back at the end."""
    return published_scan(*(x.float() for x in args)).to(args[0].dtype)


def ours(backend: str) -> Callable[..., Tensor]:
    """`selective_scan` with softplus on a backend."""

    def run(*args: Tensor) -> Tensor:
        return vmamba_kernels.selective_scan(*args, delta_softplus=True, backend=backend)

    return run


def scan(setting: Setting, gradient: bool = False) -> Case:
    args = tensors(setting)
    contiguous = [x.contiguous() for x in args]
    candidates = {
        "ours": (ours(setting.backend), args),
        "ours, channel-major": (ours(setting.backend), contiguous),
        "yardstick": (yardstick, contiguous),
        "naive": (ours("naive"), args),
    }
    left_out = {}
    for peer in setting.peers:
        if gradient and setting.backend == "cpu" and peer.no_cpu_gradient:
            left_out[peer.name] = peer.no_cpu_gradient
        elif peer.scan:
            candidates[peer.name] = peer.scan, args if peer.token_major else contiguous
    work = scan_work(setting.shape, setting.dtype.itemsize, 1, gradient)
    return _case(candidates, gradient, work, left_out)


def both_directions(setting: Setting, gradient: bool = False) -> Case:
    """Two parameter sets, one gate, one sum."""
    u, delta, A, B, C, D, z, bias = tensors(setting)
    u_b, delta_b, A_b, B_b, C_b, D_b, _, bias_b = tensors(setting, seed=1)
    args = [u, delta, A, B, C, D, bias, u_b, delta_b, A_b, B_b, C_b, D_b, bias_b, z]
    contiguous = [x.contiguous() for x in args]

    def one_call(backend: str) -> Callable[..., Tensor]:
        def run(*args: Tensor) -> Tensor:
            sides = (ScanInputs(*args[i : i + 6], delta_bias=args[i + 6]) for i in (0, 7))
            return vmamba_kernels.bidirectional_selective_scan(
                *sides, args[14], delta_softplus=True, backend=backend
            )

        return run

    def two_calls(scan: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """How it is done without such a function: flip everything, scan, flip back, add."""

        def run(*args: Tensor) -> Tensor:
            u, delta, A, B, C, D, bias, u_b, delta_b, A_b, B_b, C_b, D_b, bias_b, z = args
            u_b, delta_b, B_b, C_b, z_b = (x.flip(2) for x in (u_b, delta_b, B_b, C_b, z))
            y = scan(u, delta, A, B, C, D, z, bias)
            return y + scan(u_b, delta_b, A_b, B_b, C_b, D_b, z_b, bias_b).flip(2)

        return run

    candidates = {
        "ours": (one_call(setting.backend), args),
        "two calls, flips": (two_calls(ours(setting.backend)), args),
        "yardstick": (two_calls(yardstick), contiguous),
        "naive": (one_call("naive"), args),
    }
    for peer in setting.peers:
        if peer.scan and peer.name == "mamba_ssm":  # the others' times are twice their scan's
            candidates[peer.name] = two_calls(peer.scan), contiguous
    work = scan_work(setting.shape, setting.dtype.itemsize, 2, gradient)
    return _case(candidates, gradient, work)


def states(setting: Setting, mode: str) -> Case:
    """A mode of keeping states, beside the plain scan."""
    args, (batch, d_inner, seqlen, d_state) = tensors(setting), setting.shape

    def kept(tokens: slice | None) -> Callable[[str], Callable[..., object]]:
        return lambda backend: (
            lambda *args: vmamba_kernels.selective_scan_with_states(
                *args, delta_softplus=True, tokens=tokens, backend=backend
            )
        )

    def norms(backend: str) -> Callable[..., object]:
        return lambda *args: vmamba_kernels.selective_scan_with_norms(
            *args, delta_softplus=True, backend=backend
        )

    per_token = batch * d_inner * d_state
    run, floats = {
        "every": (kept(None), seqlen * per_token),
        "boundaries": (kept(BOUNDARIES), seqlen // EVERY * per_token),
        "norms": (norms, seqlen * batch * (2 * d_inner + d_state)),
    }[mode]
    candidates = {
        "ours": (run(setting.backend), args),
        "scan alone": (ours(setting.backend), args),
        "naive": (run("naive"), args),
    }
    itemsize = setting.dtype.itemsize
    return _case(candidates, False, scan_work(setting.shape, itemsize, more_floats=floats))


def window(setting: Setting) -> Case:
    """Every state of 64 tokens in the middle, from one kept state in 64, beside the plain scan."""
    args, (batch, d_inner, seqlen, d_state) = tensors(setting), setting.shape
    start = seqlen // 2 // EVERY * EVERY + EVERY // 2  # half way between two kept tokens
    states = vmamba_kernels.selective_scan_with_states(
        *args, delta_softplus=True, tokens=BOUNDARIES, backend=setting.backend
    ).states

    def run(backend: str) -> Callable[..., object]:
        return lambda *args: vmamba_kernels.scan_window(
            *args, delta_softplus=True, states=states, tokens=BOUNDARIES, start=start,
            stop=start + WINDOW, backend=backend,
        )  # fmt: skip

    candidates = {
        "ours": (run(setting.backend), args),
        "scan alone": (ours(setting.backend), args),
        "naive": (run("naive"), args),
    }
    read = setting.shape._replace(seqlen=EVERY // 2 + WINDOW)
    floats = batch * d_inner * d_state * (1 + WINDOW)
    work = scan_work(read, setting.dtype.itemsize, more_floats=floats)
    return _case(candidates, False, work)


def convolution(setting: Setting, gradient: bool = False) -> Case:
    """With SiLU; d_conv 4."""
    u, *_ = tensors(setting)
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(u.shape[1], D_CONV, generator=random).to(u)
    args = [u, weight, torch.randn(u.shape[1], generator=random).to(u)]
    contiguous = [x.contiguous() for x in args]

    def torchs(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        padded = F.conv1d(x, weight[:, None], bias, padding=D_CONV - 1, groups=x.shape[1])
        return F.silu(padded[..., : x.shape[2]])

    def run(backend: str) -> Callable[..., Tensor]:
        return lambda *args: vmamba_kernels.causal_conv1d(*args, activation="silu", backend=backend)

    candidates = {
        "ours": (run(setting.backend), args),
        "yardstick": (torchs, contiguous),
        "naive": (run("naive"), args),
    }
    for peer in setting.peers:
        if peer.conv:
            candidates[peer.name] = peer.conv, args
    return _case(candidates, gradient, conv_work(setting.shape, setting.dtype.itemsize, gradient))


MAIN: dict[str, Callable[[Setting], Case]] = {
    "scan": scan,
    "scan + gradient": lambda s: scan(s, True),
    "both directions": both_directions,
    "both directions + gradient": lambda s: both_directions(s, True),
    "convolution": convolution,
    "convolution + gradient": lambda s: convolution(s, True),
}
STATES: dict[str, Callable[[Setting], Case]] = {
    "every state": lambda s: states(s, "every"),
    "one state in 64": lambda s: states(s, "boundaries"),
    "norms of the states": lambda s: states(s, "norms"),
    "window of 64 tokens": window,
}


def names(main_only: bool) -> Iterator[tuple[str, Callable[[Setting], Case]]]:
    """The cases by name; those with states come with one type of numbers only."""
    yield from MAIN.items()
    if not main_only:
        yield from STATES.items()


def _case(
    candidates: dict[str, tuple[Callable[..., object], list[Tensor]]],
    gradient: bool,
    work: Work,
    left_out: dict[str, str] | None = None,
) -> Case:
    """Bind the arguments."""
    runs = {name: _bound(run, args, gradient) for name, (run, args) in candidates.items()}
    works = {name: work for name in runs if name.startswith("ours")}
    return Case(runs, works, left_out or {})


def _bound(run: Callable[..., object], args: list[Tensor], gradient: bool) -> Run:
    """The forward pass without a tape, or forward and the gradient of every argument."""
    if not gradient:
        return torch.no_grad()(lambda: run(*args))
    leaves = [x.detach().requires_grad_() for x in args]
    random = torch.Generator().manual_seed(2)
    # the first argument has the output's shape and memory
    upstream = torch.empty_like(args[0]).copy_(torch.randn(args[0].shape, generator=random))

    def forward_and_gradient() -> object:
        return torch.autograd.grad(run(*leaves), leaves, upstream)  # type: ignore[arg-type]

    return forward_and_gradient
