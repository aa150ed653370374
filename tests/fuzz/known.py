"""Findings that are being worked on: patterns of their signatures. The right length of it is 0."""

from __future__ import annotations

import re

KNOWN: tuple[str, ...] = (
    # videos: codec tags that FFmpeg does not know, text that is not UTF-8, decord's own messages
    r"^load_clip: AttributeError in vmamba_explore\.clips\.decode\.",
    r"^(load_clip|stream_clips|check_uploaded): UnicodeDecodeError in ",
    r"^load_clip: printed \[",
    # checkpoints: sizes that are not compared with the file, odd JSON and odd tensors
    r"^config: (RecursionError|TypeError|RuntimeError|MemoryError|OverflowError) in ",
    r"^config: (left files open|took more than)",
    r"^config: CheckpointError with message",
    r"^weights: (OSError|NotImplementedError|RuntimeError|MemoryError|TypeError) in ",
    # widgets: what a browser may set, answers that are not sentences, what close() leaves
    r"^messages: (close\(\) left|reply is not a sentence|a bad message)",
    r"^visitor: a visitor chose a",
    # tables and lists: what spreadsheets write, nested JSON, long names
    r"^tables: (a table that was refused was changed|rows were lost)",
    r"^tables: (RecursionError|KeyError|TypeError|Error|ValueError|OverflowError) in ",
    r"^lists: (OSError|Error|RecursionError|ValueError) in ",
    r"^lists: ValueError with message",
    # writers: folders that are written in two steps
    r"^(kills|full_disks): (model|explorer\.zarr|written\.mpN): ",
    # long words in messages
    r"^calls: \w+ with message of more than 1,500 characters",
    r"^calls: RuntimeError in vmamba_explore\.clips\.clip\.normalize$",
    r"^command_line: a line of more than N,N characters$",
)


def is_known(signature: str) -> bool:
    """Whether a finding is on the list."""
    return any(re.search(pattern, signature) for pattern in KNOWN)
