"""The gradients of softmax and of the logarithm of a sum of exponentials.

Theorem: let p be a softmax and F_i = p_i (c_i - t), t = sum(p c), the gradient for a cotangent c. As sum(p'' - p*) = 0,
    F''_i - F*_i = dp_i (c*_i - t*) + p''_i (dc_i - sum_j dp_j (c*_j - t*) - sum_j p''_j dc_j)
with d = '' - *: what c has in common cancels. |c* - t*| is at most that of the tracked numbers, and what both err.
The plain program takes 1 / S twice, and rounds a quotient, five products, a square and two sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax import _softmax_gradient_patterns as patterns
from precjax import platforms
from precjax._annotated import Annotated
from precjax._rounding import format_of, minimum, plus, times
from precjax.rules.accuracy import quotient_rounding
from precjax.rules.softmax import Terms, laid_out, quotient_error, summation, terms_of


def softmax_gradient_error(model: Any, operands: Sequence[Annotated], out: Any, dtype: Any) -> Any:
    """The error of a product that completes the gradient of a softmax or of a log-sum-exp; None if it does not."""
    of_softmax = patterns.softmax_gradient(*operands)
    if of_softmax is not None:
        return _softmax_gradient_error(model, of_softmax, out, dtype)
    found = patterns.log_sum_exp_gradient(*operands)
    return None if found is None else _log_sum_exp_gradient_error(model, found, out, dtype)


def _probabilities(model: Any, terms: Terms) -> tuple[Any, Any]:
    """The softmax, in the format of its terms, and its error, but for the rounding of the quotient."""
    e = terms.pattern.terms.value
    p = lax.div(e, terms.spread(terms.pattern.total.value).astype(e.dtype))
    return lax.abs(p).astype(terms.d.dtype), quotient_error(model, terms, p, 0.0)


def _largest(terms: Terms, p: Any, dp: Any) -> Any:
    """What the softmax is at most in any execution."""
    return p if terms.linear else minimum(plus(p, times(dp, 2.0)), 1.0)


def _division(model: Any, out: Any) -> float:
    """Roundings of a quotient, as its rule counts them."""
    return 1.0 + quotient_rounding(model, out.dtype) + (0.0 if platforms.current().read_loss(out.dtype) else 4.5)


def _log_sum_exp_gradient_error(model: Any, found: patterns.LogSumExpGradient, out: Any, dtype: Any) -> Any:
    """p'' g'' - p* g* = dp g* + p'' dg, and the roundings of quotient, product and casts."""
    terms = terms_of(model, found.softmax, out, dtype)
    p, dp = _probabilities(model, terms)
    g = model.ball(found.cotangent, dtype)
    shape = jnp.shape(found.quotient.value)
    size = laid_out(model, jnp.broadcast_to(jnp.asarray(g.size, dtype), shape), found.moves)
    moved = None
    if g.absorbed is not None:
        dg = laid_out(model, jnp.broadcast_to(jnp.asarray(g.absorbed, dtype), shape), found.moves)
        size = size if terms.linear else plus(size, dg)
        moved = times(_largest(terms, p, dp), dg)
    ulps = (_division(model, out) + 1.01 + found.softmax.casts) * terms.u / model.unit(out.dtype)
    return model.total(out, times(dp, size), moved, ulps=ulps, steps=32, flushed=8)


def _softmax_gradient_error(model: Any, found: patterns.SoftmaxGradient, out: Any, dtype: Any) -> Any:
    """The theorem; None where so many terms are summed that roundings are not small, or 1 / S**2 may underflow."""
    terms, n = terms_of(model, found.softmax, out, dtype), found.softmax.count
    summed, u = summation(model, terms), terms.u
    inverse = 5.0 + quotient_rounding(model, out.dtype)  # of 1 / S**2 and what is made of it
    roundings = (_division(model, out) + 1 + inverse + found.softmax.casts) * u
    if roundings + 4 * summed > 0.25 or n * n * format_of(out.dtype).smallest_normal > 0.25:
        return None
    p, dp = _probabilities(model, terms)
    c = model.ball(found.cotangent, dtype)
    value, size = (jnp.broadcast_to(jnp.asarray(v, dtype), p.shape) for v in (c.value, c.size))
    mean, mean_size = terms.sum(times(p, value)), terms.sum(times(p, size))
    slack = times(mean_size, summed + 4 * u + (n + 8) * c.eps)
    apart = plus(lax.abs(lax.sub(value, mean)), slack, times(size, 2 * c.eps))
    dc = None if c.absorbed is None else jnp.broadcast_to(jnp.asarray(c.absorbed, dtype), p.shape)
    moved = (_moved_linearly if terms.linear else _moved)(model, terms, p, dp, value, apart, dc)
    # The mean is rounded in 1 / S**2, two products, its casts, and a sum of signed numbers besides the two in S**2.
    own, common = model.rounding(_division(model, out)) * u, model.rounding(inverse + found.softmax.casts) * u
    rounding = model.join(times(size, model.join(own, summed)), times(mean_size, model.join(common, 3 * summed)))
    rounding = times(_largest(terms, p, dp), rounding, (1 + roundings + 4 * summed) ** 2)
    ulps = 2.01 * u / model.unit(out.dtype)
    return model.total(out, *moved, rounding, ulps=ulps, steps=n + 48, flushed=4 * n + 8)


def _moved_linearly(model: Any, terms: Terms, p: Any, dp: Any, value: Any, apart: Any, dc: Any) -> list[Any]:
    """What infinitely small errors of softmax and cotangent move, given |c - t|."""
    shares = [times(dp, apart), times(p, dc)]
    return [*shares, *(times(p, model.accumulate(terms.sum, e)) for e in shares if e is not None)]


def _moved(model: Any, terms: Terms, p: Any, dp: Any, value: Any, apart: Any, dc: Any) -> list[Any]:
    """What any errors move: neither |c - t| nor a change of the mean exceeds the range of all possible cotangents."""
    widest = terms.range(value, times(dc, 2.0))
    apart = minimum(plus(apart, dc, terms.sum(plus(times(dp, apart), times(plus(p, dp), dc)))), widest)
    largest = _largest(terms, p, dp)
    mean_moved = minimum(terms.sum(plus(times(dp, apart), times(largest, dc))), widest)
    return [times(dp, apart), times(largest, plus(dc, mean_moved))]
