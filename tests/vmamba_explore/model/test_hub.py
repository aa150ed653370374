"""The Hub without a network: a stand-in gives, refuses or is not there; folders go round."""

import functools
import json
import os
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from huggingface_hub import DryRunFileInfo, ModelCard
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)

from tests.vmamba_explore.toys import toy
from vmamba_explore import load_model
from vmamba_explore.model import hub
from vmamba_explore.model.checkpoints import CheckpointError, fingerprint, published_name
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba

NAMES = ("a", "b", "c", "d", "e")


@pytest.fixture
def model():
    found = toy()
    found.class_names = NAMES
    return found


@pytest.fixture
def asked(monkeypatch):
    """Let the stand-in serve a folder; what it was asked for is listed."""
    found = []

    def serve(folder):
        def download(repo, file, *, dry_run=False, **options):
            if dry_run:
                size = 0  # not worth a line
                return DryRunFileInfo("0" * 40, size, file, str(folder / file), False, True)
            found.append((repo, file, options))
            return str(folder / file)

        monkeypatch.setattr(hub, "hf_hub_download", download)
        return found

    return serve


def test_a_reference_names_a_repository_and_maybe_a_file():
    assert hub.hub_reference("OpenGVLab/VideoMamba:a_f16.pth") == (
        "OpenGVLab/VideoMamba",
        "a_f16.pth",
    )
    assert hub.hub_reference("me/model:sub/a.pth") == ("me/model", "sub/a.pth")
    assert hub.hub_reference("me/my.model-2") == ("me/my.model-2", None)
    for lost in ("runs/a.pth", "a", "./a/b", "/a/b", "a/b/c", "a/b:", "C:\\a", "~/a"):
        assert hub.hub_reference(lost) is None, lost


def test_a_file_on_the_hub_is_loaded_as_one_here(model, asked, tmp_path):
    config = VideoMambaConfig.preset("opengvlab_tiny", img_size=32, d_model=32, depth=2)
    weights = VideoMamba(config).state_dict()
    torch.save({published_name(n): v for n, v in weights.items()}, tmp_path / "t.pth")
    calls = asked(tmp_path)
    assert torch.equal(load_model("Open/Mamba:t.pth").head.weight, weights["head.weight"])
    assert calls == [("Open/Mamba", "t.pth", {})]


@pytest.fixture
def hub_address(tmp_path):
    """The address of a server that answers as the Hub does, with the files of `tmp_path/"hub"`."""

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self, body=False):
            path = tmp_path / "hub" / self.path.rpartition("/resolve/main/")[2]
            content = path.read_bytes() if path.is_file() else b""
            self.send_response(200 if content else 404)
            self.send_header("X-Repo-Commit", "1" * 40)
            self.send_header("ETag", f'"{path.name}"')
            if not content:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

        def do_GET(self):
            self.do_HEAD(body=True)

        def log_message(self, *_):
            pass

    (tmp_path / "hub").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_only_a_first_use_says_how_much_is_downloaded_and_where_it_is_kept(hub_address, tmp_path):
    config = VideoMambaConfig.preset("opengvlab_tiny", img_size=32, d_model=128, depth=2)
    tensors = {published_name(n): v for n, v in VideoMamba(config).state_dict().items()}
    file = tmp_path / "hub" / "videomamba_t16_k400_f8_res224.pth"
    torch.save(tensors, file)
    code = (
        "import sys; from vmamba_explore import load_model\n"
        "for name in sys.argv[1:]: print(load_model(name).config.d_model)"
    )
    words = [sys.executable, "-c", code, "videomamba-ti-k400-f8", "videomamba-ti-k400-f8"]
    env = {
        **os.environ, "HF_ENDPOINT": hub_address, "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
    }  # fmt: skip
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["128", "128"], done.stderr
    (said,) = [line for line in done.stderr.splitlines() if "load_model:" in line]
    megabytes = f"{file.stat().st_size / 1e6:,.0f} MB"
    assert re.search(rf"{file.name} of OpenGVLab/VideoMamba once, {megabytes}, and keeps it", said)
    kept = re.search(r"as (\S+); HF_HOME", said)[1]
    assert kept.startswith(str(tmp_path / "home")) and Path(kept).read_bytes() == file.read_bytes()


def test_a_repository_of_ours_is_two_files(model, asked, tmp_path):
    model.save_pretrained(tmp_path)
    calls = asked(tmp_path)
    assert fingerprint(load_model("me/toy")) == fingerprint(model)
    assert [file for _, file, _ in calls] == ["config.json", "model.safetensors"]


def test_from_pretrained_hands_its_options_to_the_download(model, asked, monkeypatch, tmp_path):
    model.save_pretrained(tmp_path)
    calls = asked(tmp_path)
    again = VideoMamba.from_pretrained("me/toy", revision="v1", cache_dir="here", token=False)
    assert fingerprint(again) == fingerprint(model)
    given = {"revision": "v1", "cache_dir": "here", "token": False}
    assert [(file, options) for _, file, options in calls] == [
        ("config.json", given),
        ("model.safetensors", given),
    ]


@pytest.mark.parametrize(
    "place", ["../x", "a/../../x", "/etc/passwd", "a//b", "./x", "a\\b", "..", "a\u2029", "x\ud800"]
)
def test_a_place_outside_the_repository_is_never_asked_for(asked, place, tmp_path):
    calls = asked(tmp_path)
    with pytest.raises(CheckpointError, match="cannot be a file of me/toy on the Hub") as caught:
        hub.from_hub("me/toy", place)
    assert str(caught.value).isprintable()
    with pytest.raises(CheckpointError, match="cannot be a revision of me/toy on the Hub"):
        VideoMamba.from_pretrained("me/toy", revision=place)
    assert calls == []


def test_other_places_inside_the_repository_are_asked_for(model, asked, tmp_path):
    model.save_pretrained(tmp_path / "s p (1)")
    calls = asked(tmp_path)
    hub.from_hub("me/toy", "s p (1)/模型..v2.pth", revision="refs/pr/1")
    assert calls == [("me/toy", "s p (1)/模型..v2.pth", {"revision": "refs/pr/1"})]


def test_from_pretrained_names_an_option_that_it_does_not_have(model, tmp_path):
    model.save_pretrained(tmp_path)
    with pytest.raises(TypeError, match="got map_location, expected options among max_bytes, rev"):
        VideoMamba.from_pretrained(tmp_path, map_location="cpu")


@pytest.fixture
def refuse(monkeypatch):
    """Return a function: every download raises what `error` makes."""

    def arm(error):
        def download(repo, file, **options):
            raise error()

        monkeypatch.setattr(hub, "hf_hub_download", download)

    return arm


def refusal(kind, message="no"):
    response = type("Response", (), {"headers": {}, "request": None, "status_code": 404})()
    return functools.partial(kind, message, response=response)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (lambda: LocalEntryNotFoundError("no"), "cannot be reached.*/resolve/main/t.pth and give"),
        (lambda: OfflineModeIsEnabled("no"), "is not in the cache"),
        (refusal(GatedRepoError), "needs a permission.*hf auth login"),
        (refusal(RepositoryNotFoundError), "no such repository.*no such file or folder here"),
        (refusal(RemoteEntryNotFoundError), "does not exist.*/tree/main lists"),
        (refusal(HfHubHTTPError, "503 busy\nmore"), r"did not arrive \(503 busy\)\. Try again"),
        (lambda: HFValidationError("two dots"), r"not a valid reference \(two dots\)"),
        (lambda: OSError(28, "No space left on device"), "No space left on device"),
        (lambda: ConnectionError(), r"did not arrive \(ConnectionError\)"),
    ],
)
def test_every_failure_of_the_hub_is_one_sentence_that_says_what_to_do(error, message, refuse):
    refuse(error)
    with pytest.raises(CheckpointError, match=f"t.pth of Open/Mamba .*{message}") as caught:
        load_model("Open/Mamba:t.pth")
    assert "\n" not in str(caught.value)


def test_a_repository_without_our_files_says_how_to_name_one(refuse):
    refuse(refusal(RemoteEntryNotFoundError))
    with pytest.raises(CheckpointError, match=r"name one of them: load_model\('Open/Mamba:FILE'\)"):
        load_model("Open/Mamba")


def test_offline_is_said_to_be_chosen_where_it_is(refuse, monkeypatch):
    refuse(lambda: LocalEntryNotFoundError("no"))
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE is set.*path of the folder"):
        load_model("me/toy")


def test_a_saved_model_gives_the_same_bits_by_either_door_also_when_saved_again(model, tmp_path):
    clips = torch.randn(1, 3, 4, 32, 32)
    for names, bias in ((NAMES, 0), (None, 1)):
        with torch.no_grad():
            model.head.bias += bias
        model.class_names = names
        model.save_pretrained(tmp_path)
        for again in (load_model(tmp_path), VideoMamba.from_pretrained(tmp_path)):
            assert fingerprint(again) == fingerprint(model)
            assert again.class_names == names
            assert torch.equal(again(clips), model(clips))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]


def test_the_card_is_filled_in(model, tmp_path):
    model.save_pretrained(
        tmp_path, model_card_kwargs={"repo_id": "me/toy", "training": "Two steps on noise."}
    )
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.pipeline_tag == "video-classification"
    assert card.data.license is None
    text = card.text
    for field, value in model.config.to_dict().items():
        assert f"| {field} | {value} |" in text
    assert 'load_model("me/toy")' in text and "a, b, c, d, e" in text
    assert "Two steps on noise." in text
    assert f"{model.config.num_parameters() / 1e6:.2f} M" in text
    assert "{" not in text


def test_a_card_of_many_classes_names_the_first_and_counts_the_others(tmp_path):
    model = toy(num_classes=400)
    assert "Unknown." in model.generate_model_card().text
    model.class_names = tuple(f"kind {i}" for i in range(400))
    assert "kind 19, and 380 more" in model.generate_model_card().text


def test_a_push_uploads_what_load_model_reads(model, monkeypatch, tmp_path):
    pushed = {}

    class Api:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo_id, **options):
            return type("Repo", (), {"repo_id": repo_id})()

        def upload_folder(self, *, folder_path, repo_id, **options):
            for path in Path(folder_path).iterdir():
                pushed[path.name] = path.read_bytes()
            return f"https://huggingface.co/{repo_id}"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    assert model.push_to_hub("me/toy").endswith("me/toy")
    assert b'load_model("me/toy")' in pushed["README.md"]
    assert json.loads(pushed["config.json"])["class_names"] == list(NAMES)
    for name, content in pushed.items():
        (tmp_path / name).write_bytes(content)
    assert fingerprint(load_model(tmp_path)) == fingerprint(model)
