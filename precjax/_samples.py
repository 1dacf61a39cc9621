"""Runs a program several times with random roundings, as one vectorised program: the companion of `Stochastic`."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _jax_compat as compat
from precjax._annotated import Annotated
from precjax._interpreter import given, interpret
from precjax._rounding import error_dtype, is_inexact, is_plain, where
from precjax._tracked import Tracked
from precjax.models._random_roundings import SAMPLES
from precjax.models.stochastic import Stochastic, StochasticTracked


def samples(model: Stochastic, closed: Any, parts: list[Any], leaves: list[Any]) -> list[Any]:
    """The errors and the samples of every result.

    Args:
        model: says how many samples there are, and how operations round.
        closed: the program.
        parts: its arguments; arrays, or `Tracked` of arrays.
        leaves: its results.

    Returns:
        Error ``(*s)`` and samples ``(*s, samples)`` of each result.
    """
    body, constants = compat.hoisted(closed)
    parts, leaves = jax.tree.map(lax.stop_gradient, ([*constants, *parts], leaves))

    def sample(parts: list[Any]) -> list[Any]:
        arguments = [_enter(model, part, number) for number, part in enumerate(parts)]
        return [x.value if is_plain(x.value) else jnp.zeros(x.value.shape) for x in interpret(model, body, arguments)]

    axes = [_axes(model, part) for part in parts]
    runs = jax.vmap(sample, in_axes=(axes,), axis_name=SAMPLES, axis_size=model.samples)(parts)
    # The deviation is taken before samples become the last axis: an axis that is short and last is slow to sum over.
    return [
        field
        for run, value in zip(runs, leaves, strict=True)
        for field in (_error(value, run), jnp.moveaxis(run, 0, -1))
    ]


def _enter(model: Stochastic, part: Any, number: int) -> Annotated:
    """An argument of one run, in the format that the model gives it."""
    x = given(part.value if isinstance(part, Tracked) else part)
    if not is_plain(x.value):
        return x
    if isinstance(part, StochasticTracked):
        x = x._replace(value=part.samples)
    elif isinstance(part, Tracked):
        draws = jax.random.fold_in(jax.random.fold_in(jax.random.key(model.seed), number), lax.axis_index(SAMPLES))
        value = jnp.asarray(x.value)
        # Value and sample are both a draw away from the exact number.
        deviation = jnp.broadcast_to(part.error, value.shape).astype(error_dtype(value.dtype)) * math.sqrt(2)
        x = x._replace(value=_drawn(draws, value, deviation))
    return model.admit(x)


def _drawn(draws: Any, value: Any, deviation: Any) -> Any:
    """A number at random about a value; the deviation of a complex number is that of its distance from the value."""
    dtype = deviation.dtype
    if value.dtype == jnp.bool_:
        return value ^ (jax.random.uniform(draws, value.shape) < lax.square(deviation))
    if jnp.issubdtype(value.dtype, jnp.complexfloating):
        direction = jax.random.normal(draws, (2, *value.shape), dtype) * np.asarray(math.sqrt(0.5), dtype)
        return value + lax.complex(direction[0] * deviation, direction[1] * deviation)
    move = jax.random.normal(draws, value.shape, dtype) * deviation
    if is_inexact(value.dtype):
        return (value.astype(dtype) + move).astype(value.dtype)
    return value + jnp.round(move).astype(value.dtype)


def _axes(model: Stochastic, part: Any) -> Any:
    """The samples of an argument that carries them are vectorised over."""
    if not isinstance(part, StochasticTracked):
        return None
    count = part.samples.shape[-1]
    if count != model.samples:
        raise ValueError(
            f"an argument carries {count} samples, and the model has samples={model.samples}: use one number of "
            f"samples throughout, or pass precjax.Tracked(*argument) to draw new ones"
        )
    return StochasticTracked(None, None, -1)


def _error(value: Any, runs: Any) -> Any:
    """Root mean square of sample - value, over the root of two: value and sample differ by the errors of both.

    Run by run: XLA's library on a CPU takes 25 times as long for sums and maxima over a first axis.
    """
    if not is_plain(value):
        return jnp.zeros(value.shape, jnp.float32)

    def joined(run: Any, norm: Any) -> Any:
        distance = _distance(lax.dynamic_index_in_dim(runs, run, keepdims=False), value)
        return _hypotenuse(norm, distance.astype(norm.dtype))

    norm = lax.fori_loop(0, len(runs), joined, jnp.zeros(value.shape, error_dtype(value.dtype)))
    return lax.mul(norm, np.asarray(1 / math.sqrt(2 * len(runs)), norm.dtype))


def _hypotenuse(a: Any, b: Any) -> Any:
    """Root of a**2 + b**2, neither of them negative; no square vanishes or overflows that matters."""
    larger, smaller = lax.max(a, b), lax.min(a, b)
    tangent = where(lax.eq(smaller, jnp.zeros_like(smaller)), 0.0, lax.div(smaller, larger))
    root = lax.mul(larger, lax.sqrt(1 + lax.square(tangent)))
    return where(lax.is_finite(larger), root, larger)


def _distance(a: Any, b: Any) -> Any:
    """|a - b|: 0 where both are the same infinity or NaN, inf where only one is NaN."""
    if a.dtype == jnp.bool_:
        return lax.ne(a, b)
    if not is_inexact(a.dtype):
        return lax.sub(lax.max(a, b), lax.min(a, b))
    nans = [lax.ne(x, x) for x in (a, b)]
    same = lax.bitwise_or(lax.eq(a, b), lax.bitwise_and(*nans))
    wide = a.dtype if jnp.issubdtype(a.dtype, jnp.complexfloating) else error_dtype(a.dtype)
    difference = lax.abs(lax.sub(a.astype(wide), b.astype(wide)))
    return where(same, 0.0, where(lax.bitwise_or(*nans), jnp.inf, difference))
