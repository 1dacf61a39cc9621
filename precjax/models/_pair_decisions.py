"""Decisions on pairs: taken on pairs where that is simple, else with room for the low parts (see `_pair_rules`).

Theorem: as in `rules.decision`. A pair is one number, whatever the compiler does, and the decision of the exact program
is the same where the pairs are further apart than their errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _patterns as patterns
from precjax import doubledouble as dd
from precjax._annotated import Annotated
from precjax._registry import find
from precjax._rounding import dtype_of, equal, is_inexact, plus, reordered, times, where
from precjax.doubledouble import DD
from precjax.doubledouble._pairs import FLOOR
from precjax.models._pair_rules import Call, PairRules, full, same, special, thin
from precjax.models._paired import Rest, pair
from precjax.rules.decision import one_candidate


def _apart(a: DD, b: DD, errors: Sequence[Any]) -> tuple[Any, Any]:
    """Where the exact a is above the exact b, and the other way round."""
    distance = dd.sub(a, b).hi
    margin = plus(times(plus(*errors), 1 + 2.0**-40), 4 * FLOOR)
    distance, margin = jnp.broadcast_arrays(times(distance, 1 - 2.0**-50), margin)
    return lax.gt(distance, margin), lax.gt(lax.neg(distance), margin)


@special("lt", "le", "gt", "ge")
def _compare(model: PairRules, call: Call) -> list[Any]:
    """1 where pairs are no further apart than their errors."""
    if all(x.error is None for x in call.thin) or call.operands[0] is call.operands[1]:
        return call.ask(model, call.thin)
    errors = [_explicit(x) for x in call.thin]
    above, below = _apart(*call.pairs, errors)
    certain = equal(jnp.broadcast_to(lax.max(*jnp.broadcast_arrays(*errors)), above.shape), 0.0)
    decided = lax.bitwise_or(lax.bitwise_or(above, below), certain)
    return [where(decided, jnp.zeros((), jnp.float32), 1.0)]


def _explicit(x: Annotated) -> Any:
    return jnp.zeros(np.shape(x.value)) if x.error is None else x.error


@special("eq", "ne")
def _equal(model: PairRules, call: Call) -> list[Any]:
    """x == max(x, y) holds as x >= y does; x == max(x over axes) as x is the one candidate (see `rules.decision`)."""
    for x, extreme in (call.operands, call.operands[::-1]):
        if (rival := patterns.chosen_of_two(x, extreme)) is not None:
            both = [x, rival]
            return _compare(model, call._replace(operands=both, thin=same(both, thin), pairs=list(map(pair, both))))
    (error,) = _compare(model, call)
    for x, extreme in (call.operands, call.operands[::-1]):
        for name, sign in (("reduce_max", 1.0), ("reduce_min", -1.0)):
            if error is not None and (axes := patterns.reduced_along(extreme, name, x)) is not None:
                return [where(one_candidate(thin(x), sign, axes), jnp.zeros((), jnp.float32), error)]
    return [error]


@special("max", "min")
def _extremum(model: PairRules, call: Call) -> list[Any]:
    """The winner's error where the winner is decided, else the larger of the two: max is nonexpansive."""
    return [_winner(model, call.eqn.primitive.name, call.operands, call.values[0])]


def _winner(model: PairRules, name: str, operands: Sequence[Annotated], out: Any) -> Any:
    views = same(operands, thin)
    if all(x.error is None for x in views):
        return find(name)(model, views, [out])[0]
    errors = [_explicit(model.explicit(x)) for x in views]
    above, below = _apart(*map(pair, operands), errors)
    a, b = (jnp.broadcast_to(e, out.shape) for e in (errors if name == "max" else errors[::-1]))
    decided = where(full(above, out), a, where(full(below, out), b, lax.max(a, b)))
    return where(lax.eq(out, out), reordered(decided), np.inf)


@special("clamp")
def _clamp(model: PairRules, call: Call) -> list[Any]:
    """max with the lower end, then min with the upper."""
    low, x, high = call.operands
    larger = dd.max(*(DD(*(jnp.broadcast_to(v, np.shape(x.value)) for v in pair(y))) for y in (x, low)))
    error = _winner(model, "max", [x, low], larger.hi)
    inner = Annotated(larger.hi, Rest(larger.lo, jnp.zeros_like(larger.hi) if error is None else error), x.known)
    return [_winner(model, "min", [inner, high], call.values[0])]


@special("select_n")
def _select(model: PairRules, call: Call) -> list[Any]:
    """The chosen error where the choice is certain, else what covers the low parts as well."""
    which = call.thin[0]
    if which.error is None:
        return call.ask(model, call.thin)
    (wide,) = call.ask(model, call.fat)
    certain = which._replace(error=None)
    (narrow,) = call.ask(model, [certain, *call.thin[1:]])
    wide = plus(wide, lax.abs(call.outs[0].lo))
    doubt = jnp.broadcast_to(lax.ne(which.error, jnp.zeros((), which.error.dtype)), wide.shape)
    return [where(doubt, wide, jnp.zeros_like(wide) if narrow is None else narrow)]


@special("floor", "ceil", "round", "sign", "convert_element_type", "argmax", "argmin")
def _step(model: PairRules, call: Call) -> list[Any]:
    """What covers the low parts of operand and result."""
    if not is_inexact(dtype_of(call.thin[0].value)):
        return call.ask(model, call.thin)
    (error,), (out,) = call.ask(model, call.fat), call.outs
    if error is None or not isinstance(out, DD):
        return [error]
    return [where(equal(error, 0.0), 0.0, plus(error, lax.abs(out.lo)))]


@special("sort")
def _sort(model: PairRules, call: Call) -> list[Any]:
    """The first key moves by no more than errors; whether others do is decided with room for low parts."""
    if len(call.thin) == 1:
        return call.ask(model, call.thin)
    key, *others = call.ask(model, call.fat)
    if isinstance(call.outs[0], DD):
        key = call.ask(model, [call.thin[0], *call.fat[1:]])[0]
    lows = [lax.abs(x.lo) if isinstance(x, DD) else None for x in call.outs[1:]]
    return [key, *(e if e is None else plus(e, low) for e, low in zip(others, lows, strict=True))]
