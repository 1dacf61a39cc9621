"""Arithmetic of complex numbers, and the rules that they share with real ones.

Theorem: the error of a complex number bounds the modulus of the difference, and moduli obey the inequalities of real
magnitudes, so that errors spread through moves, sums, products, quotients and powers as in `arithmetic`. Rounded part
by part, a sum errs by u |z|, a product by sqrt(5) u |z| with or without FMA (Brent, Percival and Zimmermann 2007;
Jeannerod et al. 2017), a quotient by Smith's algorithm, which XLA:CPU uses at every scale, by at most 6 u |z|: with
r <= 1 the ratio of the divisor's parts, 4 u |z| and 2 u r / sqrt(1 + r**2) |z|. Each part may underflow on its own,
which `underflow` counts twice. What is read off an order (ranges, ends of an interval, maxima) has no counterpart here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _patterns as patterns
from precjax._annotated import Annotated
from precjax._ball import Ball, subnormal
from precjax._registry import complex_rule, same_for_complex
from precjax._rounding import (
    COMPLEX_PRODUCT,
    as_error,
    dtype_of,
    equal,
    error_dtype,
    format_of,
    is_constant,
    is_inexact,
    less,
    magnitude,
    minimum,
    plus,
    ratio,
    times,
    where,
)
from precjax.rules.arithmetic import balls, merged_constants, product_terms, two_sum_error
from precjax.rules.conversion import convert_element_type as of_real
from precjax.rules.conversion import holds
from precjax.rules.decision import doubtful_nan
from precjax.rules.power import hypotenuse, power_error, slope_square
from precjax.rules.structural import broadcast_error

_QUOTIENT = 8.0  # Smith's 6, or a product with a rounded reciprocal

same_for_complex(
    "broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims", "slice", "rev", "copy", "copy_p", "split",
    "unstack", "tile", "stop_gradient", "sharding_constraint", "name", "neg", "conj", "optimization_barrier", "pvary",
    "empty", "empty2", "concatenate", "stack", "pad", "gather", "dynamic_slice", "dynamic_update_slice", "scatter",
    "scatter-add", "scatter-sub", "scatter_add", "scatter_sub", "select_n", "reduce_sum", "cumsum", "reduce_window_sum",
    "iota", "psum", "psum_invariant", "reduce_scatter", "all_gather", "all_gather_invariant", "all_to_all", "ppermute",
    "pbroadcast", "reshard", "device_put", "layout_constraint",
)  # fmt: skip


@complex_rule("complex")
def complex_(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Errors of the parts are at a right angle."""
    if all(x.error is None for x in operands):
        return [None]
    shape, dtype = outs[0].shape, error_dtype(outs[0].dtype)
    return [_length(*(broadcast_error(model, x, shape, dtype) for x in operands))]


def _length(a: Any, b: Any) -> Any:
    return times(hypotenuse(a, b), 1 + 32 * format_of(a.dtype).unit_roundoff)


@complex_rule("real")
def real(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """At most the error of the whole; that of the real number that it was made of."""
    return [_part(operands[0], 0)]


@complex_rule("imag")
def imag(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """As real."""
    return [_part(operands[0], 1)]


def _part(x: Annotated, index: int) -> Any:
    return x.origin.operands[index].error if patterns.made_by(x, "complex") else x.error


@complex_rule("abs")
def abs_(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """| |z| - |w| | <= |z - w|."""
    (x,) = balls(model, operands, outs[0])
    ulps = model.accuracy("abs", dtype_of(operands[0].value)).factor
    return [model.total(outs[0], x.absorbed, ulps=ulps, flushed=2)]


@complex_rule("sign")
def sign(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """z / |z| moves by at most 2 |z - w| / (|z| + |w|) (Dunkl and Williams 1964), and by at most 2.

    It is computed as it is written: where the modulus overflows it is 0.
    """
    (x,) = balls(model, operands, outs[0])
    moved = None if x.absorbed is None else minimum(ratio(x.absorbed, x.near), 2.0)
    if x.exact and moved is not None:
        moved = where(x.subnormal, moved, 0.0)
    moved = where(less(x.size, format_of(x.dtype).largest / 4), 0.0 if moved is None else moved, 2.0)
    return [model.total(outs[0], moved, ulps=model.accuracy("sign", outs[0].dtype).factor)]


@complex_rule("add", "add_any")
def add(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Errors add up."""
    return [_sum(model, operands, outs[0], 1)]


@complex_rule("sub")
def sub(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Errors add up."""
    return [_sum(model, operands, outs[0], -1)]


def _sum(model: Any, operands: Sequence[Annotated], out: Any, sign: int) -> Any:
    a, b = balls(model, operands, out)
    merged = merged_constants(a, b, out, sign)
    if a.exact and b.exact:
        return plus(_exact_sum(a, b, out, sign), times(merged, 2.0))
    return plus(model.add(out, a, b), merged)


def _exact_sum(a: Ball, b: Ball, out: Any, sign: int) -> Any:
    """The rounding errors of both parts themselves."""

    def of(part: Any) -> Any:
        x, y = (Ball(Annotated(part(jnp.asarray(v.operand.value, out.dtype))), a.dtype) for v in (a, b))
        return two_sum_error(x, y, part(out), sign)

    return _length(of(lax.real), of(lax.imag))


@complex_rule("mul")
def mul(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """|z| e_w + |w| e_z + e_z e_w. A real factor, or an imaginary one, rounds each part once."""
    out = outs[0]
    a, b = balls(model, operands, out)
    if operands[0] is operands[1]:
        return [_unless_huge(power_error(model, a, 2, out, COMPLEX_PRODUCT), out)]
    ulps = 1.0 if any(map(_on_an_axis, operands)) else COMPLEX_PRODUCT
    return [_unless_huge(model.total(out, *product_terms(a, b, a.absorbed, b.absorbed), ulps=ulps, flushed=3), out)]


def _on_an_axis(x: Annotated) -> bool:
    """Whether one part is 0 while tracing: a constant, or a real number that was cast."""
    if is_constant(x.value):
        return np.real(x.value) == 0 or np.imag(x.value) == 0
    return patterns.cast_from_real(x)


def _unless_huge(error: Any, out: Any) -> Any:
    """The error; inf where a part of a product may overflow in another order although the result does not."""
    return where(less(magnitude(out, error.dtype), format_of(out.dtype).largest / 8), error, np.inf)


@complex_rule("div")
def div(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """(e_z + |q| e_w) / |w|, as of real numbers; a product in the numerator may underflow before it is divided.

    Plain programs may multiply by a reciprocal, which underflows part by part.
    """
    out = outs[0]
    a, b = balls(model, operands, out)
    tiny = format_of(out.dtype).smallest_normal
    reciprocal = times(jnp.asarray(a.far, a.dtype), 4 * tiny)
    lost = 8 * tiny + 16 * model.underflow(out.dtype)
    numerator = plus(model.join(a.absorbed, times(magnitude(out, a.dtype), b.absorbed)), lost)
    near = b.nearest(1.0)
    moved = ratio(jnp.asarray(numerator, a.dtype), jnp.asarray(near, a.dtype))
    return [_unless_huge(model.total(out, moved, reciprocal, ulps=_QUOTIENT, steps=16), out)]


@complex_rule("square")
def square(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """|z^2 - w^2| <= |z - w| |z + w|; perhaps with (x - y)(x + y) for the real part."""
    (x,) = balls(model, operands, outs[0])
    ulps = model.accuracy("square", outs[0].dtype).factor
    return [_unless_huge(model.total(outs[0], slope_square(x), ulps=ulps, flushed=3), outs[0])]


@complex_rule("integer_pow")
def integer_pow(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, y: int) -> list[Any]:
    """Repeated products; of a negative power, whose product may underflow in a part, the quotient."""
    out = outs[0]
    error = power_error(model, *balls(model, operands, out), y, out, COMPLEX_PRODUCT, _QUOTIENT)
    if y >= 0:
        return [error if error is None or y < 2 else _unless_huge(error, out)]
    size = magnitude(out, error.dtype)
    lost = times(size, times(size, -8.0 * y * format_of(out.dtype).smallest_normal))
    return [_unless_huge(plus(error, lost), out)]


@complex_rule("convert_element_type")
def convert_element_type(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Between formats as of real numbers; to a real format the real part; to a bool whether a number is not 0."""
    (x,), out = operands, outs[0]
    if out.dtype == jnp.bool_:
        return [_unequal(Ball(x, error_dtype(dtype_of(x.value))), None, out.shape)]
    if not is_inexact(out.dtype):
        return of_real(model, [x._replace(value=lax.real(x.value), origin=None)], outs)
    error = as_error(x.error, error_dtype(out.dtype))
    return [error if holds(out.dtype, dtype_of(x.value), x) else model.total(out, error, ulps=1 + 2.0**-8)]


@complex_rule("eq", "ne")
def equal_(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Decided where the discs are apart, or both operands certain."""
    if operands[0] is operands[1]:
        return [doubtful_nan(operands[0])]
    a, b = (Ball(x, error_dtype(dtype_of(x.value))) for x in operands)
    return [_unequal(a, b, outs[0].shape)]


def _unequal(a: Ball, b: Ball | None, shape: tuple[int, ...]) -> Any:
    """1 where it is in doubt whether a is b (0 if None)."""
    balls_ = [x for x in (a, b) if x is not None]
    radii = [x.absorbed if not x.exact else _subnormal_loss(x) for x in balls_]
    radius = plus(*(times(r, 1.0 if x.operand.known.settled else 2.0) for x, r in zip(balls_, radii, strict=True)))
    if radius is None:
        return None
    difference = a.operand.value if b is None else _difference(a, b)
    distance = times(magnitude(difference, a.dtype), 1 - 8 * a.eps)
    margin = times(radius, 1 + 8 * a.eps)
    apart = less(jnp.broadcast_to(margin, shape), jnp.broadcast_to(distance, shape))
    certain = equal(jnp.broadcast_to(radius, shape), 0.0)
    return where(lax.bitwise_or(apart, certain), jnp.zeros((), jnp.float32), 1.0)


def _difference(a: Ball, b: Ball) -> Any:
    x, y = a.operand.value, b.operand.value
    return lax.sub(jnp.asarray(x, dtype_of(y)), jnp.asarray(y, dtype_of(x)))


def _subnormal_loss(x: Ball) -> Any:
    """What an exact operand may lose when it is read: nothing, but where a part is subnormal."""
    if x.absorbed is None:
        return None
    return where(subnormal(x.operand.value), x.absorbed, jnp.zeros((), x.dtype))
