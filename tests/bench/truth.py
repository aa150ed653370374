"""Does evidence turn when the truth says? `python tests/bench/truth.py`

Runs a bundled model on clips over photographs that it was not trained on (`--subject` chooses the
model and its clips), and compares with what is known about each clip:

* half-crossing: the token frame at which the curve of the label's logit, less that of another
  class, passes half of the whole clip's value for good. The truth is the token frame with which a
  prefix, or a suffix, holds what decides: of a motion its second frame, or its last but one; of a
  sample and a test the first frame of the test, or the last of the sample; of a moving camera as
  much of its way as a camera that stands does not go. The rest of the clip is dropped (tokens) or
  held (the last frame seen stands still).
* share of the logit's frame contributions inside the frames that show the cause, in whole token
  frames; where the cause has parts, also inside each of them.

Against chance on the same clips: a random token frame; the truth of other clips (mean over all
pairs: a curve that knows when windows usually lie, but not this one); and for the crossings the one
token frame that fits all clips best, chosen with the truth in hand. Intervals are 95 %, by
bootstrap over clips.

Clips already measured are kept in `--rows` and not measured again; truth.json and truth.md (for
other models than motion-nano with their names) are written from them.
"""

import hashlib
import json
import pathlib
import sys

import numpy as np
from common import chosen_subject, named, subject_options

HERE = pathlib.Path(__file__).parent
SEED = 4  # no model was trained or tested on clips of this seed
CLIPS = {"motion-nano": 300, "recall-nano": 48, "camera-nano": 108}
CURVES = [(kind, removal) for kind in ("prefix", "suffix") for removal in ("dropped", "held")]
BATCH = 15
RESAMPLES = 10_000
WORDS = {
    "motion-nano": {
        "clips": "motion clips over test photographs",
        "value": "true-minus-twin logit",
        "frames": "2 clip frames",
        "first": "in which nothing yet tells a motion from its twin",
        "inside": "the window. A window covers",
    },
    "recall-nano": {
        "clips": "recall clips over test photographs",
        "value": "the label's logit less that of the same clip with the sample's color moved "
        "halfway round the color circle",
        "frames": "one clip frame",
        "first": "in which nothing yet tells one label from another",
        "inside": "the frames of sample and test, which are",
        "embedding": " All layers: with what the tokens themselves add past all blocks.",
    },
    "camera-nano": {
        "clips": "camera clips over test photographs",
        "value": "the label's logit less that of the opposite direction; of a cut, less that of a "
        "camera that stands",
        "frames": "4 clip frames",
        "first": "which shows of a cut nothing yet, but how most cameras move",
        "inside": "the frames in which the camera goes the middle 90 % of its way, or around the "
        "cut, which are",
        "embedding": " All layers: with what the tokens themselves add past all blocks.",
    },
}
FIXED = {  # scores for which the best token frame that is the same for all clips is looked for
    "exact": np.argmax,
    "within 1": np.argmax,
    "inside the window": np.argmax,
    "mean absolute error": np.argmin,
}


def main(arguments=None):
    parser = subject_options(__doc__)
    parser.add_argument("--rows", type=pathlib.Path, help="default: runs/truth….jsonl")
    parser.add_argument("--clips", type=int, help="clips of each condition")
    parser.add_argument("--output", type=pathlib.Path, default=HERE, help="folder")
    options = parser.parse_args(arguments)
    subject = chosen_subject(options)
    count = CLIPS[subject.model] if options.clips is None else options.clips
    path = options.rows or pathlib.Path("runs") / named("truth.jsonl", subject)
    rows = measured(subject, count, path, options.fresh)
    summary = {"model": subject.model, "seed": SEED, "clips": count, "resamples": RESAMPLES}
    for words in subject.conditions:
        chosen = [r for r in rows if r["condition"] == words and r["index"] < count]
        summary[words] = summarize(sorted(chosen, key=lambda row: row["index"]), subject.grouped)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / named("truth.json", subject)).write_text(json.dumps(summary, indent=1) + "\n")
    (options.output / named("truth.md", subject)).write_text(tables(summary))
    print(tables(summary))


# ---------------------------------------------------------------- measuring


def measured(subject, count, path, fresh=False):
    """The rows of all clips asked for: those in the file, and the missing ones, which it adds."""
    from tqdm.auto import tqdm

    from vmamba_explore import load_model

    model = load_model(subject.model)
    weights = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        weights.update(name.encode() + tensor.numpy().tobytes())
    header = {"model": subject.model, "seed": SEED, "weights": weights.hexdigest()[:16]}
    rows = []
    if path.exists() and not fresh:
        found, *rows = [json.loads(line) for line in path.read_text().splitlines()]
        if found != header:
            sys.exit(f"{path} is of other weights or another seed: --fresh begins anew.")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(header) + "\n")
    known = {(row["condition"], row["index"]) for row in rows}
    missing = [(c, i) for c in subject.conditions for i in range(count) if (c, i) not in known]
    bar = tqdm(total=len(missing), desc="clips", unit="clip")
    with bar, path.open("a") as file:
        for condition, option in subject.conditions.items():
            wanted = [i for c, i in missing if c == condition]
            clips = subject.series(SEED, option)
            for start in range(0, len(wanted), BATCH):
                for row in measure(model, subject, clips, wanted[start : start + BATCH]):
                    rows.append({"condition": condition, **row})
                    file.write(json.dumps(rows[-1]) + "\n")
                    bar.update()
                file.flush()
    return rows


def measure(model, subject, series, indices):
    """One row for each clip: its truth, its curves, the parts of its logit."""
    import torch

    from vmamba_explore import run_with_trace
    from vmamba_explore.analysis import evidence
    from vmamba_explore.analysis.logits import LogitParts, logit_parts
    from vmamba_explore.clips.clip import normalize

    clips = [series[index] for index in indices]
    times = [subject.times(clip) for clip in clips]
    labels = np.array([clip.label for clip in clips])
    batch = normalize(np.stack([clip.clip.frames for clip in clips]))
    target, minus = torch.from_numpy(labels), torch.from_numpy(subject.minus(labels))
    with torch.no_grad():
        logits, trace = run_with_trace(model, batch, LogitParts.names(model))
        parts = logit_parts(trace, target, minus)
    curves = {
        "prefix/dropped": evidence.prefix_curve(model, batch, target, minus),
        "suffix/dropped": evidence.suffix_curve(model, batch, target, minus),
        "prefix/held": evidence.held_frame_curve(model, batch, target, minus, "prefix"),
        "suffix/held": evidence.held_frame_curve(model, batch, target, minus, "suffix"),
    }
    crossings = {name: curve.half_crossing().tolist() for name, curve in curves.items()}
    tubelet = model.config.tubelet_size
    for row, index in enumerate(indices):
        yield {
            "index": int(index),
            "label": int(labels[row]),
            "predicted": int(logits[row].argmax()),
            "group": times[row].group,
            "spans": {name: token_frames(span, tubelet) for name, span in times[row].spans.items()},
            "prefix": times[row].prefix // tubelet,
            "suffix": times[row].suffix // tubelet,
            "logit": rounded(parts.logit[row]),
            "residual": parts.residual,
            "frames": rounded(parts.frames[row]),
            "layers": rounded(parts.values[row]),  # layer, direction, source
            "curves": {name: rounded(curve.values[row]) for name, curve in curves.items()},
            "crossings": {name: crossings[name][row] for name in curves},
        }


def token_frames(span, tubelet):
    """First and last token frame that hold a frame of a span of clip frames."""
    return [span[0] // tubelet, span[1] // tubelet]


def rounded(tensor):
    """Nested lists with six significant digits: some parts are a thousandth of others."""
    values = np.array([float(f"{x:.6g}") for x in tensor.flatten().tolist()])
    return values.reshape(tensor.shape).tolist()


# ---------------------------------------------------------------- comparing with the truth


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


def summarize(rows, grouped="motion"):
    """All scores of one condition, each beside chance."""
    spans = [list(row["spans"].values()) for row in rows]
    window = np.array([(each[0][0], each[-1][1]) for each in spans], dtype=float).T
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
        truth = np.array([row[kind] for row in rows], dtype=float)
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
        level = {"before": levels_at(rows, name, kind, 1), "at": levels_at(rows, name, kind, 0)}
        result["crossings"][name] = {"undefined": undefined, "scores": scores, "level": level}
    result[f"by {grouped}"] = by_group(rows)
    result["shares"] = shares(rows)
    return result


def levels_at(rows, name, kind, earlier):
    """A curve's value at its truth, or so many frames earlier, over the whole clips' mean value."""
    curves = np.array([row["curves"][name] for row in rows])
    if kind == "suffix":
        curves = curves[:, ::-1]
    count = curves.shape[1]
    steps = np.array([row[kind] if kind == "prefix" else count - 1 - row[kind] for row in rows])
    steps = steps - earlier
    values = curves[np.arange(len(rows)), np.maximum(steps, 0)]
    return interval(np.where(steps >= 0, values, np.nan) / curves[:, -1].mean())


def by_group(rows):
    """Exact crossings of each group of clips, and how the curves begin."""
    found = {}
    for group in dict.fromkeys(sorted((row["group"] for row in rows), key=group_order)):
        chosen = [row for row in rows if row["group"] == group]
        cells = {"clips": len(chosen)}
        for kind, removal in CURVES:
            name = f"{kind}/{removal}"
            cells[f"{name} exact"] = interval([r["crossings"][name] == r[kind] for r in chosen])
        first = np.array([row["curves"]["prefix/dropped"][0] for row in chosen])
        cells["first frame: right side"] = interval(first > 0)
        cells["first frame: mean size"] = interval(np.abs(first))
        found[group] = cells
    return found


def group_order(group):
    """In the order of the motions or classes, and of the delays."""
    from vmamba_explore.clips import camera_path, motion

    pairs = ["/".join(motion.CLASS_NAMES[n : n + 2]) for n in range(0, 10, 2)]
    known = [*pairs, *camera_path.CLASS_NAMES]
    return (known.index(group) if group in known else 0), group


def shares(rows):
    """How much of the frames' contributions lies in the frames that show the cause.

    Of all layers together and of each; where the cause has parts, also in the frames of each part,
    and in those between them.
    """
    total = np.array([row["frames"] for row in rows])
    count = total.shape[1]
    parts = {
        name: np.array([between(*row["spans"][name], count) for row in rows])
        for name in rows[0]["spans"]
    }
    inside = np.any(list(parts.values()), axis=0)  # (clip, frame)
    layers = np.array([row["layers"] for row in rows])[..., :count]
    size = np.abs(layers).sum((2, 3))  # (clip, layer)
    found = {"uniform": interval(inside.mean(1)), "all layers": share_scores(total, inside)}
    found["all layers"]["signed"] = signed_share(total, inside)
    for layer in range(layers.shape[1]):
        found[f"layer {layer}"] = share_scores(layers[:, layer].sum(1), inside) | {
            "of the size of all layers": interval(size[:, layer] / size.sum(1))
        }
    by_direction = np.abs(layers).sum((1, 3))
    found["of the size by direction"] = [
        interval(by_direction[:, d] / by_direction.sum(1)) for d in range(layers.shape[2])
    ]
    if len(parts) > 1:
        spans = [list(row["spans"].values()) for row in rows]
        hull = np.array([between(each[0][0], each[-1][1], count) for each in spans])
        found["parts"] = {
            name: share_scores(total, frames)
            | {
                "uniform": interval(frames.mean(1)),
                "signed": signed_share(total, frames),
            }
            for name, frames in (parts | {"between": hull & ~inside}).items()
        }
    return found


def signed_share(total, inside):
    """What lies inside of the sum over all clips; of single clips the sum may be next to zero."""
    return interval((total * inside).sum(1) / total.sum(1).mean())


def between(first, last, count):
    every = np.arange(count)
    return (first <= every) & (every <= last)


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
    from vmamba_explore.studies.scorecard.subjects import SUBJECTS

    subject, words_of = SUBJECTS[summary["model"]], WORDS[summary["model"]]
    by, conditions = subject.grouped, [w for w, part in summary.items() if isinstance(part, dict)]
    option = "" if subject.model == "motion-nano" else f" --subject {subject.model}"
    lines = [
        "# When evidence turns, against the truth",
        "",
        f"`python tests/bench/truth.py{option}`: {subject.model} on {summary['clips']} "
        f"{words_of['clips']} (seed {summary['seed']}), {words_of['value']}. 95 % intervals by"
        f" bootstrap over clips. Errors are in token frames ({words_of['frames']}), positive after"
        " the truth in the order in which the clip is revealed.",
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
        if "level" in part["crossings"][names[0]]:
            lines += levels(part["crossings"])
        lines += [
            "",
            f"Exact crossings by {by}. And what a prefix of one token frame says,"
            f" {words_of['first']}: how often it leans to the right side, and how far"
            " (mean size, logits).",
            "",
            f"| {by} | clips | {' | '.join(names)} | first frame right | mean size |",
            "|---" * (len(names) + 4) + "|",
        ]
        for group, cells in part[f"by {by}"].items():
            exact = " | ".join(shown(cells[f"{name} exact"]) for name in names)
            lines.append(
                f"| {group} | {cells['clips']} | {exact} | "
                f"{shown(cells['first frame: right side'])} | "
                f"{shown(cells['first frame: mean size'])} |"
            )
        found = part["shares"]
        lines += [
            "",
            f"Share of the logit's frame contributions inside {words_of['inside']} "
            f"{shown(found['uniform'])} of the token frames: that is what a uniform spread scores. "
            f"Of the signed sum, {shown(found['all layers']['signed'])} lies inside."
            f"{words_of.get('embedding', '')}",
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
        if "parts" in found:
            lines += parts_table(found["parts"])
        directions = ", ".join(map(shown, found["of the size by direction"]))
        lines += [
            "",
            f"Size of the frames' contributions by direction (forward, backward): {directions}. "
            f"The parts miss the model's logit by at most "
            f"{part['largest residual of the parts']:.1e} of it.",
        ]
    return "\n".join(lines) + "\n"


def levels(crossings):
    """How far each curve has come just before its truth, and at it."""
    rows = [
        f"| {name} | {shown(found['level']['before'])} | {shown(found['level']['at'])} |"
        for name, found in crossings.items()
    ]
    return [
        "",
        "The curves' values one token frame before the truth, and at it, in units of what whole "
        "clips have on average.",
        "",
        "| curve | just before | at the truth |",
        "|---|---|---|",
        *rows,
    ]


def parts_table(parts):
    """The logit's frame contributions inside each part of the cause, and between the parts."""
    rows = [
        f"| {name} | {shown(cell['uniform'])} | {shown(cell['signed'])} "
        f"| {shown(cell['positive part']['value'])} "
        f"| {shown(cell['positive part']['above other clips'])} "
        f"| {shown(cell['size']['value'])} | {shown(cell['size']['above other clips'])} |"
        for name, cell in parts.items()
    ]
    return [
        "",
        "The same for each part, all layers together; above: than inside the frames of that part "
        "in other clips.",
        "",
        "| part | of the token frames | signed | positive part | above | by size | above |",
        "|---|---|---|---|---|---|---|",
        *rows,
    ]


def shown(cell):
    value, low, high = cell
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main()
