"""A toy model whose states move its logits, and clips for it."""

import pytest

from tests.vmamba_explore import toys

each_kind = pytest.mark.parametrize("changes", toys.KINDS, ids=str)


def toy(**changes):
    sizes = {"num_frames": 8, "tubelet_size": 2, "img_size": 32}
    return toys.toy(change=toys.enliven, **sizes | changes)


def clips(batch=2, seed=7):
    return toys.clips_for(toy(), batch, seed)
