"""The Hub without a network: a stand-in gives, refuses or is not there; folders go round."""

import functools
import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
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
        def download(repo, file, **options):
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
