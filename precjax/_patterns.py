"""Computations that are worth one rule for the whole, recognised by the structure of their equations.

Bounded alone, the exponential, the sum and the quotient of a softmax multiply each other's worst cases, although a
softmax lies between 0 and 1. Each function here looks at where an operand came from, within one jaxpr, and answers
whether the equation at hand completes a pattern whose exact result obeys a theorem. Names of functions are never looked
at.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from precjax._annotated import Annotated
from precjax._masks import before_mask, one_array, same
from precjax._rounding import dtype_of, is_inexact

_MOVES = frozenset({"broadcast_in_dim", "reshape", "squeeze", "expand_dims", "stop_gradient", "copy", "copy_p"})


class Shifted(NamedTuple):
    """x - max(x over axes): at most 0, and 0 somewhere along the axes."""

    operand: Annotated
    axes: tuple[int, ...]


def cast_from_real(x: Annotated) -> bool:
    """Whether a complex array is a real one, cast and perhaps moved: its imaginary part is 0."""
    x = chain_of(x, before_move)[-1]
    return made_by(x, "convert_element_type") and not np.iscomplexobj(x.origin.operands[0].value)


def made_by(x: Annotated, *names: str) -> bool:
    """Whether one of these primitives made the array."""
    return x.origin is not None and x.origin.eqn.primitive.name in names


def shifted(x: Annotated) -> Shifted | None:
    """Recognises x - max(x)."""
    return shifted_difference(*x.origin.operands) if made_by(x, "sub") else None


def shifted_difference(a: Annotated, b: Annotated) -> Shifted | None:
    """Whether a - b is x - max(x)."""
    axes = reduced_along(b, "reduce_max", a)
    return None if axes is None else Shifted(a, axes)


def part_of_sum(a: Annotated, b: Annotated) -> tuple[int, ...] | None:
    """The axes if b is the sum of a along them, perhaps in a wider format: a / b is at most 1 for non-negative a."""
    return reduced_along(b, "reduce_sum", a, before_move_or_cast)


def chosen_of_two(x: Annotated, extreme: Annotated) -> Annotated | None:
    """y, where `extreme` is the maximum or the minimum of x and y."""
    if not made_by(extreme, "max", "min"):
        return None
    a, b = extreme.origin.operands
    return b if _same(x, a) else a if _same(x, b) else None


def common_factor(a: Annotated, b: Annotated) -> Annotated | None:
    """f, where b is a f: then a + b is a (1 + f)."""
    if not made_by(b, "mul"):
        return None
    x, y = b.origin.operands
    return y if one_array(x, a) else x if one_array(y, a) else None


def complement(a: Annotated, b: Annotated) -> float | None:
    """c, where b is c - a: then a b is a (c - a), whose slope is c - 2 a."""
    if not made_by(b, "sub") or not one_array(b.origin.operands[1], a):
        return None
    known = b.origin.operands[0].known
    return known.low if known.low == known.high and math.isfinite(known.low) else None


def _same(a: Annotated, b: Annotated) -> bool:
    """One array, or one constant."""
    fixed = all(x.known.low == x.known.high and np.ndim(x.value) == 0 for x in (a, b))
    return one_array(a, b) or (fixed and a.known.low == b.known.low)


def shifted_exponentials(x: Annotated, axes: tuple[int, ...]) -> bool:
    """Whether x is exp(y - max(y)) over the same axes: its sum is at least 1."""
    x = uncast(x)
    shift = shifted(x.origin.operands[0]) if made_by(x, "exp") else None
    return shift is not None and shift.axes == tuple(axes)


def reduced_along(moved: Annotated, reduction: str, x: Annotated, step: Any = None) -> tuple[int, ...] | None:
    """The axes if `moved` is the reduction of x over them, laid out so that every element of x meets its own."""
    chain = chain_of(moved, step or before_move)
    if not made_by(chain[-1], reduction):
        return None
    reduced, x = uncast(chain[-1].origin.operands[0]), uncast(x)
    masked = before_mask(reduced) if reduction == "reduce_sum" else None
    if not same(reduced if masked is None else masked, x):
        return None
    axes = tuple(chain[-1].origin.eqn.params["axes"])
    return axes if meets(chain, axes, np.shape(x.value)) else None


def chain_of(x: Annotated, step: Any) -> list[Annotated]:
    """From an array back to where `step` finds nothing before it."""
    chain = [x]
    while (previous := step(chain[-1])) is not None:
        chain.append(previous)
    return chain


def moves_of(chain: list[Annotated]) -> tuple[Annotated, ...]:
    """The steps of a chain that move elements, in the order of the program."""
    return tuple(x for x in reversed(chain) if made_by(x, *_MOVES))


def meets(chain: list[Annotated], axes: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a reduction over axes of an array of this shape, moved along the chain, is laid out against it."""
    places = layout(chain, axes, len(shape))
    if places is None:
        return False
    lone = [d for d, n in enumerate(shape) if n == 1]
    wanted = [d if d not in axes and d not in lone else None for d in range(len(shape))]
    found = [None if d in lone else d for d in places]
    return found == wanted or (not places and not any(d is not None for d in wanted))


def layout(chain: list[Annotated], axes: tuple[int, ...], ndim: int) -> list[int | None] | None:
    """Which axis of an array, reduced over axes and moved along the chain, each axis of the result follows."""
    places: list[int | None] | None = [d for d in range(ndim) if d not in axes]
    for step in reversed(chain[:-1]):
        if places is not None:
            places = _after_move(step, places)
    return places


def before_move(x: Annotated) -> Annotated | None:
    """The operand of a move, or of a guard against infinities; None at the source."""
    if x.origin is None:
        return None
    operands = x.origin.operands
    if made_by(x, *_MOVES):
        return operands[0]
    if made_by(x, "max"):  # max(-inf, m) is m
        lowest = [o.known.high == -math.inf for o in operands]
        return operands[lowest.index(False)] if sum(lowest) == 1 else None
    if made_by(x, "select_n") and len(operands) == 3 and made_by(operands[0], "is_finite"):
        # select(is_finite(m), m, 0) is m wherever a bound can be finite
        return operands[2] if one_array(operands[0].origin.operands[0], operands[2]) else None
    return None


def before_move_or_cast(x: Annotated) -> Annotated | None:
    """As before_move, and through casts between float formats, which are the identity in exact arithmetic."""
    return x.origin.operands[0] if is_cast(x) else before_move(x)


def uncast(x: Annotated) -> Annotated:
    while is_cast(x):
        x = x.origin.operands[0]
    return x


def is_cast(x: Annotated) -> bool:
    return made_by(x, "convert_element_type") and all(is_inexact(dtype_of(v.value)) for v in (x, x.origin.operands[0]))


def _after_move(step: Annotated, places: list[Any]) -> list[Any] | None:
    """Which axis of the source each axis of the result follows; None for a new axis of length 1."""
    eqn, operand = step.origin.eqn, step.origin.operands[0]
    name, before, after = eqn.primitive.name, np.shape(operand.value), np.shape(step.value)
    if name == "broadcast_in_dim":
        result: list[Any] = [None] * len(after)
        for d, place in zip(eqn.params["broadcast_dimensions"], places, strict=True):
            result[d] = place
        return result
    if name in ("reshape", "squeeze", "expand_dims"):
        # Only axes of length 1 may come or go.
        if [n for n in before if n != 1] != [n for n in after if n != 1]:
            return None
        following = iter(p for p, n in zip(places, before, strict=True) if n != 1)
        return [next(following) if n != 1 else None for n in after]
    if name == "reduce_sum":  # over axes of length 1
        return [p for d, p in enumerate(places) if d not in eqn.params["axes"]]
    return places


class Normalized(NamedTuple):
    """y / sqrt(variance of y + eps), perhaps times a scale: at most sqrt(count) in size, times the scale."""

    count: int
    scale: Annotated | None


def normalized(a: Annotated, b: Annotated, quotient: bool) -> Normalized | None:
    """Whether a b, or a / b, is LayerNorm, BatchNorm or RMSNorm of something."""
    if quotient:
        return _normalized_by(a, b, "sqrt", None)
    for y, factor in ((a, b), (b, a)):
        candidates = [(factor, None)]
        if made_by(factor, "mul"):
            p, q = factor.origin.operands
            candidates += [(p, q), (q, p)]
        for root, scale in candidates:
            found = _normalized_by(y, root, "rsqrt", scale)
            if found is not None:
                return found
    return None


def _normalized_by(y: Annotated, root: Annotated, function: str, scale: Annotated | None) -> Normalized | None:
    """Follows the root back through eps, guards and moves to a sum of squares of what y is."""
    chain = chain_of(root, _before_variance)
    source = chain[-1]
    names = [x.origin.eqn.primitive.name for x in chain if x.origin is not None]
    if names.count(function) != 1 or "rsqrt" in names and function == "sqrt" or not made_by(source, "reduce_sum"):
        return None
    axes, shape = tuple(source.origin.eqn.params["axes"]), np.shape(y.value)
    count = math.prod(np.shape(source.origin.operands[0].value)[d] for d in axes)
    root_of = squared(source.origin.operands[0])
    means = [x for x in chain if made_by(x, "div")]
    if root_of is None or len(means) != 1 or means[0].origin.operands[1].known[:2] != (float(count), float(count)):
        return None
    differences = [x for x in chain if made_by(x, "sub")]
    if made_by(y, "sub") and y.origin.operands[1].known[:2] == (0.0, 0.0):  # RMSNorm written as a LayerNorm of mean 0
        y = y.origin.operands[0]
    if not differences:
        centred = root_of is not None and one_array(root_of, y)
    else:
        # The variance as mean of squares minus square of mean, of the array that y is the centred version of.
        mean = squared(differences[0].origin.operands[1])
        centred = len(differences) == 1 and mean is not None and is_centred(y, root_of, mean, axes, count)
    return Normalized(count, scale) if centred and meets(chain, axes, shape) else None


def is_centred(y: Annotated, x: Annotated, mean: Annotated, axes: tuple[int, ...], count: int) -> bool:
    """Whether y is x - mean, and `mean` the mean of x over axes."""
    if not made_by(y, "sub") or not one_array(y.origin.operands[0], x):
        return False
    moves = chain_of(y.origin.operands[1], before_move)
    total = moves[-1].origin.operands if made_by(moves[-1], "div") else (None, None)
    if (
        not one_array(moves[-1], mean)
        or total[1].known[:2] != (float(count), float(count))
        or not made_by(total[0], "reduce_sum")
    ):
        return False
    reduction = total[0].origin
    alike = one_array(reduction.operands[0], x) and tuple(reduction.eqn.params["axes"]) == axes
    return alike and meets([*moves, total[0]], axes, np.shape(x.value))


def squared(x: Annotated) -> Annotated | None:
    """What x is the square of."""
    if made_by(x, "square") or (made_by(x, "integer_pow") and x.origin.eqn.params["y"] == 2):
        return x.origin.operands[0]
    if made_by(x, "mul") and one_array(*x.origin.operands):
        return x.origin.operands[0]
    return None


def _before_variance(x: Annotated) -> Annotated | None:
    """One step back from the root of a variance: through moves, eps >= 0, max(0, .), the division by n, - mean**2."""
    if (previous := before_move(x)) is not None or x.origin is None:
        return previous
    operands = x.origin.operands
    if made_by(x, "sqrt", "rsqrt", "div") or (made_by(x, "sub") and squared(operands[1]) is not None):
        return operands[0]
    if made_by(x, "add", "max") and len(operands) == 2:
        for kept, other in (operands, operands[::-1]):
            if other.known.low == other.known.high and (
                other.known.low >= 0 if made_by(x, "add") else other.known.low == 0
            ):
                return kept
    return None
