"""Fetch the photographs that `camera-nano` is trained on: `make photographs`.

They come from packages of wallpapers of Debian 12, each file with the license that the package
states (photographs.txt has all of them), and are not shipped. A file that differs from the one
listed is refused. Each is stored as a PNG whose shorter side has 600 pixels.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image
from tqdm.auto import tqdm

from vmamba_explore.clips.photographs import SHORT_SIDES, bundled
from vmamba_explore.errors import first_line, one_line
from vmamba_explore.files import atomic_write, output_path

logger = logging.getLogger(__name__)

FOLDER = Path("runs/photographs")
LIST = Path(__file__).with_suffix(".txt")


@dataclass(frozen=True)
class Photograph:
    """A file in a Debian package."""

    package: str
    license: str
    split: str
    sha256: str
    path: str

    def stored(self, folder: Path) -> Path:
        """Where the photograph lies once it is fetched."""
        return folder / f"{self.sha256[:16]}.png"


@cache
def listed() -> tuple[Photograph, ...]:
    """Every photograph, in the order of the list."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return tuple(Photograph(*line.split(" ", 4)) for line in lines if not line.startswith("#"))


def fetched(split: str, folder: Path = FOLDER) -> tuple[Path, ...]:
    """Paths of the photographs of a split, "train" or "test", scikit-image's included.

    Raises:
        FileNotFoundError: they have not been fetched.
    """
    paths = [photo.stored(folder) for photo in listed() if photo.split == split]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(paths)} photographs are not in {one_line(folder)}. "
            "Run `make photographs` on a machine with Debian's packages."
        )
    return (*paths, *bundled(split))


def fetch(folder: Path = FOLDER, packages: Path | None = None) -> None:
    """Download the packages and store their photographs, where that has not been done.

    Args:
        folder: Where the photographs go.
        packages: Folder of .deb files to read instead of downloading.
    Raises:
        RuntimeError: the packages cannot be had, or a file is not the one listed.
    """
    output_path(folder, "fetch", folder=True, parents=True)
    folder.mkdir(parents=True, exist_ok=True)
    for name in tqdm(sorted({photo.package for photo in listed()}), unit="package"):
        wanted = [p for p in listed() if p.package == name and not p.stored(folder).is_file()]
        if not wanted:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            _unpack(name, packages, Path(temporary))
            for photo in wanted:
                _store(photo, Path(temporary), folder)


def _unpack(name: str, packages: Path | None, folder: Path) -> None:
    """Put the files of a package below a folder."""
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise RuntimeError(
            f"fetch: {missing[0]} is not installed here. The photographs come from packages of "
            "Debian 12; run this on Debian or Ubuntu, or copy runs/photographs from such a machine."
        )
    try:
        if packages is None:
            download = ["apt-get", "download", "-qq", name]
            subprocess.run(download, cwd=folder, check=True, capture_output=True, text=True)
        else:
            for file in packages.glob(f"{name}_*.deb"):
                shutil.copy(file, folder)
        found = next(folder.glob(f"{name}_*.deb"), None)
        if found is None:
            raise RuntimeError(f"fetch: {one_line(str(packages))} has no package {name}.")
        subprocess.run(
            ["dpkg-deb", "-x", found, folder], check=True, capture_output=True, text=True
        )
    except subprocess.CalledProcessError as error:
        raise RuntimeError(
            f"fetch: the package {name} cannot be had ({first_line(error.stderr or error)}). "
            "Run `apt-get update` and try again."
        ) from None


def _store(photo: Photograph, unpacked: Path, folder: Path) -> None:
    """Check a file of a package and store it scaled down."""
    path = unpacked / "usr/share" / photo.path
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"
    if digest != photo.sha256:
        raise RuntimeError(
            f"fetch: {photo.path} of {photo.package} is {digest[:12]}, expected "
            f"{photo.sha256[:12]}. Another release of the package has other pictures; use "
            "Debian 12's."
        )
    image = Image.open(path).convert("RGB")
    ratio = min(1.0, SHORT_SIDES[-1] / min(image.size))
    size = (round(image.width * ratio), round(image.height * ratio))
    small = image.resize(size, Image.Resampling.LANCZOS)
    atomic_write(photo.stored(folder), lambda file: small.save(file, "PNG"))


def main() -> None:
    """Fetch every photograph."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--packages", type=Path, help="folder of .deb files, not to download them")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    fetch(options.folder, options.packages)
    logger.info("%d photographs are in %s", len(listed()), options.folder)


if __name__ == "__main__":
    main()
