"""The same program without calls: what jitted functions, custom derivatives and short scans do, in place.

A function with a derivative rule of its own becomes its body, the rule is dropped: what the program computes is the
body's real function, whatever its author wants `grad` to see in its place.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from precjax import _jax_compat as compat

CALLS = frozenset({
    "jit", "pjit", "closed_call", "core_call", "call", "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr",
})  # fmt: skip
_INLINED = CALLS | {"eval_jaxpr", "remat2", "remat", "checkpoint"}


def walk(jaxpr: Any, args: Sequence[Any], visit: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
    """Visits every equation in turn; what is carried is up to the visitor.

    Args:
        jaxpr: a jaxpr, closed or open (then without constants).
        args: one of whatever is carried per input.
        visit: ``visit(eqn, operands) -> results``; literals and constants come as they are.

    Returns:
        What is carried for every output.
    """
    body = compat.open_jaxpr(jaxpr)
    env = dict(zip([*body.constvars, *body.invars], [*compat.constants(jaxpr), *args], strict=True))
    read = lambda atom: atom.val if compat.is_literal(atom) else env[atom]  # noqa: E731
    for eqn in body.eqns:
        with compat.source_context(eqn):
            env.update(zip(eqn.outvars, visit(eqn, list(map(read, eqn.invars))), strict=True))
    return list(map(read, body.outvars))


def inlined(closed: Any, turns: int) -> Any:
    """A closed jaxpr of the same function.

    Args:
        closed: any closed jaxpr.
        turns: scans of at most so many turns are unrolled.

    Returns:
        One without calls; branches, other loops and solvers stay.
    """
    return jax.make_jaxpr(lambda *args: _evaluate(closed, args, turns))(*closed.in_avals)


def _evaluate(closed: Any, args: Sequence[Any], turns: int) -> list[Any]:
    return walk(compat.without_refs(closed), args, functools.partial(_run, turns))


def _run(turns: int, eqn: Any, operands: list[Any]) -> list[Any]:
    name = eqn.primitive.name
    if name == "convert_element_type" and not isinstance(operands[0], jax.core.Tracer):
        operands = [_unfolded(eqn, operands[0])]
    if name in _INLINED:
        return _evaluate(compat.call_jaxpr(eqn), operands, turns)
    if name == "scan" and eqn.params["length"] <= turns:
        return _unrolled(eqn, operands, turns)
    return compat.bind(eqn, operands)


def _unfolded(eqn: Any, number: Any) -> Any:
    """A constant that JAX does not see: it would cast it, while tracing, and nobody would see what that rounds."""
    return compat.primitive("copy").bind(jnp.asarray(number, eqn.invars[0].aval.dtype))


def _unrolled(eqn: Any, operands: list[Any], turns: int) -> list[Any]:
    """One turn after the other."""
    consts_count, carry_count = compat.scan_counts(eqn.params)
    length, body = eqn.params["length"], eqn.params["jaxpr"]
    consts, carry = operands[:consts_count], operands[consts_count : consts_count + carry_count]
    scanned = operands[consts_count + carry_count :]
    rows: list[Any] = [None] * length
    for i in range(length)[:: -1 if eqn.params["reverse"] else 1]:
        results = _evaluate(body, [*consts, *carry, *(x[i] for x in scanned)], turns)
        carry, rows[i] = results[:carry_count], results[carry_count:]
    if not length:
        return [*carry, *(jnp.zeros(v.aval.shape, v.aval.dtype) for v in eqn.outvars[carry_count:])]
    return [*carry, *(jnp.stack(ys) for ys in zip(*rows, strict=True))]
