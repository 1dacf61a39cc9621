"""Constants that XLA merges: some versions compute (x + c) + d as x + (c + d), and (x c) d as x (c d).

Theorem: fl(x + fl(c + d)) differs from x + c + d by what the last addition rounds, which is counted as such, and by no
more than u |c| + u |d|, which is counted where d is added; a constant whose size is not known while tracing counts for
itself where it is added. Between the two additions may be whatever XLA takes for the identity, a move, or a part of
one, as log(exp) is. A merged product is rounded no more often, but c d may overflow or underflow: no model of rounding
says how wrong the plain program is then. The tracked program does not let XLA see that its operand is x + c or x c.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from precjax import platforms
from precjax._annotated import Annotated
from precjax._facts import constants_apart, last_added, size_of
from precjax._rounding import equal, is_inexact, opaque, plus, times, where


def apart(eqn: Any, operands: Sequence[Annotated]) -> list[Any]:
    """The values of the operands of an equation, which XLA will not merge with what made them."""
    name = eqn.primitive.name
    merges = {"add": _is_sum, "sub": _is_sum, "mul": _is_product, "div": _is_product}.get(name)
    constants, others = constants_apart(operands)
    if merges is None or not constants or not is_inexact(eqn.outvars[0].aval.dtype):
        return [x.value for x in operands]
    hidden = [x for x in others if merges(x)]
    return [opaque(jnp.asarray(x.value)) if any(x is y for y in hidden) else x.value for x in operands]


def _is_sum(x: Annotated) -> bool:
    return x.known.added is not None


def _is_product(x: Annotated) -> bool:
    return x.known.scaled


def merged_roundings(operands: Sequence[Annotated], sizes: Sequence[Any]) -> Any:
    """What plain programs may round in adding the constants among operands to others, in unit roundoffs.

    Args:
        operands: of a sum or a difference.
        sizes: of them, numbers or arrays.

    Returns:
        A number, or an array that broadcasts against the sum; None for nothing.
    """
    constants, others = constants_apart(operands)
    if not (constants and platforms.current().merges_constants):
        return None
    before = last_added(others)
    counted = [before]
    for x, size in zip(operands, sizes, strict=True):
        if any(x is c for c in constants):
            counted += [_finite(size)] * ((before is not None) + (not math.isfinite(size_of(x))))
    return times(plus(*counted), 1.001)


def _finite(size: Any) -> Any:
    """0 in place of infinity: the sum is the same infinity in any order."""
    if isinstance(size, float):
        return size if math.isfinite(size) else 0.0
    return where(equal(size, jnp.inf), 0.0, size)
