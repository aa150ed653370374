"""The command `vmamba-explore`: each subcommand calls a Python function whose arguments it shares.

Every option has the name, default and meaning of an argument of that function, and its help is read
from the function's docstring. The function's module, and torch, load when a command runs.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

from cyclopts import CycloptsError, MissingArgumentError, Parameter

from vmamba_explore import __version__
from vmamba_explore.cli import model_commands, store_commands  # noqa: F401, they add theirs
from vmamba_explore.cli.options import Count, K
from vmamba_explore.cli.program import DATA, PROGRAM, app, command
from vmamba_explore.deprecation import renamed
from vmamba_explore.errors import one_line, shown

RENAMED = {
    "--batch": "--batch-size",
    "--direction-matters": "--order-matters",
    "--frames": "--num-frames",
    "--no-direction-matters": "--no-order-matters",
    "--size": "--img-size",
}
EXAMPLES = """
Examples:
  vmamba-explore train --data folders:clips/train --validation folders:clips/test \\
      --model kaist_small --init vim_s.pth --layout vim --epochs 50 --output runs/mine
  torchrun --nproc-per-node 8 -m vmamba_explore.cli train --data kinetics:train.csv,/videos ...

Run the same command again to resume a stopped run; a finished one is left as it is.
"""
LINE = 1000
"""The most characters of a mistake's line; words of the command line may be quoted in it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Words of the command line; None for those of this process.
    Returns:
        The exit code: 0; 2 after one line about a mistake; 130 after an interrupt; 141 where what
        reads the output, such as `head`, stopped reading.
    Raises:
        SystemExit: the command line itself is wrong, after one line that says so; its code is 2.
    """
    mistakes = (ValueError, OSError, MemoryError, ImportError, FloatingPointError)
    try:
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a name that is not UTF-8
        app(_current(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except CycloptsError as error:
        words = one_line(" ".join(str(error).split()), LINE)
        print(f"{PROGRAM}: {words}{_hint(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the last flush
        return 141
    except mistakes as error:
        print(f"{PROGRAM}: {one_line(error, LINE)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return 130
    return 0


def _hint(error: CycloptsError) -> str:
    """What to do where an option of several values took the clip behind them for one more."""
    missing = error.argument if isinstance(error, MissingArgumentError) else None
    if missing is None or missing.field_info.kind is not inspect.Parameter.POSITIONAL_ONLY:
        return ""
    command, name = " ".join(error.command_chain or ()), missing.name
    return (
        f" Write it before the options ({PROGRAM} {command} {name} ...): some take all words that "
        "follow them."
    )


def _current(words: Iterable[str]) -> list[str]:
    """Replace old spellings of options and warn about them."""
    current = []
    for word in words:
        option, equals, value = word.partition("=")
        if option in RENAMED:
            print(f"{PROGRAM}: {renamed(option, RENAMED[option])}", file=sys.stderr)
            word = RENAMED[option] + equals + value
        current.append(word)
    return current


@command({"app.report:report": "output model stride start budget_gib"})
def report(clip: str, /, **options: Any) -> None:
    """Write one offline HTML page about a clip."""
    from vmamba_explore.app import report

    print(report(clip, **options))


@command({"app.live_page:write_live_page": "output model clip"})
def page(**options: Any) -> None:
    """Write one offline HTML page that runs models in the browser, without Python."""
    from vmamba_explore.app.live_page import write_live_page

    print(write_live_page(**options))


@command(
    {
        "app.explore:explore": "model target minus quantities layers budget_gib state",
        "clips.decode:load_clip": "stride start",
        "view.explorer.exports:Exports.to_html": "live",
    }
)
def explore(
    clip: str,
    /,
    *,
    output: str,
    compare: str | None = None,
    gif: str | None = None,
    csv: str | None = None,
    live: bool | None = None,
    **options: Any,
) -> None:
    """Write the explorer of a clip as one offline HTML page.

    Args:
        output: The HTML file to write.
        compare: "reversed", "frozen" or "shuffled", or a second video file to show beside it; a
            file of that name is "./reversed".
        gif: Also write an animated GIF there.
        csv: Also write all numbers there.
    """
    from vmamba_explore.app import explore
    from vmamba_explore.app.control_clips import CONTROLS
    from vmamba_explore.files import output_paths

    clips = [clip] if compare is None or compare in CONTROLS else [clip, compare]
    output_paths((output, gif, csv), "explore", clips)
    explorer = explore(clip, compare=compare, **options)
    write: dict[Any, Any] = {
        output: partial(explorer.to_html, live=live), gif: explorer.to_gif, csv: explorer.to_csv
    }  # fmt: skip
    for path in filter(None, write):
        write[path](path, overwrite=True)
        print(path)


@command(
    {
        "model.videomamba:VideoMamba.predict": "k",
        "clips.decode:load_clip": "stride start damaged",
        "app.explore:explore": "model",
    }
)
def predict(
    clip: str, /, *, model: str | None, k: K, controls: bool = True, **options: Any
) -> None:
    """Print the most probable classes of a clip, and what they rest on.

    Args:
        clip: A video file.
        controls: Ask about the clip frozen, reversed and shuffled, too: does the answer rest on
            motion?
    """
    from vmamba_explore.analysis.camera_motion import measure_camera
    from vmamba_explore.analysis.controls import controls as controls_of
    from vmamba_explore.app.explore import opened
    from vmamba_explore.clips import Clip
    from vmamba_explore.model.bundled import BUNDLED, names_the_camera
    from vmamba_explore.view.trust import camera_words

    shown, loaded, name = opened(clip, model, **options)
    assert isinstance(shown, Clip)
    for one in loaded.predict(shown, k):
        print(f"{one.probability:7.2%}  {one.index:4}  {one_line(one.name)}")
    if model is None:
        print(f"model: {name}: {BUNDLED[name].question}")
    if names_the_camera(loaded) and shown.num_frames > 1 + shown.repeated:
        print(camera_words(measure_camera(shown)))
    if controls:
        print(*controls_of(loaded, shown).words, sep="\n")


@command(
    {
        "app.timeline_page:timeline_page": "output",
        "app.long_video:watch": "csv model stride hop k target minus by_frame every batch_size "
        "budget_gib",
    }
)
def watch(
    path: str, /, *, output: str, csv: str | None, model: str | None, controls: bool = True,
    **options: Any,
) -> None:  # fmt: skip
    """Write a page about what a model sees in a long video, window by window.

    Ctrl-C keeps what is done; with --csv, run the same command again to resume.

    Args:
        controls: Ask about a few windows frozen, reversed and shuffled, too: do the answers rest
            on motion?
    """
    from vmamba_explore import load_model
    from vmamba_explore.app import timeline_page, watch
    from vmamba_explore.app.window_controls import window_controls
    from vmamba_explore.files import output_paths
    from vmamba_explore.model.bundled import ON_ANY_CLIP

    output_paths((output, csv), "watch", [path])
    if csv is not None:
        output_paths((output, csv, Path(csv).with_suffix(".json")), "watch", [path])
    name = ON_ANY_CLIP if model is None else model
    loaded = load_model(name)
    timeline = watch(path, loaded, csv=csv, **options)
    timeline_page(timeline, output, name, window_controls(timeline, loaded) if controls else ())
    print(f"{timeline}\n{output}")
    if not timeline.finished:
        raise KeyboardInterrupt  # for its exit code


START = "init layout pos_embed num_frames img_size"


@command(
    {
        "datasets.lists:read_list": "data",
        "training.start:starting_model": f"{START} seed",
        "training.runs:train": "output epochs=50 batch_size stride seed validate_every precision "
        "parts recompute workers=2 tensorboard",
    },
    help_epilogue=DATA + EXAMPLES,
)
def train(  # no option may begin with --log: torchrun takes that for its own
    *,
    data: str,
    model: str = "kaist_small",
    validation: str | None = None,
    learning_rate: float | None = None,
    label_smoothing: float | None = None,
    checkpoint_every: Count | None = None,
    augment: bool = True,
    order_matters: bool | None = None,
    **options: Any,
) -> None:
    """Train on a data set by the paper's recipe.

    recipe.json in the output folder records all settings.

    Args:
        data: What to train on, see below.
        model: A preset (kaist_small, kaist_tiny, opengvlab_small, ...) or what `load_model` takes.
        validation: Data set to test on, one view of each video.
        learning_rate: At the end of the warm-up; by default 3e-4.
        label_smoothing: Share of the target that is spread over all classes; by default 0.1.
        checkpoint_every: Steps between two checkpoints; by default 500, or an epoch if shorter.
        augment: Whether to change clips at random.
        order_matters: Never mirror a clip, since left and right are different classes; by default
            only for ssv2. Time is never reversed.
    """
    from vmamba_explore.datasets.augment import Augment
    from vmamba_explore.datasets.lists import read_list
    from vmamba_explore.training.runs import train
    from vmamba_explore.training.start import starting_model

    videos = read_list(data)
    settings = {name: options.pop(name) for name in START.split()}
    start = starting_model(model, videos.class_names, seed=options["seed"], **settings)
    changes = {
        "learning_rate": learning_rate,
        "label_smoothing": label_smoothing,
        "checkpoint_every": checkpoint_every,
    }
    if order_matters is None:
        order_matters = data.startswith("ssv2:")
    train(
        start,
        videos,
        augment=Augment(order_matters=order_matters) if augment else None,
        validation=read_list(validation, videos.class_names, "test") if validation else None,
        changes={name: value for name, value in changes.items() if value is not None},
        started_from=" ".join(filter(None, (model, settings["init"]))),
        **options,
    )
    if not _is_later_process():
        print(options["output"])


@command(
    {
        "datasets.lists:read_list": "data",
        "training.evaluate_videos:evaluate_videos": "output stride workers=2",
        "model.checkpoints:load_model": "layout",
    },
    help_epilogue=DATA,
)
def evaluate(
    *,
    data: str,
    model: str,
    layout: Any,
    output: str,
    views: str = "4x3",
    **options: Any,
) -> None:
    """Test a model on a data set: the softmax, averaged over views of each video.

    Args:
        data: What to test on, see below.
        model: What `load_model` takes: a folder, file or Hub reference.
        views: Clips in time x crops in space.
    """
    import torch

    from vmamba_explore.datasets.lists import read_list
    from vmamba_explore.datasets.views import Views
    from vmamba_explore.model.checkpoints import load_model
    from vmamba_explore.training.evaluate_videos import evaluate_videos
    from vmamba_explore.training.processes import accelerator

    try:
        temporal, spatial = (int(number) for number in views.split("x"))
    except ValueError:
        raise ValueError(f"evaluate: --views is {shown(views)}, expected e.g. 4x3.") from None
    loaded = load_model(model, layout=layout)
    videos = read_list(data, loaded.class_names, "test")
    many = accelerator() if "LOCAL_RANK" in os.environ else None  # as torchrun sets it
    device = "cuda" if torch.cuda.is_available() else "cpu"
    scores = evaluate_videos(
        loaded.to(many.device if many else device),
        videos,
        output,
        views=Views(temporal=temporal, spatial=spatial),
        accelerator=many,
        **options,
    )
    if _is_later_process():
        return
    for name, share in (("top-1", scores.top1), ("top-5", scores.top5)):
        interval = f"95 %: {share.low:.2%} to {share.high:.2%}, n = {share.n}"
        print(f"{name}  {share.value:7.2%}  ({interval})")
    if scores.broken:
        print(f"not read: {len(scores.broken)}, see `reason` in {output}")


def _is_later_process() -> bool:
    """Whether another process of `torchrun` prints the results."""
    return os.environ.get("RANK", "0") != "0"


@command({})
def experiment(
    *names: Annotated[str, Parameter(required=True)],
    seeds: Count = 3,
    output: str = "runs/experiments.json",
) -> None:
    """Repeat experiments of the paper on motion clips, a minute or two a run.

    Finished runs are kept in the output file and not repeated.

    Args:
        names: frame_order, backward_order, pos_embed, frames, width, or all.
        seeds: Runs of every arm.
        output: JSON file of all runs.
    """
    from vmamba_explore.files import output_path
    from vmamba_explore.studies.experiments.run import EXPERIMENTS, run_experiments

    file = output_path(output, "experiment", parents=True)
    run_experiments(
        list(EXPERIMENTS) if "all" in names else names,
        range(seeds),
        file,
        file.with_suffix(".unfinished"),
        f"{PROGRAM} experiment {' '.join(names)} --seeds {seeds}",
    )
    print(output)


@command({})
def info() -> None:
    """Print versions, the bundled models and the backends of the scan."""
    import torch

    import vmamba_kernels
    from vmamba_explore.model.bundled import BUNDLED

    print(f"{PROGRAM} {__version__}")
    print(f"Python {platform.python_version()} on {platform.platform()}")
    for package in ("torch", "numpy", "av", "plotly", "anywidget", "jupyterlab"):
        print(f"{package} {importlib.metadata.version(package)}")
    gpu = "yes" if torch.cuda.is_available() else "no"
    print(f"threads: {torch.get_num_threads()}, GPU: {gpu}")
    for known in BUNDLED.values():
        print(f"model {known.name}: {known.question} True on {known.true_on}.")
    for backend in vmamba_kernels.backends():
        state = "available" if backend.available else f"not available: {backend.reason}"
        print(f"scan backend {backend.name}: {state}")
