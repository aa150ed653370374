import pytest

from vmamba_explore import resources


def test_a_bundled_file_is_found_and_a_missing_one_lists_its_folder():
    assert resources.path("SOURCES.md").is_file()
    with pytest.raises(FileNotFoundError, match=r"No bundled file 'clips/cat.mp4'.*right.mp4"):
        resources.path("clips/cat.mp4")


def test_an_installed_package_looks_inside_itself(monkeypatch, tmp_path):
    package = tmp_path / "vmamba_explore"
    (package / "data").mkdir(parents=True)
    monkeypatch.setattr(resources, "_PACKAGE", package)
    assert resources.data_dir() == package / "data"
    (tmp_path / "pyproject.toml").touch()
    assert resources.data_dir() == tmp_path / "data"
