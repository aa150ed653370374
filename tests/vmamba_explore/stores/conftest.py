"""A small model, small films that are labeled by the folders they are in, and a hash of a store."""

import hashlib

import numpy as np
import pytest

from tests.vmamba_explore.toys import enliven, toy
from vmamba_explore.clips.encode import write_clip
from vmamba_explore.datasets.lists import from_folders


def write_films(root, count):
    """Write films of noise, 32 pixels wide and 12 frames long, in two folders."""
    for number in range(count):
        small = np.random.default_rng(number).integers(0, 255, (12, 4, 4, 3), np.uint8)
        film = root / ("calm" if number % 2 else "wild") / f"{number:02}.mp4"
        write_clip(film, small.repeat(8, 1).repeat(8, 2))


@pytest.fixture
def model():
    """Return a small model whose states move its logits."""
    return toy(change=enliven)


@pytest.fixture(scope="session")
def films(tmp_path_factory):
    """Return a folder of twelve films in two classes."""
    root = tmp_path_factory.mktemp("films") / "films"
    write_films(root, 12)
    return root


@pytest.fixture
def videos(films):
    """Return the films as a list, calm ones first."""
    return from_folders(films)


def bytes_of(store):
    """A hash of every file of a store, by its name in it."""
    return {
        path.relative_to(store).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.rglob("*"))
        if path.is_file()
    }
