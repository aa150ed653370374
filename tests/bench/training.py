"""What training promises, measured: `python tests/bench/training.py` writes training.md.

motion-nano learns four of its motions anew, with another head, from H.264 files, by the command
`vmamba-explore train`: in one go, killed with SIGKILL again and again, on two processes, and in
bfloat16. Everything runs in a temporary folder. No time is measured here.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from tqdm.auto import tqdm

from vmamba_explore.clips.encode import write_clip
from vmamba_explore.clips.motion import CLASS_NAMES, MotionClips

CLASSES = 4
VIDEOS = {"train": 160, "test": 60}
TRAIN = (
    "train --data folders:train --validation folders:test --model motion-nano --stride 1 "
    "--order-matters --epochs 4 --batch-size 8 --checkpoint-every 7 --workers 1 --no-tensorboard"
)
EVALUATE = "evaluate --data folders:test --model whole/model --views 2x3 --stride 1 --workers 1"
KILLS = 3
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_videos()
        for name, words, processes in (
            ("whole", "", 1),
            ("two", "", 2),
            ("bf16", "--precision bf16", 1),
            ("parts", "--parts 3", 1),
            ("twice", "--recompute", 1),
        ):
            finish(start(f"{TRAIN} --output {name} {words}", processes))
        steps = kill_again_and_again(f"{TRAIN} --output killed", "killed")
        finish(start(f"{EVALUATE} --output one.csv", 1))
        tests = kill_again_and_again(f"{EVALUATE} --output killed.csv", "killed.csv", kills=1)
        finish(start(f"{EVALUATE} --output two.csv", 2))
        text = report(steps, tests)
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


def write_videos() -> None:
    """Clips of the first motions over photographs, the test's over others."""
    for seed, (part, count) in enumerate(VIDEOS.items()):
        clips = MotionClips(seed + 70, distractors="none", backgrounds=part)
        pool = np.arange(count * 20)
        chosen = pool[clips.plan(pool).labels < CLASSES][:count]
        frames, labels = clips.batch(chosen)
        for number, (pixels, label) in enumerate(zip(frames, labels, strict=True)):
            place = Path(part) / CLASS_NAMES[label]
            place.mkdir(parents=True, exist_ok=True)
            write_clip(place / f"{number:03}.mp4", pixels, fps=16)


def start(words: str, processes: int = 1) -> subprocess.Popen:
    many = TORCHRUN if processes > 1 else ()
    return subprocess.Popen(
        [sys.executable, *many, "-m", "vmamba_explore.cli", *words.split()],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate()
    if process.returncode:
        sys.exit(errors.decode())


def kill_again_and_again(words: str, output: str, kills: int = KILLS) -> list[int]:
    """Kill a command that is at work, start it again, and let the last one finish."""
    reached = []
    draw = random.Random(0)
    for _ in tqdm(range(kills), desc=f"killing {output}", unit="kill"):
        before = progress(output)
        process = start(words)
        while progress(output) <= before and process.poll() is None:
            time.sleep(0.2)
        time.sleep(draw.random() * 3)
        if process.poll() is not None:
            sys.exit("it was done before it could be killed")
        process.send_signal(signal.SIGKILL)
        process.communicate()
        reached.append(progress(output))
    finish(start(words))
    return reached


def progress(output: str) -> int:
    """The step of a run's checkpoint, or the rows of a test."""
    path = Path(output)
    if path.suffix == ".csv":
        return max(path.read_text().count("\n") - 1, 0) if path.is_file() else 0
    checkpoint = path / "checkpoint.pt"
    return torch.load(checkpoint, weights_only=True)["step"] if checkpoint.is_file() else 0


def log(name: str) -> pd.DataFrame:
    return pd.read_csv(Path(name) / "log.csv").drop(columns="seconds")


def weights(name: str) -> dict[str, torch.Tensor]:
    return load_file(Path(name) / "model" / "model.safetensors")


def distance(name: str) -> tuple[float, float]:
    """How far the weights are from the whole run's: largest difference, and share of the way
    that training went."""
    before, other = load_start(), weights(name)
    ours = weights("whole")
    largest = max(float((other[n] - v).abs().max()) for n, v in ours.items())
    same = [n for n in ours if n in before and before[n].shape == ours[n].shape]
    apart = sum(float((other[n] - ours[n]).pow(2).sum()) for n in same) ** 0.5
    way = sum(float((ours[n] - before[n]).pow(2).sum()) for n in same) ** 0.5
    return largest, apart / way


def load_start() -> dict[str, torch.Tensor]:
    from vmamba_explore import load_model

    return load_model("motion-nano").state_dict()


def report(steps: list[int], tests: list[int]) -> str:
    whole = log("whole")
    final = {n: pd.read_csv(Path(n) / "validation.csv") for n in ("whole", "two", "bf16")}
    lines = [
        "# Training",
        "",
        f"`python tests/bench/training.py`: motion-nano learns {CLASSES} classes anew from "
        f"{VIDEOS['train']} H.264 files by `vmamba-explore {TRAIN}`; torch {torch.__version__}, "
        "CPU.",
        "",
        f"| | top-1 on {VIDEOS['test']} other videos, after each epoch (95 % of the last) |",
        "|---|---|",
    ]
    for name, table in final.items():
        last = table.iloc[-1]
        shares = ", ".join(f"{share:.1%}" for share in table["top1"])
        lines.append(f"| {name} | {shares} ({last['top1_low']:.1%} to {last['top1_high']:.1%}) |")
    lines += [
        "",
        "| against the run in one go | largest difference of a row of the log (loss) | of a weight "
        "| of all weights, as a share of the way they went |",
        "|---|---|---|---|",
    ]
    for name, words in {
        "killed": f"killed by SIGKILL {len(steps)} times, checkpoints then at step "
        + ", ".join(map(str, steps)),
        "twice": "`--recompute`",
        "parts": "`--parts 3`",
        "two": "two processes (gloo), the same batches",
        "bf16": "`--precision bf16`",
    }.items():
        rows = float((log(name)["loss"] - whole["loss"]).abs().max())
        largest, share = distance(name)
        equal = log(name).equals(whole) and largest == 0
        cells = (
            ("0: the same bits", "0", "0")
            if equal
            else (f"{rows:.4f}", f"{largest:.1e}", f"{share:.1e}")
        )
        lines.append(f"| {words} | {' | '.join(cells)} |")
    one = Path("one.csv").read_text()
    same = {n: Path(f"{n}.csv").read_text() == one for n in ("killed", "two")}
    lines += [
        "",
        "Rows of the log are rounded to four digits. bfloat16 is another arithmetic, not an error: "
        "it is here for its size.",
        "",
        f"`vmamba-explore {EVALUATE}`: killed by SIGKILL after {tests[0]} of {VIDEOS['test']} "
        f"videos and started again, its file is {'the same' if same['killed'] else 'ANOTHER'} to "
        f"the byte; made by two processes, {'likewise' if same['two'] else 'ANOTHER'}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
