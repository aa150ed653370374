"""What `models.py` runs: the models, and the measuring of one cell in a process of its own.

    python tests/bench/model_runs.py '{"kind": "memory", ...}'

prints one line of JSON.
"""

import contextlib
import json
import os
import sys
import time

from common import forget_peak, resident

OURS = "kaist_small"
NUM_CLASSES = 400


# Each builder gives a module, the axes of its input before height and width, and what takes the
# logits out of its output.


def preset(frames, size, **small):
    from vmamba_explore import VideoMambaConfig

    sizes = {"num_frames": frames, "img_size": size, "num_classes": NUM_CLASSES}
    return VideoMambaConfig.preset(OURS, **sizes, **small)


def kaist_small(frames, size, **small):
    from vmamba_explore import VideoMamba

    return VideoMamba(preset(frames, size, **small)), (3, frames), lambda out: out


def joint_attention(frames, size, **small):
    from vmamba_explore.studies.scaling.joint_attention import JointAttention

    return JointAttention(preset(frames, size, **small)), (3, frames), lambda out: out


def videomae_s(frames, size, depth=12):
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification

    config = VideoMAEConfig(
        image_size=size,
        num_frames=frames,
        hidden_size=384,
        num_hidden_layers=depth,
        num_attention_heads=6,
        intermediate_size=1536,
        num_labels=NUM_CLASSES,
        attn_implementation="sdpa",
    )
    return VideoMAEForVideoClassification(config), (frames, 3), lambda out: out.logits


def timesformer(frames, size, depth=12):
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    config = TimesformerConfig(
        image_size=size, num_frames=frames, num_hidden_layers=depth, num_labels=NUM_CLASSES
    )
    return TimesformerForVideoClassification(config), (frames, 3), lambda out: out.logits


def videoswin_t(frames, size, depth=None):
    from torchvision.models.video import swin3d_t

    return swin3d_t(num_classes=NUM_CLASSES), (3, frames), lambda out: out


MODELS = {  # name: (shown as, what it is, package it needs, builder)
    OURS: (OURS, "24 blocks, width 384, this project", None, kaist_small),
    "videomae_s": (
        "VideoMAE-S",
        "joint space-time attention, 12 blocks, width 384, SDPA",
        "transformers",
        videomae_s,
    ),
    "timesformer": (
        "TimeSformer",
        "divided space-time attention, 12 blocks, width 768, written out (it has no SDPA there)",
        "transformers",
        timesformer,
    ),
    "videoswin_t": (
        "VideoSwin-T",
        "attention in shifted windows, stages of 2, 2, 6, 2 blocks",
        "torchvision",
        videoswin_t,
    ),
    "joint_attention": (
        "JointAttention",
        "vmamba_explore.studies.scaling.joint_attention, 12 blocks, width 384, SDPA",
        None,
        joint_attention,
    ),
}


def prepared(name, frames, mode, dtype, device, size=224, **small):
    """A function of no arguments that runs a model once, and its number of parameters."""
    import torch

    torch.manual_seed(0)
    model, axes, logits = MODELS[name][3](frames, size, **small)
    half = getattr(torch, dtype)
    model = model.to(device, dtype=half if mode == "forward" else torch.float32)
    clip = torch.randn(1, *axes, size, size, device=device)
    parameters = sum(weight.numel() for weight in model.parameters())
    if mode == "forward":
        model.eval()
        clip = clip.to(half)
        return torch.inference_mode()(lambda: logits(model(clip))), parameters
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    label = torch.zeros(1, dtype=torch.long, device=device)
    autocast = torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16")

    def step():
        optimizer.zero_grad(set_to_none=True)
        with autocast:
            loss = torch.nn.functional.cross_entropy(logits(model(clip)).float(), label)
        loss.backward()
        optimizer.step()

    return step, parameters


def synchronize(device):
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def limit_memory(limit):
    """Let allocations beyond `limit` bytes fail, before the machine runs out of memory."""
    with contextlib.suppress(ImportError, ValueError, AttributeError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def memory_worker(job):
    import torch

    device = job["device"]
    cell = (job["mode"], job["dtype"], device)
    if device == "cpu":
        limit_memory(job["limit"])
    prepared(job["model"], 2, *cell, size=32, depth=2)[0]()  # loads libraries, compiles kernels
    run, parameters = prepared(job["model"], job["frames"], *cell)
    if device == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    else:
        forget_peak()
        before = resident("VmRSS")
    run()  # the second run of a training step has the optimizer's state
    synchronize(device)
    started = time.perf_counter()
    run()
    synchronize(device)
    seconds = time.perf_counter() - started
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else resident("VmHWM")
    return {
        "peak_bytes": peak,
        "above_loaded_bytes": peak - before,
        "seconds": seconds,
        "parameters": parameters,
    }


def time_worker(job):
    device = job["device"]
    if device == "cpu":
        limit_memory(job["limit"])
    cell = (job["frames"], job["mode"], job["dtype"], device)
    runs = {name: prepared(name, *cell)[0] for name in job["models"]}
    seconds = {name: [] for name in runs}
    core_seconds = {name: [] for name in runs}
    load = [os.getloadavg()[0]]
    order = list(runs)
    for number in range(job["rounds"] + 1):
        for name in order:
            synchronize(device)
            clock, core = time.perf_counter(), time.process_time()
            runs[name]()
            synchronize(device)
            if number:  # the first round compiles and touches buffers
                seconds[name].append(time.perf_counter() - clock)
                core_seconds[name].append(time.process_time() - core)
        order.append(order.pop(0))  # nobody always comes after the same one
    load.append(os.getloadavg()[0])
    return {"seconds": seconds, "core_seconds": core_seconds, "load": load}


if __name__ == "__main__":
    task = json.loads(sys.argv[1])
    print(json.dumps({"memory": memory_worker, "time": time_worker}[task.pop("kind")](task)))
