"""Pairs that are sorted, scattered, and reduced over windows.

A scatter-add of n updates errs, beside 3.01 u**2 of its result, by at most n 2**-119 max|update|: the updates are cut
into slices whose sums are exact in any order, as in `_contractions`. Windows are reduced as in `_reductions`; sorting
is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax.doubledouble import _arithmetic as arithmetic
from precjax.doubledouble._contractions import LOWEST, Cut, collected, slices
from precjax.doubledouble._pairs import DD, exponent, from_float, scaled, settle


def scatter_cut(terms: int) -> Cut:
    """The slices for sums of so many terms: terms * 2**(bits - 1) <= 2**53, bits * slices >= LOWEST."""
    bits = min(48, 54 - math.ceil(math.log2(max(terms, 1))))
    return Cut(bits, -(-LOWEST // bits))


def scatter_add(x: DD, indices: Any, updates: DD, dimension_numbers: Any, **options: Any) -> DD:
    """Adds updates to the places that the indices say; see above.

    Args:
        x: where to add, pairs ``(*s)``.
        indices: as in `lax.scatter_add`.
        updates: what to add.
        dimension_numbers: as in `lax.scatter_add`.
        options: indices_are_sorted, unique_indices, mode.

    Returns:
        The sums. Where float64 gives inf or NaN, so does this.
    """

    def add(base: Any, y: Any) -> Any:
        return lax.scatter_add(base, indices, y, dimension_numbers, **options)

    plain = add(x.hi, updates.hi)
    if updates.hi.size == 0:
        return x
    cut = scatter_cut(updates.hi.size)
    regular = arithmetic.select(lax.is_finite(updates.hi), updates, from_float(0.0))
    size = exponent(jnp.max(lax.abs(regular.hi))) + 1
    parts = slices(scaled(regular, -size), cut)
    sums = collected([add(jnp.zeros_like(x.hi), parts[i]) for i in range(cut.slices)], cut.bits, 1)
    return settle(lax.is_finite(plain), plain, *arithmetic.add(x, scaled(sums, size)))


def _over_windows(operation: Callable[[DD, DD], DD], neutral: float, doc: str) -> Callable[..., DD]:
    def reduce(
        x: DD, window_dimensions: Any, window_strides: Any, padding: Any, base_dilation: Any, window_dilation: Any
    ) -> DD:
        start = jnp.full((), neutral, x.hi.dtype), jnp.zeros((), x.hi.dtype)
        step = lambda a, b: tuple(operation(DD(*a), DD(*b)))  # noqa: E731
        return DD(
            *lax.reduce_window(
                tuple(x), start, step, window_dimensions, window_strides, padding, base_dilation, window_dilation
            )
        )

    reduce.__doc__ = doc
    return reduce


reduce_window_sum = _over_windows(arithmetic.add, 0.0, "Sums over windows, to 3.01 (n - 1) u**2 of the magnitudes.")
reduce_window_max = _over_windows(arithmetic.max, -math.inf, "The largest element of each window, exactly.")
reduce_window_min = _over_windows(arithmetic.min, math.inf, "The smallest element of each window, exactly.")


def select_and_scatter_add(source: DD, x: DD, largest: bool, window_dimensions: Any, **options: Any) -> DD:
    """Adds the source to the winner of each window of x, the first of equals: the gradient of a maximum over windows.

    Args:
        source: one pair for each window.
        x: what the windows look at.
        largest: whether the largest element wins, or the smallest.
        window_dimensions: as in `lax.reduce_window`.
        options: window_strides, padding.

    Returns:
        Sums in the shape of x, good as those of `scatter_add`.
    """
    x = x if largest else arithmetic.neg(x)
    places = jnp.reshape(jnp.arange(x.hi.size, dtype=x.hi.dtype), x.hi.shape)
    start = jnp.full((), -math.inf, x.hi.dtype), jnp.zeros((), x.hi.dtype), jnp.full((), x.hi.size, x.hi.dtype)

    def winner(a: Any, b: Any) -> Any:
        (*a, i), (*b, j) = a, b
        a, b = DD(*a), DD(*b)
        first = arithmetic.gt(a, b) | (arithmetic.eq(a, b) & (i < j)) | (a.hi != a.hi)
        return *arithmetic.select(first, a, b), jnp.where(first, i, j)

    *_, places = lax.reduce_window((*x, places), start, winner, window_dimensions, **options)
    numbers = lax.ScatterDimensionNumbers((), (0,), (0,))
    zero = DD(*(jnp.zeros(x.hi.size, x.hi.dtype),) * 2)
    indices = jnp.reshape(places, (-1, 1)).astype(jnp.int64)
    sums = scatter_add(zero, indices, DD(*map(jnp.ravel, source)), numbers, mode=lax.GatherScatterMode.FILL_OR_DROP)
    return DD(*(jnp.reshape(v, x.hi.shape) for v in sums))


def sort(operands: Sequence[Any], dimension: int, num_keys: int, is_stable: bool = True) -> list[Any]:
    """Sorts pairs and arrays together by the first of them, exactly: by hi, and then by lo.

    Args:
        operands: pairs or arrays, of one shape.
        dimension: the axis.
        num_keys: how many of the operands are keys.
        is_stable: as in `lax.sort`.

    Returns:
        The sorted operands.
    """
    parts = [list(x) if isinstance(x, DD) else [x] for x in operands]
    keys = sum(map(len, parts[:num_keys]))
    done = iter(lax.sort([v for part in parts for v in part], dimension, is_stable, keys))
    return [DD(next(done), next(done)) if isinstance(x, DD) else next(done) for x in operands]


def top_k(x: DD, k: int, axis: int) -> tuple[DD, Any]:
    """The k largest elements along an axis, the first of equals first, and their places; NaN counts as largest."""
    positions = lax.broadcasted_iota(jnp.int32, x.hi.shape, axis)
    key = arithmetic.neg(DD(jnp.where(x.hi != x.hi, jnp.inf, x.hi), x.lo))
    _, chosen, places = sort([key, x, positions], axis, 1)
    first = lambda v: lax.slice_in_dim(v, 0, k, axis=axis)  # noqa: E731
    return DD(*map(first, chosen)), first(places)
