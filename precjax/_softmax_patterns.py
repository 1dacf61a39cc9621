"""Softmax and the logarithm of a sum of exponentials, recognised by the structure of their equations.

All are made of the terms E = exp(x - max(x)) and of their sum S, which is at least 1, perhaps through casts between
float formats.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import numpy as np

from precjax._annotated import Annotated, Known
from precjax._masks import alike, before_mask, masked, one_array
from precjax._patterns import (
    Shifted,
    before_move,
    before_move_or_cast,
    chain_of,
    is_cast,
    layout,
    made_by,
    meets,
    moves_of,
    part_of_sum,
    reduced_along,
    shifted,
    uncast,
)
from precjax._rounding import dtype_of, equal, where


class Softmax(NamedTuple):
    """E / S along axes.

    Attributes:
        terms: E.
        shifted: x - max(x), whose exponential E is.
        operand: x.
        total: S, before it is moved.
        axes: of the sum.
        formats: every format that the terms and the sum pass through.
        casts: how often they are cast.
        own_maximum: whether max(x) is that of x as it is, not of a cast of it.
    """

    terms: Annotated
    shifted: Annotated
    operand: Annotated
    total: Annotated
    axes: tuple[int, ...]
    formats: frozenset[Any]
    casts: int
    own_maximum: bool

    @property
    def count(self) -> int:
        """How many terms a sum has."""
        return math.prod(np.shape(self.terms.value)[axis] for axis in self.axes)


class LogSumExp(NamedTuple):
    """log S + max(x), or (the logarithm of the softmax) x - max(x) - log S.

    Attributes:
        softmax: E and S.
        logarithm: log S, laid out against the other operand.
        format: that in which the logarithm is taken.
        moves: what lays it out, from S on.
    """

    softmax: Softmax
    logarithm: Annotated
    format: Any
    moves: tuple[Annotated, ...]


def softmax(a: Annotated, b: Annotated) -> Softmax | None:
    """Whether a / b is a softmax."""
    axes = part_of_sum(a, b)
    return None if axes is None else softmax_of(chain_of(a, before_cast), chain_of(b, before_size), axes)


def softmax_of(terms: list[Annotated], total: list[Annotated], axes: tuple[int, ...]) -> Softmax | None:
    """The softmax of terms and their sum, given the chains of moves and casts that lead to both."""
    summands = chain_of(total[-1].origin.operands[0], _before_cast_or_mask)
    exponential = terms[-1]
    found = _exponent(exponential) if one_array(summands[-1], exponential) else None
    if found is None or found[1].axes != axes:
        return None
    exponent, shift = found
    passed = [*terms, *summands, *total]
    formats = frozenset(np.dtype(dtype_of(x.value)) for x in (*passed, exponent))
    casts = sum(map(is_cast, passed))
    own_maximum = _own_maximum(exponent, shift.operand)
    return Softmax(exponential, exponent, shift.operand, total[-1], axes, formats, casts, own_maximum)


def _own_maximum(exponent: Annotated, x: Annotated) -> bool:
    """Whether x - max(x) subtracts the maximum of these very numbers, not of others that they are casts of."""
    source = chain_of(exponent.origin.operands[1], before_move)[-1].origin.operands[0]
    return one_array(source, x) or not (is_cast(source) or is_cast(x))


def _exponent(terms: Annotated) -> tuple[Annotated, Shifted] | None:
    """x - max(x), whose exponential the terms are, and what of."""
    if not made_by(terms, "exp"):
        return _masked_exponent(terms)
    exponent = terms.origin.operands[0]
    shift = shifted(exponent)
    return None if shift is None else (exponent, shift)


def _masked_exponent(terms: Annotated) -> tuple[Annotated, Shifted] | None:
    """The same of where(mask, exp(y - m), 0), m the maximum of x = where(mask, y, -inf).

    What is masked is exp(x - m) as well, 0, unless all of it is masked. The program has no x - m; it is made here.
    """
    outer = masked(terms)
    if outer is None or outer.constant != 0.0 or not made_by(outer.kept, "exp"):
        return None
    exponent = outer.kept.origin.operands[0]
    if not made_by(exponent, "sub"):
        return None
    y, largest = exponent.origin.operands
    source = chain_of(largest, before_move)[-1]
    if not made_by(source, "reduce_max"):
        return None
    x = uncast(source.origin.operands[0])
    inner, axes = masked(x), reduced_along(largest, "reduce_max", x)
    if inner is None or axes is None or inner.constant != -math.inf or inner.kept is not y or not alike(outer, inner):
        return None
    return _lost(exponent, x), Shifted(x, axes)


def _lost(exponent: Annotated, x: Annotated) -> Annotated:
    """The exponent, -inf where x is."""
    gone = equal(x.value, -math.inf)
    error = jax.tree.map(lambda e: where(gone, 0.0, e), exponent.error)
    known = Known(-math.inf, exponent.known.high, exponent.known.settled, True)
    return exponent._replace(value=where(gone, -math.inf, exponent.value), error=error, known=known, norm=None)


def log_sum_exp(a: Annotated, b: Annotated) -> LogSumExp | None:
    """Whether a + b is log(sum(exp(x))), as log S + max(x)."""
    for logarithm, largest in ((a, b), (b, a)):
        found = _logarithm(logarithm)
        if found is None:
            continue
        maximum = chain_of(largest, before_move)
        subtracted = chain_of(found.softmax.shifted.origin.operands[1], before_move)
        if not one_array(maximum[-1], subtracted[-1]):
            continue
        ndim, axes = np.ndim(found.softmax.terms.value), found.softmax.axes
        places = [layout(chain, axes, ndim) for chain in (maximum, chain_of(logarithm, _before_log))]
        if places[0] is not None and places[0] == places[1]:
            return found
    return None


def log_softmax(a: Annotated, b: Annotated) -> LogSumExp | None:
    """Whether a - b is x - max(x) - log S."""
    found = _logarithm(b)
    if found is None or uncast(a) is not found.softmax.shifted:
        return None
    return found if meets(chain_of(b, _before_log), found.softmax.axes, np.shape(a.value)) else None


def _logarithm(x: Annotated) -> LogSumExp | None:
    """Whether x is log S, moved."""
    moved = chain_of(x, before_move_or_cast)
    if not made_by(moved[-1], "log"):
        return None
    total = chain_of(moved[-1].origin.operands[0], before_size)
    if not made_by(total[-1], "reduce_sum"):
        return None
    terms = chain_of(total[-1].origin.operands[0], _before_cast_or_mask)
    found = softmax_of(terms, [*moved, *total], tuple(total[-1].origin.eqn.params["axes"]))
    return None if found is None else LogSumExp(found, x, dtype_of(moved[-1].value), moves_of([*moved, *total]))


def before_cast(x: Annotated) -> Annotated | None:
    """What was cast."""
    return x.origin.operands[0] if is_cast(x) else None


def _before_cast_or_mask(x: Annotated) -> Annotated | None:
    """Through casts, and through a mask that leaves exponentials as they are."""
    return before_cast(x) or before_mask(x)


def before_size(x: Annotated) -> Annotated | None:
    """Through moves, casts, and | | of what is not negative."""
    if made_by(x, "abs") and x.origin.operands[0].known.low >= 0:
        return x.origin.operands[0]
    return before_move_or_cast(x)


def _before_log(x: Annotated) -> Annotated | None:
    """From a moved logarithm to the sum that it is taken of."""
    return x.origin.operands[0] if made_by(x, "log") else before_size(x)
