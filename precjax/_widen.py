"""The same program in a wider format: the reference of Shadow and Certified.

A reference is no copy of the user's function, traced again on wider inputs: library code picks constants and iteration
counts by dtype, which would make it another program. It is the same jaxpr, re-typed equation by equation, as a model on
the interpreter: the values that the model carries are float64, and each primitive runs on them. Where the program
itself computes in float64, they are pairs of float64 numbers, and each primitive runs in their arithmetic (see
`doubledouble` and `models._paired`).

A reference stands for the exact program, so it takes over what that leaves alone: casts between float formats and
`reduce_precision` are the identity; constants are the rounded ones, widened; integers, bits and random keys are
themselves. Where the program reads the bits of a float, they are frozen: the exact program keeps the bits of one
run, and that run is the reference, rounded to the format of the program. (Not the run that is observed: it may have
taken another branch, and its bits would then belong to another number.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _jax_compat as compat
from precjax._annotated import Annotated
from precjax._rounding import dtype_of, format_of, held, is_constant, is_inexact

# Parameters that name a format.
_FORMATS = ("new_dtype", "dtype", "out_dtype", "preferred_element_type")

# What reads or makes the bits of its operands' own format: runs there, on rounded operands.
FROZEN = frozenset({"bitcast_convert_type", "nextafter", "random_gamma", "rng_uniform", "pure_callback"})

# Primitives whose parameters hold a jaxpr of the operands' format, made anew by the public function.
_SCATTERS = {
    "scatter": lax.scatter, "scatter-add": lax.scatter_add, "scatter-sub": getattr(lax, "scatter_sub", None),
    "scatter-mul": lax.scatter_mul, "scatter_mul": lax.scatter_mul, "scatter-min": lax.scatter_min,
    "scatter-max": lax.scatter_max,
}  # fmt: skip


def wider(dtype: Any) -> Any:
    """The format of the reference of a dtype; integers, bools and keys are their own."""
    if not is_inexact(dtype):
        return dtype
    return np.dtype(np.complex128 if np.issubdtype(dtype, np.complexfloating) else np.float64)


def needs_pairs(jaxpr: Any) -> bool:
    """Whether the program, or anything inside it, computes in float64 or complex128: its reference needs pairs."""
    avals = [atom.aval for eqn in compat.equations(jaxpr) for atom in (*eqn.invars, *eqn.outvars)]
    dtypes = {_dtype(aval) for aval in (*compat.open_jaxpr(jaxpr).in_avals, *avals)}
    return any(is_inexact(dtype) and format_of(dtype).digits > 24 for dtype in dtypes)


def _dtype(aval: Any) -> Any:
    return getattr(aval, "dtype", np.dtype(bool))


def widen(value: Any) -> Any:
    """The same number in float64 (complex128); x64 must be on.

    XLA's own cast takes a subnormal for 0, so subnormals are made from their bits.
    """
    dtype = dtype_of(value)
    if not is_inexact(dtype) or wider(dtype) == dtype:
        return value
    if is_constant(value) or isinstance(value, np.ndarray):
        return np.asarray(held(value), wider(dtype))
    if np.issubdtype(dtype, np.complexfloating):
        return lax.complex(widen(lax.real(value)), widen(lax.imag(value)))
    value = _to_float32(jnp.asarray(value))
    bits = lax.bitcast_convert_type(value, np.int32)
    digits = lax.bitwise_and(bits, np.int32(0x7FFFFFFF))
    small = lax.mul(lax.convert_element_type(digits, np.float64), np.float64(2.0**-149))
    small = lax.select(lax.lt(bits, lax.full_like(bits, 0)), lax.neg(small), small)
    subnormal = lax.lt(digits, lax.full_like(digits, 0x00800000))
    return lax.select(subnormal, small, lax.convert_element_type(value, np.float64))


def _to_float32(value: Any) -> Any:
    """Exact; a bfloat16 by its bits: a cast might find a more precise number, the one before rounding."""
    if value.dtype != jnp.bfloat16:
        return lax.convert_element_type(value, np.float32)
    bits = lax.convert_element_type(lax.bitcast_convert_type(value, np.uint16), np.uint32)
    return lax.bitcast_convert_type(lax.shift_left(bits, lax.full_like(bits, 16)), np.float32)


def narrow(value: Any, dtype: Any) -> Any:
    """A float64 rounded to a format, subnormals of float32 and bfloat16 included; x64 must be on."""
    if not is_inexact(dtype) or dtype_of(value) == dtype:
        return value
    if np.issubdtype(dtype, np.complexfloating):
        return lax.complex(narrow(lax.real(value), np.float32), narrow(lax.imag(value), np.float32))
    value = jnp.asarray(value)
    size = lax.abs(value)
    digits = lax.convert_element_type(
        lax.round(lax.mul(size, np.float64(2.0**149)), lax.RoundingMethod.TO_NEAREST_EVEN), np.int32
    )
    signs = lax.lt(lax.bitcast_convert_type(value, np.int64), lax.full_like(value, 0, np.int64))
    bits = lax.bitwise_or(digits, lax.select(signs, lax.full_like(digits, -(2**31)), lax.full_like(digits, 0)))
    subnormal = lax.lt(size, lax.full_like(size, 2.0**-126))
    rounded = lax.select(
        subnormal, lax.bitcast_convert_type(bits, np.float32), lax.convert_element_type(value, np.float32)
    )
    return rounded if dtype == np.float32 else lax.convert_element_type(rounded, dtype)


def is_cast(eqn: Any) -> bool:
    """Whether the equation is the identity in exact arithmetic: from one float format to another."""
    name = eqn.primitive.name
    return name == "reduce_precision" or (
        name == "convert_element_type" and all(is_inexact(v.aval.dtype) for v in (*eqn.invars, *eqn.outvars))
    )


def widened(eqn: Any, operands: Sequence[Annotated]) -> Any:
    """The equation with parameters that fit float64 operands."""
    made = retyped(eqn, operands, wider)
    if "precision" not in made.params:
        return made
    return compat.with_params(made, precision=(lax.Precision.HIGHEST, lax.Precision.HIGHEST))


def retyped(eqn: Any, operands: Sequence[Annotated], other: Callable[[Any], Any]) -> Any:
    """The equation with parameters that fit operands of other formats.

    Args:
        eqn: the equation.
        operands: of those formats.
        other: the format that takes a dtype's place.

    Returns:
        The equation.
    """
    if eqn.primitive.name in _SCATTERS and is_inexact(eqn.outvars[0].aval.dtype):
        return _scatter(eqn, operands)
    changes = {n: other(eqn.params[n]) for n in _FORMATS if eqn.params.get(n) is not None}
    return compat.with_params(eqn, **changes) if changes else eqn


def _scatter(eqn: Any, operands: Sequence[Annotated]) -> Any:
    names = ("dimension_numbers", "indices_are_sorted", "unique_indices", "mode")
    params = {name: eqn.params[name] for name in names}
    function = _SCATTERS[eqn.primitive.name]
    traced = jax.make_jaxpr(lambda *arrays: function(*arrays, **params))(*(x.value for x in operands))
    return compat.with_params(eqn, **compat.open_jaxpr(traced).eqns[-1].params)
