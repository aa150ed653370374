"""The cost of MambaLRP beside one gradient: `python tests/bench/lrp.py` (`make bench`).

`kaist_small` with random weights on one clip of 16 frames of 224 x 224 pixels: an ordinary
gradient of a logit at the pixels, the same with every block run again (as `attribute` does where
memory is short), MambaLRP, and `relevance_flow`. Time: in one process in turn, so that ratios are
those of neighbors. Memory: every tensor counted; and the peak of the resident size, each case in
a process of its own. Writes lrp.md beside this file.
"""

import json
import pathlib
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace

import torch
from common import MIB, in_own_process, markdown, timed
from common import resident as resident_bytes

from vmamba_explore import VideoMamba, VideoMambaConfig
from vmamba_explore.analysis.peak_memory import peak_bytes
from vmamba_explore.attribution.lrp import mamba_lrp
from vmamba_explore.attribution.methods import make_problem
from vmamba_explore.attribution.problem import Problem
from vmamba_explore.attribution.relevance import relevance_flow
from vmamba_explore.studies.scaling.cost import machine

PRESET, ROUNDS = "kaist_small", 7
ASKED = 1.5


def gradient(problem: Problem, recompute: bool) -> object:
    """One ordinary gradient at the pixels."""
    limits = replace(problem.limits, recompute=recompute, gradient_rows=1)
    return replace(problem, limits=limits).gradient(problem.inputs)


CASES: dict[str, Callable[[Problem], object]] = {
    "one gradient": lambda problem: gradient(problem, recompute=False),
    "one gradient, blocks run again": lambda problem: gradient(problem, recompute=True),
    "MambaLRP, tokens": lambda problem: mamba_lrp(problem),
    "MambaLRP, pixels": lambda problem: mamba_lrp(problem, space="pixels"),
    "relevance flow": lambda problem: relevance_flow(
        problem.model, problem.inputs, 0, progress=False
    ),
}


def make(preset: str, **changes: int) -> Problem:
    """One clip and its problem."""
    torch.manual_seed(0)
    model = VideoMamba(VideoMambaConfig.preset(preset, **changes)).eval().requires_grad_(False)
    config = model.config
    clips = torch.randn(1, 3, config.num_frames, config.img_size, config.img_size)
    return make_problem(model, clips, 0)


def times(problem: Problem, rounds: int) -> dict[str, list[float]]:
    """Seconds of every case, in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in CASES}
    for turn in range(rounds + 1):  # the first one compiles
        for name, run in CASES.items():
            once, _ = timed(run, problem)
            if turn:
                seconds[name].append(once)
    return seconds


def counted(problem: Problem, name: str) -> float:
    """MiB of the tensors that a case holds at most."""
    return peak_bytes(lambda: CASES[name](problem)) / MIB


def resident(name: str, preset: str) -> float:
    """MiB by which a case raises the peak of the resident size above that of the loaded model.

    The process must be fresh: a peak cannot be taken back. What is compiled is compiled before, on
    a model of a few tokens.
    """
    CASES[name](make("toy"))
    problem = make(preset)
    before = resident_bytes("VmRSS")
    CASES[name](problem)
    return (resident_bytes("VmHWM") - before) / MIB


def table(preset: str, rounds: int) -> str:
    """The measurements, as Markdown."""
    peaks = {name: in_own_process(__file__, name, preset) for name in CASES}
    problem = make(preset)
    held = {name: counted(problem, name) for name in CASES}
    seconds = times(problem, rounds)
    first = next(iter(CASES))
    rows = []
    for name in CASES:
        ratios = [a / b for a, b in zip(seconds[name], seconds[first], strict=True)]
        cells = [f"{statistics.median(seconds[name]):.2f}"]
        cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        for memory in (held, peaks):
            cells += [f"{memory[name]:.0f}", f"{memory[name] / memory[first]:.2f}"]
        rows.append([name, *cells])
    header = ["one clip"]
    for measure in ("s", "tensors held, MiB", "resident above the model, MiB"):
        header += [measure, "of a gradient"]
    return "\n".join(markdown(header, rows))


def main() -> None:
    text = f"""# What MambaLRP costs beside one gradient

Written by `python tests/bench/lrp.py` on {machine()}. `{PRESET}`, random weights, one clip of 16
frames of 224 x 224 pixels, float32. Medians of {ROUNDS} rounds, ratios to the gradient of the same
round; the resident size in processes of their own. At most {ASKED} times a gradient was asked for.

{table(PRESET, ROUNDS)}

MambaLRP hands relevance back one block at a time, each made again from its input, so it holds the
inputs of all blocks and the graph of one.
"""
    print(text)
    pathlib.Path(__file__).with_suffix(".md").write_text(text)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(resident(*sys.argv[1:])))
    else:
        main()
