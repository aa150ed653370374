"""Paths of states: which states are taken, and where their projection lies."""

import numpy as np
import pytest
import torch
import xarray as xr

from tests.vmamba_explore.toys import recorded
from vmamba_explore.analysis.trajectories import states_by_frame, trajectory
from vmamba_explore.tokens import BACKWARD_ORDERS

NAMES = ["*.hook_h", "*.hook_C"]


def record(names=NAMES, **changes):
    """Return a trace of two random clips of 4 frames of 4 x 4 tokens."""
    return recorded(names, num_frames=8, img_size=16, **changes)


def states(paths, order=None):
    """Return states of one direction that follow points (frame, 2), turned into 12 dimensions."""
    turn = torch.linalg.qr(torch.randn(12, 2, generator=torch.Generator().manual_seed(1)))[0]
    values = (torch.as_tensor(paths).double() @ turn.T.double()).view(1, -1, 4, 3).numpy() + 7
    count = values.shape[1]
    steps = np.arange(count) if order is None else np.asarray(order)
    coords = {
        "direction": ["forward"],
        "frame": np.arange(count),
        "clip_frame": ("frame", np.arange(count)),
        "seconds": ("frame", np.arange(count) / 8),
        "step": (("direction", "frame"), steps[None]),
    }
    return xr.DataArray(values, coords, ("direction", "frame", "channel", "state"))


@pytest.mark.parametrize(
    ("cls_position", "order"),
    [("front", order) for order in BACKWARD_ORDERS]
    + [("middle", "spatiotemporal"), (None, "spatial")],
)
def test_the_state_is_that_after_the_last_token_of_each_frame_that_the_scan_reads(
    cls_position, order
):
    trace = record(cls_position=cls_position, backward_order=order)
    found = states_by_frame(trace, 1, clip=1)
    for direction in ("forward", "backward"):
        steps = trace.ssm(1, direction).steps(trace.grid.seqlen).tolist()
        at = f"layers.1.mixer.ssm_{direction}.hook_"
        read = trace[f"{at}C"][1].square().mean(-1).sqrt()
        for frame in range(4):
            tokens = {trace.grid.index(frame, r, c) for r in range(4) for c in range(4)}
            last = max(tokens, key=steps.index)
            expected = trace[f"{at}h"][1, ..., last] * read
            one = found.sel(direction=direction, frame=frame)
            assert np.allclose(one.values, expected.numpy(), atol=1e-6)
            assert int(one["step"]) == steps.index(last)


def test_a_place_gives_the_states_right_after_its_tokens():
    trace = record()
    found = states_by_frame(trace, 0, place=(2, 1))
    at = "layers.0.mixer.ssm_backward.hook_"
    token = trace.grid.index(3, 2, 1)
    expected = trace[f"{at}h"][0, ..., token] * trace[f"{at}C"][0].square().mean(-1).sqrt()
    assert np.allclose(found.sel(direction="backward", frame=3).values, expected.numpy(), atol=1e-6)


def test_states_made_again_are_those_that_were_recorded():
    names = [f"*.hook_{name}" for name in ("u", "delta", "B", "C", "h_boundaries")]
    again = states_by_frame(record(names), 1)
    assert np.allclose(again.values, states_by_frame(record(), 1).values, atol=1e-5)


def test_points_in_a_plane_keep_their_distances_and_explain_everything():
    path = np.array([[0.0, 0.0], [3, 0], [3, 1], [5, 1], [9, -1]])
    found = trajectory([states(path)])
    points = found.points.values[0, 0]
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    assert np.allclose(distances, np.linalg.norm(path[:, None] - path[None], axis=-1), atol=1e-6)
    assert np.isclose(found.explained.sum(), 1)
    assert found.explained[0, 0] > found.explained[0, 1] > 0


def test_equal_clips_take_equal_paths_and_two_clips_share_one_plane():
    path = np.array([[0.0, 0.0], [1, 0], [2, 1]])
    found = trajectory([states(path), states(path), states(path + [10, 0])]).points
    assert np.allclose(found[0], found[1])
    shift = (found[2] - found[0]).values
    assert np.allclose(np.linalg.norm(shift, axis=-1), 10)


def test_the_point_farthest_out_is_on_the_positive_side():
    path = np.random.default_rng(0).normal(size=(6, 2)) @ np.diag([5.0, 1.0])
    for sign in (1, -1):
        points = trajectory([states(sign * path)]).points.values[0, 0]
        assert (points[np.abs(points).argmax(0), [0, 1]] > 0).all()


def test_two_frames_have_one_component_and_states_that_never_move_none():
    two = trajectory([states([[0.0, 0.0], [1, 1]])])
    assert np.allclose(two.explained, [[1, 0]]) and np.allclose(two.points[..., 1], 0)
    still = trajectory([states(np.zeros((3, 2)))])
    assert np.allclose(still.explained, 0) and np.allclose(still.points, 0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: states_by_frame(record(), 0, place=(4, 0)), IndexError, "row 4 is outside"),
        (lambda: trajectory([states([[1.0, 2.0]])]), ValueError, "at least two token frames"),
        (
            lambda: trajectory([states(np.zeros((n, 2))) for n in (3, 4)]),
            ValueError,
            "all of the same model and number of frames",
        ),
        (lambda: trajectory([]), ValueError, "expected at least one"),
    ],
)
def test_what_has_no_path_is_refused(call, error, message, unchecked):
    with pytest.raises(error, match=message):
        call()
