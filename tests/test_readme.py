"""Every block of README.md works: Python in order and in one namespace, commands, make targets.

What a reader is supposed to have is made beforehand: videos, checkpoints, a trained model. A line
`<!-- not run: reason -->` above a block leaves it out.
"""

import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import DryRunFileInfo

from vmamba_explore import VideoMamba, VideoMambaConfig, load_model
from vmamba_explore.cli import main
from vmamba_explore.clips.encode import write_clip
from vmamba_explore.model.checkpoints import published_name, save_model

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BLOCK = re.compile(r"^(<!-- not run: .+ -->\n)?```(python|sh)\n(.*?)^```", re.DOTALL | re.MULTILINE)
PYTHON = [
    "\n" * (README[: at.start(3)].count("\n")) + at[3]  # errors name the line of the README
    for at in BLOCK.finditer(README)
    if at[2] == "python" and not at[1]
]
SHELL = README.replace("\\\n", " ").replace("-m vmamba_explore.cli", "vmamba-explore")
COMMANDS = sorted(set(re.findall(r"(?<![\w-])vmamba-explore ([a-z][^`\n#|]*)", SHELL)))
pytestmark = pytest.mark.notebook
RUN = ("explore", "info", "predict", "report", "watch")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder that holds the bundled data and all the files that the README speaks of."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "data").symlink_to(ROOT / "data")
    noise = np.random.default_rng(0).integers(0, 256, (340, 64, 64, 3), dtype=np.uint8)
    for name in set(re.findall(r"(?<![\w/])(?<!to_mp4\(.)\w+\.mp4", README)):
        long = f'watch("{name}"' in README
        write_clip(folder / name, noise if long else noise[:40], fps=4, quality=40)
    image = VideoMambaConfig.preset("vim_small", num_classes=10)
    video = VideoMambaConfig.preset("opengvlab_tiny", num_frames=16, num_classes=400, depth=2)
    for name in set(re.findall(r"\w+\.pth", README)):
        model = VideoMamba(image if "vim" in name else video)
        tensors = {published_name(key): value for key, value in model.state_dict().items()}
        if "vim" in name:
            tensors["patch_embed.proj.weight"] = tensors["patch_embed.proj.weight"].squeeze(2)
        torch.save(tensors, folder / name)
    for name in set(re.findall(r"runs/\w+/model", README)):
        save_model(load_model("motion-nano"), folder / name)
    return folder


@pytest.fixture
def reader(folder, monkeypatch):
    """Stand in the reader's folder; what is fetched from the Hub lies there, too."""
    monkeypatch.chdir(folder)

    def fetch(repository, filename, *, dry_run=False, **options):
        path = str(folder / filename)
        return DryRunFileInfo("0" * 40, 0, filename, path, True, False) if dry_run else path

    for place in ("huggingface_hub", "vmamba_explore.model.hub"):
        monkeypatch.setattr(f"{place}.hf_hub_download", fetch, raising=False)
    return folder


def test_the_python_blocks_run_in_their_order(reader):
    assert PYTHON
    names = {}
    for code in PYTHON:
        exec(compile(code, ROOT / "README.md", "exec"), names)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_these_options_and_runs(command, reader, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    words = [word for word in shlex.split(command) if word != "..."]
    assert main([words[0], "--help"]) == 0
    told = capsys.readouterr().out
    for option in (word for word in words if word.startswith("-")):
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", told), f"there is no {option}"
    if words[0] in RUN and len(words) > (words[0] != "info"):
        assert main(words) == 0, capsys.readouterr().err
        made = [words[at + 1] for at, word in enumerate(words) if word in ("--output", "--csv")]
        assert all(os.path.getsize(path) for path in made)


def test_every_make_target_of_the_documents_is_there():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    text = README + (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    named = set(re.findall(r"(?:^ {4}|`)make ([a-z][\w-]*)", text, re.MULTILINE))
    assert named and named <= targets
