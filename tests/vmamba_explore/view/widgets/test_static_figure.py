"""A figure shown as a cell's output would show it."""

import base64
import json

import numpy as np
import plotly.graph_objects as go

from vmamba_explore.view.widgets.static_figure import MIMETYPE, StaticFigure


def test_a_figure_is_shown_by_its_numbers_alone():
    place = StaticFigure()
    place.show(go.Figure(go.Scatter(y=np.arange(3.0)), {"title": "one"}))
    style, output = place.outputs
    assert "text/html" in style["data"]
    assert output["output_type"] == "display_data"
    assert output["data"]["text/plain"] == "one"
    assert len(json.dumps(place.get_state())) < 10_000
    packed = output["data"][MIMETYPE]["data"][0]["y"]
    numbers = np.frombuffer(base64.b64decode(packed["bdata"]), packed["dtype"])
    assert numbers.tolist() == [0, 1, 2]


def test_the_next_figure_replaces_it_and_none_clears_it():
    place = StaticFigure()
    place.show(go.Figure(layout={"title": "one"}))
    place.show(go.Figure(layout={"title": "two"}))
    assert [output["data"]["text/plain"] for output in place.outputs] == ["", "two"]
    place.show(None)
    assert place.outputs == ()
