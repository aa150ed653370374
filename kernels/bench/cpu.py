"""Time the CPU kernels against their yardsticks, interleaved in one process.

    python kernels/bench/cpu.py [--repeats 7]

Prints a markdown table. Every round runs every implementation once, in turn; `ms` is the median
over the rounds of the time on the clock, `core ms` of the processor time of all threads (which a
busy machine disturbs less, and in which torch's waiting threads count). Ratios are those of one
run. The load before and after stands under the table: quote no clock times of a busy machine.
"""

import argparse
import os
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
    u, delta, z, upstream = (torch.randn(batch, seqlen, d_inner).mT for _ in range(4))
    A = -torch.arange(1.0, d_state + 1).repeat(d_inner, 1)
    B, C = (torch.randn(batch, seqlen, d_state).mT for _ in range(2))
    D, delta_bias = torch.ones(d_inner), torch.rand(d_inner) * 4 - 7  # softplus: 0.001 to 0.05
    token_major = [u, delta, A, B, C, D, z, delta_bias]
    channel_major = [x.contiguous() for x in token_major]

    def ours(*args: Tensor) -> object:
        return vmamba_kernels.selective_scan(*args, delta_softplus=True, backend="cpu")

    def with_states(*args: Tensor) -> object:
        return vmamba_kernels.selective_scan_with_states(*args, delta_softplus=True, backend="cpu")

    return {
        "scan": {
            "yardstick": without_gradient(published_scan, channel_major),
            "cpu": without_gradient(ours, token_major),
            "cpu, channel-major": without_gradient(ours, channel_major),
            "cpu, all states": without_gradient(with_states, token_major),
        },
        "scan + gradient": {
            "yardstick": with_gradient(published_scan, channel_major, upstream.contiguous()),
            "cpu": with_gradient(ours, token_major, upstream),
        },
    }


def conv_runs(batch: int, d_inner: int, seqlen: int, d_conv: int = 4) -> dict[str, Runs]:
    """What to time of the convolution with SiLU; the yardstick is torch's own."""
    torch.manual_seed(0)
    x, upstream = (torch.randn(batch, seqlen, d_inner).mT for _ in range(2))
    token_major = [x, torch.randn(d_inner, d_conv), torch.randn(d_inner)]
    channel_major = [x.contiguous() for x in token_major]

    def torchs(x: Tensor, weight: Tensor, bias: Tensor) -> object:
        padded = F.conv1d(x, weight[:, None], bias, padding=d_conv - 1, groups=d_inner)
        return F.silu(padded[..., :seqlen])

    def ours(*args: Tensor) -> object:
        return vmamba_kernels.causal_conv1d(*args, activation="silu", backend="cpu")

    return {
        "convolution": {
            "yardstick": without_gradient(torchs, channel_major),
            "cpu": without_gradient(ours, token_major),
        },
        "convolution + gradient": {
            "yardstick": with_gradient(torchs, channel_major, upstream.contiguous()),
            "cpu": with_gradient(ours, token_major, upstream),
        },
    }


def without_gradient(run: Callable[..., object], args: list[Tensor]) -> Callable[[], object]:
    return torch.no_grad()(lambda: run(*args))


def with_gradient(
    run: Callable[..., object], args: list[Tensor], upstream: Tensor
) -> Callable[[], object]:
    """Forward, then the gradient of every argument."""
    leaves = [x.detach().requires_grad_() for x in args]
    return lambda: torch.autograd.grad(run(*leaves), leaves, upstream)


def medians(runs: Runs, repeats: int) -> dict[str, tuple[float, float]]:
    """(clock, core) milliseconds: medians over interleaved rounds, the first one not counted."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(repeats + 1):
        for name, run in runs.items():
            clock, core = time.perf_counter(), time.process_time()
            run()
            times[name].append((time.perf_counter() - clock, time.process_time() - core))
    return {
        name: (1e3 * statistics.median(a), 1e3 * statistics.median(b))
        for name, rounds in times.items()
        for a, b in [zip(*rounds[1:], strict=True)]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the CPU kernels.")
    parser.add_argument("--repeats", type=int, default=7, help="timed rounds, at least 5")
    repeats = max(5, parser.parse_args().repeats)
    before = os.getloadavg()[0]
    print(
        "| case | batch, d_inner, seqlen, d_state | implementation | ms | ratio | core ms | ratio |"
    )
    print("|---|---|---|---|---|---|---|")
    for shape in SHAPES:
        for case, runs in (scan_runs(*shape) | conv_runs(*shape[:3])).items():
            measured = medians(runs, repeats)
            clock_1, core_1 = measured["yardstick"]
            for name, (clock, core) in measured.items():
                print(
                    f"| {case} | {', '.join(map(str, shape))} | {name} | {clock:.2f} | "
                    f"{clock_1 / clock:.1f} | {core:.2f} | {core_1 / core:.1f} |",
                    flush=True,
                )
    print(
        f"\nMedians of {repeats} interleaved rounds, {torch.get_num_threads()} threads on "
        f"{os.cpu_count()} cores ({torch.backends.cpu.get_cpu_capability()}), torch "
        f"{torch.__version__}; load {before:.2f} before, {os.getloadavg()[0]:.2f} after."
    )


if __name__ == "__main__":
    main()
