"""Norms of rows of errors through primitives that move elements.

Theorem: a row that is only permuted, or changes signs, has the norm that it had. A part of a row has at most the norm
of the whole; rows that are put together have the root of the sum of their norms' squares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax import _row_norms as norms
from precjax._annotated import Annotated
from precjax._rounding import error_dtype
from precjax.rules.rows import norm_of, row_rule

# Whose norms are those of their operand, so that the errors themselves say nothing new.
KEPT = frozenset({
    "neg", "abs", "copy", "copy_p", "stop_gradient", "name", "rev", "transpose", "broadcast_in_dim", "squeeze",
    "expand_dims",
})  # fmt: skip


@row_rule("neg", "abs", "copy", "copy_p", "stop_gradient", "name")
def _same(model: Any, eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    return [_own(model, operands)]


def _own(model: Any, operands: Sequence[Annotated]) -> Any:
    """The norms of the operand that is moved."""
    return norm_of(model, operands[0], operands[0].error.dtype)


@row_rule("rev")
def _reversed(model: Any, eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    return [lax.rev(_own(model, operands), eqn.params["dimensions"])]


@row_rule("transpose")
def _transposed(model: Any, eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    permutation = eqn.params["permutation"]
    if permutation[-1] != len(permutation) - 1:
        return [None]
    return [lax.transpose(_own(model, operands), permutation)]


@row_rule("reshape", "squeeze", "expand_dims")
def _reshaped(model: Any, eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Rows stay, are split (each part within the whole), or are put together."""
    before, after = operands[0].value.shape, outs[0].shape
    if not before or 0 in before:
        return [None]
    norm = _own(model, operands)
    if before[-1] == after[-1]:
        return [lax.reshape(norm, [*after[:-1], 1])]
    if before[-1] > after[-1]:
        parts = _trailing(after, before[-1])
        if parts is None:
            return [None]
        whole = lax.reshape(norm, [*after[:-parts], *([1] * parts)])
        return [jnp.broadcast_to(whole, [*after[:-1], 1])]
    parts = _trailing(before, after[-1])
    if parts is None:
        return [None]
    return [lax.reshape(norms.along(norm, tuple(range(norm.ndim))[-parts:]), [*after[:-1], 1])]


def _trailing(shape: Sequence[int], size: int) -> int | None:
    """How many axes at the end of a shape hold so many elements together."""
    sizes = (math.prod(shape[-count:]) for count in range(1, len(shape) + 1))
    return next((count for count, found in enumerate(sizes, 1) if found == size), None)


@row_rule("broadcast_in_dim")
def _broadcast(model: Any, eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    x, out, dims = operands[0], outs[0], eqn.params["broadcast_dimensions"]
    if not x.value.ndim or dims[-1] != out.ndim - 1 or x.value.shape[-1] != out.shape[-1]:
        return [None]
    return [lax.broadcast_in_dim(_own(model, operands), [*out.shape[:-1], 1], dims)]


@row_rule("slice")
def _sliced(model: Any, eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    starts, limits, strides = (eqn.params[k] for k in ("start_indices", "limit_indices", "strides"))
    steps = None if strides is None else [*strides[:-1], 1]
    return [lax.slice(_own(model, operands), [*starts[:-1], 0], [*limits[:-1], 1], steps)]


@row_rule("split")
def _split(model: Any, eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    norm, axis = _own(model, operands), eqn.params["axis"]
    return [norm] * len(outs) if axis == norm.ndim - 1 else list(lax.split(norm, eqn.params["sizes"], axis))


@row_rule("concatenate")
def _concatenated(model: Any, eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    axis, dtype = eqn.params["dimension"], error_dtype(outs[0].dtype)
    found = [(x.value.shape, norm_of(model, x, dtype)) for x in operands]
    laid = [lax.full([*s[:-1], 1], n or 0.0, dtype) if n is None or isinstance(n, float) else n for s, n in found]
    side_by_side = lax.concatenate(laid, axis)
    return [norms.of_rows(side_by_side) if axis == outs[0].ndim - 1 else side_by_side]
