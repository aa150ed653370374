import json

import pytest

from vmamba_explore import resources
from vmamba_explore.datasets.lists import (
    VideoList,
    from_csv,
    from_folders,
    from_hmdb51,
    from_ssv2,
    letters,
    read_list,
)


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def listed(found, root):
    return {(str(v.path.relative_to(root)), found.class_names[v.label]) for v in found.videos}


def test_class_folders_are_classes_in_alphabetical_order(tmp_path):
    touch(
        tmp_path, "walk/b.mp4", "jump/deep/er/a.AVI", "walk/notes.txt", ".cache/x.mp4", "loose.mp4"
    )
    (tmp_path / "empty").mkdir()
    found = from_folders(tmp_path)
    assert found.class_names == ("jump", "walk")
    assert listed(found, tmp_path) == {("jump/deep/er/a.AVI", "jump"), ("walk/b.mp4", "walk")}


def test_a_folder_without_videos_and_no_folder_are_said_to_be_so(tmp_path):
    (tmp_path / "walk").mkdir()
    with pytest.raises(ValueError, match="holds no ROOT/CLASS/video file"):
        from_folders(tmp_path)
    with pytest.raises(ValueError, match="nowhere is not a folder"):
        from_folders(tmp_path / "nowhere")


def test_the_official_kinetics_list_finds_its_cut_files(tmp_path):
    (tmp_path / "train.csv").write_text(
        "label,youtube_id,time_start,time_end,split\n"
        "tai chi,-abc_DEF012,10,20,train\n"
        '"eating, fast",xyz,3,13,train\n'
        "tai chi,gone,0,10,train\n"
    )
    touch(tmp_path / "v", "tai chi/-abc_DEF012_000010_000020.mp4", "flat/xyz.mkv")
    found = from_csv(tmp_path / "train.csv", tmp_path / "v")
    assert found.class_names == ("eating, fast", "tai chi")
    assert listed(found, tmp_path / "v") == {
        ("tai chi/-abc_DEF012_000010_000020.mp4", "tai chi"),
        ("flat/xyz.mkv", "eating, fast"),
    }
    assert [path.name for path in found.missing] == ["gone_000000_000010.mp4"]


@pytest.mark.parametrize(
    ("text", "names", "labels"),
    [
        *((line + "\n\n", range(4), [3])
          for line in ("a dir/one, two.mp4 3", "a dir/one, two.mp4,3", "a dir/one, two.mp4\t3",
                       '"a dir/one, two.mp4",3', "a dir/one, two.mp4, 3")),
        ("a.mp4,run\nb.mp4,jump\n", ("jump", "run"), [1, 0]),  # names in alphabetical order
        ("a.mp4 tai chi\n", ("tai chi",), [0]),
        ("raw/one 1\na.mp4 0\n", range(2), [1, 0]),  # a file without an ending
        ("path,label\na.mp4,2\nb.mp4,10\nraw/one,0\n", range(11), [2, 10, 0]),
        ("path,label\na.mp4,run\nb.mp4,jump\n", ("jump", "run"), [1, 0]),
    ],
)  # fmt: skip
def test_lists_of_paths_and_labels_are_read_in_all_their_forms(tmp_path, text, names, labels):
    touch(tmp_path, "a dir/one, two.mp4", "a.mp4", "b.mp4", "raw/one")
    (tmp_path / "list.txt").write_text(text)
    found = from_csv(tmp_path / "list.txt")
    assert found.class_names == tuple(f"class {n}" if isinstance(n, int) else n for n in names)
    assert [v.label for v in found.videos] == labels and not found.missing


def test_numbers_get_the_names_that_are_given_and_no_others(tmp_path, caplog):
    touch(tmp_path, "one.mp4")
    (tmp_path / "list.csv").write_text("one.mp4 1\n")
    found = from_csv(tmp_path / "list.csv", class_names=["run", "sit"])
    assert listed(found, tmp_path) == {("one.mp4", "sit")}
    assert "taken as places among 2 names: 0 is 'run', 1 is 'sit'" in caplog.text
    with pytest.raises(ValueError, match="label '1', which is none of the 1 class_names"):
        from_csv(tmp_path / "list.csv", class_names=["run"])


def test_a_list_that_is_no_text_says_so(tmp_path):
    (tmp_path / "list.csv").write_bytes(b"one.mp4,caf\xe9\n")
    with pytest.raises(ValueError, match="from_csv: .*list.csv is not text in UTF-8 .* byte 11"):
        from_csv(tmp_path / "list.csv")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("youtube_id,time_start,time_end,split\nx,0,10,test\n", "line 2: expected label, youtube"),
        ("one.mp4 1\nonlyapath.mp4\n", "line 2: expected a path and a label, got 'onlyapath.mp4'"),
        ("label,youtube_id,time_start\nrun,x,zero\n", "line 2: expected label, youtube_id"),
        ("one.mp4 1\n", "lists 1 videos and none is there; the first missing one is .*one.mp4"),
        ("", "lists 0 videos and none is there"),
        ("one.mp4 -1\n", "label '-1', which names no class"),
        ("one.mp4 300 5\n", "line 1: expected a path and a label, got two numbers behind"),
    ],
)
def test_a_bad_list_says_where(tmp_path, text, words):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        from_csv(tmp_path / "list.csv")


@pytest.fixture
def ssv2(tmp_path):
    labels = {"Holding something": "0", "Putting something next to something": "1"}
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    entries = [
        {"id": "7", "label": "putting a pen next to a cup",
         "template": "Putting [something] next to [something]"},
        {"id": "12", "label": "holding a cat", "template": "Holding [something]"},
        {"id": "99", "label": "holding a dog", "template": "Holding [something]"},
    ]  # fmt: skip
    (tmp_path / "train.json").write_text(json.dumps(entries))
    touch(tmp_path / "v", "7.webm", "12.mp4")
    return tmp_path


def test_something_something_is_read_by_its_templates(ssv2):
    found = from_ssv2(ssv2 / "train.json", ssv2 / "labels.json", ssv2 / "v")
    assert listed(found, ssv2 / "v") == {
        ("7.webm", "Putting something next to something"),
        ("12.mp4", "Holding something"),
    }
    assert [path.name for path in found.missing] == ["99.webm"]
    assert found.class_names[1] == "Putting something next to something"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("train.json", "[{]", "train.json is not JSON"),
        ("train.json", "{}", "holds a JSON dict, expected a list"),
        ("train.json", "[" * 100_000 + "]" * 100_000, "train.json is nested too deeply"),
        ("train.json", "[1" + "0" * 5000 + "]", "has an integer of more than 4,300 digits"),
        (
            "train.json",
            '[{"id": "7", "template": "Eating [something]"}]',
            "entry 0: expected an id",
        ),
        ("labels.json", '{"Holding something": "1"}', "numbers its 1 labels otherwise than 0 to 0"),
        ("labels.json", '{"Holding something": null}', "numbers its 1 labels otherwise"),
        ("labels.json", '{"Holding something": "first"}', "numbers its 1 labels otherwise"),
    ],
)
def test_a_bad_something_something_file_says_where(ssv2, name, text, words):
    (ssv2 / name).write_text(text)
    with pytest.raises(ValueError, match=words):
        from_ssv2(ssv2 / "train.json", ssv2 / "labels.json", ssv2 / "v")


def test_hmdb51_splits_give_their_parts(tmp_path):
    splits, root = tmp_path / "splits", tmp_path / "v"
    touch(root, "run/a, b.avi", "run/c.avi", "run/d.avi", "chew/e.avi")
    splits.mkdir()
    (splits / "run_test_split1.txt").write_text("a, b.avi 1 \nc.avi 2 \nd.avi 0 \n")
    (splits / "chew_test_split1.txt").write_text("e.avi 1\n")
    (splits / "run_test_split2.txt").write_text("c.avi 1 \n")
    train = from_hmdb51(splits, root)
    assert train.class_names == ("chew", "run")
    assert listed(train, root) == {("run/a, b.avi", "run"), ("chew/e.avi", "chew")}
    test = from_hmdb51(splits, root, part="test")
    assert listed(test, root) == {("run/c.avi", "run")} and test.class_names == ("chew", "run")
    with pytest.raises(ValueError, match="holds no file CLASS_test_split3.txt"):
        from_hmdb51(splits, root, split=3)


def test_labels_follow_another_order_of_names_however_these_are_written(tmp_path):
    touch(tmp_path, "Tai_Chi/a.mp4", "eating/b.mp4")
    found = from_folders(tmp_path).numbered_as(["tai chi", "run", "eating"])
    assert listed(found, tmp_path) == {("Tai_Chi/a.mp4", "tai chi"), ("eating/b.mp4", "eating")}
    assert [video.label for video in found.videos] == [0, 2]


def test_names_that_signs_alone_tell_apart_are_not_mixed_up(tmp_path):
    touch(tmp_path, "turn +90/a.mp4", "turn -90/b.mp4")
    found = from_folders(tmp_path)
    assert found.numbered_as(found.class_names) == found
    turned = found.numbered_as(found.class_names[::-1])
    assert [video.label for video in turned.videos] == [1, 0]
    for others in (["turn_+90", "turn_-90"], ["turn +90", "turn 90"], ["turn 90"]):
        with pytest.raises(ValueError, match="which class is which cannot be told"):
            found.numbered_as(others)


def test_a_class_that_is_not_among_the_wanted_is_refused(tmp_path):
    touch(tmp_path, "sit/a.mp4", "run/b.mp4")
    with pytest.raises(ValueError, match="1 of the 2 classes of .* not among the 1 wanted, 'sit'"):
        from_folders(tmp_path).numbered_as(["run"])


def test_numbers_without_names_are_known_to_be_so():
    assert VideoList((), ("class 0", "class 1"), "x").unnamed
    assert not VideoList((), ("run", "class 1"), "x").unnamed


def test_no_two_public_class_names_are_told_apart_by_signs_alone():
    for name in ("kinetics400", "ssv2"):
        names = resources.path(f"labels/{name}.txt").read_text().splitlines()
        assert len({letters(n) for n in names}) == len(names)


@pytest.mark.parametrize(
    "words", ["folders", "folders:a,b", "kinetic:a.csv", "ssv2:a.json,b.json", "hmdb51:splits"]
)
def test_data_that_is_not_understood_is_told_the_four_ways(words, unchecked):
    with pytest.raises(ValueError, match="is none of folders:ROOT, kinetics:LIST.csv"):
        read_list(words)


def test_a_kinetics_list_takes_the_numbers_of_the_classes_it_is_given(video_folders, tmp_path):
    (tmp_path / "list.csv").write_text("dark/0.mp4,dark\n")
    words = f"kinetics:{tmp_path / 'list.csv'},{video_folders / 'test'}"
    assert read_list(words).videos[0].label == 0
    assert read_list(words, ("bright", "dark")).videos[0].label == 1


def test_hmdb51_takes_split_and_part(video_folders, tmp_path):
    for name in ("bright", "dark"):
        lines = "0.mp4 1\n1.mp4 2\n2.mp4 2\n"
        (tmp_path / f"{name}_test_split2.txt").write_text(lines)
    words = f"hmdb51:{tmp_path},{video_folders / 'test'},2"
    assert len(read_list(words)) == 2 and len(read_list(words + ",test")) == 4
    assert len(read_list(words, part="test")) == 4 and len(read_list(words + ",train")) == 2
    with pytest.raises(ValueError, match="the split is 'one', expected 1, 2 or 3"):
        read_list(words[:-1] + "one")


@pytest.mark.parametrize(
    "text",
    ["one.mp4;tai chi\r\nb.mp4;run\r\n", '"one.mp4";"tai chi"\n"b.mp4";"run"\n',
     "one.mp4\ttai chi\nb.mp4\trun\n", "one.mp4,tai chi\rb.mp4,run\r",
     "path;label;;\none.mp4;tai chi;;\n;;;\nb.mp4;run;;\n"],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_list_is_read_as_spreadsheets_save_it(tmp_path, text, encoding):
    touch(tmp_path, "one.mp4", "b.mp4")
    (tmp_path / "list.csv").write_bytes(text.encode(encoding))
    found = from_csv(tmp_path / "list.csv")
    assert listed(found, tmp_path) == {("one.mp4", "tai chi"), ("b.mp4", "run")}


def test_an_official_list_is_read_as_a_european_spreadsheet_saves_it(tmp_path):
    touch(tmp_path, "x_000003_000013.mp4")
    (tmp_path / "list.csv").write_text(
        "\ufefflabel;youtube_id;time_start;time_end;split\r\nrun;x;3,0;13,0;train\r\n;;;;\r\n"
    )
    found = from_csv(tmp_path / "list.csv")
    assert listed(found, tmp_path) == {("x_000003_000013.mp4", "run")}


def test_names_may_hold_line_separators_of_unicode(tmp_path):
    touch(tmp_path, "a\u2028b.mp4", "c\x85d.mp4")
    (tmp_path / "list.csv").write_text("a\u2028b.mp4,1\nc\x85d.mp4,0\n", encoding="utf-8")
    assert [video.label for video in from_csv(tmp_path / "list.csv").videos] == [1, 0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("one.mp4," + "9" * 5000, "label 999.* expected numbers below 100000, or names"),
        ("one.mp4,1000000000", "label 1000000000, expected numbers below 100000"),
        ("one.mp4,a\0b", "is not a text file: it holds a NUL at character 9"),
        ('"one.mp4","' + "a" * 200_000 + '"', "line 1: field larger than field limit"),
        ("youtube_id,label,time_start,time_end\nx,run,1e400,3", "line 2: expected label, youtube"),
        ("youtube_id,label,time_start,time_end\nx,run,inf,3", "line 2: expected label, youtube"),
        ("youtube_id,label,time_start,time_end\nx,run\n", "line 2: expected label, youtube"),
    ],
)
@pytest.mark.parametrize("names", [None, ["run", "sit"]])
def test_what_no_list_can_mean_is_one_short_sentence(tmp_path, text, words, names):
    touch(tmp_path, "one.mp4")
    (tmp_path / "list.csv").write_text(text)
    if names is not None and "label" in words and "expected numbers" in words:
        words = "has the label '?[19].*none of the 2 class_names"
    with pytest.raises(ValueError, match=words) as caught:
        from_csv(tmp_path / "list.csv", class_names=names)
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)
