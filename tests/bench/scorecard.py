"""Score every attribution method: `make scorecard`, or `python tests/bench/scorecard.py`

On motion clips with distractors over photographs that the model was not trained on, what is
explained is the label's logit less its twin's. A map is compared with the tokens and the frames
that are known to show the motion; beside it stand maps that never saw the model. Units are taken
away in the order of a map, the weights are drawn anew, and a second model, trained to read a
watermark, is asked whether the map moves there.

The run can be stopped and started again; what was measured is kept in `--folder`. Writes
data/scorecard.json and its figure for the explorer, scorecard.md beside this file, and an offline
page.
"""

import argparse
import json
import pathlib
import platform
import shutil

from scorecard_tables import tables

HERE = pathlib.Path(__file__).parent
DATA = HERE.parent.parent / "data"


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=300, help="motion clips; fewer: a trial")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("runs/scorecard"))
    parser.add_argument("--output", type=pathlib.Path, help="folder for all three files")
    parser.add_argument("--page", type=pathlib.Path, default=pathlib.Path("scorecard.html"))
    parser.add_argument("--fresh", action="store_true", help="forget what was measured before")
    options = parser.parse_args(arguments)
    if options.fresh:
        shutil.rmtree(options.folder, ignore_errors=True)
    summary = json.loads(json.dumps(measured(options)))  # as it will be read
    data, page, text = DATA, options.page, HERE
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        data = text = options.output
        page = options.output / "scorecard.html"
    (data / "scorecard.json").write_text(json.dumps(summary, indent=1) + "\n")
    (text / "scorecard.md").write_text(tables(summary))

    from vmamba_explore.studies.scorecard.figures import score_card
    from vmamba_explore.studies.scorecard.page import scorecard_page

    (data / "scorecard_figure.json").write_text(score_card(summary).to_json() + "\n")

    scorecard_page(page, data / "scorecard.json")
    print(tables(summary))


def measured(options):
    """The summary, with what made it."""
    import warnings

    import torch

    from vmamba_explore import load_model
    from vmamba_explore.studies.scorecard.making import Plan, ScoreCard
    from vmamba_explore.studies.scorecard.summary import summarise

    warnings.filterwarnings("ignore", message="deep_lift: the values miss")
    whole = Plan()
    share = min(1.0, options.clips / whole.clips)
    parts = {
        name: max(2, round(share * getattr(whole, name)))
        for name in ("faithful", "sane", "still", "planted")
    }
    card = ScoreCard(
        load_model("motion-nano"),
        load_model("motion-watermark"),
        options.folder,
        Plan(clips=options.clips, **parts),
    )
    card.measure()
    machine = (
        f"{torch.get_num_threads()} threads of {platform.machine()}, torch {torch.__version__}"
    )
    return {"model": "motion-nano", "planted": "motion-watermark", "machine": machine} | summarise(
        card
    )


if __name__ == "__main__":
    main()
