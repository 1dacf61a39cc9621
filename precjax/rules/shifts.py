"""Shifts of integers.

Theorem: while no bit is lost on the left, x << n is x 2**n; x >> n is floor(x / 2**n), logically as well where x is not
negative. Both are monotone in x, and for every x in n >= 0, so over a box they take their extremes at the corners. By
as many bits as there are, or by more, XLA shifts to 0, or, arithmetically, to -1: the limit of floor(x / 2**n).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax._annotated import Annotated
from precjax._ball import Ball
from precjax._registry import rule
from precjax._rounding import equal, error_dtype
from precjax.rules.integer import unsure
from precjax.rules.integer_interval import Ends, certain, ends, spread


@rule("shift_left")
def shift_left(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Inf where a bit may be lost, or where the number of bits may be negative."""
    return [_shifted(model, operands, outs[0], lax.shift_left, _keeps_bits)]


@rule("shift_right_arithmetic")
def shift_right_arithmetic(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Inf where the number of bits may be negative; the first bit of an unsigned integer is taken for a sign."""
    half = jnp.iinfo(outs[0].dtype).max if jnp.iinfo(outs[0].dtype).min else jnp.iinfo(outs[0].dtype).max // 2
    one_sign = lambda x, n: lax.le(x.high, jnp.full_like(x.high, half))  # noqa: E731
    return [_shifted(model, operands, outs[0], lax.shift_right_arithmetic, one_sign)]


@rule("shift_right_logical")
def shift_right_logical(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """As the arithmetic one of what is not negative; inf for all else."""
    return [_shifted(model, operands, outs[0], lax.shift_right_logical, lambda x, n: _from_zero(x.low))]


def _shifted(
    model: Any, operands: Sequence[Annotated], out: Any, shift: Callable[..., Any], known: Callable[[Ends, Ends], Any]
) -> Any:
    doubt = unsure(model, operands, out.shape)
    if doubt is None:
        return None
    x, n = (ends(o, out) for o in operands)
    corners = [shift(a, b) for a in (x.low, x.high) for b in (n.low, n.high)]
    low, high = functools.reduce(lax.min, corners), functools.reduce(lax.max, corners)
    inside = [lax.bitwise_or(end.inside, _fixed(o, out)) for end, o in ((x, operands[0]), (n, operands[1]))]
    allowed = functools.reduce(lax.bitwise_and, (*inside, _from_zero(n.low), known(x, n)))
    return certain(doubt, allowed, spread(operands, out, low, high))


def _fixed(x: Annotated, out: Any) -> Any:
    """Where an operand is certain, so that its ends are itself."""
    error = Ball(x, error_dtype(out.dtype)).error
    return jnp.ones(out.shape, bool) if error is None else jnp.broadcast_to(equal(error, 0.0), out.shape)


def _from_zero(x: Any) -> Any:
    return lax.ge(x, jnp.zeros_like(x))


def _keeps_bits(x: Ends, n: Ends) -> Any:
    """Whether the largest shift can be undone."""
    signed = jnp.issubdtype(x.low.dtype, jnp.signedinteger)
    back = lax.shift_right_arithmetic if signed else lax.shift_right_logical
    kept = [lax.eq(back(lax.shift_left(a, n.high), n.high), a) for a in (x.low, x.high)]
    bits = jnp.full_like(n.high, 8 * n.high.dtype.itemsize)
    return functools.reduce(lax.bitwise_and, (*kept, lax.lt(n.high, bits)))
