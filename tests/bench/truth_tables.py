"""What truth.py found, as Markdown."""


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
