"""Large new memory: what it costs to touch it first, and to add it up."""

import ctypes
import mmap
from functools import cache
from typing import Any

from torch import Tensor

from vmamba_kernels.jit.ircode import Kernel, Var
from vmamba_kernels.jit.native import Arguments, Native, compiled

LARGE = 1 << 22  # bytes; surely holds a large page of 2 MiB
LANES, VECS = 16, 8  # one task of `total` sums LANES * VECS neighbors


def ask_for_large_pages(*tensors: Tensor | None) -> None:
    """Tell Linux to back new tensors with large pages.

    The first touch of each page costs about a microsecond and a half, whatever its size; with
    pages of 4 KiB that can take longer than the kernel that fills them. Without effect elsewhere.
    """
    madvise = _madvise()
    for x in tensors:
        if madvise is not None and x is not None and x.nbytes >= LARGE:
            start = -(-x.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
            length = (x.data_ptr() + x.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE - start
            madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.MADV_HUGEPAGE)


@cache
def _madvise() -> Any:
    return getattr(ctypes.CDLL(None), "madvise", None) if hasattr(mmap, "MADV_HUGEPAGE") else None


def total(parts: Tensor, axis: int) -> Tensor:
    """Sum contiguous float32 memory over an axis, one term after the other.

    torch's own sum splits long axes over its threads, so its order of terms is not fixed.
    """
    outer, count, inner = (
        parts.shape[:axis].numel(), parts.shape[axis], parts.shape[axis + 1 :].numel()
    )  # fmt: skip
    out = parts.new_empty(*parts.shape[:axis], *parts.shape[axis + 1 :])
    if not parts.numel():
        return out.zero_()
    slices = -(-inner // (LANES * VECS))
    sizes: Arguments = {"n_count": count, "n_inner": inner, "n_slices": slices}
    compiled(build_total)(outer * slices, sizes | {"parts": parts, "out": out})
    return out


def build_total() -> Native:
    """out[i, j] = sum_c parts[i, c, j]."""
    k = Kernel(LANES, ("parts", "out", "n_count", "n_inner", "n_slices"))
    inner = k.int("n_inner")
    with k.tasks() as task:
        outer, first = task // k.int("n_slices"), task % k.int("n_slices") * (LANES * VECS)
        places = [first + LANES * v for v in range(VECS)]
        masks = [k.first_lanes(inner - place) for place in places]
        sums = [Var(k, 0.0) for _ in range(VECS)]
        with k.loop(k.int("n_count")) as c:
            row = k.ptr("parts") + (outer * k.int("n_count") + c) * inner
            for total, place, mask in zip(sums, places, masks, strict=True):
                total.set(total.get() + (row + place).load(mask))
        for total, place, mask in zip(sums, places, masks, strict=True):
            (k.ptr("out") + outer * inner + place).store(total.get(), mask)
    return Native(k)
