"""A value with its error: how it is read and printed."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from precjax._printing import digits_with_doubt
from precjax._rounding import dtype_of, error_dtype, format_of, is_inexact, is_plain, significand_bits


class Tracked(NamedTuple):
    """A value and its error: two trees of one structure.

    Attributes:
        value: tree of arrays ``(*s)``, any dtype.
        error: tree of real arrays ``(*s)``, float32 (float64 for float64 and complex128 values), in the value's unit,
            what it means is the model's matter: under the worst case an upper bound of |value - exact|. Arrays of
            shape ``(1, ..., 1)``, one number for all, if the model has ``granularity="tensor"``. A random key is right
            (0) or may be another one (inf), and then has no exact bit.

    Example:
        >>> import jax.numpy as jnp, precjax
        >>> precjax.Tracked(jnp.float32(3.1415927), jnp.float32(1e-5))
        Tracked(3.1416???)
    """

    value: Any
    error: Any

    @property
    def relative_error(self) -> Any:
        """|error| / |value|: tree of arrays ``(*s)``; 0 where the error is 0, inf where only the value is."""
        return jax.tree.map(_relative, self.value, self.error)

    @property
    def exact_bits(self) -> Any:
        """Exact bits, clip(-log2(relative error), 0, p): tree of float32 arrays ``(*s)``, p the significand bits."""
        return jax.tree.map(_exact_bits, self.value, self.error)

    @property
    def exact_digits(self) -> Any:
        """Exact decimal digits: exact bits times log10(2), tree of float32 arrays ``(*s)``."""
        return jax.tree.map(lambda bits: bits * np.float32(math.log10(2)), self.exact_bits)

    def __repr__(self) -> str:
        """The certain digits of every number, then question marks."""
        leaves, tree = jax.tree.flatten(self.value, is_leaf=lambda x: x is None)
        errors = jax.tree.leaves(self.error, is_leaf=lambda x: x is None)
        if len(leaves) != len(errors) or any(isinstance(x, jax.core.Tracer) for x in [*leaves, *errors]):
            return f"Tracked(value={self.value!r}, error={self.error!r})"
        shown = [_Shown(digits_with_doubt(v, e)) for v, e in zip(leaves, errors, strict=True)]
        return f"Tracked({jax.tree.unflatten(tree, shown)!r})"

    __str__ = __repr__


def is_tracked(x: Any) -> bool:
    """Whether a node of a tree of arguments is a `Tracked`."""
    return isinstance(x, Tracked)


def values_of(tree: Any) -> Any:
    """The tree with every `Tracked` replaced by its value."""
    return jax.tree.map(lambda x: x.value if is_tracked(x) else x, tree, is_leaf=is_tracked)


class _Shown(str):
    """A leaf that prints without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


# Compiled whole: one operation after the other, each would be compiled for every shape.
@jax.jit
def _relative(value: Any, error: Any) -> Any:
    if not is_plain(value):
        return jnp.asarray(error)
    size = jnp.abs(jnp.asarray(value)).astype(error_dtype(dtype_of(value)))
    error = jnp.abs(jnp.asarray(error, size.dtype))
    ratio = error / jnp.where(size > 0, size, 1)
    return jnp.where(error == 0, 0, jnp.where(size > 0, ratio, jnp.inf))


@jax.jit
def _exact_bits(value: Any, error: Any) -> Any:
    value = jnp.asarray(value)
    relative = _relative(value, error)
    largest = significand_bits(value.dtype)
    bits = -jnp.log2(jnp.where(relative > 0, relative, 1))
    known = jnp.where(jnp.isfinite(relative) & (value == value), jnp.clip(bits, 0, largest), 0)
    return jnp.where(relative == 0, largest, known).astype(jnp.float32)


def rounded(tree: Any) -> Tracked:
    """Data that was rounded on entry: every float with half an ulp of error.

    Args:
        tree: tree of arrays ``(*s)`` or numbers, any dtype.

    Returns:
        `Tracked` with the same values; errors ``(*s)``, half the distance to the next larger number in magnitude for
        floats, at least the smallest normal number; 0 for integers and bools.

    Guarantee:
        The number that was rounded to nearest lies within the error, underflow included.

    Example:
        >>> import precjax, jax.numpy as jnp
        >>> float(precjax.rounded(jnp.float32(1.0)).error) == 2.0**-24
        True
    """
    tree = jax.tree.map(jnp.asarray, tree)
    return Tracked(tree, jax.tree.map(_half_ulp, tree))


def _half_ulp(value: Any) -> Any:
    dtype = error_dtype(value.dtype)
    if not is_inexact(value.dtype):
        return jnp.zeros(value.shape, dtype)
    fmt = format_of(value.dtype)
    _, exponent = jnp.frexp(jnp.abs(value).astype(dtype))
    half = jnp.ldexp(jnp.ones(value.shape, dtype), exponent - 1 - fmt.digits)
    # Below, numbers are spaced evenly, and an error must not be subnormal itself.
    least = max(fmt.smallest_normal * fmt.unit_roundoff, format_of(dtype).smallest_normal)
    return jnp.where(jnp.isfinite(value), jnp.maximum(half, least), jnp.inf)
