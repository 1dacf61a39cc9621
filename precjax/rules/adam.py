"""Adam's quotient.

With m' = a g + b m, v' = c g**2 + d v, Adam divides r = (m' / k1) / (sqrt(v' / k2) + eps). As sqrt(v') >= sqrt(c) |g|
    and v >= 0,
    |r| <= (sqrt(k2) / k1) (a / sqrt(c)) + (b |m| / k1) / (sqrt(d v / k2) + eps),
whatever the gradient g is: at the first step, where m = 0, about 1. So a gradient that is all noise still moves a
parameter by no more than the learning rate, and the error of the step is finite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from precjax import _jax_compat as compat
from precjax import _patterns as patterns
from precjax._annotated import Annotated, Origin, constant
from precjax._ball import Ball
from precjax._facts import infer
from precjax._interpreter import apply
from precjax._rounding import format_of, maximum, minus, plus, ratio, times


class _Moment(NamedTuple):
    """weight term + decay old, all over divisor (None for 1)."""

    weight: float
    term: Annotated
    decay: float
    old: Annotated
    divisor: Annotated | None


def adam_bound(model: Any, operands: Sequence[Annotated], out: Any, dtype: Any, quotient: bool) -> Any:
    """The theorem above; None if the quotient is none of Adam's."""
    first, eps, second = _moment(operands[0]), *_root(operands[1])
    if first is None or second is None or patterns.squared(second.term) is not _unpowered(first.term):
        return None
    m, v = model.ball(first.old, dtype), model.ball(second.old, dtype)
    k1, k2 = (_divisor(model, x.divisor, dtype) for x in (first, second))
    gradient = ratio(times(lax.sqrt(k2.far), abs(first.weight) / math.sqrt(second.weight)), k1.near)
    lowest = maximum(minus(v.value, v.error) if v.error is not None else v.value, 0.0)
    root = lax.sqrt(ratio(times(lowest, second.decay), k2.far)) if second.decay else jnp.zeros((), dtype)
    momentum = ratio(
        ratio(times(plus(m.size, m.error), abs(first.decay)), k1.near), plus(times(root, 1 - 1e-5), eps * (1 - 1e-5))
    )
    # The formula rounds some dozens of times; the reciprocal of rounding is far from 1e-5.
    size = plus(times(plus(gradient, momentum), 1 + 1e-5), lax.abs(out).astype(dtype))
    return times(size, 1 + 8 * format_of(out.dtype).unit_roundoff)


def _divisor(model: Any, x: Annotated | None, dtype: Any) -> Ball:
    one = Annotated(jnp.ones((), dtype))
    return model.ball(one if x is None else _evaluated(model, x), dtype)


def _root(x: Annotated) -> tuple[float, _Moment | None]:
    """(eps, second moment) of sqrt(second moment) + eps."""
    x, eps = _without_offset(_inside(x))
    if not patterns.made_by(x, "sqrt"):
        return eps, None
    x, inner = _without_offset(_inside(x.origin.operands[0]))
    moment = _moment(x)
    positive = moment is not None and inner >= 0 and moment.weight > 0 and moment.decay >= 0 and eps > 0
    return eps, moment if positive else None


def _without_offset(x: Annotated) -> tuple[Annotated, float]:
    """x and c of x + c."""
    if patterns.made_by(x, "add"):
        a, b = x.origin.operands
        for kept, other in ((a, b), (b, a)):
            if other.known.low == other.known.high:
                return _inside(kept), other.known.low
    return x, 0.0


def _moment(x: Annotated) -> _Moment | None:
    x, divisor = _inside(x), None
    if patterns.made_by(x, "div") and x.origin.operands[1].value.shape == ():
        x, divisor = map(_inside, x.origin.operands)
    if not patterns.made_by(x, "add"):
        return None
    scaled = [_scaled(y) for y in x.origin.operands]
    if None in scaled:
        return None
    (a, new), (b, old) = scaled
    return _Moment(a, new, b, old, divisor)


def _scaled(x: Annotated) -> tuple[float, Annotated] | None:
    """(c, y) of c y."""
    x = _inside(x)
    if patterns.made_by(x, "mul"):
        a, b = x.origin.operands
        for factor, y in ((a, b), (b, a)):
            if factor.known.low == factor.known.high:
                return factor.known.low, y
    return None


def _unpowered(x: Annotated) -> Annotated:
    """optax raises the gradient to the power 1."""
    return x.origin.operands[0] if patterns.made_by(x, "integer_pow") and x.origin.eqn.params["y"] == 1 else x


def _inside(x: Annotated) -> Annotated:
    """What a jitted call computes, seen from outside: its equations on the operands of the call, without values."""
    while patterns.made_by(x, "jit", "pjit"):
        x = _symbolic(x.origin.eqn.params["jaxpr"], x.origin.operands)[x.origin.index]
    return x


def _symbolic(jaxpr: Any, operands: Sequence[Annotated]) -> list[Annotated]:
    body = compat.open_jaxpr(jaxpr)
    env = dict(zip(body.invars, operands, strict=True))
    env.update(zip(body.constvars, map(Annotated, compat.constants(jaxpr)), strict=True))

    def read(atom: Any) -> Annotated:
        return constant(atom.val) if compat.is_literal(atom) else env[atom]

    for eqn in body.eqns:
        inputs = tuple(map(read, eqn.invars))
        for i, var in enumerate(eqn.outvars):
            value = jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype)
            known = (
                infer(eqn, inputs, i, value) if eqn.primitive.name not in ("jit", "pjit") else Annotated(value).known
            )
            env[var] = Annotated(value, value, known, Origin(eqn, inputs, i))
    return [read(atom) for atom in body.outvars]


def _evaluated(model: Any, x: Annotated) -> Annotated:
    """A symbolic scalar as an array again: its equations once more."""
    if not isinstance(x.value, jax.ShapeDtypeStruct):
        return x
    operands = [_evaluated(model, y) for y in x.origin.operands]
    return apply(model, x.origin.eqn, operands)[x.origin.index]
