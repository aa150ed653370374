"""What training starts from: a new model, an inflated image model, or a trained one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from vmamba_explore.model.checkpoints import BUNDLED, Layout, load_model
from vmamba_explore.model.config import PRESETS, VideoMambaConfig
from vmamba_explore.model.inflate import from_image_checkpoint
from vmamba_explore.model.labels import in_order_of
from vmamba_explore.model.videomamba import VideoMamba


def starting_model(
    what: str,
    class_names: Sequence[str],
    *,
    num_frames: int | None = None,
    img_size: int | None = None,
    pos_embed: str | None = None,
    init: str | None = None,
    layout: Layout | None = None,
    seed: int = 0,
) -> VideoMamba:
    """Make the model that a training starts from, for the classes of a data set.

    Args:
        what: A preset such as "kaist_small", or whatever `load_model` takes.
        class_names: The data set's classes, in the order of its labels.
        num_frames: Frames of a clip; None leaves it to the preset or the checkpoint.
        img_size: Height and width of a frame, pixels; None likewise.
        pos_embed: The position embedding of a preset; None takes its own.
        init: An image checkpoint that a preset takes its weights from; None draws them.
        layout: The layout of `init`, or of the checkpoint `what`.
        seed: Of what is drawn.
    Raises:
        ValueError: no such preset or checkpoint, or `init` or `pos_embed` beside a checkpoint,
            which has both already.
    """
    torch.manual_seed(seed)
    given = {"num_frames": num_frames, "img_size": img_size, "pos_embed": pos_embed}
    if what in PRESETS:
        if layout is not None and init is None:
            raise ValueError("starting_model: layout is of an image checkpoint; give init, too.")
        changes = {name: value for name, value in given.items() if value is not None}
        config = VideoMambaConfig.preset(what, num_classes=len(class_names), **changes)
        if init is None:
            model = VideoMamba(config)
        else:
            model = from_image_checkpoint(init, config, layout=layout)
        model.class_names = tuple(class_names)
        return model
    if init is not None or pos_embed is not None:
        raise ValueError(
            f"starting_model: init and pos_embed are for presets ({', '.join(PRESETS)}); {what} "
            "has weights and a position embedding of its own."
        )
    if what.isidentifier() and what not in BUNDLED and not Path(what).exists():
        raise ValueError(
            f"starting_model: {what!r} is neither a preset ({', '.join(PRESETS)}) nor a bundled "
            f"model ({', '.join(BUNDLED)}), and there is no such file or folder."
        )
    trained = load_model(what, num_frames=num_frames, img_size=img_size, layout=layout)
    return with_classes(trained, class_names)


def with_classes(model: VideoMamba, class_names: Sequence[str]) -> VideoMamba:
    """Give a model with the same weights and a head for these classes, drawn anew.

    A model that has these very classes already keeps its head, its rows in this order.
    """
    model = in_order_of(model, class_names)
    if model.class_names == tuple(class_names):
        return model
    other = VideoMamba(replace(model.config, num_classes=len(class_names)))
    kept = {name: t for name, t in model.state_dict().items() if not name.startswith("head.")}
    other.load_state_dict(kept, strict=False)
    other.class_names = tuple(class_names)
    return other.eval()
