"""PortableModel: a model as plain data, and as text that a page holds and its script unpacks."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8


class NotPortableError(ValueError):
    """A model that a page cannot run; the message is one sentence."""


@dataclass(frozen=True, eq=False)
class PortableModel:
    """A model as plain data.

    Args:
        name: What it is called.
        about: What a page says about it and needs to run it, ready for JSON; `config` among it.
        tensors: Its weights by their names in `state_dict()`, and the fixed position table.
        parameters: How many numbers it has learned.
    """

    name: str
    about: Mapping[str, Any]
    tensors: Mapping[str, Float32[np.ndarray, "*shape"]]
    parameters: int


def packed_model(portable: PortableModel) -> tuple[dict[str, Any], str]:
    """Return a model as the header and the text that `weights.js` unpacks, bit for bit.

    The numbers' first bytes stand together, then all second ones, and so on, which deflates best.

    Args:
        portable: The model.
    Returns:
        A header, ready for JSON, with name and shape of each tensor and the count of bytes; and
        the deflated bytes as text, see `base128`.
    """
    arrays = {name: np.asarray(each, "<f4") for name, each in portable.tensors.items()}
    numbers = np.concatenate([each.ravel() for each in arrays.values()])
    planes = numbers.view(np.uint8).reshape(-1, 4).T
    deflated = zlib.compress(planes.tobytes(), 9)
    header = {
        "tensors": [[name, list(each.shape)] for name, each in arrays.items()],
        "bytes": len(deflated),
    }
    return header, base128(np.frombuffer(deflated, np.uint8))


def base128(data: UInt8[np.ndarray, " count"]) -> str:
    """Return bytes as text of 7 bits a character, which a script element of a page can hold.

    A script element holds any character but NUL, carriage return and "<"; these three stand 256
    higher, so the lowest 7 bits of every character are what it says. In UTF-8 the text of a model
    is 17 % longer than the bytes, where base64 is 33 % longer.
    """
    bits = np.unpackbits(data)
    groups = np.pad(bits, (0, -len(bits) % 7)).reshape(-1, 7)
    codes = np.packbits(groups, axis=1)[:, 0].astype("<u2") >> 1
    codes[np.isin(codes, [ord(sign) for sign in "\0\r<"])] += 256
    return codes.tobytes().decode("utf-16-le")
