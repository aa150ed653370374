"""Trainings in processes of their own, and what their checkpoints hold."""

import os
import subprocess
import sys

import torch

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def start(*words, **options):
    """Start Python with these words and one thread; `communicate` gives what it prints."""
    return subprocess.Popen(
        [sys.executable, *words],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finished(*words, **options):
    """Return what a process prints that comes to a good end."""
    process = start(*words, **options)
    said, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return said


def first_gradient(checkpoint):
    """All gradients of the first step, as AdamW's mean of one step keeps them."""
    states = torch.load(checkpoint, weights_only=True)["optimizer"]["state"]
    return torch.cat([state["exp_avg"].flatten() for state in states.values()])
