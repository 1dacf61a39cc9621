"""Pairs that are sorted, scattered, and reduced over windows.

A scatter-add of n updates errs, beside 3.01 u**2 of its result, by at most n 2**-119 max|update|: the updates are cut
into slices whose sums are exact in any order, as in `_contractions`. Windows are reduced as in `_reductions`; sorting
is exact.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from precjax.doubledouble import _arithmetic as arithmetic
from precjax.doubledouble._complex import Parts, is_complex, joined, parts
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


def scatter_combined(
    operation: Callable[[Any, Any], Any], x: Any, indices: Any, updates: Any, dimension_numbers: Any, **options: Any
) -> Any:
    """Combines updates with the places that the indices say; those that meet in a place one after the other.

    Args:
        operation: of two pairs, such as `mul`, or of the `Parts` of complex ones.
        x: what the places hold.
        indices: as in `lax.scatter_mul`.
        updates: what to combine it with.
        dimension_numbers: as in `lax.scatter_mul`.
        options: indices_are_sorted, unique_indices, mode.

    Returns:
        As many operations in a place as there are updates.
    """
    nowhere, one = (jnp.zeros_like(jax.tree.leaves(v)[0]) for v in (x, updates))

    def scatter(how: Callable[..., Any], v: Any) -> Any:
        return how(nowhere, indices, v, dimension_numbers, **options)

    read = _gather_like(dimension_numbers, nowhere.shape, one.shape)
    numbers = jnp.reshape(jnp.arange(1.0, one.size + 1, dtype=one.dtype), one.shape)

    def one_each(state: tuple[Any, Any]) -> tuple[Any, Any]:
        total, left = state
        last = scatter(lax.scatter_max, jnp.where(left, numbers, 0.0))
        chosen = left & (read(last, indices, options["mode"]) == numbers)
        term = jax.tree.map(lambda v: scatter(lax.scatter_add, jnp.where(chosen, v, 0.0)), updates)
        combined = jax.tree.map(functools.partial(jnp.where, last > 0), operation(total, term), total)
        return combined, left & ~chosen

    inside = read(jnp.ones_like(nowhere), indices, options["mode"]) == 1
    return lax.while_loop(lambda state: jnp.any(state[1]), one_each, (x, inside))[0]


def _gather_like(scatter: Any, shape: Sequence[int], updates: Sequence[int]) -> Callable[..., Any]:
    """Reads, for each update, the number in the place where a scatter puts it; 0 where it is dropped."""
    numbers = lax.GatherDimensionNumbers(
        scatter.update_window_dims,
        scatter.inserted_window_dims,
        scatter.scatter_dims_to_operand_dims,
        scatter.operand_batching_dims,
        scatter.scatter_indices_batching_dims,
    )
    within = iter(scatter.update_window_dims)
    single = {*scatter.inserted_window_dims, *scatter.operand_batching_dims}
    sizes = [1 if axis in single else updates[next(within)] for axis in range(len(shape))]
    return lambda x, indices, mode: lax.gather(x, indices, numbers, sizes, mode=mode, fill_value=0)


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


def select_and_scatter_add(source: DD, x: DD, largest: bool, **windows: Any) -> DD:
    """Adds the source to the winner of each window of x, the first of equals: the gradient of a maximum over windows.

    Args:
        source: one pair for each window.
        x: what the windows look at.
        largest: whether the largest element wins, or the smallest.
        windows: window_dimensions, window_strides, padding, as in `lax.reduce_window`.

    Returns:
        Sums in the shape of x, good as those of `scatter_add`.
    """
    places, *_ = _winners(x, [], largest, **windows)
    numbers = lax.ScatterDimensionNumbers((), (0,), (0,))
    zero = DD(*(jnp.zeros(x.hi.size, x.hi.dtype),) * 2)
    indices = jnp.reshape(places, (-1, 1)).astype(jnp.int64)
    sums = scatter_add(zero, indices, DD(*map(jnp.ravel, source)), numbers, mode=lax.GatherScatterMode.FILL_OR_DROP)
    return DD(*(jnp.reshape(v, x.hi.shape) for v in sums))


def select_and_gather_add(sent: DD, x: DD, largest: bool, **windows: Any) -> DD:
    """What the winner of each window of x sends: the derivative of a maximum over windows; 0 for padding alone.

    Args:
        sent: one pair for each element.
        x: what the windows look at.
        largest: whether the largest element wins, or the smallest.
        windows: as in `lax.reduce_window`.

    Returns:
        One pair for each window, exactly.
    """
    _, *chosen = _winners(x, sent, largest, **windows)
    return DD(*chosen)


def _winners(x: DD, others: Sequence[Any], largest: bool, window_dimensions: Any, **options: Any) -> list[Any]:
    """The places of the winners, the first of equals first, and what other arrays hold there."""
    x = x if largest else arithmetic.neg(x)
    places = jnp.reshape(jnp.arange(x.hi.size, dtype=x.hi.dtype), x.hi.shape)
    start = [jnp.full((), v, x.hi.dtype) for v in (-math.inf, 0.0, x.hi.size, *(0.0 for _ in others))]

    def winner(a: Any, b: Any) -> Any:
        (*u, i), (*v, j) = a[:3], b[:3]
        u, v = DD(*u), DD(*v)
        first = arithmetic.gt(u, v) | (arithmetic.eq(u, v) & (i < j)) | (u.hi != u.hi)
        return tuple(jnp.where(first, left, right) for left, right in zip(a, b, strict=True))

    return list(lax.reduce_window((*x, places, *others), tuple(start), winner, window_dimensions, **options)[2:])


def sort(operands: Sequence[Any], dimension: int, num_keys: int, is_stable: bool = True) -> list[Any]:
    """Sorts pairs and arrays together by the first of them, exactly: by hi, and then by lo.

    Complex keys are sorted by their real parts, and then by their imaginary ones.

    Args:
        operands: pairs or arrays, of one shape.
        dimension: the axis.
        num_keys: how many of the operands are keys.
        is_stable: as in `lax.sort`.

    Returns:
        The sorted operands.
    """
    trees = [parts(x) if i < num_keys and is_complex(x) else x for i, x in enumerate(operands)]
    leaves, structure = jax.tree.flatten(trees)
    keys = len(jax.tree.leaves(trees[:num_keys]))
    done = jax.tree.unflatten(structure, lax.sort(leaves, dimension, is_stable, keys))
    return [joined(x) if isinstance(x, Parts) else x for x in done]


def top_k(x: DD, k: int, axis: int) -> tuple[DD, Any]:
    """The k largest elements along an axis, the first of equals first, and their places; NaN counts as largest."""
    positions = lax.broadcasted_iota(jnp.int32, x.hi.shape, axis)
    key = arithmetic.neg(DD(jnp.where(x.hi != x.hi, jnp.inf, x.hi), x.lo))
    _, chosen, places = sort([key, x, positions], axis, 1)
    first = lambda v: lax.slice_in_dim(v, 0, k, axis=axis)  # noqa: E731
    return DD(*map(first, chosen)), first(places)
