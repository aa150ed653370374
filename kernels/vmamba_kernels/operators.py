"""One factory for torch custom operators, and the way back through each.

torch wants flat arguments and no missing results. The functions here are written with tuples of
tensors and may return None; the factory flattens, fills in and registers them.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

import torch
from torch import Tensor

Results = tuple[Tensor | None, ...]
LIBRARY = torch.library.Library("vmamba_kernels", "FRAGMENT")
SCHEMA = {Tensor: "Tensor", Tensor | None: "Tensor?", bool: "bool"}


def operator(
    name: str,
    signature: Callable[..., Any],
    run: Callable[..., Any],
    shapes: Callable[..., Any],
    *,
    returns: int = 1,
    gradient: Callable[..., Sequence[Tensor | None]] | None = None,
    saves: slice = slice(0, 0),
) -> Callable[..., Any]:
    """Register a custom operator with its shapes and its gradient.

    Args:
        name: Its name in `torch.ops.vmamba_kernels`, such as "gated_sum_cpu"; that of an operator
            that is itself a gradient ends in "_gradient".
        signature: What declares the parameters. A parameter is a tensor, a tensor or None, a bool,
            or a NamedTuple of these.
        run: Computes the results from these parameters. None is returned as an empty tensor.
        shapes: The same on fake tensors, for torch.compile: new memory of the right layout.
        returns: Number of results; 1 is a tensor, more are a tuple.
        gradient: Takes (parameters, saved results, gradients of the results) and gives the
            gradients of the leading tensors. None: differentiating is an error that names naive.
        saves: Which results to save for the gradient.

    Returns:
        A function of the same parameters as `signature`.
    """
    kinds = _kinds(signature)
    fields = [field for parameter, kind in kinds for field in _fields(parameter, kind)]
    arguments = ", ".join(f"{kind} {field}" for field, kind in fields)
    results = "Tensor" if returns == 1 else f"({', '.join(['Tensor'] * returns)})"

    def structured(flat: Sequence[Any]) -> list[Any]:
        left = iter(flat)
        return [
            next(left) if kind in SCHEMA else kind._make(next(left) for _ in kind._fields)
            for _, kind in kinds
        ]

    def filled(function: Callable[..., Any], flat: Sequence[Any]) -> Any:
        like = next(x for x in flat if isinstance(x, Tensor))
        found = function(*structured(flat))
        if returns == 1:
            return found
        return tuple(like.new_empty(0, dtype=torch.float32) if x is None else x for x in found)

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.set_materialize_grads(False)
        ctx.options = [None if isinstance(x, Tensor) else x for x in inputs]
        tensors = [x if isinstance(x, Tensor) else None for x in inputs]
        ctx.save_for_backward(*tensors, *(() if returns == 1 else output[saves]))

    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        grads: list[Tensor | None] = [None] * len(ctx.options)
        if all(x is None for x in upstream):
            return tuple(grads)
        kept = ctx.saved_tensors  # read once: a block that is run twice allows no second time
        tensors, saved = kept[: len(grads)], kept[len(grads) :]
        inputs = [o if x is None else x for x, o in zip(tensors, ctx.options, strict=True)]
        assert gradient is not None
        for i, grad in enumerate(gradient(structured(inputs), saved, upstream)):
            if tensors[i] is not None and grad is not None:
                grads[i] = grad.to(tensors[i].dtype)
        return tuple(grads)

    def refuse(ctx: Any, *upstream: Tensor | None) -> None:
        call, _, backend = name.removesuffix("_gradient").rpartition("_")
        raise RuntimeError(
            f'{call}: backend="{backend}" has no gradient of its gradient. '
            'Use backend="naive" to differentiate twice.'
        )

    # not torch.library.custom_op: its first call imports torch._dynamo, which takes seconds
    LIBRARY.define(f"{name}({arguments}) -> {results}", tags=torch.Tag.pt2_compliant_tag)
    LIBRARY.impl(name, lambda *flat: filled(run, flat), "CompositeExplicitAutograd")
    full = f"{LIBRARY.ns}::{name}"
    torch.library.register_fake(full, lambda *flat: filled(shapes, flat), lib=LIBRARY)
    if gradient is None:
        torch.library.register_autograd(full, refuse, lib=LIBRARY)
    else:
        torch.library.register_autograd(full, backward, setup_context=setup_context, lib=LIBRARY)
    registered = getattr(torch.ops.vmamba_kernels, name).default

    def call(*parameters: Any) -> Any:
        flat = [y for x in parameters for y in (x if isinstance(x, tuple) else (x,))]
        return registered(*flat)

    return call


def token_major_like(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """New memory shaped like x (batch, channels, seqlen), stride 1 along the channels."""
    batch, channels, seqlen = x.shape
    strides = seqlen * channels, 1, channels
    return x.new_empty_strided((batch, channels, seqlen), strides, dtype=dtype or x.dtype)


def wants_gradient(*tensors: Tensor | None) -> bool:
    """Whether a gradient will be asked for, so that its intermediate states must be saved."""
    return torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)


def _kinds(signature: Callable[..., Any]) -> list[tuple[str, Any]]:
    hints = get_type_hints(signature)
    names = [name for name in inspect.signature(signature).parameters if name != "self"]
    return [(name, hints[name]) for name in names]


def _fields(parameter: str, kind: Any) -> list[tuple[str, str]]:
    """(name, kind in the schema) of a parameter, or of each field of a tuple."""
    if kind in SCHEMA:
        return [(parameter, SCHEMA[kind])]
    hints = get_type_hints(kind)
    return [(f"{parameter}_{field}", SCHEMA[hints[field]]) for field in kind._fields]
