"""What is done to a run stays with the thread or task that runs, and ends with its block."""

import asyncio
import contextvars
import copy
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Barrier, Thread

import pytest
import torch

from tests.vmamba_explore.trace.toys import clips, toy
from vmamba_explore.edits import Slot, current, editing, pinned
from vmamba_explore.hooks import attached
from vmamba_explore.interventions import (
    ablate,
    cut_edges,
    drop_tokens,
    mute,
    record_past,
    reset_state,
    transplant,
)


@pytest.fixture
def model():
    return toy(backward_order="spatial")


@pytest.fixture
def clip():
    return clips(1)


@contextmanager
def everything(model, past):
    """An edit of every kind at once."""
    with drop_tokens(model, [6]), mute(model, "backward", 0), ablate(model, "*1*hook_z", frames=1):
        with cut_edges(model, 0, "forward", [1], [9]), transplant(model, past, 2, layers=1):
            yield


@torch.no_grad()
def test_two_threads_share_a_model_and_each_gets_its_own_logits(model, clip):
    past = record_past(model, -clip)
    plain = model(clip)
    with everything(model, past):
        edited = model(clip)
    assert (edited - plain).abs().max() > 1e-4
    start = Barrier(2)

    @torch.no_grad()
    def run(is_edited):
        start.wait()
        found = []
        for _ in range(200):
            with everything(model, past) if is_edited else ExitStack():
                found.append(model(clip))
        return found

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(2) as pool:
            runs = list(pool.map(run, [False, True]))
    finally:
        sys.setswitchinterval(interval)
    for logits, wanted in zip(runs, (plain, edited), strict=True):
        assert len(logits) == 200 and all(torch.equal(each, wanted) for each in logits)
    assert not current().blocks


@torch.no_grad()
def test_tasks_share_a_model_and_one_made_in_a_block_starts_with_its_edits(model, clip):
    plain = model(clip)
    with mute(model, "forward"):
        muted = model(clip)

    async def runs():
        found = []
        for _ in range(5):
            await asyncio.sleep(0)
            found.append(model(clip))
        return found

    async def edited():
        with mute(model, "forward"):
            inside = asyncio.create_task(runs())
            return inside, await runs()

    async def both():
        (inside, first), second = await asyncio.gather(edited(), runs())
        return await inside, first, second

    with ThreadPoolExecutor(1) as pool:  # a browser's loop may be running in this thread
        logits = pool.submit(asyncio.run, both()).result()
    for found, wanted in zip(logits, (muted, muted, plain), strict=True):
        assert all(torch.equal(each, wanted) for each in found)


def test_a_thread_started_in_a_block_takes_its_edits_only_in_a_copy_of_the_context():
    slot, seen = Slot(), []
    with editing((slot, 1)):
        for target in (lambda run: run(), contextvars.copy_context().run):
            thread = Thread(target=target, args=(lambda: seen.append(slot.values),))
            thread.start()
            thread.join()
    assert seen == [(), (1,)]


def test_blocks_may_be_left_in_any_order_and_each_takes_its_own_values_along():
    slot, other = Slot(), Slot()
    first, second = editing((slot, 1), (other, 2)), editing((slot, 1))
    with editing((slot, 0)):
        first.__enter__()
        second.__enter__()
        assert slot.values == (0, 1, 1) and other.values == (2,) and slot.last(None) == 1
        first.__exit__(None, None, None)
        assert slot.values == (0, 1) and not other and other.last(5) == 5
    assert slot.values == (1,)
    second.__exit__(None, None, None)
    assert not current().blocks


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, GeneratorExit])
def test_nothing_stays_after_an_error_in_a_nested_block(model, error):
    with pytest.raises(error), mute(model, "forward"), model.recomputing():
        assert current().blocks and model.recompute
        with model.only_tokens([0, 1]):
            raise error
    assert not current().blocks and not model.recompute and model.kept_tokens is None


def test_a_block_in_a_generator_ends_with_it_even_in_another_thread():
    slot = Slot()

    def numbers():
        with editing((slot, 1)):
            yield from range(3)

    for _ in numbers():
        assert slot
    assert not slot
    abandoned = numbers()
    next(abandoned)
    with editing((slot, 2)):
        abandoned.close()
        assert slot.values == (2,)
    stranded = contextvars.copy_context().run(lambda: [iterator := numbers(), next(iterator)])[0]
    stranded.close()
    assert not current().blocks


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_block_that_is_run_twice_is_run_under_the_edits_of_its_forward(model, clip, elsewhere):
    past = record_past(model, -clip)
    found = []
    for recompute in (False, True):
        x = clip.clone().requires_grad_()
        with everything(model, past), model.recomputing(recompute):
            loss = model(x).square().sum()

        def back(x=x, loss=loss):
            with reset_state(model, 1):  # of no concern to a run that was made before
                return [torch.autograd.grad(loss, x, retain_graph=True)[0] for _ in range(2)]

        if elsewhere:
            with ThreadPoolExecutor(1) as pool:
                found += pool.submit(back).result()
        else:
            found += back()
    assert found[0].abs().max() > 0
    assert all(torch.equal(gradient, found[0]) for gradient in found)


def test_a_pinned_function_runs_under_its_edits_and_leaves_those_of_its_caller():
    slot = Slot()
    with editing((slot, 1)):
        read = pinned(lambda: slot.values)
    with editing((slot, 2)):
        assert read() == (1,) and slot.values == (2,)


def test_a_deep_copy_is_not_edited(model, clip):
    with mute(model, "forward"):
        assert torch.equal(copy.deepcopy(model)(clip), run_plain(model, clip))


def run_plain(model, clip):
    return contextvars.Context().run(model, clip)


@torch.no_grad()
def test_a_compiled_model_has_one_graph_unless_it_is_edited(model, clip, unchecked):
    torch.compiler.reset()
    plain = model(clip)
    whole = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.equal(whole(clip), plain)
    compiled = torch.compile(model, backend="eager")
    name = "layers.1.mixer.hook_z"
    for _ in range(2):
        assert torch.equal(compiled(clip), plain)
        with attached(model, [(name, lambda value, point: value + 1)]):
            edited = compiled(clip)
            assert torch.equal(edited, model(clip)) and not torch.equal(edited, plain)
