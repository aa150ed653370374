"""Options of the command line from the signatures and docstrings of Python functions."""

from __future__ import annotations

import ast
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from docstring_parser import parse

from vmamba_explore.errors import shown

PACKAGE = Path(__file__).parent.parent


def _option(
    read: Callable[[str], Any], accept: Callable[[Any], bool], expected: str, **settings: Any
) -> Parameter:
    """How an option is read from a word; `expected` is said where that fails."""

    def convert(_: Any, tokens: Sequence[Any]) -> Any:
        word = tokens[0].value
        try:
            value = read(word)
            if accept(value):
                return value
        except ValueError:
            pass
        raise ValueError(f"expected {expected}, got {shown(word)}")

    return Parameter(converter=convert, **settings)


_AT_LEAST_1 = int, lambda number: number >= 1, "a whole number of at least 1"
Count = Annotated[int, _option(*_AT_LEAST_1)]
CountFromZero = Annotated[
    int, _option(int, lambda number: number >= 0, "a whole number of at least 0")
]
Whole = Annotated[int | None, _option(int, lambda number: True, "a whole number")]
Class = Annotated[
    int | str | None,
    _option(lambda word: int(word) if word.isdecimal() else word, lambda name: True, "a class"),
]
K = Annotated[int, _option(*_AT_LEAST_1, name=("--k", "-k"))]
Memory = Annotated[float, _option(float, lambda gib: 0 < gib < math.inf, "a number of GiB above 0")]
Stride = Annotated[
    int | None,
    _option(
        lambda word: None if word == "spread" else int(word),
        lambda number: True,
        "a whole number or 'spread'",
        help="Source frames from one clip frame to the next, or 'spread' over the whole file.",
    ),
]
KINDS: dict[str, Any] = {
    "AnyState | None": str | None,
    "Asked": Class,
    "bool": bool,
    "bool | None": bool | None,
    "budget_gib: float": Memory,
    "budget_gib: float | int": Memory,
    "clip: int": CountFromZero,
    "Damaged": Literal["refuse", "show"],
    "Every": Literal["window", "token frame"],
    "hop: int | None": Whole,
    "int": Count,
    "int | None": Count | None,
    "int | str | None": Class,
    "k: int": K,
    "kind: Kind | None": Literal["class", "number"] | None,
    "Layout | None": Literal["opengvlab", "vim", "videomambapro", "vivim"] | None,
    "Measure": Literal["cosine", "euclidean"],
    "Precision": Literal["no", "bf16", "fp16"],
    "seed: int": CountFromZero,
    "Sequence[int] | None": list[CountFromZero] | None,
    "Sequence[str] | None": list[str] | None,
    "start: int | None": Whole,
    "str": str,
    "str | None": str | None,
    "str | os.PathLike[str]": str,
    "str | os.PathLike[str] | None": str | None,
    "str | Path": str,
    "str | VideoMamba": str,
    "str | VideoMamba | None": str | None,
    "stride: int | None": Stride,
    "workers: int": CountFromZero,
}
"""What the command line takes, by "name: annotation" or annotation of an argument."""


def with_options(run: Callable[..., None], served: Mapping[str, str]) -> Callable[..., None]:
    """Give a command options that are arguments of Python functions.

    Args:
        run: The command. It may declare further options; `**options` takes those it does not name.
        served: By function, as "module:name": the names of its arguments that become options, with
            their types, defaults ("name=value" replaces one) and descriptions.
    Returns:
        The command with a signature and a docstring for cyclopts.
    """
    own = inspect.signature(run, eval_str=True).parameters
    parameters = {name: one for name, one in own.items() if one.kind != one.VAR_KEYWORD}
    texts: dict[str, str] = {}
    for function, names in served.items():
        arguments, described = _read(function, names)
        parameters |= arguments
        texts |= {n: text for n, text in described.items() if n in arguments or n not in texts}
    texts |= _described(run.__doc__)
    signature = inspect.Signature(list(parameters.values()))

    def command(*given: Any, **options: Any) -> None:
        bound = signature.bind(*given, **options)
        bound.apply_defaults()
        run(*bound.args, **bound.kwargs)

    lines = [f"    {name}: {texts[name]}" for name in parameters if name in texts]
    summary = inspect.cleandoc(run.__doc__ or "").partition("\nArgs:\n")[0]
    command.__doc__ = "\n".join([summary, "", "Args:", *lines] if lines else [summary])
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {name: one.annotation for name, one in parameters.items()}
    return command


def _read(function: str, names: str) -> tuple[dict[str, inspect.Parameter], dict[str, str]]:
    """Arguments of a function and their descriptions, from its source: an import loads torch."""
    module, _, path = function.partition(":")
    source = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
    nodes: Any = ast.parse(source.read_text(encoding="utf-8")).body
    for part in path.split("."):
        (node,) = (one for one in nodes if getattr(one, "name", None) == part)
        nodes = node.body
    given = node.args.args + node.args.kwonlyargs
    defaults = [*node.args.defaults, *node.args.kw_defaults]  # an argument without one has none
    defaults = [None] * (len(given) - len(defaults)) + defaults
    parameters = {}
    for name, _, value in (word.partition("=") for word in names.split()):
        (place,) = (number for number, one in enumerate(given) if one.arg == name)
        annotation, default = ast.unparse(given[place].annotation), value or defaults[place]
        parameters[name] = inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if default is None else ast.literal_eval(default),
            annotation=KINDS.get(f"{name}: {annotation}") or KINDS[annotation],
        )
    return parameters, _described(ast.get_docstring(node))


def _described(docstring: str | None) -> dict[str, str]:
    return {
        name: " ".join((one.description or "").split())
        for one in parse(docstring or "").params
        for name in one.arg_name.split(", ")
    }
