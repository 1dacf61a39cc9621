"""Complex numbers in order: by real parts, and by imaginary parts where those are equal.

Theorem: let no number of a line err by more than e. Where the real parts of two neighbours in the computed order are
more than 2 e apart, the exact order keeps all before them from all behind them. Between such places numbers may change
theirs, and each is then at most the diameter of that cluster, and e, away from any other.

Theorem: the exact extremum is one of the candidates, the numbers whose real parts reach that of the computed one, and a
candidate z with error e is |z - out| + e away at most. (The order is not continuous, as that of real numbers is: two
numbers with almost one real part may be far apart.)

References:
    StableHLO specification, compare and sort: complex numbers compare lexicographically.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._annotated import Annotated
from precjax._ball import Ball, read_error
from precjax._registry import complex_rule
from precjax._rounding import enlarged, equal, error_dtype, less, never_nan, plus, times, where

_REACH = 2.0  # a number and what another execution gives for it are that many errors apart


@complex_rule("sort")
def sort(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, dimension: int, num_keys: int) -> list[Any]:
    """The first key decides, complex or real; where it is exact and ties, later ones do."""
    errors = [_largest(x, out, dimension) for x, out in zip(operands, outs, strict=True)]
    own, later = errors[0], jnp.zeros(outs[0].shape, bool)
    for error in errors[1:num_keys]:
        later = lax.bitwise_or(later, less(0.0, error))
    joined = _joined(lax.real(outs[0]) if jnp.iscomplexobj(outs[0]) else outs[0], own, later, dimension)
    results = []
    for out, error in zip(outs, errors, strict=True):
        moved = plus(error, _diameter(out, joined, dimension, error.dtype))
        moved = where(equal(moved, 0.0), moved, enlarged(moved, 8, error.dtype, flushed=3))
        results.append(where(lax.eq(out, out), never_nan(moved), np.inf))
    return results


def _error(x: Annotated, dtype: Any) -> Any:
    """What comparisons may take an operand to be off, in its shape."""
    ball = Ball(x, dtype)
    error = read_error(ball)
    return jnp.broadcast_to(jnp.asarray(0.0 if error is None else error, dtype), x.value.shape)


def _largest(x: Annotated, out: Any, dimension: int) -> Any:
    """The largest error along the lines, in the shape of the operand."""
    error = never_nan(_error(x, error_dtype(out.dtype)))
    return jnp.broadcast_to(jnp.max(error, axis=dimension, keepdims=True, initial=0.0), out.shape)


def _joined(key: Any, error: Any, later: Any, dimension: int) -> Any:
    """Which elements of the sorted lines may change places with the one before them."""
    n = key.shape[dimension]
    key = lax.convert_element_type(key, error.dtype)
    behind, before = (lax.slice_in_dim(key, i, n - 1 + i, axis=dimension) for i in (1, 0)) if n else (key, key)
    room = lax.slice_in_dim(times(error, 2.125 * _REACH), min(n, 1), n, axis=dimension)
    later = lax.slice_in_dim(later, min(n, 1), n, axis=dimension)
    tied = lax.bitwise_not(lax.gt(lax.sub(behind, before), room))
    joined = lax.bitwise_and(tied, lax.bitwise_or(less(0.0, room), later))
    return jnp.concatenate([jnp.zeros_like(later, shape=_with(key.shape, dimension, min(n, 1))), joined], dimension)


def _with(shape: tuple[int, ...], dimension: int, size: int) -> tuple[int, ...]:
    return (*shape[:dimension], size, *shape[dimension + 1 :])


def _diameter(x: Any, joined: Any, dimension: int, dtype: Any) -> Any:
    """How far elements of the clusters are apart at most."""
    parts = (lax.real(x), lax.imag(x)) if jnp.iscomplexobj(x) else (x,)
    widths = []
    for part in parts:
        part = lax.convert_element_type(part, dtype)
        high, low = (_over_clusters(y, joined, dimension) for y in (part, lax.neg(part)))
        widths.append(where(lax.eq(high, lax.neg(low)), 0.0, lax.add(high, low)))
    return plus(*widths)


def _over_clusters(x: Any, joined: Any, dimension: int) -> Any:
    """The largest element of every cluster, at each of its elements."""

    def combine(a: Any, b: Any) -> Any:
        return lax.bitwise_and(a[0], b[0]), where(b[0], lax.max(a[1], b[1]), b[1])

    _, so_far = lax.associative_scan(combine, (joined, x), axis=dimension)
    n = x.shape[dimension]
    last = lax.slice_in_dim(jnp.zeros_like(joined), 0, min(n, 1), axis=dimension)
    onward = jnp.concatenate([lax.slice_in_dim(joined, min(n, 1), n, axis=dimension), last], dimension)
    return lax.associative_scan(combine, (onward, so_far), reverse=True, axis=dimension)[1]


@complex_rule("max")
def max_(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Of two."""
    return [_of_two(operands, outs[0], 1.0)]


@complex_rule("min")
def min_(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Of two."""
    return [_of_two(operands, outs[0], -1.0)]


def _of_two(operands: Sequence[Annotated], out: Any, sign: float) -> Any:
    dtype = error_dtype(out.dtype)
    both = [jnp.broadcast_to(x.value, out.shape) for x in operands]
    errors = [jnp.broadcast_to(_error(x, dtype), out.shape) for x in operands]
    return _of_candidates(jnp.stack(both), jnp.stack(errors), out, (0,), sign)


@complex_rule("reduce_max")
def reduce_max(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, axes: tuple[int, ...]) -> list[Any]:
    """Of all along the axes."""
    return [_of_candidates(operands[0].value, _error(operands[0], error_dtype(outs[0].dtype)), outs[0], axes, 1.0)]


@complex_rule("reduce_min")
def reduce_min(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, axes: tuple[int, ...]) -> list[Any]:
    """Of all along the axes."""
    return [_of_candidates(operands[0].value, _error(operands[0], error_dtype(outs[0].dtype)), outs[0], axes, -1.0)]


def _of_candidates(z: Any, error: Any, out: Any, axes: tuple[int, ...], sign: float) -> Any:
    """How far the exact extremum is from the computed one; exact numbers decide themselves."""
    whole = jnp.expand_dims(out, axes)
    same = lax.eq(*jnp.broadcast_arrays(z, whole))
    away = where(same, 0.0, lax.abs(lax.sub(*jnp.broadcast_arrays(z, whole))))
    moved = never_nan(where(_candidates(z, error, axes, sign), plus(away, error), 0.0))
    largest = jnp.max(moved, axis=axes, initial=0.0)
    doubt = less(0.0, jnp.max(never_nan(error), axis=axes, initial=0.0))
    bound = where(doubt, enlarged(largest, 8, error.dtype, flushed=3), 0.0)
    return where(lax.eq(out, out), bound, np.inf)


def _candidates(z: Any, error: Any, axes: tuple[int, ...], sign: float) -> Any:
    """Which numbers may come first by their real parts, whatever is exact, in any execution."""
    real = times(lax.convert_element_type(lax.real(z), error.dtype), sign)
    reach = times(error, 1.0625 * _REACH)
    best = jnp.max(lax.sub(real, reach), axis=axes, keepdims=True, initial=-np.inf)
    return lax.bitwise_not(lax.lt(lax.add(real, reach), jnp.broadcast_to(best, real.shape)))
