"""Loops, for every model of error: a scan stays a scan, a while loop a while loop, over values and annotations."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _jax_compat as compat
from precjax import platforms
from precjax._annotated import Annotated, Coarse
from precjax._interpreter import control, flatten, interpret, run, signature, transform, unflatten
from precjax._rerolled import PRODUCTS, within
from precjax._rounding import enlarged, is_inexact, is_plain
from precjax.rules.control_flow import compact, like


def _loop_invariant(
    model: Any, body: Any, before: list[Annotated], carry: list[Annotated], after: list[Annotated], turns: int
) -> Any:
    """Transforms a loop body with a carry whose signature it keeps: a fixed point.

    An exact carry may be inexact after one turn, and a range may widen. What products of matrices go into is taken for
    inexact from the start: mostly the only way a body need be transformed twice. Where XLA merges constants, it may
    merge those of all turns, which the program may have written out.

    Returns:
        The transformed body and the annotated carry to start with.
    """
    carry = [
        (model.explicit(x) if rounded else x)._replace(origin=None)
        for x, rounded in zip(carry, _of_products(body, len(carry)), strict=True)
    ]
    carry = [x._replace(known=x.known._replace(settled=x.error is None, fixed=False)) for x in carry]
    for turn in itertools.count():
        before_turn = [signature(x) for x in carry]
        transformed = transform(model, body, [*before, *carry, *after])
        following = transformed.outputs[: len(carry)]
        if turn == 0 and platforms.current().merges:
            carry = [_added_to(x, s, turns) for x, s in zip(carry, following, strict=True)]
        carry = [_widened(model, x, s) for x, s in zip(carry, following, strict=True)]
        if [signature(x) for x in carry] == before_turn:
            return transformed, carry


def _added_to(x: Annotated, following: Any, turns: int) -> Annotated:
    return x._replace(known=x.known.after_turns(following.known, turns))


def _of_products(body: Any, count: int) -> list[bool]:
    """Which of the first results are floating-point numbers that products of matrices go into."""
    made: set[Any] = set()
    for eqn in compat.open_jaxpr(body).eqns:
        product = any(inner.primitive.name in PRODUCTS for inner in within(eqn))
        if product or any(not compat.is_literal(atom) and atom in made for atom in eqn.invars):
            made.update(var for var in eqn.outvars if is_inexact(var.aval.dtype))
    return [not compat.is_literal(atom) and atom in made for atom in compat.open_jaxpr(body).outvars[:count]]


def _widened(model: Any, x: Annotated, following: Any) -> Annotated:
    known = x.known.widen(following.known)
    if x.error is None and following.structure.num_leaves:
        x = model.explicit(x)
    return x._replace(known=known._replace(settled=x.error is None))


def _carried(model: Any, results: list[Annotated], carry: list[Annotated]) -> list[Annotated]:
    """The new carry with annotations where the old one has them."""
    return [like(model, r, signature(c)) for r, c in zip(results, carry, strict=True)]


@control("scan", coarse=True)
def scan(model: Any, eqn: Any, operands: list[Annotated]) -> list[Annotated]:
    """A scan over values and annotations."""
    params = eqn.params
    consts_count, carry_count = compat.scan_counts(params)
    consts, rest = compact(model, operands[:consts_count]), operands[consts_count:]
    carry = list(map(model.spread, rest[:carry_count]))
    xs = [_scanned(x if x.value.ndim > 1 else x._replace(norm=None)) for x in rest[carry_count:]]
    slices = [_slice(x) for x in xs]
    transformed, carry = _loop_invariant(model, params["jaxpr"], consts, carry, slices, params["length"])
    kept, made = [signature(x) for x in carry], []
    slice_signatures = [signature(x) for x in slices]

    def body(state: list[Any], leaves: list[Any]) -> Any:
        turned = map(model.unpacked, unflatten(kept, state) + unflatten(slice_signatures, leaves))
        results = run(transformed, [*consts, *turned])
        stacked = [model.packed(model.stacked(x)) for x in results[carry_count:]]
        made[:] = map(signature, stacked)
        return flatten(list(map(model.packed, _carried(model, results[:carry_count], carry)))), flatten(stacked)

    state, leaves = flatten(list(map(model.packed, carry))), flatten([model.packed(x, 1) for x in xs])
    state, ys = lax.scan(
        body, state, leaves, length=params["length"], reverse=params["reverse"], unroll=params["unroll"]
    )
    return list(map(model.unpacked, unflatten(kept, state))) + [model.unpacked(y, 1) for y in unflatten(made, ys)]


def _scanned(x: Annotated) -> Annotated:
    """With a coarse error for each turn."""
    if not isinstance(x.error, Coarse):
        return x
    error = x.error.error
    return x._replace(error=Coarse(jnp.broadcast_to(error, (len(x.value), *error.shape[1:]))))


def _slice(x: Annotated) -> Annotated:
    """What the body sees of a scanned array; only shapes and signature matter."""
    first = lambda v: jnp.empty(v.shape[1:], v.dtype) if is_plain(v) else v[0]  # noqa: E731
    return Annotated(first(x.value), jax.tree.map(first, x.error), x.known, norm=jax.tree.map(first, x.norm))


@control("while")
def while_(model: Any, eqn: Any, operands: list[Annotated]) -> list[Annotated]:
    """A while loop whose test rides in the carry; once a test is in doubt, nothing is known of the results.

    The test may be batched (vmap of while): the loop then runs while any is true, and finished lanes keep what they
    have.
    """
    params = eqn.params
    split = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    test_consts, body_consts, carry = operands[: split[0]], operands[split[0] : split[1]], operands[split[1] :]
    transformed, carry = _loop_invariant(model, params["body_jaxpr"], body_consts, carry, [], 1)
    kept = [signature(x) for x in carry]

    def tested(state: list[Any]) -> list[Any]:
        """[the test] or [the test, its doubt]."""
        (result,) = interpret(model, params["cond_jaxpr"], [*test_consts, *unflatten(kept, state)])
        doubt = model.doubt(result)
        return [result.value] if doubt is None else [result.value, doubt]

    def body(loop: Any) -> Any:
        state, test, *doubted = loop
        results = run(transformed, [*body_consts, *unflatten(kept, state)])
        following = flatten(_carried(model, results, carry))
        if test.ndim:
            following = [_lanes(test, new, old) for new, old in zip(following, state, strict=True)]
        again, *doubt = tested(following)
        doubted = [lax.bitwise_or(a, b) for a, b in zip(doubted, doubt, strict=True)]
        return following, lax.bitwise_and(again, test), *doubted

    state, _, *doubted = lax.while_loop(lambda loop: jnp.any(loop[1]), body, (flatten(carry), *tested(flatten(carry))))
    results = unflatten(kept, state)
    return [model.forget(x, doubted[0]) for x in results] if doubted else results


def _lanes(test: Any, new: Any, old: Any) -> Any:
    """What is new where the test holds; of two norms over lanes that go on and lanes that do not, the sum."""
    if np.shape(new)[: test.ndim] != test.shape:
        return enlarged(lax.add(new, old), 1, new.dtype)
    condition = lax.broadcast_in_dim(test, np.shape(new), tuple(range(test.ndim)))
    return lax.select(condition, new, old)
