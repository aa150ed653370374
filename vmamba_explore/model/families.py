"""Which family of models a checkpoint is of, and the names that its tensors have in another."""

from __future__ import annotations

import re
from argparse import Namespace
from collections import deque
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Literal

from torch import Tensor

from vmamba_explore.errors import few, shown
from vmamba_explore.model.tensor_files import CheckpointError

Layout = Literal["opengvlab", "vim", "videomambapro", "vivim"]
"""What tensors cannot tell; `load_model` says what each means."""
TOWERS = {  # what stands before the names of a video encoder that was trained with texts
    "vision_encoder.": r"vision_proj\.|text_encoder\.|text_proj\.|itm_head\.|temp$|clip_teacher\.",
    "visual.": r"textual\.|text_projection$|logit_scale$",
}
OF_PRETRAINING = r"(clip_decoder|distill_head)\.|(mask_token|clip_pos_embed|clip_img_pos_embed)$"
OTHER_FAMILIES = {  # a name that gives it away -> what it is
    r"\.conv1d_[xz]\.": "MambaVision (Hatamizadeh and Kautz 2024), another model of images",
    r"\.A_logs$|\.x_proj_weight$": "VMamba (Liu et al. 2024), another model of images",
    r"relative_position_bias_table": "Swin or VideoSwin, a transformer",
    r"temporal_attn|timesformer|time_embed$": "TimeSformer, a transformer",
    r"videomae|\.q_bias$|^encoder\.blocks": "VideoMAE, a transformer",
    r"\.attn\.qkv\.|\.attention\.attention\.": "a vision transformer (ViT)",
    r"backbone\.embeddings?\.weight": "a Mamba language model",
}


def as_classifier(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Give the tensors of a video model the names that OpenGVLab's classifiers have.

    Of a text–video checkpoint its video encoder is taken, with the projection into the space that
    it shares with texts; of masked pre-training all but the decoder; of self-distillation all but
    the head that learned from the teacher; ViViM's table over frames gets the name and shape of
    OpenGVLab's. (Facts of names: OpenGVLab/VideoMamba, video_sm and video_mm;
    OpenGVLab/video-mamba-suite, vivim.py and vimamba.py.)

    Args:
        tensors: By their published names.
        where: Named in errors.
    Raises:
        CheckpointError: a text–video checkpoint with tensors that belong to neither side.
    """
    found = dict(tensors)
    for prefix, beside in TOWERS.items():
        if not any(name.startswith(prefix) for name in tensors):
            continue
        odd = [n for n in tensors if not n.startswith(prefix) and not re.match(beside, n)]
        if odd:
            raise CheckpointError(
                f"{where}: {few(odd)} of a text–video checkpoint belongs neither to the video "
                f"encoder ({prefix}) nor to what was trained beside it.",
                tuple(f"left over {name}" for name in odd),
            )
        found = {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}
        found |= {n: v for n, v in tensors.items() if n.startswith("vision_proj.")}
        if prefix == "visual.":  # its head was never trained, its projection has no bias
            found = {n: v for n, v in found.items() if not n.startswith("head.")}
            projection = found.get("image_projection")
            is_free = "vision_proj.weight" not in found
            if projection is not None and projection.ndim == 2 and is_free:
                found["vision_proj.weight"] = found.pop("image_projection").mT
                found["vision_proj.bias"] = projection.new_zeros(projection.shape[1])
    found = {n: v for n, v in found.items() if not re.match(OF_PRETRAINING, n)}
    if "norm.weight" in found and "norm_f.weight" not in found:
        found["norm_f.weight"] = found.pop("norm.weight")
    if "temporal_embedding" in found and "temporal_pos_embedding" not in found:
        table = found.pop("temporal_embedding")
        found["temporal_pos_embedding"] = table.transpose(0, 1) if table.ndim == 3 else table
    return found


def with_vivim(layout: Layout | None, tensors: Mapping[str, Tensor], where: str) -> Layout | None:
    """Return the layout, "vivim" where published tensors are ViViM's.

    Their table over frames has a name of its own. Their code can put one class token into the
    middle of the clip instead (`frame_mid_cls_token=False`); no published model does, and tensors
    cannot tell.

    Raises:
        CheckpointError: another layout was given for these, or "vivim" for others.
    """
    if any(name.removeprefix("visual.") == "temporal_embedding" for name in tensors):
        if layout not in (None, "vivim"):
            raise CheckpointError(
                f"{where}: layout={shown(layout)}, but the tensors hold temporal_embedding, as "
                "ViViM's do. Drop layout=."
            )
        return "vivim"
    if layout == "vivim":
        raise CheckpointError(f"{where}: layout='vivim', but there is no temporal_embedding.")
    return layout


def refuse_others(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise CheckpointError where a name gives away a model of another kind, and name it."""
    for pattern, family in OTHER_FAMILIES.items():
        if giveaway := next((name for name in tensors if re.search(pattern, name)), None):
            raise CheckpointError(
                f"{where}: {giveaway} is a tensor of {family}; expected a VideoMamba "
                "(OpenGVLab), VideoMambaPro, Vim or ViViM."
            )
    shares = [n for n in tensors if n.endswith("mixer.A_b_log")]
    if shares and not any(".mixer.conv1d_b." in name for name in tensors):
        raise CheckpointError(
            f"{where}: the directions share one convolution and selection ({shares[0]}, but no "
            "conv1d_b), as in Vim's bimamba v1 and in VideoMambaPro's published code; only models "
            "whose directions have their own (v2) can be read."
        )


def refuse_unsaid_pro(layout: Layout | None, beside: Iterable[str], path: str, where: str) -> None:
    """Raise CheckpointError where something says VideoMambaPro, and `layout` says nothing."""
    hint = None if layout is not None else hint_of_pro(beside, path)
    if hint is not None:
        raise CheckpointError(
            f"{where}: {shown(hint)} says that this may be a VideoMambaPro. Its tensors have the "
            "names and shapes of OpenGVLab's VideoMamba, and its recurrence is another, so the "
            "answers would be wrong. Pass layout='videomambapro', or layout='opengvlab' if it is "
            "OpenGVLab's."
        )


def hint_of_pro(names: Iterable[str], path: str = "") -> str | None:
    """Find what says that a checkpoint is a VideoMambaPro, whose tensors cannot tell.

    Args:
        names: What the file holds beside its tensors, and what it was asked for by.
        path: Of the file; "pro" as a word of its name, or of its folder's, counts too.
    Returns:
        The first of these that says so, or None.
    """
    for name in (*names, path):
        if re.search(r"[Mm]amba[ _-]?[Pp]ro(?![a-z])|MAMBA[ _-]?PRO(?![A-Z])", name):
            return name
    last = re.split(r"[/\\:]", path)[-2:]
    return next((part for part in last if re.search(r"(?i)(?<![a-z])pro(?![a-z])", part)), None)


def words_in(found: object, most: int = 10_000) -> list[str]:
    """List the texts that lie beside tensors in a file: options, names, notes.

    Args:
        found: What the file holds.
        most: How many values are looked at; the outermost come first.
    """
    words, queue, seen = [], deque([found]), set()
    while queue and most:
        value, most = queue.popleft(), most - 1
        value = vars(value) if isinstance(value, Namespace) else value
        if isinstance(value, str):
            words.append(value[:1000])
        if not isinstance(value, Mapping | list | tuple) or id(value) in seen:
            continue
        seen.add(id(value))
        queue.extend(islice(value.values() if isinstance(value, Mapping) else value, most))
    return words
