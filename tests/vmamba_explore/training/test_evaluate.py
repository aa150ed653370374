import numpy as np
import torch

from vmamba_explore.training.evaluate import within_pair


def test_within_pair_compares_a_class_with_its_reversal_only():
    logits = torch.tensor([[1.0, 0.0, 9.0, 9.0], [0.0, 0.0, 1.0, 2.0], [5.0, 5.0, 0.0, 0.0]])
    labels = np.array([0, 2, 1])
    assert within_pair(logits, labels).tolist() == [True, False, False]
