"""The model that training starts from: new, inflated from an image model, or trained."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import replace

import torch

from vmamba_explore.datasets.lists import places_of
from vmamba_explore.errors import shown
from vmamba_explore.model.bundled import BUNDLED
from vmamba_explore.model.checkpoints import Layout, load_model
from vmamba_explore.model.config import PRESETS, VideoMambaConfig
from vmamba_explore.model.inflate import from_image_checkpoint
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
    """Return the model that training starts from, with the classes of a data set.

    Args:
        what: A preset such as "kaist_small", or what `load_model` takes.
        class_names: The data set's classes, in the order of its labels.
        num_frames: Frames of a clip; None for those of the preset or checkpoint.
        img_size: Height and width of a frame, pixels; None for that of the preset or checkpoint.
        pos_embed: Position embedding that replaces the preset's; None keeps it.
        init: Image checkpoint to initialize a preset's weights from; None draws them at random.
        layout: Layout of the image checkpoint `init`, or of `what`; see `load_model`.
        seed: Seed of the weights that are drawn.
    Raises:
        ValueError: there is no such preset or checkpoint, or `init` or `pos_embed` is given with a
            checkpoint, which has both already.
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
    if what.isidentifier() and what not in BUNDLED and not os.path.exists(what):
        raise ValueError(
            f"starting_model: {shown(what)} is neither a preset ({', '.join(PRESETS)}) nor a "
            f"bundled model ({', '.join(BUNDLED)}), and there is no such file or folder."
        )
    trained = load_model(what, num_frames=num_frames, img_size=img_size, layout=layout)
    return with_classes(trained, class_names)


def with_classes(model: VideoMamba, class_names: Sequence[str]) -> VideoMamba:
    """Return a model with the same weights and a new head for these classes.

    A model of exactly these classes keeps its head, with the rows in this order.
    """
    model = in_order_of(model, class_names)
    if model.class_names == tuple(class_names):
        return model
    other = VideoMamba(replace(model.config, num_classes=len(class_names)))
    kept = {name: t for name, t in model.state_dict().items() if not name.startswith("head.")}
    other.load_state_dict(kept, strict=False)
    other.class_names = tuple(class_names)
    return other.eval()


def in_order_of(model: VideoMamba, class_names: Sequence[str]) -> VideoMamba:
    """Return a copy with the head's rows permuted to the order of `class_names`.

    Public checkpoints and public lists of the same videos number the classes differently.

    Args:
        model: The model.
        class_names: The names in the wanted order. Where the model does not have a name in this
            spelling, capitals, spaces, underscores and punctuation do not count.
    Returns:
        A copy with these names; `model` itself if it has them already, has none, or has others.
    """
    known = model.class_names or ()
    rows = [places[0] if len(places) == 1 else -1 for places in places_of(class_names, known)]
    if sorted(rows) != list(range(len(known))) or known in ((), tuple(class_names)):
        return model
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.check_head("in_order_of").parameters():
            parameter.copy_(parameter[rows])
    other.class_names = tuple(class_names)
    return other
