"""Reductions, scatters and windows on pairs: what their rules for float64 lack (see `_pair_rules`).

Theorem: as in `rules.reduction`, for products; scatter-adds lose besides what their slices leave out.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _jax_compat as compat
from precjax import doubledouble as dd
from precjax._annotated import Annotated
from precjax._ball import Ball
from precjax._rounding import dtype_of, is_inexact, less, maximum, plus, times, where
from precjax.doubledouble import DD
from precjax.doubledouble import _primitives as primitives
from precjax.doubledouble._indexing import scatter_cut
from precjax.doubledouble._pairs import FLOOR
from precjax.models._pair_rules import UNIT, Call, PairRules, pair_errors, special
from precjax.rules.reduction import folds


@special("reduce_prod", "cumprod", "reduce_window", "scatter-mul", "scatter_mul")
def _product(model: PairRules, call: Call) -> list[Any]:
    """prod(|x| + e) - prod |x|, in pairs: see `rules.reduction`. Doubtful indices leave nothing known."""
    out, terms = call.values[0], _factors(call.eqn)

    def product(size: Callable[[DD, Any], DD]) -> DD:
        sizes = [
            size(x, Ball(y, np.dtype(np.float64)).error) if isinstance(x, DD) else x
            for x, y in zip(call.pairs, call.thin, strict=True)
        ]
        return primitives.run(call.eqn, sizes)[0]

    def enlarged(x: DD, e: Any) -> DD:
        return dd.add(dd.abs(x), dd.from_float(jnp.broadcast_to(plus(e, FLOOR), x.hi.shape)))

    def at_least_one(x: DD, e: Any) -> DD:
        return dd.from_float(jnp.maximum(enlarged(x, e).hi, 1.0))

    largest, smallest = product(enlarged), product(lambda x, _: dd.abs(x))
    moved = maximum(dd.sub(largest, smallest).hi, 0.0)
    rounding = times(largest.hi, 4 * terms * UNIT)
    # A partial product that underflows may still be multiplied by everything larger than 1.
    lost = times(product(at_least_one).hi, 4 * terms * FLOOR)
    error = model.total(out, moved, rounding, lost, ulps=0, steps=2 * terms, flushed=2 * terms)
    doubts = [model.doubt(x) for x in call.thin if not is_inexact(dtype_of(x.value))]
    doubt = functools.reduce(lax.bitwise_or, [jnp.any(d) for d in doubts if d is not None], jnp.asarray(False))
    return [where(jnp.broadcast_to(doubt, out.shape), np.inf, error)]


def _factors(eqn: Any) -> int:
    """How many numbers are multiplied at most."""
    shape = eqn.invars[0].aval.shape
    if "window_dimensions" in eqn.params:
        return math.prod(eqn.params["window_dimensions"]) + 1
    if len(eqn.invars) == 3:
        return math.prod(eqn.invars[1].aval.shape[:-1]) + 1
    return shape[eqn.params["axis"]] if "axis" in eqn.params else math.prod(shape[i] for i in eqn.params["axes"])


@special("reduce")
def _several(model: PairRules, call: Call) -> list[Any]:
    """Each reduction by its own rule."""
    errors = []
    rows = zip(call.operands, call.pairs, call.outs, strict=False)  # the starts come last
    for name, (operand, value, out) in zip(folds(call.eqn.params["jaxpr"]), rows, strict=True):
        like = value.hi if isinstance(value, DD) else value
        single = jax.make_jaxpr(functools.partial(getattr(lax, name), axes=call.eqn.params["dimensions"]))(like)
        errors += pair_errors(model, compat.open_jaxpr(single).eqns[0], [operand], [out])
    return errors


@special("select_and_gather_add")
def _select_and_gather_add(model: PairRules, call: Call) -> list[Any]:
    """The winner's error; where the winner is in doubt, what covers the low parts as well."""
    sent, x = call.thin
    # Numbers that are all different are apart wherever more than one may win.
    places = jnp.reshape(jnp.arange(sent.value.size, dtype=np.float64), sent.value.shape)
    disputed = lax.bitwise_not(less(call.ask(model, [Annotated(places), call.fat[1]])[0], 0.5))
    (decided,) = call.ask(model, [sent, x._replace(error=None)])
    return [where(disputed, plus(call.ask(model, call.fat)[0], lax.abs(call.outs[0].lo)), decided)]


@special("scatter-add", "scatter-sub")
def _scatter_add(model: PairRules, call: Call) -> list[Any]:
    """And what the slices leave out of the updates."""
    return [plus(call.ask(model, call.thin)[0], _left_out(call.thin[2].value))]


@special("select_and_scatter_add")
def _select_and_scatter_add(model: PairRules, call: Call) -> list[Any]:
    """And what the slices leave out of the source."""
    return [plus(call.ask(model, call.thin)[0], _left_out(call.thin[0].value))]


def _left_out(terms: Any) -> Any:
    """Each term may lose 2**(1 - bits slices) of the largest."""
    cut = scatter_cut(terms.size)
    largest = jnp.max(where(lax.is_finite(terms), lax.abs(terms), 0.0), initial=0.0)
    return times(largest, 1.01 * terms.size * 2.0 ** (1 - cut.bits * cut.slices))
