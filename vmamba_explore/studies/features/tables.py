"""The measured features as tables: which single number tells a factor best, and what is steered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from vmamba_explore import resources
from vmamba_explore.errors import check_choice
from vmamba_explore.studies.features.compare import FEATURE, KINDS
from vmamba_explore.studies.features.run import FILE

Found = Mapping[str, Any]


def load_study() -> Found:
    """Return what `make features` measured of the bundled models."""
    found: Found = json.loads(resources.path(FILE).read_text("utf-8"))
    return found


def comparison(found: Found, model: str, site: str) -> pd.DataFrame:
    """Tabulate the best single number of each kind for each factor, with 95 % intervals.

    Args:
        found: As `load_study` returns it.
        model: Name of a bundled model.
        site: "tokens", "late tokens" or "states".
    Raises:
        ValueError: there is no such model or site.
    """
    rows = _site(found, model, site)["factors"]
    listed = {
        row["factor"]: {"score": row["score"]}
        | {kind: _words(row[kind]) for kind in KINDS}
        | {f"{FEATURE} less {kind}": _words(row[f"{FEATURE} less {kind}"]) for kind in KINDS[1:]}
        for row in rows
    }
    return pd.DataFrame(listed).T.rename_axis("factor")


def steering(found: Found, model: str, site: str) -> pd.DataFrame:
    """Tabulate the features that claim a factor, added and removed, beside their controls.

    Effects are changes of a centered logit, mean over clips with its 95 % interval; `right` says
    that the effect less the control's lies on the right side of zero.
    """
    rows = []
    for row in _site(found, model, site)["steering"]:
        one = {name: row[name] for name in ("feature", "claims", "auroc")}
        for what in ("added", "removed"):
            one[what] = _words(row[what]["effect"])
            one[f"{what}, control"] = _words(row[what]["control"])
            one[f"{what}, right"] = row[what]["right"]
        rows.append(one)
    return pd.DataFrame(rows)


def _site(found: Found, model: str, site: str) -> Mapping[str, Any]:
    check_choice("features: model", model, found["models"])
    sites = found["models"][model]["sites"]
    check_choice("features: site", site, sites)
    held: Mapping[str, Any] = sites[site]
    return held


def _words(interval: Mapping[str, float]) -> str:
    return f"{interval['value']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"
