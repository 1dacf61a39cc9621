"""Primitives that move elements.

Theorem: if out[i] = x[s(i)] for an index map s, then error[i] = e[s(i)]: the primitive itself, applied to the error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax import _jax_compat as compat
from precjax._annotated import Annotated
from precjax._registry import rule
from precjax._rounding import as_error, dtype_of, error_dtype


def defmove(*names: str) -> None:
    """Registers primitives that move the elements of their first operand; the other operands must be exact (shapes)."""
    for name in names:
        if (primitive := compat.primitive(name)) is not None:
            rule(name)(_mover(primitive))


def _mover(primitive: Any) -> Any:
    def move(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], **params: Any) -> list[Any]:
        error = operands[0].error
        if error is None:
            return [None] * len(outs)
        moved = primitive.bind(error, *(x.value for x in operands[1:]), **params)
        return list(moved) if primitive.multiple_results else [moved]

    return move


defmove("broadcast_in_dim", "reshape", "transpose", "squeeze", "slice", "rev", "copy", "split", "unstack", "tile")


@rule("stop_gradient", "copy_p", "sharding_constraint", "name", "neg", "abs", "real", "imag", "conj")
def passes(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """The error is that of the operand: isometries, and | |x| - |y| | <= |x - y|."""
    return [operands[0].error]


@rule(
    "optimization_barrier", "pvary", "device_put", "reshard", "layout_constraint", "with_memory_space_constraint",
    "relayout", "pin", "unpin", "shard_alike", "xla_metadata_value",
)  # fmt: skip
def passes_all(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Each result is its operand."""
    return [x.error for x in operands]


@rule(
    "iota", "empty", "empty2", "create_token", "axis_index", "platform_index", "after_all",
)  # fmt: skip
def exact(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Integers and constants."""
    if any(x.error is not None for x in operands):
        return [model.explicit(Annotated(v)).error for v in outs]
    return [None] * len(outs)


@rule("concatenate")
def concatenate(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, dimension: int) -> list[Any]:
    """Errors laid side by side."""
    return [_with(lambda *errors: lax.concatenate(errors, dimension), model, operands, outs[0])]


@rule("stack")
def stack(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], **params: Any) -> list[Any]:
    """Errors stacked."""
    axis = params.get("axis", params.get("dimension", 0))
    return [_with(lambda *errors: jnp.stack(errors, axis), model, operands, outs[0])]


@rule("pad")
def pad(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, padding_config: Any) -> list[Any]:
    """Errors padded with the error of the padding value."""
    return [_with(lambda e, filler: lax.pad(e, filler, padding_config), model, operands, outs[0])]


def _with(move: Any, model: Any, operands: Sequence[Annotated], out: Any) -> Any:
    """Applies a move to the errors of several operands; zeros where exact, None if all are."""
    if all(x.error is None for x in operands):
        return None
    return move(*(explicit(model, x, error_dtype(out.dtype)) for x in operands))


def explicit(model: Any, x: Annotated, dtype: Any) -> Any:
    """The error of an operand in a dtype of errors; zeros where it is exact."""
    return as_error(model.explicit(x).error, dtype)


def broadcast_error(model: Any, x: Annotated, shape: tuple[int, ...], dtype: Any) -> Any:
    """The error of an operand (zeros where exact), a scalar's broadcast to a shape."""
    return jnp.broadcast_to(explicit(model, x, dtype), shape)


def value_as(x: Annotated, dtype: Any) -> Any:
    """The value in a dtype of errors."""
    return lax.convert_element_type(x.value, dtype) if dtype_of(x.value) != dtype else x.value
