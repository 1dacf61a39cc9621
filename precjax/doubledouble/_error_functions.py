"""The error function of pairs, its complement and its inverse.

R(x) = exp(x**2) erfc(x) is the mean of exp(-x t) over t > 0 with the density exp(-t**2 / 4) / sqrt(pi). So its Taylor
coefficients at x are (-1)**k R(x) E(t**k) / k!, where the mean E is taken under a density that moves to the left as x
grows: they alternate, and relative to R(x) they are largest at x = 0, where they are (-1)**k / Gamma(k / 2 + 1).

For 0 <= x <= 8 one of 65 series of 24 terms is summed, |h| <= 1/16: what is left out is 2**-124. The first term is the
largest, each is at most 0.0705 of the one before. Beyond 8 the continued fraction

    sqrt(pi) R(x) = 1 / (x + (1/2) / (x + 1 / (x + (3/2) / (x + ...))))

is cut off after 36 steps. Two convergents, between which R lies, differ by a product of the numerators over one of
denominators that grow with x: less than 2**-119 of R at 8, and relative to R, which falls like 1 / x, less beyond.

The counts below are in u**2 = 2**-106; they use 3.01 for a sum, 11 for a product and 13 for a quotient.

References:
    DLMF 7.7.1, 7.9.1, 7.17.
"""

from __future__ import annotations

import decimal
import functools
import math
from decimal import Decimal

import jax.numpy as jnp
from jax import lax

from precjax._rounding import opaque
from precjax.doubledouble._arithmetic import abs as absolute
from precjax.doubledouble._arithmetic import add, div, mul, neg, select, square, sub
from precjax.doubledouble._constants import DIGITS, pair, pi
from precjax.doubledouble._exponential import constant, exact, exp
from precjax.doubledouble._pairs import DD, elementary, settle, two_prod, two_sum
from precjax.doubledouble._series import series, table

STEPS = 8  # series to a unit of x
FRACTION = 8.0  # from here on, the continued fraction
TERMS = 24
LEVELS = 36
LARGEST = 30.0  # beyond it erfc is 0
ROUNDS = 4  # of Newton's method


def _two_over_root_pi() -> Decimal:
    return DIGITS.divide(Decimal(2), pi().sqrt(DIGITS))


@functools.cache
def scaled_complement_table() -> DD:
    """Coefficients ``(TERMS, rows)`` of R around j / STEPS."""
    # R' = 2 x R - 2 / sqrt(pi) gives one after the other; R is exp(x**2) minus a series of positive terms. Some 60 of
    # 100 digits cancel next to x = 8.
    with decimal.localcontext(DIGITS):
        slope = _two_over_root_pi()
        rows = []
        for j in range(int(FRACTION * STEPS) + 1):
            x = Decimal(j) / STEPS
            term, total, n = x, x, 0
            while term > Decimal("1e-110"):
                n += 1
                term *= 2 * x * x / (2 * n + 1)
                total += term
            first = (x * x).exp() - slope * total
            row = [first, 2 * x * first - slope]
            for k in range(1, TERMS - 1):
                row.append((2 * x * row[k] + 2 * row[k - 1]) / (k + 1))
            rows.append(row)
        return table([list(column) for column in zip(*rows, strict=True)])


@functools.cache
def erf_table() -> DD:
    """Coefficients of erf(x) / x in x**2, for |x| <= 1/2: what is left out is 2**-120."""
    with decimal.localcontext(DIGITS):
        slope = _two_over_root_pi()
        return table([(-1) ** n * slope / (math.factorial(n) * (2 * n + 1)) for n in range(22)])


def _gaussian(x: DD) -> DD:
    """exp(-x**2) to 17, for |x| <= LARGEST."""
    # x**2 = p + d with |d| < 2**-40, exactly but for 2**-147: exp(-p) errs by 13, 1 - d + d**2 / 2 by 2**-124.
    p, e = two_prod(x.hi, x.hi)
    cross, rest = two_prod(2.0 * x.hi, x.lo)
    d = add(exact(e), DD(*two_sum(cross, rest + opaque(x.lo * x.lo))))
    m = sub(exact(0.5 * opaque(d.hi * d.hi)), d)
    size = exp(exact(-p))
    return add(size, mul(size, m))


def _scaled_complement(x: DD) -> DD:
    """R(x) for 0 <= x <= LARGEST: to 6 up to FRACTION, then to 18."""
    # Horner: sum of 0.0705**k (4.01 + 14.01 k), and R itself may be 0.0705 smaller than its first term.
    index = lax.round(jnp.minimum(x.hi, FRACTION) * STEPS, lax.RoundingMethod.TO_NEAREST_EVEN)
    h = DD(*two_sum(x.hi - index / STEPS, x.lo))  # the difference is exact (Sterbenz)
    near = series(scaled_complement_table(), h, index.astype(jnp.int32))
    return select(x.hi < FRACTION, near, _by_fraction(select(x.hi < FRACTION, exact(jnp.full_like(x.hi, FRACTION)), x)))


def _by_fraction(x: DD) -> DD:
    """R(x) to 18, for x >= FRACTION."""
    # An error of a level counts at most 18 / (x**2 + 18) = 0.22 in the next one: the last one errs by 3.2.
    level = lambda k, t: add(x, div(exact(jnp.full_like(x.hi, 0.5) * (LEVELS - k)), t))  # noqa: E731
    root = constant(pair(1, pi().sqrt(DIGITS)), x)
    return div(root, lax.fori_loop(0, LEVELS, level, x))


def _complement(x: DD) -> DD:
    """erfc(x) to 47, for x >= 0: the factors to 17 and 18, the product to 11."""
    x = select(x.hi > LARGEST, exact(jnp.full_like(x.hi, LARGEST)), x)
    return mul(_gaussian(x), _scaled_complement(x))


def _near_zero(x: DD) -> DD:
    """erf(x) to 20, for |x| <= 1/2."""
    # Horner, with x**2 to 11: 6.9 of the first coefficient, 7.5 of a sum that is at least 0.917 of it; 12 for x.
    return mul(x, series(erf_table(), square(x)))


def _plain_where_unknown(x: DD, y: DD) -> DD:
    return settle(x.hi == x.hi, x.hi, *y)


def _one(x: DD) -> DD:
    return exact(jnp.ones_like(x.hi))


@elementary
def erf(x: DD) -> DD:
    """The error function, to 47: of 1 - erfc|x|, the second counts at most 0.93 times, from 1/2 on."""
    size = absolute(x)
    far = sub(_one(x), _complement(size))
    far = select(x.hi < 0, neg(far), far)
    small = size.hi <= 0.5
    near = _near_zero(select(small, x, exact(jnp.full_like(x.hi, 0.5))))
    return _plain_where_unknown(x, select(small, near, far))


@elementary
def erfc(x: DD) -> DD:
    """1 - erf, to 51: left of 0 it is 2 - erfc|x|, no smaller than erfc|x|."""
    tail = _complement(absolute(x))
    left = sub(exact(jnp.full_like(x.hi, 2.0)), tail)
    return _plain_where_unknown(x, select(x.hi < 0, left, tail))


@elementary
def erf_inv(x: DD) -> DD:
    """The inverse of erf, to 64; infinite where x rounds to 1 or -1, NaN beyond."""
    # Four steps, third order in the error of XLA's float64 result. That is the inverse of hi, and next to 1 a low part
    # changes 1 - |x| by up to half of it, the result by 0.04: 0.003, 2**-19, 2**-53 and 2**-155 are left. The last step
    # errs by 47 erfc(y) + 3.01 (1 - |x|), or 20 erf(y), over the slope; either is at most 1.17 of y times the slope.
    size = absolute(x)
    start = lax.optimization_barrier(lax.erf_inv(size.hi))
    inside = lax.is_finite(start)
    y = exact(jnp.where(inside, start, 0.0))
    rest = sub(_one(x), size)
    y = lax.fori_loop(0, ROUNDS, lambda _, y: _towards(y, size, rest), y)
    return _signed(settle(inside, start, *y), x)


def _towards(y: DD, size: DD, rest: DD) -> DD:
    """A step to the solution of erf(y) = size, rest = 1 - size: y - t + y t**2, t = (erf(y) - size) / erf'(y)."""
    tail = _complement(absolute(y))
    near = _near_zero(select(y.hi <= 0.5, y, exact(jnp.full_like(y.hi, 0.5))))
    missed = select(y.hi <= 0.5, sub(near, size), sub(rest, tail))
    t = div(missed, mul(constant(pair(_two_over_root_pi()), y), _gaussian(y)))
    return sub(y, sub(t, mul(y, square(t))))


def _signed(magnitude: DD, x: DD) -> DD:
    return select(x.hi < 0, neg(magnitude), magnitude)
