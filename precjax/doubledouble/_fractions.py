"""Continued fractions of pairs, from their end, with a bound of the error that is computed beside them.

    s_(k - 1) = b_(k - 1) - c_k / s_k,  k = n, n - 1, ..., 1,

where all s_k are positive. Theorem. Let s be the exact numbers, t the computed ones and h_k = |log(t_k / s_k)|. The
step from k to k - 1 changes logarithms with the slope -g or g, where

    g(s) = |c_k| / |b_(k - 1) s - c_k|, at the computed numbers |c_k / (t_k t_(k - 1))|,

which falls with s. So h_(k - 1) is at most g h_k, with g at the smaller one of s_k and t_k, plus what the step rounds:

- Where c_k <= 0 the smaller one is at least t_k exp(-h_k), and 1 - g(t) = b_(k - 1) / t_(k - 1) says that there
  g = g(t) / (g(t) + (1 - g(t)) exp(-h_k)), if b_(k - 1) > 0.
- Where c_k > 0 each step rises with s. If it starts below, as is required where c_n > 0, and falls to c_k <= 0 later,
  t_k is the smaller one but for roundings. While g < 1 and each step rounds by less than 2**30 units, these move g by
  less than 2**-40 of itself, in 2**20 steps.

The rounding of a step is that of b, over t_(k - 1), g times those of c and of the quotient, and that of the difference.

All this is counted in units of u**2 = 2**-106.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from precjax.doubledouble._arithmetic import div, sub
from precjax.doubledouble._pairs import DD

UNIT = 2.0**-106
_MORE = 1 + 2.0**-38  # of a step: terms of higher order, and its rounding in float64


class Level(NamedTuple):
    """b_(k - 1), c_k, how far b errs (absolutely) and c (of itself), in units."""

    b: DD
    c: DD
    b_errs: Any
    c_errs: Any


class Start(NamedTuple):
    """s_n, and h_n in units."""

    s: DD
    errs: Any


def between(low: Any, high: Any, below: Any) -> Start:
    """A start in [low, high], computed in float64 to 2**-25: the low end where `below`, else the middle."""
    slack = 2.0**-20
    s = jnp.where(below, low * (1 - slack), lax.sqrt(low) * lax.sqrt(high))
    spread = lax.log(high / low) * (1 + slack)
    errs = (jnp.where(below, spread, spread / 2) + 4 * slack) / UNIT
    return Start(DD(s, jnp.zeros_like(s)), jnp.where((low > 0) & (high >= low), errs, jnp.inf))


def passed(level: Level, s: DD, errs: Any) -> tuple[DD, DD, Any]:
    """c_k / s_k, s_(k - 1), and h_(k - 1)."""
    quotient = div(level.c, s)
    after = sub(level.b, quotient)
    g = lax.abs(quotient.hi / after.hi)
    left = level.b.hi / after.hi * lax.exp(-errs * UNIT)
    slope = jnp.where(level.c.hi > 0, g, g / (g + left))
    rounded = level.b_errs / after.hi + g * (level.c_errs + 13.1) + 3.1
    errs = (rounded + slope * errs) * _MORE
    sound = (after.hi > 0) & jnp.where(level.c.hi > 0, (g < 1) & (rounded < 2.0**30), level.b.hi > 0)
    return quotient, after, jnp.where(sound, errs, jnp.inf)


def fraction(level: Callable[[Any], Level], start: Start, count: Any) -> Start:
    """s_0, and how far it errs.

    Args:
        level: of k, a float64 array like s: the coefficients of a step.
        start: s_n.
        count: n, an integer.

    Returns:
        s_0, and its error in units; inf where the theorem says nothing.
    """

    def step(i: Any, state: Start) -> Start:
        k = jnp.zeros_like(state.s.hi) + (count - i).astype(state.s.hi.dtype)
        _, s, errs = passed(level(k), *state)
        return Start(s, errs)

    return lax.fori_loop(0, count, step, start)
