"""Does evidence turn when the truth says? `python tests/bench/truth.py`

Runs the bundled model on 300 motion clips over photographs that it was not trained on, once without
and once with a distractor, and compares with what is known about each clip:

* half-crossing: the token frame at which the curve of the true-minus-twin logit passes half of the
  whole clip's value for good. The truth: a prefix is decided once it holds the second frame of the
  motion, a suffix once it holds the last but one. The rest of the clip is dropped (tokens) or held
  (the last frame seen stands still).
* share of the logit's frame contributions inside the window of the motion, in whole token frames.

Against chance on the same clips: a random token frame; the truth of other clips (mean over all
pairs: a curve that knows when windows usually lie, but not this one); and for the crossings the one
token frame that fits all clips best, chosen with the truth in hand. Intervals are 95 %, by
bootstrap over clips.

Clips already measured are kept in `--rows` and not measured again; truth.json and truth.md are
written from them.
"""

import hashlib
import json
import pathlib
import sys

import numpy as np
from common import options_for

HERE = pathlib.Path(__file__).parent
MODEL = "motion-nano"
SEED = 4  # clips of seeds 0, 1 and 2 served to train and to test the model
CONDITIONS = {"none": "without distractors", "all": "with distractors"}
CURVES = [(kind, removal) for kind in ("prefix", "suffix") for removal in ("dropped", "held")]
BATCH = 15
RESAMPLES = 10_000
FIXED = {  # scores for which the best token frame that is the same for all clips is looked for
    "exact": np.argmax,
    "within 1": np.argmax,
    "inside the window": np.argmax,
    "mean absolute error": np.argmin,
}


def main(arguments=None):
    parser = options_for(__doc__, "truth.jsonl")
    parser.add_argument("--clips", type=int, default=300, help="clips of each condition")
    parser.add_argument("--output", type=pathlib.Path, default=HERE, help="folder")
    options = parser.parse_args(arguments)
    rows = measured(options)
    summary = {"model": MODEL, "seed": SEED, "clips": options.clips, "resamples": RESAMPLES}
    for name, words in CONDITIONS.items():
        chosen = [r for r in rows if r["distractors"] == name and r["index"] < options.clips]
        summary[words] = summarise(sorted(chosen, key=lambda row: row["index"]))
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "truth.json").write_text(json.dumps(summary, indent=1) + "\n")
    (options.output / "truth.md").write_text(tables(summary))
    print(tables(summary))


# ---------------------------------------------------------------- measuring


def measured(options):
    """The rows of all clips asked for: those in the file, and the missing ones, which it adds."""
    from tqdm.auto import tqdm

    from vmamba_explore import load_model
    from vmamba_explore.clips.motion import MotionClips

    model = load_model(MODEL)
    weights = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        weights.update(name.encode() + tensor.numpy().tobytes())
    header = {"model": MODEL, "seed": SEED, "weights": weights.hexdigest()[:16]}
    rows, path = [], options.rows
    if path.exists() and not options.fresh:
        found, *rows = [json.loads(line) for line in path.read_text().splitlines()]
        if found != header:
            sys.exit(f"{path} is of other weights or another seed: --fresh begins anew.")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(header) + "\n")
    known = {(row["distractors"], row["index"]) for row in rows}
    missing = [(d, i) for d in CONDITIONS for i in range(options.clips) if (d, i) not in known]
    bar = tqdm(total=len(missing), desc="clips", unit="clip")
    with bar, path.open("a") as file:
        for distractors in CONDITIONS:
            wanted = [i for d, i in missing if d == distractors]
            clips = MotionClips(SEED, backgrounds="test", distractors=distractors)
            for start in range(0, len(wanted), BATCH):
                for row in measure(model, clips, wanted[start : start + BATCH]):
                    rows.append({"distractors": distractors, **row})
                    file.write(json.dumps(rows[-1]) + "\n")
                    bar.update()
                file.flush()
    return rows


def measure(model, clips, indices):
    """One row for each clip: its truth, its curves, the parts of its logit."""
    import torch

    from vmamba_explore import run_with_trace
    from vmamba_explore.analysis import evidence
    from vmamba_explore.analysis.logits import LogitParts, logit_parts
    from vmamba_explore.clips.clip import normalize

    frames, labels = clips.batch(indices)
    windows = clips.plan(indices).windows
    batch, target = normalize(frames), torch.from_numpy(labels)
    with torch.no_grad():
        logits, trace = run_with_trace(model, batch, LogitParts.names(model))
        parts = logit_parts(trace, target, target ^ 1)
    curves = {
        "prefix/dropped": evidence.prefix_curve(model, batch, target, target ^ 1),
        "suffix/dropped": evidence.suffix_curve(model, batch, target, target ^ 1),
        "prefix/held": evidence.held_frame_curve(model, batch, target, target ^ 1, "prefix"),
        "suffix/held": evidence.held_frame_curve(model, batch, target, target ^ 1, "suffix"),
    }
    crossings = {name: curve.half_crossing().tolist() for name, curve in curves.items()}
    for row, index in enumerate(indices):
        yield {
            "index": int(index),
            "label": int(labels[row]),
            "predicted": int(logits[row].argmax()),
            "window": windows[row].tolist(),
            "tubelet": model.config.tubelet_size,
            "logit": rounded(parts.logit[row]),
            "residual": parts.residual,
            "frames": rounded(parts.frames[row]),
            "layers": rounded(parts.values[row]),  # layer, direction, source
            "curves": {name: rounded(curve.values[row]) for name, curve in curves.items()},
            "crossings": {name: crossings[name][row] for name in curves},
        }


def rounded(tensor):
    """Nested lists with six significant digits: some parts are a thousandth of others."""
    values = np.array([float(f"{x:.6g}") for x in tensor.flatten().tolist()])
    return values.reshape(tensor.shape).tolist()


# ---------------------------------------------------------------- comparing with the truth


def truth_frame(kind, window, tubelet):
    """The token frame with which a prefix or a suffix is decided."""
    first, last = window
    return (first + 1) // tubelet if kind == "prefix" else (last - 1) // tubelet


def window_frames(window, tubelet):
    """First and last token frame that hold a frame of the window."""
    return window[0] // tubelet, window[1] // tubelet


def judged(kind, crossing, truth, window):
    """Each score of crossings against truths; arrays that broadcast. NaN misses, and its error is
    left out. Errors are positive after the truth, in the order in which the clip is revealed."""
    late = crossing - truth if kind == "prefix" else truth - crossing
    return {
        "exact": (late == 0).astype(float),
        "within 1": (np.abs(late) <= 1).astype(float),
        "before the truth": (late < 0).astype(float),
        "inside the window": ((window[0] <= crossing) & (crossing <= window[1])).astype(float),
        "mean error": late,
        "mean absolute error": np.abs(late),
    }


def interval(values, seed=0):
    """Mean and 95 % bootstrap interval over clips, [mean, low, high]; NaN is left out."""
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    if not len(values):
        return [float("nan")] * 3
    generator = np.random.default_rng(seed)
    means = [
        values[generator.integers(0, len(values), (500, len(values)))].mean(1)
        for _ in range(RESAMPLES // 500)
    ]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return [round(float(value), 4) for value in (values.mean(), low, high)]


def of_others(matrix):
    """Mean of each row without its own entry: what clip i scores against the other clips."""
    known = ~np.isnan(matrix) & ~np.eye(len(matrix), dtype=bool)
    count = known.sum(1)
    return np.where(known, matrix, 0).sum(1) / np.where(count > 0, count, np.nan)


def summarise(rows):
    """All scores of one condition, each beside chance."""
    windows = [window_frames(row["window"], row["tubelet"]) for row in rows]
    window = np.array(windows, dtype=float).T
    count = len(rows[0]["frames"])
    every = np.arange(count, dtype=float)
    result = {
        "right": [sum(row["predicted"] == row["label"] for row in rows), len(rows)],
        "largest residual of the parts": max(row["residual"] for row in rows),
        "crossings": {},
    }
    for kind, removal in CURVES:
        name = f"{kind}/{removal}"
        crossing = np.array([row["crossings"][name] for row in rows], dtype=float)
        truth = np.array([truth_frame(kind, r["window"], r["tubelet"]) for r in rows], dtype=float)
        ours = judged(kind, crossing, truth, window)
        random = judged(kind, every[:, None], truth, window)  # (frame, clip)
        others = judged(kind, crossing[:, None], truth, window[:, None])  # (clip, other clip)
        scores = {}
        for score, values in ours.items():
            shuffled = of_others(others[score])
            fixed = random[score].mean(1)
            cell = {"value": interval(values), "random frame": interval(random[score].mean(0))}
            if score != "mean error":  # whose mean does not depend on who is compared with whom
                cell["truth of other clips"] = interval(shuffled)
                cell["above other clips"] = interval(values - shuffled)
            if score in FIXED:
                best = int(FIXED[score](fixed))
                cell["best fixed frame"] = [best, *interval(random[score][best])]
            scores[score] = cell
        undefined = int(np.isnan(crossing).sum())
        result["crossings"][name] = {"undefined": undefined, "scores": scores}
    result["by motion"] = by_motion(rows)
    result["shares"] = shares(rows, window, count)
    return result


def by_motion(rows):
    """Exact crossings of each pair of motions, and how the curves begin."""
    from vmamba_explore.clips.motion import CLASS_NAMES

    found = {}
    for pair in range(0, len(CLASS_NAMES), 2):
        chosen = [row for row in rows if row["label"] // 2 == pair // 2]
        if not chosen:
            continue
        cells = {"clips": len(chosen)}
        for kind, removal in CURVES:
            name = f"{kind}/{removal}"
            right = [
                r["crossings"][name] == truth_frame(kind, r["window"], r["tubelet"]) for r in chosen
            ]
            cells[f"{name} exact"] = interval(right)
        first = np.array([row["curves"]["prefix/dropped"][0] for row in chosen])
        cells["first frame: right side"] = interval(first > 0)
        cells["first frame: mean size"] = interval(np.abs(first))
        found["/".join(CLASS_NAMES[pair : pair + 2])] = cells
    return found


def shares(rows, window, count):
    """How much of the frames' contributions lies inside the window, of all layers and of each."""
    every = np.arange(count)
    inside = (window[0][:, None] <= every) & (every <= window[1][:, None])  # (clip, frame)
    total = np.array([row["frames"] for row in rows])
    layers = np.array([row["layers"] for row in rows])[..., :count]
    size = np.abs(layers).sum((2, 3))  # (clip, layer)
    found = {"uniform": interval(inside.mean(1)), "all layers": share_scores(total, inside)}
    found["all layers"]["signed"] = interval((total * inside).sum(1) / total.sum(1))
    for layer in range(layers.shape[1]):
        found[f"layer {layer}"] = share_scores(layers[:, layer].sum(1), inside) | {
            "of the size of all layers": interval(size[:, layer] / size.sum(1))
        }
    by_direction = np.abs(layers).sum((1, 3))
    found["of the size by direction"] = [
        interval(by_direction[:, d] / by_direction.sum(1)) for d in range(layers.shape[2])
    ]
    return found


def share_scores(frames, inside):
    """Shares (clip, frame) inside the own window and inside those of other clips."""
    scores = {}
    for name, part in {"positive part": np.maximum(frames, 0), "size": np.abs(frames)}.items():
        total = part.sum(1, keepdims=True)
        share = part / np.where(total > 0, total, np.nan)  # a layer may add nothing positive
        own, others = (share * inside).sum(1), of_others(share @ inside.T.astype(float))
        scores[name] = {
            "value": interval(own),
            "windows of other clips": interval(others),
            "above other clips": interval(own - others),
        }
    return scores


# ---------------------------------------------------------------- truth.md


def tables(summary):
    """The summary of truth.py as Markdown."""
    conditions = [words for words, part in summary.items() if isinstance(part, dict)]
    lines = [
        "# When evidence turns, against the truth",
        "",
        f"`python tests/bench/truth.py`: {summary['model']} on {summary['clips']} motion clips over"
        f" test photographs (seed {summary['seed']}), true-minus-twin logit. 95 % intervals by"
        " bootstrap over clips. Errors are in token frames (2 clip frames), positive after the"
        " truth in the order in which the clip is revealed.",
    ]
    for words in conditions:
        part = summary[words]
        lines += ["", f"## {words.capitalize()}", ""]
        right, of = part["right"]
        lines += [f"{right} of {of} clips are classified right; all are counted.", ""]
        lines += ["| curve | score | measured | random frame | truth of other clips | above |"
                  " best fixed frame |", "|---|---|---|---|---|---|---|"]  # fmt: skip
        for curve, found in part["crossings"].items():
            for score, cell in found["scores"].items():
                frame, *fixed = cell.get("best fixed frame", [None])
                others = cell.get("truth of other clips")
                lines.append(
                    f"| {curve} | {score} | {shown(cell['value'])} | {cell['random frame'][0]:.2f}"
                    f" | {f'{others[0]:.2f}' if others else '–'}"
                    f" | {shown(cell['above other clips']) if others else '–'}"
                    f" | {f'{fixed[0]:.2f} (frame {frame})' if fixed else '–'} |"
                )
        undefined = {n: f["undefined"] for n, f in part["crossings"].items() if f["undefined"]}
        if undefined:
            lines += ["", f"No crossing (whole clip's value zero): {undefined}."]
        names = list(part["crossings"])
        lines += [
            "",
            "Exact crossings by motion. And what a prefix of one token frame says, in which nothing"
            " yet tells a motion from its twin: how often it leans to the right side, and how far"
            " (mean size, logits).",
            "",
            f"| motion | clips | {' | '.join(names)} | first frame right | mean size |",
            "|---" * (len(names) + 4) + "|",
        ]
        for motion, cells in part["by motion"].items():
            exact = " | ".join(shown(cells[f"{name} exact"]) for name in names)
            lines.append(
                f"| {motion} | {cells['clips']} | {exact} | "
                f"{shown(cells['first frame: right side'])} | "
                f"{shown(cells['first frame: mean size'])} |"
            )
        found = part["shares"]
        lines += [
            "",
            "Share of the logit's frame contributions inside the window. A window covers "
            f"{shown(found['uniform'])} of the token frames: that is what a uniform spread scores. "
            f"Of the signed sum, {shown(found['all layers']['signed'])} lies inside.",
            "",
            "| layers | size of all layers | positive part | in windows of other clips | above |"
            " by size | in windows of other clips |",
            "|---|---|---|---|---|---|---|",
        ]
        for name, cell in found.items():
            if "positive part" not in cell:
                continue
            size = cell.get("of the size of all layers")
            positive, by_size = cell["positive part"], cell["size"]
            lines.append(
                f"| {name} | {'' if size is None else shown(size)} | {shown(positive['value'])} "
                f"| {positive['windows of other clips'][0]:.2f} "
                f"| {shown(positive['above other clips'])} | {shown(by_size['value'])} "
                f"| {by_size['windows of other clips'][0]:.2f} |"
            )
        directions = ", ".join(map(shown, found["of the size by direction"]))
        lines += [
            "",
            f"Size of the frames' contributions by direction (forward, backward): {directions}. "
            f"The parts miss the model's logit by at most "
            f"{part['largest residual of the parts']:.1e} of it.",
        ]
    return "\n".join(lines) + "\n"


def shown(cell):
    value, low, high = cell
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main()
