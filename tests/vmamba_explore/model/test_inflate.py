"""From images to clips: what must stay, and what changes."""

from dataclasses import replace

import pytest
import torch

from vmamba_explore.model.checkpoints import CheckpointError, load_model
from vmamba_explore.model.inflate import from_image_checkpoint, inflate
from vmamba_explore.model.position import expand_pos_embed
from vmamba_explore.model.videomamba import VideoMamba

LEARNED = ("temporal_expanding", "token_interpolation", "embedding_interpolation", "random")


@pytest.fixture(scope="module")
def checkpoint(load_golden, tmp_path_factory):
    path = tmp_path_factory.mktemp("vim") / "vim.pth"
    torch.save({"model": load_golden("vim_midcls_div2")[1]}, path)
    return path


@pytest.fixture(scope="module")
def image_model(checkpoint):
    return load_model(checkpoint, layout="vim")


@pytest.fixture(scope="module")
def config(image_model):
    """The paper's model of the image model's width: front class token, sum, tubelets of two."""
    return replace(
        image_model.config,
        num_frames=8,
        tubelet_size=2,
        cls_position="front",
        direction_merge="sum",
        pos_embed="temporal_expanding",
        num_classes=3,
    )


def with_head_of(model, image_model):
    model.head.load_state_dict(image_model.head.state_dict())
    return model


@pytest.mark.parametrize("merge", ["sum", "mean"])
def test_a_clip_of_one_repeated_frame_gives_the_published_logits(
    load_golden, checkpoint, config, image_model, merge
):
    _, _, golden = load_golden("vim_midcls_div2")
    still = replace(
        config,
        num_frames=2,
        cls_position="middle",
        direction_merge=merge,
        num_classes=image_model.config.num_classes,
    )
    model = with_head_of(from_image_checkpoint(checkpoint, still, layout="vim"), image_model)
    clips = golden["input"].unsqueeze(2).expand(-1, -1, 2, -1, -1)
    assert torch.allclose(model(clips), golden["logits"], atol=1e-5)


def test_every_frame_of_a_still_clip_starts_from_the_images_tokens(image_model, config):
    picture = torch.randn(1, 3, 1, config.img_size, config.img_size)
    model = inflate(image_model, config)
    tokens = model.tokens(picture.expand(-1, -1, 8, -1, -1))
    image = image_model.tokens(picture)
    row = image_model.grid.cls_index
    patches = torch.cat([image[:, :row], image[:, row + 1 :]], 1)
    assert torch.allclose(tokens[:, 1:], patches.repeat(1, 4, 1), atol=1e-5)
    assert torch.equal(tokens[:, 0], image[:, row])  # the class token brought its row along


@pytest.mark.parametrize("how", LEARNED[:3])
def test_the_clips_table_is_the_images_without_the_class_tokens_row(image_model, config, how):
    model = inflate(image_model, replace(config, pos_embed=how))
    table, cls_row = image_model.pos_embed[0], image_model.grid.cls_index
    patches = torch.cat([table[:cls_row], table[cls_row + 1 :]])
    assert torch.equal(model.pos_embed[0], expand_pos_embed(patches, 4, how))
    assert torch.equal(model.cls_token, image_model.cls_token + table[cls_row])


def test_the_initializations_differ_and_random_follows_the_seed(image_model, config):
    tables = {}
    for how in LEARNED:
        torch.manual_seed(5)
        tables[how] = inflate(image_model, replace(config, pos_embed=how)).pos_embed
    for one in LEARNED:
        assert sum(torch.equal(tables[one], tables[other]) for other in LEARNED) == 1
    torch.manual_seed(5)
    again = inflate(image_model, replace(config, pos_embed="random"))
    assert torch.equal(again.pos_embed, tables["random"])


@pytest.mark.parametrize("how", ["none", "sinusoidal"])
def test_a_model_without_a_learned_table_takes_the_other_weights(image_model, config, how):
    model = inflate(image_model, replace(config, pos_embed=how))
    ours, theirs = (m.layers[0].mixer.in_proj.weight for m in (model, image_model))
    assert torch.equal(ours, theirs)


def test_half_the_sum_becomes_the_sum_by_halving_out_proj_and_nothing_else(image_model, config):
    model = inflate(image_model, config)
    ours, theirs = model.state_dict(), image_model.state_dict()
    for name, value in theirs.items():
        if name.endswith("out_proj.weight"):
            assert torch.equal(ours[name], value / 2)
        elif name.startswith(("layers.", "norm_f")):
            assert torch.equal(ours[name], value), name
    added = VideoMamba(replace(image_model.config, cls_position="front", direction_merge="sum"))
    wanted = added.layers[0].mixer.out_proj.weight
    for merge, factor in {"sum": 1, "mean": 2}.items():
        found = inflate(added, replace(config, direction_merge=merge))
        assert torch.equal(found.layers[0].mixer.out_proj.weight, factor * wanted)


def test_the_tokenizers_kernel_is_shared_out_over_the_tubelet(image_model, config):
    kernel = inflate(image_model, config).patch_embed.proj.weight
    assert torch.equal(kernel[:, :, 0], kernel[:, :, 1])
    assert torch.allclose(kernel.sum(2, keepdim=True), image_model.patch_embed.proj.weight)


def test_the_head_is_drawn_anew(image_model, config):
    heads = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        heads.append(inflate(image_model, config).head.weight)
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
    assert heads[0].shape == (3, config.d_model)


def test_another_resolution_stretches_the_image_table_first(image_model, config):
    model = inflate(image_model, replace(config, img_size=2 * config.img_size))
    assert model.config.grid.shape == (4, *(2 * side for side in config.grid.shape[1:]))
    frames = model.pos_embed[0].view(4, -1, config.d_model)
    assert torch.equal(frames[0], frames[3])


def test_no_class_token_and_a_sisters_two_tables_are_possible(image_model, config):
    assert inflate(image_model, replace(config, cls_position=None)).cls_token is None
    sister = inflate(image_model, replace(config, pos_embed="spatial_temporal"))
    row = image_model.grid.cls_index
    assert torch.equal(sister.pos_embed[0, 0], image_model.pos_embed[0, row])
    assert torch.equal(sister.cls_token, image_model.cls_token)
    assert sister.temporal_pos_embedding.abs().sum() == 0


def test_what_cannot_be_inflated_is_refused(checkpoint, image_model, config):
    with pytest.raises(CheckpointError, match="Pass layout="):
        from_image_checkpoint(checkpoint, config)
    with pytest.raises(ValueError, match="the image model reads 16 frames in tubelets of 2"):
        from_image_checkpoint("motion-nano", config)
    with pytest.raises(ValueError, match=f"d_model is {config.d_model} .* and 192 in"):
        inflate(image_model, replace(config, d_model=192))
    with pytest.raises(ValueError, match="no backward scan"):
        inflate(image_model, replace(config, backward_order=None))
