"""The command `vmamba-explore`."""

from __future__ import annotations

import argparse
import importlib.metadata
import math
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from vmamba_explore import __version__
from vmamba_explore.training.commands import add_commands, count


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 after one line about what was wrong."""
    parser = _parser()
    options = parser.parse_args(arguments)
    mendable = (ValueError, OSError, MemoryError, ImportError, FloatingPointError)
    try:
        said = options.run(options)
    except mendable as error:  # by the user: no traceback
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        return 130
    if said:
        print(said)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vmamba-explore", description="See what a video state-space model is doing."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")

    page = commands.add_parser("report", help="write one offline HTML page about a clip")
    page.add_argument("clip", help="a video file")
    page.add_argument("--output", required=True, help="the HTML file to write")
    page.add_argument("--model", default="motion-nano", help="a folder, file or Hub reference")
    _add_choice_of_frames(page)
    _add_budget(page)
    page.set_defaults(run=_report)

    view = commands.add_parser("explore", help="write the explorer of a clip as one HTML page")
    view.add_argument("clip", help="a video file")
    view.add_argument("--output", required=True, help="the HTML file to write")
    view.add_argument("--model", default="motion-nano", help="a folder, file or Hub reference")
    view.add_argument("--compare", help="'reversed', or a second video file to show beside it")
    view.add_argument("--gif", help="also write an animated GIF there")
    view.add_argument("--csv", help="also write all numbers there")
    _add_choice_of_frames(view)
    _add_budget(view)
    view.set_defaults(run=_explore)

    named = commands.add_parser("predict", help="say what a model sees in a video")
    named.add_argument("clip", help="a video file")
    named.add_argument("--model", default="motion-nano", help="a folder, file or Hub reference")
    named.add_argument("-k", type=int, default=5, help="how many classes (default 5)")
    _add_choice_of_frames(named)
    named.set_defaults(run=_predict)

    long = commands.add_parser(
        "watch",
        help="say what a model sees in a long video, moment by moment",
        description="Run a model on a video of any length, window by window. Ctrl-C keeps what is "
        "done; with --csv the same command goes on from there.",
    )
    long.add_argument("video", help="a video file")
    long.add_argument("--output", required=True, help="the HTML page to write")
    long.add_argument("--csv", help="a CSV file that grows by a row for each window")
    long.add_argument("--model", default="motion-nano", help="a folder, file or Hub reference")
    long.add_argument("--stride", type=int, default=2, help="take every n-th frame (default 2)")
    long.add_argument(
        "--hop",
        type=int,
        metavar="FRAMES",
        help="clip frames from one window to the next (default: side by side)",
    )
    long.add_argument("-k", type=int, default=5, help="classes to keep of a window (default 5)")
    long.add_argument("--target", help="class whose evidence to follow (default: each window's)")
    long.add_argument("--minus", help="class to set against it (default: the runner-up)")
    long.add_argument(
        "--by-frame", action="store_true", help="split evidence by frame: five times the work"
    )
    long.add_argument("--batch", type=int, default=4, help="windows run at once (default 4)")
    _add_budget(long)
    long.set_defaults(run=_watch)

    add_commands(commands)

    trial = commands.add_parser(
        "experiment",
        help="repeat an experiment of the paper on motion clips, small",
        description="Repeat experiments of the paper on motion clips, in a form of a minute or "
        "two a run. Finished runs are kept in the output file and not made again.",
    )
    trial.add_argument(
        "name",
        help="frame_order, backward_order, pos_embed, frames, width, or all",
    )
    trial.add_argument("--seeds", type=count, default=3, help="runs of every arm (default 3)")
    trial.add_argument("--output", default="runs/experiments.json", help="JSON file of all runs")
    trial.set_defaults(run=_experiment)

    info = commands.add_parser("info", help="print versions and the scan's backends")
    info.set_defaults(run=_info)
    return parser


def _add_choice_of_frames(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--stride",
        type=_stride,
        default=2,
        help="take every n-th frame around the middle (default 2), or 'spread' over the whole file",
    )
    parser.add_argument(
        "--start", type=int, help="first source frame, counted from 0 (default: around the middle)"
    )


def _add_budget(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--budget-gib", type=_memory, default=1.0, help="memory for what is recorded (default 1)"
    )


def _stride(words: str) -> int | None:
    try:
        return None if words == "spread" else int(words)
    except ValueError:
        message = f"expected a whole number or 'spread', got {words!r}"
        raise argparse.ArgumentTypeError(message) from None


def _memory(words: str) -> float:
    try:
        if 0 < float(words) < math.inf:
            return float(words)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected a number of GiB above 0, got {words!r}")


def _report(options: argparse.Namespace) -> None:
    from vmamba_explore.app import report  # here, so that --help does not wait for torch

    path = report(
        options.clip,
        options.output,
        model=options.model,
        stride=options.stride,
        start=options.start,
        budget_gib=options.budget_gib,
    )
    print(path)


def _explore(options: argparse.Namespace) -> None:
    from vmamba_explore.app import explore
    from vmamba_explore.view.page import output_paths

    clips = [name for name in (options.clip, options.compare) if name]
    output_paths((options.output, options.gif, options.csv), "explore", clips)
    explorer = explore(
        options.clip,
        options.model,
        compare=options.compare,
        stride=options.stride,
        start=options.start,
        budget_gib=options.budget_gib,
    )
    explorer.to_html(options.output, overwrite=True)
    print(options.output)
    if options.gif:
        explorer.to_gif(options.gif, overwrite=True)
        print(options.gif)
    if options.csv:
        explorer.to_csv(options.csv, overwrite=True)
        print(options.csv)


def _predict(options: argparse.Namespace) -> str:
    from vmamba_explore import load_clip, load_model

    model = load_model(options.model)
    clip = load_clip(
        options.clip,
        num_frames=model.config.num_frames,
        stride=options.stride,
        start=options.start,
        img_size=model.config.img_size,
    )
    found = model.predict(clip, options.k)
    return "\n".join(f"{p.probability:7.2%}  {p.index:4}  {p.name}" for p in found)


def _watch(options: argparse.Namespace) -> None:
    from vmamba_explore.app import timeline_page, watch
    from vmamba_explore.view.page import output_paths

    table = Path(options.csv) if options.csv else None
    beside = table.with_suffix(".json") if table else None
    output_paths((options.output, table, beside), "watch", [options.video])
    found = watch(
        options.video,
        options.model,
        stride=options.stride,
        hop=options.hop,
        k=options.k,
        target=_class(options.target),
        minus=_class(options.minus),
        by_frame=options.by_frame,
        batch_size=options.batch,
        output=options.csv,
        budget_gib=options.budget_gib,
    )
    timeline_page(found, options.output, options.model)
    print(f"{found}\n{options.output}")
    if not found.finished:
        raise KeyboardInterrupt  # for its exit code


def _class(words: str | None) -> int | str | None:
    return int(words) if words and words.isdecimal() else words


def _experiment(options: argparse.Namespace) -> str:
    from vmamba_explore.studies.experiments.run import EXPERIMENTS, run_experiments

    output = Path(options.output)
    run_experiments(
        list(EXPERIMENTS) if options.name == "all" else [options.name],
        range(options.seeds),
        output,
        output.with_suffix(".unfinished"),
        f"vmamba-explore experiment {options.name} --seeds {options.seeds}",
    )
    return options.output


def _info(options: argparse.Namespace) -> None:
    import torch

    import vmamba_kernels

    print(f"vmamba-explore {__version__}")
    print(f"Python {platform.python_version()} on {platform.platform()}")
    for package in ("torch", "numpy", "av", "plotly", "anywidget", "jupyterlab"):
        print(f"{package} {importlib.metadata.version(package)}")
    gpu = "yes" if torch.cuda.is_available() else "no"
    print(f"threads: {torch.get_num_threads()}, GPU: {gpu}")
    for backend in vmamba_kernels.backends():
        state = "available" if backend.available else f"not available: {backend.reason}"
        print(f"scan backend {backend.name}: {state}")


if __name__ == "__main__":
    sys.exit(main())
