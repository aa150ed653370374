"""A folder of config.json and model.safetensors: old or new after every failure, never mixed."""

import errno
import json
import os
import resource
import signal
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.vmamba_explore.toys import shake, toy
from vmamba_explore import load_model
from vmamba_explore.model.checkpoints import CheckpointError, fingerprint, save_model
from vmamba_explore.model.videomamba import VideoMamba

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
STEPS = {"os.rename", "os.remove", "os.mkdir", "os.chmod", "os.truncate", "shutil.rmtree"}
SIZES = (0, 100, 700, 5000, 60_000)


def models():
    """An old model and a new one of the same shapes, with names of their own."""
    old, new = toy(), toy(change=shake)
    old.class_names, new.class_names = tuple("abcde"), tuple("vwxyz")
    return old, new


def identity(model):
    return fingerprint(model), model.class_names


def save_without_mark(model, folder):
    """Write the folder as it was written before the weights held the configuration."""
    folder.mkdir()
    save_file(model.state_dict(), folder / "model.safetensors")
    fields = model.config.to_dict() | {"class_names": list(model.class_names)}
    (folder / "config.json").write_text(json.dumps(fields))


ENDED, FAILED, CRASHED, UNTOUCHED = 0, 3, 4, 5


def in_a_child(work):
    """Run a function in a forked process and return its exit status, negative for a signal."""
    child = os.fork()
    if not child:
        try:
            os._exit(work() or ENDED)
        except OSError:
            os._exit(FAILED)
        except BaseException:
            os._exit(CRASHED)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def with_failure(save, model, folder, number, fail):
    """Save in a child that calls `fail` before the `number`-th change of something in the folder.

    Returns its exit status: UNTOUCHED where there are fewer changes.
    """
    left = number

    def hook(event, args):
        nonlocal left
        writes = (
            event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if (event in STEPS or writes) and str(args[0]).startswith(str(folder)):
            left -= 1
            if left == 0:
                fail()

    def work():
        sys.addaudithook(hook)
        save(model, folder)
        return UNTOUCHED if left > 0 else ENDED

    return in_a_child(work)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def disk_full():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("save", [save_model, VideoMamba.save_pretrained])
@pytest.mark.parametrize("before", [save_model, save_without_mark, VideoMamba.save_pretrained])
@pytest.mark.parametrize("fail", [die, disk_full])
def test_a_save_that_fails_at_any_step_leaves_the_old_model_or_the_new_one(
    tmp_path, save, before, fail
):
    old, new = models()
    found, status = [], None
    while status != UNTOUCHED:
        folder = tmp_path / str(len(found))
        before(old, folder)
        (folder / "notes.txt").write_text("mine")
        status = with_failure(save, new, folder, len(found) + 1, fail)
        assert status in (ENDED, UNTOUCHED, FAILED if fail is disk_full else -signal.SIGKILL)
        found.append(identity(load_model(folder)))
        assert (folder / "notes.txt").read_text() == "mine"
        assert fail is die or not list(folder.glob("*.part"))
    whole = [each == identity(new) for each in found]
    assert set(found) == {identity(old), identity(new)}
    assert whole.count(True) > 2  # the weights switch both, before config.json is written
    assert fail is disk_full or whole == sorted(whole)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fail", [die, disk_full])
def test_a_write_that_ends_in_the_middle_leaves_the_old_model_or_the_new_one(tmp_path, size, fail):
    old, new = models()
    save_model(old, tmp_path)

    def work():
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if fail is die else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        save_model(new, tmp_path)

    assert in_a_child(work) == (-signal.SIGXFSZ if fail is die else FAILED)
    assert identity(load_model(tmp_path)) == identity(old)


def test_a_first_save_that_fails_is_the_whole_model_or_none(tmp_path):
    _, new = models()
    outcomes, status = [], None
    while status != UNTOUCHED:
        folder = tmp_path / str(len(outcomes))
        status = with_failure(save_model, new, folder, len(outcomes) + 1, die)
        try:
            outcomes.append(identity(load_model(folder)))
        except CheckpointError as error:
            assert "lacks config.json" in str(error) or "not a file or folder" in str(error)
            outcomes.append(None)
    assert set(outcomes) == {None, identity(new)}


def test_a_save_after_a_killed_one_is_whole(tmp_path):
    old, new = models()
    save_model(old, tmp_path)
    stale = (tmp_path / "config.json").read_bytes()
    save_model(new, tmp_path)
    (tmp_path / "config.json").write_bytes(stale)  # as if it was killed between the two files
    assert identity(load_model(tmp_path)) == identity(new)
    other = toy(seed=3)
    other.class_names = tuple("klmno")
    save_model(other, tmp_path)
    assert identity(load_model(tmp_path)) == identity(other)


def test_a_configuration_of_other_weights_is_refused(tmp_path):
    old, new = models()
    save_model(old, tmp_path / "old")
    save_model(new, tmp_path / "new")
    (tmp_path / "new" / "config.json").write_bytes((tmp_path / "old" / "config.json").read_bytes())
    for load in (load_model, VideoMamba.from_pretrained):
        with pytest.raises(CheckpointError, match="was not saved with the weights beside it"):
            load(tmp_path / "new")
    (tmp_path / "new" / "config.json").unlink()  # as the message says
    assert identity(load_model(tmp_path / "new")) == identity(new)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"depth": 2}', "[" * 10**5 + "]" * 10**5])
def test_a_damaged_configuration_in_the_weights_is_a_sentence(tmp_path, content):
    old, _ = models()
    save_model(old, tmp_path)
    header = {"vmamba_explore.config": content}
    save_file(old.state_dict(), tmp_path / "model.safetensors", header)
    with pytest.raises(CheckpointError, match=r"model.safetensors .*JSON|nested|not saved with"):
        load_model(tmp_path)


def test_class_names_may_be_edited_in_the_file_and_old_folders_load(tmp_path):
    old, _ = models()
    save_without_mark(old, tmp_path / "old")
    assert identity(load_model(tmp_path / "old")) == identity(old)
    save_model(old, tmp_path / "new")
    config = tmp_path / "new" / "config.json"
    config.write_text(config.read_text().replace('"b"', '"better"'))
    assert load_model(tmp_path / "new").class_names == ("a", "better", "c", "d", "e")


def test_the_same_model_is_saved_in_the_same_bytes(tmp_path):
    for folder in ("one", "two"):
        save_model(models()[0], tmp_path / folder)
        save_model(models()[0], tmp_path / folder)
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


BIG = {
    "d_model": 10**9,
    "depth": 10**6,
    "num_frames": 10**9,
    "num_classes": 10**12,
    "img_size": 16 * 10**8,
    "d_state": 10**9,
    "d_conv": 10**9,
    "expand": 10**9,
    "dt_rank": 10**6,
    "in_channels": 10**9,
}


@pytest.mark.parametrize("changed", BIG)
@pytest.mark.parametrize("pos_embed", ["temporal_expanding", "none", "sinusoidal"])
def test_a_configuration_that_claims_more_than_the_file_has_is_refused_before_it_is_built(
    tmp_path, changed, pos_embed
):
    model = toy(pos_embed=pos_embed)
    model.class_names = tuple("abcde")
    save_without_mark(model, tmp_path / "toy")
    config = tmp_path / "toy" / "config.json"
    config.write_text(json.dumps(model.config.to_dict() | {changed: BIG[changed]}))
    made = []

    class Watched(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and not result.is_meta:
                made.append(result.nbytes)
            return result

    with Watched(), pytest.raises(CheckpointError) as caught:
        load_model(tmp_path / "toy")
    assert max(made, default=0) < 2**20
    assert len(str(caught.value)) < 1000


def test_tokens_over_the_limit_need_the_argument(tmp_path):
    model = toy(pos_embed="none", num_frames=4)
    model.class_names = tuple("abcde")
    save_without_mark(model, tmp_path / "toy")
    config = tmp_path / "toy" / "config.json"
    config.write_text(json.dumps(model.config.to_dict() | {"num_frames": 2**20}))
    needed = 4 * 32 * (2**19 * 4 + 1)
    with pytest.raises(CheckpointError, match=f"pass max_bytes={needed} to load_model"):
        load_model(tmp_path / "toy")
    found = load_model(tmp_path / "toy", max_bytes=needed)
    assert found.config.num_frames == 2**20
    assert VideoMamba.from_pretrained(tmp_path / "toy", max_bytes=needed).config == found.config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"depth": ' + "[" * 100_000 + "]" * 100_000 + "}", "is nested too deeply"),
        ('{"depth": 1' + "0" * 5000 + "}", "has an integer of more than 4,300 digits"),
        ('{"depth": 1' + "0" * 400 + "}", "depth must be an integer of at most 2,147,483,647"),
        ('{"d_model": 1' + "0" * 400 + "}", "d_model must be an integer of at most"),
        ('{"norm_eps": 1' + "0" * 400 + "}", "norm_eps must be a number above 0"),
        ('{"norm_eps": NaN}', "norm_eps must be a number above 0"),
        ('{"pos_embed": ["none"]}', "pos_embed must be one of"),
        ('{"class_names": ["' + "a" * 5000 + '"]}', r"class_names\[0\] has 5,000 letters"),
        ('{"class_names": ["a", "b\\ud800"]}', r"class_names\[1\].*half of a surrogate pair"),
        ('{"' + "x" * 5000 + '": 1}', "unexpected keyword argument"),
        ("\ufeff{}", "do not fit"),
    ],
)
def test_odd_json_is_refused_in_a_short_sentence(tmp_path, text, message, unchecked):
    old, _ = models()
    save_without_mark(old, tmp_path / "toy")
    (tmp_path / "toy" / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(tmp_path / "toy")
    assert len(str(caught.value)) < 600 and str(caught.value).isprintable()


CASES = Path(__file__).parents[4] / "shared" / "cases" / "checkpoints"


@pytest.mark.skipif(not CASES.is_dir(), reason="the collection of failing inputs is not here")
def test_every_case_of_the_collection_is_refused_by_name(tmp_path):
    for case in sorted(CASES.iterdir()):
        path = case
        if case.suffix != ".pth":
            path = tmp_path / case.name
            save_without_mark(models()[0], path)  # with it, the mark alone would refuse
            (path / "config.json").write_bytes(case.read_bytes())
        with pytest.raises(CheckpointError) as caught:
            load_model(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
