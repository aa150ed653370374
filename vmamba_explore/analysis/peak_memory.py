"""How much memory a run holds at most."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(run: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """Return the most bytes that a run holds at one time, beyond what was there before it.

    On a GPU torch's allocator counts. On a CPU every tensor that an operation returns is counted
    from when it is made until its memory is freed. The number is exact and the same on every
    machine, whatever the process did before; scratch memory inside one operation is not counted.

    Args:
        run: Called once.
        device: Whose memory to look at.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with _Ledger() as ledger:
        run()
    return ledger.peak


class _Ledger(TorchDispatchMode):
    """The tensors made by the operations in a `with` block: how many bytes are held, at most."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._held = 0
        self._sizes: dict[int, int] = {}  # of every memory block that lives, by identity

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        self._enter((args, kwargs), made=False)  # a view of them is no new memory
        with self:  # an operation made of others arrives whole in inference mode: look inside
            result = func.decompose(*args, **kwargs)
        if result is not NotImplemented:
            return result
        result = func(*args, **kwargs)
        self._enter(result, made=True)
        return result

    def _enter(self, values: object, made: bool) -> None:
        for value in tree_leaves(values):
            if isinstance(value, torch.Tensor):
                block = value.untyped_storage()
                if id(block) not in self._sizes:
                    self._sizes[id(block)] = block.nbytes() if made else 0
                    weakref.finalize(block, self._strike_off, id(block))
                    self._held += self._sizes[id(block)]
                    self.peak = max(self.peak, self._held)

    def _strike_off(self, block: int) -> None:
        self._held -= self._sizes.pop(block)
