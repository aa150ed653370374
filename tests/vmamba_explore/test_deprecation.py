"""What is renamed keeps working for a while, and says what to write instead."""

import warnings

import pytest

from vmamba_explore.deprecation import renamed_arguments


@renamed_arguments(batch="batch_size")
def run(clips, batch_size=1):
    """Run clips."""
    return clips, batch_size


def test_an_old_argument_works_and_warns():
    with pytest.warns(FutureWarning, match=r"run\(batch=\) is called batch_size since"):
        assert run("a", batch=3) == ("a", 3)


def test_new_arguments_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run("a", batch_size=3) == run("a", 3) == ("a", 3)
    assert run.__doc__ == "Run clips."


def test_an_argument_given_twice_is_an_error():
    with pytest.raises(TypeError, match="run: got both batch and batch_size"):
        run("a", batch=3, batch_size=3)
