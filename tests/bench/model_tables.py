"""What `models.py` writes: its results as markdown."""

import itertools
import statistics

from common import MIB, markdown
from model_runs import MODELS, OURS

MODES = {"forward": "Forward pass", "training": "Training step"}
DTYPES = ("float32", "bfloat16")


def tables(results, missing):
    """The results as markdown.

    Args:
        results: What models.json holds.
        missing: Model -> why it could not be measured at all.
    """
    names = [n for n in MODELS if any(key.endswith("/" + n) for key in results["memory"])]
    lines = ["# Whole models", "", "| model | parameters | what |", "|---|---|---|"]
    for name in names:
        counts = [
            cell["parameters"]
            for key, cell in results["memory"].items()
            if key.endswith("/" + name) and "parameters" in cell
        ]
        size = f"{min(counts) / 1e6:.1f} M" if counts else ""
        lines.append(f"| {MODELS[name][0]} | {size} | {MODELS[name][1]} |")
    lines += [f"| {MODELS[n][0]} | not measured | {reason} |" for n, reason in missing.items()]
    for mode, dtype in itertools.product(MODES, DTYPES):
        keys = [k for k in results["memory"] if k.startswith(f"{mode}/{dtype}/")]
        frames = sorted({int(key.split("/")[2]) for key in keys})
        if frames:
            lines += ["", f"## {MODES[mode]}, {dtype}", ""]
            lines += time_table(results, mode, dtype, frames, names)
            lines += ["", *memory_table(results, mode, dtype, frames, names)]
    lines += ["", *footnotes(results)]
    return "\n".join(lines) + "\n"


def time_table(results, mode, dtype, frames, names):
    peers = [name for name in names if name != OURS]
    header = ["frames", f"{OURS}, s"]
    for peer in peers:
        header += [f"{MODELS[peer][0]}, s", f"{OURS} / {MODELS[peer][0]}"]
    rows, medians = [], {name: {} for name in names}
    for n in frames:
        seconds = results["time"].get(f"{mode}/{dtype}/{n}", {}).get("seconds", {})
        for name, rounds in seconds.items():
            medians[name][n] = statistics.median(rounds)
        row = [str(n), shown(medians.get(OURS, {}).get(n))]
        for peer in peers:
            pairs = zip(seconds.get(OURS, []), seconds.get(peer, []), strict=False)
            ratios = [a / b for a, b in pairs]
            row += [shown(medians[peer].get(n)), shown(ratios and statistics.median(ratios))]
        rows.append(row)
    row = ["exponent", exponent(medians.get(OURS, {}))]
    for peer in peers:
        row += [exponent(medians[peer]), ""]
    return markdown(header, [*rows, row])


def memory_table(results, mode, dtype, frames, names):
    rows = []
    for n in frames:
        row = [str(n)]
        for name in names:
            cell = results["memory"].get(f"{mode}/{dtype}/{n}/{name}", {})
            row.append(
                f"{cell['peak_bytes'] / MIB:,.0f} ({cell['above_loaded_bytes'] / MIB:,.0f})"
                if "peak_bytes" in cell
                else "–"
            )
        rows.append(row)
    header = ["frames"] + [f"{MODELS[n][0]}, peak MiB (above the loaded model)" for n in names]
    return markdown(header, rows)


def footnotes(results):
    machine = results["machine"]
    lines = [
        f"Machine: {machine['name']}, {machine['threads']} threads (OMP_WAIT_POLICY "
        f"{machine['OMP_WAIT_POLICY']}; freed memory {machine['freed memory']} between "
        f"operations), torch {machine['torch']}, transformers "
        f"{machine['transformers']}, torchvision {machine['torchvision']}. One clip "
        "of 224 x 224 pixels. Seconds are medians of rounds in which the models run in turn; a "
        "ratio is the median of the ratios within the rounds, below 1 where kaist_small is "
        "faster. The exponent p is that of seconds = c frames^p, fitted by least squares, ± its "
        "standard error."
    ]
    loads = [load for cell in results["time"].values() for load in cell.get("load", [])]
    if loads:
        lines.append(f"Load of the machine while timing: {min(loads):.1f} to {max(loads):.1f}.")
    revisions = sorted(
        {c["revision"] for part in ("memory", "time") for c in results[part].values()}
    )
    lines.append(f"Revisions measured: {', '.join(revisions)}.")
    left_out = [
        f"- {key.replace('/', ', ')}: {cell['left_out']}"
        for part in ("memory", "time")
        for key, cell in results[part].items()
        if "left_out" in cell
    ]
    return ["\n\n".join(lines)] + (["", "Left out:", "", *left_out] if left_out else [])


def exponent(medians):
    from vmamba_explore.studies.scaling.fit import fit_exponent, make_curve

    if len(medians) < 3:
        return ""
    law = fit_exponent(make_curve("", "", "s", medians))
    return f"{law.exponent:.2f} ± {law.standard_error:.2f}"


def shown(value):
    return f"{value:.3g}" if value else "–"
