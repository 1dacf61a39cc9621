"""Norms of rows of errors: proofs that survive depth.

Theorem: let d be the errors of a row, |d|_2 <= r, and W exact. A product has |W d|_2 <= |W|_2 r, where bounds number by
number say (|W| |d|)_i: through a Gaussian layer of width n these grow by sqrt(2 n / pi), norms by 2. A function with
|f'| <= L on the reach adds a factor max L, a sum of n terms sqrt(n); roundings add the norm of a row of them.

A rule here returns a bound of each row's norm, or None where it has nothing to say: the model then takes the norm of
the errors number by number, and it always takes the smaller. The bounds hold for every admissible execution, as those
of numbers do. Of a product with both factors inexact, a'b' - a*b* = a'(b' - b*) + (a' - a*) b*, where a' lies within
the reach of a, b* within the error of b.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _patterns as patterns
from precjax import _row_norms as norms
from precjax._annotated import Annotated, Origin
from precjax._ball import Ball
from precjax._rounding import (
    as_error,
    dtype_of,
    enlarged,
    error_dtype,
    format_of,
    is_inexact,
    minimum,
    plus,
    ratio,
    saturates,
    times,
)
from precjax.rules.accuracy import rounding
from precjax.rules.arithmetic import merged_constants, quotient_ulps

RowRule = Callable[..., list[Any]]

ROW_RULES: dict[str, RowRule] = {}

# In which a number may meet an array.
MEETING = frozenset({"add", "add_any", "sub", "mul", "div", "max", "min", "clamp"})


def row_rule(*names: str) -> Callable[[RowRule], RowRule]:
    """Registers ``rule(model, eqn, operands, outs) -> one norm or None per result``."""

    def register(function: RowRule) -> RowRule:
        ROW_RULES.update(dict.fromkeys(names, function))
        return function

    return register


def norm_of(model: Any, x: Annotated, dtype: Any) -> Any:
    """Bound of the norms of the rows of an operand's errors; the error of a number.

    Of an exact operand None, or a constant where numbers may be subnormal, and be read as 0.
    """
    if x.error is None:
        lost = model.ball(x, dtype).absorbed
        return None if lost is None else lost * math.sqrt(np.shape(x.value)[-1] if np.ndim(x.value) else 1) * 1.0001
    if x.norm is not None:
        return as_error(x.norm, dtype)
    error = as_error(x.error, dtype)
    return norms.of_rows(error) if error.ndim else error


def reached(x: Annotated, norm: Any) -> Any:
    """The same norm for the distance of whatever an execution computes from the tracked value."""
    return norm if x.known.settled else times(norm, 2.0)


def _size(model: Any, x: Annotated, dtype: Any) -> Any:
    """Norms of whatever an execution computes."""
    return norms.both(norms.of_rows(model.ball(x, dtype).size), reached(x, norm_of(model, x, dtype)))


def rounded(model: Any, out: Any, moved: Any, *more: Any, ulps: float = 1.0, flushed: int = 4) -> Any:
    """Norms of what was moved, plus those of the roundings of the results (and of what else is added to them)."""
    rounded = norms.of_rows(model.total(out, *more, ulps=ulps, flushed=flushed))
    return norms.both(times(moved, 1 + 4 * ulps * format_of(out.dtype).unit_roundoff), rounded)


def _pair(model: Any, operands: Sequence[Annotated], out: Any) -> tuple[list[Ball], list[Any]]:
    """Operands, and the norms of their errors over the rows of the result: a number has the same one everywhere."""
    dtype = error_dtype(out.dtype)
    lengths = [1.0 if np.ndim(x.value) else math.sqrt(out.shape[-1]) * 1.0001 for x in operands]
    found = [times(norm_of(model, x, dtype), n) for x, n in zip(operands, lengths, strict=True)]
    return [model.ball(x, dtype) for x in operands], found


# ----------------------------------------------------------------------------------------------- number by number


@row_rule("add", "add_any", "sub")
def _sum(model: Any, eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """x - mean(x) is a projection: it does not add the error of the mean to that of x."""
    out = outs[0]
    (a, b), (of_a, of_b) = _pair(model, operands, out)
    centred = _centring(model, eqn, operands, out)
    moved = norms.both(of_a, of_b if centred is None else centred)
    sign = -1 if eqn.primitive.name == "sub" else 1
    return [rounded(model, out, moved, merged_constants(a, b, out, sign))]


def _centring(model: Any, eqn: Any, operands: Sequence[Annotated], out: Any) -> Any:
    """What the mean's own roundings add, if the equation takes the mean of each row from it; None if it does not."""
    x = operands[0]
    count = np.shape(x.value)[-1] if np.ndim(x.value) else 0
    unit = format_of(out.dtype).unit_roundoff
    if eqn.primitive.name != "sub" or x.error is None or count * unit > 2.0**-4:
        return None
    mean = patterns.chain_of(operands[1], patterns.before_move)[-1]
    y = Annotated(out, origin=Origin(eqn, tuple(operands)))
    if not patterns.made_by(mean, "div") or not patterns.is_centred(y, x, mean, (out.ndim - 1,), count):
        return None
    # sqrt(n) |mean' - mean(x')| <= sqrt(n) (n + 9) u sum |x'| / n <= (n + 9) u |x'|_2, and underflows.
    dtype = error_dtype(out.dtype)
    lost = 2 * count * model.underflow(out.dtype) + format_of(dtype).smallest_normal
    return plus(times(_size(model, x, dtype), 1.25 * (count + 9) * unit), lost)


@row_rule("mul")
def _product(model: Any, eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    (a, b), (of_a, of_b) = _pair(model, operands, outs[0])
    return [rounded(model, outs[0], norms.both(_scaled(of_a, a, b.far), _scaled(of_b, b, a.far)))]


def _scaled(norm: Any, x: Ball, factor: Any) -> Any:
    """Norm of rows d_i f_i, d the errors of x: at most max f |d|, and at most max |d_i| |f|."""
    if norm is None or not np.ndim(factor):
        return times(norm, factor)
    first = times(norms.largest(factor), norm)
    if x.exact:
        return first
    top = norms.largest(x.error) if np.ndim(x.error) else x.error
    return minimum(first, times(norms.of_rows(factor), top))


@row_rule("div")
def _quotient(model: Any, eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """|x'/y' - x*/y*| <= (a + |x*/y*| b) / |y'|."""
    (a, b), (of_a, of_b) = _pair(model, operands, outs[0])
    smallest = _least(b)
    moved = None if of_a is None else ratio(of_a, smallest)
    if of_b is not None:
        largest = norms.largest(a.far) if np.ndim(a.far) else a.far
        moved = plus(moved, times(ratio(of_b, smallest), ratio(jnp.asarray(largest, a.dtype), smallest)))
    return [rounded(model, outs[0], moved, ulps=quotient_ulps(model, b, outs[0]))]


def _least(x: Ball) -> Any:
    """The least magnitude in each row, over the reach."""
    if isinstance(x.size, float):
        return jnp.asarray(x.size * (1 - 4 * x.eps), x.dtype)
    if not np.ndim(x.near):
        return x.near
    found = lax.reduce_min(lax.select(lax.eq(x.near, x.near), x.near, lax.full_like(x.near, 0)), (x.near.ndim - 1,))
    return lax.reshape(found, [*x.near.shape[:-1], 1])


@row_rule("max", "min", "clamp")
def _nonexpansive(model: Any, eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """A change of the result is at most the largest of the operands' changes."""
    return [norms.both(*_pair(model, operands, outs[0])[1])]


@row_rule("select_n")
def _selected(model: Any, eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Parts of the rows that are selected from, if what is selected is certain."""
    if operands[0].error is not None:
        return [None]
    return [norms.both(*_pair(model, operands[1:], outs[0])[1])]


@row_rule("convert_element_type")
def _cast(model: Any, eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    before, after = dtype_of(operands[0].value), outs[0].dtype
    if not is_inexact(before) or saturates(after):
        return [None]
    (moved,) = _pair(model, operands, outs[0])[1]
    wider = format_of(before).digits <= format_of(after).digits and format_of(after).digits >= 24
    return [moved if wider else rounded(model, outs[0], moved, ulps=1 + 2.0**-8)]


def _deflipschitz(name: str, slope: Callable[[Ball], Any]) -> None:
    """Registers an elementary function with an upper bound of |f'| over the reach, a number or an array."""

    @row_rule(name)
    def elementary(model: Any, eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
        (out,), ((x,), (norm,)) = outs, _pair(model, operands, outs[0])
        if eqn.params.get("accuracy") is not None:
            return [None]
        ulps, more = rounding(model, name, x, lax.abs(out).astype(x.dtype), out)
        return [rounded(model, out, _scaled(norm, x, slope(x)), more, ulps=ulps)]


def _tanh_slope(x: Ball) -> Any:
    """1 - tanh(near)**2, whose own error is a few units of 1."""
    inner = lax.tanh(jnp.asarray(x.near, x.dtype))
    return lax.min(plus(lax.sub(jnp.ones_like(inner), lax.mul(inner, inner)), 16 * x.eps), jnp.ones_like(inner))


_deflipschitz("tanh", _tanh_slope)
_deflipschitz("logistic", lambda x: 0.25)
_deflipschitz("erf", lambda x: 1.1284)
_deflipschitz("sin", lambda x: 1.0)
_deflipschitz("cos", lambda x: 1.0)
_deflipschitz("exp", lambda x: times(lax.exp(jnp.asarray(x.high, x.dtype)), 1.01))


@row_rule("integer_pow", "square")
def _power(model: Any, eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """y |x|**(y - 1) grows with |x|."""
    y = eqn.params.get("y", 2)
    if y < 2:
        return [None]
    ((x,), (norm,)) = _pair(model, operands, outs[0])
    slope = times(lax.integer_pow(x.far, y - 1), y * 1.0001)
    return [rounded(model, outs[0], _scaled(norm, x, slope), ulps=y - 1.0, flushed=3 * y)]


# ------------------------------------------------------------------------------------------------------------- sums


@row_rule("reduce_sum")
def _sum_of_rows(model: Any, eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Over other axes than the last, norms add up."""
    x, out, axes = operands[0], outs[0], tuple(eqn.params["axes"])
    if x.value.ndim - 1 in axes:
        return [None]
    dtype, terms = error_dtype(out.dtype), math.prod(x.value.shape[a] for a in axes)
    per_term, _ = model.sum_rounding(terms, out.dtype)
    moved = lax.reduce_sum(plus(norm_of(model, x, dtype), times(_size(model, x, dtype), per_term)), axes)
    moved = enlarged(moved, terms + 16, dtype, flushed=4 * terms)
    return [rounded(model, out, moved, ulps=0, flushed=4 * terms)]


def error_along_rows(model: Any, eqn: Any, operands: Sequence[Annotated], out: Any) -> Any:
    """The error of a sum along rows: sqrt(n) r, or (2 |x| + 3 r) r of squares of x; None for other equations."""
    x = operands[0]
    if eqn.primitive.name != "reduce_sum" or x.norm is None or x.value.ndim - 1 not in (axes := eqn.params["axes"]):
        return None
    dtype, axes = error_dtype(out.dtype), tuple(axes)
    terms, root = math.prod(x.value.shape[a] for a in axes), math.sqrt(x.value.shape[-1]) * 1.0001
    per_term, _ = model.sum_rounding(terms, out.dtype)
    along = times(norm_of(model, x, dtype), root)
    source = patterns.squared(x)
    if source is not None and source.norm is not None:
        norm, per_term = norm_of(model, source, dtype), per_term + 2 * format_of(out.dtype).unit_roundoff
        size = norms.of_rows(model.ball(source, dtype).size)
        along = minimum(along, times(norm, plus(times(size, 2.0), times(norm, 3.0))))
    sizes, reach = model.ball(x, dtype).size, times(reached(x, norm_of(model, x, dtype)), root)
    local = times(plus(lax.reduce_sum(sizes, axes), lax.reduce_sum(reach, axes)), per_term)
    moved = plus(lax.reduce_sum(along, axes), local)
    return model.total(out, moved, ulps=0, steps=terms + 16, flushed=4 * terms)
