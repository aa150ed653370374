"""Peak memory, against blocks of known size and torch's profiler."""

import dataclasses
import threading

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from vmamba_explore.analysis.peak_memory import peak_bytes
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.studies.scaling.cost import forward_pass
from vmamba_explore.studies.scaling.joint_attention import JointAttention

MIB = 2**20
CONFIG = VideoMambaConfig.preset("toy")


def test_the_peak_is_what_was_held_at_one_time():
    def one_after_the_other():
        for _ in range(4):
            torch.zeros(3 * MIB, dtype=torch.uint8)

    def together():
        kept = [torch.zeros(3 * MIB, dtype=torch.uint8) for _ in range(4)]
        del kept

    assert peak_bytes(one_after_the_other) == 3 * MIB
    assert peak_bytes(together) == 12 * MIB


def test_the_peak_leaves_out_what_was_there_before_and_what_is_freed_first():
    before = torch.zeros(50 * MIB, dtype=torch.uint8)
    held = [before]

    def run():
        held.clear()
        torch.zeros(MIB, dtype=torch.uint8)

    del before
    assert peak_bytes(run) == MIB


def test_views_and_in_place_results_are_no_new_memory():
    weight = torch.zeros(10 * MIB, dtype=torch.uint8)

    def run():
        weight.view(10, -1).T.add_(1)

    assert peak_bytes(run) == 0


def test_memory_that_another_thread_frees_is_struck_off():
    def run():
        for _ in range(4):
            held = [torch.zeros(3 * MIB, dtype=torch.uint8)]
            thread = threading.Thread(target=held.clear)
            thread.start()
            thread.join()

    assert peak_bytes(run) == 3 * MIB


def test_what_a_gradient_needs_is_held_until_it_is_there():
    weight = torch.zeros(MIB // 4, requires_grad=True)
    depth = 6

    def run():
        value = weight
        for _ in range(depth):
            value = value.exp()  # its result is kept for the gradient
        value.sum().backward()

    try:
        assert depth * MIB <= peak_bytes(run) <= (depth + 2) * MIB + 64
    finally:
        weight.grad = None


def test_the_ledger_agrees_with_torch_s_profiler():
    run = forward_pass(JointAttention, dataclasses.replace(CONFIG, img_size=64, d_model=64))(64)
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        run()
    changes = [
        (event.start_ns(), event.nbytes())
        for event in profile.profiler.kineto_results.events()
        if event.name() == "[memory]"
    ]
    profiled = np.cumsum([change for _, change in sorted(changes)]).max()
    assert peak_bytes(run) == pytest.approx(profiled, rel=0.001)


def test_attention_that_keeps_its_scores_is_seen_to_keep_them():
    """Fused attention is one operation; written out, it makes a seqlen x seqlen matrix."""
    run = forward_pass(JointAttention, dataclasses.replace(CONFIG, img_size=64))(64)
    scores = 4 * (32 * 16 + 1) ** 2
    assert peak_bytes(run) < scores
    with sdpa_kernel(SDPBackend.MATH):
        assert peak_bytes(run) > 2 * scores
