"""Sorting, and the largest numbers.

Theorem: sorting is nonexpansive in the maximum norm, so sorted numbers move by at most the largest error among them.
Where a gap between neighbours is wider than their balls, those before it come before those behind it in every
execution, so that a number with such gaps on both sides keeps its place. Where balls overlap, places are in doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
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

    Where neighbours' balls overlap their places are in doubt: payloads there may be any along the axis.
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
    mixed = _places_in_doubt(outs[0], largest, dimension)
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


def _places_in_doubt(values: Any, error: Any, dimension: int, sign: float = 1.0) -> Any:
    """Where sorted keys are not apart from a neighbour; `sign` -1 if they fall."""
    keys = lax.convert_element_type(values, error.dtype)
    n = values.shape[dimension]
    if n < 2:
        return jnp.zeros(values.shape, bool)
    gaps = lax.sub(lax.slice_in_dim(keys, 1, n, axis=dimension), lax.slice_in_dim(keys, 0, n - 1, axis=dimension))
    room = times(lax.slice_in_dim(error, 1, n, axis=dimension), 4.0)
    close = lax.bitwise_and(lax.bitwise_not(lax.gt(times(gaps, sign), room)), less(0.0, room))
    after, before = (
        lax.pad(close, np.bool_(False), [(*(side if i == dimension else (0, 0)), 0) for i in range(values.ndim)])
        for side in ((1, 0), (0, 1))
    )
    return lax.bitwise_or(after, before)


@rule("top_k")
def top_k(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, k: int, axis: int = -1) -> list[Any]:
    """The k largest move by at most the largest error along the axis; places are in doubt as those of a sort are."""
    x = Ball(operands[0], error_dtype(outs[0].dtype))
    error = read_error(x) if is_inexact(outs[0].dtype) else x.error
    if error is None:
        return [None, None]
    axis %= outs[0].ndim
    n = operands[0].value.shape[axis]
    kept = [i for i in range(outs[0].ndim) if i != axis]
    line = lax.reduce_max(never_nan(jnp.broadcast_to(error, operands[0].value.shape)), (axis,))
    largest = lax.broadcast_in_dim(line, outs[0].shape, kept)
    mixed = _places_in_doubt(outs[0], largest, axis, -1.0)
    if k < n:
        mixed = lax.bitwise_or(mixed, _rivals_left_out(operands[0].value, outs[0], line, axis))
    return [where(lax.eq(outs[0], outs[0]), reordered(largest), np.inf), where(mixed, float(n - 1), 0.0)]


def _rivals_left_out(values: Any, chosen: Any, error: Any, axis: int) -> Any:
    """The last place, where a number that was left out is not apart from the last one that was chosen."""
    k, kept = chosen.shape[axis], [i for i in range(chosen.ndim) if i != axis]
    keys, last = (lax.convert_element_type(x, error.dtype) for x in (values, lax.index_in_dim(chosen, k - 1, axis)))
    room = lax.broadcast_in_dim(times(error, 4.0), keys.shape, kept)
    near = lax.bitwise_not(lax.gt(lax.sub(jnp.broadcast_to(last, keys.shape), keys), room))
    rivals = lax.gt(lax.reduce_sum(near.astype(jnp.float32), (axis,)), np.float32(k))
    in_doubt = lax.bitwise_and(rivals, less(0.0, error))
    place = lax.broadcasted_iota(jnp.int32, chosen.shape, axis)
    return lax.bitwise_and(
        lax.broadcast_in_dim(in_doubt, chosen.shape, kept), lax.eq(place, jnp.full_like(place, k - 1))
    )


@rule("approx_top_k")
def approx_top_k(
    model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, k: int, reduction_dimension: int
) -> list[Any]:
    """On a CPU nothing is approximate: the k largest, or smallest."""
    return top_k(model, operands, outs, k=k, axis=reduction_dimension)


@refusal("approx_top_k")
def _not_aggregated(eqn: Any) -> str | None:
    return None if eqn.params["aggregate_to_topk"] else "with aggregate_to_topk=False it leaves out any numbers"
