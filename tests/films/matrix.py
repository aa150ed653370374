"""Every film that both readers are held to, and a script that says how they do.

`python tests/films/matrix.py --measure` prints a row for each film: clips asked of
`load_clip`, those with a wrong frame that nothing was said of, those damaged where FFmpeg reports
nothing, refusals, frames with wrong times; frames of `stream_clips` that are wrong, missing or said
to be damaged. Words after it choose films by their names. `--cost` prints what opening an ordinary
MP4 takes beside decord alone.
"""

import os
import pathlib
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

from tests.films import judge
from tests.films.films import (
    BACKWARD,
    ORIENTATIONS,
    Film,
    available_encoders,
    copied,
    cut,
    displayed,
    ffmpeg,
    packed,
    pictures,
    rolled,
    starting_late,
    zeroed,
)
from vmamba_explore.clips import load_clip

YUV = "-pix_fmt yuv420p"
H264 = f"{YUV} -c:v libx264 -preset veryfast -crf 12 -g 12 -bf 3 -b_strategy 0 -sc_threshold 0"
HEVC = f"{YUV} -c:v libx265 -preset ultrafast -crf 12 -x265-params log-level=none:pools=1"
HEVC += ":frame-threads=1:keyint=12:bframes=3:b-adapt=0:scenecut=0"
MPEG4 = "-c:v mpeg4 -q:v 2 -g 12 -bf 2 -b_strategy 0"
MPEG2 = "-c:v mpeg2video -q:v 2 -g 12 -bf 2 -b_strategy 0"
VP9 = f"{YUV} -c:v libvpx-vp9 -crf 15 -b:v 0 -cpu-used 8 -g 12"
AV1 = f"{YUV} -c:v libaom-av1 -crf 20 -b:v 0 -cpu-used 8"
PALETTE = "-vf split[a][b];[a]palettegen[p];[b][p]paletteuse=dither=none"
RAW = "-c:v rawvideo -pix_fmt"

CODECS = {
    "H.264": H264,
    "H.264 without B-frames": f"{H264} -bf 0",
    "H.264 with open GOPs": f"{H264} -x264-params open-gop=1:b-pyramid=normal:bframes=7",
    "H.264 intra refresh": f"{H264} -bf 0 -x264-params intra-refresh=1",
    "H.264 intra refresh with B-frames": f"{H264} -x264-params intra-refresh=1",
    "H.264 key frames only": f"{H264} -g 1",
    "H.264 interlaced": f"{H264} -flags +ilme+ildct -x264-params tff=1",
    "H.264 10 bit": f"{H264} -pix_fmt yuv420p10le",
    "H.264 4-4-4": f"{H264} -pix_fmt yuv444p",
    "H.264 gray": f"{H264} -pix_fmt gray",
    "H.265": f"{HEVC}:open-gop=0",
    "H.265 with open GOPs": f"{HEVC}:open-gop=1",
    "H.265 intra refresh": f"{HEVC}:intra-refresh=1:bframes=0",
    "H.265 10 bit": f"{HEVC} -pix_fmt yuv420p10le",
    "H.263": "-c:v h263 -q:v 5 -g 12 -s 176x144 -aspect 4:3",
    "MPEG-4": MPEG4,
    "MPEG-4 without B-frames": f"{MPEG4} -bf 0",
    "XviD": f"{MPEG4} -vtag XVID",
    "MPEG-2": MPEG2,
    "MPEG-2 interlaced": f"{MPEG2} -flags +ilme+ildct",
    "MPEG-2 4-2-2": f"{MPEG2} -pix_fmt yuv422p",
    "MPEG-1": MPEG2.replace("mpeg2", "mpeg1"),
    "WMV2": "-c:v wmv2 -q:v 2 -g 12",
    "MS-MPEG-4": "-c:v msmpeg4 -q:v 2 -g 12",
    "FLV1": "-c:v flv -q:v 2 -g 12",
    "VP8": "-c:v libvpx -crf 4 -b:v 2M -cpu-used 8 -g 12",
    "VP8 with hidden frames": "-c:v libvpx -crf 4 -b:v 2M -auto-alt-ref 1 -lag-in-frames 12 -g 24",
    "VP9": VP9,
    "VP9 with hidden frames": f"{VP9} -auto-alt-ref 1 -lag-in-frames 12 -g 24",
    "VP9 with alpha": f"{VP9} -pix_fmt yuva420p",
    "AV1": f"{AV1} -g 12 -usage realtime",
    "AV1 with hidden frames": f"{AV1} -g 24 -lag-in-frames 19",
    "Theora": "-c:v libtheora -q:v 10 -g 12",
    "MJPEG": "-c:v mjpeg -q:v 2",
    "ProRes": "-c:v prores_ks",
    "ProRes with alpha": "-c:v prores_ks -profile:v 4 -pix_fmt yuva444p10le",
    "DNxHR": "-c:v dnxhd -profile:v dnxhr_sq -pix_fmt yuv422p -vf scale=256:192",
    "FFV1": "-c:v ffv1 -level 3 -g 1 -slices 4 -slicecrc 1",
    "Huffyuv": "-c:v huffyuv",
    "UT Video": "-c:v utvideo",
    "DV": "-c:v dvvideo -s 720x576 -aspect 4:3 -pix_fmt yuv420p",
    "JPEG 2000": "-c:v jpeg2000 -q:v 2",
    "PNG": "-c:v png",
    "PNG palette": f"{PALETTE} -c:v png -pix_fmt pal8",
    "Animation": "-c:v qtrle",
    "Animation with alpha": "-c:v qtrle -pix_fmt argb",
    "Animation gray": "-c:v qtrle -pix_fmt gray",
    "GIF": f"{PALETTE} -c:v gif",
    "raw RGB": f"{RAW} rgb24",
    "raw BGR": f"{RAW} bgr24",
    "raw BGRA": f"{RAW} bgra",
    "raw 15 bit": f"{RAW} rgb555le",
    "raw 4-2-0": f"{RAW} yuv420p",
    "raw UYVY": f"{RAW} uyvy422",
    "raw palette": f"{PALETTE} {RAW} pal8",
    "raw gray": f"{RAW} gray",
    "raw frames": "-c:v wrapped_avframe -pix_fmt yuv420p",
}

CONTAINERS = {
    "mp4": "H.264, H.264 without B-frames, H.264 with open GOPs, H.264 intra refresh, "
    "H.264 intra refresh with B-frames, H.264 key frames only, H.264 interlaced, H.264 10 bit, "
    "H.264 4-4-4, H.264 gray, H.265, H.265 with open GOPs, H.265 intra refresh, H.265 10 bit, "
    "MPEG-4, MPEG-2, VP9, VP9 with hidden frames, AV1, AV1 with hidden frames, MJPEG",
    "mov": "H.264, H.264 intra refresh, H.265 with open GOPs, MPEG-4, MJPEG, ProRes, "
    "ProRes with alpha, DNxHR, DV, PNG, JPEG 2000, Animation, Animation with alpha, "
    "Animation gray, raw RGB, raw UYVY, raw palette, raw gray",
    "mkv": "H.264, H.264 with open GOPs, H.264 intra refresh, "
    "H.264 intra refresh with B-frames, H.264 interlaced, H.264 4-4-4, H.265, "
    "H.265 with open GOPs, H.265 intra refresh, MPEG-4, MPEG-2, MPEG-1, WMV2, "
    "VP8, VP9, AV1, Theora, MJPEG, ProRes, "
    "FFV1, Huffyuv, UT Video, raw 4-2-0",
    "webm": "VP8, VP8 with hidden frames, VP9, VP9 with hidden frames, VP9 with alpha, AV1",
    "avi": "H.264, H.264 without B-frames, H.264 with open GOPs, H.264 intra refresh, "
    "XviD, MPEG-4 without B-frames, MPEG-2, MPEG-1, WMV2, MS-MPEG-4, MJPEG, FFV1, Huffyuv, "
    "UT Video, DV, PNG, PNG palette, raw BGR, raw BGRA, raw 15 bit, raw 4-2-0, raw UYVY, "
    "raw palette, raw gray",
    "wmv": "WMV2, MS-MPEG-4, MPEG-4, H.264, MPEG-2",
    "ts": "H.264, H.264 with open GOPs, H.264 intra refresh, "
    "H.264 intra refresh with B-frames, H.264 interlaced, H.265, "
    "H.265 with open GOPs, H.265 intra refresh, MPEG-4, MPEG-2, MPEG-2 interlaced, MPEG-1",
    "mpg": "MPEG-1, MPEG-2",
    "vob": "MPEG-2",
    "flv": "H.264, FLV1",
    "ogv": "Theora, VP8",
    "mxf": "MPEG-2, MPEG-2 4-2-2, H.264, DNxHR",
    "3gp": "H.263, H.264, MPEG-4",
    "gif": "GIF",
    "dv": "DV",
    "h264": "H.264, H.264 with open GOPs, H.264 intra refresh",
    "hevc": "H.265, H.265 with open GOPs",
    "m1v": "MPEG-1",
    "m2v": "MPEG-2",
    "m4v": "MPEG-4",
    "mjpeg": "MJPEG",
    "y4m": "raw frames",
}

OTHER_SETS = "-profile:v baseline -bf 0 -refs 1 -crf 8"
TWO_STREAMS = "{numbers} {backward} -map 0 -map 1"
TWO_STREAMS += " -disposition:v:0 0 -disposition:v:1 default"
COVER = "-c:v:{0} png -disposition:v:{0} attached_pic"
ORIENTED = "h264_metadata=display_orientation=insert"
ROTATED_90, ROTATED_180, ROTATED_270, MIRRORED, FLIPPED, *_ = ORIENTATIONS.values()
DROPPED = (copied("-bsf:v noise=drop='between(n\\,20\\,22)'"),)
CUT = (
    "H.264.mkv, H.264.ts, H.264.avi, H.264.flv, H.264.h264, H.265.mkv, MPEG-2.mpg, XviD.avi, "
    "VP9.webm, WMV2.wmv, Theora.ogv, MPEG-2.mxf, raw frames.y4m"
)
DETECTABLE = (
    "H.264.mp4, H.264 intra refresh.mp4, H.264.mov, H.264.mkv, H.264.ts, H.264.avi, H.264.flv, "
    "H.264.h264, H.265.mp4, H.265.mkv, H.265.ts, MPEG-4.mp4, XviD.avi, MPEG-2.ts, MPEG-2.mpg, "
    "MPEG-2.mkv, VP9.webm, AV1.webm, FFV1.mkv, ProRes.mov, PNG.mov, MJPEG.avi"
)


def _faults() -> Iterator[tuple[str, str, dict]]:
    """Yield what is odd or damaged, in films of which codecs and containers, and how it is made."""
    uneven = {"seconds": lambda n: (n + n // 3) / 25}
    yield (
        "variable rate",
        "H.264.mp4, H.264.mkv, VP9.webm, H.264.ts, H.265.mov",
        {"more": "-vf setpts=N+floor(N/3) -fps_mode passthrough", **uneven},
    )
    dropped = "-vf setpts=N+floor(N/3) -fps_mode passthrough"  # AVI leaves such chunks empty
    yield "dropped frames", "MPEG-4 without B-frames.avi, MJPEG.avi", {"more": dropped, **uneven}
    yield "dropped frames", "H.264.avi, XviD.avi", {"more": dropped, "seconds": None}
    yield (
        "starting at 5 s",
        "H.264.mp4, H.264.mkv, H.264.ts, H.264.flv, MPEG-2.ts, MPEG-4.wmv",
        {"more": "-output_ts_offset 5"},
    )
    yield (
        "negative times",
        "H.264.mkv, H.264.ts",
        {"more": "-output_ts_offset -0.4 -avoid_negative_ts disabled"},
    )
    yield (
        "negative times",  # an edit list cuts them away
        "H.264.mp4",
        {"more": "-output_ts_offset -0.4 -avoid_negative_ts disabled", "numbers": range(10, 48)},
    )
    for rate in ("1/10", "120", "1000", "30000/1001"):
        step = 1 / Fraction(rate)
        yield (
            f"{rate.replace('/', ' in ')} frames a second",
            "H.264.mp4, H.264.mkv, H.264.mov, MJPEG.mkv",
            {"rate": rate, "seconds": lambda n, step=step: float(n * step)},
        )
    yield (
        "trimmed by copying",
        "H.264.mp4, H.264.mov, H.265 with open GOPs.mp4, MPEG-4.mp4, H.264.mkv, H.264.ts",
        {"steps": [copied(source="-ss 0.76")], "numbers": None},
    )
    yield "empty edit", "H.264.mp4, H.264.mov", {"steps": [copied(source="-itsoffset 1")]}
    yield (
        "trim and empty edit",
        "H.264.mp4, H.264.mov",
        {"steps": [copied("-output_ts_offset 1", "-ss 0.76")], "numbers": None},
    )
    yield (
        "each time twice",
        "H.264 without B-frames.mkv, MJPEG.mkv, MPEG-4 without B-frames.mp4",
        {"steps": [copied("-bsf:v setts=pts=floor(N/2)*2*DURATION:dts=DTS")], "seconds": None},
    )
    yield (
        "times swapped in pairs",
        "H.264 without B-frames.mkv, MJPEG.mkv",
        {
            "steps": [copied("-bsf:v setts='pts=PTS+40*(1-2*mod(N\\,2)):dts=DTS'")],
            "numbers": None,
            "seconds": None,
        },
    )
    yield (
        "every third time missing",
        "H.264.ts, MPEG-2.ts",
        {"steps": [copied("-bsf:v setts='pts=if(eq(mod(N\\,3)\\,1)\\,NOPTS\\,PTS)'")]},
    )
    yield (
        "joined, times start again",
        "H.264.ts, H.265.ts, MPEG-2.ts, MPEG-2.mpg, H.264.h264",
        {"second": ""},
    )
    yield "joined, other parameter sets", "H.264.ts, H.264.h264", {"second": OTHER_SETS}
    yield (
        "joined, other parameter sets, times go on",
        "H.264.ts, H.264.mkv",
        {"second": OTHER_SETS, "packets": True},
    )
    yield (
        "joined, other shape of pixels",
        "H.264.ts",
        {
            "second": "-vf trim=start_frame=24,setpts=PTS-STARTPTS,scale=64:96,setsar=2",
            "sizes": True,
        },
    )
    yield "joined, other size", "H.264.ts", {"second": "-s 160x120", "sizes": True}
    yield (
        "joined, other size, times go on",
        "H.264.ts, VP9.webm, VP9.mp4",
        {"second": "-s 160x120", "packets": True, "sizes": True},
    )
    for name, matrix in ORIENTATIONS.items():
        how = {"steps": [displayed(matrix)], "matrix": matrix}
        yield name, "H.264.mp4, H.264.mov, MJPEG.mov", how
    for angle, matrix in ((90, ROTATED_270), (180, ROTATED_180), (-90, ROTATED_90)):
        how = {"steps": [rolled(angle)], "matrix": matrix}
        yield f"rolled by {angle}", "H.264.mkv, VP9.webm", how
    for word, matrix in (("rotate=90", ROTATED_270), ("flip=horizontal", MIRRORED)):
        how = {"steps": [copied(f"-bsf:v {ORIENTED}:{word}")], "matrix": matrix}
        yield f"{word} in the stream", "H.264.ts, H.264.mp4, H.264.mkv, H.264.h264", how
    yield "two streams, the second is shown", "H.264.mkv, H.264.mp4, MPEG-4.mkv", {
        "inputs": TWO_STREAMS, "numbers": BACKWARD,
    }  # fmt: skip
    cover_first = {"inputs": "{cover} {numbers} -map 0 -map 1", "more": COVER.format(0)}
    cover_last = {"inputs": "{numbers} {cover} -map 0 -map 1", "more": COVER.format(1)}
    yield "cover picture first", "H.264.mp4, H.264.mov", cover_first
    yield "cover picture last", "H.264.mp4", cover_last
    yield "cover picture attached", "H.264.mkv", {"inputs": "{numbers} {attached_cover}"}
    for size, aspect in (("64x96", "2-1"), ("128x48", "1-2"), ("180x144", "16-15")):
        yield (
            f"pixels of {aspect}",
            "H.264.mp4, H.264.mkv, H.264.ts, MPEG-2.mpg, MPEG-4.mov, VP9.webm, XviD.avi",
            {"more": f"-vf scale={size.replace('x', ':')},setsar={aspect.replace('-', '/')}"},
        )
    yield (
        "wide pixels, rotated",
        "H.264.mp4",
        {
            "more": "-vf scale=64:96,setsar=2",
            "steps": [displayed(ROTATED_90)],
            "matrix": ROTATED_90,
        },
    )
    yield (
        "odd size",
        "H.264 4-4-4.mp4, VP9.webm, raw RGB.mov, MJPEG.avi, FFV1.mkv, raw palette.avi",
        {"more": "-s 129x97", "sizes": False},
    )
    yield (
        "a single frame",
        "H.264.mp4, H.264.mkv, H.264.avi, H.264.ts, VP9.webm, GIF.gif, MJPEG.avi, H.264.h264",
        {"inputs": "{numbers} -frames:v 1", "numbers": range(1)},
    )
    yield "packed B-frames", "XviD.avi", {"steps": [packed]}

    for share in (0.2, 0.4, 0.6):
        how = {"steps": [zeroed(share)], "damaged": True, "intact": 8}
        yield f"zeros at {share:.0%}", DETECTABLE, how
    yield "cut off", CUT, {"steps": [cut(0.6)], "damaged": True, "intact": 8}
    yield "cut off", "H.264.mp4, H.264.mov", {"steps": [cut(0.6)], "damaged": True}
    yield (
        "three packets lost",
        "H.264.mp4, H.264.mkv, H.264.ts, H.264.avi, H.265.mp4, XviD.avi, VP9.webm",
        {"steps": DROPPED, "damaged": True, "intact": 8},
    )
    yield (
        "starting between key frames",
        "H.264.ts, H.264 intra refresh.ts, H.265.ts, H.265 with open GOPs.ts, MPEG-2.ts",
        {"steps": [starting_late(0.4)], "damaged": True, "intact": 8},
    )
    yield (
        "starting between key frames",
        "MPEG-2.mpg",
        {"steps": [starting_late(0.4, 2048)], "damaged": True, "intact": 8},
    )


def _films() -> Iterator[Film]:
    for suffix, codecs in CONTAINERS.items():
        for codec in codecs.split(", "):
            yield Film(f"{codec}.{suffix}", CODECS[codec], gray="gray" in codec)
    for fault, kinds, how in _faults():
        for kind in kinds.split(", "):
            codec, suffix = kind.rsplit(".", 1)
            options = f"{CODECS[codec]} {how.get('more', '')}"
            truth = {name: value for name, value in how.items() if name != "more"}
            yield Film(f"{codec}, {fault}.{suffix}", options, **truth)


FILMS = {film.name: film for film in _films()}


def measure(words: list[str]) -> None:
    """Print a row for each film whose name contains all words."""
    heads = "clips", "wrong", "unseen", "refused", "times", "stream"
    chosen = [film for name, film in FILMS.items() if all(word in name for word in words)]
    films = [film for film in chosen if film.encoders <= available_encoders()]
    sums = dict.fromkeys(heads, 0)
    _row("film", *heads)
    _row(*["---"] * 7)
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(os.cpu_count()) as pool:
        folder = pathlib.Path(name)
        pictures(folder)
        for film, path in zip(films, pool.map(lambda film: film.make(folder), films), strict=True):
            verdict = judge.judge(path, film)
            sums = {head: sums[head] + getattr(verdict, head) for head in heads}
            _row(film.name, *(getattr(verdict, head) for head in heads))
    _row(f"{len(films)} films of {len(chosen)}", *sums.values())


def cost() -> None:
    """Print what readers take to open an ordinary MP4 of 300 frames and read from its middle."""
    import decord

    def alone(path: str, count: int) -> None:
        reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)
        for number in range(150, 150 + count):
            reader[number].asnumpy()

    readers = {
        "decord alone": alone,
        "load_clip": lambda path, count: load_clip(path, count, 1, 150, img_size=None),
    }
    _row("ms, median of 21", "1 frame", "16 frames")
    _row(*["---"] * 3)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/ordinary.mp4"
        ffmpeg("-f", "lavfi", "-i", "testsrc2=s=640x360:r=30:d=10", *shlex.split(H264), path)
        taken = {(name, count): [] for name in readers for count in (1, 16)}
        for _ in range(21):  # in turn, since the machine's speed drifts
            for (name, count), times in taken.items():
                start = time.perf_counter()
                readers[name](path, count)
                times.append(1000 * (time.perf_counter() - start))
        for name in readers:
            _row(name, *(f"{statistics.median(taken[name, count]):.1f}" for count in (1, 16)))


def _row(*cells: object) -> None:
    sys.stdout.write(f"| {' | '.join(map(str, cells))} |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if "--cost" in sys.argv:
        cost()
    if "--measure" in sys.argv:
        measure([word for word in sys.argv[1:] if not word.startswith("--")])
