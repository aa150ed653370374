"""The state of a view as text: what stands after the # of a page's address, and how it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import parse_qsl, urlencode

from vmamba_explore.errors import few, shown
from vmamba_explore.view.explorer.vocabulary import ADDRESS, STATE

AnyState = Mapping[str, Any] | str
"""A state by trait, or as text: a page's address, its fragment, or the part behind `ADDRESS`."""


def fragment(state: Mapping[str, Any]) -> str:
    """Return a state as the fragment of an address, without the #; `address.js` writes the same."""
    return ADDRESS + urlencode({name: _text(value) for name, value in state.items()}, safe="[],:")


def read_state(state: AnyState, call: str) -> dict[str, Any]:
    """Return a state by trait; whether an explorer can have these values is not looked at.

    Args:
        state: By trait, or as text.
        call: Begins the message of an error.

    Raises:
        ValueError: it is not a state, or it names something that an explorer does not have.
        TypeError: it is neither a mapping nor text.
    """
    if isinstance(state, str):
        found = _parsed(state, call)
    elif isinstance(state, Mapping):
        found = dict(state)
    else:
        raise TypeError(
            f"{call}: state is {type(state).__name__}, expected a mapping or text; "
            "Explorer.state() returns one."
        )
    unknown = [name for name in found if name not in STATE]
    if unknown:
        raise ValueError(
            f"{call}: state has {few(shown(name, 40) for name in unknown)}, expected some of "
            f"{', '.join(STATE)}."
        )
    return found


def _parsed(text: str, call: str) -> dict[str, Any]:
    """The state in an address, a fragment, or the part of a fragment that is ours."""
    part = text.partition("#")[2] or text
    ours = part.strip().removeprefix(ADDRESS)
    try:
        pairs = parse_qsl(ours, True, strict_parsing=True, max_num_fields=len(STATE))
    except ValueError:
        pairs = []
    if not pairs:
        raise ValueError(
            f"{call}: state is {shown(text)}, expected the address of an explorer's page, or what "
            f"stands in it after the #, such as '{ADDRESS}frame=8&layer=5'."
        )
    return {name: _value(value) for name, value in pairs}


def _text(value: Any) -> str:
    """A value as JSON, but text as it is where it cannot be taken for JSON."""
    if isinstance(value, str) and _value(value) == value:
        return value
    return json.dumps(value, separators=(",", ":"))


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
