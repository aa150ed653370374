"""Transport streams (MPEG-TS): is data missing in the middle of a picture, or were files joined?

Each packet of 188 bytes carries a counter. FFmpeg calls a picture incomplete wherever the counter
jumps, which it also does where recordings were joined and nothing is missing.
"""

import os

import numpy as np

PACKET, SYNC = 188, 0x47
READ = 2**17  # packets at once


def loses_data(path: str | os.PathLike[str], stream: int) -> bool:
    """Return whether packets of a stream are missing or damaged inside its pictures.

    Args:
        path: The file; one that is not cut into packets of 188 bytes counts as damaged.
        stream: Number of the stream in the file (PID).
    Source:
        ISO/IEC 13818-1, 2.4.3.2: sync_byte, payload_unit_start_indicator, continuity_counter.
    """
    last = None
    with open(path, "rb") as file:
        while len(data := np.frombuffer(file.read(PACKET * READ), np.uint8)) >= PACKET:
            packets = data[: len(data) // PACKET * PACKET].reshape(-1, PACKET)
            if (packets[:, 0] != SYNC).any():
                return True
            pids = (packets[:, 1].astype(np.int64) & 0x1F) << 8 | packets[:, 2]
            own = packets[(pids == stream) & (packets[:, 3] & 0x10 > 0)]  # those with a payload
            if (own[:, 1] & 0x80).any():  # the receiver's mark of an error
                return True
            counters = own[:, 3].astype(np.int64) & 15
            before = np.concatenate([counters[:1] - 1 if last is None else [last], counters[:-1]])
            jumps = (counters - before) % 16 > 1
            if (jumps & (own[:, 1] & 0x40 == 0)).any():  # not where a picture starts
                return True
            last = int(counters[-1]) if len(counters) else last
    return False
