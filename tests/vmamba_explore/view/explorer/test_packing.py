"""What goes to the browser, unpacked again as the browser does it."""

import dataclasses
import io
import json
import zlib

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from vmamba_explore.view.explorer.drawn import DrawnMap
from vmamba_explore.view.explorer.packing import (
    pack_answer,
    pack_late,
    pack_maps,
    pack_side,
    pack_sides,
    pack_steps,
)


def unpack(descriptions, levels, sides):
    """The values by map: for each side, then the difference; NaN where nothing is drawn."""
    stream = np.frombuffer(zlib.decompress(levels), np.uint8)
    found, start = {}, 0
    for item in descriptions:
        parts = []
        for side in range(sides + (sides == 2)):
            ranges = item["ranges" if side < 2 else "differenceRanges"]
            count = int(np.prod(item["shape"]))
            part = stream[start : start + count].reshape(item["shape"])
            start += count
            values = np.stack([
                low + layer / 254 * (high - low)
                for layer, (low, high) in zip(part.astype(float), ranges, strict=True)
            ])  # fmt: skip
            parts.append(np.where(part == 255, np.nan, values))
        found[item["name"]] = parts
    assert start == len(stream)
    return found


def half_level(ranges):
    return max(high - low for low, high in ranges) / 254 / 2 * (1 + 1e-9)


def test_one_stream_gives_back_every_map_of_both_sides_and_their_difference(make_exploration):
    sides = [make_exploration(0), make_exploration(1)]
    descriptions, levels = pack_maps(sides)
    assert [item["name"] for item in descriptions] == list(sides[0].maps)
    for item, parts in zip(
        descriptions, unpack(descriptions, levels, sides=2).values(), strict=True
    ):
        maps = [side.maps[item["name"]].values.astype(float) for side in sides]
        expected = [np.log10(values) if item["log"] else values for values in maps]
        expected.append(expected[1] - expected[0])
        for side, (found, wanted) in enumerate(zip(parts, expected, strict=True)):
            ranges = item["ranges" if side < 2 else "differenceRanges"]
            wanted = wanted.reshape(found.shape)
            np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
            assert np.nanmax(np.abs(found - wanted)) <= half_level(ranges)


def test_a_map_that_one_side_lacks_is_left_out(make_exploration):
    one, other = make_exploration(0), make_exploration(1)
    other = make_exploration(1, maps={n: m for n, m in other.maps.items() if n != "relevance"})
    descriptions, levels = pack_maps([one, other])
    assert [item["name"] for item in descriptions] == ["contribution", "delta"]
    unpack(descriptions, levels, sides=2)


def test_a_map_without_any_value_is_drawn_as_nothing(make_exploration):
    maps = {"delta": xr.full_like(make_exploration().maps["delta"], np.nan)}
    maps["contribution"] = maps["delta"].assign_attrs(log=False)
    descriptions, levels = pack_maps([make_exploration(maps=maps)])
    assert set(zlib.decompress(levels)) == {255}
    assert np.isfinite([item["ranges"] for item in descriptions]).all()


def test_a_side_without_any_value_leaves_the_other_side_its_own(make_exploration):
    one, other = make_exploration(0), make_exploration(1)
    empty = make_exploration(maps={"delta": xr.full_like(one.maps["delta"], np.nan)})
    with_values = make_exploration(maps={"delta": other.maps["delta"]})
    alone = unpack(*pack_maps([with_values]), sides=1)["delta"]
    for sides, place in (((empty, with_values), 1), ((with_values, empty), 0)):
        found = unpack(*pack_maps(sides), sides=2)["delta"]
        np.testing.assert_array_equal(found[place], alone[0])
        assert np.isnan(found[2]).all()


def test_infinite_values_are_drawn_as_nothing_and_do_not_stretch_the_scale(make_exploration):
    values = make_exploration().maps["delta"].copy()
    before = DrawnMap.of([values]).scales
    values[1, 1, 2, 1, 3] = np.inf
    drawn = DrawnMap.of([values])
    assert drawn.levels(0)[1, 1, 2, 1, 3] == 255
    assert drawn.scales[0] == before[0] and np.isfinite(drawn.scales[1].high)


def test_a_side_can_be_written_as_strict_json(make_exploration):
    curve = make_exploration().curves["seen from the start"].copy()
    curve[0] = np.nan
    exploration = make_exploration(curves={"c": curve}, deciding=[(1, 4), (6, 6)])
    side = pack_side(exploration)
    frames = side.pop("frames")
    read = json.loads(json.dumps(side | pack_late(exploration), allow_nan=False))
    assert read["curves"][0]["values"][0] is None and read["missing"] is False
    assert read["deciding"] == [[1, 4], [6, 6]] and read["live"] is False
    assert read["offsets"][-1] == len(frames)


def test_a_second_side_of_the_same_clip_sends_no_frames_of_its_own(make_exploration):
    one, other = make_exploration(), make_exploration(1)
    same, edited = pack_sides([one, dataclasses.replace(other, clip=one.clip)])["sides"]
    assert same["frames"] and edited["frames"] == b"" and edited["offsets"] == [0]
    assert all(side["frames"] for side in pack_sides([one, other])["sides"])


def test_the_frames_are_the_clips_in_its_order(make_exploration):
    exploration = make_exploration()
    side = pack_side(exploration)
    for number, frame in enumerate(exploration.clip.frames):
        picture = side["frames"][slice(*side["offsets"][number : number + 2])]
        shown = np.asarray(Image.open(io.BytesIO(picture)), dtype=float)
        assert list(shown.shape[:2]) == side["size"]
        near = [np.abs(shown - other).mean() for other in exploration.clip.frames]
        assert int(np.argmin(near)) == number, frame.shape


def test_steps_come_back_as_int32_by_direction(make_exploration):
    exploration = make_exploration()
    found = np.frombuffer(zlib.decompress(pack_steps(exploration)), "<i4").reshape(2, 3, 2, 4)
    for steps, direction in zip(found, exploration.directions, strict=True):
        np.testing.assert_array_equal(steps, exploration.steps[direction])


@pytest.mark.parametrize("directions", [1, 2])
def test_an_answer_is_one_buffer_for_each_map_on_a_scale_of_its_own(directions):
    random = np.random.default_rng(0)
    values = random.lognormal(size=(2, directions, 3, 2, 4)).astype(np.float32)
    values[:, 0, 1] = np.nan
    dims = ("direction", "frame", "row", "col")
    answer = xr.Dataset({
        name: xr.DataArray(array, dims=dims)
        for name, array in zip(("reads", "read_by"), values, strict=True)
    })  # fmt: skip
    descriptions, buffers = pack_answer(answer)
    assert [item["name"] for item in descriptions] == ["reads", "read_by"]
    for item, buffer, wanted in zip(descriptions, buffers, values, strict=True):
        assert item["log"] and item["shape"] == [1, directions, 3, 2, 4]
        found = unpack([item], zlib.compress(buffer), sides=1)[item["name"]][0][0]
        np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
        assert np.nanmax(np.abs(found - np.log10(wanted))) <= half_level(item["ranges"])
