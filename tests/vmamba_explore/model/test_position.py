import pytest
import torch

from tests.vmamba_explore.toys import toy
from vmamba_explore.model.position import expand_pos_embed, sinusoidal_table


def test_temporal_expanding_gives_every_frame_the_whole_image_table():
    table = torch.arange(6.0).view(3, 2)
    clip_table = expand_pos_embed(table, 4, "temporal_expanding")
    assert torch.equal(clip_table.view(4, 3, 2), table.expand(4, 3, 2))


def test_interpolations_keep_the_ends_and_differ_from_each_other():
    table = torch.randn(9, 8)
    tokens = expand_pos_embed(table, 4, "token_interpolation")
    embedding = expand_pos_embed(table, 4, "embedding_interpolation")
    assert tokens.shape == embedding.shape == (36, 8)
    assert torch.allclose(tokens[0], table[0]) and torch.allclose(tokens[-1], table[-1])
    # time-major: patch p starts its row in frame 0 and ends it in frame 3
    by_frame = embedding.view(4, 9, 8)
    assert torch.allclose(by_frame[0, :, 0], table[:, 0])
    assert torch.allclose(by_frame[3, :, -1], table[:, -1])
    assert not torch.allclose(tokens, embedding)


def test_one_frame_is_the_image_table_itself_in_all_but_random():
    table = torch.randn(9, 8)
    for how in ("temporal_expanding", "token_interpolation", "embedding_interpolation"):
        assert torch.allclose(expand_pos_embed(table, 1, how), table)


def test_random_has_the_spread_of_the_image_table():
    torch.manual_seed(0)
    table = 0.3 * torch.randn(64, 32)
    drawn = expand_pos_embed(table, 8, "random")
    assert drawn.shape == (512, 32)
    assert abs(drawn.std() - 0.3) < 0.02


def test_an_unknown_way_is_refused(unchecked):
    with pytest.raises(ValueError, match="temporal_expanding"):
        expand_pos_embed(torch.zeros(2, 2), 2, "tile")


def test_sinusoidal_rows_are_distinct_unit_waves():
    table = sinusoidal_table(50, 16)
    assert table.abs().max() <= 1
    assert torch.allclose(table[:, 0], torch.arange(50.0).sin())
    assert torch.allclose(table[:, 1], torch.arange(50.0).cos())
    assert torch.cdist(table, table).fill_diagonal_(1).min() > 0.1


@pytest.mark.parametrize(("sizes", "name"), [((0, 8), "num_tokens"), ((4, -1), "d_model")])
def test_a_table_without_tokens_or_channels_is_refused(sizes, name, unchecked):
    with pytest.raises(ValueError, match=f"sinusoidal_table: {name} is .*, expected at least 1"):
        sinusoidal_table(*sizes)


@pytest.mark.parametrize(
    "variant",
    [
        "temporal_expanding",
        "token_interpolation",
        "embedding_interpolation",
        "random",
        "sinusoidal",
        "none",
    ],
)
def test_every_variant_of_the_paper_runs_and_learns_or_not_as_it_says(variant):
    model = toy(pos_embed=variant)
    model(torch.randn(1, 3, 4, 32, 32)).sum().backward()
    learns = isinstance(model.pos_embed, torch.nn.Parameter)
    assert learns == (variant not in ("sinusoidal", "none"))
    assert not learns or model.pos_embed.grad.abs().max() > 0
    assert "pos_embed" in model.state_dict() or not learns
