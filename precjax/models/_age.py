"""How often a number has been rounded: what tells the turns of a loop apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_MODULUS = 1 << 32
_ODD = 0x9E3779B1


class Count(NamedTuple):
    """A constant plus multiples of numbers known at run time, modulo 2**32.

    The multiples are known while tracing, so that each operation computes its own count from those with which the
    jaxpr began, not from the operation before it.
    """

    constant: int = 0
    terms: tuple[tuple[Any, int], ...] = ()  # uint32 () that differ as objects, and their factors

    def word(self) -> Any:
        """The number itself, uint32 ``()``: a constant if there are no terms."""
        total: Any = np.uint32(self.constant)
        for number, factor in self.terms:
            total = lax.add(lax.mul(number, np.uint32(factor)), total)
        return total


def older(counts: Iterable[Count], salt: int) -> Count:
    """The count of what an operation makes of arrays with these.

    Args:
        counts: of its operands.
        salt: what the operation adds; 0 if it rounds nothing.

    Returns:
        Another count.
    """
    factor = _ODD if salt else 1
    constant, factors = salt, {}
    for count in counts:
        constant += count.constant
        for number, times in count.terms:
            factors[id(number)] = number, factors.get(id(number), (number, 0))[1] + times
    terms = tuple((number, times * factor % _MODULUS) for number, times in factors.values())
    return Count(constant * factor % _MODULUS, terms)


@jax.tree_util.register_pytree_node_class
class Age:
    """A hash of the operations that led to an array: one number, whatever the array's shape.

    Roundings are hashes of the numbers that are rounded. Without more, a loop that comes back to the same numbers would
    round them in the same way for ever, and stagnate. Ages are constants outside of loops, and cost nothing there.

    Where an array enters or leaves a jaxpr, its age takes its shape, so that it can be scanned, selected and vectorised
    together with it; the first of these numbers counts afterwards.
    """

    def __init__(self, count: Count, shape: tuple[int, ...]) -> None:
        """An age for an array of this shape."""
        self._count, self._shape = count, shape
        self._array: Any = None

    @property
    def count(self) -> Count:
        """What distinguishes it."""
        if self._array is not None:
            array, self._array = self._array, None
            self._shape = array.shape
            self._count = Count(0, ((array[(0,) * array.ndim], 1),) if array.size else ())
        return self._count

    def tree_flatten(self) -> Any:
        """One array of the shape."""
        array = self._array
        return [jnp.broadcast_to(self._count.word(), self._shape) if array is None else array], None

    @classmethod
    def tree_unflatten(cls, _: None, children: Any) -> Age:
        """From such an array."""
        self = cls(Count(), ())
        (self._array,) = children
        return self
