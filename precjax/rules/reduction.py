"""Reductions and cumulative operations.

Theorem (Jeannerod and Rump 2013): a sum of n terms, added in any order or tree, errs by at most (n - 1) u sum |x|. With
errors e the result errs by at most sum (e + (n - 1) u (|x| + reach)). A maximum is nonexpansive: its error is the
largest error among the terms that may win.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _jax_compat as compat
from precjax import platforms
from precjax._annotated import Annotated
from precjax._ball import Ball, read_error
from precjax._registry import complex_rule, find, refusal, rule
from precjax._rounding import (
    COMPLEX_PRODUCT,
    dtype_of,
    equal,
    error_dtype,
    format_of,
    is_inexact,
    magnitude,
    maximum,
    never_nan,
    plus,
    reordered,
    stored,
    times,
    where,
)
from precjax.rules.decision import best_along, candidates
from precjax.rules.integer import combine_integers
from precjax.rules.whole import exact_total

_LONG = 1 << 16  # terms beyond which a bound's own sum is taken in two stages


def summed(
    model: Any,
    x: Ball,
    terms: int,
    add: Callable[[Any], Any],
    out: Any,
    steps: int | None = None,
    pairwise: bool = False,
    names: tuple[Any, ...] = (),
) -> Any:
    """The error of a sum: `add` sums an array of errors as the primitive sums values, in `steps` additions a term.

    It may sum over devices as well, along axes with these names.
    """
    one_sign = x.operand.known.low >= 0 or x.operand.known.high <= 0
    rounding, of_result = model.sum_rounding(terms, out.dtype, pairwise, one_sign)
    # Subnormal terms that are read as 0 are among the underflows.
    weights = model.join(x.error, times(plus(x.size, x.reach), rounding) if rounding else None)
    moved = None if weights is None else model.accumulate(add, stored(weights), names)
    moved = times(moved, 1 + 2 * of_result) if one_sign else moved  # an execution's result differs by that
    final = times(magnitude(out, x.dtype), of_result) if of_result else None
    steps = terms if steps is None else steps
    ulps = 0 if final is None else None
    return exact_total(x, add, out, model.total(out, moved, final, ulps=ulps, steps=steps, flushed=3 * terms))


@rule("reduce_sum")
def reduce_sum(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, axes: Any) -> list[Any]:
    """Any order."""
    out, axes = outs[0], tuple(axes)
    terms = math.prod(operands[0].value.shape[a] for a in axes)
    if terms <= 1:  # a sum of nothing is 0
        return [None if operands[0].error is None or not terms else lax.reshape(operands[0].error, out.shape)]
    if not is_inexact(out.dtype):
        return [combine_integers(model, operands, out, lambda e: lax.reduce_sum(e, axes))]
    x = model.ball(operands[0], error_dtype(out.dtype))
    if terms <= _LONG:
        return [summed(model, x, terms, lambda e: lax.reduce_sum(e, axes), out, pairwise=True)]
    row = 1 << (terms.bit_length() // 2)
    add = lambda e: _sum_in_two_stages(e, axes, row)  # noqa: E731
    return [summed(model, x, terms, add, out, row + terms // row + 1, pairwise=True)]


def _sum_in_two_stages(e: Any, axes: tuple[int, ...], row: int) -> Any:
    """Rows first, then their sums: the sum of so many errors loses u (row + rows), not u times their number."""
    kept = [i for i in range(e.ndim) if i not in axes]
    lines = lax.transpose(e, [*kept, *axes]).reshape(*(e.shape[i] for i in kept), -1)
    missing = -lines.shape[-1] % row
    lines = lax.pad(lines, jnp.zeros((), e.dtype), [(0, 0, 0)] * len(kept) + [(0, missing, 0)])
    rows = lines.reshape(*lines.shape[:-1], -1, row).sum(-1)
    # XLA merges a sum of sums into one; the barrier keeps them apart.
    return lax.optimization_barrier(rows).sum(-1)


@rule("reduce_prod")
def reduce_prod(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, axes: Any) -> list[Any]:
    """prod(|x| + e) - prod |x|."""
    terms = max(math.prod(operands[0].value.shape[a] for a in axes), 1)
    return [product_error(model, operands, outs[0], terms, lambda v: _prod(v, axes))]


@complex_rule("reduce_prod")
def complex_reduce_prod(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, axes: Any) -> list[Any]:
    """As of real numbers, with the roundings of complex products."""
    terms = max(math.prod(operands[0].value.shape[a] for a in axes), 1)
    return [product_error(model, operands, outs[0], terms, lambda v: _prod(v, axes), COMPLEX_PRODUCT)]


def _prod(v: Any, axes: Any) -> Any:
    return jnp.prod(v, axis=tuple(axes))


def product_error(
    model: Any,
    operands: Sequence[Annotated],
    out: Any,
    terms: int,
    multiply: Callable[..., Any],
    ulps: float = 1.0,
) -> Any:
    """Theorem: |prod b - prod a| <= prod(|a| + |b - a|) - prod |a|; twice, to the exact and to any other execution.

    `multiply` takes an array per operand, and multiplies as the primitive does, at most so many terms each time.
    """
    if not is_inexact(out.dtype):
        return combine_integers(model, operands, out, lambda *e: multiply(*(x * np.inf for x in e)))
    balls = [model.ball(x, error_dtype(out.dtype)) for x in operands]
    dtype, eps = balls[0].dtype, balls[0].eps
    u, tiny = format_of(out.dtype).unit_roundoff, format_of(dtype).smallest_normal
    full = lambda x, size: jnp.broadcast_to(jnp.asarray(size, dtype), np.shape(x.operand.value))  # noqa: E731
    radii = [plus(x.absorbed, tiny) if x.absorbed is None else plus(x.reach, x.absorbed, tiny) for x in balls]
    largest = multiply(*(full(x, plus(x.size, r)) for x, r in zip(balls, radii, strict=True)))
    rounding = times(largest, ulps * (terms + 2) * u + 4 * terms * eps)
    moved = None
    if any(not x.exact for x in balls):
        moved = maximum(lax.sub(largest, multiply(*(full(x, x.size) for x in balls))), 0.0)
        moved = times(moved, 2.0 if any(x.reach is not x.error for x in balls) else 1.0)
    # A partial product that underflows may still be multiplied by everything larger than 1.
    others = multiply(*(maximum(full(x, x.far), 1.0) for x in balls))
    lost = times(others, 2 * terms * platforms.current().underflow(out.dtype))
    return model.total(out, moved, rounding, lost, ulps=0, steps=2 * terms, flushed=2 * terms)


@rule("reduce_max")
def reduce_max(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, axes: Any) -> list[Any]:
    """The largest error among the terms that may be the maximum."""
    return [_extreme_along(operands[0], outs[0], tuple(axes), 1.0)]


@rule("reduce_min")
def reduce_min(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, axes: Any) -> list[Any]:
    """As reduce_max."""
    return [_extreme_along(operands[0], outs[0], tuple(axes), -1.0)]


def _extreme_along(operand: Annotated, out: Any, axes: tuple[int, ...], sign: float) -> Any:
    return extreme(operand, out, sign, best_along(axes), lambda e: lax.reduce_max(e, axes))


def extreme(
    operand: Annotated, out: Any, sign: float, best: Callable[[Any], Any], largest: Callable[[Any], Any]
) -> Any:
    """The error of an extreme: that of the candidate with the largest one.

    XLA's large maxima drop NaN: candidates are compared so that a NaN is one, and errors hold no NaN.

    Args:
        operand: what is compared.
        out: the extreme.
        sign: 1 for a maximum, -1 for a minimum.
        best: the largest of the numbers that are compared with each other, in the place of each of them.
        largest: the largest of them, in the shape of the result.

    Returns:
        The error; None if it is exact.
    """
    x = Ball(operand, error_dtype(out.dtype))
    error = read_error(x)
    if error is None or not is_inexact(out.dtype) and x.exact:
        return None
    error = never_nan(jnp.broadcast_to(error, operand.value.shape))
    possible = where(candidates(x, sign, best), error, 0.0)
    return where(lax.eq(out, out), reordered(largest(possible)), np.inf)


@rule("reduce_and", "reduce_or", "reduce_xor")
def reduce_logic(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, axes: Any) -> list[Any]:
    """Certain if every operand is; bits of an uncertain integer may be any."""
    if operands[0].error is None:
        return [None]
    error = lax.reduce_max(never_nan(operands[0].error), tuple(axes))
    return [error if outs[0].dtype == jnp.bool_ else where(equal(error, 0.0), 0.0, np.inf)]


def _winner(name: str, sign: float) -> None:
    @rule(name)
    def winner(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, axes: Any) -> list[Any]:
        (operand,), (axis,) = operands, axes
        x = Ball(operand, error_dtype(dtype_of(operand.value)))
        if x.exact and x.absorbed is None:
            return [None]
        error = read_error(x)
        shape = operand.value.shape
        radius = plus(error if x.exact else x.reach, times(x.size, 2 * x.eps))
        signed = times(x.value, sign)
        kept = [i for i in range(len(shape)) if i != axis]
        best = lax.broadcast_in_dim(lax.reduce_max(lax.sub(signed, radius), (axis,)), shape, kept)
        possible = lax.bitwise_not(lax.lt(lax.add(signed, radius), best))
        positions = lax.broadcasted_iota(jnp.float32, shape, axis)
        chosen = lax.broadcast_in_dim(outs[0].astype(jnp.float32), shape, kept)
        distance = lax.reduce_max(where(possible, lax.abs(lax.sub(positions, chosen)), 0.0), (axis,))
        certain = lax.reduce_max(never_nan(jnp.broadcast_to(jnp.asarray(error, x.dtype), shape)), (axis,))
        return [where(equal(certain, 0.0), 0.0, distance)]


_winner("argmax", 1.0)
_winner("argmin", -1.0)


@rule("cumsum")
def cumsum(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, axis: int, reverse: bool) -> list[Any]:
    """Every prefix is a sum of at most n terms, whatever tree computes it."""
    out = outs[0]
    add = lambda e: lax.cumsum(e, axis=axis, reverse=reverse)  # noqa: E731
    if not is_inexact(out.dtype):
        return [combine_integers(model, operands, out, add)]
    return [summed(model, model.ball(operands[0], error_dtype(out.dtype)), out.shape[axis], add, out)]


@rule("cumprod")
def cumprod(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, axis: int, reverse: bool) -> list[Any]:
    """As reduce_prod, for every prefix."""
    multiply = lambda v: lax.cumprod(v, axis=axis, reverse=reverse)  # noqa: E731
    return [product_error(model, operands, outs[0], outs[0].shape[axis], multiply)]


@complex_rule("cumprod")
def complex_cumprod(
    model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, axis: int, reverse: bool
) -> list[Any]:
    """As reduce_prod, for every prefix."""
    multiply = lambda v: lax.cumprod(v, axis=axis, reverse=reverse)  # noqa: E731
    return [product_error(model, operands, outs[0], outs[0].shape[axis], multiply, COMPLEX_PRODUCT)]


@rule("cummax", "cummin")
def cummax(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, axis: int, reverse: bool) -> list[Any]:
    """Nonexpansive: the largest error so far."""
    x = Ball(operands[0], error_dtype(outs[0].dtype))
    error = read_error(x) if is_inexact(outs[0].dtype) else x.error
    if error is None:
        return [None]
    largest = lax.cummax(never_nan(error), axis=axis, reverse=reverse)
    return [where(lax.eq(outs[0], outs[0]), reordered(largest), np.inf)]


@rule("cumlogsumexp")
def cumlogsumexp(
    model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, axis: int, reverse: bool
) -> list[Any]:
    """Nonexpansive; each of n combinations rounds exp, log and sums of numbers up to the largest prefix."""
    out = outs[0]
    x = model.ball(operands[0], error_dtype(out.dtype))
    size = lax.cummax(plus(lax.abs(out).astype(x.dtype), x.size, 1.0), axis=axis, reverse=reverse)
    rounding = times(size, 16 * out.shape[axis] * model.unit(out.dtype))
    moved = None if x.exact else lax.cummax(never_nan(x.error), axis=axis, reverse=reverse)
    return [model.total(out, moved, rounding, ulps=4)]


_FOLDS = {"max": "reduce_max", "min": "reduce_min", "add": "reduce_sum", "mul": "reduce_prod"}
_NEUTRAL = {"add": 0, "mul": 1}


@rule("reduce")
def reduce(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, jaxpr: Any, dimensions: Any) -> list[Any]:
    """Several reductions at once, each by its own rule; a start moves no extreme by more than its terms do."""
    arrays = operands[: len(outs)]
    return [
        find(name)(model, [x], [out], axes=dimensions)[0]
        for name, x, out in zip(folds(jaxpr), arrays, outs, strict=True)
    ]


def folds(jaxpr: Any) -> list[str]:
    """The reductions that the body of several makes, of those that are known."""
    return [_FOLDS[eqn.primitive.name] for eqn in _in_order(jaxpr)]


def _in_order(jaxpr: Any) -> list[Any]:
    """The equations that make the outputs of a body."""
    body = compat.open_jaxpr(jaxpr)
    made = {var: eqn for eqn in body.eqns for var in eqn.outvars}
    return [made.get(var) for var in body.outvars]


@refusal("reduce")
def _no_known_folds(eqn: Any) -> str | None:
    body, count = compat.open_jaxpr(eqn.params["jaxpr"]), len(eqn.outvars)
    for i, made in enumerate(_in_order(body)):
        start, pair = eqn.invars[count + i], [body.invars[i], body.invars[count + i]]
        name = made.primitive.name if made is not None and list(made.invars) in (pair, pair[::-1]) else None
        neutral = compat.is_literal(start) and start.val == _NEUTRAL.get(name, start.val)
        if name not in _FOLDS or not neutral:
            return "it reduces with any function in any order, so nothing bounds its result"
    return None
