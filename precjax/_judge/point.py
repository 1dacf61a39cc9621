"""What the judge knows of one array of the program."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from precjax._judge.number import as_objects, lift


class Point(NamedTuple):
    """The exact array and, where a program reads bits of floats, the computed one.

    Attributes:
        exact: Object array of numbers for floats; the array itself for integers, bools and random keys.
        computed: What JAX computes, operation by operation; None where nothing needs it.
    """

    exact: np.ndarray
    computed: jax.Array | None = None

    @classmethod
    def of(cls, array, with_computed) -> "Point":
        """The point of an array that is exact as stored."""
        return cls(held(array), array if with_computed else None)

    @classmethod
    def scalar(cls, number) -> "Point":
        """A zero-dimensional point of one element."""
        return cls(np.asarray(number) if isinstance(number, np.generic) else as_objects(number))

    @classmethod
    def stack(cls, points) -> "Point":
        """Points of one shape along a new first axis."""
        exact, computed = zip(*points, strict=True)
        return cls(_stack(exact), None if computed[0] is None else _stack(computed))

    def map(self, function) -> "Point":
        """The same move on both arrays."""
        return Point(function(self.exact), None if self.computed is None else function(self.computed))

    def zip(self, other, function) -> "Point":
        """The same combination of both arrays of two points."""
        computed = None if self.computed is None else function(self.computed, other.computed)
        return Point(function(self.exact, other.exact), computed)


def held(array):
    """The exact content of a concrete array: numbers for floats, the array itself for the rest."""
    if is_key(array):
        return array
    array = np.asarray(array)
    return lift(array) if jnp.issubdtype(array.dtype, jnp.inexact) else array


def is_key(array) -> bool:
    """Whether an array holds random keys, which only JAX can move."""
    return jnp.issubdtype(array.dtype, jax.dtypes.extended)


def _stack(arrays):
    return jnp.stack(arrays) if is_key(arrays[0]) else np.stack(arrays)
