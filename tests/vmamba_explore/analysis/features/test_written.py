"""What each token wrote into a feature: the sum is the code, and cut tokens wrote nothing."""

import pytest
import torch

from tests.vmamba_explore.analysis.features.planted import pixels, small_model
from tests.vmamba_explore.analysis.features.test_steering import features_of, vectors
from vmamba_explore.analysis.features.activations import Site
from vmamba_explore.analysis.features.written import Written
from vmamba_explore.analysis.frame_states import frame_ends

KINDS = {
    "front": {},
    "every frame": {"cls_position": "every_frame"},
    "none, spatial": {"cls_position": None, "backward_order": "spatial"},
}


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_all_tokens_wrote_is_the_code_before_its_threshold(kind, direction):
    model, clips, site = small_model(**KINDS[kind]), pixels(), Site(1, direction)
    features = features_of(model, site, clips)
    with torch.no_grad():
        features.bias.normal_()
    rows, _ = vectors(model, site, clips)
    written = Written(model, features)
    vectors(model, site, clips, written.block)
    which, frames = torch.tensor([3, 0, 9, 9]), torch.tensor([0, 1, 2, 3])
    for clip in range(3):
        parts = written.by_token(clip, which, frames)
        states = rows[clip][frames] * features.measure
        code = (states @ features.encoder[:, which]).diagonal()
        assert torch.allclose(parts.sum(1), code, rtol=1e-3, atol=1e-5)
        assert code.abs().min() > 1e-4


def test_tokens_that_the_scan_reads_later_wrote_nothing():
    model, clips, site = small_model(), pixels(), Site(1, "backward")
    features = features_of(model, site, clips)
    written = Written(model, features)
    vectors(model, site, clips, written.block)
    parts = written.parts(0, torch.tensor([0]), torch.tensor([2]))[0]
    assert parts.shape == model.grid.shape
    assert (parts[:2] == 0).all()
    assert (parts[2:] != 0).all()
    assert int(frame_ends(model, "backward")[0].argmax()) == 0
