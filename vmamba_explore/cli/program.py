"""The program `vmamba-explore`: what its commands are added to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cyclopts import App, Parameter

from vmamba_explore import __version__
from vmamba_explore.cli.options import with_options

PROGRAM = "vmamba-explore"
DATA = """\
Data sets:
  folders:ROOT                        ROOT/CLASS/.../video.mp4
  kinetics:LIST.csv[,ROOT]            the official lists, or lines "path label"
  ssv2:PART.json,LABELS.json,ROOT     Something-Something V2
  hmdb51:SPLITS,ROOT[,NUMBER[,PART]]  split NUMBER 1 to 3 (1), PART train or test (by its use)
"""
Run = Callable[..., None]
app = App(
    name=PROGRAM,
    help="See what a video state-space model is doing.",
    help_format="plaintext",
    version=__version__,
    default_parameter=Parameter(negative_iterable=(), consume_multiple=True, allow_repeating=True),
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
COMMANDS: dict[str, dict[str, str]] = {}
"""By command: the functions whose arguments are its options, see `with_options`."""


def command(served: dict[str, str], **settings: Any) -> Callable[[Run], Run]:
    """Add a command; `settings` are those of `cyclopts.App`."""

    def add(run: Run) -> Run:
        COMMANDS[run.__name__] = served
        app.command(with_options(run, served), name=run.__name__, **settings)
        return run

    return add
