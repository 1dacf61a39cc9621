"""Static ranges, in which the exact results of equations lie, whatever the data.

They keep bounds finite where an interval would touch a pole: a sum of squares is not negative, the largest term of a
shifted softmax is 1, an index is below the length of its axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from precjax import _patterns as patterns
from precjax._annotated import RANGE_SLACK, Annotated, Known
from precjax._rounding import dtype_of, format_of, is_inexact

Range = tuple[float, float]

RANGES: dict[str, Callable[..., Range]] = {}
_LARGEST_INTEGER = 2.0**53  # up to which ranges hold every integer


def _range(*names: str) -> Callable:
    def register(f: Callable[..., Range]) -> Callable[..., Range]:
        RANGES.update(dict.fromkeys(names, f))
        return f

    return register


def _fixed(low: float, high: float, *names: str) -> None:
    _range(*names)(lambda eqn, operands: (low, high))


_fixed(0.0, 1.0, "logistic")
_fixed(-1.0, 1.0, "tanh", "sin", "cos", "erf", "sign")
_fixed(0.0, 2.0, "erfc")
_fixed(0.0, math.inf, "sqrt", "rsqrt", "exp2")
_fixed(1.0, math.inf, "cosh")
_fixed(0.0, math.inf, "acosh")
_fixed(-math.pi / 2, math.pi / 2, "atan", "asin")
_fixed(0.0, math.pi, "acos")
_fixed(-math.pi, math.pi, "atan2")
_fixed(0.0, 64.0, "population_count", "clz")


@_range("iota")
def _(eqn: Any, operands: Sequence[Annotated]) -> Range:
    return 0.0, float(max(eqn.params["shape"][eqn.params["dimension"]] - 1, 0))


@_range("axis_index")
def _(eqn: Any, operands: Sequence[Annotated]) -> Range:
    return 0.0, float(max(lax.axis_size(eqn.params["axis_name"]) - 1, 0))


@_range("ppermute")
def _(eqn: Any, operands: Sequence[Annotated]) -> Range:
    """A device that receives nothing has 0."""
    return min(operands[0].known.low, 0.0), max(operands[0].known.high, 0.0)


@_range("psum", "psum_invariant", "reduce_scatter")
def _(eqn: Any, operands: Sequence[Annotated]) -> Range:
    """Only a sign: a number from the outside is not among the terms."""
    known = operands[0].known
    return (0.0 if known.low >= 0 else -math.inf), (0.0 if known.high <= 0 else math.inf)


@_range("argmax", "argmin")
def _(eqn: Any, operands: Sequence[Annotated]) -> Range:
    return 0.0, float(operands[0].value.shape[eqn.params["axes"][0]] - 1)


@_range("exp")
def _(eqn: Any, operands: Sequence[Annotated]) -> Range:
    known = operands[0].known
    return 0.0, (1.0 if known.high <= 0 else math.inf)


@_range("log")
def _(eqn: Any, operands: Sequence[Annotated]) -> Range:
    known = operands[0].known
    return (math.log(known.low) if known.low > 0 else -math.inf), (math.log(known.high) if 0 < known.high else math.inf)


@_range("abs")
def _(eqn: Any, operands: Sequence[Annotated]) -> Range:
    known = operands[0].known
    return max(known.low, -known.high, 0.0), max(-known.low, known.high)


@_range("square")
def _(eqn: Any, operands: Sequence[Annotated]) -> Range:
    known = operands[0].known
    return 0.0, max(known.low * known.low, known.high * known.high)


@_range("integer_pow")
def _(eqn: Any, operands: Sequence[Annotated]) -> Range:
    known, y = operands[0].known, eqn.params["y"]
    if y == 1:
        return known.low, known.high
    return (0.0 if y % 2 == 0 or known.low >= 0 else -math.inf), math.inf


@_range("pow")
def _(eqn: Any, operands: Sequence[Annotated]) -> Range:
    base, exponent = (x.known for x in operands)
    if base.low >= 0 and base.high <= 1 and exponent.low >= 0:
        return 0.0, 1.0
    return (0.0 if base.low >= 0 else -math.inf), math.inf


@_range("neg")
def _(eqn: Any, operands: Sequence[Annotated]) -> Range:
    return -operands[0].known.high, -operands[0].known.low


@_range("add", "add_any")
def _(eqn: Any, operands: Sequence[Annotated]) -> Range:
    a, b = operands
    return _least_sum(_low(a), _low(b)), -_least_sum(_minus_high(a), _minus_high(b))


@_range("sub")
def _(eqn: Any, operands: Sequence[Annotated]) -> Range:
    a, b = operands
    low, high = _least_sum(_low(a), _minus_high(b)), -_least_sum(_minus_high(a), _low(b))
    return low, (min(high, 0.0) if patterns.shifted_difference(*operands) else high)


class _End(NamedTuple):
    """The least that a number is in exact arithmetic, and how far below it computed ones may be."""

    exact: float
    slack: float


def _low(x: Annotated) -> _End:
    return _End(x.known.low, _slack(x, x.known.low))


def _minus_high(x: Annotated) -> _End:
    return _End(-x.known.high, _slack(x, x.known.high))


def _slack(x: Annotated, end: float) -> float:
    """Rounding is monotone: nothing is beyond an end that is a number of the format, a constant or a whole one."""
    dtype = dtype_of(x.value)
    known = x.error is None and x.known.low == x.known.high
    if known or not is_inexact(dtype) or (float(end).is_integer() and abs(end) <= 2.0 ** format_of(dtype).digits):
        return 0.0
    return abs(end) * RANGE_SLACK


def _least_sum(a: _End, b: _End) -> float:
    """Where ends cancel, a computed sum may fall on the other side of them: then a sign is all that is claimed."""
    low = a.exact + b.exact
    if min(a.exact, b.exact) >= 0 or max(a.exact, b.exact) <= 0:
        return low
    return min(low - a.slack - b.slack, 0.0)


@_range("mul")
def _(eqn: Any, operands: Sequence[Annotated]) -> Range:
    a, b = operands
    if a is b:
        return 0.0, math.inf
    products = [_product(x, y) for x in a.known[:2] for y in b.known[:2]]
    return min(products), max(products)


def _product(x: float, y: float) -> float:
    return 0.0 if x == 0 or y == 0 else x * y


@_range("div")
def _(eqn: Any, operands: Sequence[Annotated]) -> Range:
    a, b = (x.known for x in operands)
    if a.low >= 0 and patterns.part_of_sum(*operands):
        return 0.0, 1.0
    if b.low < 0 or b.high == 0:
        return -math.inf, math.inf
    return (0.0 if a.low >= 0 else _quotient(a.low, b.low)), (0.0 if a.high <= 0 else _quotient(a.high, b.low))


def _quotient(x: float, y: float) -> float:
    return math.copysign(math.inf, x) if y == 0 else x / y


@_range("max")
def _(eqn: Any, operands: Sequence[Annotated]) -> Range:
    a, b = (x.known for x in operands)
    return max(a.low, b.low), max(a.high, b.high)


@_range("min")
def _(eqn: Any, operands: Sequence[Annotated]) -> Range:
    a, b = (x.known for x in operands)
    return min(a.low, b.low), min(a.high, b.high)


@_range("clamp")
def _(eqn: Any, operands: Sequence[Annotated]) -> Range:
    low, x, high = (x.known for x in operands)
    return min(max(x.low, low.low), high.high), min(max(x.high, low.high), high.high)


@_range("select_n", "concatenate", "pad")
def _(eqn: Any, operands: Sequence[Annotated]) -> Range:
    cases = [x.known for x in operands]
    if eqn.primitive.name == "select_n":
        which, *cases = cases
        cases = [cases[int(which.low)]] if which.low == which.high else cases
    return min(x.low for x in cases), max(x.high for x in cases)


def is_less(a: Known, b: Known) -> bool | None:
    """Whether a < b for all integers of these ranges; None if that depends on them, or floats may have rounded them."""
    if a.high < b.low and max(abs(a.high), abs(b.low)) <= _LARGEST_INTEGER:
        return True
    return False if a.low >= b.high and max(abs(a.low), abs(b.high)) <= _LARGEST_INTEGER else None


@_range("lt", "ge", "gt", "le")
def _(eqn: Any, operands: Sequence[Annotated]) -> Range:
    name = eqn.primitive.name
    a, b = (x.known for x in (operands if name in ("lt", "ge") else operands[::-1]))
    less = None if is_inexact(dtype_of(operands[0].value)) else is_less(a, b)
    return (0.0, 1.0) if less is None else 2 * (float(less == (name in ("lt", "gt"))),)


@_range("convert_element_type")
def _(eqn: Any, operands: Sequence[Annotated]) -> Range:
    known, dtype = operands[0].known, dtype_of(operands[0].value)
    if dtype == jnp.bool_:
        return 0.0, 1.0
    if jnp.issubdtype(dtype, jnp.integer) and not math.isfinite(known.low + known.high):
        return float(jnp.iinfo(dtype).min), float(jnp.iinfo(dtype).max)
    if is_inexact(dtype) and not is_inexact(eqn.outvars[0].aval.dtype):  # ranges of integers hold without slack
        return known.low - abs(known.low) * RANGE_SLACK, known.high + abs(known.high) * RANGE_SLACK
    return known.low, known.high


@_range("reduce_sum", "cumsum", "reduce_window_sum")
def _(eqn: Any, operands: Sequence[Annotated]) -> Range:
    known = operands[0].known
    if eqn.primitive.name == "reduce_sum" and is_inexact(dtype_of(operands[0].value)):
        n = math.prod(operands[0].value.shape[a] for a in eqn.params["axes"])
        if n * format_of(dtype_of(operands[0].value)).unit_roundoff > 2.0**-4:
            n = (
                1 if known.low >= 0 else math.inf
            )  # so long a sum may stagnate, but a sum of non-negative terms holds each of them
        low = 1.0 if patterns.shifted_exponentials(operands[0], eqn.params["axes"]) else _product(n, known.low)
        return low, (_product(n, known.high) if n > 1 else math.inf)
    return (0.0 if known.low >= 0 else -math.inf), math.inf


@_range("dot_general", "conv_general_dilated")
def _(eqn: Any, operands: Sequence[Annotated]) -> Range:
    return (0.0 if all(x.known.low >= 0 for x in operands[:2]) else -math.inf), math.inf


@_range("reduce_prod", "cumprod")
def _(eqn: Any, operands: Sequence[Annotated]) -> Range:
    return (0.0 if operands[0].known.low >= 0 else -math.inf), math.inf
