"""Figures in a real JupyterLab: as wide as the notebook, in the colors of its theme."""

import pytest
from served import comes_true

CELLS = [
    "import plotly.io, torch\n"
    "from vmamba_explore.view import figures\n"
    "plotly.io.renderers.default = 'plotly_mimetype'",
    "figures.class_scores(torch.arange(5.0))",
]
THEME = """async name => {
    await window.jupyterapp.commands.execute("apputils:change-theme", { theme: name });
}"""
COLORS = """() => {
    const plot = document.querySelector(".js-plotly-plot");
    const ink = getComputedStyle(plot.querySelector(".gtitle")).fill;
    const below = getComputedStyle(document.querySelector(".jp-Notebook")).backgroundColor;
    const paper = getComputedStyle(plot.querySelector(".main-svg")).backgroundColor;
    const width = plot.querySelector(".main-svg").getBoundingClientRect().width;
    return { ink, below, paper, spare: plot.clientWidth - width };
}"""


def lightness(color):
    return sum(float(part) for part in color[color.index("(") + 1 : -1].split(",")[:3]) / (3 * 255)


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_a_figure_has_the_colors_and_the_width_of_the_notebook(open_cells, screenshot, theme):
    page = open_cells(CELLS, "figures.ipynb")
    page.evaluate(THEME, theme)
    page.set_viewport_size({"width": 1100, "height": 700})
    page.wait_for_selector(".js-plotly-plot .gtitle")

    def fits():
        found = page.evaluate(COLORS)
        readable = abs(lightness(found["ink"]) - lightness(found["below"])) > 0.8
        return readable and found["paper"].endswith(", 0)") and abs(found["spare"]) < 20

    comes_true(page, fits, "the figure has the notebook's colors and width")
    assert page.faults == []
    screenshot(page, f"figures-{theme.split()[1].lower()}.png")
