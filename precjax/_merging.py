"""What XLA merges: some versions compute (x + c) + d as x + (c + d), (x c) d as x (c d), exp(x) exp(y) as exp(x + y).

Theorem: fl(x + fl(c + d)) differs from x + c + d by what the last addition rounds, which is counted as such, and by no
more than u |c| + u |d|, which is counted where d is added; a constant whose size is not known while tracing counts for
itself where it is added. Where the rounding is taken from the tracked program, that of another sum, off by h, differs
by h at most, which counts once more. Between the two additions may be whatever XLA takes for the identity, a move, or a
part of one, as log(exp) is. exp(fl(x + y)) differs from exp(x + y) by u |x + y| of it, which is u |log| of the result;
so do quotients and powers of exponentials. A merged product is rounded no more often, but c d may overflow or
underflow: no model of rounding says how wrong the plain program is then. The tracked program does not let XLA see what
its operands are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax import platforms
from precjax._annotated import Annotated
from precjax._facts import constants_apart, last_added, operation, size_of, whole_numbers
from precjax._rounding import dtype_of, equal, format_of, is_inexact, maximum, opaque, plus, times, where


def apart(eqn: Any, operands: Sequence[Annotated]) -> list[Any]:
    """The values of the operands of an equation, which XLA will not merge with what made them."""
    name = operation(eqn)
    merges = {"add": _is_sum, "sub": _is_sum, "add_any": _is_sum, "mul": _is_product, "div": _is_product}.get(name)
    constants, others = constants_apart(operands)
    if merges is None or not constants or not is_inexact(eqn.outvars[0].aval.dtype):
        return [x.value for x in operands]
    hidden = [x for x in others if merges(x)]
    return [opaque(jnp.asarray(x.value)) if any(x is y for y in hidden) else x.value for x in operands]


def _is_sum(x: Annotated) -> bool:
    return x.known.added is not None


def _is_product(x: Annotated) -> bool:
    return x.known.scaled


def merged_roundings(operands: Sequence[Annotated], sizes: Sequence[Any], sign: int) -> Any:
    """What plain programs may round in adding the constants among operands to others, in unit roundoffs.

    Args:
        operands: of a sum or a difference.
        sizes: of them, numbers or arrays.
        sign: of the second operand, 1 or -1.

    Returns:
        A number, or an array that broadcasts against the sum; None for nothing.
    """
    constants, others = constants_apart(operands)
    if not (constants and platforms.current().merges):
        return None
    before = last_added(others)
    merged = before and before.number is not None and _sum_of_numbers(operands, constants, before.number, sign)
    if isinstance(merged, float):
        return abs(merged) * 1.001 or None
    if before and before.whole and whole_numbers(constants):
        total = before.size + sum(map(size_of, constants))
        if total <= 2.0 ** min(format_of(dtype_of(x.value)).digits for x in operands):  # nothing is rounded
            return None
    counted = [before and before.size]
    for x, size in zip(operands, sizes, strict=True):
        if any(x is c for c in constants):
            counted += [_finite(size)] * ((before is not None) + (not math.isfinite(size_of(x))))
    return times(plus(*counted), 1.001)


def _sum_of_numbers(
    operands: Sequence[Annotated], constants: Sequence[Annotated], before: float, sign: int
) -> float | None:
    """The number that two numbers are merged into, None if the second is none."""
    low, high = constants[0].known[:2]
    if len(constants) > 1 or low != high or not math.isfinite(low):
        return None
    return before + sign * low if constants[0] is operands[1] else low + sign * before


def _finite(size: Any) -> Any:
    """0 in place of infinity: the sum is the same infinity in any order."""
    if isinstance(size, float):
        return size if math.isfinite(size) else 0.0
    return where(equal(size, jnp.inf), 0.0, size)


def merges_exponentials(eqn: Any, operands: Sequence[Annotated]) -> bool:
    """Whether plain programs may compute a product, a quotient or a power of exponentials as one exponential."""
    powers = {"pow": operands[:1], "integer_pow": operands}  # a power is made of products
    factors = {"mul": operands, "div": operands, **powers}.get(operation(eqn), ())
    return bool(factors) and platforms.current().merges and all(x.known.exponential for x in factors)


def with_merged_exponentials(eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any], errors: Any) -> Any:
    """The errors of an equation, with what plain programs round where they merge exponentials."""
    if not merges_exponentials(eqn, operands) or errors[0] is None or not jnp.issubdtype(outs[0].dtype, jnp.floating):
        return errors
    fmt, dtype = format_of(outs[0].dtype), errors[0].dtype
    size = lax.abs(outs[0]).astype(dtype)
    # The exponent itself may be in error: by less than 1, or else the result is in error by more than all of it.
    exponent = plus(lax.abs(lax.log(maximum(size, format_of(dtype).smallest_normal))), 1.0)
    # The exponents of the products that make a power of a whole number are halves of each other, at least.
    roundings = 2 if eqn.primitive.name == "integer_pow" else 1
    return [plus(errors[0], times(size, exponent, 1.02 * roundings * fmt.unit_roundoff))]
