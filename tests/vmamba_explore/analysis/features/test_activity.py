"""Activity of features in all vectors, against the same counted at once."""

import numpy as np
import pytest
import torch
import xarray as xr

from tests.vmamba_explore.analysis.features.planted import planted
from vmamba_explore.analysis.features.activations import Activations, Site
from vmamba_explore.analysis.features.activity import feature_activity
from vmamba_explore.analysis.features.fit import train_features

ASKED = {"width": 12, "k": 2, "steps": 60, "batch_size": 64}


@pytest.fixture(scope="module")
def case():
    rows, _ = planted(videos=10, rows=6)
    values = rows.values.values.reshape(5, 2, 6, 20)
    array = xr.DataArray(values, dims=("video", "clip", "frame", "channel"))
    activations = Activations(array, Site(0))
    features = train_features(activations, **ASKED)
    with torch.no_grad():
        features.bias[3] = -1e6  # one that is never active
        codes = features.encode(torch.from_numpy(values)).numpy()
    return activations, features, codes.reshape(10, 6, 12)


@pytest.mark.parametrize("block_mib", [64.0, 1e-6])
def test_counts_are_those_of_all_vectors_whatever_the_block(case, block_mib):
    activations, features, codes = case
    found = feature_activity(features, activations, block_mib=block_mib)
    active = codes > 0
    assert (found.clips, found.rows) == (10, 60)
    assert found.fires == pytest.approx(active.mean((0, 1)))
    assert found.fires_clips == pytest.approx(active.any(1).mean(0))
    squares = (codes**2).sum((0, 1))
    assert found.share == pytest.approx(squares / squares.sum(), rel=1e-5)
    mean = codes.sum((0, 1)) / active.sum((0, 1)).clip(1)
    assert found.mean_code == pytest.approx(mean, rel=1e-5)
    assert 3 not in found.order
    assert (np.diff(found.share[found.order]) <= 0).all()


@pytest.mark.parametrize("block_mib", [64.0, 1e-6])
def test_top_clips_are_those_with_the_largest_codes(case, block_mib):
    activations, features, codes = case
    found = feature_activity(features, activations, top=4, block_mib=block_mib)
    peaks = codes.max(1)
    for feature in range(12):
        best = np.sort(peaks[:, feature])[::-1][:4]
        assert found.peak[feature] == pytest.approx(best, rel=1e-5)
        for number, peak in zip(found.top[feature], best, strict=True):
            assert number == -1 if peak == 0 else peaks[number, feature] == pytest.approx(peak)
    assert (found.top[3] == -1).all()


def test_means_of_a_class_leave_out_what_has_no_label(case):
    activations, features, codes = case
    found = feature_activity(features, activations, [0, 1, -1, 1, 0])
    peaks = codes.max(1).reshape(5, 2, 12)
    assert found.class_sizes.tolist() == [4, 4]
    assert found.by_class[:, 1] == pytest.approx(peaks[[1, 3]].mean((0, 1)), rel=1e-5)
    assert feature_activity(features, activations, [-1] * 5).by_class is None
    with pytest.raises(ValueError, match="got 2 labels for 5 videos"):
        feature_activity(features, activations, [0, 1])


def test_vectors_of_another_site_are_refused(case):
    activations, features, _ = case
    other = Activations(activations.values, Site(1))
    with pytest.raises(ValueError, match="layer 0 .20 numbers., the vectors of the resid"):
        feature_activity(features, other)
