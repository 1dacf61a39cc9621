"""Static facts: what is known of the result of an equation, whatever the data. They cost nothing at run time."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import jax.numpy as jnp
import numpy as np

from precjax._annotated import RANGE_SLACK, Added, Annotated, Known
from precjax._ranges import RANGES, Range
from precjax._rerolled import PRODUCTS
from precjax._rounding import format_of, is_inexact

# Primitives that only move their first operand.
MOVES = frozenset({
    "broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims", "slice", "rev", "copy", "copy_p",
    "stop_gradient", "top_k",
    "dynamic_slice", "split", "unstack", "tile", "name", "optimization_barrier", "sharding_constraint", "reduce_max",
    "reduce_min", "cummax", "cummin", "sort", "gather", "reduce_window_max", "reduce_window_min", "pvary", "reshard",
    "layout_constraint", "device_put", "all_gather", "all_gather_invariant", "all_to_all", "pbroadcast", "pmax", "pmin",
})  # fmt: skip

_KEEPS_INFINITIES = frozenset({
    "add", "add_any", "sub", "neg", "max", "min", "clamp", "select_n", "concatenate", "pad", "convert_element_type",
    "gather",
    "dynamic_update_slice", "scatter", "ppermute",
})  # fmt: skip

_SETTLED = (MOVES | {"ppermute"}) - {
    "reduce_max", "reduce_min", "cummax", "cummin", "sort", "top_k", "reduce_window_max", "reduce_window_min", "pmax",
    "pmin",
}  # fmt: skip

# What XLA never takes for the identity, alone or together with what comes before it or after it, as it may log(exp).
_NO_IDENTITY = frozenset({
    "add", "sub", "add_any", "mul", "div", "rem", "atan2", "nextafter", "sign", "floor", "ceil", "round",
    "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh",
    "log1p", "expm1", "logistic", "rsqrt", "cbrt", "erf", "erfc", "erf_inv", "lgamma", "digamma",
    "dot_general", "conv_general_dilated", "reduce_sum", "reduce_prod", "reduce_max", "reduce_min",
})  # fmt: skip

_ARITHMETIC = frozenset({"add", "sub", "add_any", "mul", "div"})


def folded(eqn: Any, operands: Sequence[Annotated]) -> float | None:
    """The result of arithmetic on constants, if it is a number of the result's format: then nothing is rounded."""
    fold = _FOLDS.get(eqn.primitive.name)
    if fold is None or not all(x.known.low == x.known.high and math.isfinite(x.known.low) for x in operands):
        return None
    try:
        exact = fold(*(Fraction(x.known.low) for x in operands))
    except ZeroDivisionError:
        return None
    dtype = eqn.outvars[0].aval.dtype
    if not is_inexact(dtype) or _is_complex(dtype):
        return None
    if exact and not format_of(dtype).smallest_normal <= abs(exact) <= format_of(dtype).largest:
        return None
    number = float(np.asarray(float(exact), dtype))
    return number if Fraction(number) == exact else None


def is_power_of_two(known: Known) -> bool:
    """Whether the array is known to be one power of two, everywhere."""
    return known.low == known.high and math.isfinite(known.low) and math.frexp(abs(known.low))[0] == 0.5


_FOLDS: dict[str, Callable[..., Fraction]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "neg": operator.neg,
    "max": max, "min": min, "convert_element_type": lambda x: x,
}  # fmt: skip


def infer(eqn: Any, operands: Sequence[Annotated], index: int, error: Any) -> Known:
    """What is known of result number `index` of an equation."""
    added, scaled = _with_constants(eqn, operands, index)
    return _inferred(eqn, operands, index, error)._replace(
        fixed=all(x.known.fixed for x in operands),
        added=added,
        scaled=scaled,
        exponential=_is_exponential(eqn, operands),
    )


def _inferred(eqn: Any, operands: Sequence[Annotated], index: int, error: Any) -> Known:
    name = eqn.primitive.name
    moved = operands[index if name in ("optimization_barrier", "sort", "device_put") else 0] if operands else None
    settled = error is None or (name in _SETTLED and all(x.known.settled for x in operands))
    if name == "top_k" and index == 1:
        return Known(0.0, operands[0].value.shape[eqn.params["axis"]] - 1.0, settled)
    if name in MOVES and not (name == "gather" and _fills(eqn)):
        return Known(moved.known.low, moved.known.high, settled, moved.known.masked)
    if error is None and (number := folded(eqn, operands)) is not None:
        return Known(number, number, True)
    find = None if _is_complex(eqn.outvars[index].aval.dtype) else RANGES.get(name)
    low, high = find(eqn, operands) if find is not None else (-math.inf, math.inf)
    if math.isnan(low) or math.isnan(high):
        low, high = -math.inf, math.inf
    dtype = eqn.outvars[index].aval.dtype
    if name not in ("select_n", "pad", "concatenate") and not (is_inexact(dtype) and _unrounded(name, dtype, operands)):
        low, high = _representable(dtype, low, high)
    return Known(low, high, settled, name in _KEEPS_INFINITIES and any(x.known.masked for x in operands))


def constants_apart(operands: Sequence[Annotated]) -> tuple[list[Annotated], list[Annotated]]:
    """The operands that are constants, and the others. Of two constants it is the number; else each is both."""
    fixed = [x for x in operands if x.known.fixed]
    if len(fixed) < len(operands):
        return fixed, [x for x in operands if not x.known.fixed]
    numbers = [x for x in fixed if x.known.low == x.known.high]
    return (numbers, [x for x in fixed if x is not numbers[0]]) if len(numbers) == 1 else (fixed, fixed)


def size_of(constant: Annotated) -> float:
    """An upper bound of its size, inf if it is not known while tracing."""
    low, high = constant.known[:2]
    return max(abs(low), abs(high)) * (1.0 if low == high else 1 + RANGE_SLACK)


def last_added(operands: Sequence[Annotated]) -> Added | None:
    """The constants last added to one of these, None if there were none."""
    found = [x.known.added for x in operands if x.known.added]
    return functools.reduce(Added.join, found) if found else None


def _with_constants(eqn: Any, operands: Sequence[Annotated], index: int) -> tuple[Added | None, bool]:
    """`Known.added` and `Known.scaled` of a result. A size that is not known has been counted where it was added."""
    name = operation(eqn)
    if not is_inexact(eqn.outvars[index].aval.dtype) or not (name in _ARITHMETIC or _may_vanish(eqn)):
        return None, False
    constants, others = constants_apart(operands) if name in _ARITHMETIC else ([], operands)
    added, scaled = last_added(others), any(x.known.scaled for x in others)
    if name not in _ARITHMETIC:
        return (added if name in MOVES or added is None else added._replace(number=None)), scaled
    if not constants:
        return None, False
    if name not in ("mul", "div"):
        return _one_more(name, operands, constants, added), scaled and all(_may_be(x, 0.0) for x in constants)
    factors = name == "mul" or constants[0] is operands[1]
    added = added and added._replace(number=None)
    return added if factors and all(_may_be(x, 1.0) for x in constants) else None, True


def _one_more(name: str, operands: Sequence[Annotated], constants: list[Annotated], before: Added | None) -> Added:
    """`Known.added` of a sum or a difference with constants."""
    size = sum((s for s in map(size_of, constants) if math.isfinite(s)), before.size if before else 0.0)
    number, whole = constants[0].known.low, whole_numbers(constants) and (before is None or before.whole)
    if before or len(constants) > 1 or number != constants[0].known.high or not math.isfinite(number):
        return Added(size, None, whole)
    return Added(size, -number if name == "sub" and constants[0] is operands[1] else number, whole)


def whole_numbers(constants: Sequence[Annotated]) -> bool:
    """Whether each is known to be a whole number."""
    return all(x.known.low == x.known.high and x.known.low.is_integer() for x in constants)


def _is_exponential(eqn: Any, operands: Sequence[Annotated]) -> bool:
    """`Known.exponential` of a result."""
    name = operation(eqn)
    if name in ("exp", "exp2"):
        return True
    if name in _ARITHMETIC:
        neutral = 1.0 if name in ("mul", "div") else 0.0
        operands = [x for x in operands if not (x.known.fixed and _may_be(x, neutral))]
        return (neutral == 1.0 or len(operands) == 1) and bool(operands) and all(x.known.exponential for x in operands)
    return _may_vanish(eqn) and any(x.known.exponential for x in operands)


def _may_vanish(eqn: Any) -> bool:
    """Whether XLA may take the equation for the identity, alone or with its neighbours."""
    return eqn.primitive.name not in _NO_IDENTITY or _of_one_term(eqn)


def operation(eqn: Any) -> str:
    """The name of the primitive; a product of matrices whose sums have one term is a product of numbers."""
    name = eqn.primitive.name
    return "mul" if name in PRODUCTS and _of_one_term(eqn) else name


def _may_be(constant: Annotated, size: float) -> bool:
    """Whether a constant may be of this size all over: one that is no number may."""
    low, high = constant.known[:2]
    return low <= size <= high or low <= -size <= high


def _of_one_term(eqn: Any) -> bool:
    """Whether the sums that it makes have one term."""
    name, shapes = eqn.primitive.name, [v.aval.shape for v in eqn.invars]
    if name == "dot_general":
        return math.prod(shapes[0][d] for d in eqn.params["dimension_numbers"][0][0]) == 1
    if name == "conv_general_dilated":
        return math.prod(shapes[1]) == shapes[1][eqn.params["dimension_numbers"].rhs_spec[0]]
    return name.startswith("reduce_") and math.prod(shapes[0]) == math.prod(eqn.outvars[0].aval.shape)


def _unrounded(name: str, dtype: Any, operands: Sequence[Annotated]) -> bool:
    """Whether the ends of a range of floats are those of the operands, or sums of small whole numbers."""
    if name in ("clamp", "max", "min", "neg"):
        return True
    if name not in ("add", "sub"):
        return False
    largest = 2.0 ** (format_of(dtype).digits - 1)
    return all(float(end).is_integer() and abs(end) <= largest for x in operands for end in x.known[:2])


def _representable(dtype: Any, low: float, high: float) -> Range:
    """Integers wrap around: a range that leaves the dtype is no range. Bounds of floats were computed in float64."""
    if jnp.issubdtype(dtype, jnp.integer):
        info = jnp.iinfo(dtype)
        inside = info.min <= low and high <= info.max
        return (low, high) if inside else (-math.inf, math.inf)
    if dtype == jnp.bool_:
        return max(low, 0.0), min(high, 1.0)
    return (low - abs(low) * 1e-12, high + abs(high) * 1e-12) if is_inexact(dtype) else (-math.inf, math.inf)


def _is_complex(dtype: Any) -> bool:
    """Complex numbers have no order, hence no range."""
    return jnp.issubdtype(dtype, jnp.complexfloating)


def _fills(eqn: Any) -> bool:
    return "FILL" in str(eqn.params.get("mode"))
