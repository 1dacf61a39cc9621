"""The gradients of softmax and of the logarithm of a sum of exponentials, recognised by their equations.

E and S are the terms and the sum of `_softmax_patterns`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from precjax._annotated import Annotated
from precjax._masks import Masked, alike, masked, one_array
from precjax._patterns import before_move_or_cast, chain_of, is_cast, made_by, meets, moves_of, uncast
from precjax._softmax_patterns import Softmax, before_cast, before_size, softmax, softmax_of


class SoftmaxGradient(NamedTuple):
    """(c / S - sum(c E / S**2)) E: the softmax p times the distance of the cotangent c from its mean sum(p c)."""

    softmax: Softmax
    cotangent: Annotated


class LogSumExpGradient(NamedTuple):
    """(g / S) E: the softmax times the cotangent g, whose quotient by S is laid out along a chain of moves."""

    softmax: Softmax
    cotangent: Annotated
    quotient: Annotated
    moves: tuple[Annotated, ...]


def softmax_gradient(a: Annotated, b: Annotated) -> SoftmaxGradient | None:
    """Whether a b is the gradient of a softmax."""
    for gradient, terms in ((a, b), (b, a)):
        if not made_by(gradient, "add_any", "add") or not made_by(uncast(terms), "exp"):
            continue
        for quotient, mean in (gradient.origin.operands, gradient.origin.operands[::-1]):
            found = _softmax_gradient(quotient, mean, terms) if made_by(quotient, "div") else None
            if found is not None:
                return found
    return None


def _softmax_gradient(quotient: Annotated, mean: Annotated, terms: Annotated) -> SoftmaxGradient | None:
    """Whether `quotient` is c / S and `mean` is -sum(c E / S**2)."""
    c, divisor = quotient.origin.operands
    found = softmax(terms, divisor)
    chain = chain_of(mean, _before_negated_mean)
    if found is None or not made_by(chain[-1], "reduce_sum") or sum(made_by(x, "neg") for x in chain) % 2 == 0:
        return None
    summed = chain[-1].origin
    if tuple(summed.eqn.params["axes"]) != found.axes or not meets(chain, found.axes, np.shape(terms.value)):
        return None
    factors = _factors(uncast(summed.operands[0]))
    squares = [x for x in factors if made_by(x, "integer_pow") and x.origin.eqn.params["y"] == -2]
    rest = [x for x in factors if not any(one_array(x, y) for y in squares)]
    if len(rest) != 2 or len(squares) != 1 or softmax(terms, squares[0].origin.operands[0]) is None:
        return None
    complete = any(one_array(x, c) for x in rest) and any(one_array(uncast(x), found.terms) for x in rest)
    if not complete or one_array(*rest):
        return None
    return SoftmaxGradient(found._replace(casts=found.casts + sum(map(is_cast, chain))), c)


def _factors(product: Annotated) -> list[Annotated]:
    """The three factors of (x y) z or z (x y)."""
    if not made_by(product, "mul"):
        return []
    for inner, outer in (product.origin.operands, product.origin.operands[::-1]):
        if made_by(inner, "mul") and not made_by(outer, "mul"):
            return [*inner.origin.operands, outer]
    return []


def log_sum_exp_gradient(a: Annotated, b: Annotated) -> LogSumExpGradient | None:
    """Whether a b is the gradient of log(sum(exp(x)))."""
    for factor, terms in ((a, b), (b, a)):
        mask = _cleared(factor)
        chain = chain_of(factor if mask is None else mask.kept, _before_signed)
        if not made_by(chain[-1], "div") or not made_by(uncast(terms), "exp"):
            continue
        cotangent, divisor = chain[-1].origin.operands
        total = chain_of(divisor, before_size)
        if not made_by(total[-1], "reduce_sum"):
            continue
        axes = tuple(total[-1].origin.eqn.params["axes"])
        summands = _summands(terms, total[-1], mask)
        found = None if summands is None else softmax_of(summands, [*chain, *total], axes)
        if found is not None and meets([*chain, *total], axes, np.shape(terms.value)):
            return LogSumExpGradient(found, cotangent, chain[-1], moves_of(chain))
    return None


def _cleared(x: Annotated) -> Masked | None:
    """Whether x is where(mask, y, 0), and y is not laid out anew."""
    found = masked(x)
    return found if found is not None and found.constant == 0.0 and not found.layout[1] else None


def _summands(terms: Annotated, total: Annotated, mask: Masked | None) -> list[Annotated] | None:
    """The terms and what they are casts of, and what a mask leaves of them: None if the other factor has another."""
    chain = chain_of(terms, before_cast)
    if mask is None:
        return chain
    left = chain_of(total.origin.operands[0], before_cast)[-1]
    outer = _cleared(left)
    return [*chain, left] if outer is not None and outer.kept is chain[-1] and alike(outer, mask) else None


def _before_negated_mean(x: Annotated) -> Annotated | None:
    """Through moves, casts, signs, and sums over axes of length 1."""
    if made_by(x, "neg"):
        return x.origin.operands[0]
    if made_by(x, "reduce_sum"):
        operand = x.origin.operands[0]
        lone = all(np.shape(operand.value)[axis] == 1 for axis in x.origin.eqn.params["axes"])
        return operand if lone else None
    return before_move_or_cast(x)


def _before_signed(x: Annotated) -> Annotated | None:
    """Through moves, casts, signs, sums with 0, and what the derivative of | | chooses by a sign that is known."""
    if made_by(x, "neg"):
        return x.origin.operands[0]
    if made_by(x, "add", "add_any"):
        for kept, other in (x.origin.operands, x.origin.operands[::-1]):
            if _is_zero(other):
                return kept
        return None
    return _chosen(x) or before_move_or_cast(x)


def _chosen(x: Annotated) -> Annotated | None:
    """The case that select takes where its condition is y >= 0 for a y that is not negative."""
    if not made_by(x, "select_n") or len(x.origin.operands) != 3 or not made_by(x.origin.operands[0], "ge"):
        return None
    y, zero = x.origin.operands[0].origin.operands
    return x.origin.operands[2] if y.known.low >= 0 and zero.known[:2] == (0.0, 0.0) else None


def _is_zero(x: Annotated) -> bool:
    if made_by(x, "neg"):
        return _is_zero(x.origin.operands[0])
    chosen = _chosen(x)
    return x.known[:2] == (0.0, 0.0) if chosen is None else _is_zero(chosen)
