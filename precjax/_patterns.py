"""Computations that are worth one rule for the whole, recognised by the structure of their equations.

Bounded alone, the exponential, the sum and the quotient of a softmax multiply each other's worst cases, although a softmax lies
between 0 and 1. Each function here looks at where an operand came from, within one jaxpr, and answers whether the equation at
hand completes a pattern whose exact result obeys a theorem. Names of functions are never looked at.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from precjax._annotated import Annotated

_MOVES = frozenset({"broadcast_in_dim", "reshape", "squeeze", "expand_dims", "stop_gradient", "copy", "copy_p"})


class Shifted(NamedTuple):
    """x - max(x over axes): at most 0, and 0 somewhere along the axes."""

    operand: Annotated
    axes: tuple[int, ...]


class Softmax(NamedTuple):
    """exp(shifted) / sum(exp(shifted) over axes)."""

    shifted: Annotated
    operand: Annotated
    axes: tuple[int, ...]


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
    """The axes if b is the sum of a along them: then a / b is at most 1 for non-negative a."""
    return reduced_along(b, "reduce_sum", a)


def softmax(a: Annotated, b: Annotated) -> Softmax | None:
    """Whether a / b is a softmax."""
    axes = part_of_sum(a, b)
    if axes is None or not made_by(a, "exp"):
        return None
    exponent = a.origin.operands[0]
    shift = shifted(exponent)
    return Softmax(exponent, shift.operand, axes) if shift is not None and shift.axes == axes else None


def shifted_exponentials(x: Annotated, axes: tuple[int, ...]) -> bool:
    """Whether x is exp(y - max(y)) over the same axes: its sum is at least 1."""
    shift = shifted(x.origin.operands[0]) if made_by(x, "exp") else None
    return shift is not None and shift.axes == tuple(axes)


def reduced_along(moved: Annotated, reduction: str, x: Annotated) -> tuple[int, ...] | None:
    """The axes if `moved` is the reduction of x over them, laid out so that every element of x meets its own.

    Follows broadcasts and reshapes back to the reduction, then its axes forward through them.
    """
    chain = [moved]
    while (previous := _before_move(chain[-1])) is not None:
        chain.append(previous)
    source = chain.pop()
    if not made_by(source, reduction) or source.origin.operands[0] is not x:
        return None
    axes, shape = tuple(source.origin.eqn.params["axes"]), np.shape(x.value)
    places: list[int | None] | None = [d for d in range(len(shape)) if d not in axes]
    for step in reversed(chain):
        places = _after_move(step, places)
        if places is None:
            return None
    lone = [d for d, n in enumerate(shape) if n == 1]
    wanted = [d if d not in axes and d not in lone else None for d in range(len(shape))]
    found = [None if d in lone else d for d in places]
    return axes if found == wanted or (not places and not any(d is not None for d in wanted)) else None


def _before_move(x: Annotated) -> Annotated | None:
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
        return operands[2] if operands[0].origin.operands[0] is operands[2] else None
    return None


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
    return places
