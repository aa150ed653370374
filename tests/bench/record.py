"""What recording costs: `python tests/bench/record.py` (part of `make bench`).

Times `kaist_small` on one clip of 16 frames of 224 x 224 pixels, random weights, with nothing
recorded, with every state of one layer, and with the step sizes of all layers. Each case runs in a
process of its own, since a peak of memory cannot be taken back.
"""

import json
import resource
import statistics
import subprocess
import sys
import time

CASES = {
    "nothing": None,
    "every state of layer 12, both directions": "layers.12.*hook_h",
    "delta of all layers, both directions": "*hook_delta",
}
REPEATS = 5


def measure(case: str) -> dict[str, float]:
    """Median seconds, and the peak of resident memory in MiB."""
    import torch

    from vmamba_explore import VideoMamba, VideoMambaConfig, run_with_trace

    torch.manual_seed(0)
    model = VideoMamba(VideoMambaConfig.preset("kaist_small")).eval()
    clips = torch.randn(1, 3, 16, 224, 224)
    names, seconds, recorded = CASES[case], [], 0
    with torch.inference_mode():
        for _ in range(REPEATS + 1):  # the first one compiles
            started = time.perf_counter()
            if names is None:
                logits = model(clips)
            else:
                logits, trace = run_with_trace(model, clips, names)
                recorded = trace.nbytes
                del trace
            seconds.append(time.perf_counter() - started)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        plain = model(clips)
    assert torch.equal(plain, logits), "recording changed a logit"
    return {
        "seconds": statistics.median(seconds[1:]),
        "peak_mib": peak,
        "recorded_mib": recorded / 2**20,
    }


def main() -> None:
    print("| recorded | seconds (median of 5) | peak resident MiB | recording MiB |")
    print("|---|---|---|---|")
    for case in CASES:
        done = subprocess.run([sys.executable, __file__, case], capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        row = json.loads(done.stdout)
        print(
            f"| {case} | {row['seconds']:.2f} | {row['peak_mib']:.0f} | {row['recorded_mib']:.0f} |"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
    else:
        main()
