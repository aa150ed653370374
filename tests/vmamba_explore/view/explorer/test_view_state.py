"""What an explorer shows at one moment."""

from vmamba_explore.view.explorer import ClipPlayer, Explorer
from vmamba_explore.view.explorer.view_state import Viewed
from vmamba_explore.view.explorer.vocabulary import STATE


def test_a_view_has_every_trait_of_the_state_and_stays_as_it_was(make_exploration):
    explorer = Explorer(make_exploration(0), make_exploration(1))
    assert isinstance(explorer, Viewed)
    explorer.frame, explorer.query, explorer.speed = 3, [2, 1, 0], 2.0
    view = explorer.view
    explorer.frame = 5
    assert view.frame == 3 and view.token_frame == 1 and explorer.view.token_frame == 2
    assert view.query == (2, 1, 0) and view.frames_per_second == 16
    for name in set(STATE) - {"frame", "query"}:
        assert getattr(view, name) == getattr(explorer, name)
    assert view.sides == explorer.explorations and view.directions == ("forward", "backward")


def test_only_one_direction_is_the_one_that_is_shown(make_exploration):
    explorer = Explorer(make_exploration())
    shown = []
    for explorer.direction in ("both", "difference", "backward"):
        shown.append(explorer.view.one_direction)
    assert shown == [None, None, "backward"]


def test_a_clip_alone_has_a_view_without_directions(clip):
    view = ClipPlayer(clip).view
    assert view.directions == () and view.one_direction is None and view.quantity == ""
