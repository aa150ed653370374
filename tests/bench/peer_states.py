"""All hidden states, beside TransformerLens: `python tests/bench/peer_states.py` (`make bench`).

One Mamba, 24 layers, 384 wide, 16 states a channel, forward scans only, random weights, on 1 568
tokens: as a `VideoMamba` on a clip of 16 frames of 224 x 224 pixels, and as Hugging Face's
`MambaForCausalLM` inside a TransformerLens bridge, which gets the same tokens and weights. Each
runs alone, records every state of every layer, and doubles what one token writes in every layer.

Time: both in one process in turn, medians over the rounds, the ratio of neighbors. Memory: by how
much one run, in a process of its own, raises the peak of the resident size. The largest difference
is that of all states, divided by the largest state of the layer. Writes peer_states.md beside this
file; without transformer-lens (`pip install -e .[bench]`) it writes nothing.
"""

import importlib.metadata
import importlib.util
import json
import os
import pathlib
import statistics
import sys
from collections.abc import Callable

import torch
from common import MIB, in_own_process, markdown, resident, timed

from vmamba_explore import VideoMamba, VideoMambaConfig, run_with_hooks, run_with_trace
from vmamba_explore.studies.scaling.cost import machine

SIZES = {"num_frames": 16, "img_size": 224}
SMALL = {"num_frames": 4, "img_size": 32}  # what is run before, so that kernels are compiled
DEPTH, ROUNDS = 24, 5
EDITED = 5  # the token whose writes are doubled
CASES = ("the model alone", "every state recorded", "one token's writes edited")
STATES, WRITES = "hook_ssm_state", "hook_ssm_write"


def ours(sizes: dict[str, int], depth: int) -> tuple[VideoMamba, torch.Tensor]:
    """A model that scans forward only, without a class token, and a clip."""
    torch.manual_seed(0)
    config = VideoMambaConfig.preset(
        "kaist_small", cls_position=None, backward_order=None, depth=depth, **sizes
    )
    model = VideoMamba(config).eval().requires_grad_(False)
    return model, torch.randn(1, 3, config.num_frames, config.img_size, config.img_size)


def theirs(model: VideoMamba, clip: torch.Tensor) -> object:
    """A TransformerLens bridge around the same model; its vocabulary is the clip's tokens."""
    from transformer_lens.model_bridge.sources import build_bridge_from_module
    from transformers import MambaConfig, MambaForCausalLM

    config, tokens = model.config, model.tokens(clip)[0]
    same = MambaConfig(
        vocab_size=len(tokens),
        hidden_size=config.d_model,
        num_hidden_layers=config.depth,
        state_size=config.d_state,
        expand=config.expand,
        conv_kernel=config.d_conv,
        time_step_rank=config.dt_rank,
        layer_norm_epsilon=config.norm_eps,
        tie_word_embeddings=False,
    )
    same.architectures = ["MambaForCausalLM"]
    peer = MambaForCausalLM(same).eval().requires_grad_(False)
    peer.backbone.embeddings.weight.copy_(tokens)
    peer.backbone.norm_f.weight.copy_(model.norm_f.weight)
    for block, layer in zip(peer.backbone.layers, model.layers, strict=True):
        block.norm.weight.copy_(layer.norm.weight)
        weights = layer.mixer.ssm_forward.state_dict()
        weights |= {f"{n}.weight": getattr(layer.mixer, n).weight for n in ("in_proj", "out_proj")}
        block.mixer.load_state_dict(weights)
    bridge = build_bridge_from_module(peer, "MambaForCausalLM", hf_config=same)
    for block in bridge.blocks:
        block.mixer.eager_scan = True
    return bridge


def twice(axis: int) -> Callable:
    """A function for a hook that doubles what one token writes."""

    def edit(write: torch.Tensor, hook: object) -> torch.Tensor:
        write = write.clone()
        write.select(axis, EDITED).mul_(2)
        return write

    return edit


def runs_of_ours(model: VideoMamba, clip: torch.Tensor) -> dict[str, Callable]:
    """The cases, ready to run; recording gives the states by layer, (d_inner, d_state, token)."""

    def record() -> list[torch.Tensor]:
        _, trace = run_with_trace(model, clip, "*.hook_h", budget_gib=64.0)
        return [value[0] for value in trace.values()]

    edits = [("*.hook_write", twice(3))]

    def edited() -> torch.Tensor:
        return run_with_hooks(model, clip, edits, stop_at_layer=model.config.depth)

    return dict(zip(CASES, (lambda: model(clip), record, edited), strict=True))


def runs_of_theirs(bridge: object, tokens: int) -> dict[str, Callable]:
    """The same for a bridge; `the model alone` is Hugging Face's own forward pass."""
    ids, how = torch.arange(tokens)[None], {"use_cache": False}
    names = [f"blocks.{n}.mixer." for n in range(len(bridge.blocks))]

    def alone() -> torch.Tensor:
        for block in bridge.blocks:
            block.mixer.eager_scan = False
        try:
            return bridge(ids, **how)
        finally:
            for block in bridge.blocks:
                block.mixer.eager_scan = True

    def record() -> list[torch.Tensor]:
        wanted = {name + STATES for name in names}
        _, cache = bridge.run_with_cache(ids, names_filter=lambda name: name in wanted, **how)
        return [cache[name + STATES][0].transpose(1, 2) for name in names]

    def edited() -> torch.Tensor:
        hooks, found = [(name + WRITES, twice(2)) for name in names], []
        # what enters the last norm: the residual stream after all blocks
        hooks.append(("ln_final.hook_in", lambda value, hook: found.append(value) or value))
        bridge.run_with_hooks(ids, fwd_hooks=hooks, **how)
        return found[0]

    return dict(zip(CASES, (alone, record, edited), strict=True))


def runs(who: str, sizes: dict[str, int], depth: int) -> dict[str, Callable]:
    """The cases of "ours" or "theirs"."""
    model, clip = ours(sizes, depth)
    if who == "ours":
        return runs_of_ours(model, clip)
    return runs_of_theirs(theirs(model, clip), model.config.grid.seqlen)


@torch.no_grad()
def memory(who: str, case: str, sizes: dict[str, int], depth: int) -> float:
    """The MiB by which a case raises the peak; the process must be fresh."""
    runs(who, SMALL, 2)[case]()
    run = runs(who, sizes, depth)[case]
    before = resident("VmHWM")
    run()
    return (resident("VmHWM") - before) / MIB


@torch.no_grad()
def times(case: str, sizes: dict[str, int], depth: int, rounds: int) -> dict[str, float]:
    """Median seconds of a case in both, and the median of their ratio within a round."""
    both = {who: runs(who, sizes, depth)[case] for who in ("ours", "theirs")}
    seconds: dict[str, list[float]] = {who: [] for who in both}
    for turn in range(rounds + 1):  # the first one compiles, and asks for memory
        for who, run in both.items():
            once, result = timed(run)
            del result
            if turn:
                seconds[who].append(once)
    ratios = [b / a for a, b in zip(*seconds.values(), strict=True)]
    medians = {who: statistics.median(values) for who, values in seconds.items()}
    return medians | {"ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


@torch.no_grad()
def differences(sizes: dict[str, int], depth: int) -> dict[str, float]:
    """How far the two are from each other, of the largest value: states, and an edited run."""
    one, other = runs("ours", sizes, depth), runs("theirs", sizes, depth)
    states = zip(one[CASES[1]](), other[CASES[1]](), strict=True)
    worst = max(float((a - b).abs().max() / b.abs().max()) for a, b in states)
    plain, edited, peers = one[CASES[1]]()[-1], one[CASES[2]](), other[CASES[2]]()
    assert plain.isfinite().all(), "the model's states are not finite"
    return {
        "states": worst,
        "edited": float((edited - peers).abs().max() / peers.abs().max()),
    }


def report(rows: dict, far: dict, load: float, tokens: int) -> str:
    """peer_states.md."""
    header = ["", "ours, s", "TransformerLens, s", "ratio", "ours, MiB", "TransformerLens, MiB"]
    lines = [
        [
            case,
            *(f"{row['times'][who]:.2f}" for who in ("ours", "theirs")),
            "{ratio:.1f} ({least:.1f} to {most:.1f})".format(**row["times"]),
            *(f"{row[who]:.0f}" for who in ("ours", "theirs")),
        ]
        for case, row in rows.items()
    ]
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("transformer-lens", "transformers")
    )
    return f"""# All hidden states, beside TransformerLens

Written by `python tests/bench/peer_states.py` on {machine()}, {versions}, load {load:.1f}. One
Mamba of {DEPTH} layers, 384 wide, forward scans only, the same random weights in both, {tokens}
tokens, float32. Seconds: medians of {ROUNDS} rounds, both in turn; the ratio is that of neighbors
(smallest to largest). MiB: by how much one run raises the peak of the resident size.
TransformerLens records and edits with its opt-in `eager_scan`.

{chr(10).join(markdown(header, lines))}

The largest difference between the two, of the largest state of the layer: {far["states"]:.1e}. With
the writes of token {EDITED} doubled in every layer, of what leaves the last block:
{far["edited"]:.1e}.
"""


def main() -> None:
    if importlib.util.find_spec("transformer_lens") is None:
        print(
            "peer_states: transformer-lens is not installed, so there is nothing to compare with."
        )
        return
    load, rows = os.getloadavg()[0], {}
    for case in CASES:
        rows[case] = {who: in_own_process(__file__, who, case) for who in ("ours", "theirs")}
        rows[case]["times"] = in_own_process(__file__, "times", case)
        print(case, rows[case], flush=True)
    far = in_own_process(__file__, "differences")
    tokens = ours(SIZES, 1)[0].config.grid.seqlen
    pathlib.Path(__file__).with_suffix(".md").write_text(report(rows, far, load, tokens))


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    elif sys.argv[1] == "differences":
        print(json.dumps(differences(SIZES, DEPTH)))
    elif sys.argv[1] == "times":
        print(json.dumps(times(sys.argv[2], SIZES, DEPTH, ROUNDS)))
    else:
        print(json.dumps(memory(sys.argv[1], sys.argv[2], SIZES, DEPTH)))
