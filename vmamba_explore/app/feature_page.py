"""feature_page(): cards of sparse features as one offline page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vmamba_explore.analysis.features.activations import Activations, Site
from vmamba_explore.analysis.features.cards import ClipOf, feature_cards
from vmamba_explore.analysis.features.measures import FeatureQuality
from vmamba_explore.analysis.features.sae import SparseFeatures
from vmamba_explore.clips.clip import Clip, Generated
from vmamba_explore.clips.decode import load_frames
from vmamba_explore.clips.picture import middle_square
from vmamba_explore.errors import one_line, shown
from vmamba_explore.files import atomic_write, output_path
from vmamba_explore.hooks import plain
from vmamba_explore.model.bundled import identify
from vmamba_explore.model.own_format import fingerprint
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.view.feature_cards import feature_cards_page

DONE = 1


def feature_page(
    model: VideoMamba,
    features: SparseFeatures,
    activations: Activations | xr.Dataset,
    output: str | os.PathLike[str],
    clips: ClipOf | Sequence[Clip | Generated] | None = None,
    *,
    which: int | Sequence[int] = 24,
    top: int = 4,
    labels: Sequence[int] | NDArray[np.integer] | None = None,
    quality: FeatureQuality | None = None,
) -> Path:
    """Write one offline page of feature cards.

    Its size is bounded by `which` times `top`: 25 kB for each clip that is shown, 1 to 4 MB for 24
    features and 4 clips each.

    Args:
        model: The model.
        features: Features of one of its sites.
        activations: Vectors of that site, from which the top clips are chosen; or a store that
            holds them, whose videos that are not done are left out.
        output: The HTML file to write.
        clips: The clips that the vectors are of, or a function that gives one by its number
            (video * views + view). None: a store's own files, at the frames that it names.
        which: Numbers of the features, or how many: those with the largest share of the codes.
        top: Clips for each feature.
        labels: The class of each video; -1 where it is not known. None: those of a store.
        quality: As `measure_features` returns it, for the page's head.
    Returns:
        The path of the page.
    Raises:
        FileNotFoundError: the folder of `output` does not exist.
        IsADirectoryError: `output` is a folder.
        ClipError: a file of the store cannot be read any more.
        ValueError: the features were found in another model, there are no clips, the store does
            not hold the features' site, or `feature_cards` refuses them.
    """
    model = plain(model)
    path = output_path(output, "feature_page")
    if features.settings.model not in ("", fingerprint(model)):
        raise ValueError(
            "feature_page: the features were found in a model of other weights; load the model "
            "that they were found in."
        )
    if isinstance(activations, xr.Dataset):
        store = done_videos(activations)
        activations = stored_activations(store, features.site)
        labels = store["label"].values if labels is None and "label" in store else labels
        clips = partial(_stored_clip, store, model.config.img_size) if clips is None else clips
    if clips is None:
        raise ValueError(
            "feature_page: clips is None; pass the clips that the vectors are of, or a store, "
            "which knows its files."
        )
    cards = feature_cards(model, features, activations, clips, which=which, top=top, labels=labels)
    settings, activity, known = features.settings, cards.activity, identify(model)
    config = model.config
    facts = {
        "Model": known.name if known else f"{config.depth} layers of {config.d_model} channels",
        "Vectors": f"{activity.rows:,} of {activity.clips:,} clips",
        "Features": f"{features.width}, of which {int((activity.fires == 0).sum())} are never "
        f"active in these vectors; {activity.fires.sum():.1f} are active at a time "
        f"({settings.k} in training)",
        "Shown": f"{len(cards.cards)} features, {len(cards.clips)} clips",
    }
    if quality is not None:
        facts[f"On {quality.clips} held-out clips"] = (
            f"variance unexplained {quality.unexplained}; logits recovered "
            f"{quality.recovered_logits} (1: as they were, 0: as with the mean vector everywhere)"
        )
    title = one_line(f"Sparse features: {features.site}")
    atomic_write(path, feature_cards_page(cards, title, facts))
    return path


def done_videos(store: xr.Dataset) -> xr.Dataset:
    """Return a store's videos that are done, lazily.

    Raises:
        ValueError: there is none.
    """
    if "done" not in store:
        return store
    done = np.flatnonzero(store["done"].values == DONE)
    if not len(done):
        raise ValueError("feature_page: no video of the store is done; run the extraction first.")
    return store.isel(video=done)


def stored_activations(store: xr.Dataset, site: Site) -> Activations:
    """Return the vectors of a site that a store holds.

    Raises:
        ValueError: it does not hold them.
    """
    name = f"layers.{site.layer}.hook_block_input" if site.direction is None else "h_boundaries"
    if name not in store:
        raise ValueError(
            f"feature_page: the store holds {shown(sorted(map(str, store.data_vars)))}; for the "
            f"{site} expected {name}. Extract that quantity."
        )
    return Activations(store[name], site)


def _stored_clip(store: xr.Dataset, size: int, number: int) -> Clip:
    """The clip of a number, read again from its file at the frames that the model was shown."""
    video, view = divmod(number, store.sizes.get("clip", 1))
    row = store[["path", "indices"]].isel(video=video, clip=view)
    indices = row["indices"].values.astype(np.int64)
    return load_frames(
        str(row["path"].values), lambda _: (indices, 0), partial(middle_square, size=size)
    )
