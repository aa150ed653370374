"""Every call of docs/coming_from.md works: ours always, a peer's where the peer is installed."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch

from tests.vmamba_explore.toys import clips_for, enliven, toy

PAGE = (Path(__file__).parents[1] / "docs" / "coming_from.md").read_text("utf-8")
OURS = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]


def calls(peer: str, column: int) -> list[str]:
    """The code in one column of a peer's table, cell by cell."""
    section = re.search(rf"^## {peer}.*?\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)[1]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    cells = [re.split(r" \| ?|\| ", row.strip("|") + " ")[column] for row in rows]
    return [" \n".join(re.findall(r"`([^`]+)`", cell)) for cell in cells if cell.strip()]


def small():
    """A toy of four layers and clips that it reads."""
    model = toy(depth=4, num_frames=8, change=enliven)
    return {"model": model, "clips": clips_for(model)}


def run(code: str, names: dict) -> None:
    exec(compile(code, "coming_from.md", "exec"), names)


@pytest.mark.parametrize("peer", ["TransformerLens", "nnsight", "Captum"])
def test_our_calls_run_in_their_order(peer):
    names, found = small(), calls(peer, 2)
    run(OURS, names)
    assert len(found) > 5
    for code in found:
        if code and not code.startswith("nothing"):
            run(code, names)


def test_what_is_said_to_be_equal_is():
    names = small()
    run(OURS, names)
    run("edit = lambda write, hook: 0 * write", names)
    run('by_hook = vx.run_with_hooks(model, clips, [("layers.0.*.hook_write", edit)])', names)
    run('with interventions.ablate(model, "layers.0.*.hook_write"): by_block = model(clips)', names)
    assert torch.equal(names["by_hook"], names["by_block"])
    assert not torch.equal(names["by_hook"], names["model"](names["clips"]))


def test_captums_calls_run():
    names = small()
    run("from captum.attr import *", names)
    run("from captum.metrics import infidelity", names)
    clips = names["clips"]
    frames = torch.arange(clips.shape[2]).view(1, 1, -1, 1, 1)
    names["mask"] = frames.expand(1, *clips.shape[1:]).contiguous()
    for code in calls("Captum", 1):
        if code:
            run(code, names)


@pytest.mark.skipif(not importlib.util.find_spec("transformer_lens"), reason="not installed")
def test_the_calls_of_transformer_lens_run():
    from transformer_lens.model_bridge.sources import build_bridge_from_module
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=32, hidden_size=16, num_hidden_layers=2, state_size=4)
    config.architectures = ["MambaForCausalLM"]
    peer = MambaForCausalLM(config).eval()
    bridge = build_bridge_from_module(peer, "MambaForCausalLM", hf_config=config)
    names = {"bridge": bridge, "tokens": torch.arange(6)[None]}
    for code in calls("TransformerLens", 1):
        if code:
            run(code, names)


@pytest.mark.skipif(not importlib.util.find_spec("nnsight"), reason="nnsight is not installed")
def test_the_calls_of_nnsight_run(tmp_path):
    """In a file, since nnsight reads the source of its blocks."""
    names, lines = small(), ["from nnsight import NNsight", "nn = NNsight(model)"]
    for code in calls("nnsight", 1):
        lines += ["with nn.trace(clips):", f"    {code}"] if code else []
    path = tmp_path / "calls.py"
    path.write_text("\n".join(lines) + "\n")
    exec(compile(path.read_text(), path, "exec"), names)
    assert names["out"].shape == names["entering"].shape and names["logits"].shape == (2, 5)
    path = tmp_path / "states.py"  # it reads a file once
    path.write_text(
        "with nn.trace(clips):\n    nn.layers[0].mixer.ssm_forward.hook_h.output.save()\n"
    )
    with pytest.raises(Exception, match="was requested but the model already ran past it"):
        exec(compile(path.read_text(), path, "exec"), names)
