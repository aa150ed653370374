"""Commands about stores: what a model makes of a whole data set."""

from __future__ import annotations

import math
import os
from typing import Any

from vmamba_explore.cli.options import K
from vmamba_explore.cli.program import DATA, command

QUANTITIES = """
Quantities, each with :mean or :max over the patches of a token frame, and :float16, if wanted:
  embedding, frame_features, logits             what the read-out gives
  delta, h_over_channels, h_over_states         step size and norms of the states, by patch
  h_boundaries                                  the states at the end of each token frame
  block_input, x, z, u, B, C, y, out, h         of all layers; see hook_names for single places
  layers.3.hook_block_input                     one hook point
  pixels                                        the mean color of each patch, a baseline

Run the same command again to resume a stopped run; what is done is left as it is.
"""


@command(
    {
        "datasets.lists:read_list": "data",
        "app.extract:extract": "clips_per_video stride workers",
        "model.checkpoints:load_model": "layout",
    },
    help_epilogue=DATA + QUANTITIES,
)
def extract(
    *,
    data: str,
    model: str,
    layout: Any,
    output: str,
    quantities: str = "embedding",
    workers: int,
    scheduler: str | None = None,
    dry_run: bool = False,
    **options: Any,
) -> None:
    """Store what a model makes of each video of a data set, in a Zarr store.

    Args:
        data: Which videos, see below.
        model: What `load_model` takes: a name, folder, file or Hub reference.
        output: Folder of the store.
        quantities: What to store, with commas between, see below.
        workers: Processes of one thread to start on this machine; 0 runs in one process.
        scheduler: Address of a Dask scheduler whose workers do it, such as tcp://10.0.0.1:8786.
        dry_run: Say how many bytes, files and hours it takes, and write nothing.
    """
    import torch

    from vmamba_explore.app.extract import extract, store_size
    from vmamba_explore.model.checkpoints import load_model

    loaded = load_model(model, layout=layout)
    if torch.cuda.is_available():
        loaded = loaded.to("cuda")
    options |= {"quantities": quantities.split(","), "workers": workers}
    if dry_run:
        print(store_size(loaded, data, **options))
        return
    by = {"what": model} | ({} if layout is None else {"layout": layout})
    states = extract(loaded, data, output, client=scheduler, loaded_by=by, **options)
    done = states["done"].values
    print(f"{output}  {(done == 1).sum()} of {len(done)} videos")
    if broken := int((done == 2).sum()):
        print(f"not read: {broken}, see `error` in the store")


@command({"app.stored:nearest": "k quantity measure same_video model"})
def nearest(store: str, clip: str, /, *, output: str | None = None, k: K, **options: Any) -> None:
    """Print the clips of a store that are most like a clip, and write a page of their pictures.

    Args:
        store: Folder of the store.
        clip: A video file, or the number of a video in the store.
        output: The HTML file to write.
    """
    from vmamba_explore.app.stored import nearest
    from vmamba_explore.errors import one_line
    from vmamba_explore.files import output_path
    from vmamba_explore.view.neighbors_page import neighbors_page

    if output is not None:
        output_path(output, "nearest", [clip])
    is_number = clip.isdecimal() and not os.path.isfile(clip)
    found = nearest(store, int(clip) if is_number else clip, k, **options)
    for one in found.found:
        print(f"{one.value:8.4f}  {one.video:6}  {one_line(one.label):16}  {one_line(one.path)}")
    if output is not None:
        print(neighbors_page(found, output))


@command({"stores.probing:probe": "column kind quantity folds most_videos budget_gib seed"})
def probe(store: str, /, *, labels: str | None = None, **options: Any) -> None:
    """Print what a linear probe reads from a store about videos that it has not seen.

    Args:
        store: Folder of the store.
        labels: A CSV file with a column "path" and one with labels; by default the store's own
            labels.
    """
    from vmamba_explore.stores.probing import probe

    scores = probe(store, labels, **options)
    facts = scores.attrs
    print(f"{facts['score']}, {facts['videos']} videos in {facts['folds']} folds")
    flat = scores.stack(at=scores.dims)
    for at, value, low, high in zip(flat["at"].values, flat.values, flat["low"].values,
                                    flat["high"].values, strict=True):  # fmt: skip
        source, *places = at if isinstance(at, tuple) else (at,)
        where = ", ".join(f"{d} {p}" for d, p in zip(scores.dims[1:], places, strict=True))
        if math.isfinite(value):
            print(f"{value:7.3f}  [{low:.3f}, {high:.3f}]  {f'{source} {where}'.strip()}")


@command({"app.stored:open_row": "clip model"})
def row(store: str, video: str, /, *, output: str, **options: Any) -> None:
    """Write the explorer of a clip of a store as one offline HTML page.

    Args:
        store: Folder of the store.
        video: The number of the video in the store, or its path.
        output: The HTML file to write.
    """
    from vmamba_explore.app.stored import open_row
    from vmamba_explore.files import output_path

    output_path(output, "row", [video])
    explorer = open_row(store, int(video) if video.isdecimal() else video, **options)
    explorer.to_html(output, overwrite=True)
    print(output)
