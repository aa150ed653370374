"""What recording costs: `python tests/bench/record.py` (part of `make bench`).

Runs `kaist_small` on one clip of 16 frames of 224 x 224 pixels, random weights, with nothing and
with something recorded in turn, so that the ratio is one of neighbors. Each case runs in a process
of its own, since a peak of memory cannot be taken back.
"""

import json
import os
import statistics
import sys

from common import MIB, in_own_process, resident, timed

BOUNDARIES = ["*.hook_h_boundaries", "*.hook_block_input"]
CASES = {
    "nothing": None,
    "boundary states and block inputs of all layers": BOUNDARIES,
    "norms over channels of all layers": "*.hook_h_over_channels",
    "norms over states of all layers": "*.hook_h_over_states",
    "delta of all layers": "*.hook_delta",
    "every state of layer 12": "layers.12.*hook_h",
}
REPEATS = 7


def measure(case: str) -> dict[str, float]:
    """Median seconds, their ratio to a plain run's, and the peak of resident memory in MiB."""
    import torch

    from vmamba_explore import VideoMamba, VideoMambaConfig, run_with_trace, state_window

    torch.manual_seed(0)
    model = VideoMamba(VideoMambaConfig.preset("kaist_small")).eval()
    clips = torch.randn(1, 3, 16, 224, 224)
    names, times, result = CASES[case], {"plain": [], "recorded": []}, {}
    with torch.inference_mode():
        for _ in range(REPEATS + 1):  # the first one compiles
            if names is not None:
                seconds, (logits, trace) = timed(run_with_trace, model, clips, names)
                times["recorded"].append(seconds)
                result["recorded_mib"] = trace.nbytes / MIB
                if names is BOUNDARIES:
                    result["window_ms"] = 1e3 * statistics.median(
                        timed(state_window, trace, layer, "forward", 800, 864)[0]
                        for layer in range(24)
                    )
                del trace
            peak = resident("VmHWM") / MIB
            seconds, plain = timed(model, clips)
            times["plain"].append(seconds)
            if names is not None:
                assert torch.equal(plain, logits), "recording changed a logit"
    if names is None:
        peak = resident("VmHWM") / MIB
        return {"seconds": statistics.median(times["plain"][1:]), "peak_mib": peak}
    pairs = zip(times["recorded"][1:], times["plain"][1:], strict=True)
    return result | {
        "seconds": statistics.median(times["recorded"][1:]),
        "ratio": statistics.median(a / b for a, b in pairs),
        "peak_mib": peak,
    }


def main() -> None:
    print(f"load {os.getloadavg()[0]:.2f} before; medians of {REPEATS}; both directions each")
    print("| recorded | s | of a plain run | peak resident MiB | recording MiB | a window, ms |")
    print("|---|---|---|---|---|---|")
    for case in CASES:
        row = in_own_process(__file__, case)
        print(
            f"| {case} | {row['seconds']:.2f} | {row.get('ratio', 1):.2f} | {row['peak_mib']:.0f} "
            f"| {row.get('recorded_mib', 0):.0f} | {row.get('window_ms', float('nan')):.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
    else:
        main()
