"""One process or many: where training runs, in which precision, and who reads ahead."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

Precision = Literal["no", "bf16", "fp16"]


class OneProcess:
    """What `fit` asks of an `accelerate.Accelerator`, for one process and without that package.

    The model is trained where it is, in its own precision.
    """

    num_processes = 1
    process_index = 0
    is_main_process = True
    scaler = None

    def prepare(self, *given: Any) -> tuple[Any, ...]:
        """Give everything back as it is."""
        return given

    def no_sync(self, module: nn.Module) -> AbstractContextManager[None]:
        """There is nobody to average gradients with."""
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Make the gradients."""
        loss.backward()

    def clip_grad_norm_(self, parameters: Iterable[nn.Parameter], largest: float) -> Tensor:
        """Shorten the gradient to a norm of at most `largest`."""
        return nn.utils.clip_grad_norm_(parameters, largest)

    def reduce(self, tensor: Tensor, reduction: str = "sum") -> Tensor:
        """The sum over one process."""
        return tensor

    def wait_for_everyone(self) -> None:
        """Nobody is late."""

    def free_memory(self) -> None:
        """Nothing was kept."""


def accelerator(precision: Precision = "no") -> Any:
    """Give an `accelerate.Accelerator`: a GPU, the CPU, or one of `torchrun`'s many processes.

    Args:
        precision: "no" (float32), or autocast to "bf16" or "fp16" (a GPU only, with a scaled
            loss). Weights, their gradients, the residual and the scan's states stay float32.
    Raises:
        ImportError: accelerate is not installed.
        ValueError: fp16 without a GPU.
    """
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
    except ImportError:
        raise ImportError(
            'training needs accelerate: pip install "vmamba-explore[train]" brings it.'
        ) from None
    on_cpu = not torch.cuda.is_available()
    if on_cpu and precision == "fp16":
        raise ValueError("accelerator: precision 'fp16' needs a GPU; on a CPU use 'bf16' or 'no'.")
    # DDP notes the layout of the class token's gradient, which is one row: nothing to gain there
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    AcceleratorState._reset_state()  # an earlier run in this process may have had another precision
    return Accelerator(cpu=on_cpu, mixed_precision=precision)


def read_ahead(read: Callable[[int], Any], numbers: Sequence[int], workers: int) -> Iterator[Any]:
    """Yield `read(number)` for each number, in this order.

    Args:
        read: Anything that other processes can be given.
        numbers: What to ask it for.
        workers: Processes that read while the caller works; 0 reads in between.
    """
    loader: DataLoader[Any] = DataLoader(
        _Answers(read),
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=_end_with_parent,
    )
    yield from loader


class _Answers(Dataset[Any]):
    def __init__(self, read: Callable[[int], Any]) -> None:
        self.read = read

    def __getitem__(self, number: int) -> Any:
        return self.read(number)


def _as_it_is(batch: Any) -> Any:
    return batch


def _end_with_parent(worker: int) -> None:
    """Without a reader left, a worker would try for ever to hand over what it has read."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
