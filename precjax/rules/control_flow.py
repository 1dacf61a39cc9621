"""Equations that carry jaxprs (loops: see `loops.py`), for every model of error.

Each is rebuilt from the transformed inner jaxpr through JAX's public function, so that the structure of the program
survives: a jit stays a jit, a scan a scan, and the derivative rule of a user's custom function is still the one that
    `grad` uses.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _jax_compat as compat
from precjax._annotated import Annotated, Coarse, Known
from precjax._binding import graft
from precjax._devices import agreed, placed
from precjax._interpreter import apply, control, flatten, interpret, run, signature, transform, unflatten
from precjax._library import recognized
from precjax._places import line_of
from precjax._registry import MissingRuleError
from precjax._rounding import dtype_of, is_constant, is_inexact


@control("jit", "pjit", coarse=True)
def jit(model: Any, eqn: Any, operands: list[Annotated]) -> list[Annotated]:
    """One jitted function per jaxpr and signature: a block called 24 times is transformed, traced and lowered once."""
    params = eqn.params
    operands = placed(compact(model, operands), params["in_shardings"])
    results = run(transform(model, params["jaxpr"], operands, params["name"], params["inline"]), operands)
    return placed(_judged(model, eqn, operands, results), params["out_shardings"])


def compact(model: Any, operands: Sequence[Annotated]) -> list[Annotated]:
    """One error for all numbers stays that; what an inner jaxpr sees of an array decides what it is made for."""
    one = lambda x: isinstance(x.error, Coarse) and x.error.error.size == 1  # noqa: E731
    return [x if one(x) else model.spread(x) for x in operands]


@control("closed_call", "core_call", "call", "eval_jaxpr", "composite", "xla_metadata_call", "compute_on", "fused_call")
def call(model: Any, eqn: Any, operands: list[Annotated]) -> list[Annotated]:
    """Interpreted in place."""
    return interpret(model, compat.call_jaxpr(eqn), operands)


@control(
    "bcoo_dot_general", "bcoo_dot_general_sampled", "bcoo_spdot_general", "bcoo_extract", "bcoo_fromdense",
    "bcoo_sort_indices", "bcoo_sum_duplicates", "bcoo_todense", "bcoo_transpose", "bcsr_dot_general", "bcsr_extract",
    "bcsr_fromdense", "bcsr_todense", "coo_matmat", "coo_matvec", "coo_fromdense", "coo_todense", "csr_matmat",
    "csr_matvec", "csr_fromdense", "csr_todense",
)  # fmt: skip
def sparse(model: Any, eqn: Any, operands: list[Annotated]) -> list[Annotated]:
    """Sparse arrays are gathers, products and scatters of their elements, as JAX defines them."""
    return interpret(model, compat.defined(eqn), operands)


@control("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr", "custom_vmap_call")
def custom_derivative(model: Any, eqn: Any, operands: list[Annotated]) -> list[Annotated]:
    """Forward, the function's own jaxpr; under `grad` the original call supplies its rule; otherwise it is dead."""
    results = interpret(model, compat.call_jaxpr(eqn), operands)
    return _with_derivative_of(model, eqn, operands, _judged(model, eqn, operands, results))


def _judged(model: Any, eqn: Any, operands: list[Annotated], results: list[Annotated]) -> list[Annotated]:
    """What a theorem on the whole says of a call of a library function."""
    name = recognized(eqn)
    if name is None:
        return results
    return model.judged(name, {"jaxpr": compat.call_jaxpr(eqn), "steps": results}, operands, results)


def _with_derivative_of(
    model: Any, eqn: Any, operands: Sequence[Annotated], results: list[Annotated]
) -> list[Annotated]:
    if compat.effects(eqn) or not model.differentiable:
        return results
    originals = compat.bind(eqn, [x.value for x in operands])
    return [
        x._replace(value=graft(x.value, original)) if is_inexact(dtype_of(original)) else x
        for x, original in zip(results, originals, strict=True)
    ]


@control("call_hi_primitive")
def high_level(model: Any, eqn: Any, operands: list[Annotated]) -> list[Annotated]:
    """A hijax primitive: what it lowers to."""
    closed = compat.expand_high_level(eqn, [v.aval for v in eqn.invars])
    return _with_derivative_of(model, eqn, operands, interpret(model, closed, operands))


@control("pallas_call")
def kernel(model: Any, eqn: Any, operands: list[Annotated]) -> list[Annotated]:
    """With interpret=True the loop over its grid that JAX runs; a compiled kernel has no rule."""
    program = compat.interpreted_kernel(eqn)
    if program is None:
        return [Annotated(value, error) for value, error in model.apply(eqn, operands)]
    return _with_derivative_of(model, eqn, operands, interpret(model, program, operands))


@control("run_state")
def run_state(model: Any, eqn: Any, operands: list[Annotated]) -> list[Annotated]:
    """A function of refs, interpreted in place as one of their values."""
    if not all(eqn.params["is_initialized"]):
        raise MissingRuleError(f"run_state at {line_of(eqn)}: a ref without a first value holds anything")
    return interpret(model, compat.discharged(eqn.params["jaxpr"]), operands)


@control("remat2", "remat", "checkpoint", coarse=True)
def remat(model: Any, eqn: Any, operands: list[Annotated]) -> list[Annotated]:
    """Still rematerialised, value and error."""
    operands = compact(model, operands)
    transformed = transform(model, eqn.params["jaxpr"], operands)
    leaves = compat.rematerialize(eqn, transformed.jaxpr, flatten(operands))
    return unflatten(transformed.outputs, leaves)


@control("custom_linear_solve")
def custom_linear_solve(model: Any, eqn: Any, operands: list[Annotated]) -> list[Annotated]:
    """The solver's own steps, whose results the model may judge by the system; the derivative of the original."""
    solver = eqn.params["jaxprs"].solve
    lengths = eqn.params["const_lengths"]
    start = lengths.matvec + lengths.vecmat
    consts = operands[start : start + lengths.solve]
    right = operands[sum(lengths) :]
    results = interpret(model, solver, [*consts, *right])
    results = model.judged(eqn.primitive.name, eqn.params, operands, results)
    return _with_derivative_of(model, eqn, operands, results)


@control("cond", coarse=True)
def cond(model: Any, eqn: Any, operands: list[Annotated]) -> list[Annotated]:
    """A switch; where its index is in doubt, one more branch runs all of them and covers every outcome."""
    branches, platforms = eqn.params["branches"], eqn.params.get("branches_platforms")
    handed_on = None if platforms else _handed_on(model, branches, operands)
    if handed_on is not None:
        return handed_on
    index, *rest = map(model.spread, operands)
    transformed = [transform(model, b, rest) for b in branches]
    outputs = [_joined([t.outputs[i] for t in transformed]) for i in range(len(eqn.outvars))]
    branches = [_branch(model, t, outputs) for t in transformed]
    if platforms is not None:
        return unflatten(outputs, compat.platform_switch(platforms, branches, *flatten(rest)))
    doubt = model.doubt(index)
    doubt = None if doubt is None else agreed(doubt, eqn.params["branches"])
    which = lax.convert_element_type(index.value, jnp.int32)
    which = lax.clamp(np.int32(0), which, np.int32(len(branches) - 1))
    if doubt is None:
        return unflatten(outputs, lax.switch(which, branches, *flatten(rest)))

    def undecided(*leaves: Any) -> list[Any]:
        chosen, *leaves = leaves
        cases = [unflatten(outputs, branch(*leaves)) for branch in branches]
        picked = index._replace(value=chosen, origin=None)
        return flatten([_choose(model, picked, list(case)) for case in zip(*cases, strict=True)])

    outputs = _dense(model, outputs, [v.aval for v in eqn.outvars])
    branches = [_branch(model, t, outputs) for t in transformed]
    all_branches = [lambda chosen, *leaves, b=b: b(*leaves) for b in branches]
    which_branch = lax.select(doubt, jnp.full_like(which, len(branches)), which)
    return unflatten(outputs, lax.switch(which_branch, [*all_branches, undecided], which, *flatten(rest)))


def _handed_on(model: Any, branches: Sequence[Any], operands: Sequence[Annotated]) -> list[Annotated] | None:
    """The results where branches only hand on what they are given, with errors of one kind; else None."""
    bodies = list(map(compat.open_jaxpr, branches))
    results = [x for body in bodies for x in body.outvars]
    if any(body.eqns or body.constvars for body in bodies) or any(map(compat.is_literal, results)):
        return None
    index, *rest = compact(model, operands)
    if index.error is not None or any(is_constant(x.value) for x in operands):
        return None
    given = [dict(zip(body.invars, rest, strict=True)) for body in bodies]
    cases = [[g[v] for v in body.outvars] for g, body in zip(given, bodies, strict=True)]
    signatures = [list(map(signature, case)) for case in zip(*cases, strict=True)]
    if any(len({s.structure for s in of_result}) > 1 for of_result in signatures):
        return None
    chosen = lax.switch(index.value, [lambda case=case: flatten(case) for case in cases])
    return unflatten(
        [s[0]._replace(known=functools.reduce(Known.join, (x.known for x in s))) for s in signatures], chosen
    )


def _joined(cases: Sequence[Any]) -> Any:
    """The signature that covers those of several branches: annotated if any is."""
    first = cases[0]
    for other in cases[1:]:
        structure = max(first.structure, other.structure, key=lambda s: s.num_leaves)
        first = first._replace(structure=structure, known=first.known.join(other.known))
    return first._replace(known=first.known._replace(settled=False)) if first.structure.num_leaves else first


def _branch(model: Any, transformed: Any, outputs: Sequence[Any]) -> Any:
    function = compat.as_function(transformed.jaxpr)

    def branch(*leaves: Any) -> list[Any]:
        results = unflatten(transformed.outputs, function(*leaves))
        return flatten([like(model, x, s) for x, s in zip(results, outputs, strict=True)])

    return branch


def like(model: Any, x: Annotated, wanted: Any) -> Annotated:
    """The array with an annotation of the signature's structure, which lacks nothing but what may be forgotten."""
    if signature(x).structure == wanted.structure:
        return x
    x = model.explicit(x)
    return x if signature(x).structure == wanted.structure else x._replace(norm=None)


def _dense(model: Any, outputs: Sequence[Any], avals: Sequence[Any]) -> list[Any]:
    """The same signatures, all annotated."""
    return [
        s if s.structure.num_leaves else s._replace(structure=jax.tree.structure(_abstract(model, aval)), known=Known())
        for s, aval in zip(outputs, avals, strict=True)
    ]


def _abstract(model: Any, aval: Any) -> Any:
    value = jax.ShapeDtypeStruct(aval.shape, aval.dtype)
    return jax.eval_shape(lambda v: model.explicit(Annotated(v)).annotation, value)


def _choose(model: Any, index: Annotated, cases: list[Annotated]) -> Annotated:
    """select_n, by the model's own rule."""
    which = index._replace(value=index.value.astype(bool)) if len(cases) == 2 else index
    eqn = jax.make_jaxpr(lax.select_n)(which.value, *(x.value for x in cases)).eqns[0]
    (result,) = apply(model, eqn, [which, *cases])
    return model.explicit(result)
