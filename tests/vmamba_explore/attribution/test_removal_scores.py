"""Curves of a model whose answer hangs on one tubelet, and of a toy model against a loop."""

import pytest
import torch

from tests.vmamba_explore.attribution.cases import explained, unmix
from tests.vmamba_explore.toys import clips_for, toy
from vmamba_explore.attribution.methods import attribute, make_problem
from vmamba_explore.attribution.problem import State
from vmamba_explore.attribution.removal_scores import (
    Faithfulness,
    RandomControl,
    RemovalCurve,
    deletion,
    faithfulness,
    insertion,
    problem_of,
    random_control,
)

BRIGHT = (1, 0, 1)  # frame, row, col of the tubelet that makes the answer
MAP = torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def planted():
    """A model without mixing: the mean over tokens of class scores, 0 for a black tubelet."""
    model = toy(patch_size=8, cls_position=None, pos_embed="none", change=unmix)
    clip = torch.zeros(1, 3, 4, 32, 32)
    frame, row, col = BRIGHT
    clip[:, :, 2 * frame : 2 * frame + 2, 8 * row : 8 * row + 8, 8 * col : 8 * col + 8] = 1
    return make_problem(model, clip)  # the class that the tubelet speaks for


def marked(value=1.0):
    values = torch.zeros(1, 2, 4, 4)
    values[0][BRIGHT] = value
    return values


def test_a_map_that_knows_takes_the_answer_at_once_and_gives_it_at_once(planted):
    whole = planted(planted.inputs)[0]
    assert whole > 0
    found = faithfulness(planted, marked(), baselines="mean", n_steps=32)
    fractions = torch.arange(33) / 32
    torch.testing.assert_close(found.deletion.fractions[0], fractions)
    torch.testing.assert_close(found.insertion.fractions[0], fractions)
    torch.testing.assert_close(found.deletion.logits[0], whole * (fractions == 0))
    torch.testing.assert_close(found.insertion.logits[0], whole * (fractions > 0))
    step = 1 / 64  # half a step: the trapezoid's corner
    torch.testing.assert_close(found.deletion.area(), whole[None] * step)
    torch.testing.assert_close(found.insertion.area(normalized=True), torch.tensor([1 - step]))
    torch.testing.assert_close(found.lerf_minus_morf(normalized=True), torch.tensor([1 - 2 * step]))


def test_a_map_that_errs_keeps_the_answer_to_the_end(planted):
    found = deletion(planted, marked(-1.0), baselines="mean", n_steps=32)
    assert (found.values(normalized=True)[0, :-1] - 1).abs().max() < 1e-5
    assert found.values(normalized=True)[0, -1] == 0


def test_lowest_first_is_highest_first_of_the_opposite_map(planted):
    values = torch.rand(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    one = deletion(planted, values, order="lerf", baselines="mean")
    other = deletion(planted, -values, baselines="mean")
    torch.testing.assert_close(one.logits, other.logits, rtol=0, atol=0)
    assert one.order == "lerf" and other.order == "morf"


@pytest.mark.parametrize("unit, n_steps", [("tubelets", 5), ("tubelets", 16), ("frames", 16)])
def test_deletion_lowest_first_is_insertion_read_from_its_end(planted, unit, n_steps):
    how = {"unit": unit, "baselines": "mean", "n_steps": n_steps}
    values = marked().round()  # all but one are tied
    back = deletion(planted, values, order="lerf", **how)
    found = faithfulness(planted, values, **how)
    torch.testing.assert_close(back.logits.flip(1), found.insertion.logits, rtol=0, atol=0)
    torch.testing.assert_close(back.fractions, found.insertion.fractions)
    difference = back.area() - found.deletion.area()
    torch.testing.assert_close(difference, found.lerf_minus_morf())


@pytest.fixture(scope="module")
def problem():
    model = toy(patch_size=8)
    return make_problem(model, clips_for(model, 3), [0, 3, 4], minus=[1, 1, 2])


def test_every_point_is_the_model_s_answer_to_a_clip_made_by_hand(problem):
    curve = deletion(problem, MAP, baselines="mean", n_steps=4)
    for clip in range(3):
        order = MAP[clip].flatten().argsort(descending=True)
        for point in range(5):
            there = torch.ones(32)
            there[order[: 8 * point]] = 0
            shown = there.view(2, 4, 4).repeat_interleave(2, 0)
            shown = shown.repeat_interleave(8, 1).repeat_interleave(8, 2)
            logits = problem.model(problem.inputs[clip : clip + 1] * shown)[0].detach()
            target, minus = problem.target[clip], problem.minus[clip]
            torch.testing.assert_close(
                curve.logits[clip, point], logits[target] - logits[minus], rtol=1e-4, atol=1e-6
            )
            share = logits.softmax(0)[target]
            torch.testing.assert_close(curve.probabilities[clip, point], share)
            assert curve.fractions[clip, point] == point / 4


def test_frames_go_by_what_all_their_tokens_have_together(problem):
    values = torch.zeros(3, 2, 4, 4)
    values[:, 0, 0, 0] = 1.0  # the highest token is in frame 0
    values[:, 1] = 0.1  # but frame 1 has more: 1.6
    curve = deletion(problem, values, unit="frames", baselines="mean")
    assert curve.fractions.tolist() == [[0, 0.5, 1]] * 3
    held = problem.inputs.clone()
    held[:, :, 2:] = 0
    torch.testing.assert_close(curve.logits[:, 1], problem(held), rtol=1e-4, atol=1e-6)


def test_tokens_that_are_dropped_are_really_dropped(problem):
    values = torch.zeros(3, 2, 4, 4)
    values[:, 1] = 1.0
    curve = deletion(problem, values, unit="frames", baselines="dropped")
    kept = (problem.model.grid.frame_of_tokens() <= 0).nonzero().flatten()
    with problem.model.only_tokens(kept), torch.no_grad():
        expected = problem.pick(problem.model(problem.inputs))
    torch.testing.assert_close(curve.logits[:, 1], expected)


def test_a_clip_is_judged_the_same_alone_and_among_others(problem):
    together = faithfulness(problem, MAP, n_steps=4)
    alone = make_problem(problem.model, problem.inputs[1:2], [3], minus=[1])
    one = faithfulness(alone, MAP[1:2], n_steps=4)
    for kind in ("deletion", "insertion"):
        ours, theirs = getattr(together, kind), getattr(one, kind)
        torch.testing.assert_close(ours.logits[1:2], theirs.logits, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(ours.probabilities[1:2], theirs.probabilities)


def test_what_is_tied_comes_by_lot_and_the_same_again(problem):
    flat = torch.zeros(3, 2, 4, 4)
    first, again = (deletion(problem, flat, n_steps=8).logits for _ in range(2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    in_order = deletion(problem, -torch.arange(32.0).view(1, 2, 4, 4).expand(3, -1, -1, -1))
    assert not torch.allclose(first[:, 1], in_order.logits[:, 2])


def test_both_ends_are_asked_for_once(problem):
    before = problem.cost.forward
    faithfulness(problem, MAP, n_steps=4)
    assert problem.cost.forward - before == 3 * (2 + 2 * 3)
    before = problem.cost.forward
    random_control(problem, n_steps=4, seeds=3)
    assert problem.cost.forward - before == 3 * (2 + 3 * 2 * 3)


def test_chance_has_ten_orders_and_no_preference(planted):
    assert random_control(planted, unit="frames").area("insertion").shape == (1, 10)
    copies = make_problem(planted.model, planted.inputs.expand(20, -1, -1, -1, -1))
    many = random_control(copies, baselines="mean", n_steps=8, seeds=2)
    areas = many.area("deletion", normalized=True)
    assert len(areas.unique()) > 4  # a random place of the one tubelet among 8
    assert abs(float(areas.mean()) - 0.5) < 0.2
    assert abs(float(many.lerf_minus_morf(normalized=True).mean())) < 0.4
    torch.testing.assert_close(
        many.lerf_minus_morf(), many.area("insertion") - many.area("deletion")
    )


def test_units_of_different_sizes_and_numbers_keep_true_fractions(problem):
    unit = torch.zeros(3, 32, dtype=torch.long)
    unit[0, :8] = 1  # 24 tokens and 8
    unit[1] = torch.arange(32) // 8  # four times 8
    unit[2, 16:] = 3  # 16 and 16; numbers 1 and 2 do not exist
    values = torch.zeros(3, 32)
    values[0, :8] = values[1, :8] = values[2, 16:] = 1.0
    values = values.view(3, 2, 4, 4)
    curve = deletion(problem, values, unit=unit, baselines="mean", n_steps=4)
    assert curve.unit == "custom"
    fractions = [[0, 0, 0.25, 1, 1], [0, 0.25, 0.5, 0.75, 1], [0, 0, 0.5, 1, 1]]
    assert curve.fractions.tolist() == fractions
    gone = problem.inputs.clone()
    gone[2, :, 2:] = 0
    torch.testing.assert_close(curve.logits[2, 2], problem(gone)[2], rtol=1e-4, atol=1e-6)
    for found in (curve, insertion(problem, values, unit=unit, order="lerf")):
        assert (found.fractions[:, 0] == 0).all() and (found.fractions[:, -1] == 1).all()


def test_clips_of_one_s_own_can_stand_in(problem):
    twin = problem.inputs.flip(2)
    curve = deletion(problem, MAP, baselines=twin, n_steps=2)
    torch.testing.assert_close(curve.logits[:, -1], problem(twin))
    assert curve.baselines == "custom"


def test_a_state_has_a_curve_and_no_probability(problem):
    state = State(1, "forward", 20, 3, 1)
    asked = make_problem(problem.model, problem.inputs, state)
    curve = deletion(asked, explained(asked, "saliency"), n_steps=2)
    torch.testing.assert_close(curve.logits[:, 0], asked(problem.inputs))
    assert curve.probabilities is None
    with pytest.raises(ValueError, match="State, which has no probability; use logits"):
        curve.area("probabilities")


def test_a_direction_has_a_curve_and_no_probability():
    model = toy(num_classes=0)
    clips, direction = clips_for(model), torch.randn(32)
    asked = make_problem(model, clips, direction)
    found = deletion(asked, torch.rand(2, *model.grid.shape), unit="frames", n_steps=2)
    assert found.probabilities is None
    with torch.no_grad():
        torch.testing.assert_close(found.logits[:, 0], model(clips) @ direction)


def test_an_attribution_is_judged_on_what_it_explained(problem):
    model, clips = problem.model, problem.inputs
    attribution = attribute(model, clips, [2, 2, 1], "saliency", minus=[0, 1, 2])
    again = problem_of(model, clips, attribution)
    curve = insertion(again, attribution, n_steps=2)
    torch.testing.assert_close(curve.logits[:, -1], attribution.output, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match=r"the map's target is tensor\(\[2, 2, 1\]\).*problem_of"):
        insertion(problem, attribution)
    other = make_problem(model, clips, [2, 2, 1])
    with pytest.raises(ValueError, match="the map's minus is .* the problem's None"):
        insertion(other, attribution)
    insertion(problem, attribution.tokens(), n_steps=1)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (torch.rand(3, 2, 2, 2), {}, r"the map is \(3, 2, 2, 2\), expected .*\(3, 2, 4, 4\)"),
        (MAP * torch.nan, {}, "expected finite numbers"),
        (MAP, {"n_steps": 0}, "n_steps is 0, expected at least 1"),
        (MAP, {"order": "best"}, "order must be morf or lerf, got 'best'"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_judged_is_said(problem, values, options, message):
    for call in (deletion, insertion):
        with pytest.raises(ValueError, match=message):
            call(problem, values, **options)


# Areas of curves that can be worked out by hand.


def curve(kind, logits, fractions=None, probabilities=None):
    logits = torch.tensor(logits)
    if fractions is None:
        fractions = torch.linspace(0, 1, logits.shape[1]).expand_as(logits)
    return RemovalCurve(kind, "morf", "frames", "blur", fractions, logits, probabilities)


def test_an_area_is_the_mean_height_over_true_fractions():
    uneven = torch.tensor([[0.0, 0.25, 1.0]])
    found = curve("deletion", [[4.0, 2.0, 0.0]], uneven, torch.tensor([[1.0, 0.5, 0.5]]))
    assert found.area().item() == 0.25 * 3 + 0.75 * 1
    assert found.area("probabilities").item() == 0.25 * 0.75 + 0.75 * 0.5


def test_one_is_the_clip_and_zero_the_baseline_both_ways():
    down = curve("deletion", [[6.0, 4.0, 2.0]]).values(normalized=True)
    up = curve("insertion", [[2.0, 4.0, 6.0]]).values(normalized=True)
    assert down.tolist() == [[1, 0.5, 0]] and up.tolist() == [[0, 0.5, 1]]


def test_a_clip_with_nothing_above_its_baseline_has_no_normalized_area():
    found = curve("deletion", [[2.0, 1.0], [1.0, 2.0]])
    area = found.area(normalized=True)
    assert area[0] == 0.5 and area[1].isnan()
    assert found.area().tolist() == [1.5, 1.5]


def test_runs_by_chance_stand_side_by_side():
    runs = tuple(
        Faithfulness(curve("deletion", [[2.0, low, 0.0]]), curve("insertion", [[0.0, 1.0, 2.0]]))
        for low in (0.0, 1.0, 2.0)
    )
    control = RandomControl(runs)
    assert control.area("deletion").tolist() == [[0.5, 1.0, 1.5]]
    assert control.lerf_minus_morf().tolist() == [[0.5, 0.0, -0.5]]
    assert control.area("insertion", normalized=True).tolist() == [[0.5, 0.5, 0.5]]


def test_what_a_curve_does_not_have_is_said(unchecked):
    with pytest.raises(ValueError, match="of must be logits or probabilities, got 'odds'"):
        curve("deletion", [[1.0, 0.0]]).area("odds")
