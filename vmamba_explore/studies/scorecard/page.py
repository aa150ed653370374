"""scorecard_page(): the score card of all attribution methods as one offline page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vmamba_explore import resources
from vmamba_explore.attribution.sanity import Agreement
from vmamba_explore.errors import one_line
from vmamba_explore.files import atomic_write, output_path, read_json
from vmamba_explore.studies.scorecard import figures as scores
from vmamba_explore.studies.scorecard.subjects import MOTION, SUBJECTS
from vmamba_explore.studies.scorecard.tables import (
    check_table,
    measure_table,
    place_table,
    removal_table,
)
from vmamba_explore.view.figures.attribution import agreement_matrix
from vmamba_explore.view.page import FOOTER
from vmamba_explore.view.report import Section, report_page


def scorecard_page(
    output: str | os.PathLike[str], summary: str | os.PathLike[str] | None = None
) -> Path:
    """Write one offline page that shows the score card of all attribution methods.

    Args:
        output: The HTML file to write.
        summary: What `make scorecard` measured, a JSON file; None takes the bundled one of
            motion-nano.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: there is no such summary, or the folder of `output` does not exist.
        IsADirectoryError: `output` is a folder.
    """
    output = output_path(output, "scorecard_page")
    source = resources.path("scorecard.json") if summary is None else Path(summary)
    if not source.is_file():
        raise FileNotFoundError(f"scorecard_page: there is no file {one_line(source)}.")
    card: dict[str, Any] = read_json(source, dict, "scorecard_page")
    plan, methods = card["plan"], card["methods"]
    subject = SUBJECTS.get(card.get("model", ""), MOTION)
    facts = {
        "Clips": f"{plan['clips']} {subject.clips}, seed {plan['seed']}",
        "Explained": subject.explained,
        "Methods": f"{len(methods) - len(card['controls'])}, and {len(card['controls'])} controls "
        f"that never ask the model: {', '.join(card['controls'])}",
        "Intervals": "95 %, bootstrap over clips",
    }
    for name in ("model", "machine"):
        if name in card:
            facts[name.capitalize()] = str(card[name])
    page = report_page(
        "Which attribution is right? A score card", facts, _score_sections(card), FOOTER
    )
    atomic_write(output, page)
    return output


def _score_sections(card: Mapping[str, Any]) -> list[Section]:
    pairs = card["agreement"]
    agreement = Agreement(
        tuple(pairs["methods"]), torch.tensor(pairs["spearman"], dtype=torch.float64)[None]
    )
    return [
        Section(
            "Where and when",
            [
                "In these clips it is known which tokens show the cause of the label, and when. "
                "Each dot says how well the positive part of a map agrees with that. A filled dot "
                "beats all four controls: the lower bound of the difference, clip by clip, is "
                "above zero; in the table it is bold. Gray bands are the controls.",
                "A control may do well where the truth is what it shows. The frame difference "
                "shows what moves, and knows nothing about the model.",
            ],
            [scores.score_card(card), place_table(card)],
        ),
        *_parts(card),
        _checks(card),
        Section(
            "Taking tokens away",
            [
                "Tokens with the highest values are taken away first (deletion), or put in first "
                "(insertion). Areas under the logit difference above the baseline's, 1 what a "
                "whole clip is above it on average. Filled and bold: better than the mean of ten "
                "random orders of the same clip."
            ],
            [scores.removal_scores(card), removal_table(card)],
        ),
        Section(
            "By class",
            ["The share of each map that lies on the cause."],
            [scores.scores_by_class(card, "share")],
        ),
        Section(
            "Do methods agree?",
            ["Rank correlations of the signed maps of the same clips, means over clips."],
            [agreement_matrix(agreement)],
        ),
    ]


def _parts(card: Mapping[str, Any]) -> list[Section]:
    if "measures" not in card:
        return []
    return [
        Section(
            "Which part of the cause?",
            [
                "The same maps, asked about each part of the truth on its own. Dotted: a map that "
                "is the same everywhere. Filled, and + in the table: better than that, clip by "
                "clip, by the lower bound of the paired difference. Bold in the table: better "
                "than all four controls, which may well see what they show.",
            ],
            [scores.parts(card), measure_table(card)],
        )
    ]


def _checks(card: Mapping[str, Any]) -> Section:
    mark = (
        "A second model was trained on clips with a small mark that gives the label away, "
        "and reads nothing else. A faithful map lies on the mark there, and not in the "
        "model that ignores it. A method whose baseline contains the mark cannot see it. Bold in "
        "the table: the share is larger where the mark is read, and above the mark's part of the "
        "clip."
    )
    weights = (
        "Each map is compared with that of the same model without its training, whatever the sign: "
        "what is left belongs to the clip or to the method. Controls never ask the model, so "
        "theirs is 1."
    )
    planted = all("shortcut" in entry for entry in card["methods"].values())
    return Section(
        "Does the map follow the model?",
        [mark, weights] if planted else [weights],
        [scores.shortcut(card), check_table(card)],
    )
