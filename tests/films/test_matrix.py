import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.films import films, judge, matrix

pytestmark = pytest.mark.films


@pytest.fixture(scope="module")
def make(request, require, tmp_path_factory):
    """Return a function that waits for a film: all that tests need are made, some at once."""
    if shutil.which("ffmpeg") is None:
        require("ffmpeg", "there is no ffmpeg command on this machine")
    folder = tmp_path_factory.mktemp("films")
    films.pictures(folder)
    items = [item for item in request.session.items if item.path == request.path]
    names = {item.callspec.params["name"] for item in items}
    chosen = [film for name, film in matrix.FILMS.items() if name in names]
    wanted = [film for film in chosen if film.encoders <= films.available_encoders()]
    with ThreadPoolExecutor(2) as pool:
        paths = {film.name: pool.submit(film.make, folder) for film in wanted}
        yield lambda film: paths[film.name].result()
        for path in paths.values():
            path.cancel()


@pytest.mark.parametrize("name", matrix.FILMS)
def test_both_readers_show_the_number_in_the_picture(name, make):
    film = matrix.FILMS[name]
    if missing := film.encoders - films.available_encoders():
        pytest.skip(f"the ffmpeg command has no encoder {', '.join(missing)}")
    verdict = judge.judge(make(film), film)
    assert not verdict.findings, "\n".join(verdict.findings)
