"""What every attribution method takes on a published size: `python tests/bench/attribution.py`

kaist_small, 16 frames of 224 x 224 pixels, one clip, the default budget of 1 GiB. Each method runs
in a process of its own. Memory is the resident size at most while `attribute` runs, less what it
was just before, with the model loaded and a smaller model attributed once, so that libraries and
compiled kernels do not count. Methods that run the model hundreds of times get few samples here:
that changes their time, not their memory. Rows already measured are kept in `--rows`.
Writes attribution.md beside this file.
"""

import json
import pathlib
import platform

from common import MIB, forget_peak, in_own_process, markdown, options_for, resident, timed

HERE = pathlib.Path(__file__).parent
FEW = {
    "integrated_gradients": {"n_steps": 8},
    "gradient_shap": {"n_samples": 8},
    "noise_tunnel": {"nt_samples": 8},
    "layer_integrated_gradients": {"n_steps": 8},
    "occlusion": {"sliding_window_shapes": (4, 56, 56)},
    "feature_ablation": {"unit": "frames"},
    "shapley_value_sampling": {"unit": "frames", "n_samples": 2},
    "kernel_shap": {"unit": "frames", "n_samples": 16},
    "drop_tokens": {"unit": "frames"},
    "extremal_perturbation": {"areas": (0.1,), "n_steps": 8},
}


def main():
    parser = options_for(__doc__, "attribution.jsonl")
    parser.add_argument("--budget-gib", type=float, default=1.0)
    parser.add_argument("--one", help="measure this method here and print a row")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.one, options.budget_gib)))
        return
    from tqdm.auto import tqdm

    from vmamba_explore.attribution.methods import METHODS

    options.rows.parent.mkdir(parents=True, exist_ok=True)
    if options.fresh:
        options.rows.unlink(missing_ok=True)
    lines = options.rows.read_text().splitlines() if options.rows.exists() else []
    rows = {row["method"]: row for row in map(json.loads, lines)}
    for method in tqdm(METHODS, desc="methods", unit="method"):
        if method in rows:
            continue
        words = ("--one", method, "--budget-gib", str(options.budget_gib))
        rows[method] = in_own_process(__file__, *words)
        with options.rows.open("a") as file:
            file.write(json.dumps(rows[method]) + "\n")
    table = written([rows[method] for method in METHODS], options.budget_gib)
    (HERE / "attribution.md").write_text(table)
    print(table)


def measured(method, budget_gib):
    """One row: seconds, clips through the model, resident memory above the loaded model."""
    import warnings

    import torch

    from vmamba_explore import VideoMamba, VideoMambaConfig
    from vmamba_explore.attribution.methods import attribute

    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    toy = VideoMamba(VideoMambaConfig.preset("toy", d_state=16)).eval()
    chosen = FEW.get(method, {})
    sizes = {"sliding_window_shapes": (2, 16, 16)} if method == "occlusion" else chosen
    attribute(toy, torch.randn(1, 3, 4, 32, 32), method=method, progress=False, **sizes)
    model = VideoMamba(VideoMambaConfig.preset("kaist_small", num_classes=51)).eval()
    clip = torch.randn(1, 3, 16, 224, 224)
    forget_peak()
    before, options = resident("VmRSS"), {"budget_gib": budget_gib, "progress": False, **chosen}
    seconds, found = timed(lambda: attribute(model, clip, 0, method, **options))
    return {
        "method": method,
        "options": {name: str(value) for name, value in chosen.items()},
        "seconds": round(seconds, 2),
        "forward": found.cost.forward,
        "backward": found.cost.backward,
        "mib": round((resident("VmHWM") - before) / MIB),
    }


def written(rows, budget_gib):
    import torch

    lines = [
        "# What attributions take on kaist_small",
        "",
        f"16 frames of 224 x 224 pixels, one clip, budget {budget_gib:g} GiB; "
        f"{torch.get_num_threads()} threads of {platform.machine()}, torch {torch.__version__}. "
        "Memory: resident size at most, above the loaded model. Clips through the model include "
        "the one that gives the output itself.",
        "",
    ]
    columns = ["forward", "backward", "seconds", "mib"]
    lines += markdown(
        "method|options|forward (clips)|backward (clips)|seconds|memory (MiB)".split("|"),
        [
            [
                row["method"],
                ", ".join(f"{name}={value}" for name, value in row["options"].items()) or "default",
                *(str(row[name]) for name in columns),
            ]
            for row in rows
        ],
    )
    worst = max(rows, key=lambda row: row["mib"])
    lines += ["", f"Most: {worst['method']}, {worst['mib']} MiB of {budget_gib * 1024:.0f}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
