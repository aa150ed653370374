"""Video files of every kind: any codec and container, with times, a rotation or a sound."""

from fractions import Fraction

import av
import numpy as np


def write_video(
    path, pictures, rate=30, codec="libx264", *, gop=12, milliseconds=None, rotation=0, silence=0,
    codec_options=None, **container_options,
):  # fmt: skip
    """Encode pictures, (number, height, width, 3); none and seconds of silence make a sound."""
    base = Fraction(1, 1000) if milliseconds else 1 / Fraction(rate)
    with av.open(str(path), "w", **container_options) as container:
        if len(pictures):
            video = container.add_stream(codec, rate=rate)
            video.height, video.width = pictures[0].shape[:2]
            pixels = {"gif": "rgb8", "mjpeg": "yuvj420p"}
            video.pix_fmt, video.gop_size = pixels.get(codec, "yuv420p"), gop
            video.options, video.codec_context.time_base = codec_options or {}, base
            if rotation:
                video.set_display_rotation(rotation)
        if silence:
            sound = container.add_stream("aac", rate=8000, layout="mono")
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = frame.reformat(format=video.pix_fmt)  # left to `encode`, bytes may differ
            frame.pts, frame.time_base = milliseconds[number] if milliseconds else number, base
            container.mux(video.encode(frame))
        if len(pictures):
            container.mux(video.encode())
        for place in range(0, round(silence * 8000), 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 8000, place
            container.mux(sound.encode(frame))
        if silence:
            container.mux(sound.encode())
    return path
