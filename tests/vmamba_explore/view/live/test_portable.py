"""A model as text: what JavaScript unpacks is bit for bit what Python packed."""

import shutil
from html.parser import HTMLParser

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.vmamba_explore.view.live.engine import Engine
from vmamba_explore.view.live.portable import PortableModel, base128, packed_model


def bytes_of(text: str, count: int) -> bytes:
    """The first bytes that text in base 128 says: the lowest 7 bits of each character."""
    bits = "".join(f"{ord(sign) & 127:07b}" for sign in text)
    return bytes(int(bits[8 * n : 8 * n + 8], 2) for n in range(count))


@given(st.binary(max_size=60))
def test_base_128_holds_all_bytes_in_seven_bits_a_character(data):
    text = base128(np.frombuffer(data, np.uint8))
    assert len(text) == -(-8 * len(data) // 7)
    assert bytes_of(text, len(data)) == data


def test_base_128_has_no_character_that_a_script_element_would_change():
    text = base128(np.random.default_rng(0).integers(0, 256, 70_000, np.uint8))
    assert {ord(sign) & 127 for sign in text} == set(range(128))
    assert not set("\0\r<") & set(text)

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            assert data == text

    Reader().feed(f"<script type='text/plain'>{text}</script>")


def test_javascript_unpacks_every_bit_of_every_tensor_and_in_order(require):
    if shutil.which("node") is None:
        require("node", "there is no node on this machine")
    generator = np.random.default_rng(0)
    bits = generator.integers(0, 2**32, (37, 5), np.uint32).view(np.float32)  # NaNs among them
    tensors = {
        "one": bits,
        "none": np.zeros((0, 3), np.float32),
        "scalar": np.float32(1e-45).reshape(()),
        "last": generator.standard_normal((2, 3, 4)).astype(np.float32)[:, ::-1],
    }
    header, text = packed_model(PortableModel("m", {}, tensors, 0))
    assert header["tensors"][-1] == ["last", [2, 3, 4]]
    with Engine(None) as engine:
        found = engine.call("weights.js", "unpackWeights", header, text)
    assert list(found) == list(tensors)
    for name, want in tensors.items():
        assert found[name].tobytes() == want.tobytes(), name
