"""What the browser gets of a state lens."""

import numpy as np

from tests.vmamba_explore.view.lenses import made_lens
from vmamba_explore.view.lens import SCORES, packed_lens


def test_percent_are_packed_in_the_order_of_layers_directions_frames_and_answers():
    reading = made_lens(layers=2, frames=3)
    packed = packed_lens(reading)
    assert packed["layers"] == [0, 1] and packed["directions"] == ["forward", "backward"]
    for each in packed["targets"]:
        values = reading.probabilities[each["name"]].values
        held = np.frombuffer(each["probabilities"], np.uint8).reshape(values.shape)
        assert np.abs(held - 100 * values).max() <= 0.5
        scores = np.frombuffer(each["scores"], np.uint8).reshape(4, 2, 2, 3)
        for name, table in zip(SCORES, scores, strict=True):
            wanted = reading.scores[each["name"]][name].values
            inside = (wanted >= 0) & (wanted <= 1)
            assert np.abs(table - 100 * wanted)[inside].max() <= 0.5
        assert each["chance"] == 25 and len(each["after"]) == 4 * 2 * 2


def test_what_is_not_known_has_the_level_of_nothing_and_no_lens_is_none():
    reading = made_lens(layers=1, frames=2)
    name = reading.targets[0]
    reading.scores[name]["after accuracy"][:] = np.nan
    after = packed_lens(reading)["targets"][0]["after"]
    assert list(after[:2]) == [255, 255] and after[2] != 255
    assert packed_lens(None) is None
