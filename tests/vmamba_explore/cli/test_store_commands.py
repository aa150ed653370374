"""Stores from the command line: options reach the store, mistakes are one line."""

import numpy as np
import pytest
import xarray as xr

from tests.vmamba_explore.stores.conftest import write_films
from tests.vmamba_explore.stores.stores import made, write_film
from tests.vmamba_explore.toys import enliven, toy
from vmamba_explore import extract, load_model
from vmamba_explore.cli import main


@pytest.fixture
def words(tmp_path):
    """Return the words of a command that stores the embeddings of four films."""
    write_films(tmp_path / "films", 4)
    toy(change=enliven).save_pretrained(tmp_path / "model")
    given = {
        "--data": f"folders:{tmp_path / 'films'}",
        "--model": str(tmp_path / "model"),
        "--output": str(tmp_path / "states.zarr"),
    }
    return ["extract", *(word for pair in given.items() for word in pair)]


def test_extract_writes_a_store_that_knows_how_to_load_its_model(words, tmp_path, capsys):
    asked = ["--quantities", "embedding,delta:mean:float16", "--clips-per-video", "2"]
    assert main([*words, *asked, "--stride", "1"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'states.zarr'}  4 of 4 videos\n"
    states = xr.open_zarr(tmp_path / "states.zarr", consolidated=False)
    assert states["delta"].dtype == "float16" and states["delta"].dims[-1] == "frame"
    assert dict(states.sizes)["clip"] == 2 and states.attrs["sampling"]["stride"] == 1
    loaded = load_model(**states.attrs["model"]["loaded_by"])
    assert loaded.config.to_dict() == states.attrs["model"]["config"]


def test_a_dry_run_says_what_it_takes_and_writes_nothing(words, tmp_path, capsys):
    assert main([*words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "4 videos, 1 clip each" in said and "s here (mean of 4)" in said
    assert not (tmp_path / "states.zarr").exists()


def test_a_broken_video_is_counted_and_the_exit_code_is_0(words, tmp_path, capsys):
    (tmp_path / "films" / "calm" / "01.mp4").write_bytes(b"no film")
    assert main(words) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("3 of 4 videos") and said[1].startswith("not read: 1, see `error`")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--quantities", "dleta"], "there is no quantity 'dleta'"),
        (["--quantities", "delta:sum"], "'sum' is not part of a request"),
        (["--clips-per-video", "2", "--stride", "spread"], "clips_per_video is 2, expected"),
        (["--workers", "1", "--scheduler", "tcp://127.0.0.1:9"], "expected one of the two"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_store(words, tmp_path, capsys, more, message):
    assert main([*words, *more]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "states.zarr").exists()


def test_an_interrupt_says_so_and_the_same_command_resumes(words, tmp_path, capsys, monkeypatch):
    from vmamba_explore.stores.layout import StateStore

    write, count = StateStore.write, []

    def interrupted(self, number, values):
        write(self, number, values)
        count.append(number)
        if len(count) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(StateStore, "write", interrupted)
    assert main(words) == 130
    assert "interrupted" in capsys.readouterr().err
    assert main(words) == 0
    assert count == [0, 1, 2, 3]


@pytest.fixture
def store(tmp_path):
    """A store of three films of a model in a folder."""
    model = toy(change=enliven)
    model.save_pretrained(tmp_path / "model")
    for number in range(3):
        write_film(tmp_path / "films" / f"{number}.mp4", number)
    paths = [tmp_path / "films" / f"{number}.mp4" for number in range(3)]
    extract(str(tmp_path / "model"), paths, tmp_path / "s.zarr", stride=1, progress=False)
    return tmp_path / "s.zarr"


@pytest.mark.parametrize("query", ["1", "films/1.mp4"])
def test_nearest_prints_neighbors_and_writes_their_page(
    query, store, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["nearest", str(store), query, "-k", "2", "--output", "page.html"]) == 0
    *lines, page = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[1] for line in lines) == ["0", "2"]
    assert page == "page.html" and "Most like 1.mp4" in (tmp_path / page).read_text("utf-8")


def test_row_writes_the_explorer_of_a_video(store, tmp_path, capsys):
    assert main(["row", str(store), "2", "--output", str(tmp_path / "row.html")]) == 0
    assert "2.mp4" in (tmp_path / "row.html").read_text("utf-8")


def test_probe_prints_scores_with_their_intervals(tmp_path, capsys):
    labels = np.arange(40) % 2
    values = np.random.default_rng(0).normal(size=(40, 1, 4)).astype(np.float32)
    values[:, 0, 0] += 5 * labels
    path = made(tmp_path / "s", {"embedding": values}, labels)
    assert main(["probe", str(path), "--folds", "4"]) == 0
    first, stored, shuffled, constant = capsys.readouterr().out.splitlines()
    assert first == "share of right answers, 40 videos in 4 folds"
    assert stored.split()[-1] == "stored" and float(stored.split()[0]) > 0.9
    assert shuffled.split()[-1] == "shuffled" and constant.split()[0] == "0.500"
    (tmp_path / "l.csv").write_text("path,up\n" + "\n".join(f"{n}.mp4,1" for n in range(40)))
    assert main(["probe", str(path), "--labels", str(tmp_path / "l.csv")]) == 2
    assert "all 40 videos are of one class, 1" in capsys.readouterr().err
