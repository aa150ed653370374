"""How fast a machine could be at a given piece of work: the limit that a share is taken of.

Work is counted from its definition: what any implementation has to do. A machine is described by
rates, measured or taken from the device's properties. The limit is the slowest of the rates.
"""

from typing import NamedTuple

import torch
from timing import interleaved
from torch import Tensor
from vector import Peak
from vector import peak as vector_peak

SFU_PER_CLOCK = 16  # special functions (ex2, lg2, rcp) a multiprocessor starts in a clock
FMA_PER_CLOCK = 128  # float32 operations of its other units
COPY_FLOATS = 2**26  # 256 MiB: no cache holds it


class Work(NamedTuple):
    """What has to be done.

    Args:
        steps: (token, channel) pairs that are scanned; both directions count.
        gated: (token, channel) pairs that pass a SiLU.
        d_state: States of a channel.
        bytes: What has to move: every input read once, every output written once.
        gradient: The gradient is made too.
    """

    steps: int
    gated: int
    d_state: int
    bytes: int
    gradient: bool = False

    @property
    def exponentials(self) -> int:
        """exp: one a state, one in softplus, one in SiLU; all of them again for the gradient."""
        return (1 + self.gradient) * (self.steps * (self.d_state + 1) + self.gated)

    @property
    def special_functions(self) -> int:
        """The same on a GPU, where softplus takes ex2 and lg2, SiLU ex2 and rcp."""
        return (1 + self.gradient) * (self.steps * (self.d_state + 2) + 2 * self.gated)

    @property
    def fma_issues(self) -> int:
        """Float32 instructions of a GPU that are no special functions, at least.

        Forward 5 a state (delta A, ex2's issue, delta u B, h, y) and 30 a token and channel;
        the gradient makes the states again (5) and takes 8 more a state.
        """
        forward, gradient = 5 * self.d_state + 30, 13 * self.d_state + 30
        return self.steps * (forward + self.gradient * gradient)


class Limit(NamedTuple):
    """The shortest time, in milliseconds, and what sets it."""

    ms: float
    binds: str


Instructions = dict[str, tuple[float, float]]
"""Case -> vector instructions per exponential: those that multiply, and all of them."""


class Gpu(NamedTuple):
    """Rates of a GPU: multiprocessors, clock in Hz, bytes a second (read and written)."""

    multiprocessors: int
    clock: float
    bandwidth: float

    def limit(self, work: Work, instructions: tuple[float, float] | None = None) -> Limit:
        """The shortest time; `instructions` are a CPU's."""
        clocks = self.multiprocessors * self.clock
        return _slowest(
            {
                "SFU": work.special_functions / (SFU_PER_CLOCK * clocks),
                "FMA": work.fma_issues / (FMA_PER_CLOCK * clocks),
                "memory": work.bytes / self.bandwidth,
            }
        )

    def described(self, instructions: Instructions) -> str:
        """How the limit is made, for people."""
        return (
            "`limit` is the longest of three times; `share` is limit / ms. SFU: (d_state + 4) "
            "special functions a token and channel (ex2 a state; softplus ex2, lg2; SiLU ex2, "
            "rcp), so 20 for 16 states, at 16 a clock and multiprocessor. FMA: 5 d_state + 30 "
            "other float32 instructions, at 128. Memory: every input read once and every output "
            "written once, over the measured bandwidth of a copy. In both directions: d_state + 2 "
            "special functions each, 2 for the one gate. With the gradient: the special functions "
            "twice (it makes the states again), 13 d_state + 30 more FMA. Rates: "
            f"{self.multiprocessors} multiprocessors at {self.clock / 1e9:.2f} GHz, "
            f"{self.bandwidth / 1e12:.2f} TB/s."
        )


class Cpu(NamedTuple):
    """Rates of a CPU, all threads: lane operations a second, and bytes a second."""

    peak: Peak
    bandwidth: float

    def limit(self, work: Work, instructions: tuple[float, float] | None = None) -> Limit | None:
        """The shortest time, given vector instructions per exponential; None without them."""
        if instructions is None:
            return None
        multiplies, operations = instructions
        return _slowest(
            {
                "multiply": work.exponentials * multiplies / self.peak.multiplies,
                "vector": work.exponentials * operations / self.peak.operations,
                "memory": work.bytes / self.bandwidth,
            }
        )

    def described(self, instructions: Instructions) -> str:
        """How the limit is made, for people."""
        scan = instructions.get("scan")
        counted = [
            f"{name} {operations:.1f}, of which {multiplies:.1f} multiply"
            for name, (multiplies, operations) in instructions.items()
            if name == "scan" or (multiplies, operations) != scan  # states: the scan's own kernel
        ]
        return (
            "`limit` is the longest of three times; `share` is limit / ms. Multiply: vector "
            "instructions that multiply or divide, over the measured rate of independent fma "
            "chains. Vector: all vector instructions, over the measured rate of fma and add chains "
            "side by side. Memory: every input read once and every output written once, over the "
            "measured bandwidth of a copy. Instructions are counted in the innermost loops of the "
            "kernels' optimized LLVM IR (arithmetic, selections and shuffles; no loads, stores or "
            "broadcasts; a division as one), per exponential; a token and channel has d_state + 2 "
            "exponentials (one a state, one in softplus, one in SiLU), in both directions "
            "2 d_state + 3, with the gradient twice as many, in the convolution 1. "
            f"Instructions per exponential: {'; '.join(counted) or 'not counted'}. "
            f"{_per_state(scan)}"
            f"Rates, all threads, in float32 lanes: {self.peak.multiplies / 1e9:.0f} G/s "
            f"multiply, {self.peak.operations / 1e9:.0f} G/s of the mix; "
            f"{self.bandwidth / 1e9:.1f} GB/s read and written."
        )


def this_cpu() -> Cpu:
    """This CPU, measured with torch's number of threads."""
    return Cpu(vector_peak(), copy_bandwidth("cpu"))


def this_gpu() -> Gpu:
    """The current GPU: its own properties, and the bandwidth of a copy."""
    import triton

    device = torch.cuda.current_device()
    properties = triton.runtime.driver.active.utils.get_device_properties(device)
    clock = 1e3 * properties["sm_clock_rate"]
    return Gpu(properties["multiprocessor_count"], clock, copy_bandwidth("cuda"))


def copy_bandwidth(device: str) -> float:
    """Bytes a second, read and written, of the best of several large copies."""
    source = torch.ones(COPY_FLOATS, device=device)
    target = torch.empty_like(source)

    def copy() -> Tensor:
        return target.copy_(source)

    copy()
    seconds = min(
        interleaved({"copy": copy}, 1, device == "cuda")["copy"].clock / 1e3 for _ in range(7)
    )
    return 2 * source.nbytes / seconds


def scan_work(
    shape: tuple[int, int, int, int],
    itemsize: int,
    directions: int = 1,
    gradient: bool = False,
    more_floats: int = 0,
) -> Work:
    """The work of a gated scan with softplus.

    Args:
        shape: batch, d_inner, seqlen, d_state.
        itemsize: Bytes of an element of u, delta, B, C, z, y and of their gradients.
        directions: 1, or 2 with one gate.
        gradient: Make all gradients too.
        more_floats: float32 numbers that are written or read besides (states, norms).
    """
    batch, d_inner, seqlen, d_state = shape
    tokens, selection = batch * d_inner * seqlen, 2 * batch * d_state * seqlen
    # u and delta of each direction, z and y
    moved = (2 * directions + 2) * tokens + directions * selection
    if gradient:  # all of that again with grad_y for y, then the gradients of all but y
        moved += (4 * directions + 3) * tokens + 2 * directions * selection
    return Work(directions * tokens, tokens, d_state, itemsize * moved + 4 * more_floats, gradient)


def conv_work(shape: tuple[int, int, int, int], itemsize: int, gradient: bool) -> Work:
    """The work of a convolution with SiLU: in and out; then x and grad_out in, grad_x out."""
    tokens = shape[0] * shape[1] * shape[2]
    return Work(0, tokens, 0, itemsize * tokens * (5 if gradient else 2), gradient)


def _per_state(scan: tuple[float, float] | None) -> str:
    """The scan's count in the words in which it is usually given."""
    return f"For 16 states that is {scan[1] * 18 / 16:.1f} a state of the scan. " if scan else ""


def _slowest(seconds: dict[str, float]) -> Limit:
    binds = max(seconds, key=lambda name: seconds[name])
    return Limit(1e3 * seconds[binds], binds)
