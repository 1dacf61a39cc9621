"""Arithmetic of pairs, each operation with a proved bound (see `_bounds`).

The algorithms are those of Joldes, Muller and Popescu (JMP below), with products from `two_prod`. The proofs in the
comments count, with u = 2**-53, X = |x.hi|, P = |x.hi y.hi| and |lo| <= u |hi|; terms of order u**3 go into the
rounded-up constants of `_bounds`. No constant relies on FMA, nor on its absence.

References:
    Joldes, Muller, Popescu, Tight and rigorous error bounds for basic building blocks of double-word arithmetic, ACM
    Trans. Math. Softw. 44 (2017).
    Muller, Rideau, Formalization of double-word arithmetic, ACM Trans. Math. Softw. 48 (2022).
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from precjax._rounding import divide, opaque
from precjax.doubledouble._pairs import (
    DD,
    elementary,
    exponent,
    fast_two_sum,
    from_float,
    scaled,
    settle,
    two_prod,
    two_sum,
)

TINY = 2.0**-500  # below it operands are scaled


@jax.jit
def add(x: DD, y: DD) -> DD:
    """x + y, to 3.01 u**2 |x + y| (JMP, AccurateDWPlusDW, theorem 3.1)."""
    x, y = _same_shape(x, y)
    s, e = two_sum(x.hi, y.hi)
    t, f = two_sum(x.lo, y.lo)
    v, w = fast_two_sum(s, e + t)
    return settle(lax.is_finite(s), s, *fast_two_sum(v, f + w))


def sub(x: DD, y: DD) -> DD:
    """x - y, to 3.01 u**2 |x - y|."""
    return add(x, neg(y if isinstance(y, DD) else from_float(y)))


@jax.jit
def mul(x: DD, y: DD) -> DD:
    """x y, to 11 u**2 |x y| + FLOOR."""
    x, y = _balanced(*_same_shape(x, y))
    p, e = two_prod(x.hi, y.hi)
    # Each product errs by u**2 P, their sum by 2 u**2 P, e + cross (3 u P and 2 u P) by 5 u**2 P; lo * lo is u**2 P.
    cross = opaque(x.hi * y.lo) + opaque(x.lo * y.hi)
    plain = x.hi * y.hi
    return settle(_regular(plain), plain, *fast_two_sum(p, e + cross))


def square(x: DD) -> DD:
    """x**2, to 11 u**2 x**2 + FLOOR."""
    return mul(x, x)


@jax.jit
def div(x: DD, y: DD) -> DD:
    """x / y, to 13 u**2 |x / y| + FLOOR."""
    x, y = _same_shape(x, y)
    # A tiny operand is lifted, lest parts of products with it are flushed.
    x_tiny, y_tiny = lax.abs(x.hi) < TINY, lax.abs(y.hi) < TINY
    x, y = scale(x, jnp.where(x_tiny, 1 / TINY, 1.0)), scale(y, jnp.where(y_tiny, 1 / TINY, 1.0))
    q = divide(x.hi, y.hi)
    p, e = two_prod(q, y.hi)
    # x.hi - p is exact (Sterbenz), and so is x.hi - q y.hi, at most u X (remainder of a division). q y.lo errs by
    # u**2 X, x.lo - q y.lo by 2 u**2 X, d by 3 u**2 X; the second quotient, at most 3 u |q|, by 3 u**2 |q|, and as
    # much for y.lo, which it neglects.
    d = ((x.hi - p) - e) + (x.lo - opaque(q * y.lo))
    back = jnp.where(x_tiny, TINY, 1.0) * jnp.where(y_tiny, 1 / TINY, 1.0)
    hi, lo = fast_two_sum(q, divide(d, y.hi))
    plain = q * back
    return settle(_regular(plain) & lax.is_finite(y.hi), plain, hi * back, lo * back)


@jax.jit
def sqrt(x: DD) -> DD:
    """The square root, to 5 u**2 sqrt(x) for x >= 2**-1022; NaN for x < 0."""
    small = x.hi < TINY
    lift, lower = jnp.where(small, 2.0**400, 1.0), jnp.where(small, 2.0**-200, 1.0)
    hi, lo = x.hi * lift, x.lo * lift
    root = lax.sqrt(hi)
    p, e = two_prod(root, root)
    # hi - root**2 is exact, at most 2 u X (remainder of a square root); with lo it is 3 u X and errs by 3 u**2 X: 1.5
    # u**2 root. The quotient errs by 1.5 u**2 root, Newton's step by (3 u)**2 / 8 root.
    d = ((hi - p) - e) + lo
    r, s = fast_two_sum(root, divide(d, root) * 0.5)
    sound = lax.is_finite(root) & (root > 0)
    return settle(sound, root * lower, r * lower, s * lower)


def rsqrt(x: DD) -> DD:
    """1 / sqrt(x), to 19 u**2 / sqrt(x)."""
    return div(_like(1.0, x), sqrt(x))


@elementary
def cbrt(x: DD) -> DD:
    """The cube root, to 14 u**2: one step of Halley's method from XLA's, third order in its error."""
    # Of a start good to 2**-43 the step leaves 2**-128. x - y**3 errs by 22 u**2 x, its quotient counts a third.
    third = (exponent(x.hi) + 3072) // 3 - 1024
    small = scaled(x, -3 * third)
    start = lax.optimization_barrier(lax.cbrt(small.hi))
    y = DD(start, jnp.zeros_like(start))
    cube = mul(mul(y, y), y)
    root = add(y, mul(y, div(sub(small, cube), add(scale(cube, 2.0), small))))
    root, plain = scaled(root, third), lax.cbrt(x.hi)
    return settle(lax.is_finite(plain) & (x.hi != 0), plain, *root)


def fma(a: Any, b: Any, c: DD) -> DD:
    """A b + c for float64 a and b, to 3.01 u**2 |a b + c| + FLOOR: the product is exact."""
    return add(mul(from_float(a), from_float(b)), c)


def integer_pow(x: DD, y: int) -> DD:
    """x**y for a Python integer y, to 11 |y| u**2 |x**y| (+ 13 u**2 if y < 0), while no partial product underflows."""
    if y < 0:
        return div(_like(1.0, x), integer_pow(x, -y))
    factors = []
    while y:
        if y & 1:
            factors.append(x)
        x, y = (mul(x, x), y >> 1) if y > 1 else (x, 0)
    return functools.reduce(mul, factors) if factors else _like(1.0, x)


# ------------------------------------------------------------------------------------------------- without rounding


def neg(x: DD) -> DD:
    """-x, exactly."""
    return DD(-x.hi, -x.lo)


def abs(x: DD) -> DD:
    """|x|, exactly."""
    return select(lax.lt(x.hi, jnp.zeros_like(x.hi)), neg(x), DD(lax.abs(x.hi), x.lo))


def sign(x: DD) -> DD:
    """The sign, exactly: that of hi."""
    return DD(lax.sign(x.hi), jnp.zeros_like(x.lo))


def select(condition: Any, x: DD, y: DD) -> DD:
    """x where `condition`, else y; scalars broadcast."""
    return DD(jnp.where(condition, x.hi, y.hi), jnp.where(condition, x.lo, y.lo))


def lt(x: DD, y: DD) -> Any:
    """x < y, exactly: a pair is determined by its number, so that pairs are ordered as their numbers are."""
    return (x.hi < y.hi) | ((x.hi == y.hi) & (x.lo < y.lo))


def eq(x: DD, y: DD) -> Any:
    """x == y, exactly."""
    return (x.hi == y.hi) & (x.lo == y.lo)


def gt(x: DD, y: DD) -> Any:
    """x > y, exactly."""
    return lt(y, x)


def le(x: DD, y: DD) -> Any:
    """x <= y, exactly."""
    return (x.hi < y.hi) | ((x.hi == y.hi) & (x.lo <= y.lo))


def ge(x: DD, y: DD) -> Any:
    """x >= y, exactly."""
    return le(y, x)


def ne(x: DD, y: DD) -> Any:
    """x != y, exactly; true for NaN."""
    return (x.hi != y.hi) | (x.lo != y.lo)


def max(x: DD, y: DD) -> DD:
    """The larger, exactly; NaN if either is."""
    return select(gt(x, y) | (x.hi != x.hi), x, y)


def min(x: DD, y: DD) -> DD:
    """The smaller, exactly; NaN if either is."""
    return select(lt(x, y) | (x.hi != x.hi), x, y)


def floor(x: DD) -> DD:
    """The largest integer below, exactly: that of hi, unless hi is an integer itself."""
    hi = lax.floor(x.hi)
    return _renormalized(hi, jnp.where(hi == x.hi, lax.floor(x.lo), 0.0))


def ceil(x: DD) -> DD:
    """The smallest integer above, exactly."""
    return neg(floor(neg(x)))


def round(x: DD, rounding_method: Any = lax.RoundingMethod.AWAY_FROM_ZERO) -> DD:
    """The nearest integer, exactly; ties as lax.round."""
    below = floor(x)
    excess = sub(x, below)  # exact up to 2**-107: a tie is exact, and nothing else is rounded to it
    half = _like(0.5, x)
    if rounding_method == lax.RoundingMethod.AWAY_FROM_ZERO:
        tie_up = x.hi > 0
    else:
        odd_half = add(below, DD(jnp.ones_like(x.hi), jnp.zeros_like(x.hi)))
        tie_up = eq(floor(scale(odd_half, 0.5)), scale(odd_half, 0.5))
    up = gt(excess, half) | (eq(excess, half) & tie_up)
    return select(lax.is_finite(x.hi), add(below, DD(jnp.where(up, 1.0, 0.0), jnp.zeros_like(x.hi))), x)


def scale(x: DD, factor: Any) -> DD:
    """x times a power of two, exactly but for FLOOR and overflow."""
    return DD(x.hi * factor, x.lo * factor)


def rem(x: DD, y: DD) -> DD:
    """The remainder of x / y with the sign of x, to 24 u**2 |x| while the quotient's integer part is the right one."""
    quotient = div(x, y)
    whole = select(quotient.hi < 0, ceil(quotient), floor(quotient))
    rest = sub(x, mul(whole, y))
    # Next to a multiple of y the quotient may be rounded to the other side of it.
    size, step = select(x.hi < 0, neg(rest), rest), abs(y)
    size = select(size.hi < 0, add(size, step), select(ge(size, step), sub(size, step), size))
    plain = lax.rem(x.hi, y.hi)
    exact = (x.lo == 0) & (y.lo == 0)
    result = select(lax.is_finite(y.hi), select(x.hi < 0, neg(size), size), x)
    return settle(lax.is_finite(plain) & ~exact, plain, *result)


def is_finite(x: DD) -> Any:
    """Whether the number is neither inf nor NaN."""
    return lax.is_finite(x.hi)


def _renormalized(hi: Any, lo: Any) -> DD:
    return settle(lax.is_finite(hi), hi, *fast_two_sum(hi, lo))


def _like(constant: float, x: DD) -> DD:
    return DD(jnp.full_like(x.hi, constant), jnp.zeros_like(x.hi))


def _regular(x: Any) -> Any:
    """Whether a result is finite and so large that pairs can say more than float64: below, u |x| < FLOOR."""
    return (lax.abs(x) >= 2.0**-966) & (lax.abs(x) < jnp.inf)


def _balanced(x: DD, y: DD) -> tuple[DD, DD]:
    """Operands with the same product, the smaller one lifted where it is tiny, lest its parts are flushed."""
    # What the other one loses by being lowered is below FLOOR in the product.
    x_tiny, y_tiny = lax.abs(x.hi) < TINY, lax.abs(y.hi) < TINY
    x_factor = jnp.where(x_tiny, 1 / TINY, jnp.where(y_tiny, TINY, 1.0))
    y_factor = jnp.where(x_tiny, TINY, jnp.where(y_tiny, 1 / TINY, 1.0))
    return scale(x, x_factor), scale(y, y_factor)


def _same_shape(x: DD | float, y: DD | float) -> tuple[DD, DD]:
    x, y = (v if isinstance(v, DD) else from_float(v) for v in (x, y))
    hi, hi2, lo, lo2 = jnp.broadcast_arrays(x.hi, y.hi, x.lo, y.lo)
    return DD(hi, lo), DD(hi2, lo2)
