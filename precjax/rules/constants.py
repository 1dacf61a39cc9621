"""Arithmetic of arrays that are made of constants alone.

Theorem: an operand whose error is 0 is exact, in every execution, and rounds as an exact one does: sums by what TwoSum
says, powers of two not at all. 0 x, 0 / y and powers of 0 are 0, and nothing is rounded or lost. Frequencies, distances
on a grid and masks are made of constants, and compared with 0; bounds of roundings and underflows would leave that in
doubt. Of other numbers such tests are rare, and not worth more operations wherever numbers are multiplied.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax._annotated import Annotated
from precjax._ball import subnormal
from precjax._registry import Rule
from precjax._rounding import dtype_of, equal, is_inexact, where

_SUMS = frozenset({"add", "sub"})
_OF_THE_FIRST = frozenset({"div", "square", "sqrt", "integer_pow"})  # 0 where the first operand is
_ARITHMETIC = _SUMS | _OF_THE_FIRST | {"mul"}


def lowered(model: Any, rule: Rule, eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any], errors: Any) -> Any:
    """The errors that a rule says of an equation, lowered where its operands are constants that are exact."""
    name = eqn.primitive.name
    if name not in _ARITHMETIC or not all(x.known.fixed for x in operands):
        return errors
    (out,), (error,) = outs, errors
    if error is None or not is_inexact(out.dtype):
        return errors
    inexact = [x for x in operands if x.error is not None]
    if inexact:
        (of_exact,) = rule(model, [x._replace(error=None) for x in operands], outs, **eqn.params)
        certain = [_full(equal(x.error, 0.0), out) for x in inexact]
        error = where(functools.reduce(lax.bitwise_and, certain), 0.0 if of_exact is None else of_exact, error)
    if name in _SUMS:
        return [error]
    zeros = [_full(_exactly_zero(x), out) for x in operands[: 1 if name in _OF_THE_FIRST else 2]]
    # An infinite error may be that of a pole.
    kept = lax.bitwise_and(equal(out, 0.0), lax.is_finite(error))
    return [where(lax.bitwise_and(functools.reduce(lax.bitwise_or, zeros), kept), 0.0, error)]


def _full(x: Any, out: Any) -> Any:
    return jnp.broadcast_to(x, out.shape)


def _exactly_zero(x: Annotated) -> Any:
    value = jnp.asarray(x.value)
    zero = lax.eq(value, lax.full_like(value, 0))
    if is_inexact(dtype_of(value)):
        zero = lax.bitwise_and(zero, lax.bitwise_not(subnormal(value)))
    return zero if x.error is None else lax.bitwise_and(zero, equal(x.error, 0.0))
