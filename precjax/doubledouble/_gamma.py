"""The logarithm of |Gamma| on pairs, and its derivative.

The argument is raised to y >= 16 by the recurrence; there Stirling's series is summed to 22 terms. For real y > 0 its
terms alternate in sign, and what is left out is smaller than the first term left out: 2**-116. Left of 0 the reflection
formula is used, with x - round(x) in place of x in sines and cosines, which is exact. Next to 0, where low parts of
what is computed from x may be flushed, only the pole is left: lgamma(x) = -log|x| and digamma(x) = -1 / x, to 2**-119.

lgamma has roots at 1 and 2 and left of 0, digamma at 1.46 and left of 0, where sums cancel: their bounds are relative
to |f| + 1, and left of 0 to the size of the reflected function besides, as those of float64 are.

The counts below are in u**2 = 2**-106; they use 3.01 for a sum, 11 for a product, 13 for a quotient, 60 for a
logarithm.

References:
    DLMF 5.5.1 to 5.5.4, 5.11.1, 5.11.2 and 5.11(ii).
"""

from __future__ import annotations

import decimal
import functools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax.doubledouble._arithmetic import abs as absolute
from precjax.doubledouble._arithmetic import add, div, mul, neg, round, select, square, sub
from precjax.doubledouble._constants import DIGITS, pair, pi
from precjax.doubledouble._exponential import constant, exact, log
from precjax.doubledouble._pairs import DD, alone, settle
from precjax.doubledouble._series import series, table
from precjax.doubledouble._trigonometric import _sine_cosine as sine_cosine

RAISED = 16
POLE = 2.0**-120
TERMS = 22


@functools.cache
def bernoulli(count: int) -> list[Fraction]:
    """The numbers B_0, B_1, ... of Bernoulli."""
    numbers = [Fraction(1)]
    for n in range(1, count):
        known = (math.comb(n + 1, k) * b for k, b in enumerate(numbers))
        numbers.append(-sum(known, Fraction(0)) / (n + 1))
    return numbers


@functools.cache
def stirling_table() -> DD:
    """Coefficients B_2k / (2 k (2 k - 1)) of lgamma, in 1 / y**2, over y."""
    return table([b / (n * (n - 1)) for n, b in _even(TERMS)])


@functools.cache
def digamma_table() -> DD:
    """Coefficients B_2k / (2 k) of digamma, in 1 / y**2, over y**2."""
    return table([b / n for n, b in _even(TERMS)])


def _even(terms: int) -> list[tuple[int, Fraction]]:
    return list(enumerate(bernoulli(2 * terms + 1)))[2::2]


def _raised(x: DD, fold: Callable[[DD, DD], DD], start: float) -> tuple[DD, DD]:
    """y = x + count >= RAISED, and the terms x, ..., x + count - 1 folded; x >= 0."""
    count = jnp.maximum(lax.ceil(RAISED - x.hi), 0.0)

    def step(k: Any, folded: DD) -> DD:
        term = add(x, exact(jnp.zeros_like(x.hi) + k))
        return select(k < count, fold(folded, term), folded)

    return add(x, exact(count)), lax.fori_loop(0, RAISED, step, exact(jnp.full_like(x.hi, start)))


def _one(x: DD) -> DD:
    return exact(jnp.ones_like(x.hi))


@alone
def _lgamma(x: DD) -> DD:
    """lgamma to 5800 of |f| + 1, for x >= 0."""
    # Stirling: (y - 1/2) (log(y) - 1) + (log(2 pi) - 1) / 2 + sum. At y = 17 the product errs by 3320, and by 145 for
    # y; the logarithm of the terms' product, at most 30.8, by 2070; the sums by 190. For larger y, by 200 of |f|.
    y, product = _raised(x, mul, 1.0)
    inverse = div(_one(x), y)
    tail = mul(inverse, series(stirling_table(), square(inverse)))
    main = mul(sub(y, exact(jnp.full_like(y.hi, 0.5))), sub(log(y), _one(y)))
    with decimal.localcontext(DIGITS):
        rest = constant(pair(((2 * pi()).ln() - 1) / 2), y)
    return sub(add(main, add(rest, tail)), log(product))


def _digamma(x: DD) -> DD:
    """Digamma to 350 of |f| + 1, for x >= 0."""
    # log(y) - 1 / (2 y) - sum - sum of 1 / (x + k): of at most 16 quotients, each to 16 and added up, which exceed
    # |f| by log(y) <= 2.84 at most: 68 of them. For larger y only the first terms are left.
    one = _one(x)
    y, quotients = _raised(x, lambda total, term: add(total, div(one, term)), 0.0)
    inverse = div(one, y)
    z = square(inverse)
    tail = add(mul(z, series(digamma_table(), z)), mul(inverse, exact(jnp.full_like(y.hi, 0.5))))
    return sub(sub(log(y), tail), quotients)


def _reflected(x: DD) -> tuple[Any, DD, DD]:
    """Whether x < 0, the argument in x >= 0, and pi (x - round(x)) to 15."""
    left = x.hi < 0
    angle = mul(constant(pair(pi()), x), sub(x, round(x)))
    return left, select(left, sub(_one(x), x), x), angle


@alone
def lgamma(x: DD) -> DD:
    """log|Gamma(x)|, to 6300 of |f| + 1, left of 0 of |f| + 1 + |x| log(1 + |x|); inf at its poles."""
    # log(pi) - log|sin(pi x)| - lgamma(1 - x): the sine to 40, its logarithm, at most |f| + |lgamma(1 - x)|, to 60.
    left, argument, angle = _reflected(x)
    right = _lgamma(argument)
    near = lax.abs(x.hi) < POLE
    size = log(select(near, absolute(x), absolute(sine_cosine(angle)[0])))
    with decimal.localcontext(DIGITS):
        reflected = sub(sub(constant(pair(pi().ln()), x), size), right)
    y = select(near, neg(size), select(left, reflected, right))
    return settle(lax.is_finite(y.hi), jnp.where(x.hi == x.hi, jnp.inf, x.hi), *y)


@alone
def digamma(x: DD) -> DD:
    """The derivative of lgamma, to 500 of |f| + 1, left of 0 of |f| + 1 + log(1 + |x|); NaN at its poles."""
    # digamma(1 - x) - pi cot(pi x): the cotangent errs by 90 of itself, and for its argument by 15 pi / 2 of pi.
    left, argument, angle = _reflected(x)
    sine, cosine = sine_cosine(angle)
    right = _digamma(argument)
    y = select(left, sub(right, mul(constant(pair(pi()), x), div(cosine, sine))), right)
    y = select(lax.abs(x.hi) < POLE, neg(div(_one(x), x)), y)
    return settle(lax.is_finite(y.hi), lax.digamma(x.hi), *y)
