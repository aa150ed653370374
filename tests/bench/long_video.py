"""A model watching a 10-minute video: `python tests/bench/long_video.py` (`make bench`).

Generated videos: motion clips played one after the other, 64 x 64 pixels at 8 frames a second for
`motion-nano`, 224 x 224 pixels at 25 for `kaist_small` (random weights). Each cell runs in a
process of its own, since a peak of memory cannot be taken back. Writes long_video.md beside this
file. With a name of a device (`cuda`), models run there.
"""

import json
import os
import pathlib
import sys
import tempfile

import av
import numpy as np
import torch
from common import MIB, forget_peak, in_own_process, resident

from vmamba_explore import VideoMamba, VideoMambaConfig, load_model
from vmamba_explore.analysis.peak_memory import peak_bytes
from vmamba_explore.analysis.timeline import Timeline
from vmamba_explore.app import watch
from vmamba_explore.clips.motion import CLASS_NAMES, MotionClips
from vmamba_explore.studies.scaling.cost import machine

MINUTES, SEED = (1, 3, 10, 30), 20_000
VIDEOS = {"motion-nano": (64, 8), "kaist_small": (224, 25)}  # pixels, frames a second
SMALL_SECONDS = {"cpu": (10, 60, 600), "cuda": (60, 600)}


def clips_of(pixels: int) -> MotionClips:
    """Clips over photographs that `motion-nano` never saw."""
    return MotionClips(SEED, num_frames=16, img_size=pixels, backgrounds="test")


def write_video(path: pathlib.Path, seconds: float, pixels: int, fps: int) -> None:
    """Play motion clips one after the other; no more than one is held."""
    clips = clips_of(pixels)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width = stream.height = pixels
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "18", "preset": "veryfast", "threads": "1"}
        for number in range(round(seconds * fps / 16)):
            for frame in clips.batch([number])[0][0]:
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
                container.mux(stream.encode(picture))
        container.mux(stream.encode())


def measure(job: dict) -> dict[str, float]:
    """Watch one video: memory above the loaded model, speed, and how often it is right."""
    name, device = job["model"], job["device"]
    torch.manual_seed(0)
    if name == "motion-nano":
        model, stride = load_model(name), 1
    else:
        model, stride = VideoMamba(VideoMambaConfig.preset(name)).eval(), 2
    model.to(device)
    options = {"stride": stride, "hop": job.get("hop"), "by_frame": job.get("by_frame", False)}
    with tempfile.TemporaryDirectory() as folder:  # compiles, and fills what libraries keep
        first = pathlib.Path(folder) / "first.mp4"
        write_video(first, 8.0, *VIDEOS[name])
        watch(first, model, progress=False, **options)
    found: list[Timeline] = []

    def run() -> None:
        found.append(watch(job["path"], model, progress=False, **options))

    if job.get("tensors"):
        return {"tensors": peak_bytes(run, device) / MIB}
    forget_peak()
    before = resident("VmRSS")
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    run()
    (timeline,) = found
    result = {
        "seconds": timeline.watched,
        "windows": len(timeline),
        "failed": int(timeline.failed.sum()),
        "realtime": timeline.realtime,
        "resident": (resident("VmHWM") - before) / MIB,
    }
    if device != "cpu":
        result["gpu"] = torch.cuda.max_memory_allocated() / MIB
    if name == "motion-nano":
        result["right"] = right(timeline)
    return result


def right(timeline: Timeline) -> float:
    """The share of the video's motions that are named at the moment in their middle."""
    plan = clips_of(64).plan(range(int(timeline.seconds * 8 // 16)))
    middles = (np.arange(len(plan.labels)) * 16 + plan.windows.mean(1) + 0.5) / 8
    names = [timeline.table["name"][timeline.window_at(moment)] for moment in middles]
    return float(np.mean([names[i] == CLASS_NAMES[label] for i, label in enumerate(plan.labels)]))


def tables(folder: pathlib.Path, device: str) -> str:
    """The measurements, as Markdown."""
    nano, small = VIDEOS
    lines = [
        "| model | video | windows | frames from one to the next | times as fast as it plays "
        "| tensors held at most, MiB | resident above the loaded model, MiB "
        "| motions named right |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for minutes in MINUTES:
        path = folder / f"{nano}-{minutes}.mp4"
        write_video(path, 60 * minutes, *VIDEOS[nano])
        job = {"model": nano, "device": device, "path": str(path)}
        for options in [{}, {"hop": 4}, {"by_frame": True}] if minutes == 10 else [{}]:
            lines.append(line(job, **options))
    for seconds in SMALL_SECONDS[device]:
        path = folder / f"{small}-{seconds}.mp4"
        write_video(path, seconds, *VIDEOS[small])
        job = {"model": small, "device": device, "path": str(path)}
        lines.append(line(job))
    return "\n".join(lines)


def line(job: dict, hop: int = 16, by_frame: bool = False) -> str:
    """One line of the table."""
    job = job | {"hop": hop, "by_frame": by_frame}
    jobs = (job, job | {"tensors": True})
    found, counted = (in_own_process(__file__, json.dumps(each)) for each in jobs)
    found |= counted
    print(job, found, file=sys.stderr, flush=True)
    pixels, fps = VIDEOS[job["model"]]
    memory = f"{found['resident']:.0f}" + (f", GPU {found['gpu']:.0f}" if "gpu" in found else "")
    right = f"{found['right']:.1%}" if "right" in found else ""
    return (
        f"| `{job['model']}`{', evidence by frame' if by_frame else ''} "
        f"| {found['seconds']:.0f} s, {pixels} x {pixels} at {fps} | {found['windows']} | {hop} "
        f"| {found['realtime']:.2f} | {found['tensors']:.1f} | {memory} | {right} |"
    )


def main(device: str) -> None:
    """Measure and write."""
    with tempfile.TemporaryDirectory() as folder:
        table = tables(pathlib.Path(folder), device)
    text = f"""# A long video through a sliding window

Written by `python tests/bench/long_video.py` on {machine()},
load {os.getloadavg()[0]:.1f} at the end.

Videos made of motion clips played one after the other, over photographs that `motion-nano` never
saw. `motion-nano` reads every frame (a window is 2 s), `kaist_small` (random weights) every
second one (a window is 1.28 s). Windows of 16 frames, 4 at once; 16 frames from one to the next is
side by side. Decoding, step sizes and evidence are in the time. Right: the class of the window that
stands for the middle of a motion is that motion. Tensors are counted one by one, in a run of their
own; the resident size also has what the allocator keeps for later. Each run is a process of its
own, which has watched 8 s before.

{table}
"""
    print(text)
    if device == "cpu":
        pathlib.Path(__file__).with_suffix(".md").write_text(text)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1].startswith("{"):
        print(json.dumps(measure(json.loads(sys.argv[1]))))
    else:
        main(sys.argv[1] if len(sys.argv) > 1 else "cpu")
