import pytest
import torch

from vmamba_explore.model.config import PRESETS, VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba

# frames, classes, d_model -> tokens, parameters M, paper's GMACs, all GMACs, state updates M
PAPER_TABLE = [
    (16, 51, 384, 1569, 26.25, 34.2, 39.1, 925),
    (16, 400, 384, 1569, 26.39, 34.2, 39.1, 925),
    (32, 51, 384, 3137, 26.85, 68.5, 78.2, 1850),
    (16, 400, 192, 1569, 7.44, 8.8, 10.5, 463),
]


@pytest.mark.parametrize("row", PAPER_TABLE)
def test_sizes_and_costs_equal_the_papers_table_to_its_rounding(row):
    frames, classes, d_model, tokens, parameters, paper, total, updates = row
    name = "kaist_small" if d_model == 384 else "kaist_tiny"
    config = VideoMambaConfig.preset(name, num_frames=frames, num_classes=classes)
    macs = config.macs()
    assert config.grid.seqlen == tokens
    assert round(config.num_parameters() / 1e6, 2) == parameters
    assert round(macs.paper / 1e9, 1) == paper
    assert round(macs.total / 1e9, 1) == total
    assert round(macs.state_updates / 1e6) == updates
    assert config.state_bytes() == 4 * macs.state_updates


def test_all_hidden_states_of_kaist_small_take_what_the_maths_page_says():
    config = VideoMambaConfig.preset("kaist_small")
    assert round(config.state_bytes() / 1e9, 1) == 3.7
    assert round(config.state_bytes() / config.depth / 2 / 1e6) == 77


def test_presets_have_the_published_sizes():
    millions = {
        name: round(VideoMambaConfig.preset(name).num_parameters() / 1e6) for name in PRESETS
    }
    assert millions == {
        **{"kaist_small": 26, "kaist_tiny": 7},
        **{"opengvlab_tiny": 7, "opengvlab_small": 26, "opengvlab_middle": 74},
        **{"vim_small": 26, "toy": 0},
    }
    vim = VideoMambaConfig.preset("vim_small")
    assert (vim.cls_position, vim.direction_merge, vim.grid.cls_index) == ("middle", "mean", 98)
    assert VideoMambaConfig.preset("opengvlab_small").grid.seqlen == 8 * 196 + 1


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        *((name, {}) for name in PRESETS),
        ("toy", {"backward_order": None}),
        ("toy", {"cls_position": None}),
        ("toy", {"cls_position": "middle"}),
        ("toy", {"pos_embed": "none"}),
        ("toy", {"pos_embed": "sinusoidal"}),
        ("toy", {"pos_embed": "spatial_temporal"}),
        ("toy", {"pos_embed": "spatial_temporal", "cls_position": None}),
        ("toy", {"dt_rank": 5, "expand": 3, "d_conv": 2, "in_channels": 1}),
        ("toy", {"cls_position": "every_frame", "pos_embed": "spatial_temporal"}),
        ("toy", {"num_classes": 0}),
        ("toy", {"num_classes": 0, "pool_norm": True, "text_dim": 7}),
        ("toy", {"scan_variant": "videomambapro"}),
    ],
)
def test_counted_parameters_and_macs_are_those_of_the_built_module(name, changes):
    config = VideoMambaConfig.preset(name, **changes)
    with torch.device("meta"):
        model = VideoMamba(config)
    assert sum(p.numel() for p in model.parameters()) == config.num_parameters()
    assert counted_macs(model, config) == config.macs().total


def counted_macs(model, config):
    """Multiply-accumulates of linear and convolution layers, from the weights that were built."""
    total = 0
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2 or not name.endswith(".weight"):
            continue
        if name.startswith("patch_embed"):
            total += parameter.numel() * config.grid.num_patches
        elif name == "head.weight":
            total += parameter.numel()
        elif name == "vision_proj.weight":  # not a part of a run
            continue
        else:
            total += parameter.numel() * config.grid.seqlen
    return total


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_frames": 15}, "num_frames=15 is not a multiple of tubelet_size=2"),
        ({"img_size": 30}, "img_size=30 is not a multiple of patch_size=16"),
        ({"depth": 0}, "depth must be an integer of at least 1, got 0"),
        ({"d_model": 38.4}, "d_model must be an integer"),
        ({"depth": True}, "depth must be an integer"),
        ({"norm_eps": "1e-5"}, "norm_eps must be a number above 0, got '1e-5'"),
        ({"norm_eps": 0.0}, "norm_eps must be a number above 0"),
        ({"backward_order": "reverse"}, "backward_order must be one of None, 'spatiotemporal'"),
        ({"cls_position": "end"}, "cls_position must be one of"),
        ({"pos_embed": "learnable"}, "pos_embed must be one of"),
        ({"cls_position": "middle", "backward_order": "temporal"}, "not defined with"),
        ({"cls_position": "every_frame", "backward_order": "spatial"}, "not defined with"),
        ({"num_classes": -1}, "num_classes must be an integer of at least 0, got -1"),
        ({"scan_variant": "pro"}, "scan_variant must be one of 'mamba', 'videomambapro'"),
        ({"pool_norm": 1}, "pool_norm must be True or False, got 1"),
        ({"pool_norm": True, "cls_position": None}, "needs cls_position='front' or 'middle'"),
        ({"text_dim": 0}, "text_dim must be an integer of at least 1, got 0"),
        ({"pos_embed": "spatial"}, "needs one token frame, got 2"),
        ({"layers": 3}, "has no field 'layers'"),
    ],
)
def test_a_bad_field_is_named_with_what_was_expected(changes, message, unchecked):
    with pytest.raises(ValueError, match=message):
        VideoMambaConfig.preset("toy", **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 10**400}, "depth must be an integer of at most 2,147,483,647, got 1000"),
        ({"d_model": 10**400}, "d_model must be an integer of at most"),
        ({"num_frames": 10**5000}, "num_frames must be .*, got a int too long to show"),
        ({"num_classes": 10**12}, "num_classes must be an integer of at most"),
        ({"depth": "a" * 10**6}, "depth must be an integer of at least 1, got 'aaa"),
        ({"norm_eps": 10**400}, "norm_eps must be a number above 0"),
        ({"d_model": 10**9}, "d_model=1000000000 and the other sizes make .* parameters"),
        ({"img_size": 16 * 10**8}, "img_size=1600000000 and .* parameters, expected at most"),
        (
            {"img_size": 16 * 10**8, "pos_embed": "none"},
            "img_size=1600000000 and the other sizes make .* pixel values in a clip",
        ),
        (
            {"num_frames": 2**30, "d_model": 2**10, "pos_embed": "none", "in_channels": 1}
            | {"patch_size": 1, "img_size": 1, "tubelet_size": 1},
            "num_frames=1073741824 and .* numbers in the tokens of a clip",
        ),
    ],
)
def test_a_size_that_no_machine_holds_is_named_in_a_short_sentence(changes, message, unchecked):
    with pytest.raises(ValueError, match=message) as caught:
        VideoMambaConfig.preset("toy", **changes)
    assert len(str(caught.value)) < 300


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(ValueError, match="kaist_small, kaist_tiny"):
        VideoMambaConfig.preset("small")


def test_fields_that_came_later_are_named_only_where_they_are_set():
    """Fingerprints of models rest on this text, and score cards are found by them."""
    plain = VideoMambaConfig()
    assert repr(plain).startswith("VideoMambaConfig(num_frames=16, img_size=224, ")
    assert repr(plain).endswith("pos_embed='temporal_expanding', norm_eps=1e-05)")
    pro = VideoMambaConfig(scan_variant="videomambapro", text_dim=7)
    assert repr(pro) == f"{repr(plain)[:-1]}, scan_variant='videomambapro', text_dim=7)"


def test_the_weights_of_the_read_out_are_those_of_its_gradient_before_any_norm():
    for changes in (
        {}, {"cls_position": "middle"}, {"cls_position": None}, {"cls_position": "every_frame"},
        {"pool_norm": True}, {"pool_norm": True, "cls_position": "middle"},
    ):  # fmt: skip
        model = VideoMamba(VideoMambaConfig.preset("toy", **changes))
        tokens = torch.randn(1, model.grid.seqlen, 32, requires_grad=True)
        model.pooled(model.read_tokens(tokens))[0, 3].backward()
        assert torch.allclose(tokens.grad[0, :, 3].double(), model.config.read_weights())
        assert model.config.reads_one_token == (int((tokens.grad[0, :, 3] != 0).sum()) == 1)
