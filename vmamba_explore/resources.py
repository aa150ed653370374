"""Where the bundled files are: clips, the demo model, labels."""

from __future__ import annotations

from pathlib import Path

from vmamba_explore.errors import shown

_PACKAGE = Path(__file__).resolve().parent

CLIPS = (
    "right",
    "right_twin",
    "clockwise",
    "vanish",
    "approach_with_distractor",
    "up_with_distractor",
    "recall_red_blue",
    "recall_yellow_blue",
    "recall_green_blue_with_distractors",
    "city",
    "camera_pan_right",
    "camera_zoom_in",
    "camera_roll_clockwise",
    "camera_cut",
)
"""Names of the bundled clips, `data/clips/NAME.mp4`, in the order in which to offer them."""


def data_dir() -> Path:
    """The folder of bundled files: `data/` of a checkout, else the one inside the package."""
    checkout = _PACKAGE.parent
    return checkout / "data" if (checkout / "pyproject.toml").is_file() else _PACKAGE / "data"


def path(name: str) -> Path:
    """Find one bundled file or folder, e.g. `path("clips/right.mp4")`.

    Raises:
        FileNotFoundError: no such file; the message lists what its folder holds.
    """
    found = data_dir() / name
    if not found.exists():
        folder = found.parent if found.parent.is_dir() else data_dir()
        held = ", ".join(sorted(p.name for p in folder.iterdir())) if folder.is_dir() else "nothing"
        raise FileNotFoundError(f"No bundled file {shown(name)}. {folder} holds: {held}.")
    return found
