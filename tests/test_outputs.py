"""Every file that a user gets is written whole or not at all: a full disk and a kill lose nothing.

`python tests/test_outputs.py FOLDER` writes each output over an earlier one, once as the system
refuses the second half of it and once as the system kills the process there, and prints what came.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
from functools import partial

import pytest

WRITERS = (
    "Explorer.to_html",
    "Explorer.to_png",
    "Explorer.to_gif",
    "Explorer.to_mp4",
    "Explorer.to_csv",
    "Explorer.to_zarr",
    "Timeline.to_csv",
    "SparseFeatures.save",
    "export_onnx",
    "feature_page",
    "figures.save",
    "fit",
    "neighbors_page",
    "report",
    "scorecard_page",
    "timeline_page",
    "write_clip",
    "write_json",
)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What came of each writer, by name."""
    folder = tmp_path_factory.mktemp("outputs")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, __file__, str(folder)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.kill
@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files there")
@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_and_a_kill_keep_the_earlier_file_byte_for_byte(results, name):
    result = results[name]
    assert "File too large" in result["message"] and "\n" not in result["message"]
    assert result["full"] == {"kept": True, "beside": []}
    assert result["killed_by"] == "SIGXFSZ"
    assert result["kill"]["kept"]
    assert all(left.endswith(".part") for left in result["kill"]["beside"])
    assert result["again"]


def writers(folder):
    """The functions that write, by name, each with the path it writes to."""
    import numpy as np
    import torch

    import vmamba_explore as vx
    from vmamba_explore import resources
    from vmamba_explore.clips.encode import write_clip
    from vmamba_explore.clips.motion import MotionClips
    from vmamba_explore.files import write_json
    from vmamba_explore.model.config import VideoMambaConfig
    from vmamba_explore.model.videomamba import VideoMamba
    from vmamba_explore.studies.scorecard.page import scorecard_page
    from vmamba_explore.training.fit import fit
    from vmamba_explore.training.recipe import Recipe

    clip = resources.path(f"clips/{resources.CLIPS[0]}.mp4")
    model = vx.load_model("motion-nano")
    explorer = vx.explore(clip, model, progress=False)
    row = vx.Neighbor(0, 0, 1.0, str(clip), "", (0, 2, 4, 6), (0.0, 0.1, 0.2, 0.3))
    near = vx.Neighbors(row, (row,), "embedding", "cosine", 1, 0, "motion-nano", 64)
    filmed = [vx.load_clip(clip, num_frames=16, img_size=64)]
    rows = vx.analysis.record_activations(model, filmed, vx.analysis.Site(1))
    features = vx.analysis.train_features(rows, width=8, k=2, steps=2, batch_size=8)
    timeline = vx.watch(clip, model, progress=False)
    figure = vx.figures.frames(vx.load_clip(clip, num_frames=16, img_size=64))
    frames = np.random.default_rng(0).integers(0, 255, (16, 64, 64, 3), np.uint8)

    def train(path):
        config = VideoMambaConfig.preset("toy", num_frames=8, img_size=32, num_classes=10)
        clips = MotionClips(0, num_frames=8, img_size=32)
        torch.manual_seed(0)
        batches = lambda step: clips.batch(np.arange(2) + 2 * step)  # noqa: E731
        steps = 1 + int(path.exists())  # resumes, and writes anew
        fit(VideoMamba(config), batches, Recipe(steps=2), path, until=steps)

    found = {
        f"Explorer.to_{kind}": (
            partial(getattr(explorer, f"to_{kind}"), overwrite=True),
            folder / f"explorer.{kind}",
        )
        for kind in ("html", "png", "gif", "mp4", "csv", "zarr")
    }
    found |= {
        "Timeline.to_csv": (timeline.to_csv, folder / "timeline.csv"),
        "figures.save": (
            lambda path: vx.figures.save(figure, path, overwrite=True),
            folder / "figure.html",
        ),
        "export_onnx": (lambda path: vx.export_onnx(model, path), folder / "model.onnx"),
        "fit": (train, folder / "checkpoint.pt"),
        "neighbors_page": (lambda path: vx.neighbors_page(near, path), folder / "neighbors.html"),
        "report": (lambda path: vx.report(clip, path, model=model), folder / "report.html"),
        "SparseFeatures.save": (
            lambda path: features.save(path.parent),
            folder / "features.safetensors",
        ),
        "feature_page": (
            lambda path: vx.feature_page(model, features, rows, path, filmed),
            folder / "features.html",
        ),
        "scorecard_page": (scorecard_page, folder / "scores.html"),
        "timeline_page": (
            lambda path: vx.timeline_page(timeline, path, "motion-nano"),
            folder / "timeline.html",
        ),
        "write_clip": (lambda path: write_clip(path, frames), folder / "clip.mp4"),
        "write_json": (lambda path: write_json(path, [1] * 100), folder / "numbers.json"),
    }
    return found


def content(path):
    """All bytes of a file or folder."""
    if path.is_dir():
        return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}
    return {"": path.read_bytes()}


def in_a_child(write, path, most, action):
    """Write in a child process that may not make a file of more than `most` bytes."""
    import resource

    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        signal.signal(signal.SIGXFSZ, action)
        message = "no error"
        try:
            write(path)
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
        os.write(writer, message.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        message = file.read().decode()
    _, status = os.waitpid(child, 0)
    return message, signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else ""


def state(path, before, others):
    beside = sorted(set(os.listdir(path.parent)) - others)
    return {"kept": content(path) == before, "beside": beside}


def main(folder):
    results = {}
    for name, (write, path) in writers(folder).items():
        write(path)
        before, others = content(path), set(os.listdir(folder))
        most = max(map(len, before.values())) // 2
        message, _ = in_a_child(write, path, most, signal.SIG_IGN)
        full = state(path, before, others)
        _, killed_by = in_a_child(write, path, most, signal.SIG_DFL)
        kill = state(path, before, others)
        write(path)
        again = path.exists()
        results[name] = {"message": message, "full": full, "killed_by": killed_by} | {
            "kill": kill, "again": again,
        }  # fmt: skip
    sys.stdout.write(json.dumps(results))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
