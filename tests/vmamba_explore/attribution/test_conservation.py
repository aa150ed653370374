"""The ledger's own arithmetic, on numbers that can be added up by hand."""

import torch

from vmamba_explore.attribution.conservation import Conservation
from vmamba_explore.attribution.result import joined


def ledger(rules_off=(), logit=(6.0, 9.0)):
    entries = {
        "tokens": torch.tensor([1.0, 2.0]),
        "positions": torch.tensor([-1.0, 1.0]),
        "class token": torch.tensor([2.0, 2.0]),
        "patch_embed.proj.bias": torch.tensor([0.5, 0.5]),
        "layers.0.mixer.ssm_forward.conv1d.bias": torch.tensor([-2.0, 1.0]),
        "layers.1.mixer.ssm_forward.conv1d.bias": torch.tensor([3.0, 2.0]),
        "head.bias": torch.tensor([2.5, 0.5]),
    }
    by_layer = torch.tensor([[2.5, 0.5, 3.5], [5.5, 6.5, 8.5]])
    absolute = torch.tensor([12.0, 10.0])
    return Conservation(entries, torch.tensor(logit), absolute, by_layer, rules_off)


def test_entries_add_up_and_the_gap_is_relative_to_the_summed_sizes():
    found = ledger()
    assert found.total.tolist() == [6, 9]
    assert found.inputs.tolist() == [2, 5]
    assert found.gap.tolist() == [0, 0]
    assert ledger(logit=(6.0, 4.0)).gap.tolist() == [0, 0.5]


def test_what_a_layer_took_beyond_its_biases_is_named():
    assert ledger().unexplained.abs().max() == 0
    found = ledger(rules_off=("gate",), logit=(6.0, 10.0))
    assert found.unexplained.tolist() == [[0, 0, 0], [0, 0, 1]]
    assert "norm_f without gate" in [leak.name for leak in found.leaks()]


def test_leaks_are_the_biases_by_size_with_their_layer():
    leaks = ledger().leaks()
    assert [leak.name for leak in leaks] == [
        "layers.1.mixer.ssm_forward.conv1d.bias",
        "layers.0.mixer.ssm_forward.conv1d.bias",
        "head.bias",
        "patch_embed.proj.bias",
    ]
    assert [leak.layer for leak in leaks] == [1, 0, None, None]
    assert leaks[1].relevance == -0.5  # signs cancel in the mean, not in the share
    assert abs(leaks[1].share - (2 / 12 + 1 / 10) / 2) < 1e-6


def test_groups_of_clips_become_one_ledger():
    both = joined([ledger(), ledger()])
    assert both.total.tolist() == [6, 9, 6, 9]
    assert both.by_layer.shape == (4, 3)
    assert len(both.unexplained) == 4


def test_it_prints_its_entries_and_whether_it_closes():
    text = repr(ledger())
    assert text.startswith("Conservation (2 clips, means): logit 7.5, ledger 7.5, gap 0.0e+00")
    for name in ("tokens", "class token", "layers.1.mixer.ssm_forward.conv1d.bias", "head.bias"):
        assert any(line.strip().startswith(name) for line in text.splitlines()), name
    assert "without the rules gate" in repr(ledger(rules_off=("gate",)))
    assert "smaller ones" in repr(ledger(rules_off=("gate",)))  # 7 leaks, 6 are listed
