"""The numbers of docs/at_scale.md are computed, and the sizes are those of tensors."""

import pathlib
import re

import pytest

from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.stores.quantities import Quantity
from vmamba_explore.studies.scaling.stores import (
    DATA_SETS,
    DECODE_SECONDS,
    GPU_TFLOPS,
    TASK_SECONDS,
    hours,
    planned,
    table,
)

PAGE = (pathlib.Path(__file__).parents[4] / "docs" / "at_scale.md").read_text()


def test_the_table_of_the_page_is_what_is_computed():
    assert table() in PAGE


def test_the_hours_of_the_page_are_what_is_computed():
    for videos in DATA_SETS.values():
        took = hours(videos)
        line = f"| {videos:,} | {took.gpu:.2f} | {took.decoding:,.1f} | {took.scheduler:.2f} |"
        assert line in PAGE, line
    config = VideoMambaConfig.preset("kaist_small")
    assert took.operations == 2 * config.macs().total
    assert f"{config.macs().total:,}" in PAGE and f"{took.operations / 1e9:.1f}" in PAGE
    said = re.findall(r"assumption: ([\d.]+) (TFLOP/s|s)", PAGE)
    assert said == [(f"{GPU_TFLOPS:g}", "TFLOP/s"), (f"{DECODE_SECONDS:g}", "s")]
    assert took.scheduler == pytest.approx(10_000_000 * TASK_SECONDS / 3600)


def test_sizes_follow_from_the_shape_of_the_model():
    frames, patches, layers, directions, channels, states = 8, 14 * 14, 24, 2, 768, 16
    per = dict.fromkeys(("embedding", "logits"), 1) | {"embedding": 384, "logits": 400}
    for name, numbers in per.items():
        assert planned(name, 1).bytes_by_variable[name] == 4 * numbers
    delta = planned("delta:float16", 7).bytes_by_variable["delta"]
    assert delta == 7 * 2 * layers * directions * frames * patches
    ends = planned("h_boundaries:float16", 1).bytes_by_variable["h_boundaries"]
    assert ends == 2 * layers * directions * frames * channels * states
    every = planned(Quantity("h", layers=(12,)), 1).bytes_by_variable["h"]
    padded = 3 * 5 * 14  # 14 rows in three chunks of five, the last one padded
    assert every == 4 * directions * frames * padded * channels * states
