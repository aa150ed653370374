"""A data set through a model into a store: `python tests/bench/extraction.py`.

Videos a second in one process and on a Dask cluster of one and two processes, the peak memory of
each process as the list grows, ten kills at random moments, one of two workers killed, and the size
beside the dry run's. Generated motion clips: 64 x 64 pixels for `motion-nano`, 224 x 224 for the
preset `kaist_tiny` (random weights). Every cell is a process of its own. Writes extraction.md
beside this file; `--files 40 --large 3 --kills 2 --output /tmp/try.md` tries it.
"""

import argparse
import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import torch
from common import MIB, in_own_process, resident
from distributed import Client, LocalCluster

from vmamba_explore import VideoMamba, VideoMambaConfig, extract, load_model, store_size
from vmamba_explore.clips.encode import write_clip
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.studies.scaling.cost import machine

SEED = 21_000
QUANTITIES = ["embedding", "logits", "delta:float16", "h_boundaries:float16"]
PIXELS = {"motion-nano": 64, "kaist_tiny": 224}


def write_films(folder: pathlib.Path, count: int, pixels: int) -> None:
    """Write motion clips as video files, those that are not there yet."""
    clips = MotionClips(SEED, num_frames=16, img_size=pixels, backgrounds="test")
    for number in range(count):
        path = folder / f"{number:05}.mp4"
        if not path.exists():
            write_clip(path, clips.batch([number])[0][0])


def model_of(name: str) -> VideoMamba:
    """The model of a cell."""
    if name == "motion-nano":
        return load_model(name)
    torch.manual_seed(0)
    return VideoMamba(VideoMambaConfig.preset(name)).eval()


def paths_of(job: dict) -> list[pathlib.Path]:
    """The films of a cell."""
    return sorted(pathlib.Path(job["films"]).glob("*.mp4"))[: job["count"]]


def run(job: dict, client: Client | None = None) -> None:
    """Extract the films of a cell."""
    extract(
        model_of(job["model"]),
        paths_of(job),
        job["store"],
        quantities=QUANTITIES,
        stride=1,
        client=client,
        progress=False,
    )


def peak(dask_worker: object = None) -> int:
    """Bytes of this process at most, for workers, which have no file `common`."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


def kill_one(client: Client, store: pathlib.Path, when: int) -> None:
    """Kill one of the workers when so many videos are done."""
    import threading

    pid = next(iter(client.run(os.getpid).values()))

    def wait() -> None:
        while len(list(store.glob("done/c/*"))) < when:
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def measure(job: dict) -> dict:
    """One cell: how fast, and how much memory each process takes."""
    store, workers = pathlib.Path(job["store"]), job["workers"]
    if job.get("dry"):
        size = store_size(model_of(job["model"]), paths_of(job), quantities=QUANTITIES, stride=1)
        return {"total": size.total, "files": size.files, "hours": size.hours}
    torch.set_num_threads(1)
    found: dict = {}
    if workers:
        with (
            LocalCluster(
                n_workers=workers, threads_per_worker=1, memory_limit=0,
                dashboard_address="127.0.0.1:0",
            ) as cluster,
            Client(cluster) as client,
        ):  # fmt: skip
            if job.get("kill"):
                kill_one(client, store, job["count"] // 3)
            run(job, client)
            found["workers"] = sorted(client.run(peak).values())
    else:
        run(job)
        found["workers"] = []
    times = sorted(path.stat().st_mtime for path in store.glob("done/c/*"))
    found["done"] = len(times)
    found["rate"] = (len(times) - 1) / (times[-1] - times[0])
    return found | {"main": resident("VmHWM"), "hash": digest(store)}


def digest(store: pathlib.Path) -> str:
    """A hash of all files of a store and their names."""
    whole = hashlib.sha256()
    for path in sorted(path for path in store.rglob("*") if path.is_file()):
        whole.update(path.relative_to(store).as_posix().encode() + path.read_bytes())
    return whole.hexdigest()[:16]


def stamps(store: pathlib.Path) -> dict[str, int]:
    """When each video was done, by its number."""
    files = [path for path in store.glob("done/c/*") if path.name.isdigit()]
    return {path.name: path.stat().st_mtime_ns for path in files}


def killed(job: dict, kills: int, seconds: float) -> dict:
    """Kill the main process at random moments, run it to its end, and compare all bytes."""
    store, draw = pathlib.Path(job["store"]), random.Random(SEED)
    again, written = 0, {}
    for _ in range(kills):
        process = subprocess.Popen([sys.executable, __file__, json.dumps(job)])
        before = len(written)
        while len(stamps(store)) <= before and process.poll() is None:
            time.sleep(0.002)
        time.sleep(draw.uniform(0, seconds))
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = stamps(store)
        again += sum(now.get(name) != stamp for name, stamp in written.items())
        written = now
    found = in_own_process(__file__, json.dumps(job))
    now = stamps(store)
    again += sum(now.get(name) != stamp for name, stamp in written.items())
    return found | {"again": again, "reached": len(written)}


def main() -> None:
    """Measure all cells and write what came."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--large", type=int, default=40)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--output", default=str(pathlib.Path(__file__).with_suffix(".md")))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = report(pathlib.Path(folder), options.files, options.large, options.kills)
    pathlib.Path(options.output).write_text(text)
    print(text)


def report(folder: pathlib.Path, count: int, large: int, kills: int) -> str:
    """Measure all cells in a folder; what came, as Markdown."""
    counts = {"motion-nano": count, "kaist_tiny": large}
    jobs, cells, rows, memory, hashes = {}, {}, [], [], set()
    for name, many in counts.items():
        write_films(folder / name, many, PIXELS[name])
        one = 0.0
        for workers in (0, 1, 2):
            store = folder / f"{name}-{workers}.zarr"
            job = {
                "model": name, "films": str(folder / name), "count": many, "workers": workers,
                "store": str(store),
            }  # fmt: skip
            jobs[name, workers] = job
            found = cells[name, workers] = in_own_process(__file__, json.dumps(job))
            print(name, workers, found, flush=True)
            assert found["done"] == many
            if workers == 1:
                one = found["rate"]
            share = f"{found['rate'] / (workers * one):.0%}" if workers else ""
            how = f"{workers} on a cluster" if workers else "this one"
            rows.append(f"| `{name}` | {many} | {how} | {found['rate']:.2f} | {share} |")
            hashes.add((name, found["hash"]))
    few = {"count": max(4, count // 10), "workers": 0}
    several = {"count": few["count"], "store": str(folder / "several.zarr")}
    for many in (few["count"], count):
        alone, cluster = cells["motion-nano", 0], cells["motion-nano", 2]
        if many < count:
            job = jobs["motion-nano", 0] | few | {"store": str(folder / "whole.zarr")}
            whole = alone = in_own_process(__file__, json.dumps(job))
            job = jobs["motion-nano", 2] | several
            cluster = in_own_process(__file__, json.dumps(job))
        each = ", ".join(f"{size / MIB:.0f}" for size in cluster["workers"])
        memory.append(
            f"| {many} | {alone['main'] / MIB:.0f} | {cluster['main'] / MIB:.0f} | {each} |"
        )
    job = jobs["motion-nano", 0] | few | {"store": str(folder / "killed.zarr")}
    print(*memory, sep="\n", flush=True)
    torn = killed(job, kills, 0.5 * few["count"] / whole["rate"] / max(1, kills))
    job = jobs["motion-nano", 2] | {"count": few["count"], "kill": True}
    print("killed", torn, flush=True)
    lost = in_own_process(__file__, json.dumps(job | {"store": str(folder / "lost.zarr")}))
    dry = in_own_process(__file__, json.dumps(jobs["motion-nano", 0] | {"dry": True}))
    files = [p for p in (folder / "motion-nano-0.zarr").rglob("*") if p.is_file()]
    real = sum(path.stat().st_size for path in files if path.name != "zarr.json")
    described = sum(path.stat().st_size for path in files if path.name == "zarr.json")
    said = "the same bytes in all three" if len(hashes) == 2 else f"other bytes: {sorted(hashes)}"
    return f"""# A data set into a store

Written by `python tests/bench/extraction.py` on {machine()}.

{", ".join(QUANTITIES)} of motion clips in H.264 files, all 16 frames, one clip a video; decoding is
in the time. Videos a second are those between the first one done and the last, so that the start of
processes is left out. Every process has one thread. Efficiency is beside one process on a cluster;
{said}.

| model | videos | processes | videos a second | efficiency |
|---|---|---|---|---|
{chr(10).join(rows)}

Peak memory, MiB resident, `motion-nano`:

| videos | one process | the main process of a cluster | its two workers |
|---|---|---|---|
{chr(10).join(memory)}

* {kills} kills (SIGKILL) of the main process at random moments, {torn["reached"]} of {few["count"]}
  videos done by then: {torn["again"]} videos were written again once they were done; the finished
  store has {"the same bytes as" if torn["hash"] == whole["hash"] else "OTHER BYTES THAN"} one that
  was not interrupted.
* One of two workers killed after a third of {few["count"]} videos: {lost["done"]} done,
  {"the same bytes as" if lost["hash"] == whole["hash"] else "OTHER BYTES THAN"} one process.
* Size of {count} videos: the dry run says {dry["total"]:,} bytes in {dry["files"]:,} files; there
  are {real:,} bytes in {len(files):,} files, {described:,} bytes of them descriptions not counted.
"""


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1].startswith("{"):
        print(json.dumps(measure(json.loads(sys.argv[1]))))
    else:
        main()
