"""The regularized incomplete beta function: the distribution function F of the beta distribution.

Theorem: that of `incomplete`; E log X is digamma(a) - digamma(a + b) and Var(log X) is trigamma(a) - trigamma(a + b),
    0 <= -d log F / da <= E log X - log x + 1 / (a - max(b - 1, 0) x / (1 - x)),
    0 <= d log(1 - F) / da <= -E log X,
for p(s) / p(t) <= (s / t)**(a - 1) exp(max(b - 1, 0) (t - s) / (1 - t)) where s < t, and log X <= 0. The second
parameter is the first one of 1 - X. The factors x**(a - 1) and (1 - x)**(b - 1) of the density are monotone; log p has
derivative log x - E log X in a. F(x) <= x**a / (a B(a, b)) times the larger one of 1 and (1 - x)**(b - 1).

References:
    DLMF 8.17.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax._annotated import Annotated
from precjax._registry import rule
from precjax._rounding import error_dtype, format_of, less, maximum, minus, plus, times, where
from precjax.rules.accuracy import row
from precjax.rules.exponents import beta_rounding
from precjax.rules.gamma import digamma_bounds, exponential, log_gamma, reciprocal, trigamma_bound, trigamma_lower
from precjax.rules.incomplete import Parameter, measured, of_distribution
from precjax.rules.interval import Interval, interval, log, log_size


@rule("regularized_incomplete_beta")
def beta(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """F of the beta distribution, computed as 1 - F with 1 - x for x, from x = (a + 1) / (a + b + 2) on."""
    out = outs[0]
    a, b, x = (interval(model.ball(o, error_dtype(out.dtype)), out) for o in operands)
    x = _no_more_than(operands[2].known.high, x)
    found = row(model, "regularized_incomplete_beta", out.dtype)
    eps = 2 * format_of(x.low.dtype).unit_roundoff
    middles = (lax.div(plus(p, 1.0), plus(p, q, 2.0)) for p, q in ((a.high, b.low), (a.low, b.high)))
    branches = [compare(end, times(middle, 1 + slack * eps)) for compare, end, middle, slack in zip(
        (less, lax.ge), (x.low, x.high), middles, (8, -8), strict=True)]  # fmt: skip
    rest, density, tails = _complement(x), None, (None, None)
    if x.error is not None:
        density = _beta_density(model, a, b, x, rest)
        tails = _left_tail(model, a, b, x), _left_tail(model, b, a, rest)
    parameters = _beta_parameters(a, b, x)
    relative = beta_rounding(model, found, a, b, x, rest)
    error = of_distribution(model, out, found, (x, density), parameters, relative, branches, tails=tails)
    domain = lax.bitwise_and(measured("beta", x, a, b), lax.le(x.high, jnp.ones_like(x.high)))
    return [where(domain, error, jnp.inf)]


def _beta_parameters(a: Interval, b: Interval, x: Interval) -> list[Parameter]:
    """Those of a and b that have errors."""
    eps, rest = 2 * format_of(a.low.dtype).unit_roundoff, _complement(x)
    total = lax.neg(trigamma_lower(plus(a.high, b.high)))
    parameters = []
    for p, q, u, v in ((a, b, x, rest), (b, a, rest, x)):
        if p.error is None:
            continue
        of_p, of_sum = digamma_bounds(p.low, p.high), digamma_bounds(plus(p.low, q.low), plus(p.high, q.high))
        mean = maximum(lax.sub(of_sum[1], of_p[0]), 0.0)  # of -log u, at most
        score = plus(lax.sub(of_p[1], of_sum[0]), lax.neg(log(u.low)), times(log_size(u), 16 * eps))
        room = maximum(
            lax.sub(p.low, times(lax.div(maximum(minus(q.high, 1.0), 0.0), v.low), u.high, 1 + 8 * eps)), 0.0
        )
        tail = plus(maximum(score, 0.0), reciprocal(room))
        variance = maximum(plus(times(trigamma_bound(p.low), 1 + 16 * eps), total), 0.0)
        parameters.append(Parameter(p, variance, *((tail, mean) if p is a else (mean, tail))))
    return parameters


def _complement(x: Interval) -> Interval:
    """1 - x."""
    low, high = (maximum(minus(1.0, end), 0.0) for end in (x.high, x.low))
    return Interval(minus(1.0, x.value), low, high, x.error, x.reach)


def _no_more_than(high: float, x: Interval) -> Interval:
    """A static range ends at 1, but for roundings of what was computed."""
    return x._replace(high=lax.min(x.high, jnp.ones_like(x.high))) if high <= 1 else x


def _left_tail(model: Any, a: Interval, b: Interval, x: Interval) -> Any:
    """Upper bound of F over the reach."""
    end, rest = x._replace(low=x.high), _complement(x)
    density = _beta_density(model, a, b, end, rest._replace(high=jnp.ones_like(rest.high)))
    return times(density, x.high, reciprocal(a.low), 1.001)


def _beta_density(model: Any, a: Interval, b: Interval, x: Interval, rest: Interval) -> Any:
    """Each of its two powers, of x and of 1 - x, at its highest in reach."""
    total = plus(a.value, b.value)
    eps = 2 * format_of(total.dtype).unit_roundoff
    terms, more, unbounded = [], times(total, plus(lax.log1p(total), 2.0), 4 * eps), False
    for shape, base in ((a, x), (b, rest)):
        power = minus(shape.value, 1.0)
        terms.append(lax.mul(power, log(lax.select(less(power, 0.0), base.low, base.high))))
        steep = lax.bitwise_and(lax.le(base.low, jnp.zeros_like(base.low)), less(shape.low, 1.0))
        unbounded = lax.bitwise_or(steep, unbounded)
        if shape.reach is not None:
            digammas = digamma_bounds(shape.low, plus(a.high, b.high))
            more = plus(more, times(shape.reach, plus(log_size(base), maximum(lax.sub(digammas[1], digammas[0]), 0.0))))
    for t, sign in ((a.value, -1.0), (b.value, -1.0), (total, 1.0)):
        gamma, slack = log_gamma(model, t)
        terms.append(times(gamma, sign))
        more = plus(more, slack)
    return where(unbounded, jnp.inf, exponential(terms, more))
