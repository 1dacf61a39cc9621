"""Equations that carry jaxprs: calls, branches, loops, folds. Branches are chosen and loops ended by exact values."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.sparse import bcoo

from precjax import _jax_compat as compat
from precjax._judge.point import Point
from precjax._judge.window import windows

# name -> rule(eqn, points, run) -> points, where run(jaxpr, points) evaluates an inner jaxpr.
CONTROL_FLOW = {}


def control_flow(*names):
    def register(function):
        CONTROL_FLOW.update(dict.fromkeys(names, function))
        return function

    return register


@control_flow(
    "jit", "pjit", "closed_call", "core_call", "call", "eval_jaxpr", "custom_jvp_call", "custom_vjp_call",
    "custom_vjp_call_jaxpr", "custom_vmap_call", "remat2", "checkpoint", "remat", "composite", "xla_metadata_call",
)  # fmt: skip
def call(eqn, points, run):
    jaxpr = next(eqn.params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr", "call") if key in eqn.params)
    return run(jaxpr, points)


@control_flow("call_hi_primitive")
def call_hi_primitive(eqn, points, run):
    """Primitives that newer JAX defines by their expansion."""
    inner = eqn.params["_prim"]
    avals = [var.aval for var in eqn.invars]
    return run(jax.make_jaxpr(lambda *operands: eqn.primitive.to_lojax(*operands, _prim=inner))(*avals), points)


@control_flow(
    "bcoo_dot_general", "bcoo_dot_general_sampled", "bcoo_todense", "bcoo_fromdense", "bcoo_extract", "bcoo_transpose",
    "bcoo_sort_indices", "bcoo_sum_duplicates",
)  # fmt: skip
def sparse(eqn, points, run):
    """As JAX defines it; coordinates are integers."""
    body = getattr(bcoo, f"_{eqn.primitive.name}_impl")
    return run(
        jax.make_jaxpr(lambda *operands: body(*operands, **eqn.params))(*(var.aval for var in eqn.invars)), points
    )


@control_flow("pallas_call")
def kernel(eqn, points, run):
    """A kernel that JAX interprets: the loop over its grid that it lowers to."""
    return run(compat.interpreted_kernel(eqn), points)


@control_flow("custom_linear_solve")
def custom_linear_solve(eqn, points, run):
    """Solved as the program does it, by its own jaxpr `solve`."""
    counts, jaxprs = eqn.params["const_lengths"], eqn.params["jaxprs"]
    before = counts.matvec + counts.vecmat
    return run(jaxprs.solve, [*points[before : before + counts.solve], *points[sum(counts) :]])


@control_flow("cond")
def cond(eqn, points, run):
    branches = eqn.params["branches"]
    return run(branches[min(max(int(points[0].exact), 0), len(branches) - 1)], points[1:])


@control_flow("while")
def while_(eqn, points, run):
    split = eqn.params["cond_nconsts"], eqn.params["cond_nconsts"] + eqn.params["body_nconsts"]
    cond_consts, body_consts, carry = points[: split[0]], points[split[0] : split[1]], points[split[1] :]
    while True:
        going = run(eqn.params["cond_jaxpr"], [*cond_consts, *carry])[0].exact
        if not np.any(going):
            return carry
        stepped = run(eqn.params["body_jaxpr"], [*body_consts, *carry])
        # vmap of a loop has one condition per lane; a lane that is done keeps its state
        carry = [
            new.zip(old, lambda a, b, going=going: _per_lane(going, a, b))
            for new, old in zip(stepped, carry, strict=True)
        ]


def _per_lane(going, new, old):
    if going.ndim == 0:
        return new
    return np.where(going.reshape(going.shape + (1,) * (new.ndim - going.ndim)), new, old)


@control_flow("scan")
def scan(eqn, points, run):
    consts, carry, xs = _scan_operands(eqn.params, points)
    length = eqn.params["length"]
    rows = []
    for i in reversed(range(length)) if eqn.params["reverse"] else range(length):
        results = run(eqn.params["jaxpr"], [*consts, *carry, *(x.map(lambda a, i=i: a[i, ...]) for x in xs)])
        carry = results[: len(carry)]
        rows.append(results[len(carry) :])
    if not rows:
        return [*carry, *(_empty(var.aval) for var in eqn.outvars[len(carry) :])]
    if eqn.params["reverse"]:
        rows.reverse()
    return [*carry, *map(Point.stack, zip(*rows, strict=True))]


def _scan_operands(params, points):
    if "num_consts" in params:
        consts, carry = params["num_consts"], params["num_carry"]
    else:  # newer JAX groups the operands in a tree in place of counting them
        consts, carry, _ = map(len, params["ft_in"].unpack())
    return points[:consts], points[consts : consts + carry], points[consts + carry :]


def _empty(aval):
    dtype = object if jnp.issubdtype(aval.dtype, jnp.inexact) else aval.dtype
    return Point(np.empty(aval.shape, dtype), np.empty(aval.shape, aval.dtype))


@control_flow("reduce")
def reduce(eqn, points, run):
    operands, initials = _halves(points)
    axes = eqn.params["dimensions"]
    rows = [_flatten_last(operand.exact, axes) for operand in operands]
    return _fold(eqn, rows, initials, run)


@control_flow("reduce_window")
def reduce_window(eqn, points, run):
    operands, initials = _halves(points)
    rows = [windows(x.exact, init.exact, **eqn.params) for x, init in zip(operands, initials, strict=True)]
    return _fold(eqn, rows, initials, run)


def _halves(points):
    return points[: len(points) // 2], points[len(points) // 2 :]


def _flatten_last(x, axes):
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    return np.transpose(x, [*kept, *axes]).reshape([*(x.shape[axis] for axis in kept), -1])


def _fold(eqn, rows, initials, run):
    """Fold the last axis of all operands together, one element after the other, by the equation's jaxpr."""
    results = [np.empty(row.shape[:-1], row.dtype) for row in rows]
    for place in np.ndindex(results[0].shape):
        state = list(initials)
        for elements in zip(*(row[place] for row in rows), strict=True):
            state = run(eqn.params["jaxpr"], [*state, *map(Point.scalar, elements)])
        for result, final in zip(results, state, strict=True):
            result[place] = final.exact[()]
    return [Point(result) for result in results]
