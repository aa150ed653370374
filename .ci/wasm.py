"""Compile vmamba_explore/view/live/ops.c to ops.wasm beside it; for whoever changes ops.c.

The module gets a section "source" with the SHA-256 of the C code that it was made from, by which a
test tells that the two belong together. The compiler is clang, as the PyPI package ziglang brings
it; the same version makes the same bytes.
"""

import hashlib
import pathlib
import subprocess
import sys
import tempfile

LIVE = pathlib.Path(__file__).parents[1] / "vmamba_explore" / "view" / "live"
COMPILER = [sys.executable, "-m", "ziglang", "cc", "--target=wasm32-freestanding"]
OPTIONS = [
    "-O3", "-msimd128", "-nostdlib", "-Wall", "-Wextra", "-Werror",
    "-Wl,--no-entry", "-Wl,--export=__heap_base", "-Wl,--strip-all",
]  # fmt: skip


def main() -> int:
    source = LIVE / "ops.c"
    with tempfile.TemporaryDirectory() as folder:
        made = pathlib.Path(folder) / "ops.wasm"
        run = subprocess.run([*COMPILER, *OPTIONS, "-o", str(made), str(source)])
        if run.returncode:
            return run.returncode
        module = made.read_bytes() + section("source", hashlib.sha256(source.read_bytes()).digest())
    (LIVE / "ops.wasm").write_bytes(module)
    print(f"{LIVE / 'ops.wasm'}: {len(module):,} bytes")
    return 0


def section(name: str, data: bytes) -> bytes:
    """A custom section of a WebAssembly module: 0, its size, and its name with their sizes."""
    body = bytes([len(name)]) + name.encode() + data
    assert len(body) < 128, "sizes are written in one byte"
    return bytes([0, len(body)]) + body


if __name__ == "__main__":
    raise SystemExit(main())
