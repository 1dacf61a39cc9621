"""Sums, products and quotients.

Theorem (standard model, Higham section 2.2): fl(x op y) = (x op y)(1 + d) + h, |d| <= u, |h| <= smallest normal. Let
x', y' be what any admissible execution computes, x*, y* the exact operands, |x' - x*| <= a, |y' - y*| <= b. Then
    |(x' + y') - (x* + y*)| <= a + b,
    |x' y' - x* y*| <= |x*| b + |y'| a,
    |x'/y' - x*/y*| <= (a + |x*/y*| b) / |y'| and <= (a + |x'/y'| b) / |y*|.
A contracted multiply-add rounds once: its result is the float nearest to the exact one of its operands, hence no
further from it than the float that two roundings give, so the bound of the separate operations covers it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _patterns as patterns
from precjax import platforms
from precjax._annotated import Annotated
from precjax._ball import Ball, read_error, subnormal
from precjax._facts import is_power_of_two
from precjax._merging import merged_roundings
from precjax._registry import rule
from precjax._rounding import (
    computed_once,
    enlarged,
    equal,
    error_dtype,
    format_of,
    is_inexact,
    less,
    minimum,
    opaque,
    plus,
    ratio,
    times,
    where,
)
from precjax.rules.accuracy import quotient_rounding
from precjax.rules.compound import tightest
from precjax.rules.decision import only_candidate
from precjax.rules.integer import combine_integers
from precjax.rules.integer_division import integer_quotient, integer_remainder
from precjax.rules.power import power_error
from precjax.rules.softmax import log_softmax_error, log_sum_exp_error, softmax_error
from precjax.rules.softmax_gradient import softmax_gradient_error
from precjax.rules.whole import exact_sum


def balls(model: Any, operands: Sequence[Annotated], out: Any) -> list[Ball]:
    """The operands as balls in the arithmetic of the result's error."""
    return [model.ball(x, error_dtype(out.dtype)) for x in operands]


@rule("add")
def add(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Errors add up; log S + max(x) is a log-sum-exp. A residual stream has many readers."""
    error = _sum(model, operands, outs[0], 1)
    if error is None:
        return [None]
    stream = all(x.error is not None for x in operands) and any(x.known.masked for x in operands)
    error = log_sum_exp_error(model, operands, outs[0], error)
    return [computed_once(error) if stream and is_inexact(outs[0].dtype) else error]


@rule("add_any")
def add_any(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """As add. Cotangents meet here, layer after layer of a residual network: their errors are computed once."""
    error = _sum(model, operands, outs[0], 1)
    return [None if error is None else computed_once(error)]


@rule("sub")
def sub(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Errors add up; x - max(x) is exactly 0 where one number alone may be the largest."""
    error = _sum(model, operands, outs[0], -1)
    pattern = patterns.shifted_difference(*operands)
    if error is None or pattern is None or not is_inexact(outs[0].dtype):
        return [None if error is None else log_softmax_error(model, operands, outs[0], error)]
    # The difference is not 0 where an infinite maximum was replaced, as logsumexp does.
    largest = lax.bitwise_and(equal(outs[0], 0.0), only_candidate(pattern.operand, 1.0, pattern.axes))
    return [where(largest, 0.0, error)]


def _sum(model: Any, operands: Sequence[Annotated], out: Any, sign: int) -> Any:
    """The error of a + sign b. Exact operands: the rounding error itself, often zero."""
    if not is_inexact(out.dtype):
        return combine_integers(model, operands, out, lambda a, b: plus(a, b))
    a, b = balls(model, operands, out)
    for x, other in ((a, b), (b, a)):
        if x.operand.known[:2] == (0.0, 0.0) and not other.exact:
            return jnp.broadcast_to(other.error, out.shape)
    merged = merged_constants(a, b, out, sign)
    if a.exact and b.exact and out.dtype == a.dtype:
        error, merged = but_masks(a, b, two_sum_error(a, b, out, sign)), times(merged, 2.0)
    else:
        error = _lowered_by_common_factor(model, a, b, out, sign, model.add(but_masks(a, b, out), a, b))
    error = plus(error, merged)
    # Whole constants that add up to less than 2**p are merged without rounding.
    if merged is None or isinstance(merged, float):
        return exact_sum(a, b, out, error) if merged is None or merged < 0.5 else error
    return where(less(merged, 0.5), exact_sum(a, b, out, error), error)


def merged_constants(a: Ball, b: Ball, out: Any, sign: int) -> Any:
    """What plain programs may round besides because they merge constants: a number or an array, None for nothing."""
    return times(merged_roundings((a.operand, b.operand), (a.size, b.size), sign), format_of(out.dtype).unit_roundoff)


def but_masks(a: Ball, b: Ball, x: Any) -> Any:
    """x, but 0 where an operand is infinite (a mask): the sum is the same infinity, or NaN, in exact arithmetic."""
    sizes = [jnp.asarray(y.size, y.dtype) for y in (a, b) if y.operand.known.masked]
    infinite = [_full(equal(size, np.inf), x) for size in sizes]
    return where(functools.reduce(lax.bitwise_or, infinite), 0, x) if infinite else x


def _lowered_by_common_factor(model: Any, a: Ball, b: Ball, out: Any, sign: int, error: Any) -> Any:
    """x' + x' f' - x* (1 + f*) = (x' - x*)(1 + f*) + x' (f' - f*), and two roundings: 1 + f may be small."""
    for x, y in ((a, b), (b, a)):
        factor = patterns.common_factor(x.operand, y.operand)
        if factor is None or x.exact:
            continue
        f = model.ball(factor, x.dtype)
        one_more = plus(
            lax.abs(plus(times(jnp.asarray(f.value, x.dtype), sign), 1.0)), times(plus(f.size, 1.0), 2 * x.eps)
        )
        product = times(x.far, jnp.asarray(f.far, x.dtype), model.rounding(1.0) * model.unit(out.dtype))
        terms = times(x.error, plus(one_more, f.error)), times(x.far, f.error), product
        return minimum(model.total(out, *terms, steps=12, flushed=3), error)
    return error


def _full(x: Any, out: Any, dtype: Any = None) -> Any:
    return jnp.broadcast_to(jnp.asarray(x, dtype), out.shape)


def two_sum_error(a: Ball, b: Ball, out: Any, sign: int) -> Any:
    """|out - (a + sign b)|: Knuth's TwoSum (Higham, section 4.3), exact but for underflow."""
    fmt = format_of(out.dtype)
    x, y = _full(a.value, out, out.dtype), _full(times(b.value, sign), out, out.dtype)
    # XLA would simplify (c - y) - c.
    out = opaque(out)
    rest = opaque(lax.sub(out, x))
    residual = lax.abs(lax.add(lax.sub(x, lax.sub(out, rest)), lax.sub(y, rest)))
    return plus(residual, where(_may_underflow(x, y), 4 * fmt.smallest_normal, _zero(out)))


def _may_underflow(x: Any, y: Any) -> Any:
    """Where a difference or a remainder of two floats may be subnormal, or be taken of a subnormal.

    Both operands are multiples of 2 smallest normals, and so are the others, where both are beyond 2**p smallest
    normals, or one of them is 0 and the other not subnormal.
    """
    fmt = format_of(x.dtype)
    smaller = lax.min(lax.abs(x), lax.abs(y))
    small = lax.lt(smaller, lax.full_like(smaller, fmt.smallest_normal * 2.0**fmt.digits))
    not_zero = lax.bitwise_or(lax.ne(smaller, lax.full_like(smaller, 0)), lax.bitwise_or(subnormal(x), subnormal(y)))
    return lax.bitwise_and(small, not_zero)


def _zero(out: Any) -> Any:
    return jnp.zeros((), error_dtype(out.dtype))


@rule("mul")
def mul(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """|x| e_y + |y| e_x + e_x e_y; a power of two only scales; a number times itself is a square."""
    out = outs[0]
    if not is_inexact(out.dtype):
        a, b = balls(model, operands, out)
        return [combine_integers(model, operands, out, lambda ea, eb: plus(*product_terms(a, b, ea, eb)))]
    a, b = balls(model, operands, out)
    if operands[0] is operands[1]:
        return [power_error(model, a, 2, out)]
    for scale, x in ((a, b), (b, a)):
        if is_power_of_two(scale.operand.known):
            return [_scaled(model, x, abs(scale.operand.known.low), out)]
    error = softmax_gradient_error(model, operands, out, a.dtype)
    if error is not None:
        return [error]
    error = model.total(out, *product_terms(a, b, a.absorbed, b.absorbed), flushed=2)
    error = tightest(model, operands, out, error, quotient=False)
    return [_lowered_by_complement(model, a, b, out, error)]


def _lowered_by_complement(model: Any, a: Ball, b: Ball, out: Any, error: Any) -> Any:
    """x' (c - x') - x* (c - x*) = (x' - x*)(c - x' - x*), and two roundings: derivatives of logistic functions."""
    for x, y in ((a, b), (b, a)):
        c = patterns.complement(x.operand, y.operand)
        if c is None or x.exact:
            continue
        slope = plus(lax.abs(plus(times(x.value, -2.0), c)), times(plus(x.size, abs(c)), 4 * x.eps), x.reach, x.error)
        return minimum(model.total(out, times(x.error, slope), ulps=2.01, steps=12, flushed=3), error)
    return error


def _scaled(model: Any, x: Ball, factor: float, out: Any) -> Any:
    """A power of two only scales. An exact operand stays exact but where something underflows or overflows."""
    if not x.exact:
        if factor == 1.0 and x.operand.value.dtype == out.dtype:
            return jnp.broadcast_to(x.error, out.shape)
        if factor > 1.0:
            return model.total(out, times(x.error, factor), ulps=0)
        lost = model.underflow(out.dtype) + 2 * format_of(x.dtype).smallest_normal
        return plus(times(x.error, factor * (1 + 4 * x.eps)), lost)
    lost = model.total(out, times(x.absorbed, factor), flushed=2)
    size, fmt = lax.abs(out).astype(lost.dtype), format_of(out.dtype)
    normal = lax.bitwise_and(less(2 * fmt.smallest_normal, size), less(size, np.inf))
    zero = lax.bitwise_and(equal(jnp.asarray(x.size), 0.0), lax.bitwise_not(subnormal(jnp.asarray(x.operand.value))))
    return where(lax.bitwise_or(normal, _full(zero, out)), 0.0, lost)


def product_terms(a: Ball, b: Ball, ea: Any, eb: Any) -> tuple[Any, ...]:
    """The theorem's bound of |x' y' - x* y*|, x* within the error and y' within the reach, as terms to be joined."""
    if a.linear and b.linear:
        return times(a.size, eb), times(b.size, ea), times(ea, eb)
    crossed = b.reach if a.exact else times(b.error, b.spread + 1.0)
    # A constant 0 is a factor, too: 0 times an infinite error is unknown.
    return times(a.size, eb), times(b.size if crossed is None else plus(b.size, crossed), ea)


@rule("div")
def div(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """(e_x + |q| e_y) / |y|, where a static range may keep y away from 0.

    A reciprocal may be subnormal, and lose bits, where such numbers are not flushed (float16: 3.1 ulps measured). Two
    roundings are counted: plain programs divide by a broadcast value through its reciprocal. A root as divisor may
    become a product with rsqrt: one more.
    """
    out = outs[0]
    a, b = balls(model, operands, out)
    if not is_inexact(out.dtype):
        return [integer_quotient(model, operands, out)]
    error = softmax_error(model, operands, out, a.dtype)
    if error is None:
        error = tightest(model, operands, out, _quotient_error(model, a, b, out), quotient=True)
    return [error]


def _quotient_error(model: Any, a: Ball, b: Ball, out: Any) -> Any:
    """T (1 + e_y / |y|) with T = (e_x + |q| e_y) / |y|: |q*| <= |q| + T for the tracked q; others obey that, too."""
    divisor, ulps = b.operand.known, quotient_ulps(model, b, out)
    if is_power_of_two(divisor) and quotient_rounding(model, out.dtype) == 1:
        return _scaled(model, a, 1 / abs(divisor.low), out)
    if isinstance(b.size, float):
        return model.total(out, times(a.absorbed, 1 / b.size if b.size else np.inf), ulps=ulps)
    numerator = model.join(a.absorbed, times(lax.abs(out).astype(b.dtype), b.error))
    if b.exact:
        return model.total(
            out, ratio(jnp.asarray(0.0 if numerator is None else numerator, b.dtype), b.size), ulps=ulps, steps=12
        )
    if max(b.operand.known.low, -b.operand.known.high) > 0:
        error = ratio(numerator, b.near)
        more = None if b.linear else times(error, ratio(b.error, b.near))
        return model.total(out, error, more, ulps=ulps, steps=12)
    # T (1 + e / near) <= numerator / (near - e)
    return model.total(out, ratio(numerator, b.nearest(1.0)), ulps=ulps, steps=16)


def quotient_ulps(model: Any, divisor: Ball, out: Any) -> float:
    """How often a quotient by this divisor may be rounded, in ulps; see `div`."""
    ulps = 3.0 if patterns.made_by(divisor.operand, "sqrt", "rsqrt", "pow") else 1.0
    ulps += quotient_rounding(model, out.dtype)
    return ulps + (4.5 if not platforms.current().read_loss(out.dtype) else 0.0)


@rule("rem")
def rem(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Exact on floats. With errors: e_x + |quotient| e_y while the quotient's integer part is decided, else |y|."""
    out = outs[0]
    if not is_inexact(out.dtype):
        return [integer_remainder(model, operands, out)]
    a, b = balls(model, operands, out)
    size = lax.abs(out).astype(a.dtype)
    divisor = _full(b.size, out, a.dtype)
    turns = plus(ratio(_full(a.size, out, a.dtype), divisor), 1.0)
    moved = plus(read_error(a), times(turns, read_error(b)))
    if moved is None:
        return [None]
    exact = lax.bitwise_and(equal(_full(moved, out), 0.0), less(size, np.inf))
    exact = lax.bitwise_and(
        exact, lax.bitwise_not(_may_underflow(*(_full(x.operand.value, out, out.dtype) for x in (a, b))))
    )
    moved = enlarged(moved, 8, a.dtype)
    margin = times(plus(moved, times(divisor, 8 * a.eps)), 2.0)
    decided = lax.bitwise_and(lax.gt(size, _full(margin, out, a.dtype)), lax.gt(lax.sub(divisor, size), margin))
    wide = plus(divisor, size, b.reach)
    return [where(exact, 0.0, model.total(out, where(decided, moved, wide), ulps=0))]
