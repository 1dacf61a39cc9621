"""The derivative of the incomplete gamma function F in a, on pairs: where `_incomplete` knows F, elsewhere NaN.

With the names of `_incomplete`, L = log(x) - digamma(a) and H_k = 1 / (a + 1) + ... + 1 / (a + k), up to x = max(a, 1)

    dF/da = E / a (S (L - 1 / a) - T),  S the sum of t_k, T that of t_k H_k,

where little cancels, as L - 1 / a is negative or small, and beyond

    dF/da = -E / s_0 (L - s_0' / s_0),  s_(k - 1)' = (k + c_k s_k' / s_k) / s_k - 1.

There nothing cancels: L > 0 as x > a, and s_k' lies in [-1, 0] for all k. For s_k = k I_(k - 1) / I_k, where I_k is the
integral over t > 0 of w_k = exp(-x t) t**k (1 + t)**(a - 1 - k), so that s_k' / s_k is the mean of log(1 + t) under
w_(k - 1) minus that under w_k, which is larger: w_k / w_(k - 1) rises with t. And s_(k - 1)' >= -1 follows from
s_k' >= -1: for c_k < 0 at once, for c_k > 0 because k >= k - a and s_k >= k - a. It is true for the fraction that is
cut off anywhere with s_n = x + n, s_n' = 0, hence in the limit.

What it errs is bounded while it runs, see `_slope_of_fraction`, and the result is NaN where that is more than the bound
of `BOUNDS`. Term k of T errs by 41.1 k + 27.1, and what follows term n is at most t_n (H_n + 1 / ((a + n + 1) (1 - r)))
r / (1 - r).

References:
    DLMF 8.7.1, 8.9.2, 13.3.7, 13.4.4.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from precjax.doubledouble._arithmetic import add, div, mul, select, sub
from precjax.doubledouble._bounds import BOUNDS
from precjax.doubledouble._exponential import exact, log
from precjax.doubledouble._fractions import UNIT, Start, passed
from precjax.doubledouble._gamma import _digamma
from precjax.doubledouble._incomplete import (
    LARGEST,
    SMALLEST,
    factor,
    is_beyond,
    legendre,
    one_of,
    steps,
    summed,
    terms,
    whole,
)
from precjax.doubledouble._pairs import DD, alone, elementary, settle, stored

UNITS = BOUNDS["igamma_grad_a"].units
_KNOWN = 2.0**-20  # errors of s_k from which on its slope is followed

digamma = alone(_digamma)


class Sums(NamedTuple):
    """t_k, H_k, S, T, and the sums of k t_k and k t_k H_k."""

    term: DD
    harmonic: DD
    total: DD
    slope: DD
    weighted: Any
    weighted_slope: Any


def _sums(a: DD, x: DD) -> tuple[DD, Any, DD, Any]:
    """S, how far it errs (of itself), T, and how far that errs (absolutely), in units."""

    def step(k: Any, state: Sums) -> Sums:
        inverse = div(one_of(a), add(a, whole(a, k)))
        term, harmonic = mul(state.term, mul(x, inverse)), add(state.harmonic, inverse)
        product = mul(term, harmonic)
        return Sums(
            term, harmonic, add(state.total, term), add(state.slope, product),
            state.weighted + k * term.hi, state.weighted_slope + k * product.hi,
        )  # fmt: skip

    nothing = exact(jnp.zeros_like(x.hi))
    count, start = terms(a), Sums(one_of(x), nothing, one_of(x), nothing, nothing.hi, nothing.hi)
    found = summed(step, start, count)
    ratio = x.hi / (a.hi + count + 1)
    rest = 1.01 * found.term.hi * ratio / (1 - ratio) / UNIT
    rest_slope = rest * (found.harmonic.hi + 1 / ((a.hi + count + 1) * (1 - ratio)))
    errs = (38.1 * found.weighted + rest) / found.total.hi + 3.1 * count
    errs_slope = 41.2 * found.weighted_slope + (27.2 + 3.1 * count) * found.slope.hi + rest_slope
    return found.total, jnp.where(ratio < 1 - 2.0**-20, errs, jnp.inf), found.slope, errs_slope


def _slope_of_fraction(a: DD, x: DD) -> tuple[Start, DD, Any]:
    """s_0 and how far it errs (of itself); s_0' and how far that errs (absolutely), in units."""
    # With q = c_k / s_k and h_k as in `_fractions`: q errs by 27.2 + h_k of itself, q s_k' by 11 more and by q times
    # what s_k' errs; k + q s_k', at most s_k, by 3.01 more; the quotient by 13 + h_k more, the difference by 3.01.
    # While h_k is large, the middle of [-1, 0] errs by 1/2.
    count = steps(a, x, 20.0, 700.0)
    level, start = legendre(a, x, count)
    middle, half = exact(jnp.full_like(x.hi, -0.5)), jnp.full_like(x.hi, 0.5 / UNIT)

    def step(i: Any, state: tuple[Start, DD, Any]) -> tuple[Start, DD, Any]:
        (s, h), slope, errs = state
        k = jnp.zeros_like(x.hi) + (count - i).astype(x.hi.dtype)
        quotient, after, h_after = passed(level(k), s, h)
        moved = sub(div(add(whole(x, k), mul(quotient, slope)), s), one_of(x))
        weight = lax.abs(quotient.hi / s.hi)
        errs = (19.2 + h + weight * (38.3 + h + errs)) * 1.01
        known = h < _KNOWN / UNIT
        return Start(after, h_after), select(known, moved, middle), jnp.where(known, errs, half)

    return lax.fori_loop(0, count, step, (start, middle, half))


def _exponent_errs(a: DD, x: DD) -> Any:
    """How far E errs, in units: of a log(x), x and lgamma(a), which are part of three sums, and of the exponential."""
    size = a.hi * lax.abs(lax.log(x.hi))
    return 1.01 * (77.1 * size + 6.1 * x.hi + 5810 * (lax.abs(lax.lgamma(a.hi)) + 1.01) + 13)


def _allowed(a: DD, x: DD, score: Any) -> Any:
    """What the rule allows in place of F or 1 - F, in units of it: see `rules.incomplete`."""
    logs, of_a = lax.abs(lax.log(x.hi)), lax.abs(lax.log(a.hi))
    size = a.hi * logs + x.hi + a.hi * lax.log1p(a.hi) + of_a + 9
    return 0.99 * UNITS * (size * (lax.abs(score) + lax.rsqrt(a.hi + 1)) + logs + of_a + 1 / a.hi)


@elementary
def igamma_grad_a(a: DD, x: DD) -> DD:
    """dF/da of the gamma distribution."""
    inside, beyond = (a.hi > SMALLEST) & (a.hi <= LARGEST) & (x.hi > 0) & (x.hi < jnp.inf), is_beyond(a, x)
    at_end = jnp.where((a.hi > 0) & (a.hi < jnp.inf) & ((x.hi == 0) | (x.hi == jnp.inf)), 0.0, jnp.nan)
    a, x = (select(inside, v, one_of(x)) for v in (a, x))
    logarithm, inverse, front = stored(log(x)), stored(div(one_of(a), a)), factor(a, x)
    gamma = digamma(add(a, one_of(a)))
    lower = stored(sub(logarithm, gamma))
    score = add(lower, inverse)
    # The logarithm, digamma and what a + 1 does to it, and the sums, which are no larger than these.
    score_errs = 67 * lax.abs(logarithm.hi) + 520 * (lax.abs(gamma.hi) + 1) + 25 * inverse.hi
    total, errs, slope, slope_errs = _sums(a, select(inside & beyond, a, x))
    below = stored(sub(mul(total, lower), slope))
    below_errs = total.hi * (lax.abs(lower.hi) * (errs + 11.1) + score_errs) + slope_errs
    last, s_slope, s_errs = _slope_of_fraction(a, select(inside & beyond, x, add(a, one_of(a))))
    relative = stored(div(s_slope, last.s))
    above = sub(relative, score)
    above_errs = score_errs + s_errs / last.s.hi + lax.abs(relative.hi) * (13.1 + last.errs)
    value, value_errs = select(beyond, above, below), jnp.where(beyond, above_errs, below_errs)
    divided = select(beyond, last.s, a)
    y = mul(stored(div(front, divided)), value)
    # In units of E / s_0 or E / a; the tail that the rule reads is E (1 + 1 / a) / (1 + |x - a|), or 1.
    more = 3.1 + 24.1 + _exponent_errs(a, x) + jnp.where(beyond, last.errs, 0.0)
    tail = divided.hi * jnp.minimum((1 + inverse.hi) / (1 + lax.abs(x.hi - a.hi)), 1 / front.hi)
    sound = value_errs + more * lax.abs(value.hi) <= _allowed(a, x, score.hi) * tail
    return settle(inside & sound, at_end, *y)
