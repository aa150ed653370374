"""The page for teachers says what the notebooks say of themselves."""

import json
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
ROW = re.compile(r"^\| \[(\d\d)\]\(\.\./(notebooks/\S+?)\) \| (.+?) \| (\d+) \| ", re.MULTILINE)


def test_every_notebook_is_there_with_its_question_and_its_minutes():
    rows = ROW.findall((ROOT / "docs" / "teaching.md").read_text("utf-8"))
    assert [path for _, path, _, _ in rows] == [
        path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
    ]
    for number, path, question, minutes in rows:
        first = "".join(json.loads((ROOT / path).read_text("utf-8"))["cells"][0]["source"])
        assert pathlib.Path(path).name.startswith(number)
        assert f"**Time** about {minutes} minutes" in first, path
        title = first.splitlines()[0].removeprefix("# ")
        assert title == question or not title.endswith("?"), path
