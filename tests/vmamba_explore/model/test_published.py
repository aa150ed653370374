"""What tensors say about a model, and what they cannot say."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vmamba_explore.model.checkpoints import CheckpointError, load_model, model_from_state_dict
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.published import ours_name, published_config, published_name
from vmamba_explore.model.videomamba import VideoMamba


def tensors_of(config):
    """A state dict of a random model under published names."""
    state = VideoMamba(config).state_dict()
    found = {published_name(name): value for name, value in state.items()}
    if config.pos_embed == "spatial":
        found["patch_embed.proj.weight"] = found["patch_embed.proj.weight"].squeeze(2)
    return found


def small(preset, **changes):
    sizes = {"img_size": 32, "d_model": 32, "depth": 2, "num_classes": 7, "d_state": 4}
    return VideoMambaConfig.preset(preset, **(sizes | changes))


@pytest.fixture
def video():
    return tensors_of(small("opengvlab_small"))


@pytest.mark.parametrize("preset", ["opengvlab_tiny", "opengvlab_small", "opengvlab_middle"])
def test_published_sizes_are_read_from_shapes_alone(preset):
    config = VideoMambaConfig.preset(preset, num_frames=16, img_size=384, depth=2)
    with torch.device("meta"):
        found = tensors_of(config)
    assert published_config(found, None, "here") == config


@pytest.mark.parametrize(
    ("config", "layout"),
    [
        (small("vim_small"), "vim"),
        (small("vim_small", cls_position="front", direction_merge="sum"), "opengvlab"),
        (small("opengvlab_small", tubelet_size=2, backward_order=None, dt_rank=3), None),
        (small("opengvlab_small", expand=1, d_conv=3, in_channels=1, patch_size=8), None),
    ],
)
def test_a_configuration_survives_the_published_names(config, layout):
    found = tensors_of(config)
    assert published_config(found, layout, "here") == config
    model = model_from_state_dict(found, layout=layout)
    for name, value in model.state_dict().items():
        assert torch.equal(value.squeeze(), found[published_name(name)].squeeze()), name


@given(st.sets(st.integers(0, 999), min_size=1, max_size=3))
def test_the_name_map_is_a_bijection_and_names_every_parameter_once(layers):
    with torch.device("meta"):
        names = list(VideoMamba(small("opengvlab_small", depth=1)).state_dict())
    names = [n.replace("layers.0.", f"layers.{layer}.") for n in names for layer in layers]
    names = [*dict.fromkeys(names)]
    published = [published_name(name) for name in names]
    assert [ours_name(name) for name in published] == names
    assert len(set(published)) == len(names)
    assert not any("ssm_" in name for name in published)


def test_an_image_checkpoint_without_layout_is_refused_as_ambiguous():
    with pytest.raises(CheckpointError, match="layout='opengvlab'.*layout='vim'"):
        model_from_state_dict(tensors_of(small("vim_small")))


@pytest.mark.parametrize(
    ("layout", "message"), [("vim", "temporal_pos_embedding"), ("middle", "got 'middle'")]
)
def test_a_layout_that_cannot_be_is_refused(video, layout, message, unchecked):
    with pytest.raises(CheckpointError, match=message):
        model_from_state_dict(video, layout=layout)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("layers.0.blocks.0.op.A_logs", "VMamba"),
        ("model.blocks.0.temporal_attn.qkv.weight", "TimeSformer"),
        ("timesformer.encoder.layer.0.attention.attention.qkv.weight", "TimeSformer"),
        ("encoder.blocks.0.attn.qkv.weight", "VideoMAE"),
        ("blocks.0.attn.q_bias", "VideoMAE"),
        ("videomae.embeddings.patch_embeddings.projection.weight", "VideoMAE"),
        ("blocks.0.attn.qkv.weight", "vision transformer"),
        ("vit.encoder.layer.0.attention.attention.query.weight", "vision transformer"),
        ("layers.0.blocks.0.attn.relative_position_bias_table", "Swin"),
        ("backbone.embedding.weight", "Mamba language model"),
    ],
)
def test_another_family_is_called_by_its_name(name, family):
    with pytest.raises(CheckpointError, match=family):
        model_from_state_dict({"model_state": {name: torch.zeros(2, 2)}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("pos_embed"), "lacks pos_embed"),
        (lambda t: t.update(pos_embed=torch.zeros(1, 12, 32)), "pos_embed has 12 rows"),
        (lambda t: t.update(pos_embed=torch.zeros(5, 32)), "pos_embed has 2 axes"),
        (
            lambda t: t.update({"layers.9.norm.weight": torch.zeros(1)}),
            r"nothing of 2, 3, 4, 5 and",
        ),
        (lambda t: t.update({"head.weight": torch.zeros(0, 32)}), "num_classes must be an integer"),
        (
            lambda t: t.update({"layers.0.mixer.ssm_forward.D": torch.zeros(1)}),
            "their config.json",
        ),
        (lambda t: t.clear(), "no tensors by name .* found nothing"),
        (lambda t: [t.clear(), t.update(epoch=3)], "found 'epoch'"),
    ],
)
def test_tensors_that_are_no_model_are_refused(video, change, message):
    change(video)
    with pytest.raises(CheckpointError, match=message):
        model_from_state_dict(video)


def test_numbers_beside_the_tensors_are_left_aside(video):
    model = model_from_state_dict(video | {"epoch": 3, "best": 0.5})
    assert torch.equal(model.head.weight, video["head.weight"])


def test_a_dictionary_that_holds_itself_is_refused(video):
    ring = {}
    ring["model"] = ring
    with pytest.raises(CheckpointError, match="no tensors by name"):
        model_from_state_dict(ring)


def quantized(t):
    return torch.quantize_per_tensor(t, 0.1, 0, torch.qint8)


ODD = {
    "head.weight is sparse (torch.sparse_coo); expected plain": lambda t: t.to_sparse(),
    "head.weight is sparse (torch.sparse_csr); expected plain": lambda t: t.to_sparse_csr(),
    "head.weight is on the meta device, without values": lambda t: t.to("meta"),
    "head.weight is a nested tensor": lambda t: torch.nested.nested_tensor([t[0], t[0, :3]]),
    "head.weight is quantized (torch.qint8)": quantized,
    "head.weight is torch.float8_e4m3fn, expected floating": lambda t: t.to(torch.float8_e4m3fn),
    "head.weight is torch.complex64, expected floating": lambda t: t.to(torch.complex64),
    "head.weight is torch.bool, expected floating": lambda t: t > 0,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("message", ODD)
@pytest.mark.parametrize("wrapper", [None, "model"])
def test_a_tensor_without_plain_numbers_is_named(video, message, wrapper, tmp_path):
    video["head.weight"] = ODD[message](video["head.weight"])
    torch.save(video if wrapper is None else {wrapper: video}, tmp_path / "weights.pth")
    for call in (
        lambda: load_model(tmp_path / "weights.pth"),
        lambda: model_from_state_dict(video),
    ):
        with pytest.raises(CheckpointError, match=re.escape(message)):
            call()


@pytest.mark.parametrize("zip_form", [True, False])
def test_tensors_that_repeat_their_memory_are_refused_before_they_are_built(
    video, tmp_path, zip_form
):
    path, classes = tmp_path / "weights.pth", 10**9
    video["head.weight"] = torch.zeros(1, 32).expand(classes, 32)
    video["head.bias"] = torch.zeros(1).expand(classes)
    torch.save(video, path, _use_new_zipfile_serialization=zip_form)
    with pytest.raises(
        CheckpointError, match=r"head.weight with shape \(1000000000, 32\) the most"
    ):
        load_model(path)


def test_tensors_that_share_their_memory_count_once_each(video, tmp_path):
    path, shared = tmp_path / "weights.pth", torch.zeros(2**20)
    torch.save(video | {f"layers.{i}.mixer.D": shared for i in range(100)}, path)
    with pytest.raises(
        CheckpointError, match="the tensors would take 419,.*the limit is 134,217,728"
    ):
        load_model(path)


def test_a_limit_that_is_raised_lets_the_same_file_in(video, tmp_path):
    path, classes = tmp_path / "weights.pth", 2**20
    video["head.weight"] = torch.ones(1, 32).expand(classes, 32)
    video["head.bias"] = torch.zeros(1).expand(classes)
    torch.save(video, path)
    with pytest.raises(CheckpointError, match=r"pass max_bytes=\d+ to load_model") as caught:
        load_model(path)
    needed = int(re.search(r"max_bytes=(\d+)", str(caught.value))[1])
    with pytest.raises(CheckpointError, match="the limit is"):
        load_model(path, max_bytes=needed - 1)
    assert load_model(path, max_bytes=needed).config.num_classes == classes


def test_names_of_many_layers_do_not_build_them(video, tmp_path):
    names = {f"layers.{i}.norm.weight": video["layers.0.norm.weight"] for i in range(2000)}
    torch.save(video | names, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"tensors do not fit: missing layers\.2\.") as caught:
        load_model(tmp_path / "weights.pth")
    assert len(caught.value.problems) > 2000 and len(str(caught.value)) < 500
