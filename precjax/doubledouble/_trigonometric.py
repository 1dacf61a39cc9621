"""Trigonometric functions of pairs and their inverses.

The argument is reduced by multiples of pi / 256, with pi to 159 bits, and the rest, |s| <= pi / 512, goes through
Taylor's series and the addition theorems with a table of a whole turn. Results are relative even near zeros of the
function, but for a change of the argument by 2**-150 of itself; arguments of 2**30 and more give NaN. The inverse
functions are one rotation back from XLA's float64 result, third order in its error: 2**10 ulps would do.

The counts below are in u**2 = 2**-106; they use 3.01 for a sum, 11 for a product and 13 for a quotient.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax._rounding import opaque
from precjax.doubledouble._arithmetic import add, div, mul, select, sqrt, square, sub
from precjax.doubledouble._constants import STEPS, entry, pair, parts, pi, sine_table
from precjax.doubledouble._exponential import exact, float_polynomial, polynomial
from precjax.doubledouble._pairs import DD, elementary, exponent, fast_two_sum, scaled, two_prod, two_sum

LARGEST = 2.0**30


def _without_multiple_of_pi(x: DD, count: Any) -> DD:
    """x - count pi / STEPS to 2.1 of itself plus 2**-150 |x|, for integers |count| < 2**40."""
    # The terms, relative to |x|: those of order 1 are x.hi and p1; 2**-52: x.lo, e1, p2; 2**-104: e2, p3 and the errors
    # of adding up the second order. Only sums of the last order are rounded, until the result is.
    (p1, e1), (p2, e2), p3 = _multiples(count)
    a, a_error = two_sum(x.hi, -p1)
    b, b_error = two_sum(x.lo, -e1)
    c, c_error = two_sum(b, -p2)
    f, f_error = two_sum(a, c)
    last = ((b_error + c_error) - (e2 + p3)) + a_error
    g, g_error = two_sum(f_error, last)
    h, h_error = two_sum(f, g)
    return DD(*fast_two_sum(h, h_error + g_error))


def _multiples(count: Any) -> tuple[tuple[Any, Any], tuple[Any, Any], Any]:
    first, second, third = parts(pi(), STEPS, 3)
    exactly = [two_prod(count, jnp.full_like(count, part)) for part in (first, second)]
    return exactly[0], exactly[1], opaque(count * third)


def _sine_cosine(x: DD) -> tuple[DD, DD]:
    """Sine and cosine, each to 25."""
    count = lax.round(x.hi * float(STEPS / pi()), lax.RoundingMethod.TO_NEAREST_EVEN)
    s = _without_multiple_of_pi(x, count)
    index = count.astype(jnp.int64) & (2 * STEPS - 1)
    sine, cosine = entry(sine_table(), index), entry(sine_table(), index + STEPS // 2)
    # sin(s) to 3.1 and cos(s) - 1, at most 2**-15: in both the terms from z**3 on, 2**-53 at most, are done in float64;
    # what is left out is 2**-117. In the sums the first factor is at least as large as the second, or zero.
    z = square(s)
    ds = _series(z, 3, s)
    dc = _series(z, 2, z)
    change_s = add(s, mul(ds, z))
    both = (
        add(sine, add(mul(sine, dc), mul(cosine, change_s))),
        add(cosine, sub(mul(cosine, dc), mul(sine, change_s))),
    )
    return lax.optimization_barrier(both)  # as in `elementary`


def _series(z: DD, first: int, factor: DD) -> DD:
    """The factor times the sum over n of (-1)**(n + 1) z**n / (first + 2 n)!, n < 6."""
    coefficients = [(-1) ** (n + 1) * math.factorial(first + 2 * n) for n in range(5)]
    rest = float_polynomial([1 / c for c in coefficients[2:]], z.hi)
    return mul(factor, polynomial([pair(1, c) for c in coefficients[:2]], z, rest))


def _reducible(x: DD) -> DD:
    return select(lax.abs(x.hi) < LARGEST, x, exact(jnp.full_like(x.hi, jnp.nan)))


@elementary
def sin(x: DD) -> DD:
    """The sine, to 25; NaN for |x| >= 2**30."""
    return _sine_cosine(_reducible(x))[0]


@elementary
def cos(x: DD) -> DD:
    """The cosine, to 25; NaN for |x| >= 2**30."""
    return _sine_cosine(_reducible(x))[1]


@elementary
def tan(x: DD) -> DD:
    """The tangent, to 65; NaN for |x| >= 2**30."""
    return div(*_sine_cosine(_reducible(x)))


@elementary
def atan2(y: DD, x: DD) -> DD:
    """The angle of the point (x, y), to 80."""
    # With t the start, the rest is q = (y cos t - x sin t) / (x cos t + y sin t), |q| < 2**-42 |angle|; each product is
    # good to 36, of |sin cos| <= |angle|. Zeros and infinities act like the points that they are the limits of.
    infinite = jnp.isinf(x.hi) | jnp.isinf(y.hi)
    x, y = (select(infinite, exact(jnp.where(jnp.isinf(v.hi), lax.sign(v.hi), 0.0 * v.hi)), v) for v in (x, y))
    x = select((x.hi == 0) & (y.hi == 0), exact(jnp.copysign(1.0, x.hi)), x)
    size = jnp.maximum(exponent(x.hi), exponent(y.hi))
    x, y = scaled(x, -size), scaled(y, -size)
    start = lax.optimization_barrier(lax.atan2(y.hi, x.hi))
    sine, cosine = _sine_cosine(exact(start))
    turn = div(sub(mul(y, cosine), mul(x, sine)), add(mul(x, cosine), mul(y, sine)))
    return add(exact(start), turn)


@elementary
def atan(x: DD) -> DD:
    """The inverse tangent, to 80."""
    return atan2(x, exact(jnp.ones_like(x.hi)))


@elementary
def asin(x: DD) -> DD:
    """The inverse sine, to 95: atan2(x, sqrt((1 - x) (1 + x))), the root to 14."""
    return atan2(x, _other_leg(x))


@elementary
def acos(x: DD) -> DD:
    """The inverse cosine, to 95."""
    return atan2(_other_leg(x), x)


def _other_leg(x: DD) -> DD:
    one = exact(jnp.ones_like(x.hi))
    return sqrt(mul(sub(one, x), add(one, x)))
