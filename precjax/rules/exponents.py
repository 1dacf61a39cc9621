"""Roundings of x**a exp(-x) / Gamma(a) and x**a (1 - x)**b / B(a, b), the factors of incomplete functions.

Theorem. JAX computes both as exp(s), s = t_1 + ... + t_n. If each t_i errs by at most d_i |t_i| and is part of m_i
additions, whose results are no larger than the sum of all |t_i|, then s errs by at most D = sum of (d_i + m_i u) |t_i|,
and exp(s) by a factor within exp(+-D). The d_i are those of the table of ulps for log, log1p and lgamma, and u for a
product. With further factors within exp(+-d), of exp itself, a quotient, a product, and the series or continued
fraction, the result is the exact one times a number within exp(+-(D + sum of d)): a relative error of at most
exp(D + sum of d) - 1, of the one as of the other. What a series or fraction adds was measured, see the table.

    lgamma(t) = (t - 1/2) log t - t + log(2 pi) / 2 + r, 0 < r < 1 / (12 t), for t > 0,
lies above -0.1215, and below 0 for t in [1, 2]; lgamma(t) = lgamma(t + 1) - log t for smaller t. And
t |digamma(t)| <= t log(1 + t) + 1.4 says what the rounding of a + b does to lgamma.

References:
    Robbins, A remark on Stirling's formula, Amer. Math. Monthly 62 (1955); DLMF 5.11, 8.17.23.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from precjax._rounding import less, maximum, plus, times, where
from precjax.rules.accuracy import Rounding
from precjax.rules.gamma import reciprocal
from precjax.rules.interval import Interval, log, log_size, touches

_MORE = 1.02  # products of roundings, and the rounding of the sizes themselves
_LARGEST = 80.0  # exponents beyond that occur only where the function is 0 by far
# What the table states of lgamma is a multiple of |lgamma| + 1, and of 0.2 more left of 1/2.
_LGAMMA = 1.3
# exp, the quotient by a (twice, if it is a product with a reciprocal), the product with the fraction.
_FACTORS = 4.0
# The fraction of the gamma distribution ends when a step changes it by less than eps, 1 / x times as far from its end.
_ENDED = 24.0
# How far a fraction moves with a + b: it cancels next to its end where the other parameter is small; 2.8 measured.
_CANCELLED = 8.0


class Relative(NamedTuple):
    """A relative error over the reach of the operands.

    Attributes:
        inner: where x is not next to a singular end of the domain, or only there; inf elsewhere.
        anywhere: taking x for a normal number, or for 0 or 1 where the result is exact.
    """

    inner: Any
    anywhere: Any


def gamma_rounding(model: Any, found: Rounding, a: Interval, x: Interval) -> Relative:
    """Relative error of the series or fraction times exp(a log x - x - lgamma(a)).

    Both take some sqrt(a) steps where x is next to a, and the fraction some more where x is next to 1, where it ends
    too early: that is what the row's factor multiplies.

    Args:
        model: the model.
        found: the row of the function.
        a: the parameter.
        x: the argument.

    Returns:
        Upper bounds over the reach.
    """
    of_log, of_lgamma = (_factor(model, name, a) for name in ("log", "lgamma"))
    powers = plus(times(a.high, log_size(x), of_log + 3.0), times(x.high, 2.0))
    size = plus(powers, _lgamma_terms(_lgamma_size(a), of_lgamma, 1.0))
    ones = jnp.ones_like(a.low)
    ended = where(less(x.high, lax.max(a.low, ones)), 0.0, times(reciprocal(lax.max(x.low, ones)), _ENDED))
    iterated = times(plus(lax.sqrt(a.high), 1.0, ended), found.unit)
    return _relative(model, size, iterated, touches(x.low, x.high))


def beta_rounding(model: Any, found: Rounding, a: Interval, b: Interval, x: Interval, rest: Interval) -> Relative:
    """Relative error of the fraction times exp(a log x + b log(1 - x) - log B(a, b)) / a.

    Lentz's iteration ends when a quotient of two computed numbers is exactly 1, which may never happen: every step may
    err, up to the last one, and the row's factor is for all of them.

    Args:
        model: the model.
        found: the row of the function.
        a: a parameter.
        b: the other one.
        x: the argument.
        rest: 1 - x.

    Returns:
        Upper bounds over the reach, for either order of the parameters.
    """
    of_power, of_lgamma = max(_factor(model, name, a) for name in ("log", "log1p")), _factor(model, "lgamma", a)
    total = plus(a.high, b.high)
    joined = Interval(plus(a.value, b.value), plus(a.low, b.low), total, None, None)
    powers = times(plus(times(a.high, log_size(x)), times(b.high, log_size(rest))), of_power + 3.0)
    gammas = plus(*(_lgamma_terms(_lgamma_size(p), of_lgamma, 3.0) for p in (a, b, joined)))
    # 1 - x, which takes the place of x, is rounded where x < 1/2: it moves the powers by up to 2 b + 1 units.
    moved = plus(times(total, lax.log1p(total)), times(total, _CANCELLED + 2.0), 2.4)
    edge = lax.bitwise_or(touches(x.low, x.high), touches(rest.low, rest.high))
    return _relative(model, plus(powers, gammas, moved), found.unit, edge)


def _factor(model: Any, name: str, a: Interval) -> float:
    return model.accuracy(name, a.low.dtype).factor


def _lgamma_terms(size: Any, factor: float, additions: float) -> Any:
    """d |t| for a term that is a logarithm of Gamma."""
    return plus(times(size, factor + additions), _LGAMMA * factor)


def _lgamma_size(t: Interval) -> Any:
    """Largest |lgamma| over the reach: it falls up to 1, and grows from 2 on."""
    return lax.max(*(_lgamma_at(end) for end in (t.low, t.high)))


def _lgamma_at(t: Any) -> Any:
    small = plus(lax.abs(log(t)), 0.1215)
    large = plus(times(plus(t, -0.5), log(t)), times(t, -1.0), 0.91894, times(reciprocal(t), 1 / 12))
    return where(less(t, 1.0), small, maximum(large, 0.1215))


def _relative(model: Any, size: Any, iterated: Any, edge: Any) -> Relative:
    u = model.unit(size.dtype)
    exponent = plus(times(size, _MORE * u), iterated, (model.accuracy("exp", size.dtype).factor + _FACTORS) * _MORE * u)
    # exp(d) - 1 <= d + 0.72 d**2 up to 1.
    small, large = times(exponent, plus(times(exponent, 0.8), 1.0)), times(lax.exp(maximum(exponent, 1.0)), _MORE)
    clipped = where(less(exponent, _LARGEST), large, 1e35)
    anywhere = where(less(exponent, 1.0), small, clipped)
    return Relative(where(edge, float("inf"), anywhere), anywhere)
