"""Engine: a model in JavaScript, in a Node process of its own, asked from Python.

    with Engine(portable(model)) as engine:
        run = engine.run(clip.frames)               # what Network.run returns, held by Node
        engine.get(run, "logits")                    # its parts, as numpy arrays
        layer = engine.layer(run, 0)
        engine.call("maps.js", "firstNumbers", engine.network, run, question, REPORT)
        engine.method(engine.network, "states", scan, [0, 5])

Calls return plain values: arrays are flat numpy arrays. With `keep=True` they return a `Held`,
which can be an argument, also inside lists and dicts. A promise is awaited.
"""

from __future__ import annotations

import base64
import json
import pathlib
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

import numpy as np

import vmamba_explore
from vmamba_explore.view.live.portable import PortableModel, packed_model

SERVER = pathlib.Path(__file__).parent / "engine_server.js"
WASM = pathlib.Path(vmamba_explore.__file__).parent / "view" / "live" / "ops.wasm"
_TYPES = {
    "Float32Array": "f4",
    "Float64Array": "f8",
    "Int32Array": "i4",
    "Uint8Array": "u1",
    "Int8Array": "i1",
    "Uint8ClampedArray": "u1",
}


@dataclass(frozen=True)
class Held:
    """Something that Node keeps."""

    number: int


@dataclass(frozen=True)
class Report:
    """A `report` that does nothing."""


REPORT = Report()


class Engine:
    """A model in JavaScript, in a Node process of its own.

    Args:
        model: The model; None for a process without one.
        compiled: Whether to compute in WebAssembly instead of plain JavaScript.
    """

    network: Held

    def __init__(self, model: PortableModel | None, compiled: bool = False) -> None:
        node = shutil.which("node")
        assert node is not None, "a test asks `require('node', ...)` first"
        self._process = subprocess.Popen(
            [node, str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        module = np.frombuffer(WASM.read_bytes(), np.uint8) if compiled else None
        self.ops = self.call("wasm.js", "loadOps", module, keep=True)
        if model is not None:
            header, text = packed_model(model)
            weights = self.call("weights.js", "unpackWeights", header, text, keep=True)
            config = model.about["config"]
            self.network = self.call("network.js", "Network", config, weights, self.ops, keep=True)

    def run(self, frames: np.ndarray, changes: list[Any] | None = None, past: Any = None) -> Held:
        """Run the model on pixels, uint8 (num_frames, height, width, 3), with some changes."""
        tokens = self.tokens(frames)
        edits = self.call("edits.js", "editsOf", self.network, changes or [], past, keep=True)
        return self.method(self.network, "run", tokens, edits, keep=True)

    def tokens(self, frames: np.ndarray) -> Held:
        """What `Network.embed` gives."""
        return self.method(self.network, "embed", frames, keep=True)

    def past(self, frames: np.ndarray) -> Held:
        """What `recordPast` gives."""
        return self.call("edits.js", "recordPast", self.network, self.tokens(frames), keep=True)

    def logits(self, frames: np.ndarray, changes: list[Any] | None = None, past: Any = None) -> Any:
        """The logits of a run."""
        return self.get(self.run(frames, changes, past), "logits")

    def layer(self, run: Held, layer: int, keep: bool = False) -> Any:
        """What `Network.layer` gives."""
        return self.method(self.network, "layer", run, layer, keep=keep)

    def call(self, module: str, name: str, *args: Any, keep: bool = False) -> Any:
        """Call a function, or make an instance of a class, that a module of view/live exports."""
        return self._ask(on=module, name=name, args=_encoded(list(args)), keep=keep)

    def method(self, owner: Held, name: str, *args: Any, keep: bool = False) -> Any:
        """Call a method of something that Node keeps."""
        return self._ask(on=_encoded(owner), name=name, args=_encoded(list(args)), keep=keep)

    def get(self, owner: Held | str, name: str, keep: bool = False) -> Any:
        """A property of something that Node keeps, or what a module exports."""
        on = owner if isinstance(owner, str) else _encoded(owner)
        return self._ask(on=on, name=name, args=None, keep=keep)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def _ask(self, **request: Any) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        line = stdout.readline()
        assert line, "Node ended; its error stands above"
        reply = json.loads(line)
        if "error" in reply:
            raise JavaScriptError(reply["error"], reply["stack"])
        value = reply["value"]
        return Held(value["held"]) if request["keep"] else _decoded(value)


class JavaScriptError(Exception):
    """What JavaScript threw: its message, and where."""


def _encoded(value: Any) -> Any:
    if isinstance(value, Held):
        return {"held": value.number}
    if isinstance(value, Report):
        return {"report": True}
    if isinstance(value, np.ndarray):
        name = next(key for key, kind in _TYPES.items() if np.dtype(kind) == value.dtype)
        data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"array": name, "base64": data}
    if isinstance(value, dict):
        return {key: _encoded(item) for key, item in value.items()}
    return [_encoded(item) for item in value] if isinstance(value, list | tuple) else value


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"array", "base64"}:
        return np.frombuffer(base64.b64decode(value["base64"]), "<" + _TYPES[value["array"]]).copy()
    if value.keys() == {"number"}:
        return float(value["number"].replace("Infinity", "inf"))
    return {key: _decoded(item) for key, item in value.items()}
