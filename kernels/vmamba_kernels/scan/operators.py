"""The compiled backends of the scan as torch custom operators.

A backend is a module `scan/<name>_launch.py` with the functions of `Launch`, imported by the first
operator that runs: importing the package loads neither llvmlite nor triton.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol

import torch
from torch import Tensor

from vmamba_kernels.operators import Results, operator, token_major_like, wants_gradient
from vmamba_kernels.types import ScanInputs, ScanOptions

FIELDS = len(ScanInputs._fields)


class Launch(Protocol):
    """What a compiled backend computes: plain functions, no gradient recorded.

    B and C have their group axis and y has the type of u; states are float32. Tensors of tokens are
    returned in token-major memory, None where there is none. `starts` are the states from which a
    gradient recomputes the others, None unless `keep`; the backend chooses their layout.
    """

    def scan(
        self,
        given: ScanInputs,
        z: Tensor | None,
        options: ScanOptions,
        tokens: Tensor | None,
        keep: bool,
    ) -> Results:
        """y, last_state, the states of `tokens` (batch, d_inner, d_state, count), starts."""

    def scan_norms(
        self, given: ScanInputs, z: Tensor | None, options: ScanOptions, keep: bool
    ) -> Results:
        """y, over_states, over_channels, readout (as in `ScanNorms`), starts."""

    def scan_gradient(
        self,
        given: ScanInputs,
        z: Tensor | None,
        options: ScanOptions,
        tokens: Tensor | None,
        starts: Tensor,
        grad_y: Tensor | None,
        grad_last_state: Tensor | None,
        grad_states: Tensor | None,
    ) -> Results:
        """The gradients of `given` and z, typed like them."""

    def bidirectional(
        self,
        forward: ScanInputs,
        backward: ScanInputs,
        z: Tensor | None,
        options: ScanOptions,
        keep: bool,
    ) -> Results:
        """y, the sum before the gate (None where it is not needed), the starts of both scans.

        `options` are those of the backward scan.
        """

    def bidirectional_gradient(
        self,
        forward: ScanInputs,
        backward: ScanInputs,
        z: Tensor | None,
        options: ScanOptions,
        total: Tensor,
        starts: Tensor,
        starts_backward: Tensor,
        grad_y: Tensor,
    ) -> Results:
        """The gradients of `forward`, `backward` and z, typed like them."""

    def step_size(self, delta: Tensor, delta_bias: Tensor | None) -> Tensor:
        """softplus(delta + delta_bias), float32."""

    def step_size_gradient(self, grad: Tensor, delta: Tensor, delta_bias: Tensor | None) -> Results:
        """Float32 gradients of delta and delta_bias."""

    def gated_sum(self, y: Tensor, y_backward: Tensor | None, z: Tensor) -> Tensor:
        """(y + y_backward) * silu(z), float32."""

    def gated_sum_gradient(
        self, grad: Tensor, y: Tensor, y_backward: Tensor | None, z: Tensor
    ) -> Results:
        """Float32 gradients of the sum and of z."""


class Compiled:
    """The functions of `naive`, run by the kernels of one backend.

    Args:
        backend: "cpu" or "gpu".
        bidirectional: Name of the bidirectional operator, without the backend.
    """

    def __init__(self, backend: str, bidirectional: str) -> None:
        self.backend = backend

        def define(function: str, name: str, shapes: Any, **options: Any) -> Any:
            gradient = "_gradient" if function.endswith("_gradient") else ""
            return operator(
                f"{name}_{backend}{gradient}", getattr(Launch, function),
                lambda *inputs: getattr(self.launch(), function)(*inputs), shapes, **options,
            )  # fmt: skip

        def scan_back(inputs: Any, saved: Any, upstream: Any) -> Any:
            *given, tokens, keep = inputs
            (starts,) = saved if keep else self._scan(*given, None, True)[3:]
            grad_y, grad_last_state, grad_states, *_ = upstream
            grad_states = None if tokens is None else grad_states
            return self._gradient(*given, tokens, starts, grad_y, grad_last_state, grad_states)

        def norms_back(inputs: Any, saved: Any, upstream: Any) -> Any:
            *given, keep = inputs
            return scan_back([*given, None, keep], saved, (upstream[0], None, None))

        def both_back(inputs: Any, saved: Any, upstream: Any) -> Any:
            *given, keep = inputs
            kept = saved if keep else self._bidirectional(*given, True)[1:]
            return self._bidirectional_gradient(*given, *kept, upstream[0])

        def step_size_back(inputs: Any, saved: Any, upstream: Any) -> Any:
            return self._step_size_gradient(*upstream, *inputs)

        def gated_sum_back(inputs: Any, saved: Any, upstream: Any) -> Any:
            grad_y, grad_z = self._gated_sum_gradient(*upstream, *inputs)
            return grad_y, grad_y, grad_z

        scan, both = "selective_scan", bidirectional
        last = slice(-1, None)
        self._scan = define(
            "scan", scan, self._scan_shapes, returns=4, gradient=scan_back, saves=last
        )
        self._norms = define(
            "scan_norms", f"{scan}_norms", self._norms_shapes, returns=5, gradient=norms_back,
            saves=last,
        )  # fmt: skip
        self._bidirectional = define(
            "bidirectional", both, self._bidirectional_shapes, returns=4, gradient=both_back,
            saves=slice(1, None),
        )  # fmt: skip
        self._step_size = define(
            "step_size", "step_size", lambda delta, bias: _float32(delta), gradient=step_size_back
        )
        self._gated_sum = define(
            "gated_sum", "gated_sum", lambda y, *_: _float32(y), gradient=gated_sum_back
        )
        self._gradient = define(
            "scan_gradient", scan, lambda given, z, *_: self._gradient_shapes(z, given),
            returns=FIELDS + 1,
        )  # fmt: skip
        self._bidirectional_gradient = define(
            "bidirectional_gradient", both,
            lambda forward, backward, z, *_: self._gradient_shapes(z, forward, backward),
            returns=2 * FIELDS + 1,
        )  # fmt: skip
        self._step_size_gradient = define(
            "step_size_gradient", "step_size",
            lambda grad, delta, bias: (
                _float32(delta), None if bias is None else bias.new_empty(bias.shape).float()
            ),
            returns=2,
        )  # fmt: skip
        self._gated_sum_gradient = define(
            "gated_sum_gradient", "gated_sum", lambda grad, y, *_: (_float32(y), _float32(y)),
            returns=2,
        )  # fmt: skip

    def launch(self) -> Any:
        """The module with the functions of `Launch`."""
        return import_module(f"vmamba_kernels.scan.{self.backend}_launch")

    def scan(
        self, given: ScanInputs, z: Tensor | None, options: ScanOptions, tokens: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run the scan; arguments and results as in `naive.scan`, none of them float64."""
        y, last_state, states, _ = self._scan(given, z, options, tokens, wants_gradient(*given, z))
        return y, last_state, states

    def scan_norms(
        self, given: ScanInputs, z: Tensor | None, options: ScanOptions
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Run the scan and reduce its states; results as in `naive.scan_norms`."""
        y, *norms, _ = self._norms(given, z, options, wants_gradient(*given, z))
        over_states, over_channels, readout = (x.detach() for x in norms)
        return y, over_states, over_channels, readout

    def bidirectional(
        self, forward: ScanInputs, backward: ScanInputs, z: Tensor | None, options: ScanOptions
    ) -> Tensor:
        """Run both directions and gate their sum; as `naive.bidirectional`."""
        keep = wants_gradient(*forward, *backward, z)
        return self._bidirectional(forward, backward, z, options, keep)[0]

    def step_size(self, delta: Tensor, delta_bias: Tensor | None) -> Tensor:
        """softplus(delta + delta_bias), float32."""
        return self._step_size(delta, delta_bias)

    def gated_sum(self, y: Tensor, y_backward: Tensor | None, z: Tensor | None) -> Tensor:
        """(y + y_backward) * silu(z), float32; what is None is left out."""
        if z is None:
            return y.float() if y_backward is None else y.float() + y_backward.float()
        return self._gated_sum(y, y_backward, z)

    def _scan_shapes(
        self, given: ScanInputs, z: Any, options: Any, tokens: Tensor | None, keep: bool
    ) -> Results:
        (batch, d_inner, _), d_state = given.u.shape, given.A.shape[1]
        last_state = _new(given.u, batch, d_state, d_inner).transpose(1, 2)
        states = None
        if tokens is not None:
            states = _new(given.u, batch, tokens.shape[0], d_state, d_inner).permute(0, 3, 2, 1)
        return token_major_like(given.u), last_state, states, *self._starts([given], keep)

    def _norms_shapes(self, given: ScanInputs, z: Any, options: Any, keep: bool) -> Results:
        batch, _, seqlen = given.u.shape
        over_channels = _new(given.u, batch, given.A.shape[1], seqlen)
        return (
            token_major_like(given.u), _float32(given.u), over_channels, _float32(given.u),
            *self._starts([given], keep),
        )  # fmt: skip

    def _bidirectional_shapes(
        self, forward: ScanInputs, backward: ScanInputs, z: Any, options: Any, keep: bool
    ) -> Results:
        total = _float32(forward.u) if keep and self.launch().KEEPS_TOTAL else None
        return token_major_like(forward.u), total, *self._starts([forward, backward], keep)

    def _starts(self, directions: Sequence[ScanInputs], keep: bool) -> Results:
        return tuple(self.launch().empty_starts(x) if keep else None for x in directions)

    def _gradient_shapes(self, z: Tensor | None, *directions: ScanInputs) -> Results:
        grad_z = None if z is None else token_major_like(z)
        return *(x for given in directions for x in self.launch().gradient_shapes(given)), grad_z


def _new(like: Tensor, *shape: int) -> Tensor:
    return like.new_empty(shape, dtype=torch.float32)


def _float32(like: Tensor) -> Tensor:
    return token_major_like(like, torch.float32)
