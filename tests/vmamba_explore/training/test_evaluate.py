import numpy as np
import pytest
import torch

from vmamba_explore.training.evaluate import proportion, within_pair


def test_the_interval_is_wilsons():
    share = proportion(np.arange(100) < 95)
    assert (share.value, share.n) == (0.95, 100)
    assert share.low == pytest.approx(0.8882, abs=1e-4)  # statsmodels: proportion_confint(95, 100)
    assert share.high == pytest.approx(0.9785, abs=1e-4)
    assert proportion(np.ones(10, bool)).high == 1.0
    with pytest.raises(ValueError, match="no answers"):
        proportion(np.ones(0, bool))


def test_within_pair_compares_a_class_with_its_reversal_only():
    logits = torch.tensor([[1.0, 0.0, 9.0, 9.0], [0.0, 0.0, 1.0, 2.0], [5.0, 5.0, 0.0, 0.0]])
    labels = np.array([0, 2, 1])
    assert within_pair(logits, labels).tolist() == [True, False, False]
