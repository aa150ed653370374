"""Which scans, which tokens, and where a scan crosses a frame boundary."""

import pytest

from tests.vmamba_explore.trace.toys import toy
from vmamba_explore.trace.places import boundary, frame_tokens, scans


@pytest.mark.parametrize("cls_position", ["front", "middle", None])
def test_the_tokens_of_frames_are_those_of_the_grid(cls_position):
    grid = toy(cls_position=cls_position).grid
    wanted = [-1 if (p := grid.position(i)) is None else p[0] for i in range(grid.seqlen)]
    assert frame_tokens(grid, [2, 0]).tolist() == [i for i, f in enumerate(wanted) if f in (0, 2)]


@pytest.mark.parametrize(
    ("order", "early_first"), [("spatiotemporal", False), ("temporal", False), ("spatial", True)]
)
def test_a_boundary_parts_what_a_scan_has_read_from_what_it_will_read(order, early_first):
    model = toy(backward_order=order)
    frames, seqlen = model.grid.frame_of_tokens(), model.grid.seqlen
    for scan in scans(model, layers=0):
        early = early_first or scan.direction == "forward"
        for frame in (1, 2, 3):
            crossing = boundary(model, scan.ssm, frame)
            steps = scan.ssm.steps(seqlen).tolist()
            place = steps.index(crossing.handover)
            read = [int(frames[t]) for t in steps[: place + 1] if frames[t] >= 0]
            assert set(read) == set(range(frame)) if early else set(range(frame, 4))
            assert len(read) == 4 * len(set(read))  # whole frames
            assert crossing.before.tolist() == steps[place - 2 : place + 1]
            assert crossing.after.tolist() == steps[place + 1 : place + 4]


def test_a_class_token_in_the_middle_hands_the_state_over_in_both_directions():
    model = toy(cls_position="middle")
    for scan in scans(model, layers=0):
        assert boundary(model, scan.ssm, 2).handover == model.grid.cls_index


def test_a_boundary_is_found_among_the_tokens_that_are_left():
    model = toy(cls_position=None)
    forward, backward = scans(model, layers=0)
    with model.only_tokens([0, 1, 5, 9, 14]):  # of frames 0, 0, 1, 2, 3
        assert boundary(model, forward.ssm, 2).handover == 2
        assert boundary(model, forward.ssm, 2).before.tolist() == [0, 1, 2]
        assert boundary(model, backward.ssm, 2).handover == 3
    with model.only_tokens([0, 1]), pytest.raises(ValueError, match="of token frame 2 or above"):
        boundary(model, forward.ssm, 2)
    with model.only_tokens([14]), pytest.raises(ValueError, match="No token below token frame 2"):
        boundary(model, forward.ssm, 2)


@pytest.mark.parametrize("frame", [0, 4, -1])
def test_a_boundary_that_is_none_gets_its_sentence(frame):
    model = toy()
    wanted = rf"no boundary before token frame {frame}; .* 4 token frames, .* are 1 to 3\."
    with pytest.raises(ValueError, match=wanted):
        boundary(model, model.layers[0].mixer.ssm_forward, frame)


def test_layers_directions_frames_and_tokens_that_are_none_get_their_sentence():
    model = toy(backward_order=None)
    with pytest.raises(ValueError, match=r"There is no layer 2; the model has 0 to 1\."):
        scans(model, [0, 2])
    with pytest.raises(ValueError, match=r"no direction 'backward'; expected 'forward'\."):
        scans(model, 0, "backward")
    with pytest.raises(ValueError, match=r"There is no token frame 4; this model has 0 to 3\."):
        frame_tokens(model.grid, 4)
