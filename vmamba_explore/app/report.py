"""report(): one offline page about what a model does with a clip."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from vmamba_explore.analysis.states import state_norms
from vmamba_explore.app.explore import opened
from vmamba_explore.app.gather import gather
from vmamba_explore.app.question import Question
from vmamba_explore.clips import Clip
from vmamba_explore.deprecation import renamed_arguments
from vmamba_explore.files import atomic_write, output_path
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.record import run_with_trace, trace_size
from vmamba_explore.trace.trace import Trace
from vmamba_explore.view import figures
from vmamba_explore.view.explorer import Explorer
from vmamba_explore.view.page import FOOTER
from vmamba_explore.view.report import Section, report_page
from vmamba_explore.view.trust import camera_section, section_of

MAX_LAYERS = 6
"""A report shows at most this many layers, evenly chosen from the first to the last."""


@renamed_arguments(clip_path="clip")
def report(
    clip: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    model: str | VideoMamba | None = None,
    stride: int | None = 2,
    start: int | None = None,
    budget_gib: float = 1.0,
) -> Path:
    """Write one offline page about what a model does with a clip.

    Args:
        clip: A video file.
        output: The HTML file to write.
        model: A model, or a name for `load_model`. None takes the bundled model that fits the clip:
            camera-nano, except for clips made for another one.
        stride: Source frames from one clip frame to the next; None spreads the clip evenly over
            the whole file.
        start: First source frame, counted from 0; None takes the middle of the file.
        budget_gib: The most that the recording may hold, GiB; fewer layers are shown if need be.

    Returns:
        The path of the page.

    Raises:
        ClipError: the file cannot be read as a clip.
        FileNotFoundError: the folder of `output` does not exist.
        IsADirectoryError: `output` is a folder.
    """
    output = output_path(output, "report", [clip])
    shown, model, name = opened(clip, model, stride=stride, start=start)
    assert isinstance(shown, Clip)
    model.check_head("report")
    config = model.config
    layers = _affordable_layers(model, shown, budget_gib)
    with torch.no_grad():
        logits, trace = run_with_trace(model, shown, _hooks(layers), budget_gib)
    explorer = Explorer(gather(model, shown, Question(budget_gib=budget_gib, model_name=name)))
    times = f"{shown.seconds[0]:.2f} to {shown.seconds[-1]:.2f} s"
    if shown.repeated:
        times += f"; the file ends early, so the last {shown.repeated} repeat its last frame"
    facts = {
        "Clip": shown.source,
        "Frames": f"{shown.num_frames} of {config.img_size} x {config.img_size} pixels, {times}",
        "Model": f"{name}: {config.depth} layers, width {config.d_model}, "
        f"{config.num_parameters():,} parameters",
        "Tokens": f"{trace.grid.frames} frames x {trace.grid.rows} rows x {trace.grid.cols} "
        f"columns; one covers {config.tubelet_size} frames of {config.patch_size} x "
        f"{config.patch_size} pixels",
        "Layers shown": ", ".join(map(str, layers)) + f" (of 0 to {config.depth - 1})",
    }
    page = report_page(
        f"Inside VideoMamba: {shown.source}",
        facts,
        _sections(shown, logits[0], trace, model.class_names, explorer),
        FOOTER,
    )
    atomic_write(output, page)
    return output


def _sections(
    clip: Clip,
    logits: torch.Tensor,
    trace: Trace,
    class_names: tuple[str, ...] | None,
    explorer: Explorer,
) -> list[Section]:
    side = explorer.explorations[0]
    delta = trace.sel(quantity="delta").mean("channel", keep_attrs=True).rename("mean delta")
    norms = state_norms(trace)
    layer = int(norms["layer"].values[-1])
    states, row, col, channel = _liveliest_channel(clip, trace, layer)
    return [
        Section(
            "What the model sees",
            [
                "These are the very frames that went into the model: picked from the file, "
                "resized and cropped to a square. Nothing else of the clip can play a part."
            ],
            [figures.frames(clip)],
        ),
        Section(
            "What it says",
            [
                "The model's most probable classes for the whole clip. It knows no others: shown "
                "something else, it still has to choose among them."
            ],
            [figures.class_scores(logits, class_names)],
        ),
        *([] if side.camera is None else [camera_section(side.camera)]),
        *([] if side.controls is None else [section_of(side.controls)]),
        Section(
            "Where it takes something in: the step size delta",
            [
                "The model cuts the clip into tokens, small patches of a few frames each, reads "
                "them one by one and carries a hidden state along. Delta is its step size at each "
                "token, averaged here over channels. Large: forget the state and take this token "
                "in. Small: keep the state and skip this token.",
                "Compare the first layer with the last. In the VideoMamba paper, shallow layers "
                "have a large delta nearly everywhere, and deep layers have it on what moves. Is "
                "it so here? Mind the colors: their scale is logarithmic, because layers differ "
                "much.",
            ],
            [
                figures.delta_maps(delta, clip),
                figures.delta_maps(delta.mean("frame").rename("mean delta over all frames")),
            ],
        ),
        Section(
            "How much it remembers: the size of the state",
            [
                "One scan reads the clip forward, the other backward, so each has seen the part "
                "that the other has not. The norm is averaged over the tokens of a frame; each "
                "state is weighted by how strongly it is read, since its bare size is arbitrary. "
                "Mind the axes: every layer has its own.",
            ],
            [figures.state_norms(norms)],
        ),
        Section(
            "One channel, all its states",
            [
                f"Layer {layer}, channel {channel}, followed through time at row {row}, column "
                f"{col}, where the picture changes most. It is the channel whose states change "
                "most there. Green is positive, purple negative; each state is drawn as a share "
                "of its own largest value, because the scale between states is arbitrary.",
                "Read the forward panel from left to right and the backward panel from right to "
                "left: this is the order in which the states are built up.",
            ],
            [figures.channel_states(states)],
        ),
        Section(
            "Explore it",
            [
                "Choose a quantity, a layer and a direction, and play the clip under it. Space "
                "plays and stops, the arrow keys step through frames and layers; the curves and "
                "the small maps of all layers can be clicked. What a patch reads needs a running "
                "kernel: explore(clip) in a notebook has one."
            ],
            [explorer],
        ),
    ]


def _hooks(layers: list[int]) -> list[str]:
    """Step sizes and norms of every layer shown, and the states themselves of the last one."""
    names = ("delta", "C", "h_over_channels")
    every = [f"layers.{n}.mixer.ssm_*.hook_{name}" for n in layers for name in names]
    return [*every, f"layers.{layers[-1]}.mixer.ssm_*.hook_h"]


def _affordable_layers(model: VideoMamba, clip: Clip, budget_gib: float) -> list[int]:
    """The most layers, evenly spread, whose recording stays within the budget; at least one."""
    depth = model.config.depth
    for count in range(min(MAX_LAYERS, depth), 0, -1):
        layers = sorted({round(n) for n in np.linspace(0, depth - 1, count)})
        if trace_size(model, clip, _hooks(layers)).gib <= budget_gib:
            break
    return layers


def _liveliest_channel(clip: Clip, trace: Trace, layer: int) -> tuple[xr.DataArray, int, int, int]:
    """The states of the channel that changes most where the picture changes most."""
    rows, cols = trace.grid.rows, trace.grid.cols
    change = np.abs(np.diff(clip.frames.astype(np.int16), axis=0)).sum(axis=(0, 3))
    size = clip.frames.shape[1] // rows
    patches = change[: rows * size, : cols * size].reshape(rows, size, cols, size).sum((1, 3))
    row, col = (int(place) for place in np.unravel_index(patches.argmax(), patches.shape))
    h = trace.sel(layer=layer, quantity="h", row=row, col=col)
    share = h / abs(h).max("frame")  # the scale of a state is arbitrary
    channel = int(share.std("frame").sum(["direction", "state"]).argmax("channel"))
    return h.isel(channel=channel), row, col, channel
