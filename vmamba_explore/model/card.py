"""The model card that the Hub shows for a model."""

from __future__ import annotations

from collections.abc import Sequence

from vmamba_explore.model.config import VideoMambaConfig

_HEADER = """---
library_name: vmamba-explore
pipeline_tag: video-classification
tags:
- video-classification
- videomamba
- state-space-model
- pytorch_model_hub_mixin
---
"""
_BODY = """
# VideoMamba, {parameters} parameters, {classes} classes

A video state-space model that reads {frames} frames of {size} x {size} pixels
(Park et al. 2024, arXiv:2407.08476, or a sister model: see `pos_embed` and `cls_position`).

```python
from vmamba_explore import load_clip, load_model

model = load_model("{repo}")
clip = load_clip("clip.mp4", num_frames={frames}, img_size={size})
model.predict(clip)
```

| | |
|---|---|
| parameters | {parameters} |
| multiply-accumulates a clip | {total} (as the paper counts: {paper}) |
| states computed a clip | {states} |
| input | (batch, {channels}, {frames}, {size}, {size}), normalised as ImageNet's |
| output | logits of {classes} classes |

## Classes

{class_names}

## Configuration

| field | value |
|---|---|
{fields}

## Training

{training}

## Licence

The publisher of this model names it: add `license:` to the header of this file.
"""


def card_text(
    config: VideoMambaConfig,
    class_names: Sequence[str] | None,
    *,
    repo_id: str | None = None,
    training: str | None = None,
) -> str:
    """Return a model's card, Markdown with the Hub's header.

    Args:
        config: The model's configuration.
        class_names: Its classes; None where they are unknown.
        repo_id: Its place on the Hub, "owner/name".
        training: How it was trained, a sentence or more.
    """
    macs = config.macs()
    shown = "Unknown." if class_names is None else ", ".join(class_names[:20])
    if class_names is not None and len(class_names) > 20:
        shown += f", and {len(class_names) - 20} more: `class_names` in config.json."
    return _HEADER + _BODY.format(
        parameters=f"{config.num_parameters() / 1e6:.2f} M",
        total=f"{macs.total / 1e9:.2f} G",
        paper=f"{macs.paper / 1e9:.2f} G",
        states=f"{macs.state_updates / 1e6:.1f} M",
        classes=config.num_classes,
        channels=config.in_channels,
        frames=config.num_frames,
        size=config.img_size,
        repo=repo_id or "path of this folder",
        class_names=shown,
        fields="\n".join(f"| {name} | {value} |" for name, value in config.to_dict().items()),
        training=training or "Not stated.",
    )
