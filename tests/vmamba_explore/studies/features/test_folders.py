from vmamba_explore import MotionClips
from vmamba_explore.datasets.lists import from_folders
from vmamba_explore.studies.features.folders import write_folders


def test_clips_are_listed_again_with_their_classes(tmp_path):
    series = MotionClips(4)
    write_folders(series, 5, tmp_path / "clips")
    listed = from_folders(tmp_path / "clips")
    found = {video.path.stem: listed.class_names[video.label] for video in listed.videos}
    assert found == {f"{n:04}": series[n].class_name for n in range(5)}
