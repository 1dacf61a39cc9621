"""Sorting, and the largest numbers.

Theorem: sorting is nonexpansive in the maximum norm, so sorted numbers move by at most the largest error among them.
Where the balls of neighbours overlap, their places are in doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._annotated import Annotated
from precjax._ball import Ball, read_error
from precjax._registry import refusal, rule
from precjax._rounding import (
    enlarged,
    error_dtype,
    format_of,
    is_inexact,
    less,
    never_nan,
    plus,
    reordered,
    times,
    where,
)
from precjax.rules.structural import explicit


@rule("sort")
def sort(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, dimension: int, num_keys: int) -> list[Any]:
    """Sorted keys move by at most the largest error along the axis (sorting is nonexpansive in the maximum norm).

    Where neighbours' balls overlap the permutation is in doubt: payloads then may be any along the axis.
    """
    if all(x.error is None for x in operands) and all(not is_inexact(v.dtype) for v in outs[:num_keys]):
        return [None] * len(outs)
    key = Ball(operands[0], error_dtype(outs[0].dtype))
    error = read_error(key)
    if error is None and all(x.error is None for x in operands):
        return [None] * len(outs)
    shape, kept = outs[0].shape, [i for i in range(outs[0].ndim) if i != dimension]

    def spread(v: Any) -> Any:
        return lax.broadcast_in_dim(lax.reduce_max(never_nan(jnp.broadcast_to(v, shape)), (dimension,)), shape, kept)

    largest = spread(jnp.asarray(0.0 if error is None else error, key.dtype))
    results = [where(lax.eq(outs[0], outs[0]), reordered(largest), np.inf)]
    mixed = _order_in_doubt(outs[0], largest, dimension, spread)
    if any(x.error is not None for x in operands[1:num_keys]):
        mixed = jnp.ones_like(mixed)
    for x, out in zip(operands[1:], outs[1:], strict=True):
        own = spread(explicit(model, x, error_dtype(out.dtype)))
        value = lax.convert_element_type(out, error_dtype(out.dtype))
        results.append(where(mixed, _width(spread(value), spread(lax.neg(value)), own, out.dtype), own))
    return results


def _width(top: Any, minus_bottom: Any, error: Any, dtype: Any) -> Any:
    """How far payloads along a line and within an error are apart; wide integers were rounded to a dtype of errors."""
    moved = plus(lax.add(top, minus_bottom), error)
    if not is_inexact(dtype):
        sizes = plus(lax.abs(top), lax.abs(minus_bottom))
        digits = format_of(top.dtype).digits
        moved = plus(moved, where(less(sizes, 2.0**digits), 0.0, times(sizes, 2.0**-digits)))
    return enlarged(moved, 4, top.dtype, flushed=int(is_inexact(dtype)))


def _order_in_doubt(values: Any, error: Any, dimension: int, spread: Callable[[Any], Any]) -> Any:
    """Along which lines two neighbours of the sorted keys are not apart."""
    keys = lax.convert_element_type(values, error.dtype)
    n = values.shape[dimension]
    if n < 2:
        return jnp.zeros(values.shape, bool)
    gaps = lax.sub(lax.slice_in_dim(keys, 1, n, axis=dimension), lax.slice_in_dim(keys, 0, n - 1, axis=dimension))
    room = times(lax.slice_in_dim(error, 1, n, axis=dimension), 4.0)
    close = lax.bitwise_and(lax.bitwise_not(lax.gt(gaps, room)), less(0.0, room))
    padded = lax.pad(
        close.astype(jnp.float32), np.float32(0), [(0, int(i == dimension), 0) for i in range(values.ndim)]
    )
    return less(0.0, spread(padded))


@rule("top_k")
def top_k(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, k: int, axis: int = -1) -> list[Any]:
    """The k largest move by at most the largest error along the axis; with any error, their places are in doubt."""
    x = Ball(operands[0], error_dtype(outs[0].dtype))
    error = read_error(x) if is_inexact(outs[0].dtype) else x.error
    if error is None:
        return [None, None]
    axis %= outs[0].ndim
    n = operands[0].value.shape[axis]
    largest = lax.reduce_max(never_nan(jnp.broadcast_to(error, operands[0].value.shape)), (axis,))
    largest = lax.broadcast_in_dim(largest, outs[0].shape, [i for i in range(outs[0].ndim) if i != axis])
    # The first number that was left out may also be a rival: any doubt anywhere along the axis counts.
    certain = lax.eq(largest, jnp.zeros_like(largest))
    return [where(lax.eq(outs[0], outs[0]), reordered(largest), np.inf), where(certain, 0.0, float(n - 1))]


@rule("approx_top_k")
def approx_top_k(
    model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, k: int, reduction_dimension: int
) -> list[Any]:
    """On a CPU nothing is approximate: the k largest, or smallest."""
    return top_k(model, operands, outs, k=k, axis=reduction_dimension)


@refusal("approx_top_k")
def _not_aggregated(eqn: Any) -> str | None:
    return None if eqn.params["aggregate_to_topk"] else "with aggregate_to_topk=False it leaves out any numbers"
