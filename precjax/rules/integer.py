"""Integers and bools.

They are exact unless a decision on inexact data made them; then their error is the largest difference that another
decision could make, and 1 for a bool. Theorem: sums and products of integers obey the bounds of real ones, as long as
the ball does not leave the dtype; an operation on bits of an uncertain integer may give anything, but for shifts
(`shifts`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._annotated import Annotated
from precjax._ball import Ball
from precjax._registry import rule
from precjax._rounding import enlarged, error_dtype, magnitude, where
from precjax.rules.structural import broadcast_error


def combine_integers(model: Any, operands: Sequence[Annotated], out: Any, bound: Callable[..., Any]) -> Any:
    """The error of an integer result whose operands' errors combine as `bound` says; inf where it might wrap around."""
    if all(x.error is None for x in operands):
        return None
    dtype = error_dtype(out.dtype)
    error = bound(*(Ball(x, dtype).error for x in operands))
    error = jnp.broadcast_to(enlarged(error, 8, dtype, flushed=0), out.shape)
    limits, size = jnp.iinfo(out.dtype), magnitude(out, dtype)
    # Numbers that the dtype of errors rounds stay away from the end.
    end = limits.max * (1 - 2.0**-20) if limits.bits > 16 else float(limits.max)
    leaves = lax.gt(lax.add(size, error), jnp.asarray(end, dtype))
    if limits.min == 0:
        leaves = lax.bitwise_or(leaves, lax.gt(error, size))
    uncertain = lax.ne(error, jnp.zeros((), dtype))
    return where(lax.bitwise_and(leaves, uncertain), np.inf, error)


def unsure(model: Any, operands: Sequence[Annotated], shape: tuple[int, ...]) -> Any:
    """Where any operand of an elementwise operation has an error; None if never."""
    doubts = [jnp.broadcast_to(d, shape) for x in operands if (d := model.doubt(x)) is not None]
    result = None
    for doubt in doubts:
        result = doubt if result is None else lax.bitwise_or(result, doubt)
    return result


def spoiled(model: Any, operands: Sequence[Annotated], out: Any, worst: float = np.inf) -> Any:
    """Error `worst` wherever an operand is uncertain."""
    doubt = unsure(model, operands, out.shape)
    return None if doubt is None else where(doubt, worst, jnp.zeros((), error_dtype(out.dtype)))


@rule("population_count", "clz", "mulhi")
def bits(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Bit operations, and the upper halves of products: certain or anything."""
    return [spoiled(model, operands, outs[0])]


@rule("xor", "not")
def logic(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """On bools uncertain where an operand is; on integers, bit operations."""
    out = outs[0]
    if out.dtype != jnp.bool_:
        return [spoiled(model, operands, out)]
    if all(x.error is None for x in operands):
        return [None]
    if len(operands) == 1:
        return [operands[0].error]
    return [spoiled(model, operands, out, worst=1.0)]


@rule("and")
def and_(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """False and anything is False."""
    return [_decisive(model, operands, outs[0], False)]


@rule("or")
def or_(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """True or anything is True."""
    return [_decisive(model, operands, outs[0], True)]


def _decisive(model: Any, operands: Sequence[Annotated], out: Any, decisive: bool) -> Any:
    if out.dtype != jnp.bool_:
        return spoiled(model, operands, out)
    error = spoiled(model, operands, out, worst=1.0)
    if error is None:
        return None
    for x in operands:
        value = jnp.broadcast_to(x.value, out.shape)
        settles = lax.eq(value, lax.full_like(value, decisive))
        certain = lax.eq(broadcast_error(model, x, out.shape, error.dtype), lax.full_like(error, 0))
        error = where(lax.bitwise_and(settles, certain), 0.0, error)
    return error
