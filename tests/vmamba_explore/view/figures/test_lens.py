"""The figure of a state lens."""

import numpy as np
import pytest

from tests.vmamba_explore.view.lenses import made_lens
from vmamba_explore import figures


def test_a_cell_has_the_most_probable_answer_and_what_it_is_worth():
    reading = made_lens(layers=3, frames=4, answers=("same color", "next color", "other"))
    name = reading.targets[1]
    figure = figures.state_lens(reading, name)
    values = reading.probabilities[name]
    cells = list(figure.select_traces({"type": "heatmap"}))
    for trace, direction in zip(cells, ("forward", "backward"), strict=True):
        here = values.sel(direction=direction)
        np.testing.assert_allclose(np.array(trace.z, float), here.max("answer").values)
        best = here["answer"].values[here.argmax("answer").values]
        assert (np.array(trace.customdata)[..., 0] == best).all()
        accuracy = reading.scores[name]["accuracy"].sel(direction=direction).values
        told = np.array(trace.customdata)[..., 1].astype(float)
        assert np.abs(told - 100 * accuracy).max() <= 0.5
        assert "held-out clips" in trace.hovertemplate and "shuffled" in trace.hovertemplate
    assert reading.note.split(".")[0] in figure.layout.title.text.replace("<br>", " ")


def test_names_are_escaped_and_shortened_to_their_cell():
    reading = made_lens(frames=16, answers=("<i>counterclockwise</i>", "up"))
    figure = figures.state_lens(reading)
    words = {str(word) for trace in figure.data for word in np.ravel(trace.text)}
    assert words == {"&lt;i&gt;co…", "up"}


def test_another_target_is_named_with_those_that_are_there():
    with pytest.raises(ValueError, match="state_lens: target is 'color', expected"):
        figures.state_lens(made_lens(), "color")
