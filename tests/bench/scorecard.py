"""Score every attribution method: `make scorecard`, or `python tests/bench/scorecard.py`

On clips over photographs that the model was not trained on, what is explained is the label's logit
less that of another class: for motion-nano its twin's, for recall-nano the label of the same clip
with another sample. A map is compared with the tokens and the frames that are known to show the
cause, and for recall-nano with each disc on its own; beside it stand maps that never saw the model.
Units are taken away in the order of a map, the weights are drawn anew, and for motion-nano a second
model, trained to read a watermark, is asked whether the map moves there.

`--subject recall-nano` chooses the model. The run can be stopped and started again; what was
measured is kept in `--folder`. Writes the score card and its figure for the explorer into data/,
tables beside this file, and an offline page.
"""

import json
import pathlib
import platform
import shutil

from common import chosen_subject, named, subject_options

HERE = pathlib.Path(__file__).parent
DATA = HERE.parent.parent / "data"
PLANS = {  # half an hour of two cores for motion-nano; the others at most ten minutes of one
    "motion-nano": {},
    "recall-nano": {"clips": 32, "faithful": 8, "sane": 8, "still": 0, "batch": 8},
    "camera-nano": {"clips": 27, "faithful": 9, "sane": 5, "still": 3, "batch": 9},
}


def main(arguments=None):
    parser = subject_options(__doc__)
    parser.add_argument("--clips", type=int, help="clips; fewer than usual: a trial")
    parser.add_argument("--folder", type=pathlib.Path, help="default: runs/scorecard…")
    parser.add_argument("--output", type=pathlib.Path, help="folder for all files")
    parser.add_argument("--page", type=pathlib.Path, help="default: scorecard….html")
    parser.add_argument(
        "--shared", action="store_true", help="say that the machine did other work meanwhile"
    )
    options = parser.parse_args(arguments)
    subject = chosen_subject(options)
    folder = options.folder or pathlib.Path("runs") / named("scorecard.", subject).rstrip(".")
    if options.fresh:
        shutil.rmtree(folder, ignore_errors=True)
    summary = json.loads(json.dumps(measured(subject, options.clips, folder)))  # as read
    summary["machine"] += ", beside other work, which the seconds contain" if options.shared else ""
    data, text, page = DATA, HERE, options.page or pathlib.Path(named("scorecard.html", subject))
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        data = text = options.output
        page = options.output / page.name
    card = data / named("scorecard.json", subject)
    card.write_text(json.dumps(summary, indent=1) + "\n")
    (text / named("scorecard.md", subject)).write_text(tables(summary))

    from vmamba_explore.studies.scorecard.figures import for_explorer
    from vmamba_explore.studies.scorecard.page import scorecard_page

    figure = for_explorer(summary).to_json()
    (data / named("scorecard_figure.json", subject)).write_text(figure + "\n")
    scorecard_page(page, card)
    print(tables(summary))


def measured(subject, clips, folder):
    """The summary, with what made it."""
    import warnings

    import torch

    from vmamba_explore import load_model
    from vmamba_explore.studies.scorecard.making import Plan, ScoreCard
    from vmamba_explore.studies.scorecard.summary import summarize

    warnings.filterwarnings("ignore", message="deep_lift: the values miss")
    whole = Plan(**PLANS[subject.model])
    clips = whole.clips if clips is None else clips
    share = min(1.0, clips / whole.clips)
    sizes = {
        name: min(getattr(whole, name), max(2, round(share * getattr(whole, name))))
        for name in ("faithful", "sane", "still", "planted")
    }
    planted = None if subject.planted is None else load_model(subject.planted)
    if planted is None:
        sizes["planted"] = 0
    card = ScoreCard(
        load_model(subject.model),
        planted,
        folder,
        Plan(clips=clips, batch=whole.batch, **sizes),
        subject=subject,
    )
    card.measure()
    machine = (
        f"{torch.get_num_threads()} threads of {platform.machine()}, torch {torch.__version__}"
    )
    return {"model": subject.model, "planted": subject.planted, "machine": machine} | summarize(
        card
    )


# ---------------------------------------------------------------- scorecard.md


def tables(summary):
    """Everything that was measured, and the sentences that say how."""
    from vmamba_explore.studies.scorecard.subjects import SUBJECTS

    plan, methods, subject = summary["plan"], summary["methods"], SUBJECTS[summary["model"]]
    option = "" if subject.model == "motion-nano" else f" SUBJECT={subject.model}"
    head = [
        "# The score card",
        "",
        f"{summary['model']}, {plan['clips']} {subject.clips}, "
        f"seed {plan['seed']}; {summary['machine']}. Explained: {subject.explained}. "
        "Means over clips, 95 % bootstrap intervals. **Bold**: the lower bound of the paired "
        "difference is above zero against every control (random, frame difference, edge energy, "
        f"center prior). `make scorecard{option}` measures it again.",
        "",
    ]
    return "\n".join(
        [
            *head,
            *places(summary, "positive", "## Where and when: the positive part of each map"),
            *places(summary, "abs", "## The same for sizes (no bold: not compared)"),
            *(parts_of_the_cause(summary) if "measures" in summary else []),
            *removals(summary),
            *checks(summary),
            *costs(methods),
            *classes(summary),
            *controls_beaten(summary),
        ]
    )


def places(summary, part, title):
    scores = summary["scores"]
    area, time = (interval(summary[name]) for name in ("area", "time_area"))
    lines = [title, "", row("method", *scores.values()), rule(len(scores) + 1)]
    for name, entry in summary["methods"].items():
        cells = []
        for score in scores:
            beats = part == "positive" and entry.get("beats", {}).get(score, {}).get("all")
            found = interval(entry["truth"][part][score], summary["plan"]["clips"])
            cells.append(bold(found, beats))
        lines.append(row(shown(summary, name), *cells))
    note = (
        f"Of the tokens that count, {area} are evidence; of the frames, {time} are deciding ones."
    )
    note += (
        " A clip whose map is empty has no score and is left out. A map on pixels is cut at zero "
        "before a token's pixels are summed, one on tokens after: layer_integrated_gradients is "
        "integrated_gradients summed first."
    )
    return [*lines, "", note, ""]


def parts_of_the_cause(summary):
    clips, measures = summary["plan"]["clips"], summary["measures"]
    lines = [
        "## Each part of the cause on its own",
        "",
        "The positive part of each map. **+**: better than a map that is the same everywhere (last "
        "line), by the lower bound of the paired difference, clip by clip. **Bold**: better than "
        "every control.",
        "",
        row("method", *(f"{key} (low)" if each["low_is_good"] else key
                        for key, each in measures.items())),
        rule(1 + len(measures)),
    ]  # fmt: skip
    for name, entry in summary["methods"].items():
        cells = []
        for key in measures:
            found = entry["measures"][key]
            words = bold(interval(found, clips), found.get("all"))
            cells.append(f"{words} +" if found["beats_chance"] else words)
        lines.append(row(shown(summary, name), *cells))
    nothing = (interval(each["chance"], clips) for each in measures.values())
    return [*lines, row("*the same everywhere*", *nothing), ""]


def removals(summary):
    names = ("deletion", "insertion", "lerf_minus_morf", "temporal_deletion", "infidelity")
    few = " So few clips show nothing to be better than random: none is bold."
    lines = [
        "## What happens when units are taken away",
        "",
        f"The first {summary['plan']['faithful']} clips. Areas of the logit difference above the "
        "baseline's (tubelets: the clip's mean frame; frames: the frame before held), 1 what a "
        "whole clip is above it on average. **Bold**: better than the mean of ten random orders of "
        "the same clip. LeRF - MoRF is the area of insertion less that of deletion, the same "
        "removals seen from both ends. Infidelity in squared logits, the map's scale fitted."
        f"{few if summary['plan']['faithful'] < 8 else ''}",
        "",
        row("method", "deletion (low)", "insertion (high)", "LeRF - MoRF (high)",
            "temporal deletion (low)", "infidelity (low)"),
        rule(6),
    ]  # fmt: skip
    for name, entry in summary["methods"].items():
        found = entry["removal"]
        cells = [bold(interval(found[n]), found[n].get("beats_random")) for n in names]
        lines.append(row(shown(summary, name), *cells))
    chance = [interval(summary["chance"][n]) if n in summary["chance"] else "" for n in names]
    return [*lines, row("*ten random orders*", *chance), ""]


def checks(summary):
    plan = summary["plan"]
    planted = summary["planted"] is not None
    mark = (
        f"Share of the map on the watermark ({plan['planted']} clips) in the model trained to read "
        f"it and in {summary['model']}, which ignores it: **bold** where the difference is above "
        "zero and the share above the mark's part of the clip (0.016). "
    )
    hidden = (
        " A baseline that shows the mark, as the mean of a clip's frames does, hides it from every "
        "method that compares with it."
    )
    moves = (
        "Largest move of the map when pixels change by up to 0.02, and its distance from moving "
        f"along when the clip begins one token frame later ({plan['still']} clips). "
    )
    titles = ("watermark, planted", "watermark, clean") if planted else ()
    still = {"sensitivity": "sensitivity_max", "shift": "shift_sensitivity"}
    still = still if plan["still"] else {}
    lines = [
        "## Does it depend on what was learned, and on what is looked at?",
        "",
        "Size of the rank correlation of the signed map with that of the same model with random "
        f"weights ({plan['sane']} clips, passes up to 0.2). {mark if planted else ''}"
        f"{moves if plan['still'] else ''}Completeness: by what part the sum misses, median and "
        "worst; relevance keeps a ledger of the rest. Controls never see the model, so that theirs "
        f"are 1 and equal by construction.{hidden if planted else ''}",
        "",
        row("method", "random weights", "passes", *titles, *still, "completeness gap"),
        rule(4 + len(titles) + len(still)),
    ]
    for name, entry in summary["methods"].items():
        sanity = entry["sanity"]
        moved, gap = entry.get("stillness", {}), entry.get("completeness_gap")
        marked = []
        if planted:
            shortcut = entry["shortcut"]
            marked = [
                bold(interval(shortcut["planted"]["share"]), shortcut["moves"]),
                interval(shortcut["clean"]["share"]),
            ]
        lines.append(
            row(
                shown(summary, name),
                interval(sanity["twin_spearman"]),
                "yes" if sanity["passes"] else "no",
                *marked,
                *(interval(moved[n]) if n in moved else "" for n in still.values()),
                f"{gap['median']:.2g}, {gap['worst']:.2g}" if gap else "",
            )
        )
    return [*lines, ""]


def costs(methods):
    lines = [
        "## What it takes, for each clip",
        "",
        row("method", "options", "forward (clips)", "backward (clips)", "seconds"),
        rule(5),
    ]
    for name, entry in methods.items():
        options = ", ".join(f"{key}={value}" for key, value in entry["options"].items())
        cost = entry["cost"]
        lines.append(
            row(name, options or "default", f"{cost['forward']:.0f}", f"{cost['backward']:.0f}",
                f"{cost['seconds']:.3f}")
        )  # fmt: skip
    return [*lines, ""]


def classes(summary):
    names = list(next(iter(summary["methods"].values()))["by_class"])
    lines = ["## Share inside, by class", "", row("method", *names), rule(len(names) + 1)]
    for name, entry in summary["methods"].items():
        cells = [f"{entry['by_class'][word]['share']['value']:.2f}" for word in names]
        lines.append(row(shown(summary, name), *cells))
    return [*lines, ""]


def controls_beaten(summary):
    controls, scores = summary["controls"], summary["scores"]
    lines = [
        "## By how much each beats each control",
        "",
        "Paired differences of the positive parts, share inside and deciding frames.",
        "",
        row("method", *(f"{s}: {c}" for s in ("share", "time_share") for c in controls)),
        rule(1 + 2 * len(controls)),
    ]
    assert "share" in scores and "time_share" in scores
    for name, entry in summary["methods"].items():
        if "beats" in entry:
            over = [entry["beats"][s]["over"][c] for s in ("share", "time_share") for c in controls]
            lines.append(row(name, *(interval(each) for each in over)))
    return [*lines, ""]


def shown(summary, name):
    return f"*{name}*" if name in summary["controls"] else name


def interval(found, clips=None):
    words = f"{found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
    return words if clips in (None, found["n"]) else f"{words}, {found['n']} clips"


def bold(words, yes):
    return f"**{words}**" if yes else words


def row(*cells):
    return "| " + " | ".join(map(str, cells)) + " |"


def rule(count):
    return "|" + "---|" * count


if __name__ == "__main__":
    main()
