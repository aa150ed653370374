"""What the states of a bundled model hold, decoded: `python tests/bench/probes.py`.

Linear probes are fitted to clips over training photographs and judged on clips over photographs
that neither the model nor a probe has seen; neither lot was trained on. `--subject` chooses the
model and its clips. Writes probes.json (with the model's name for others than motion-nano) and,
from it, probes.md. `--train 1000 --test 300` of motion-nano takes about ten minutes on two cores
and 2 GiB.

* Probes of every layer, direction and token frame, against input tokens, shuffled answers and a
  model of the same size that was never trained.
* For motion-nano: after a jump of the object in the middle of the clip, what can still be read of
  its old position, beside what delta and A alone let one expect.
"""

import json
import pathlib
import platform
import re
import time

import numpy as np
import torch
from common import chosen_subject, named, subject_options

import vmamba_explore
from vmamba_explore.analysis.erasure import after_cut, collect_after_cut
from vmamba_explore.analysis.frame_states import collect
from vmamba_explore.analysis.probes import SOURCES, probe
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.clips.recall import RecallClips
from vmamba_explore.model.checkpoints import fingerprint
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.studies.scorecard.subjects import MovingCameras

HERE = pathlib.Path(__file__)
SEEDS = {"train": 4001, "test": 4002}
COUNTS = {"motion-nano": (1000, 300), "recall-nano": (240, 120), "camera-nano": (240, 120)}
TIMING = (2, 1, 8, 1)  # first frame of the sample; frames of sample, delay and test
BOUNDARY = 4
QUANTITIES = ("r2", "share", "inputs", "retention")
WORDS = {
    "motion-nano": "for the label the share of right answers (chance 0.10)",
    "recall-nano": "but all targets are classes: the share of right answers (chance 0.25). In all "
    f"clips the sample is shown in frame {TIMING[0]}, the test in frame {sum(TIMING[:3])}. In "
    "layer 0 a color can be read from nothing before its frame is read; in later layers the other "
    "direction of the layers below may have brought it",
    "camera-nano": "for the label the share of right answers (chance 0.11: nine classes, cameras "
    "that stand left out). Pan, tilt, zoom and roll are speeds in a token frame, none across a cut",
}


def main():
    options = parsed()
    torch.set_num_threads(options.threads)
    subject = chosen_subject(options)
    model = vmamba_explore.load_model(subject.model).eval()
    series = {lot: clips_of(subject.model, lot) for lot in SEEDS}
    usual = dict(zip(SEEDS, COUNTS[subject.model], strict=True))
    counts = {lot: getattr(options, lot) or usual[lot] for lot in SEEDS}
    path = HERE.with_name(named("probes.json", subject))
    results = json.loads(path.read_text()) if path.exists() and not options.fresh else {}
    header = {"counts": counts, "seeds": SEEDS}
    if subject.model != "motion-nano":
        header |= {"model": subject.model, "weights": fingerprint(model)}
    if any(results.get(name) != value for name, value in header.items() if name != "seeds"):
        results = {**header, "machine": machine()}

    def step(name, work):
        if name in results:
            return
        start = time.perf_counter()
        results[name] = work()
        path.write_text(json.dumps(results, indent=1) + "\n")
        path.with_suffix(".md").write_text(tables(results))
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)

    def grid(of, layers=None):
        lots = {
            lot: collect(of, series[lot], range(counts[lot]), layers, budget_gib=3.0)
            for lot in series
        }
        return scores(probe(lots["train"], lots["test"]))

    def cut(edge):
        found = {}
        for first in range(0, model.config.depth, 2):  # two at a time, for the memory's sake
            layers = range(first, min(first + 2, model.config.depth))
            lots = {
                lot: collect_after_cut(
                    model, series[lot], counts[lot], BOUNDARY, edge, layers, layers, budget_gib=3.0
                )
                for lot in series
            }
            part = after_cut(lots["train"], lots["test"], BOUNDARY)
            found |= {name: getattr(part, name) for name in ("directions", "lags", "per_frame")}
            found["layers"] = [*found.get("layers", []), *layers]
            for name in (q + end for q in QUANTITIES for end in ("", "_low", "_high")):
                found[name] = [*found.get(name, []), *rounded(getattr(part, name))]
        return found

    step("probes", lambda: grid(model))
    if subject.model == "motion-nano":
        step("after the object stops", lambda: cut("end"))
        step("after the object starts", lambda: cut("start"))
    torch.manual_seed(0)
    untrained = VideoMamba(model.config).eval()
    step("untrained", lambda: grid(untrained, (0, model.config.depth - 1)))


def clips_of(model, lot):
    """The clips that probes are fitted to ("train") or judged on ("test")."""
    if model == "recall-nano":
        return RecallClips(SEEDS[lot], backgrounds=lot, timing=TIMING)
    if model == "camera-nano":
        return MovingCameras(SEEDS[lot], lot)
    return MotionClips(SEEDS[lot], backgrounds=lot)


def scores(found):
    """What a `ProbeScores` holds, as plain values."""
    return {
        "targets": found.targets, "layers": found.layers, "directions": found.directions,
        "sources": SOURCES, "train": found.train.tolist(), "test": found.test.tolist(),
        **{name: rounded(getattr(found, name)) for name in ("values", "low", "high")},
    }  # fmt: skip


def rounded(values):
    """Plain numbers of 4 digits, NaN as None."""
    listed = np.where(np.isnan(values), None, np.round(values, 4).astype(object))
    return listed.tolist()


def tables(results):
    """The page: what was measured, in words and tables."""
    model = results.get("model", "motion-nano")
    option = "" if model == "motion-nano" else f" --subject {model}"
    file = "probes.json" if model == "motion-nano" else f"probes_{model}.json"
    lines = [
        "# What the states hold, decoded", "",
        f"Written by `python tests/bench/{HERE.name}{option}`; all numbers, with their intervals, "
        f"are in {file}. {results['counts']['train']} training clips, {results['counts']['test']} "
        "test clips over photographs that neither the model nor a probe has seen.", "",
    ]  # fmt: skip
    if "probes" in results:
        lines += grid_tables(results, WORDS[model])
    for name, heading in (
        ("after the object stops", "After the object stops moving and jumps"),
        ("after the object starts", "After the object jumps and starts moving"),
    ):
        if name in results:
            lines += [f"## {heading}", "", *cut_table(results[name])]
    lines += [f"Machine: {results['machine']}.", ""]
    return re.sub(r"-(0(\.00| %))", r"\1", "\n".join(lines))  # no negative zeros


def grid_tables(results, words):
    """R^2 at the best frame and layer, then every layer, with all controls."""
    held = results["probes"]
    values, low, high = (numbers(held[name]) for name in ("values", "low", "high"))
    lines = [
        "## Best layer, mean over the token frames in which the target is defined", "",
        f"R^2 on test clips (0: no better than the mean), {words}. Controls: "
        "the same probe of the model's input tokens of that frame and of "
        "all frames read by then, of the state with the training answers shuffled (the largest "
        "of all places, frame by frame), of an untrained model's states (the better of its first "
        "and last layer). The layer shown is the one with the largest mean on the test clips.", "",
        "| target | direction | layer | state | state after the last frame read | input tokens "
        "| all tokens read | shuffled, largest | untrained |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    bare = results.get("untrained")
    for t, target in enumerate(held["targets"]):
        for b, direction in enumerate(held["directions"]):
            means = np.nanmean(values[t, :, :, b], axis=-1)  # (source, layer)
            layer = int(np.argmax(means[0]))
            shuffled = np.nanmax(values[t, 1, :, b])
            last = (t, 0, layer, b, 0 if direction == "backward" else -1)
            end, other = cell(values[last], low[last], high[last]), "–"
            if bare:
                other = f"{np.nanmean(numbers(bare['values'])[t, 0, :, b], axis=-1).max():.2f}"
            lines.append(
                f"| {target} | {direction} | {held['layers'][layer]} | {means[0, layer]:.2f} "
                f"| {end} | {means[2, 0]:.2f} | {means[3, 0]:.2f} | {shuffled:.2f} | {other} |"
            )
    for t, target in enumerate(held["targets"]):
        lines += [
            "", f"### {target}", "",
            "State, by layer and direction (rows) and token frame (columns), with the 95 % "
            "interval over test clips.", "",
            "| | " + " | ".join(f"frame {n}" for n in range(values.shape[-1])) + " |",
            "| --- |" + " --- |" * values.shape[-1],
        ]  # fmt: skip
        for a, layer in enumerate(held["layers"]):
            for b, direction in enumerate(held["directions"]):
                place = (t, 0, a, b)
                cells = map(cell, values[place], low[place], high[place])
                lines.append(f"| layer {layer} {direction} | " + " | ".join(cells) + " |")
        place = (t, 2, 0, 0)
        cells = map(cell, values[place], low[place], high[place])
        lines.append("| input tokens | " + " | ".join(cells) + " |")
    return [*lines, ""]


def cut_table(found):
    """Decodable and predicted shares, by layer, direction and lag."""
    of = {name: numbers(found[name]) for name in found if name.startswith(QUANTITIES)}
    lags = [f"{lag} tokens ({lag / found['per_frame']:.2f} frames)" for lag in found["lags"]]
    lines = [
        "In each cell: R^2 of the old position with its 95 % interval over test clips; that as a "
        "share of the R^2 at lag 0; the predicted retention. Lag 0 is the last token read before "
        "the jump; for the backward direction time runs backwards, and its old position is that "
        "after the jump. The last column: the largest R^2 of the old position in the block's own "
        "input tokens of a frame that is read after the jump, which a state could have it from.",
        "", "| | " + " | ".join(lags) + " | own input tokens |",
        "| --- |" + " --- |" * (len(lags) + 1),
    ]  # fmt: skip
    for a, layer in enumerate(found["layers"]):
        for b, direction in enumerate(found["directions"]):
            cells = []
            for lag in range(len(lags)):
                at = (a, b, lag)
                share = f"{100 * of['share'][at]:.0f} %; {100 * of['retention'][at]:.0f} %"
                measured = cell(*(of["r2" + end][at] for end in ("", "_low", "_high")))
                cells.append("–" if np.isnan(of["r2"][at]) else f"{measured}; {share}")
            cells.append(f"{np.nanmax(of['inputs'][a, b, 1:]):.2f}")
            lines.append(f"| layer {layer} {direction} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def cell(value, low, high):
    return "–" if np.isnan(value) else f"{value:.2f} [{low:.2f}, {high:.2f}]"


def numbers(listed):
    return np.array(listed, dtype=float)


def machine():
    return f"{platform.processor() or platform.machine()}, torch {torch.__version__}"


def parsed():
    parser = subject_options(__doc__)
    parser.add_argument("--train", type=int, help="training clips")
    parser.add_argument("--test", type=int, help="test clips")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


if __name__ == "__main__":
    main()
