"""The explained number with only some of the units."""

import pytest
import torch

from tests.vmamba_explore.attribution.cases import sliced
from tests.vmamba_explore.toys import ORDERS, clips_for, toy
from vmamba_explore.attribution.game import Game, blend
from vmamba_explore.attribution.methods import make_problem
from vmamba_explore.attribution.problem import State
from vmamba_explore.attribution.units import units_of

LAYOUTS = [*ORDERS, {"backward_order": None}]


def problem(target=(1, 2), **config):
    model = toy(dtype=torch.float64, num_frames=8, **config)
    return make_problem(model, clips_for(model), target)


def coalitions(count, rows=10):
    present = torch.rand(rows, count, generator=torch.Generator().manual_seed(2)) > 0.4
    return present, torch.arange(rows) % 2


def test_absent_units_show_the_baseline():
    asked = problem()
    base = torch.randn_like(asked.inputs)
    game = Game(asked, units_of(asked, "tubelets"), base)
    present, which = coalitions(16)
    expected = []
    for there, clip in zip(present, which, strict=True):
        mixed = base[clip].clone()
        for token in there.nonzero()[:, 0].tolist():
            place = asked.labels.grid.position(token + 1)  # the class token is first
            box = [slice(n * s, (n + 1) * s) for n, s in zip(place, (2, 16, 16), strict=True)]
            mixed[:, *box] = asked.inputs[clip][:, *box]
        expected.append(asked.model(mixed.unsqueeze(0))[0, asked.target[clip]])
    found = game(present, which)
    torch.testing.assert_close(found, torch.stack(expected).detach())
    logits = game.logits(present, which)
    torch.testing.assert_close(asked.pick(logits, which), found)
    assert asked.cost.forward == 20 and not found.requires_grad


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_dropped_units_are_those_that_only_tokens_leaves_out(layout):
    asked = problem(**layout)
    grid, model = asked.labels.grid, asked.model
    game = Game(asked, units_of(asked, "tubelets"), "dropped")
    present, which = coalitions(16)
    expected = []
    for there, clip in zip(present, which, strict=True):
        kept = [grid.index(t // 4, t // 2 % 2, t % 2) for t in there.nonzero()[:, 0].tolist()]
        with model.only_tokens([*kept, *grid.cls_indices]):
            expected.append(model(asked.inputs[clip, None])[0, asked.target[clip]])
    torch.testing.assert_close(game(present, which), torch.stack(expected).detach())
    assert model.kept_tokens is None


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_rows_share_a_batch_where_the_scans_read_in_the_same_order(layout, monkeypatch):
    asked = problem(**layout)
    game = Game(asked, units_of(asked, "tubelets"), "dropped")
    sizes = []
    embed = asked.model.tokens
    monkeypatch.setattr(
        asked.model, "tokens", lambda clips: sizes.append(len(clips)) or embed(clips)
    )
    game(~torch.eye(16, dtype=torch.bool), torch.zeros(16, dtype=torch.long))  # each one dropped
    order = layout.get("backward_order", "spatiotemporal")
    if layout.get("cls_position") == "middle":
        assert sorted(sizes) == [8, 8]  # the class token moves up by one, or does not
    elif layout.get("cls_position") == "every_frame":
        assert sorted(sizes) == [2, 2, 4, 4, 4]  # where the class tokens stand then
    elif order in ("spatial", "temporal"):
        assert sorted(sizes) == [4, 4, 4, 4]  # the token frame that is shorter
    else:
        assert sizes == [16]


@pytest.mark.parametrize("cls_position", ["front", None])
def test_nothing_at_all_can_be_left(cls_position):
    asked = problem(cls_position=cls_position)
    with torch.no_grad():
        asked.model.head.bias.copy_(torch.arange(5) - 1.5)
    game = Game(asked, units_of(asked, "frames"), "dropped")
    found = game(torch.zeros(2, 4, dtype=torch.bool), torch.tensor([1, 0]))
    if cls_position is None:
        torch.testing.assert_close(found, torch.tensor([0.5, -0.5]).double())
    else:
        with asked.model.only_tokens([0]):
            logits = asked.model(asked.inputs[:1])[0]
        torch.testing.assert_close(found, logits[[2, 1]].detach())  # no clip is seen


@pytest.mark.parametrize("baselines", ["held", "dropped"])
def test_a_small_budget_changes_nothing(baselines):
    asked = problem()
    present, which = coalitions(4)
    whole, small = (
        Game(p, units_of(p, "frames"), baselines)(present, which)
        for p in (asked, sliced(asked, forward_rows=3))
    )
    torch.testing.assert_close(whole, small)


def test_a_state_is_asked_for_with_pixels_only():
    asked = problem(State(0, "forward", 8, 2, 1))  # the first two token frames' last
    units = units_of(asked, "frames")
    present = torch.tensor([[True] * 4, [True, True, False, False]])
    which = torch.tensor([1, 1])
    found = Game(asked, units, "mean")(present, which)
    torch.testing.assert_close(found, asked(asked.inputs[[1]], which[:1]).expand(2))  # causal
    with pytest.raises(ValueError, match="baselines='dropped' shortens the sequence"):
        Game(asked, units, "dropped")


def test_a_blend_is_a_mixture_for_masks_between_0_and_1():
    clips, base = torch.randn(2, 1, 3, 4, 4, 4).double().unbind()
    mask = torch.rand(1, 2, 2, 2).double().requires_grad_()
    found = blend(mask, clips, base)
    pixels = mask.repeat_interleave(2, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(found, pixels.unsqueeze(1) * (clips - base) + base)
    hard = mask > 0.5
    assert torch.equal(blend(hard, clips, base), blend(hard.double(), clips, base))
