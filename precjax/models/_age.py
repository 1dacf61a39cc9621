"""How often a number has been rounded: what tells the turns of a loop apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_MASK = 0xFFFFFFFF


@jax.tree_util.register_pytree_node_class
class Age:
    """A hash of the operations that led to an array: one number, whatever the array's shape.

    Roundings are hashes of the numbers that are rounded. Without more, a loop that comes back to the same numbers would
    round them in the same way for ever, and stagnate. Ages are constants outside of loops, and cost nothing there.

    Where an array enters or leaves a jaxpr, its age takes its shape, so that it can be scanned, selected and vectorised
    together with it; the first of these numbers counts afterwards.
    """

    def __init__(self, number: Any, shape: tuple[int, ...]) -> None:
        """An age: an integer, or uint32 ``()``, for an array of this shape."""
        self._number, self._shape = number, shape
        self._array: Any = None

    @property
    def number(self) -> Any:
        """An integer where it is known while tracing, otherwise uint32 ``()``."""
        if self._array is not None:
            self._number = self._array[(0,) * self._array.ndim] if self._array.size else 0
        return self._number

    def tree_flatten(self) -> Any:
        """One array of the shape."""
        array = self._array
        return [jnp.broadcast_to(_word(self._number), self._shape) if array is None else array], None

    @classmethod
    def tree_unflatten(cls, _: None, children: Any) -> Age:
        """From such an array."""
        self = cls(0, ())
        (self._array,) = children
        return self


def _word(number: Any) -> Any:
    return np.uint32(number) if isinstance(number, int) else number


def older(ages: Iterable[Age], salt: int) -> Any:
    """The age of what an operation makes of arrays of these ages.

    Args:
        ages: of its operands.
        salt: what the operation adds; 0 if it rounds nothing.

    Returns:
        An integer, or uint32 ``()``.
    """
    number: Any = salt & _MASK
    for age in ages:
        number = _plus(number, age.number)
    return _odd_times(number) if salt else number


def _plus(a: Any, b: Any) -> Any:
    return (a + b) & _MASK if isinstance(a, int) and isinstance(b, int) else lax.add(_word(a), _word(b))


def _odd_times(a: Any) -> Any:
    return a * 0x9E3779B1 & _MASK if isinstance(a, int) else lax.mul(a, np.uint32(0x9E3779B1))
