import pandas as pd

from vmamba_explore.studies.experiments import figures as show
from vmamba_explore.studies.experiments.summary import Comparison

ARMS = pd.DataFrame(
    {
        "mean": [0.9, 0.3],
        "low": [0.8, float("nan")],
        "high": [0.95, float("nan")],
        "each": [[0.88, 0.92], [0.3]],
        "within_pair": [0.99, 0.5],
        "paper: SSv2": [63.7, float("nan")],
        "paper: HMDB51": [58.9, 52.7],
    },
    index=["16", "8_<b>"],
)
FOUND = Comparison("frames", ARMS, pd.DataFrame(), chance=0.25)


def named(figure):
    return {trace.name: trace for trace in figure.data}


def test_every_seed_the_mean_its_interval_and_the_papers_numbers_are_drawn():
    traces = named(show.arms(FOUND))
    assert list(traces["one seed"].x) == [88, 92, 30]
    mean = traces["mean over seeds, 95 %"]
    assert list(mean.x) == [90, 30]
    assert [round(v) for v in mean.error_x.array[:1]] == [5]
    assert list(traces["told from its reversal (of 2)"].x) == [99, 50]
    assert list(traces["paper, SSv2"].y) == ["16"]
    assert list(traces["paper, HMDB51"].x) == [58.9, 52.7]


def test_numbers_as_names_are_names_and_stand_in_the_papers_order():
    axis = show.arms(FOUND).layout.yaxis
    assert axis.type == "category" and next(iter(axis.categoryarray)) == "16"


def test_a_data_set_that_the_paper_has_not_is_left_out():
    bare = Comparison("frames", ARMS.drop(columns="paper: SSv2"), pd.DataFrame(), chance=0.25)
    assert "paper, SSv2" not in named(show.arms(bare))


def test_names_are_text_and_no_markup():
    assert "<b>" not in "".join(map(str, show.arms(FOUND).layout.yaxis.categoryarray))


def test_learning_shows_each_seed_thin_and_their_mean_thick():
    rows = [("a", s, step, 0.2 + s / 10 + step / 1000) for s in (0, 1) for step in (50, 100)]
    curves = pd.DataFrame(rows, columns=["arm", "seed", "step", "accuracy"])
    figure = show.learning(curves, 0.25, "frames")
    thin, mean = [t for t in figure.data if t.line.width == 1], named(figure)["a"]
    assert len(thin) == 2 and mean.line.width == 3
    assert [round(v, 1) for v in mean.y] == [30.0, 35.0]
