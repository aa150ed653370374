"""Features as an autoencoder: units, sparsity, files."""

import dataclasses

import pytest
import torch

from vmamba_explore.analysis.features.activations import Site
from vmamba_explore.analysis.features.sae import FeatureSettings, SparseFeatures, load_features


def features(kind="topk", width=12, k=3, size=8, **changes):
    settings = FeatureSettings(
        Site(2, "forward"), width, k, kind, 10, 4, 1e-3, 5, 0.1, 9, 100, "abc", **changes
    )
    generator = torch.Generator().manual_seed(1)
    mean, measure = torch.randn(size, generator=generator), torch.rand(size, generator=generator)
    return SparseFeatures(settings, mean, measure + 0.5)


def test_topk_has_at_most_k_codes_in_every_row_and_they_are_the_largest():
    found, rows = features(), torch.randn(50, 8)
    codes, raw = found.encode(rows), found.raw_codes(found.measured(rows))
    assert (codes > 0).sum(1).max() <= 3
    assert torch.equal(codes.max(1).values, raw.max(1).values)
    assert torch.allclose(codes.sum(1), raw.topk(3, dim=1).values.sum(1))


def test_batchtopk_keeps_what_is_above_the_threshold_whatever_else_is_in_the_batch():
    found, rows = features("batchtopk"), torch.randn(50, 8)
    found.threshold.fill_(0.7)
    codes = found.encode(rows)
    raw = found.raw_codes(found.measured(rows))
    assert torch.equal(codes > 0, raw > 0.7)
    assert torch.allclose(found.encode(rows[:1]), codes[:1], atol=1e-6)


def test_one_unit_of_code_adds_the_direction_in_the_models_units():
    found = features()
    codes = torch.zeros(2, 12)
    codes[1, 4] = 1
    empty, one = found.decode(codes)
    assert torch.equal(empty, found.mean)
    assert torch.allclose(one - empty, found.direction(4), atol=1e-6)
    assert torch.allclose((found.direction(4) * found.measure).norm(), torch.tensor(1.0))
    with pytest.raises(ValueError, match="no feature 12; these are 0 to 11"):
        found.direction(12)


def test_saved_features_are_read_back_to_the_bit(tmp_path):
    found = features("batchtopk", model="1234")
    found.threshold.fill_(0.3)
    found.save(tmp_path / "new" / "folder")
    again = load_features(tmp_path / "new" / "folder")
    assert again.settings == found.settings
    for name, value in found.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def test_a_damaged_or_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="is not there"):
        load_features(tmp_path)
    features().save(tmp_path)
    file = tmp_path / "features.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load_features(tmp_path)


def test_settings_that_make_no_sense_are_refused(unchecked):
    with pytest.raises(ValueError, match="k is 13 and width 12"):
        features(k=13)
    with pytest.raises(ValueError, match="kind is 'relu'"):
        features("relu")
    assert dataclasses.asdict(features().settings)["site"] == {"layer": 2, "direction": "forward"}
