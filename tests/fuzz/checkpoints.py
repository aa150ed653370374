"""Damaged model folders and checkpoint files, for `load_model`."""

from __future__ import annotations

import argparse
import io
import json
import pickle
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from safetensors.torch import save

from tests.fuzz.door import Door
from tests.fuzz.mutants import Mutant, mutants
from vmamba_explore.model.checkpoints import CheckpointError, load_model
from vmamba_explore.model.config import PRESETS, VideoMambaConfig
from vmamba_explore.model.doctor import check_checkpoint
from vmamba_explore.model.published import published_name
from vmamba_explore.model.videomamba import VideoMamba

SIZES = {"img_size": 8, "patch_size": 4, "d_model": 8, "d_state": 3, "num_classes": 3, "depth": 1}
FIELDS = (*VideoMambaConfig().to_dict(), "class_names", "model_type", "unheard_of")
NUMBERS = st.one_of(
    st.sampled_from((0, 1, -1, 2, 3, 10**4, 2**31, 10**9, 10**18, 10**400, 0.5, 1e308, True)),
    st.integers(),
    st.floats(),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)
"""Any JSON value, also those that Python alone reads: NaN, integers of hundreds of digits."""


def model() -> VideoMamba:
    """Return a model as small as one can be."""
    torch.manual_seed(0)
    built = VideoMamba(VideoMambaConfig.preset("toy", **SIZES)).eval()
    built.class_names = ("up", "down", "none")
    return built


def whole(folder: Path) -> tuple[dict[str, Any], bytes]:
    """Return the content of a good folder: config.json's fields, and the weights."""
    model().save_pretrained(folder)
    fields = json.loads((folder / "config.json").read_text())
    return fields, (folder / "model.safetensors").read_bytes()


def _nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def configs(folder: Path) -> st.SearchStrategy[dict[str, bytes]]:
    """Make a strategy for folders whose config.json was changed, as JSON or as bytes."""
    fields, weights = whole(folder)
    orders = st.sampled_from(("spatiotemporal", "spatial", "temporal", "none", "sum", "middle"))
    value = st.one_of(JSON, NUMBERS, orders, st.sampled_from(list(PRESETS)))
    changes = st.dictionaries(st.sampled_from(FIELDS), value, min_size=1, max_size=3)
    names = st.lists(st.text(max_size=8), min_size=3, max_size=3).map(
        lambda given: {"class_names": given}
    )
    changed = st.one_of(changes, changes, names).map(lambda new: json.dumps(fields | new).encode())
    dropped = st.lists(st.sampled_from(list(fields)), min_size=1, unique=True).map(
        lambda names: json.dumps({k: v for k, v in fields.items() if k not in names}).encode()
    )
    texts = {"config.json": json.dumps(fields).encode()}
    bytewise = mutants(texts).map(lambda mutant: mutant.data)
    odd = st.sampled_from((
        b"", b"null", b"[]", b"NaN", b"1" * 5000, _nested(100_000).encode(), b"\xef\xbb\xbf{}",
        b'{"d_model": ' + _nested(5000).encode() + b"}", b'{"depth": 1' + b"0" * 5000 + b"}",
        b'{"class_names": ["\\ud800", "a", "b"]}', b"\xff\xfe{\0}\0",
    ))  # fmt: skip
    text = st.one_of(changed, changed, JSON.map(lambda j: json.dumps(j).encode()), dropped,
                     bytewise, odd)  # fmt: skip
    return text.map(lambda config: {"config.json": config, "model.safetensors": weights})


def _saved(content: object, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def _header(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


class _Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("open('ran', 'w')",)


def checkpoints() -> dict[str, bytes]:
    """Return whole and odd checkpoint files by name."""
    tensors = {published_name(k): v for k, v in _published().items()}
    head = {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4]}
    wide = torch.zeros(1, 1).expand(3, 1 << 40)
    fp8 = {k: v.to(torch.float8_e4m3fn) for k, v in tensors.items()}
    return {
        "published.safetensors": save(tensors),
        "published.pth": _saved({"model": tensors, "args": argparse.Namespace(lr=1)}),
        "old.pth": _saved({"model": tensors}, _use_new_zipfile_serialization=False),
        "half.pth": _saved({k: v.half() for k, v in tensors.items()}),
        "fp8.pth": _saved(fp8),
        "complex.pth": _saved({k: v.to(torch.complex64) for k, v in tensors.items()}),
        "meta.pth": _saved({k: v.to("meta") for k, v in tensors.items()}),
        "sparse.pth": _saved({k: v.to_sparse() for k, v in tensors.items()}),
        "wide.pth": _saved({**tensors, "head.weight": wide}),
        "scalars.pth": _saved({k: v.sum() for k, v in tensors.items()}),
        "empty_tensors.pth": _saved({k: v[:0] for k, v in tensors.items()}),
        "numbers.pth": _saved(dict.fromkeys(tensors, 1.0)),
        "list.pth": _saved(list(tensors.values())),
        "layers.pth": _saved({**tensors, "layers.9998.norm.weight": torch.ones(8)}),
        "runs.pkl": pickle.dumps(_Runs()),
        "runs.pth": pickle.dumps({"model": _Runs()}),
        "header.safetensors": _header({"head.weight": head}, b"\0" * 4),
        "nested.safetensors": _header(b'{"a":' + _nested(100_000).encode() + b"}"),
        "long.safetensors": struct.pack("<Q", 2**62) + b"{}",
    }


def _published() -> Mapping[str, torch.Tensor]:
    torch.manual_seed(0)
    sizes = {**SIZES, "num_frames": 4, "tubelet_size": 1, "pos_embed": "spatial_temporal"}
    return VideoMamba(VideoMambaConfig.preset("toy", **sizes)).state_dict()


def weights(folder: Path) -> st.SearchStrategy[dict[str, bytes]]:
    """Make a strategy for damaged checkpoint files, alone or beside a good config.json."""
    fields, data = whole(folder)
    config = {"config.json": json.dumps(fields).encode()}
    files = checkpoints()
    alone = st.one_of(
        st.sampled_from(sorted(files)).map(lambda name: Mutant(name, (), files[name])),
        mutants(files),
        mutants(files),
    ).map(lambda mutant: {mutant.origin: mutant.data})
    beside = mutants({"model.safetensors": data}).map(
        lambda mutant: {**config, mutant.origin: mutant.data}
    )
    return st.one_of(alone, alone, beside)


def _in_folder(case: dict[str, bytes], folder: Path, use: Callable[[Path], object]) -> None:
    for name, data in case.items():
        (folder / name).write_bytes(data)
    try:
        use(folder if "config.json" in case else folder / next(iter(case)))
    finally:
        for name in case:
            (folder / name).unlink()


def _load(case: dict[str, bytes], folder: Path) -> None:
    def load(path: Path) -> None:
        loaded = load_model(path)
        parts = loaded.state_dict().values()
        assert all(bool(part.isfinite().all()) for part in parts), "weights that are not finite"
        names = loaded.class_names
        assert names is None or len(names) == loaded.config.num_classes, "too few class names"

    _in_folder(case, folder, load)


def _check(case: dict[str, bytes], folder: Path) -> None:
    """A checkup never fails: it loads what `load_model` loads, and has a sentence of the rest."""

    def check(path: Path) -> None:
        checkup = check_checkpoint(path)
        assert all(line.isprintable() for line in str(checkup).split("\n")), "odd letters"
        assert bool(checkup) == bool(checkup.calls)
        if not checkup:
            raise CheckpointError(checkup.problem)
        fine = ("fits", "not used")
        misfits = [tensor for tensor in checkup.tensors if tensor.verdict not in fine]
        assert not misfits, f"it loads, and {misfits} do not fit"

    _in_folder(case, folder, check)


def _files(case: dict[str, bytes]) -> dict[str, bytes]:
    return case


CONFIG = Door(
    "config", configs, _load, (CheckpointError,), memory_mib=512, draws=True, files=_files
)
WEIGHTS = Door(
    "weights", weights, _load, (CheckpointError,), memory_mib=512, draws=True, files=_files
)
CHECKUP = Door(
    "checkup", weights, _check, (CheckpointError,), memory_mib=512, draws=True, files=_files
)
