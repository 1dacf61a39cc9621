"""Distribution functions F, and the incomplete gamma functions: F and 1 - F of the gamma distribution.

Theorem. Let X have density p, with parameter a, and F = P(X <= x). Then dF/dx = p(x), and
    dF/da = Cov(log X, [X <= x]), |dF/da| <= sqrt(Var(log X) F (1 - F)),
by Cauchy and Schwarz, since log X - E log X is the derivative of log p. For the gamma distribution E log X is
digamma(a), Var(log X) trigamma(a); see `beta` for the other one. With F = sin(t)**2 this says |dt/da| <= sqrt(Var) / 2,
so that an error e of a moves F by at most
    d sqrt(F (1 - F)) + d**2 / 4, d = sqrt(Var) e, Var taken where a is smallest.
log p has derivative log x - digamma(a) in a: it moves by at most the largest size of that over the reach. In x, the
gamma density rises up to a - 1 and falls beyond.

In the tails better bounds follow by parts:
    0 <= -d log F / da = digamma(a) - log x + (1 / F) integral of F(t) / t up to x <= digamma(a) - log x + 1 / (a - x),
    0 <= d log(1 - F) / da <= log x - digamma(a) + 1 / min(x, x - a + 1).
For F(t) / (t p(t)) <= 1 / (a - t) where t < a, as p(s) / p(t) <= (s / t)**(a - 1) exp(t - s) for s < t, and
t - s <= t log(t / s); and 1 - F(t) <= (1 - F(x)) exp(-(t - x) min(1, 1 - (a - 1) / x)) for t > x, as log p falls that
fast.

dF/da itself has the derivatives p(x) (log x - digamma(a)) in x, and E([X <= x] ((log X - E log X)**2 - trigamma(a))) in
a, whose size is at most trigamma(a): both terms lie between 0 and that.

What XLA computes is a series or a continued fraction times exp(s), s a sum of terms that may cancel: its relative error
is that of `exponents`, and it is subtracted from 1 beyond the middle. That it converges within its bound of iterations
was only measured, for parameters in `MEASURED`: elsewhere, and where the reach leaves the domain, the error is inf.

Next to an end of the domain, where p may be infinite, both the computed and the exact y are positive, and at most y at
the far end of the reach: for the gamma distribution F(x) <= x**a / Gamma(a + 1), for exp(-t) <= 1.

References:
    DLMF 8.2; Casella and Berger, Statistical Inference, 2nd ed., section 7.3 (derivatives of log p).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from precjax._annotated import Annotated
from precjax._registry import rule
from precjax._rounding import (
    equal,
    error_dtype,
    format_of,
    less,
    maximum,
    minimum,
    minus,
    never_nan,
    plus,
    times,
    where,
)
from precjax.rules.accuracy import Rounding, row
from precjax.rules.elementary import inside
from precjax.rules.exponents import Relative, gamma_rounding
from precjax.rules.gamma import digamma_bounds, exponential, log_gamma, reciprocal, trigamma_bound
from precjax.rules.interval import Interval, interval, log, log_size, touches

# Beyond 2**22 igammac's fraction ends before it converges, next to its middle; beyond 2**12 that of the beta function.
MEASURED = {"gamma": (2.0**-20, 2.0**22), "derivative": (2.0**-20, 2.0**10), "beta": (2.0**-20, 2.0**12)}

_LOST = 16.0  # smallest normal numbers: exp(s) underflows
_WIDE = 0.125  # relative errors from which on a result may leave [0, 1] by more than a little


class Parameter(NamedTuple):
    """A parameter with an error.

    Attributes:
        range: the parameter.
        variance: upper bound of Var, over the reach.
        below: upper bound of |d log y / d parameter|.
        above: upper bound of |d log(1 - y) / d parameter|.
    """

    range: Interval
    variance: Any
    below: Any
    above: Any


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
    branches, logarithmic = (within, beyond), _gamma_logarithmic(a, x)
    if name == "igammac":
        branches, logarithmic = branches[::-1], logarithmic[::-1]
    density = None if x.error is None else _gamma_density(model, a, x)
    parameters = [] if a.error is None else [Parameter(a, trigamma_bound(a.low), *logarithmic)]
    found = row(model, name, out.dtype)
    rest = _far_right(a, x) if name == "igamma" else None
    tails = (None, None) if x.error is None else (_left_tail(model, a, x), None)
    tails = tails if name == "igamma" else tails[::-1]
    error = of_distribution(
        model, out, found, (x, density), parameters, gamma_rounding(model, found, a, x), branches, rest, tails
    )
    return where(measured("gamma", x, a), error, jnp.inf)


def _far_right(a: Interval, x: Interval) -> Any:
    """Upper bound of 1 - F: by Chernoff (x / a)**a exp(a - x), at most exp(-0.4 x) from x = 4 a on; 1 before that."""
    far = lax.le(times(a.high, 4.0), x.low)
    return where(far, lax.exp(times(maximum(x.low, 0.0), -0.399)), jnp.ones_like(x.low))


def _left_tail(model: Any, a: Interval, x: Interval) -> Any:
    """Upper bound of F: x**a / (a Gamma(a))."""
    end = x._replace(low=x.high)
    return times(_gamma_powers(model, a, end, x.high), x.high, reciprocal(a.low), 1.001)


def _gamma_logarithmic(a: Interval, x: Interval) -> tuple[Any, Any]:
    """Upper bounds of |d log F / da| and |d log(1 - F) / da|."""
    lower, upper = _scores(a, x)
    left, right = maximum(lax.sub(a.low, x.high), 0.0), lax.min(x.low, maximum(plus(lax.sub(x.low, a.high), 1.0), 0.0))
    return plus(maximum(upper, 0.0), reciprocal(left)), plus(maximum(lower, 0.0), reciprocal(right))


def measured(name: str, x: Interval, *parameters: Interval) -> Any:
    """Where all parameters are in the measured range, and x is not negative."""
    low, high = MEASURED[name]
    inner = [lax.bitwise_and(lax.ge(p.low, jnp.full_like(p.low, low)), less(p.high, high)) for p in parameters]
    return functools.reduce(lax.bitwise_and, inner, lax.ge(x.low, jnp.zeros_like(x.low)))


def of_distribution(
    model: Any,
    out: Any,
    found: Rounding,
    x: tuple[Interval, Any],
    parameters: list[Parameter],
    relative: Relative,
    branches: Any,
    most: Any = None,
    tails: tuple[Any, Any] = (None, None),
) -> Any:
    """The error of F or 1 - F, called y.

    Args:
        model: the model.
        out: the value.
        found: the row of the table.
        x: the argument, and the largest density in reach.
        parameters: those that have errors.
        relative: the relative error of what is computed, y or 1 - y.
        branches: where y, and where 1 - y may be what is computed.
        most: None, or an upper bound of 1 - y within reach.
        tails: None, or upper bounds of y and of 1 - y within reach.

    Returns:
        The error, at most the distance to 0 or 1.
    """
    argument, density = x
    unit = relative.inner
    if density is not None:
        density = where(equal(argument.error, 0.0), 0.0, density)
    y = lax.abs(out).astype(unit.dtype)
    rest = plus(maximum(minus(1.0, y), 0.0), 2 * format_of(out.dtype).unit_roundoff)
    rest = rest if most is None else lax.min(rest, most)
    subtracted = 2 * found.roundoff
    own = lax.max(where(branches[0], times(y, unit), 0.0), where(branches[1], plus(times(rest, unit), subtracted), 0.0))
    lost = model.underflow(out.dtype) + _LOST * found.inner.smallest_normal
    own = plus(own, times(y, 2 * format_of(out.dtype).unit_roundoff), lost)
    turn = plus(*(times(lax.sqrt(p.variance), p.range.reach, 0.5) for p in parameters))
    run, anywhere = plus(own, times(density, argument.reach)), plus(own, times(density, argument.reach), turn)
    # The largest y and 1 - y in reach.
    tops = []
    for value, factor in zip((y, rest), _growth(parameters, "reach"), strict=True):
        grown = run if factor is None else plus(run, times(plus(value, own), plus(lax.exp(factor), -1.0)))
        tops.append(lax.min(plus(value, minimum(grown, anywhere)), jnp.ones_like(y)))
    spread = plus(*(times(lax.sqrt(p.variance), p.range.error) for p in parameters))
    if spread is not None:
        product = lax.min(times(*tops), jnp.full_like(y, 0.25))
        spread = plus(times(spread, lax.sqrt(product)), times(spread, spread, 0.25))
        for top, factor in zip(tops, _growth(parameters, "error"), strict=True):
            spread = minimum(times(top, factor), spread)
    direct, complement = times(tops[0], unit), times(tops[1] if most is None else lax.min(tops[1], most), unit)
    rounding = lax.max(where(branches[0], direct, 0.0), where(branches[1], plus(complement, subtracted), 0.0))
    moved = times(density, argument.error)
    error = model.total(out, moved, spread, plus(rounding, lost), ulps=1.02, steps=64, flushed=4)
    for value, tail, other in zip((y, rest), tails, branches[::-1], strict=True):
        if tail is not None:
            largest = lax.max(value, times(never_nan(tail), plus(relative.anywhere, 1.0)))
            error = minimum(error, where(other, jnp.inf, plus(times(largest, 1.001), subtracted, lost)))
    wild = lax.bitwise_and(lax.ge(unit, jnp.full_like(unit, _WIDE)), less(unit, jnp.inf))
    return where(wild, minimum(error, plus(unit, 1.0)), inside(error, out, (0.0, 1.0)))


def _growth(parameters: list[Parameter], radius: str) -> tuple[Any, Any]:
    """How far log y and log(1 - y) move while the parameters move by their errors or within their reach."""
    sides = []
    for side in ("below", "above"):
        radii = [(getattr(p, side), getattr(p.range, radius)) for p in parameters]
        sides.append(plus(*(times(where(equal(r, 0.0), 0.0, slope), r) for slope, r in radii)))
    return sides[0], sides[1]


def gamma_size(a: Interval, x: Interval) -> Any:
    """The size of a log x, x, and lgamma(a), and 8 for what is iterated; inf next to 0, where x**a has no slope."""
    growth = plus(times(a.high, lax.log1p(a.high)), log_size(a), 9.0)
    return where(touches(x.low, x.high), jnp.inf, plus(times(a.high, log_size(x)), x.high, growth))


def _gamma_density(model: Any, a: Interval, x: Interval) -> Any:
    """exp((a - 1) log x - x - lgamma(a)) at its highest in reach."""
    shape = minus(a.value, 1.0)
    top = maximum(lax.clamp(x.low, maximum(shape, 0.0), x.high), format_of(x.low.dtype).smallest_normal)
    density = _gamma_powers(model, a, x, top, lax.neg(top))
    # At the mode a - 1, Gamma(a) >= sqrt(2 pi (a - 1)) ((a - 1) / e)**(a - 1) leaves no more than this.
    flattest = times(lax.rsqrt(maximum(minus(a.low, 1.0), 0.0)), 0.4)
    unbounded = lax.bitwise_and(lax.le(x.low, jnp.zeros_like(x.low)), less(a.low, 1.0))
    return where(unbounded, jnp.inf, lax.min(density, flattest))


def _gamma_powers(model: Any, a: Interval, x: Interval, base: Any, *terms: Any) -> Any:
    """base**(a - 1) / Gamma(a) times exp of the other terms, over the reach of a."""
    gamma, more = log_gamma(model, a.value)
    if a.reach is not None:
        more = plus(more, times(a.reach, score_size(a, x)))
    return exponential([lax.mul(minus(a.value, 1.0), log(base)), lax.neg(gamma), *terms], more)


def score_size(a: Interval, x: Interval) -> Any:
    """Largest |log x - digamma(a)|."""
    return maximum(lax.max(*_scores(a, x)), 0.0)


def _scores(a: Interval, x: Interval) -> tuple[Any, Any]:
    """Upper bounds of log x - digamma(a) and of digamma(a) - log x."""
    lower, upper = digamma_bounds(a.low, a.high)
    slack = times(log_size(x), 16 * format_of(a.low.dtype).unit_roundoff)
    return plus(lax.sub(log(x.high), lower), slack), plus(lax.sub(upper, log(x.low)), slack)


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
    terms = plus(times(gamma_size(a, x), plus(score, lax.rsqrt(plus(a.low, 1.0)))), log_size(x), log_size(a), inverse)
    rounding = times(where(less(tail, 1.0), tail, ones), terms, found.unit)
    moved = None if x.error is None else times(density, x.error, score)
    turned = None if a.error is None else times(trigamma_bound(a.low), a.error)
    error = model.total(out, moved, turned, rounding, ulps=1.02, steps=64, flushed=4)
    return [where(measured("derivative", x, a), error, jnp.inf)]
