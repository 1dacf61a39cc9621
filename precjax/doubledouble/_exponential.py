"""Exponentials, logarithms and hyperbolic functions of pairs.

exp(x) = 2**k (1 + expm1(j ln(2) / 256)) exp(s) with |s| <= ln(2) / 512, by a table and ten terms of Taylor's series.
The logarithm is one step of Newton's method from XLA's float64 logarithm, on exp(y) = x, third order in the start's
error: a start that errs by 2**10 ulps would do. Where an argument or result is close to zero, everything is done with
expm1 and log1p, so that all bounds are relative.

The counts below are in u**2 = 2**-106, of the quantity named; they use 3.01 for a sum and 11 for a product.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax._rounding import opaque
from precjax.doubledouble._arithmetic import abs as absolute
from precjax.doubledouble._arithmetic import add, div, eq, floor, mul, neg, scale, select, sqrt, square, sub
from precjax.doubledouble._constants import REACH, STEPS, entry, expm1_table, ln2, pair, parts
from precjax.doubledouble._pairs import DD, elementary, exponent, power_of_two, scaled, settle, two_sum


def exact(x: Any) -> DD:
    """A float64 array that an exact operation or a barrier has made, as a pair."""
    return DD(x, jnp.zeros_like(x))


def float_polynomial(coefficients: list[float], x: Any) -> Any:
    """A polynomial in float64, from the constant term on, of which every copy has the same bits."""
    return functools.reduce(lambda value, c: opaque(value * x) + c, reversed(coefficients), jnp.zeros_like(x))


def polynomial(coefficients: list[DD], x: DD, rest: Any) -> DD:
    """A polynomial in pairs, from the constant term on, whose last coefficient `rest` is a float64 array."""
    value = add(coefficients[-1], exact(opaque(x.hi * rest)))
    return functools.reduce(lambda value, c: add(c, mul(x, value)), reversed(coefficients[:-1]), value)


def _expm1_near_zero(s: DD) -> DD:
    """expm1 to 3.1, for |s| <= ln(2) / 512 (1 + 2**-40) = 2**-9.5."""
    # s**2 (...) is 2**-10 of s, so that its errors count little. Terms from s**6 / 720, at most 2**-57 of s, are done
    # in float64; s**11 / 11! is 2**-120 of s.
    rest = float_polynomial([1 / math.factorial(n) for n in range(6, 11)], s.hi)
    factor = polynomial([pair(1, math.factorial(n)) for n in range(2, 6)], s, rest)
    return add(s, mul(square(s), factor))


def _expm1_by_table(j: Any, s: DD) -> DD:
    """expm1(j ln(2) / STEPS + s) to 16, given s to 3.1."""
    # With e the table's entry, good to 1, and p = expm1(s) to 3.1: |p| <= |result|, |e| <= 2.02 |result|.
    e, p = entry(expm1_table(), j + REACH), _expm1_near_zero(s)
    return add(e, add(p, mul(e, p)))


def _without_multiple_of_ln2(x: DD, count: Any) -> DD:
    """x - count ln(2) / STEPS to 3.1 of itself plus 2**-127 count, for integers |count| <= 2**19."""
    # Two parts of 34 bits: their products are exact. The first difference is exact (Sterbenz).
    first, second, third = parts(ln2(), STEPS, 3, bits=34)
    left = two_sum(x.hi - count * first, -(count * second))
    return add(DD(*left), DD(*two_sum(x.lo, -opaque(count * third))))


def _reduced(x: DD) -> tuple[DD, Any]:
    """m and integers k with exp(x) = 2**k (1 + m), |m| < 0.42, m to 16 plus 2**-127 |x|; x within [-800, 800]."""
    count = lax.round(x.hi * float(STEPS / ln2()), lax.RoundingMethod.TO_NEAREST_EVEN)
    return _split(count, _without_multiple_of_ln2(x, count))


def _split(count: Any, s: DD) -> tuple[DD, Any]:
    integer = count.astype(jnp.int32)
    k = (integer + STEPS // 2) >> int(math.log2(STEPS))
    return _expm1_by_table(integer - STEPS * k, s), k


def _limited(x: DD, limit: float) -> DD:
    """x, or a limit beyond which nothing changes, even for infinities; NaN stays."""
    return select(lax.abs(x.hi) > limit, exact(lax.sign(x.hi) * limit), x)


def _assembled(m: DD, k: Any) -> DD:
    """2**k (1 + m); inf on overflow."""
    x = scaled(add(exact(jnp.ones_like(m.hi)), m), k)
    return settle(lax.is_finite(x.hi), x.hi, *x)


@elementary
def exp(x: DD) -> DD:
    """The exponential, to 13 (3.01 for 1 + m, in which m counts for 16 * 0.42 / 0.7)."""
    return _assembled(*_reduced(_limited(x, 800.0)))


@elementary
def exp2(x: DD) -> DD:
    """2**x, to 13: as exp, with s = (x - count / STEPS) ln(2)."""
    x = _limited(x, 1200.0)
    count = lax.round(x.hi * STEPS, lax.RoundingMethod.TO_NEAREST_EVEN)
    rest = sub(x, exact(count / STEPS))
    return _assembled(*_split(count, mul(rest, constant(pair(ln2()), x))))


@elementary
def expm1(x: DD) -> DD:
    """exp(x) - 1, to 25: 16 for k = 0; for k = 1 m counts at most 1.4 times."""
    x = _limited(x, 800.0)
    m, k = _reduced(x)
    near = jnp.clip(k, -200, 200)
    sum_ = add(scaled(m, near), DD(*two_sum(power_of_two(near), -jnp.ones_like(m.hi))))
    return select(k > 200, _assembled(m, k), sum_)


def constant(c: DD, like: DD) -> DD:
    """A pair of Python numbers in the shape of another pair."""
    return DD(jnp.full_like(like.hi, c.hi), jnp.full_like(like.hi, c.lo))


def _log_near_one(m: DD, d: DD) -> DD:
    """log(m) to 42 for 0.7 <= m <= 1.42, given m and d = m - 1 to 3.01."""
    # With y the start, t = d + m expm1(-y) = m exp(-y) - 1 is off by 3.01 + 16 + 11 + 3.01 of d, |d| <= 1.2 |log(m)|;
    # log(m) = y + log(1 + t), |t| < 2**-43 |log(m)|, so that t**3 / 3 is below 2**-128 |log(m)|.
    y = lax.optimization_barrier(lax.log1p(d.hi))
    count = lax.round(-y * float(STEPS / ln2()), lax.RoundingMethod.TO_NEAREST_EVEN)
    s = _without_multiple_of_ln2(exact(-y), count)
    t = add(d, mul(m, _expm1_by_table(count.astype(jnp.int32), s)))
    return add(exact(y), add(t, exact(-0.5 * opaque(t.hi * t.hi))))


def _fraction(x: DD) -> tuple[DD, Any]:
    """m in [sqrt(1/2), sqrt(2)) and integers e with x = m 2**e, for normal x > 0."""
    e = exponent(x.hi)
    m = scaled(x, -e)
    low = m.hi < math.sqrt(0.5)
    return scale(m, jnp.where(low, 2.0, 1.0)), e - low.astype(e.dtype)


def _log(m: DD, d: DD, e: Any) -> DD:
    """log(m 2**e) to 60: for e != 0, |log(m)| <= |result| and e ln(2), to 5.5, is at most twice the result."""
    multiple = mul(exact(e.astype(jnp.float64)), constant(pair(ln2()), m))
    return add(multiple, _log_near_one(m, d))


@elementary
def log(x: DD) -> DD:
    """The natural logarithm, to 60; -inf at 0, NaN below."""
    m, e = _fraction(x)
    y = _log(m, sub(m, exact(jnp.ones_like(m.hi))), e)
    plain = lax.log(x.hi)
    return settle(lax.is_finite(plain), plain, *y)


@elementary
def log2(x: DD) -> DD:
    """The logarithm to base 2, to 72."""
    return mul(log(x), constant(pair(1, ln2()), x))


@elementary
def log1p(x: DD) -> DD:
    """log(1 + x), to 65; -inf at -1, NaN below."""
    one = exact(jnp.ones_like(x.hi))
    total = add(one, x)
    m, e = _fraction(total)
    near = lax.abs(x.hi) < 0.3
    m, e = select(near, total, m), jnp.where(near, 0, e)
    y = _log(m, select(near, x, sub(m, one)), e)
    plain = lax.log1p(x.hi)
    return settle(lax.is_finite(plain) & (total.hi > 0), jnp.where(total.hi == 0, -jnp.inf, plain), *y)


# ------------------------------------------------------------------------------------------------ hyperbolic functions


@elementary
def sinh(x: DD) -> DD:
    """Hyperbolic sine, to 40: of m = expm1|x| + m / (1 + m), m counts once, the quotient at most half."""
    size = absolute(x)
    m = expm1(_limited(size, 60.0))
    one = exact(jnp.ones_like(m.hi))
    small = scale(add(m, div(m, add(one, m))), 0.5)
    return _signed(select(size.hi > 50, _half_exp(size), small), x)


@elementary
def cosh(x: DD) -> DD:
    """Hyperbolic cosine, to 24: of e = exp|x|, 13, and 1 / e, 26."""
    size = absolute(x)
    e = exp(_limited(size, 60.0))
    small = scale(add(e, div(exact(jnp.ones_like(e.hi)), e)), 0.5)
    return select(size.hi > 50, _half_exp(size), small)


@elementary
def tanh(x: DD) -> DD:
    """Hyperbolic tangent, to 42: m / (m + 2) of m = expm1|2 x|, which counts at most once."""
    m = expm1(scale(_limited(absolute(x), 60.0), 2.0))
    return _signed(div(m, add(m, exact(jnp.full_like(m.hi, 2.0)))), x)


def _half_exp(x: DD) -> DD:
    """exp(x) / 2, without overflow where that is finite."""
    m, k = _reduced(_limited(x, 800.0))
    return _assembled(m, k - 1)


def _signed(magnitude: DD, x: DD) -> DD:
    return select(x.hi < 0, neg(magnitude), magnitude)


@elementary
def asinh(x: DD) -> DD:
    """Inverse hyperbolic sine, to 90: log1p of |x| + x**2 / (1 + sqrt(1 + x**2)), which is good to 23."""
    size = absolute(x)
    one = exact(jnp.ones_like(x.hi))
    moderate = _limited(size, 2.0**60)
    z = square(moderate)
    small = log1p(add(moderate, div(z, add(one, sqrt(add(one, z))))))
    return _signed(_log_or_double(size, small), x)


@elementary
def acosh(x: DD) -> DD:
    """Inverse hyperbolic cosine, to 85: log1p of d + sqrt(d (x + 1)), d = x - 1, which is good to 17."""
    moderate = select(x.hi < 1, exact(jnp.full_like(x.hi, jnp.nan)), _limited(x, 2.0**60))
    one = exact(jnp.ones_like(x.hi))
    d = sub(moderate, one)
    return _log_or_double(x, log1p(add(d, sqrt(mul(d, add(moderate, one))))))


def _log_or_double(x: DD, small: DD) -> DD:
    """log(2 x) for x > 2**59, where 1 / x**2 is nothing; else the given function."""
    large = add(log(x), constant(pair(ln2()), x))
    return select(x.hi > 2.0**59, large, small)


@elementary
def atanh(x: DD) -> DD:
    """Inverse hyperbolic tangent, to 85: log1p(2 x / (1 - x)) / 2 of |x|."""
    size = absolute(x)
    ratio = div(scale(size, 2.0), sub(exact(jnp.ones_like(x.hi)), size))
    return _signed(scale(log1p(ratio), 0.5), x)


@elementary
def logistic(x: DD) -> DD:
    """1 / (1 + exp(-x)), to 30."""
    e = exp(neg(absolute(x)))
    return div(select(x.hi < 0, e, exact(jnp.ones_like(e.hi))), add(exact(jnp.ones_like(e.hi)), e))


@elementary
def logaddexp(x: DD, y: DD) -> DD:
    """log(exp(x) + exp(y)), to 90 of 1 + max(|x|, |y|)."""
    x_larger = x.hi > y.hi
    larger, smaller = select(x_larger, x, y), select(x_larger, y, x)
    sum_ = add(larger, log1p(exp(sub(smaller, larger))))
    sum_ = select(smaller.hi == -jnp.inf, larger, sum_)
    return settle(lax.is_finite(sum_.hi), lax.max(x.hi, y.hi), *sum_)


@elementary
def pow(x: DD, y: DD) -> DD:
    """x**y, to 13, for an exponent within 71: exp(y log(x)), the logarithm to 60, the product to 11."""
    integral = eq(floor(y), y)
    odd = integral & ~eq(floor(scale(y, 0.5)), scale(y, 0.5))
    size = exp(mul(y, log(absolute(x))))
    size = select((x.hi < 0) & odd, neg(size), size)
    regular = lax.is_finite(x.hi) & lax.is_finite(y.hi) & (x.hi != 0) & ((x.hi > 0) | integral)
    return select(regular, size, exact(lax.pow(x.hi, y.hi)))
