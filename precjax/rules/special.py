"""Special functions of one number: lgamma, digamma, and the scaled Bessel functions I0 and I1.

Theorem: that of `elementary`, with these bounds of |f'| over the reach.
- lgamma' = digamma, digamma' = trigamma: see `gamma`.
- f = exp(-x) I0(x), x >= 0, is a mean of exponentials exp(-x (1 - cos a)): f' = -f (1 - R), R = I1 / I0, falls in size.
  Amos: x / (1/2 + sqrt(x**2 + 9/4)) <= R <= x / (1/2 + sqrt(x**2 + 1/4)). The first bounds 1 - R; by the second,
  f' / f <= -1 / (1 + 2 x), so f <= (1 + 2 x)**(-1/2).
- g = exp(-x) I1(x), x >= 0: g' = g (1/R - 1 - 1/x), between -g / (x + 1/2 + sqrt(x**2 + 1/4)) and
  g (2 - x) / (x (x + 1/2 + sqrt(x**2 + 9/4))), and |g'| <= 1/2: g' = exp(-x) (I0 - 2 I1 + I2) / 2, I0 >= I1 >= I2.
  Both factors of g fall with x, in size, while the second is positive; it is the smaller one after that. g <= 0.22.

References:
    Amos, Computation of modified Bessel functions and their ratios, Math. Comp. 28 (1974), (9) and (11).
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax._ball import Ball
from precjax._rounding import format_of, maximum, minimum, minus, plus, ratio, times
from precjax.rules.elementary import defelementary
from precjax.rules.gamma import digamma_slope, moved, trigamma_slope


def _root(x: Any, square: float) -> Any:
    """sqrt(x**2 + square), at least x."""
    small = lax.min(x, jnp.asarray(2.0**60, x.dtype))
    return maximum(lax.sqrt(plus(times(small, small), square)), x)


def _largest(x: Ball, y: Any, slope: float) -> Any:
    """Upper bound of |f| over the reach: from the value, and (1 + 2 x)**(-1/2) for both functions."""
    grown = plus(times(y, 1 + 64 * format_of(x.operand.value.dtype).unit_roundoff), times(x.reach, slope))
    return minimum(grown, times(lax.rsqrt(plus(x.near, 0.5)), 0.70711))


# Error over size first: far from 0, slopes underflow.
def _i0e_spread(x: Ball, y: Any) -> Any:
    root = _root(x.near, 2.25)
    share = ratio(times(plus(ratio(2.25, plus(root, x.near)), 0.5), x.error), plus(root, 0.5))
    return times(minimum(times(_largest(x, y, 1.0), share), x.error), 1 + 16 * x.eps)


def _i1e_spread(x: Ball, y: Any) -> Any:
    falls = ratio(x.error, plus(x.near, _root(x.near, 0.25), 0.5))
    rises = ratio(ratio(x.error, x.near), plus(x.near, _root(x.near, 2.25), 0.5))
    share = lax.max(falls, times(maximum(minus(2.0, x.near), 0.0), rises))
    largest = minimum(_largest(x, y, 0.5), jnp.asarray(0.22, x.dtype))
    return times(minimum(times(largest, share), times(x.error, 0.5)), 1 + 16 * x.eps)


defelementary("lgamma", lambda x, y: moved(x, digamma_slope(x)), singular=True)
defelementary("digamma", lambda x, y: moved(x, trigamma_slope(x)), singular=True)
defelementary("bessel_i0e", _i0e_spread, (0.0, 1.0))
defelementary("bessel_i1e", _i1e_spread, (-0.22, 0.22))
