import hashlib
import shutil
import subprocess

import pytest
from PIL import Image

from vmamba_explore.studies.subjects import photographs
from vmamba_explore.studies.subjects.photographs import Photograph, fetch, fetched, listed

PLAIN = {"CC0-1.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "GPL-2+"}


def test_every_photograph_has_a_plain_license_and_is_in_one_split():
    photos = listed()
    assert {photo.license for photo in photos} <= PLAIN
    assert {photo.split for photo in photos} == {"train", "test"}
    assert len({photo.sha256 for photo in photos}) == len(photos) == 46
    assert all(len(photo.sha256) == 64 for photo in photos)


def test_photographs_that_were_not_fetched_are_named_with_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="make photographs"):
        fetched("train", tmp_path)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with one photograph, which the list names."""
    if shutil.which("dpkg-deb") is None or shutil.which("apt-get") is None:
        pytest.skip("there are no Debian packages on this machine")
    root = tmp_path / "root"
    (root / "usr/share/backgrounds").mkdir(parents=True)
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/control").write_text(
        "Package: pictures\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x.org>\n"
        "Description: x\n"
    )
    picture = root / "usr/share/backgrounds/one.jpg"
    Image.linear_gradient("L").resize((1600, 1200)).save(picture)
    digest = hashlib.sha256(picture.read_bytes()).hexdigest()
    debs = tmp_path / "debs"
    debs.mkdir()
    command = ["dpkg-deb", "-b", str(root), str(debs / "pictures_1_all.deb")]
    subprocess.run(command, check=True, capture_output=True)
    photo = Photograph("pictures", "CC0-1.0", "test", digest, "backgrounds/one.jpg")
    monkeypatch.setattr(photographs, "listed", lambda: (photo,))
    return debs, photo


def test_a_photograph_is_stored_small_and_only_once(package, tmp_path):
    debs, photo = package
    folder = tmp_path / "photographs"
    fetch(folder, debs)
    assert Image.open(photo.stored(folder)).size == (800, 600)
    assert fetched("test", folder)[0] == photo.stored(folder)
    shutil.rmtree(debs)
    fetch(folder, debs)  # there is nothing left to do


def test_another_file_under_the_same_name_is_refused(package, tmp_path, monkeypatch):
    debs, photo = package
    other = Photograph(photo.package, photo.license, "test", "0" * 64, photo.path)
    monkeypatch.setattr(photographs, "listed", lambda: (other,))
    with pytest.raises(RuntimeError, match=r"one\.jpg of pictures is .*, expected 000000000000"):
        fetch(tmp_path / "photographs", debs)


def test_without_debian_tools_the_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(photographs.shutil, "which", lambda name: None)
    with pytest.raises(RuntimeError, match="apt-get is not installed here.*Debian 12"):
        fetch(tmp_path / "photographs")
