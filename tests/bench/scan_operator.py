"""The cost of reading a scan as an operator: `python tests/bench/scan_operator.py` (`make bench`).

`kaist_small` with random weights on clips of 8 to 128 frames of 224 x 224 pixels (785 to 12 545
tokens): the most memory that a row of one layer (both directions, every channel) and a roll-out
over all layers hold beyond the recording; and at 16 frames the time of a row beside that of
writing the matrix out. Writes scan_operator.md beside this file.
"""

import math
import pathlib
import statistics

import torch
from common import MIB, timed

from vmamba_explore import VideoMamba, VideoMambaConfig, run_with_trace
from vmamba_explore.analysis.peak_memory import peak_bytes
from vmamba_explore.analysis.rollout import attention_rollout
from vmamba_explore.analysis.scan_operator import ScanOperator
from vmamba_explore.studies.scaling.cost import machine
from vmamba_explore.trace.record import replay_layer
from vmamba_explore.trace.trace import Trace

FRAMES = (8, 16, 32, 64, 128)
LAYER, MATRIX_CHANNELS, ROUNDS = 12, 8, 9


def record(preset: str, num_frames: int) -> Trace:
    """The inputs of all blocks, from which any layer is made again."""
    torch.manual_seed(0)
    config = VideoMambaConfig.preset(preset, num_frames=num_frames)
    model = VideoMamba(config).eval()
    clips = torch.randn(1, 3, config.num_frames, config.img_size, config.img_size)
    return run_with_trace(model, clips, "*.hook_block_input", budget_gib=4.0)[1]


def memory(trace: Trace, layer: int) -> dict[str, float]:
    """MiB that a row and a roll-out hold at most, and what was there before."""
    recorded = replay_layer(trace, layer, ScanOperator.names(layer))
    operator = ScanOperator.from_trace(recorded, layer=layer)
    return {
        "row": peak_bytes(lambda: operator.row(0)) / MIB,
        "roll-out": peak_bytes(lambda: attention_rollout(trace, sampled=1)) / MIB,
        "scan inputs of the layer": recorded.nbytes / MIB,
        "block inputs of all layers": trace.nbytes / MIB,
    }


def matrix(operator: ScanOperator, channels: slice) -> torch.Tensor:
    """alpha of some channels, (channels, seqlen, seqlen), written out state by state."""
    total = 0
    for scan in operator.directions.values():
        delta, B, C = (x[0][..., scan.steps] for x in (scan.delta[:, channels], scan.B, scan.C))
        summed = delta.double().cumsum(-1)
        span = (summed[:, :, None] - summed[:, None, :]).float()
        alpha = torch.zeros_like(span)
        for n, decay in enumerate(scan.A[channels].T):
            alpha += C[n, :, None] * torch.exp(decay[:, None, None] * span) * B[n]
        alpha = (alpha * delta[:, None, :]).tril_()
        back = scan.steps.argsort()
        total = total + alpha[:, back][..., back]
    return total


def times(trace: Trace, layer: int) -> dict[str, float]:
    """Milliseconds of a row, and of the whole matrix: both directions, every channel."""
    operator = ScanOperator.from_trace(trace, layer=layer)
    wanted = matrix(operator, slice(0, 2))[:, 0]
    row = operator.row(0).weights[0, :2]
    skip = sum(scan.D[:2] for scan in operator.directions.values())
    row[:, 0] -= skip
    assert (row - wanted).norm() / wanted.norm() < 1e-4, "the row is not the matrix's"
    chunk, rounds = slice(0, MATRIX_CHANNELS), {"row": [], "matrix": []}
    for _ in range(ROUNDS):
        rounds["row"].append(timed(operator.row, 0)[0])
        rounds["matrix"].append(timed(matrix, operator, chunk)[0])
    row_ms = 1e3 * statistics.median(rounds["row"])
    matrix_ms = 1e3 * statistics.median(rounds["matrix"]) * operator.d_inner / MATRIX_CHANNELS
    rollout = timed(lambda: attention_rollout(trace, sampled=1))[0]
    return {"row": row_ms, "matrix": matrix_ms, "rollout": 1e3 * rollout}


def main() -> None:
    torch.set_grad_enabled(False)
    header = (
        "| frames | tokens | row, MiB | roll-out, MiB | scan inputs of the layer, MiB "
        "| block inputs of all layers, MiB |"
    )
    lines = [header, "|---|---|---|---|---|---|"]
    peaks: dict[str, list[float]] = {"row": [], "roll-out": []}
    tokens, at_16 = [], {}
    for frames in FRAMES:
        trace = record("kaist_small", frames)
        found = memory(trace, LAYER)
        tokens.append(trace.grid.seqlen)
        lines.append(
            f"| {frames} | {tokens[-1]} | " + " | ".join(f"{v:.0f}" for v in found.values()) + " |"
        )
        print(lines[-1], flush=True)
        for name, values in peaks.items():
            values.append(found[name])
        if frames == 16:
            at_16 = times(trace, LAYER)
            print(at_16, flush=True)
    slopes = {
        name: math.log(values[-1] / values[0]) / math.log(tokens[-1] / tokens[0])
        for name, values in peaks.items()
    }
    text = f"""# What reading a scan as an operator costs

Written by `python tests/bench/scan_operator.py` on {machine()}. `kaist_small`, random weights, one
clip, float32, layer {LAYER}, both directions, every channel. The most that is held at one time
beyond the recording, every tensor counted:

{chr(10).join(lines)}

From the shortest to the longest clip memory grows as tokens to the power of
{slopes["row"]:.2f} (row) and {slopes["roll-out"]:.2f} (roll-out); a matrix over all pairs of tokens
would grow with the power of 2.

At 16 frames (1 569 tokens, 768 channels): a row {at_16["row"]:.1f} ms (medians of {ROUNDS} rounds).
The matrix {at_16["matrix"] / 1e3:.0f} s, {at_16["matrix"] / at_16["row"]:.0f} times as long,
measured on {MATRIX_CHANNELS} of the channels and scaled to all. A roll-out over all 24 layers
{at_16["rollout"] / 1e3:.1f} s, of which most is making the layers again from their inputs.
"""
    pathlib.Path(__file__).with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
