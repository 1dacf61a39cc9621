"""Softmax, the logarithm of a sum of exponentials, and the gradients of both.

Bounded alone, exponentials, sum and quotient multiply each other's worst cases. Together: let d_i bound the error of
the computed log E_i, E = exp(x - m), but for the error of m, which cancels: e_i + u |x_i - m| and the rounding of exp.
From the exact to any computed softmax p = E / sum(E) every term changes by a factor of at most exp(d_i + W), and
    |dp_i| <= p_i ((1 - p_i) d_i + sum over j != i of p_j d_j),   |d log sum(E)| <= sum(p_j (exp(d_j) - 1) exp(d_j))
to first order, with second-order terms as in the functions below. Terms with large d are masked ones: the largest term
is exp(0), so exp(s_j + 3 d_j) bounds their part. Patterns are recognised in `_softmax_patterns`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _softmax_patterns as patterns
from precjax import platforms
from precjax._annotated import Annotated
from precjax._ball import Ball
from precjax._registry import find
from precjax._rounding import (
    dtype_of,
    enlarged,
    equal,
    extremes,
    format_of,
    less,
    maximum,
    minimum,
    minus,
    never_nan,
    plus,
    ratio,
    stored,
    times,
    where,
)
from precjax.rules.accuracy import quotient_rounding


class Terms(NamedTuple):
    """What the bounds of one softmax share.

    Attributes:
        x: the operand.
        s: x - max(x).
        d: bound of the error of log E, but for the error of the maximum.
        u: the coarsest unit roundoff that terms and sum pass through.
        underflow: the largest that one of them may lose in the subnormal range.
        pattern: the softmax.
    """

    x: Ball
    s: Ball
    d: Any
    u: float
    underflow: float
    pattern: patterns.Softmax

    @property
    def linear(self) -> bool:
        """Whether errors are taken as infinitely small."""
        return self.s.linear or self.x.linear

    def sum(self, v: Any) -> Any:
        """Over the axes of the softmax, in the place of every term.

        Stored after it, too: XLA:CPU's library would take in what is made of the sum in every place.
        """
        return self.spread(stored(lax.reduce_sum(stored(v), self.pattern.axes)))

    def range(self, value: Any, radius: Any) -> Any:
        """Upper bound of the largest less the smallest of all values within a radius."""
        low, high = (value, value) if radius is None else (lax.sub(value, radius), lax.add(value, radius))
        axes, eps = self.pattern.axes, 8 * self.s.eps
        top, bottom = lax.reduce_max(never_nan(high), axes), lax.reduce_min(lax.neg(never_nan(lax.neg(low))), axes)
        size = plus(lax.abs(top), lax.abs(bottom))
        return self.spread(plus(lax.sub(top, bottom), times(size, eps)))

    def high(self) -> Any:
        """Upper bound of every execution's x - max(x): its maximum is at least any one of its numbers.

        x_j - max(x) <= x_j - x_k for all k, and one where that is least says it for all: no error of a maximum, which
        other numbers may win, is wanted.
        """
        if not self.pattern.own_maximum:
            return self.s.high
        size, reach, eps = self.s.size, self.x.reach, 8 * self.s.eps
        _, gap = extremes(plus(times(size, 1 + 2 * self.u), reach), self.pattern.axes)
        radius = plus(times(plus(reach, self.spread(gap)), 1 + eps), 2 * format_of(self.s.dtype).smallest_normal)
        return lax.sub(radius, times(size, 1 - 2 * self.u - eps))

    def spread(self, reduced: Any) -> Any:
        """What was reduced over the axes, in the place of every term."""
        shape = np.shape(self.pattern.terms.value)
        return lax.broadcast_in_dim(reduced, shape, [i for i in range(len(shape)) if i not in self.pattern.axes])


def terms_of(model: Any, pattern: patterns.Softmax, out: Any, dtype: Any) -> Terms:
    """The terms of a softmax that a result is made of, in arithmetic of a dtype of errors."""
    s, x = model.ball(pattern.shifted, dtype), model.ball(pattern.operand, dtype)
    formats = (*pattern.formats, out.dtype)
    u, underflow = max(map(model.unit, formats)), max(map(model.underflow, formats))
    own = dtype_of(pattern.terms.value)
    exp_rounding = 1.02 * model.rounding(model.accuracy("exp", own).factor) * model.unit(own)  # exp(s) <= 1
    d = times(model.join(x.error, times(s.size, 1.02 * model.rounding(1.0) * u), exp_rounding + u), 1 + 8 * s.eps)
    if pattern.shifted.known.masked:  # by -inf, which nothing moves: exp(-inf) is 0
        d = where(equal(s.size, np.inf), 0.0 if x.exact else times(x.error, 0.0), d)
    return Terms(x, s, d, u, underflow, pattern)


def _parts(model: Any, terms: Terms, p: Any) -> tuple[Any, Any]:
    """p (exp(d) - 1) exp(d), and its sum W."""
    d, n = terms.d, terms.pattern.count
    part = (
        times(p, d)
        if terms.linear
        else where(
            less(d, 0.5),
            times(p, d, plus(times(d, 0.65), 1.0), plus(times(d, 1.3), 1.0)),
            times(lax.exp(plus(terms.high(), times(d, 3.0))), 1.7),
        )
    )
    return part, enlarged(model.accumulate(terms.sum, part), n, p.dtype, flushed=4 * n)


def summation(model: Any, terms: Terms) -> float:
    """How much the sum of the terms, at least 1, errs, of itself: it is rounded, and terms may underflow."""
    accumulator, n = dtype_of(terms.pattern.total.value), terms.pattern.count
    return plus(model.join(*model.sum_rounding(n, accumulator, pairwise=True)), 2 * n * terms.underflow)


def softmax_error(model: Any, operands: Sequence[Annotated], out: Any, dtype: Any) -> Any:
    """Softmax of x, shifted by any m; None if the quotient is no softmax."""
    pattern = patterns.softmax(*operands)
    if pattern is None:
        return None
    narrow = 0.0 if platforms.current().read_loss(out.dtype) else 4.0  # a subnormal reciprocal
    ulps = 2.0 + quotient_rounding(model, out.dtype) + narrow
    return quotient_error(model, terms_of(model, pattern, out, dtype), out, ulps)


def quotient_error(model: Any, terms: Terms, out: Any, ulps: float) -> Any:
    """The theorem; the sum rounds once more, and the quotient so many times.

    Where d or W is large, exact p_i <= p_i exp(d_i) / sum p_j exp(-d_j) <= (p_i + part_i) / (1 - W); p is at most 1.
    """
    d, s, n, dtype = terms.d, terms.s, terms.pattern.count, terms.d.dtype
    roundings = model.rounding(ulps + terms.pattern.casts) * terms.u
    accumulator = model.unit(dtype_of(terms.pattern.total.value))
    last = model.join(summation(model, terms), roundings) * (1 + 4 * n * accumulator)
    p = lax.abs(out).astype(dtype)
    part, weight = _parts(model, terms, p)
    scale = ratio(jnp.ones_like(weight), maximum(minus(1 - 32 * s.eps, times(weight, 1 + 4 * s.eps)), 0.0))
    rest = times(weight, 4 * n * format_of(dtype).unit_roundoff)
    others = plus(model.without(weight, part, terms.sum), rest)
    own_share = plus(maximum(minus(1.0, p), 0.0), last + terms.u)
    moved = model.join(times(plus(own_share, others), d), others)
    if terms.linear:
        return minimum(plus(times(p, model.join(moved, last)), 4 * terms.underflow), at_most(out, dtype, 0.0, 1.0))
    bent = plus(times(plus(d, weight), 4.0), 1.0 + 32 * s.eps)
    bound = plus(times(p, bent, model.join(moved, last)), 4 * terms.underflow)
    regular = lax.bitwise_and(less(d, 0.125), less(weight, 0.125))
    far = times(plus(part, times(p, plus(weight, last)), 4 * terms.underflow), scale)
    return where(regular, bound, minimum(far, at_most(out, dtype, 0.0, 1.0)))


def at_most(out: Any, dtype: Any, low: float, high: float) -> Any:
    """Distance of the value to the farther end of the range of the exact result."""
    value = out.astype(dtype)
    distance = lax.max(lax.sub(value, jnp.asarray(low, dtype)), lax.sub(jnp.asarray(high, dtype), value))
    return times(distance, 1 + 8 * format_of(out.dtype).unit_roundoff)


def log_sum_exp_error(model: Any, operands: Sequence[Annotated], out: Any, error: Any) -> Any:
    """The error of a sum, lowered where it is log S + max(x)."""
    return _lowered(model, patterns.log_sum_exp(*operands), out, error, lambda terms: None)


def log_softmax_error(model: Any, operands: Sequence[Annotated], out: Any, error: Any) -> Any:
    """The error of a difference, lowered where it is x - max(x) - log S."""
    return _lowered(model, patterns.log_softmax(*operands), out, error, lambda terms: terms.d)


def _lowered(model: Any, found: Any, out: Any, error: Any, own: Callable[[Terms], Any]) -> Any:
    """The error, lowered if a pattern was found; `own` is that of the other operand of log S."""
    if found is None:
        return error
    terms = terms_of(model, found.softmax, out, error.dtype)
    return minimum(model.total(out, own(terms), *_logarithm_errors(model, found, terms), steps=32), error)


def _logarithm_errors(model: Any, found: patterns.LogSumExp, terms: Terms) -> list[Any]:
    """What log S + max(x) owes to the terms, to their sum, and to the logarithm.

    Any two of the sums differ by a factor within sum(p_j exp(+-d_j)) for the softmax p of the exact terms, each of
    which is at most p_j exp(d_j) / (1 - W) for the computed ones: so by W / (1 - W) in the logarithm, and never by
    more than the largest d.
    """
    dtype, axes = terms.d.dtype, terms.pattern.axes
    p = ratio(lax.abs(terms.pattern.terms.value).astype(dtype), terms.spread(terms.pattern.total.value.astype(dtype)))
    summed = 1.02 * model.join(summation(model, terms), model.rounding(1.0 + terms.pattern.casts) * terms.u)
    _, weight = _parts(model, terms, p)
    weight = times(lax.reduce_max(weight, axes), 1 + 2 * summed)
    if not terms.linear:
        room = maximum(minus(1 - 32 * terms.s.eps, times(weight, 1 + 4 * terms.s.eps)), 0.0)
        weight = minimum(ratio(weight, room), lax.reduce_max(never_nan(terms.d), axes))
    size = lax.abs(found.logarithm.value).astype(dtype)
    rounding = 1.02 * model.rounding(model.accuracy("log", found.format).factor) * terms.u
    return [laid_out(model, weight, found.moves), lax.full_like(size, summed), times(size, rounding)]


def laid_out(model: Any, error: Any, moves: Sequence[Annotated]) -> Any:
    """An error that is moved as the values were."""
    for step in moves:
        eqn, (operand, *others) = step.origin.eqn, step.origin.operands
        moved = [operand._replace(error=error), *others]
        (error,) = find(eqn.primitive.name)(model, moved, [step.value], **eqn.params)
    return error
