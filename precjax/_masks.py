"""Masks: where(mask, x, constant), as an equation or as a function of its own, and exponentials that they leave alone.

Theorem: where(mask, x, c) made twice is one array. exp(y - m) is 0 where y is -inf, so for y = where(mask, x, -inf) the
array where(mask, exp(y - m), 0) is that exponential itself, unless m is -inf, too: then all of it is NaN.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from precjax import _jax_compat as compat
from precjax._annotated import Annotated

_CALLS = ("jit", "pjit")


class Masked(NamedTuple):
    """where(mask, kept, constant).

    Attributes:
        mask: the mask.
        kept: what is kept where the mask is True.
        constant: the number in all other places.
        layout: how mask and kept are laid out before.
    """

    mask: Annotated
    kept: Annotated
    constant: float
    layout: tuple[Any, ...]


def masked(x: Annotated) -> Masked | None:
    """Whether an array is where(mask, y, constant)."""
    if x.origin is None:
        return None
    eqn, operands = x.origin.eqn, x.origin.operands
    if eqn.primitive.name == "select_n":
        known = {v: o for v, o in zip(eqn.invars, operands, strict=True) if not compat.is_literal(v)}
        return _masked(eqn, known, {})
    if eqn.primitive.name not in _CALLS:
        return None
    body = compat.open_jaxpr(eqn.params["jaxpr"])
    made = {v: inner for inner in body.eqns for v in inner.outvars}
    select = made.get(body.outvars[x.origin.index])
    return select and _masked(select, dict(zip(body.invars, operands, strict=True)), made)


def _masked(select: Any, known: dict[Any, Annotated], made: dict[Any, Any]) -> Masked | None:
    """Whether an equation is that, given its inputs, and the equations that made other variables."""
    if select.primitive.name != "select_n" or len(select.invars) != 3:
        return None
    (mask, mask_layout), (fill, _), (kept, kept_layout) = (_source(v, made) for v in select.invars)
    if compat.is_literal(mask) or compat.is_literal(kept) or mask not in known or kept not in known:
        return None
    constant = _number(fill.val) if compat.is_literal(fill) else _constant(known.get(fill))
    return None if constant is None else Masked(known[mask], known[kept], constant, (mask_layout, kept_layout))


def _source(atom: Any, made: dict[Any, Any]) -> tuple[Any, tuple[Any, ...]]:
    """What was cast and broadcast to make an operand, and how."""
    steps: list[Any] = []
    while not compat.is_literal(atom) and atom in made:
        eqn = made[atom]
        if eqn.primitive.name not in ("broadcast_in_dim", "convert_element_type"):
            break
        dimensions = eqn.params.get("broadcast_dimensions", ())
        steps.append((eqn.primitive.name, tuple(map(int, dimensions)), atom.aval.shape, atom.aval.dtype))
        atom = eqn.invars[0]
    return atom, tuple(steps)


def _number(constant: Any) -> float | None:
    return float(constant) if np.isrealobj(constant) else None


def _constant(x: Annotated | None) -> float | None:
    return x.known.low if x is not None and x.known.low == x.known.high else None


def one_array(a: Annotated, b: Annotated) -> bool:
    """Whether both are the same array, perhaps with its largest error in one of them (`ErrorModel.sparing`)."""
    return a is b or (a.value is b.value and a.origin is b.origin)


def same(a: Annotated, b: Annotated) -> bool:
    """Whether two arrays are one, or the same one masked in the same way."""
    if one_array(a, b):
        return True
    x, y = masked(a), masked(b)
    return x is not None and y is not None and x.constant == y.constant and alike(x, y) and one_array(x.kept, y.kept)


def alike(x: Masked, y: Masked) -> bool:
    """Whether both have the same mask, laid out in the same way."""
    return one_array(x.mask, y.mask) and x.layout == y.layout


def before_mask(x: Annotated) -> Annotated | None:
    """The exponential of y - m, for a masked y, whose masked places are set to 0; None if x is nothing of the kind."""
    outer = masked(x)
    if outer is None or outer.constant != 0.0 or not _made_by(outer.kept, "exp"):
        return None
    exponent = outer.kept.origin.operands[0]
    inner = masked(exponent.origin.operands[0]) if _made_by(exponent, "sub") else None
    return outer.kept if inner is not None and inner.constant == -math.inf and alike(outer, inner) else None


def _made_by(x: Annotated, name: str) -> bool:
    return x.origin is not None and x.origin.eqn.primitive.name == name
