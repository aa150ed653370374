"""Training of features on vectors with a known dictionary; stopping and resuming."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from tests.vmamba_explore.analysis.features.planted import planted
from vmamba_explore.analysis.features.fit import CHECKPOINT, train_features
from vmamba_explore.analysis.features.sae import load_features

ASKED = {"width": 40, "k": 2, "steps": 1500, "batch_size": 256}
SHORT = {"width": 24, "k": 2, "steps": 30, "batch_size": 64, "checkpoint_every": 7}


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_planted_directions_are_found(kind):
    rows, directions = planted()
    found = train_features(rows, kind=kind, **ASKED)
    cosines = (directions @ found.decoder.detach().T).max(1).values
    # measured: topk mean 0.98, batchtopk 0.98; random directions reach 0.50
    assert cosines.mean() > 0.95
    vectors = rows.rows(range(len(rows)))
    codes = found.encode(vectors)
    left = found.decode(codes) - vectors
    unexplained = left.square().sum() / (vectors - vectors.mean(0)).square().sum()
    assert unexplained < 0.1
    assert (codes > 0).float().sum(1).mean() == pytest.approx(2, abs=0.2)


def test_directions_keep_length_one():
    found = train_features(planted()[0], **SHORT)
    assert torch.allclose(found.decoder.norm(dim=1), torch.ones(24), atol=1e-5)


def test_a_run_that_was_stopped_ends_with_the_same_bits(tmp_path):
    rows = planted()[0]
    whole = train_features(rows, **SHORT)
    train_features(rows, path=tmp_path, until=17, **SHORT)
    assert [file.name for file in tmp_path.iterdir()] == [CHECKPOINT]
    resumed = train_features(rows, path=tmp_path, **SHORT)
    assert same(whole, resumed)
    assert torch.equal(whole.threshold, resumed.threshold)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "features.json", "features.safetensors",
    ]  # fmt: skip
    assert same(load_features(tmp_path), whole)


RUN = """
from tests.vmamba_explore.analysis.features.planted import planted
from tests.vmamba_explore.analysis.features.test_fit import SHORT
from vmamba_explore.analysis.features.fit import train_features
train_features(planted()[0], path={path!r}, **SHORT | {{"steps": 3000, "checkpoint_every": 20}})
"""


@pytest.mark.kill
def test_a_run_that_was_killed_ends_with_the_same_bits(tmp_path):
    asked = SHORT | {"steps": 3000, "checkpoint_every": 20}
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    code = RUN.format(path=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as run:
        while not (tmp_path / CHECKPOINT).exists() and run.poll() is None:
            time.sleep(0.01)
        time.sleep(0.2)
        run.kill()
    assert run.returncode == -signal.SIGKILL
    assert not (tmp_path / "features.safetensors").exists()
    rows = planted()[0]
    assert same(train_features(rows, path=tmp_path, **asked), train_features(rows, **asked))


def test_features_that_are_done_are_returned_without_training(tmp_path, monkeypatch):
    rows = planted()[0]
    done = train_features(rows, path=tmp_path, **SHORT)
    monkeypatch.setattr("vmamba_explore.analysis.features.fit._Run.advance", lambda *_: 1 / 0)
    assert same(train_features(rows, path=tmp_path, **SHORT), done)


def test_another_seed_gives_other_features_and_the_same_seed_the_same():
    rows = planted()[0]
    one, again, other = (train_features(rows, seed=seed, **SHORT) for seed in (0, 0, 1))
    assert same(one, again)
    assert not same(one, other)


@pytest.mark.parametrize("until", [17, None])
def test_a_folder_of_other_settings_or_data_is_refused(tmp_path, until):
    rows = planted()[0]
    train_features(rows, path=tmp_path, until=until, **SHORT)
    with pytest.raises(ValueError, match="holds features with k = 2, and 3 is asked for"):
        train_features(rows, path=tmp_path, **SHORT | {"k": 3})
    with pytest.raises(ValueError, match="holds features with data = "):
        train_features(planted(seed=3)[0], path=tmp_path, **SHORT)


def test_features_that_died_come_back_with_the_auxiliary_loss():
    rows, _ = planted(true=60)
    asked = {"width": 80, "k": 2, "steps": 600, "batch_size": 128, "dead_after": 2000}
    vectors = rows.rows(range(len(rows)))

    def dead(aux):
        codes = train_features(rows, aux=aux, learning_rate=0.05, **asked).encode(vectors)
        return float(((codes > 0).sum(0) == 0).float().mean())

    # measured: 0.26 and 0.46
    assert dead(1 / 32) < dead(0.0) - 0.1


def test_vectors_that_are_all_the_same_are_refused():
    rows = planted(videos=2)[0]
    rows.values[:] = 1
    with pytest.raises(ValueError, match="all vectors are the same"):
        train_features(rows, **SHORT)


@pytest.mark.parametrize("wrong", [{"width": 0}, {"k": 0}, {"steps": 0}, {"seed": -1}])
def test_a_setting_below_its_least_value_is_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*, expected [01] or more"):
        train_features(planted(videos=2)[0], **SHORT | wrong)
