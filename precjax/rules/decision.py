"""Decisions: comparisons, selections, signs, roundings to integers.

Theorem: a comparison is decided where the balls of its operands, over their reach, are apart; a result is then the
exact one. Where they overlap, every outcome is covered: a bool's error is 1, a selection's the distance to the farthest
case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _patterns as patterns
from precjax._annotated import Annotated
from precjax._ball import Ball
from precjax._ranges import is_less
from precjax._registry import rule
from precjax._rounding import (
    arithmetic_dtype,
    as_error,
    dtype_of,
    enlarged,
    error_dtype,
    format_of,
    is_inexact,
    is_plain,
    plus,
    times,
    where,
)
from precjax.rules.integer import spoiled
from precjax.rules.structural import explicit


def above(a: Ball, b: Ball, shape: tuple[int, ...]) -> Any:
    """Where every admissible and every exact value of a exceeds every one of b."""
    tiny = 4 * format_of(a.dtype).smallest_normal
    margin = plus(times(plus(a.reach, b.reach), 1 + 8 * a.eps), tiny)
    for x in (a, b):
        if not _fits(x):
            margin = plus(margin, times(x.size, 4 * a.eps))
    x, y = (jnp.broadcast_to(jnp.asarray(v, a.dtype), shape) for v in (a.value, b.value))
    return lax.gt(lax.sub(x, y), jnp.broadcast_to(jnp.asarray(margin, a.dtype), shape))


def _fits(x: Ball) -> bool:
    """Whether the value is exact in the dtype of errors."""
    dtype = dtype_of(x.operand.value)
    return is_inexact(dtype) and format_of(dtype).digits <= format_of(x.dtype).digits


@rule("eq", "ne")
def equal_(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """x == max(x, y) holds as x >= y does: how derivatives ask for the winner. The same of x == max(x over axes).

    Two keys, each of them certain, are the same or are not.
    """
    if not is_plain(operands[0].value):
        return [spoiled(model, operands, outs[0], worst=1.0)]
    for x, extreme in (operands, operands[::-1]):
        if (rival := patterns.chosen_of_two(x, extreme)) is not None:
            return compare(model, [x, rival], outs)
    errors = compare(model, operands, outs)
    for x, extreme in (operands, operands[::-1]):
        for name, sign in (("reduce_max", 1.0), ("reduce_min", -1.0)):
            if errors[0] is not None and (axes := patterns.reduced_along(extreme, name, x)) is not None:
                return [where(one_candidate(x, sign, axes), jnp.zeros((), jnp.float32), errors[0])]
    return errors


def one_candidate(x: Annotated, sign: float, axes: tuple[int, ...]) -> Any:
    """Along which lines one number alone may be the extreme one."""
    return _alone(candidates(_ball(x), sign, best_along(axes)), axes)


def only_candidate(x: Annotated, sign: float, axes: tuple[int, ...]) -> Any:
    """Which numbers alone may be the extreme one along the axes."""
    possible = candidates(_ball(x), sign, best_along(axes))
    return lax.bitwise_and(possible, _alone(possible, axes))


def _ball(x: Annotated) -> Ball:
    return Ball(x, error_dtype(dtype_of(x.value)))


def _alone(possible: Any, axes: tuple[int, ...]) -> Any:
    """Along which lines one number is possible."""
    count = lax.reduce_sum(possible.astype(jnp.float32), axes)
    kept = [i for i in range(possible.ndim) if i not in axes]
    return lax.broadcast_in_dim(lax.eq(count, jnp.ones_like(count)), possible.shape, kept)


def candidates(x: Ball, sign: float, best: Callable[[Any], Any]) -> Any:
    """Which numbers may be the largest (sign 1) or smallest (-1) of those that `best` compares; NaN is one."""
    top, bottom = (x.high, x.low) if sign > 0 else (lax.neg(x.low), lax.neg(x.high))
    return lax.bitwise_not(lax.lt(top, best(bottom)))


def best_along(axes: tuple[int, ...]) -> Callable[[Any], Any]:
    """The largest number along the axes, in the place of each of them."""

    def best(x: Any) -> Any:
        return lax.broadcast_in_dim(lax.reduce_max(x, axes), x.shape, [i for i in range(x.ndim) if i not in axes])

    return best


@rule("lt", "ge")
def less(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """As `compare`; of integers, their ranges may say which is less."""
    a, b = operands
    known = None if is_inexact(dtype_of(a.value)) else is_less(a.known, b.known)
    return compare(model, operands, outs) if known is None else [None]


@rule("gt", "le")
def greater(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """As `less`."""
    return less(model, operands[::-1], outs)


def compare(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """1 where undecided. Exact operands: only two that may both be read as 0 are, and differ."""
    if operands[0] is operands[1]:
        return [doubtful_nan(operands[0])]
    dtype = jnp.promote_types(*(error_dtype(dtype_of(x.value)) for x in operands))
    a, b = (Ball(x, dtype) for x in operands)
    shape = outs[0].shape
    if a.exact and b.exact:
        return [_subnormal_doubt(a, b, shape)]
    decided = lax.bitwise_or(above(a, b, shape), above(b, a, shape))
    errors = [jnp.broadcast_to(e, shape) for e in (a.error, b.error) if e is not None]
    certain = lax.eq(errors[0] if len(errors) == 1 else lax.max(*errors), jnp.zeros(shape, dtype))
    doubt = model.doubtful(a, b, shape)
    return [where(lax.bitwise_or(decided, certain), jnp.zeros((), jnp.float32), doubt)]


def doubtful_nan(x: Annotated) -> Any:
    """The error of a test for NaN: a number within a finite error of an exact one is none, anything else may be."""
    if x.error is None or not is_inexact(dtype_of(x.value)):
        return None
    return where(lax.is_finite(x.error), jnp.zeros((), jnp.float32), 1.0)


@rule("lt_to", "le_to", "eq_to")
def total_order(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """As the comparison of numbers, except between the two zeros, which are one number: 1 where they are told apart."""
    (error,) = compare(model, operands, outs)
    if not is_inexact(dtype_of(operands[0].value)):
        return [error]
    a, b = (jnp.broadcast_to(x.value, outs[0].shape) for x in operands)
    told_apart = lax.bitwise_and(lax.eq(a, b), _bits_differ(a, b))
    return [where(told_apart, 1.0, jnp.zeros((), jnp.float32) if error is None else error)]


def _bits_differ(a: Any, b: Any) -> Any:
    word = jnp.dtype(f"uint{8 * dtype_of(a).itemsize}")
    return lax.ne(lax.bitcast_convert_type(a, word), lax.bitcast_convert_type(b, word))


def _subnormal_doubt(a: Ball, b: Ball, shape: tuple[int, ...]) -> Any:
    """Where two exact floats that differ may both be taken as 0."""
    if a.absorbed is None and b.absorbed is None:
        return None
    small = [x for x in (a, b) if not isinstance(x.size, float)]
    limit = format_of(dtype_of(small[0].operand.value)).smallest_normal
    if any(isinstance(x.size, float) and x.size >= limit for x in (a, b)):
        return None
    doubt = small[0].subnormal if len(small) == 1 else lax.bitwise_or(*(_full(x.subnormal, shape) for x in small))
    for x in small:
        doubt = lax.bitwise_and(_full(doubt, shape), _full(lax.lt(x.size, jnp.asarray(limit, x.dtype)), shape))
    return where(doubt, 1.0, jnp.zeros((), jnp.float32))


def _full(x: Any, shape: tuple[int, ...]) -> Any:
    return jnp.broadcast_to(x, shape)


@rule("is_finite")
def is_finite(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Finite with a finite error is finite; an infinity with a finite error is that infinity."""
    return [doubtful_nan(operands[0])]


@rule("select_n")
def select_n(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """The chosen case's error; where the choice is in doubt, the distance to the farthest case that is possible."""
    which, *cases = operands
    out = outs[0]
    dtype = error_dtype(out.dtype)
    if which.error is None:
        if all(x.error is None for x in cases):
            return [None]
        return [lax.select_n(which.value, *(explicit(model, x, dtype) for x in cases))]
    if len(cases) == 2:
        return [_either(model, which, cases, out, dtype)]
    chosen = jnp.broadcast_to(which.value, out.shape).astype(jnp.float32)
    reach = jnp.broadcast_to(which.error, out.shape)
    error = jnp.zeros(out.shape, dtype)
    for index, case in enumerate(cases):
        distance = enlarged(plus(_distance(case.value, out, dtype), explicit(model, case, dtype)), 1, dtype)
        own = lax.eq(chosen, jnp.full(out.shape, index, jnp.float32))
        # Equal infinities are no distance apart; any other NaN is.
        same = lax.bitwise_or(own, lax.eq(case.value, out))
        distance = where(same, explicit(model, case, dtype), distance)
        possible = lax.le(lax.abs(lax.sub(chosen, jnp.full(out.shape, index, jnp.float32))), reach)
        error = where(possible, lax.max(error, distance), error)
    return [error]


def _either(model: Any, which: Annotated, cases: Sequence[Annotated], out: Any, dtype: Any) -> Any:
    """Two cases: where the choice is in doubt, their distance, as far as a model doubts."""
    errors = [explicit(model, x, dtype) for x in cases]
    share = jnp.broadcast_to(which.error, out.shape).astype(dtype)
    apart = plus(times(_distance(cases[0].value, cases[1].value, dtype), share), lax.max(*errors))
    apart = enlarged(apart, 2, dtype)
    doubt = lax.ne(which.error, jnp.zeros((), which.error.dtype))
    return where(doubt, apart, lax.select_n(which.value.astype(bool), *errors))


def _distance(a: Any, b: Any, dtype: Any) -> Any:
    """|a - b|, rounded up; integers may already be rounded by the conversion. Keys are as far apart as can be."""
    if not is_plain(a):
        return jnp.full(np.shape(a), np.inf, dtype)
    x, y = (lax.convert_element_type(v, arithmetic_dtype(v.dtype, dtype)) for v in (a, b))
    eps = 8 * format_of(dtype).unit_roundoff
    distance = plus(times(lax.abs(lax.sub(x, y)), 1 + eps), 4 * format_of(dtype).smallest_normal)
    return distance if is_inexact(a.dtype) else plus(distance, times(plus(lax.abs(x), lax.abs(y)), eps))


def _step(name: str, function: Callable[..., Any]) -> None:
    """A monotone function with jumps: what lies between its values at both ends of the reach.

    Between two numbers an error apart there are no more jumps than on the one or the other side of the tracked value
    within twice the error, if jumps of equal height are as far apart as they are high. Those of a sign are not: another
    execution may be 1 where the exact sign is -1, and the tracked one 0.
    """

    @rule(name)
    def step(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], **params: Any) -> list[Any]:
        out = outs[0]
        ball = Ball(operands[0], error_dtype(out.dtype))
        if ball.exact:
            return [_subnormal_step(ball, name)]
        low, high = (_at(function, end, params) for end in (ball.low, ball.high))
        value = out.astype(ball.dtype)
        whole = name == "sign" and not operands[0].known.settled
        sides = lax.sub(high, low) if whole else lax.max(lax.sub(high, value), lax.sub(value, low))
        spread = times(sides, 1 + 4 * ball.eps)
        certain = lax.bitwise_and(lax.eq(ball.error, jnp.zeros((), ball.dtype)), lax.eq(out, out))
        return [where(certain, 0.0, spread)]


def _at(function: Callable[..., Any], x: Any, params: dict[str, Any]) -> Any:
    """The function itself at an end of the reach."""
    return function(x, **{k: v for k, v in params.items() if k == "rounding_method"})


def _subnormal_step(ball: Ball, name: str) -> Any:
    """floor, ceil and sign jump at 0, where a subnormal may be read as 0."""
    if name == "round" or ball.absorbed is None:
        return None
    return where(ball.subnormal, jnp.ones((), ball.dtype), 0.0)


_step("floor", lax.floor)
_step("ceil", lax.ceil)
_step("round", lax.round)
_step("sign", lax.sign)


@rule("nextafter")
def nextafter(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """A neighbour in the format of the first operand: its error and a spacing."""
    x = operands[0]
    if x.error is None:
        return [spoiled(model, operands[1:], outs[0])]
    spacing = model.total(outs[0], as_error(x.error, error_dtype(outs[0].dtype)), ulps=4, flushed=2)
    doubt = spoiled(model, operands[1:], outs[0])
    return [plus(spacing, doubt)]
