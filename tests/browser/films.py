"""Small video files that a browser may or may not read, made by ffmpeg."""

import pathlib
import shutil
import subprocess

PATTERN = "testsrc2=size=320x240"
FILMS = {
    "vp8.webm": f"-f lavfi -i {PATTERN}:rate=24:duration=3 -c:v libvpx -b:v 2M -cpu-used 8",
    "vp9.webm": f"-f lavfi -i {PATTERN}:rate=30:duration=3 -c:v libvpx-vp9 -b:v 1M -cpu-used 8",
    "fast.webm": f"-f lavfi -i {PATTERN}:rate=60:duration=2 -c:v libvpx-vp9 -b:v 1M -cpu-used 8",
    "wide.webm": "-f lavfi -i mandelbrot=size=640x360:rate=25 -t 2 -c:v libvpx -b:v 2M -cpu-used 8",
    "ntsc.mp4": f"-f lavfi -i {PATTERN}:rate=30000/1001:duration=12 -c:v libx264 -bf 3",
    "one.webm": f"-f lavfi -i {PATTERN}:rate=25 -frames:v 1 -c:v libvpx",
    "two.webm": f"-f lavfi -i {PATTERN}:rate=25 -frames:v 2 -c:v libvpx",
    "stretched.mp4": f"-f lavfi -i {PATTERN}:rate=25:duration=2 -c:v libx264 -vf setsar=4/3",
    "sound.webm": "-f lavfi -i sine -t 2 -c:a libopus",
    "old.avi": f"-f lavfi -i {PATTERN}:rate=25:duration=2 -c:v mpeg4",
    "large.webm": "-f lavfi -i testsrc2=size=3840x2160:rate=30 -frames:v 33 -c:v libvpx-vp9 "
    "-cpu-used 8 -deadline realtime -row-mt 1",
}
"""How each is made, by name."""


def make_film(name: str, folder: pathlib.Path, require) -> pathlib.Path:
    """Write a film of `FILMS`, a "turned.mp4", or a "piped.webm" without duration and index.

    Args:
        name: Which one.
        folder: Where; one that is there is not made again.
        require: The fixture.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        require("ffmpeg", "there is no ffmpeg on this machine")
    path = folder / name
    if path.exists():
        return path
    call = [program, "-v", "error", "-y"]
    pixels = ["-pix_fmt", "yuv420p"]
    if name == "turned.mp4":
        upright = folder / "upright.mp4"
        words = f"-f lavfi -i {PATTERN}:rate=25:duration=2 -c:v libx264".split()
        subprocess.run([*call, *words, *pixels, upright], check=True)
        turn = ["-c", "copy", "-metadata:s:v:0", "rotate=90"]
        subprocess.run([*call, "-i", upright, *turn, path], check=True)
    elif name == "piped.webm":
        words = f"-f lavfi -i {PATTERN}:rate=25:duration=2 -c:v libvpx -f webm".split()
        done = subprocess.run([*call, *words, "pipe:1"], check=True, capture_output=True)
        path.write_bytes(done.stdout)
    else:
        words = FILMS[name].split()
        subprocess.run([*call, *words, *([] if "-c:a" in words else pixels), path], check=True)
    return path
