"""The options of every command are arguments of Python functions."""

import importlib
import inspect
import subprocess
import sys
from typing import get_args

import pytest
from cyclopts import CycloptsError
from docstring_parser import parse

from vmamba_explore.cli.options import KINDS, with_options
from vmamba_explore.cli.program import COMMANDS, app
from vmamba_explore.model.families import Layout

DECLARED = {  # what commands declare themselves: the arguments of these functions
    "report": ["app.report:report"],
    "page": [],
    "explore": ["app.explore:explore"],
    "predict": ["model.videomamba:VideoMamba.predict"],
    "watch": ["app.long_video:watch"],
    "train": ["training.runs:train", "training.recipe:Recipe", "datasets.augment:Augment"],
    "evaluate": ["training.evaluate_videos:evaluate_videos"],
    "experiment": ["studies.experiments.run:run_experiments"],
    "check": ["model.doctor:check_checkpoint"],
    "export": ["model.onnx_export:export_onnx"],
    "extract": ["app.extract:extract"],
    "models": [],
    "nearest": ["app.stored:nearest"],
    "probe": ["stores.probing:probe"],
    "row": ["app.stored:open_row"],
    "info": [],
}
FILES = {"output": "to_html", "gif": "to_gif", "csv": "to_csv"}  # of `explore`: Explorer's methods
CONTROLS = {"controls"}  # whether a function of this name is called as well
OWN = {
    "models": {"words"},
    "check": {"file"},
    "export": {"output", "format"},
    "explore": FILES.keys(),
    "extract": {"output", "scheduler", "dry_run"},  # the store, a client, and `store_size`
    "nearest": {"output"},  # of `neighbors_page`
    "row": {"output"},  # of `Explorer.to_html`
    "predict": CONTROLS,
    "watch": CONTROLS,
}


def arguments(function):
    module, _, path = function.partition(":")
    found = importlib.import_module(f"vmamba_explore.{module}")
    for name in path.split("."):
        found = getattr(found, name)
    return inspect.signature(found).parameters


def options(command):
    return app[command].default_command.__signature__.parameters


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_an_argument_of_python_with_its_default(command):
    served = {}
    for function, names in COMMANDS[command].items():
        for name, _, value in (word.partition("=") for word in names.split()):
            served[name] = arguments(function)[name]
            if not value:
                assert options(command)[name].default == served[name].default, name
    declared = {name for function in DECLARED[command] for name in arguments(function)}
    others = options(command).keys() - served.keys() - declared
    assert others == OWN.get(command, set())


def test_the_command_line_takes_every_layout_and_no_other():
    assert set(get_args(get_args(KINDS["Layout | None"])[0])) == set(get_args(Layout))


@pytest.mark.parametrize(("option", "method"), FILES.items())
def test_a_file_of_explore_is_written_by_a_method_of_the_explorer(option, method):
    assert arguments(f"view.explorer:Explorer.{method}")["path"].default is None


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_every_option(command, capsys):
    app([command, "--help"])
    text = capsys.readouterr().out
    assert f"Usage: vmamba-explore {command}" in text
    described = {one.arg_name for one in parse(app[command].default_command.__doc__).params}
    assert described == options(command).keys()
    for name in described:
        assert f"--{name.replace('_', '-')}" in text or f" {name.upper()}  " in text


def test_help_and_version_load_neither_torch_nor_plotly():
    code = (
        "import sys\nfrom vmamba_explore.cli import main\n"
        "from vmamba_explore.cli.program import COMMANDS\n"
        "for words in (['--version'], ['--help'], *([name, '--help'] for name in COMMANDS)):\n"
        "    assert main(words) == 0\n"
        "sys.exit(bool({'torch', 'plotly', 'pandas'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_command_gets_the_defaults_and_the_descriptions_of_the_functions_it_serves():
    given = {}

    def command(clip, /, **options):
        """Do something."""
        given.update(options)

    made = with_options(command, {"clips.decode:load_clip": "stride start=7"})
    made("a.mp4", stride=None)
    assert given == {"stride": None, "start": 7}
    assert "    start: First frame, as a frame number of the source" in made.__doc__


@pytest.mark.parametrize("words", ["--start 1.5", "--layers 1.4", "--start -"])
def test_a_number_that_is_not_whole_is_refused_and_never_rounded(words):
    given = f"explore a.mp4 --output b {words}".split()
    with pytest.raises(CycloptsError, match=words.split()[1]):
        app.parse_args(given, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("word", ["left", "1.5", "0x10", "-1", "nan"])
def test_a_class_is_a_number_only_where_it_is_all_digits(word):
    for given, read in ((word, word), ("17", 17)):
        bound = app.parse_args(f"explore a.mp4 --output b --target {given}".split())[1]
        assert bound.arguments["target"] == read
