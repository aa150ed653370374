"""Many processes and lower precision: real processes, a toy model."""

import json
import signal
import sys

import pytest
import torch

from tests.vmamba_explore.toys import toy
from tests.vmamba_explore.training import runs
from vmamba_explore.training import processes
from vmamba_explore.training.fit import fit
from vmamba_explore.training.recipe import Recipe

SCRIPT = '''
import json, sys
from pathlib import Path
import numpy as np
import torch
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.training.fit import fit
from vmamba_explore.training.processes import accelerator
from vmamba_explore.training.recipe import Recipe

torch.set_num_threads(1)
checkpoint = Path(sys.argv[1])

def batches(step):
    """Seven clips, which two processes cannot share evenly, and once a single one."""
    generator = np.random.default_rng(step)
    labels = generator.integers(0, 2, 1 if step == 3 else 7)
    frames = generator.integers(0, 100, (len(labels), 4, 32, 32, 3))
    return (frames + 120 * labels[:, None, None, None, None]).astype(np.uint8), labels

torch.manual_seed(0)
model = VideoMamba(VideoMambaConfig.preset("toy", num_classes=2, depth=1))
run = accelerator()
recipe = Recipe(steps=60, learning_rate=1e-3, label_smoothing=0.1, checkpoint_every=20)
one = checkpoint.with_name(checkpoint.name + ".first")
fit(model, batches, recipe, one, accelerator=run, until=1)
history = fit(model, batches, recipe, checkpoint, accelerator=run)
if run.is_main_process:
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in history]
    print(json.dumps([run.num_processes, rows]))
'''


@pytest.fixture
def run(tmp_path):
    """Return a function: train in new processes, give what they print and their checkpoint."""
    (tmp_path / "script.py").write_text(SCRIPT)

    def start(checkpoint, world=1):
        many = runs.TORCHRUN if world > 1 else ()
        said = runs.finished(*many, "script.py", checkpoint, cwd=tmp_path)
        return json.loads(said), tmp_path / checkpoint

    return start


@pytest.mark.torchrun
def test_two_processes_train_as_one_with_the_same_batches(run):
    (_, history), checkpoint = run("one.pt")
    (world, rows), other = run("two.pt", world=2)
    assert world == 2
    for mine, theirs in zip(rows, history, strict=True):
        assert mine == pytest.approx(theirs, abs=1.01e-4)  # rows are rounded to 4 digits
    one, two = (
        runs.first_gradient(path.with_name(path.name + ".first")) for path in (checkpoint, other)
    )
    assert (two - one).norm() < 2e-6 * one.norm()  # measured: 1.8e-7
    # Measured after 60 steps: 3.7e-6. AdamW divides by the gradient's size, so round-off in a
    # gradient that is next to nothing moves a weight by more than round-off.
    for name, value in weights(checkpoint).items():
        torch.testing.assert_close(weights(other)[name], value, rtol=0, atol=5e-5)


def test_bfloat16_learns_and_keeps_float32_weights(tmp_path):
    frames = torch.arange(4)[:, None, None, None, None].expand(4, 4, 32, 32, 3).numpy() * 60

    def batches(step):
        return frames.astype("uint8"), (torch.arange(4) // 2).numpy()

    def train(precision):
        model = toy(num_classes=2, depth=1)
        run = processes.accelerator(precision)
        recipe = Recipe(steps=40, learning_rate=3e-3)
        return model, fit(model, batches, recipe, tmp_path / precision, accelerator=run)

    model, history = train("bf16")
    whole, _ = train("no")
    assert history[-1]["loss"] < 0.5
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not torch.equal(model.head.weight, whole.head.weight)  # it did run in bfloat16
    assert "forward" not in vars(model)  # no autocast stays behind


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_float16_without_a_gpu_is_refused(unchecked):
    with pytest.raises(ValueError, match="'fp16' needs a GPU; on a CPU use 'bf16' or 'no'"):
        processes.accelerator("fp16")


def test_a_missing_accelerate_is_named_with_the_command_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ImportError, match=r'pip install "vmamba-explore\[train\]"'):
        processes.accelerator()


def test_processes_that_see_different_checkpoints_are_stopped(tmp_path):
    class Other(processes.OneProcess):
        num_processes = 2

        def reduce(self, tensor, reduction="sum"):
            return tensor + 20  # the other one would go on at step 20

    with pytest.raises(ValueError, match="All processes must see the same folder"):
        fit(toy(), lambda step: None, Recipe(), tmp_path / "run.pt", accelerator=Other())


KILLED = """
import os, signal
import numpy as np
from vmamba_explore.training.processes import read_ahead

for _ in read_ahead(lambda number: np.zeros(2**20), range(9), workers=2):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.kill
def test_a_killed_process_leaves_no_worker_behind():
    """A worker that has more to hand over than a pipe takes would wait for ever."""
    process = runs.start("-c", KILLED)
    said, _ = process.communicate(timeout=600)  # its workers hold the pipe, too
    assert said == ""
    assert process.returncode == -signal.SIGKILL


def weights(checkpoint):
    return torch.load(checkpoint, weights_only=True)["model"]
