"""Incomplete gamma and beta functions: the distribution functions F of the gamma and the beta distribution.

Theorem. Let X have density p, with parameter a, and F = P(X <= x). Then dF/dx = p(x), and
    dF/da = Cov(log X, [X <= x]), |dF/da| <= sqrt(Var(log X) F (1 - F)),
by Cauchy and Schwarz, since log X - E log X is the derivative of log p. Var(log X) is trigamma(a) for the gamma
distribution, trigamma(a) - trigamma(a + b) for the beta distribution (its second parameter is the first one of 1 - X).
With F = sin(t)**2 this says |dt/da| <= sqrt(Var) / 2, so that an error e of a moves F by at most
    d sqrt(F (1 - F)) + d**2 / 4, d = sqrt(Var) e, Var taken where a is smallest.
log p has derivative log x - digamma(a) in a: it moves by at most the largest size of that over the reach. In x, the
gamma density rises up to a - 1 and falls beyond; the factors x**(a - 1) and (1 - x)**(b - 1) of the other are monotone.
dF/da itself has the derivatives p(x) (log x - digamma(a)) in x, and E([X <= x] ((log X - E log X)**2 - trigamma(a))) in
a, whose size is at most trigamma(a): both terms lie between 0 and that.

What XLA computes is a series or a continued fraction times exp(s), s a sum of terms that may cancel: its relative error
is a multiple of the `size` of these terms, and it is subtracted from 1 beyond the middle. That it converges within its
bound of iterations was only measured, for parameters in `_MEASURED`: elsewhere, and where the reach leaves the domain,
the error is inf.

References:
    DLMF 8.2, 8.17; Casella and Berger, Statistical Inference, 2nd ed., section 7.3 (derivatives of log p).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from precjax._annotated import Annotated
from precjax._ball import Ball
from precjax._registry import rule
from precjax._rounding import equal, error_dtype, format_of, less, maximum, minimum, minus, plus, times, where
from precjax.rules.accuracy import Rounding, row
from precjax.rules.elementary import inside
from precjax.rules.gamma import digamma_bounds, exponential, log_gamma, reciprocal, trigamma_bound, trigamma_lower

_MEASURED = {"gamma": (2.0**-20, 2.0**14), "derivative": (2.0**-20, 2.0**10), "beta": (2.0**-20, 2.0**10)}


class Interval(NamedTuple):
    """What an operand may be: everything within its reach, as arrays of the result's shape.

    Attributes:
        value: the tracked value.
        low: the smallest number in reach; -inf for an exact subnormal, which may be read as 0.
        high: the largest.
        error: its error, None if exact.
        reach: radius of the reach, None if exact.
    """

    value: Any
    low: Any
    high: Any
    error: Any
    reach: Any


def interval(x: Ball, out: Any) -> Interval:
    """The operand of an elementwise function."""
    fill = functools.partial(jnp.broadcast_to, shape=out.shape)
    value = fill(jnp.asarray(x.value, x.dtype))
    if x.exact:
        low = value if x.absorbed is None else where(fill(x.subnormal), -jnp.inf, value)
        return Interval(value, low, value, None, None)
    certain = equal(fill(x.error), 0.0)
    low, high = (where(certain, value, fill(end)) for end in (x.low, x.high))
    return Interval(value, low, high, fill(x.error), fill(x.reach))


@rule("igamma")
def igamma(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """F of the gamma distribution, as a series up to x = max(1, a), as 1 - F beyond."""
    return [_gamma(model, "igamma", operands, outs[0])]


@rule("igammac")
def igammac(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """1 - F, where F is the one that is computed up to x = max(1, a)."""
    return [_gamma(model, "igammac", operands, outs[0])]


def _gamma(model: Any, name: str, operands: Sequence[Annotated], out: Any) -> Any:
    a, x = (interval(model.ball(o, error_dtype(out.dtype)), out) for o in operands)
    ones = jnp.ones_like(x.low)
    within, beyond = lax.le(x.low, lax.max(a.high, ones)), lax.ge(x.high, lax.max(a.low, ones))
    branches = (within, beyond) if name == "igamma" else (beyond, within)
    density = None if x.error is None else _gamma_density(model, a, x)
    parameters = [] if a.error is None else [(trigamma_bound(a.low), a)]
    error = _of_distribution(
        model, out, row(model, name, out.dtype), (x, density), parameters, gamma_size(a, x), branches
    )
    return where(_measured("gamma", x, a), error, jnp.inf)


def _measured(name: str, x: Interval, *parameters: Interval) -> Any:
    """Where all parameters are in the measured range, and x is not negative."""
    low, high = _MEASURED[name]
    inner = [lax.bitwise_and(lax.ge(p.low, jnp.full_like(p.low, low)), less(p.high, high)) for p in parameters]
    return functools.reduce(lax.bitwise_and, inner, lax.ge(x.low, jnp.zeros_like(x.low)))


def _of_distribution(
    model: Any, out: Any, found: Rounding, x: tuple[Interval, Any], parameters: list[Any], size: Any, branches: Any
) -> Any:
    """The error of F or 1 - F.

    Args:
        model: the model.
        out: the value.
        found: the row of the table.
        x: the argument, and the largest density in reach.
        parameters: (upper bound of Var, parameter), of those that have errors.
        size: of the terms of the exponent.
        branches: where the value, and where its complement may be what is computed.

    Returns:
        The error, at most the distance to 0 or 1.
    """
    argument, density = x
    y = lax.abs(out).astype(size.dtype)
    rest = plus(maximum(minus(1.0, y), 0.0), 2 * format_of(out.dtype).unit_roundoff)
    deviations = [(lax.sqrt(variance), p) for variance, p in parameters]
    anywhere = plus(times(density, argument.reach), *(times(d, p.reach, 0.5) for d, p in deviations))
    direct, complement = (times(plus(v, anywhere), size, found.unit) for v in (y, rest))
    rounding = lax.max(where(branches[0], direct, 0.0), where(branches[1], plus(complement, found.unit), 0.0))
    spread = plus(*(times(d, p.error) for d, p in deviations))
    if spread is not None:
        product = minimum(plus(times(y, rest), anywhere, rounding), jnp.full_like(y, 0.25))
        spread = plus(times(spread, lax.sqrt(product)), times(spread, spread, 0.25))
    moved = times(density, argument.error)
    return inside(model.total(out, moved, spread, rounding, ulps=1.02, steps=64, flushed=4), out, (0.0, 1.0))


def gamma_size(a: Interval, x: Interval) -> Any:
    """The size of a log x, x, and lgamma(a), and 8 for what is iterated; inf next to 0, where x**a has no slope."""
    growth = plus(times(a.high, lax.log1p(a.high)), _log_size(a), 9.0)
    return where(_touches(x.low, x.high), jnp.inf, plus(times(a.high, _log_size(x)), x.high, growth))


def _touches(low: Any, high: Any) -> Any:
    """Where an interval starts at 0 and is more than that."""
    return lax.bitwise_and(lax.le(low, jnp.zeros_like(low)), less(0.0, high))


def _log_size(x: Interval) -> Any:
    """Largest |log x|."""
    return lax.max(lax.abs(log(x.low)), lax.abs(log(x.high)))


def log(x: Any) -> Any:
    """The logarithm of a number that is not 0, or of the smallest normal number."""
    return lax.log(maximum(x, format_of(x.dtype).smallest_normal))


def _gamma_density(model: Any, a: Interval, x: Interval) -> Any:
    """exp((a - 1) log x - x - lgamma(a)) at its highest in reach."""
    shape = minus(a.value, 1.0)
    top = maximum(lax.clamp(x.low, maximum(shape, 0.0), x.high), format_of(x.low.dtype).smallest_normal)
    gamma, more = log_gamma(model, a.value)
    if a.reach is not None:
        more = plus(more, times(a.reach, score_size(a, x)))
    density = exponential([lax.mul(shape, lax.log(top)), lax.neg(top), lax.neg(gamma)], more)
    unbounded = lax.bitwise_and(lax.le(x.low, jnp.zeros_like(x.low)), less(a.low, 1.0))
    return where(unbounded, jnp.inf, density)


def score_size(a: Interval, x: Interval) -> Any:
    """Largest |log x - digamma(a)|."""
    lower, upper = digamma_bounds(a.low, a.high)
    size = lax.max(lax.sub(log(x.high), lower), lax.sub(upper, log(x.low)))
    return plus(maximum(size, 0.0), times(_log_size(x), 16 * format_of(size.dtype).unit_roundoff))


@rule("igamma_grad_a")
def igamma_grad_a(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """dF/da: F or 1 - F, times the size of log x - digamma(a), whose terms may cancel."""
    out = outs[0]
    a, x = (interval(model.ball(o, error_dtype(out.dtype)), out) for o in operands)
    found = row(model, "igamma_grad_a", out.dtype)
    density, score = _gamma_density(model, a, x), score_size(a, x)
    ones, inverse = jnp.ones_like(a.low), reciprocal(a.low)
    distance = maximum(lax.max(lax.sub(x.low, a.high), lax.sub(a.low, x.high)), 0.0)
    tail = lax.div(times(density, x.high, plus(inverse, 1.0)), plus(distance, 1.0))
    terms = plus(times(gamma_size(a, x), plus(score, lax.rsqrt(plus(a.low, 1.0)))), _log_size(x), _log_size(a), inverse)
    rounding = times(where(less(tail, 1.0), tail, ones), terms, found.unit)
    moved = None if x.error is None else times(density, x.error, score)
    turned = None if a.error is None else times(trigamma_bound(a.low), a.error)
    error = model.total(out, moved, turned, rounding, ulps=1.02, steps=64, flushed=4)
    return [where(_measured("derivative", x, a), error, jnp.inf)]


@rule("regularized_incomplete_beta")
def beta(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """F of the beta distribution, computed as 1 - F with 1 - x for x, from x = (a + 1) / (a + b + 2) on."""
    out = outs[0]
    a, b, x = (interval(model.ball(o, error_dtype(out.dtype)), out) for o in operands)
    found = row(model, "regularized_incomplete_beta", out.dtype)
    eps = 2 * format_of(x.low.dtype).unit_roundoff
    middles = (lax.div(plus(p, 1.0), plus(p, q, 2.0)) for p, q in ((a.high, b.low), (a.low, b.high)))
    branches = [compare(end, times(middle, 1 + slack * eps)) for compare, end, middle, slack in zip(
        (less, lax.ge), (x.low, x.high), middles, (8, -8), strict=True)]  # fmt: skip
    density = None if x.error is None else _beta_density(model, a, b, x)
    total = trigamma_lower(plus(a.high, b.high))
    parameters = [
        (maximum(plus(times(trigamma_bound(p.low), 1 + 16 * eps), lax.neg(total)), 0.0), p)
        for p in (a, b)
        if p.error is not None
    ]
    error = _of_distribution(model, out, found, (x, density), parameters, _beta_size(a, b, x), branches)
    domain = lax.bitwise_and(_measured("beta", x, a, b), lax.le(x.high, jnp.ones_like(x.high)))
    return [where(domain, error, jnp.inf)]


def _complement(x: Interval) -> Interval:
    """1 - x."""
    low, high = (maximum(minus(1.0, end), 0.0) for end in (x.high, x.low))
    return Interval(minus(1.0, x.value), low, high, x.error, x.reach)


def _beta_size(a: Interval, b: Interval, x: Interval) -> Any:
    """The size of a log x, b log(1 - x), and three lgammas, and 16 for what is iterated; inf next to 0 and 1."""
    rest = _complement(x)
    total = plus(a.high, b.high)
    powers = plus(times(a.high, _log_size(x)), times(b.high, _log_size(rest)))
    growth = plus(times(total, lax.log1p(total), 2.0), _log_size(a), _log_size(b), 19.0)
    edge = lax.bitwise_or(_touches(x.low, x.high), _touches(rest.low, rest.high))
    return where(edge, jnp.inf, plus(powers, growth))


def _beta_density(model: Any, a: Interval, b: Interval, x: Interval) -> Any:
    """Each of its two powers at its highest in reach."""
    rest, total = _complement(x), plus(a.value, b.value)
    eps = 2 * format_of(total.dtype).unit_roundoff
    terms, more, unbounded = [], times(total, plus(lax.log1p(total), 2.0), 4 * eps), False
    for shape, base in ((a, x), (b, rest)):
        power = minus(shape.value, 1.0)
        terms.append(lax.mul(power, log(lax.select(less(power, 0.0), base.low, base.high))))
        steep = lax.bitwise_and(lax.le(base.low, jnp.zeros_like(base.low)), less(shape.low, 1.0))
        unbounded = lax.bitwise_or(steep, unbounded)
        if shape.reach is not None:
            digammas = digamma_bounds(shape.low, plus(a.high, b.high))
            more = plus(
                more, times(shape.reach, plus(_log_size(base), maximum(lax.sub(digammas[1], digammas[0]), 0.0)))
            )
    for t, sign in ((a.value, -1.0), (b.value, -1.0), (total, 1.0)):
        gamma, slack = log_gamma(model, t)
        terms.append(times(gamma, sign))
        more = plus(more, slack)
    return where(unbounded, jnp.inf, exponential(terms, more))
