"""Error bounds of arithmetic on pairs: the rules of float64, with a smaller unit roundoff.

Theorem: a rule is stated for any unit roundoff. Its operands are pairs V = hi + lo with |V - exact| <= e, and it sees
hi for V, which differs by 2**-53 of itself. Where it uses sizes, in products, slopes and the ends of balls, it allows
for more rounding in the last place of float64 than that (`PairRules.total` adds to it). Where it decides something, or
takes a difference, it does not; then one of the following replaces it:
- decided on pairs, exactly (comparisons, maxima);
- asked for the ball of radius e + |lo| around hi, and |lo| of the result is added (selections, floor, sorted payloads);
- stated anew, in pairs (products over axes: `_pair_reductions`).

What each operation rounds is taken from `doubledouble`: `UNIT` is 16 units of 2**-106, more than any of +, -, *, / and
sqrt needs, two for a quotient. Operations on exact pairs, whose low part is 0, read them as they are (or a subnormal as
0, as everything does); others lose up to FLOOR, which every error of an inexact result contains.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import doubledouble as dd
from precjax._annotated import Annotated
from precjax._ball import Ball
from precjax._registry import find, is_users, reason_against
from precjax._rounding import equal, less, never_nan, plus, times, where
from precjax.doubledouble import DD
from precjax.doubledouble import _primitives as primitives
from precjax.doubledouble._complex_primitives import of_complex
from precjax.doubledouble._pairs import FLOOR
from precjax.models._paired import pair
from precjax.models.worst_case import WorstCase
from precjax.platforms import Accuracy
from precjax.rules.arithmetic import but_masks

UNIT = 2.0**-102
_UNITS = 16  # of 2**-106
_FLOAT64 = np.dtype(np.float64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairRules(WorstCase):
    """The worst case of arithmetic on pairs, for the rules."""

    def unit(self, dtype: Any) -> float:
        """That of all operations but the elementary functions."""
        return UNIT

    def underflow(self, dtype: Any) -> float:
        """What an operation on pairs may lose."""
        return FLOOR

    def accuracy(self, name: str, dtype: Any) -> Accuracy | None:
        """The bound of the function on pairs; an uncertain exponent counts up to |y log x| = 745."""
        bound = dd.BOUNDS.get(f"complex {name}" if jnp.issubdtype(dtype, jnp.complexfloating) else name)
        if bound is None:
            return None
        units = bound.units + (745 * bound.argument * 2.0**106 if name == "pow" else 0)
        return Accuracy(units / _UNITS, bound.scale)

    def total(self, out: Any, *terms: Any, ulps: float | None = 1.0, steps: int = 8, flushed: int = 1) -> Any:
        """With room for sizes that are those of high parts."""
        return super().total(out, *terms, ulps=ulps, steps=steps + 8, flushed=flushed)


class Call(NamedTuple):
    """An equation on pairs.

    Attributes:
        eqn: with parameters that fit float64.
        operands: as the interpreter carries them, with their origins.
        thin: high parts, within the errors of the pairs.
        fat: high parts, within the errors and the low parts.
        pairs: the operands as pairs.
        outs: the results, pairs or arrays.
    """

    eqn: Any
    operands: Sequence[Annotated]
    thin: list[Annotated]
    fat: list[Annotated]
    pairs: list[Any]
    outs: list[Any]

    @property
    def values(self) -> list[Any]:
        """High parts of the results."""
        return [x.hi if isinstance(x, DD) else x for x in self.outs]

    def ask(self, model: Any, operands: Sequence[Annotated]) -> list[Any]:
        """What the rule for float64 says of other operands."""
        return find(self.eqn.primitive.name, of_complex(self.eqn))(model, operands, self.values, **self.eqn.params)


def thin(x: Annotated) -> Annotated:
    """The high part, with the error of the pair."""
    return Annotated(x.value, None if x.error is None else x.error.error, x.known)


def fat(x: Annotated) -> Annotated:
    """The high part, with an error that covers the low one."""
    if x.error is None or x.error.low is None:
        return thin(x)
    radius = plus(x.error.error, lax.abs(x.error.low))
    return Annotated(x.value, where(equal(radius, 0.0), 0.0, times(radius, 1 + 2.0**-50)), x.known)


def same(operands: Sequence[Annotated], view: Callable[[Annotated], Annotated]) -> list[Annotated]:
    """Views of the operands; one operand used twice is one view used twice."""
    made = {id(x): view(x) for x in operands}
    return [made[id(x)] for x in operands]


def pair_errors(model: PairRules, eqn: Any, operands: Sequence[Annotated], outs: list[Any]) -> list[Any]:
    """The errors of what `doubledouble` computed for an equation; None for exactly zero.

    Args:
        model: the model.
        eqn: the equation, with parameters that fit float64.
        operands: its operands, annotated with `Rest`.
        outs: its results, a pair for each float.

    Returns:
        One error for each result.
    """
    name = eqn.primitive.name
    call = Call(eqn, operands, same(operands, thin), same(operands, fat), list(map(pair, operands)), outs)
    special = None if of_complex(eqn) and name not in _OF_COMPLEX else _SPECIAL.get(name)
    errors = special(model, call) if special else call.ask(model, call.thin)
    return errors if name in primitives.MOVES else [_with_floor(e, x) for e, x in zip(errors, outs, strict=True)]


# Of complex numbers: what the rules' counts of roundings hold for, in units of `UNIT`, and what BOUNDS says more of.
_COMPLEX = primitives.MOVES | {
    "add", "add_any", "sub", "neg", "conj", "real", "imag", "complex", "mul", "div", "square", "abs", "sign",
    "integer_pow", "reduce_sum", "cumsum", "dot_general", "ragged_dot_general", "conv_general_dilated", "eq", "ne",
    "convert_element_type", "triangular_solve", "cholesky", "lu", "qr", "eig", "eigh", "svd",
}  # fmt: skip


def has_rule(eqn: Any) -> bool:
    """Whether there are arithmetic of pairs and bounds for it; a user's rule is about float64."""
    name, complex_ = eqn.primitive.name, of_complex(eqn)
    rule = find(name, complex_)
    known = primitives.supports(name) and name != "polynomial"
    if complex_:
        known = name in _COMPLEX and eqn.params.get("y", 0) >= 0  # a power that underflows may be divided by
    return known and rule is not None and not is_users(rule) and reason_against(eqn) is None


def _with_floor(error: Any, out: Any) -> Any:
    """An inexact pair may lose as much in any operation."""
    if error is None or not isinstance(out, DD):
        return error
    return where(equal(error, 0.0), 0.0, plus(error, 2 * FLOOR if jnp.iscomplexobj(out.hi) else FLOOR))


_SPECIAL: dict[str, Callable[[PairRules, Call], list[Any]]] = {}
# Special rules that hold for complex numbers, errors being bounds of moduli.
_OF_COMPLEX = (
    "select_n", "dot_general", "ragged_dot_general", "conv_general_dilated", "triangular_solve", "cholesky", "lu", "qr",
    "eig", "eigh", "svd",
)  # fmt: skip


def special(*names: str) -> Callable[[Callable], Callable]:
    """Registers ``rule(model, call) -> errors`` in place of the rule for float64."""

    def register(f: Callable) -> Callable:
        _SPECIAL.update(dict.fromkeys(names, f))
        return f

    return register


# ---------------------------------------------------------------------------------------------- sums and products


@special("add", "add_any", "sub")
def _sum(model: PairRules, call: Call) -> list[Any]:
    """Errors add up; an infinite operand gives the same infinity in exact arithmetic."""
    (out,) = call.values
    a, b = (Ball(x, _FLOAT64) for x in call.thin)
    return [model.add(but_masks(a, b, out), a, b)]


def full(x: Any, out: Any) -> Any:
    """In the shape of the result."""
    return jnp.broadcast_to(x, out.shape)


@special("integer_pow")
def _integer_pow(model: PairRules, call: Call) -> list[Any]:
    """A negative power is 1 over a positive one, which may be too small to be a pair."""
    errors = call.ask(model, call.thin)
    if call.eqn.params["y"] >= -1:
        return errors
    return [where(less(lax.abs(call.values[0]), 2.0**900), errors[0], np.inf)]


@special("rem")
def _rem(model: PairRules, call: Call) -> list[Any]:
    """As of float64, and what the quotient rounds, of the dividend."""
    x, y = call.thin
    if x.error is not None or y.error is not None:
        rounded = times(lax.abs(jnp.asarray(x.value)), 2 * UNIT)
        x = x._replace(error=plus(x.error, rounded, FLOOR))
    return call.ask(model, [x, y])


# --------------------------------------------------------------------------------------------- elementary functions


@special("sin", "cos", "tan")
def _wave(model: PairRules, call: Call) -> list[Any]:
    """The reduction of the argument moves it."""
    (x,) = call.thin
    moved = times(lax.abs(jnp.asarray(x.value)), 2.0**-149)
    return call.ask(model, [x._replace(error=plus(x.error, moved, FLOOR))])


@special("asin", "acos", "acosh")
def _arc(model: PairRules, call: Call) -> list[Any]:
    """Where the low part decides whether the argument may leave the domain, it may."""
    (x,), (error,) = call.fat, call.ask(model, call.thin)
    known = x.known
    if (
        x.error is None
        or known.low >= (1.0 if call.eqn.primitive.name == "acosh" else -1.0)
        and known.high <= (math.inf if call.eqn.primitive.name == "acosh" else 1.0)
    ):
        return [error]
    beyond = lax.abs(plus(lax.abs(jnp.asarray(x.value)), -1.0))
    near = lax.bitwise_and(lax.le(beyond, x.error), lax.ne(x.error, jnp.zeros_like(x.error)))
    return [where(near, np.inf, error)]


# -------------------------------------------------------------------------------------------------------- contractions


@special("dot_general")
def _dot_general(model: PairRules, call: Call) -> list[Any]:
    """And what the slices leave out."""
    return [_sliced(model, call, _left_out(call, call.eqn.params["dimension_numbers"], ()))]


@special("ragged_dot_general")
def _ragged_dot_general(model: PairRules, call: Call) -> list[Any]:
    """And what the slices leave out, of as many terms as all groups have."""
    numbers = call.eqn.params["ragged_dot_dimension_numbers"]
    lost = _left_out(call, numbers.dot_dimension_numbers, tuple(numbers.rhs_group_dimensions))
    return [_sliced(model, call, lost)]


def _left_out(call: Call, numbers: Any, groups: tuple[int, ...]) -> Any:
    """truncation K max|x| max|y|, over a row and a column, and groups of y."""
    (left, right), batches = numbers
    x, y = (never_nan(lax.abs(_wide(operand.value))) for operand in call.thin[:2])
    terms = max(math.prod(np.shape(y)[i] for i in (*right, *groups)), 1)
    x = jnp.max(x, axis=tuple(left), keepdims=True, initial=0.0)
    y = jnp.max(y, axis=(*right, *groups), keepdims=True, initial=0.0)
    x = jnp.expand_dims(x, tuple(range(x.ndim, x.ndim + len(groups))))
    contracted = (*left, *range(x.ndim - len(groups), x.ndim)), (*right, *groups)
    largest = lax.dot_general(x, y, (contracted, batches), precision=lax.Precision.HIGHEST)
    return times(largest, _truncation(call, terms))


@special("conv_general_dilated")
def _convolution(model: PairRules, call: Call) -> list[Any]:
    """And what the slices leave out: truncation K max|x| max|y|, over both arrays."""
    kernel = np.shape(call.thin[1].value)
    terms = max(math.prod(kernel[d] for d in call.eqn.params["dimension_numbers"].rhs_spec[1:]), 1)
    largest = [jnp.max(never_nan(lax.abs(_wide(x.value))), initial=0.0) for x in call.thin]
    return [_sliced(model, call, times(*largest, _truncation(call, terms)))]


def _wide(value: Any) -> Any:
    return jnp.asarray(value) if np.iscomplexobj(value) else jnp.asarray(value, _FLOAT64)


def _truncation(call: Call, terms: int) -> float:
    """Of complex numbers, two products make each part."""
    return dd.product_cut(terms).truncation * terms * (3.0 if of_complex(call.eqn) else 1.01)


def _sliced(model: PairRules, call: Call, lost: Any) -> Any:
    """Exact real operands: the slices' sums are exact but for a rounding of the result."""
    out = call.values[0]
    lost = jnp.broadcast_to(lost, out.shape)
    if all(x.error is None for x in call.thin) and not of_complex(call.eqn):
        return model.total(out, lost, flushed=4)
    return model.total(out, call.ask(model, call.thin)[0], lost, flushed=4)
