"""Time the CPU kernels against their yardsticks, interleaved in one process.

    python kernels/bench/cpu.py [--repeats 7]

Prints a markdown table. Every round runs every implementation once, in turn; a figure is the
median over the rounds, a ratio is taken between medians of one run. The load of the machine
before and after stands under the table: do not quote figures taken while something else runs.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from published import published_scan
from torch import Tensor

import vmamba_kernels

SHAPES = ((1, 768, 1569, 16), (32, 128, 513, 16))  # one clip of VideoMamba-S; a training batch
Runs = dict[str, Callable[[], object]]


def scan_runs(batch: int, d_inner: int, seqlen: int, d_state: int) -> dict[str, Runs]:
    """What to time of the scan: case -> implementation -> function of no arguments."""
    torch.manual_seed(0)
    u, delta, z, upstream = (torch.randn(batch, seqlen, d_inner) for _ in range(4))
    A = -torch.arange(1.0, d_state + 1).repeat(d_inner, 1)
    B, C = (torch.randn(batch, seqlen, d_state) for _ in range(2))
    D, delta_bias = torch.ones(d_inner), torch.rand(d_inner) * 4 - 7  # softplus: 0.001 to 0.05
    token_major = [u.mT, delta.mT, A, B.mT, C.mT, D, z.mT, delta_bias]
    channel_major = [x.contiguous() for x in token_major]

    def ours(*args: Tensor) -> Tensor:
        y = vmamba_kernels.selective_scan(*args, delta_softplus=True, backend="cpu")
        assert isinstance(y, Tensor)
        return y

    def with_states(*args: Tensor) -> object:
        return vmamba_kernels.selective_scan_with_states(*args, delta_softplus=True, backend="cpu")

    return {
        "scan, forward": {
            "yardstick": lambda: published_scan(*channel_major),
            "cpu": lambda: ours(*token_major),
            "cpu, all states": lambda: with_states(*token_major),
            "cpu, channel-major": lambda: ours(*channel_major),
        },
        "scan, forward + gradient": {
            "yardstick": with_gradient(published_scan, channel_major, upstream.mT.contiguous()),
            "cpu": with_gradient(ours, token_major, upstream.mT),
        },
    }


def conv_runs(batch: int, d_inner: int, seqlen: int, d_conv: int = 4) -> dict[str, Runs]:
    """What to time of the convolution with SiLU."""
    torch.manual_seed(0)
    x, upstream = (torch.randn(batch, seqlen, d_inner) for _ in range(2))
    weight, bias = torch.randn(d_inner, d_conv), torch.randn(d_inner)
    token_major = [x.mT, weight, bias]
    channel_major = [x.contiguous() for x in token_major]

    def torch_conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        padded = F.conv1d(x, weight[:, None], bias, padding=d_conv - 1, groups=d_inner)
        return F.silu(padded[..., :seqlen])

    def ours(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return vmamba_kernels.causal_conv1d(x, weight, bias, activation="silu", backend="cpu")

    return {
        "convolution, forward": {
            "yardstick": lambda: torch_conv(*channel_major),
            "cpu": lambda: ours(*token_major),
        },
        "convolution, forward + gradient": {
            "yardstick": with_gradient(torch_conv, channel_major, upstream.mT.contiguous()),
            "cpu": with_gradient(ours, token_major, upstream.mT),
        },
    }


def with_gradient(
    run: Callable[..., Tensor], args: list[Tensor], upstream: Tensor
) -> Callable[[], object]:
    """Forward, then the gradient of every argument."""
    leaves = [x.detach().requires_grad_() for x in args]
    return lambda: torch.autograd.grad(run(*leaves), leaves, upstream)


def medians(runs: Runs, repeats: int) -> dict[str, float]:
    """Milliseconds of each run, medians over interleaved rounds after one warm-up round."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for round_number in range(repeats + 1):
        for name, run in runs.items():
            begin = time.perf_counter()
            with torch.set_grad_enabled("gradient" in run.__qualname__):
                run()
            if round_number:
                seconds[name].append(time.perf_counter() - begin)
    return {name: 1e3 * statistics.median(times) for name, times in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="timed rounds, at least 5")
    repeats = max(5, parser.parse_args().repeats)
    before = os.getloadavg()[0]
    print("| case | (batch, d_inner, seqlen, d_state) | implementation | ms | yardstick / it |")
    print("|---|---|---|---|---|")
    for shape in SHAPES:
        for case, runs in (scan_runs(*shape) | conv_runs(*shape[:3])).items():
            times = medians(runs, repeats)
            for name, ms in times.items():
                print(f"| {case} | {shape} | {name} | {ms:.2f} | {times['yardstick'] / ms:.1f} |")
    print(
        f"\nMedians of {repeats} interleaved rounds, {torch.get_num_threads()} threads on "
        f"{os.cpu_count()} cores ({platform.processor() or platform.machine()}), torch "
        f"{torch.__version__}; load {before:.2f} before, {os.getloadavg()[0]:.2f} after."
    )


if __name__ == "__main__":
    main()
