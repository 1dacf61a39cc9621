"""Formats, unit roundoffs and arithmetic that rounds up: where soundness is won or lost.

XLA has no directed rounding, flushes subnormals, contracts products into sums and turns a division by a broadcast value
into a product with a reciprocal. So every bound is computed in nearest rounding, on non-negative terms only, and then
enlarged: an expression of n rounded operations on non-negative terms is at most (1 + n eps) too small, plus the
smallest normal number for what was flushed.

Within the interpreter an error may be NaN (0 * inf, or a NaN value); like inf it means that nothing is known. Sums,
products and elementwise maxima carry it on, comparisons with it are never decided, and `never_nan` turns it into inf
before anything that might drop it: XLA's maximum over an axis, and the user.

References:
    Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., sections 2.2 and 3.1.
    Jeannerod and Rump, Improved error bounds for inner products in floating-point arithmetic, SIAM J. Matrix Anal.
    Appl. 34 (2013): n u in place of gamma_n for sums and inner products, in any order, without restriction on n.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _jax_compat as compat

# sqrt(5) u of the modulus (Brent, Percival and Zimmermann, Error bounds on complex floating-point multiplication, Math.
# Comp. 76 (2007)), and no more with FMA (Jeannerod, Kornerup, Louvet and Muller 2017: 2 u).
COMPLEX_PRODUCT = 2.24


class Format(NamedTuple):
    """A binary floating-point format: significand bits p, unit roundoff, smallest normal, largest finite number."""

    digits: int
    unit_roundoff: float
    smallest_normal: float
    largest: float


@functools.cache
def format_of(dtype: Any) -> Format:
    """The format of a real or complex floating dtype."""
    info = jnp.finfo(dtype)
    return Format(info.nmant + 1, 2.0 ** -(info.nmant + 1), float(info.smallest_normal), float(info.max))


@functools.cache
def saturates(dtype: Any) -> bool:
    """Whether a float too large for a format becomes its largest number, for want of infinity and NaN (float4)."""
    with np.errstate(over="ignore"):
        cast = np.float32(2.0**100).astype(dtype).astype(np.float32)
    return format_of(dtype).largest < 2.0**100 and bool(np.isfinite(cast))


def is_inexact(dtype: Any) -> bool:
    """Whether the dtype is floating or complex (integers, bools and random keys are not)."""
    return jnp.issubdtype(dtype, jnp.inexact)


def is_plain(value: Any) -> bool:
    """Whether the array is of numbers (random keys are not)."""
    return not jnp.issubdtype(dtype_of(value), jax.dtypes.extended)


def significand_bits(dtype: Any) -> int:
    """Significand bits p of a float; the bits of an integer; 1 for a bool."""
    if is_inexact(dtype):
        return format_of(dtype).digits
    return 1 if dtype == jnp.bool_ or not jnp.issubdtype(dtype, jnp.integer) else jnp.iinfo(dtype).bits


def error_dtype(dtype: Any) -> Any:
    """The dtype of errors of values of this dtype: float64 for float64 and complex128, float32 for all others."""
    wide = is_inexact(dtype) and format_of(dtype).digits > 24
    return jnp.dtype(jnp.float64 if wide else jnp.float32)


def arithmetic_dtype(dtype: Any, errors: Any) -> Any:
    """The dtype in which bounds of a dtype of errors compute with values: complex ones stay complex."""
    return dtype if jnp.issubdtype(dtype, jnp.complexfloating) else errors


def dtype_of(value: Any) -> Any:
    """The dtype of an array, a tracer or a Python scalar."""
    return getattr(value, "dtype", None) or jax.dtypes.canonicalize_dtype(np.result_type(value))


def magnitude(value: Any, dtype: Any) -> Any:
    """|value| in the dtype of errors; a constant stays a constant. A modulus is rounded, by less than 4 u."""
    if is_constant(value):
        return float(np.abs(held(value).astype(np.complex128 if np.iscomplexobj(value) else np.float64)))
    signed = value.dtype != jnp.bool_ and not jnp.issubdtype(value.dtype, jnp.unsignedinteger)
    return as_error(lax.abs(value) if signed else value, dtype)


def binade(size: Any) -> Any:
    """2**floor(log2 size) by the bits of the exponent: infinity for infinity, 0 for subnormals; float32 or float64."""
    info = np.finfo(size.dtype)
    word = np.dtype(f"uint{info.bits}")
    mask = np.asarray(((1 << info.nexp) - 1) << info.nmant, word)
    return lax.bitcast_convert_type(lax.bitwise_and(lax.bitcast_convert_type(size, word), mask), size.dtype)


def is_constant(value: Any) -> bool:
    """Whether the value is a scalar known while tracing."""
    return not isinstance(value, jax.Array) and np.ndim(value) == 0


def held(value: Any) -> Any:
    """A constant as its dtype holds it: the literals of a jaxpr may carry the digits that were written, 0.999."""
    return np.asarray(value, dtype_of(value))


def as_error(x: Any, dtype: Any) -> Any:
    """A non-negative array in another dtype, never smaller than it was."""
    if x is None or isinstance(x, float) or x.dtype == dtype:
        return x
    y = lax.convert_element_type(x, dtype)
    if significand_bits(x.dtype) <= format_of(dtype).digits:
        return y
    upper = plus(times(y, 1 + 4 * format_of(dtype).unit_roundoff), format_of(dtype).smallest_normal)
    return where(equal(x, 0.0), 0.0, upper)


def plus(*terms: Any) -> Any:
    """Sum of the terms that are there; None stands for exactly zero."""
    present = [t for t in terms if t is not None and not (isinstance(t, float) and t == 0.0)]
    return functools.reduce(_add, present) if present else None


def _add(a: Any, b: Any) -> Any:
    return a + b if isinstance(a, float) and isinstance(b, float) else lax.add(*typed(a, b))


def typed(a: Any, b: Any) -> tuple[Any, Any]:
    """Two operands, a Python number in the dtype of the other: with x64 on, lax would take it for a float64."""
    if isinstance(a, float | int):
        return np.asarray(a, b.dtype), b
    return (a, np.asarray(b, a.dtype)) if isinstance(b, float | int) else (a, b)


def less(a: Any, b: Any) -> Any:
    """a < b; scalars broadcast."""
    return lax.lt(*typed(a, b))


def equal(a: Any, b: Any) -> Any:
    """a == b; scalars broadcast."""
    return lax.eq(*typed(a, b))


def times(*factors: Any) -> Any:
    """Product; None (exactly zero) if a factor is None; constants are multiplied while tracing."""
    if any(f is None for f in factors):
        return None
    constant, arrays = 1.0, []
    for f in factors:
        if isinstance(f, float | int):
            constant *= f
        else:
            arrays.append(f)
    if not arrays:
        return float(constant)
    product = functools.reduce(lax.mul, arrays)
    return product if constant == 1.0 else lax.mul(*typed(product, constant))


def ratio(a: Any, b: Any) -> Any:
    """Upper bound of a / b for bounds a >= 0, b >= 0, but for rounding; inf where b is 0, even for a = 0.

    XLA may divide by multiplying with a reciprocal, which is 0 for the largest divisors: they are taken for a smaller
    one. It may merge divisions that follow each other: the sum and the minimum are in between.
    """
    a, b = same_shape(a, b)
    smallest = format_of(b.dtype).smallest_normal
    return lax.div(plus(a, smallest), lax.min(*typed(b, 0.5 / smallest)))


def same_shape(a: Any, b: Any) -> tuple[Any, Any]:
    """Two errors broadcast to one shape; constants take the dtype of the other."""
    shape = np.broadcast_shapes(np.shape(a), np.shape(b))
    dtype = getattr(a, "dtype", None) or b.dtype
    return compat.sharded_alike(_broadcast(a, shape, dtype), _broadcast(b, shape, dtype))


def divide(a: Any, b: Any) -> Any:
    """a / b that XLA cannot turn into a product with a reciprocal, which would flush to 0 for large b.

    The selects never change a value (only a NaN would): they keep XLA from seeing a constant or a broadcast divisor.
    """
    dtype = getattr(a, "dtype", None) or b.dtype
    a, b = same_shape(jnp.asarray(a, dtype), jnp.asarray(b, dtype))
    nan = lax.full_like(a, np.nan)
    return lax.div(lax.select(lax.eq(b, b), a, nan), lax.select(lax.eq(a, a), b, nan))


def _aligned(x: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(range(len(shape) - np.ndim(x), len(shape)))


def opaque(x: Any) -> Any:
    """The same number, which XLA no longer knows the making of: only a NaN would make a difference to the select."""
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return lax.complex(opaque(lax.real(x)), opaque(lax.imag(x)))
    return lax.select(lax.eq(x, x), x, lax.full_like(x, np.nan))


def thinned(x: Any, count: int) -> Any:
    """Numbers along the last axis, spread over all of it: two thirds to twice so many, or all if there are fewer."""
    return x[..., :: x.shape[-1] // count | 1]


def stored(terms: Any) -> Any:
    """The same numbers, made in a loop of their own, before they are summed.

    XLA:CPU hands sums to a library together with the additions and products before them, whose constants it stores as
    arrays: a dense layer's bound then took four more arrays of the size of its input (4 Transformer layers: memory of
    4.3 in place of 2.2 times the plain program's). The library knows no selects.
    """
    return opaque(terms)


def largest(errors: Any) -> Any:
    """The largest error of an array, of the same rank: ``(1, ..., 1)``. No error is NaN."""
    shape = (1,) * errors.ndim
    if not errors.size:
        return lax.full(shape, 0, errors.dtype)
    return lax.reshape(extremes(errors, tuple(range(errors.ndim)))[0], shape)


def extremes(sizes: Any, axes: tuple[int, ...]) -> tuple[Any, Any]:
    """The largest and the smallest of numbers that are not negative along axes; NaN may count as either.

    Bits of non-negative floats, read as integers, are in the order of the floats, and XLA:CPU takes their extremes in
    the loop that makes them; a maximum of floats it hands to a library, for which they are stored. With one result it
    would take a maximum of integers in two steps, storing them as well; with two, it does not.
    """
    word = jnp.dtype(f"int{8 * sizes.dtype.itemsize}")
    bits = lax.bitcast_convert_type(sizes, word)
    ends = np.zeros((), word), np.asarray(np.iinfo(word).max, word)
    both = lambda x, y: (lax.max(x[0], y[0]), lax.min(x[1], y[1]))  # noqa: E731
    most, least = lax.reduce((bits, bits), ends, both, axes)
    # What nothing reads would be left out, and the other one taken in two steps.
    most, least = lax.max(most, least), lax.min(most, least)
    return lax.bitcast_convert_type(most, sizes.dtype), lax.bitcast_convert_type(least, sizes.dtype)


def computed_once(bound: Any) -> Any:
    """The same bound, which XLA computes in one place and stores.

    It would repeat cheap operations in every kernel that reads them, so that the code of a chain that many read grows
    with the square of its length (4 Transformer layers: 70,000 instructions instead of 35,000, twice the compile time;
    barriers are gone by then). It repeats no division.
    """
    return lax.div(bound, lax.select(lax.eq(bound, bound), lax.full_like(bound, 1), lax.full_like(bound, np.nan)))


def where(condition: Any, a: Any, b: Any) -> Any:
    """lax.select with scalars broadcast (jnp.where costs three equations and more tracing time)."""
    shape = np.broadcast_shapes(np.shape(condition), np.shape(a), np.shape(b))
    dtype = next(dtype_of(x) for x in (a, b, np.float32(0)) if not isinstance(x, float | int))
    a, b, condition = (_broadcast(x, shape, d) for x, d in ((a, dtype), (b, dtype), (condition, jnp.bool_)))
    return lax.select(*compat.sharded_alike(condition, a, b))


def _broadcast(x: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    if isinstance(x, float | int):
        return lax.full(shape, x, dtype)
    return x if np.shape(x) == shape else lax.broadcast_in_dim(x, shape, _aligned(x, shape))


def maximum(a: Any, b: Any) -> Any:
    """Elementwise maximum; NaN stays NaN."""
    return lax.max(*typed(a, b))


def minus(a: Any, b: Any) -> Any:
    """a - b, rounded to nearest: only where the caller has left room for that."""
    return lax.sub(*typed(a, b))


def minimum(a: Any, b: Any) -> Any:
    """The smaller of two bounds; a NaN in the first only says that the second is all that is known."""
    return where(less(a, b), a, b)


def enlarged(bound: Any, steps: int, dtype: Any, flushed: int = 1) -> Any:
    """A bound that took `steps` rounded operations on non-negative terms, made an upper bound again.

    (1 - u)**-steps <= 1 + 2 steps u for steps u <= 1/2; beyond that nothing can be promised and the bound is inf.
    """
    fmt = format_of(dtype)
    growth = 1 + (2 * steps + 6) * fmt.unit_roundoff if steps * fmt.unit_roundoff <= 0.25 else np.inf
    return plus(times(bound, growth), flushed * fmt.smallest_normal)


def reordered(error: Any) -> Any:
    """The error of a number chosen by comparisons, which take subnormals for 0: it may be another one of them."""
    tiny = 2 * format_of(error.dtype).smallest_normal
    return where(equal(error, 0.0), error, plus(times(error, 1 + 4 * format_of(error.dtype).unit_roundoff), tiny))


def never_nan(bound: Any) -> Any:
    """NaN becomes inf: an unknown error is unbounded."""
    return where(lax.eq(bound, bound), bound, np.inf)
