"""The commands `vmamba-explore train` and `vmamba-explore evaluate`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vmamba_explore.datasets.lists import VideoList

DATA = """\
data sets:
  folders:ROOT                        ROOT/CLASS/.../video.mp4
  kinetics:LIST.csv[,ROOT]            the official lists, or lines "path label"
  ssv2:PART.json,LABELS.json,ROOT     Something-Something V2
  hmdb51:SPLITS,ROOT[,NUMBER[,PART]]  split NUMBER 1 to 3 (1), PART train or test (by its use)
"""
EXAMPLES = """\
examples:
  vmamba-explore train --data folders:clips/train --validation folders:clips/test \\
      --model kaist_small --init vim_s.pth --layout vim --epochs 50 --output runs/mine
  torchrun --nproc-per-node 8 -m vmamba_explore.cli train --data kinetics:train.csv,/videos ...

The same command again goes on where it was stopped, and does nothing when it is done.
"""


def add_commands(commands: Any) -> None:
    """Add both to the subcommands of an argument parser."""
    words = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser(
        "train",
        help="train on a data set by the paper's recipe",
        description="Train on a data set by the paper's recipe; see recipe.json in the output "
        "for everything it did.",
        epilog=DATA + "\n" + EXAMPLES,
        formatter_class=words,
    )
    _add_data(parser, "what to train on")
    parser.add_argument("--output", required=True, help="folder of the run")
    parser.add_argument("--validation", help="data set to test on, one view a video")
    parser.add_argument(
        "--validate-every", type=count, metavar="STEPS", help="default: after every epoch"
    )
    start = parser.add_argument_group("the model")
    start.add_argument(
        "--model",
        default="kaist_small",
        help="a preset (kaist_small, kaist_tiny, opengvlab_small, ...), or a trained model as a "
        "folder, file or Hub reference (default kaist_small)",
    )
    start.add_argument("--init", help="image checkpoint to take a preset's weights from")
    start.add_argument("--layout", choices=("vim", "opengvlab"), help="of an image checkpoint")
    start.add_argument("--pos-embed", help="position embedding of a preset")
    start.add_argument("--frames", type=count, help="frames of a clip (default: the model's)")
    start.add_argument("--size", type=count, help="height and width, pixels (default: the model's)")
    recipe = parser.add_argument_group("the recipe")
    recipe.add_argument(
        "--epochs", type=count, default=50, help="default 50; the paper: 30 for K400, 35 for SSv2"
    )
    recipe.add_argument(
        "--batch", type=count, default=64, help="clips a step, of all processes (64)"
    )
    recipe.add_argument("--stride", type=count, default=2, help="take every n-th frame (2)")
    recipe.add_argument("--learning-rate", type=float, help="default 3e-4")
    recipe.add_argument("--label-smoothing", type=float, help="default 0.1")
    recipe.add_argument("--seed", type=_count_or_none, default=0)
    recipe.add_argument(
        "--direction-matters",
        action=argparse.BooleanOptionalAction,
        help="never mirror a clip, since left and right are different classes (default: so for "
        "ssv2); time is never reversed",
    )
    recipe.add_argument("--no-augment", action="store_true", help="leave clips as they are")
    machine = parser.add_argument_group("the machine")
    _add_machine(machine)
    machine.add_argument("--precision", choices=("no", "bf16", "fp16"), default="no")
    machine.add_argument(
        "--parts", type=count, default=1, help="run a batch in so many parts, to need less memory"
    )
    machine.add_argument(
        "--recompute", action="store_true", help="run blocks twice, to need less memory"
    )
    machine.add_argument("--checkpoint-every", type=count, metavar="STEPS")
    machine.add_argument(  # never "--log": torchrun takes that for an option of its own
        "--tensorboard",
        action=argparse.BooleanOptionalAction,
        help="write events beside log.csv (default: where tensorboard is installed)",
    )
    parser.set_defaults(run=_train)

    parser = commands.add_parser(
        "evaluate",
        help="test a model on a data set, several views of each video",
        description="Test a model on a data set: the softmax, averaged over views of each video.",
        epilog=DATA,
        formatter_class=words,
    )
    _add_data(parser, "what to test on")
    parser.add_argument("--model", required=True, help="a folder, file or Hub reference")
    parser.add_argument("--output", required=True, help="CSV file with a line for each video")
    parser.add_argument("--layout", choices=("vim", "opengvlab"), help="of an image checkpoint")
    parser.add_argument(
        "--views", default="4x3", help="clips in time x crops in space (default 4x3)"
    )
    parser.add_argument("--stride", type=count, default=2, help="take every n-th frame (2)")
    _add_machine(parser)
    parser.set_defaults(run=_evaluate)


def _add_data(parser: argparse.ArgumentParser, words: str) -> None:
    parser.add_argument("--data", required=True, help=f"{words}, see below")


def _add_machine(parser: Any) -> None:
    parser.add_argument(
        "--workers", type=_count_or_none, default=2, help="processes that read videos (default 2)"
    )


def count(words: str) -> int:
    """Read a whole number of at least 1."""
    if not words.isdecimal() or int(words) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {words!r}")
    return int(words)


def _count_or_none(words: str) -> int:
    if not words.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {words!r}")
    return int(words)


def read_list(
    words: str, class_names: Sequence[str] | None = None, part: str = "train"
) -> VideoList:
    """Read the list of a data set from words such as "folders:ROOT".

    Args:
        words: See `DATA`.
        class_names: What the labels of a "kinetics" list are called, by number.
        part: Which part of a split of HMDB51, where the words do not say.
    Raises:
        ValueError: an unknown kind, or the wrong number of paths.
    """
    from vmamba_explore.datasets import lists

    kinds = {
        "folders": (lists.from_folders, 1, 1),
        "kinetics": (lists.from_csv, 1, 2),
        "ssv2": (lists.from_ssv2, 3, 3),
        "hmdb51": (lists.from_hmdb51, 2, 4),
    }
    kind, _, rest = words.partition(":")
    given: list[Any] = [word for word in rest.split(",") if word]
    if kind not in kinds or not kinds[kind][1] <= len(given) <= kinds[kind][2]:
        raise ValueError(
            f"data {words!r} is none of folders:ROOT, kinetics:LIST.csv[,ROOT], "
            "ssv2:PART.json,LABELS.json,ROOT, hmdb51:SPLITS,ROOT[,NUMBER[,PART]]."
        )
    if kind == "hmdb51":
        given += ["1", part][len(given) - 2 :]
        if given[2] not in ("1", "2", "3"):
            raise ValueError(f"data {words!r}: the split is {given[2]!r}, expected 1, 2 or 3.")
        given[2] = int(given[2])
    make: Any = kinds[kind][0]
    return make(*given, **({"class_names": class_names} if kind == "kinetics" else {}))


def _train(options: argparse.Namespace) -> str:
    from vmamba_explore.datasets.augment import Augment
    from vmamba_explore.training.runs import train
    from vmamba_explore.training.start import starting_model

    videos = read_list(options.data)
    model = starting_model(
        options.model,
        videos.class_names,
        num_frames=options.frames,
        img_size=options.size,
        pos_embed=options.pos_embed,
        init=options.init,
        layout=options.layout,
        seed=options.seed,
    )
    direction = options.direction_matters
    if direction is None:
        direction = options.data.startswith("ssv2:")
    names = ("learning_rate", "label_smoothing", "checkpoint_every")
    changes = {name: getattr(options, name) for name in names}
    train(
        model,
        videos,
        options.output,
        epochs=options.epochs,
        batch_size=options.batch,
        stride=options.stride,
        augment=None if options.no_augment else Augment(order_matters=direction),
        validation=read_list(options.validation, videos.class_names, "test")
        if options.validation
        else None,
        validate_every=options.validate_every,
        changes={name: value for name, value in changes.items() if value is not None},
        seed=options.seed,
        precision=options.precision,
        parts=options.parts,
        recompute=options.recompute,
        workers=options.workers,
        tensorboard=options.tensorboard,
        started_from=" ".join(filter(None, (options.model, options.init))),
    )
    return "" if _is_later_process() else options.output


def _evaluate(options: argparse.Namespace) -> str:
    import torch

    from vmamba_explore.datasets.views import Views
    from vmamba_explore.model.checkpoints import load_model
    from vmamba_explore.training.evaluate_videos import evaluate_videos
    from vmamba_explore.training.processes import accelerator

    try:
        temporal, spatial = (int(number) for number in options.views.split("x"))
    except ValueError:
        raise ValueError(f"evaluate: --views is {options.views!r}, expected e.g. 4x3.") from None
    model = load_model(options.model, layout=options.layout)
    videos = read_list(options.data, model.class_names, "test")
    many = accelerator() if "LOCAL_RANK" in os.environ else None  # as torchrun sets it
    device = "cuda" if torch.cuda.is_available() else "cpu"
    scores = evaluate_videos(
        model.to(many.device if many else device),
        videos,
        options.output,
        views=Views(temporal=temporal, spatial=spatial),
        stride=options.stride,
        workers=options.workers,
        accelerator=many,
    )
    if _is_later_process():
        return ""
    lines = [
        f"{name}  {share.value:7.2%}  (95 %: {share.low:.2%} to {share.high:.2%}, n = {share.n})"
        for name, share in (("top-1", scores.top1), ("top-5", scores.top5))
    ]
    if scores.broken:
        lines.append(f"not read: {len(scores.broken)}, see `reason` in {options.output}")
    return "\n".join(lines)


def _is_later_process() -> bool:
    """Whether another process of `torchrun` speaks for all."""
    return os.environ.get("RANK", "0") != "0"
