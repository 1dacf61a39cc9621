"""Programs for many devices, as the program for one that they stand for.

A shard_map is a vmap over the axes of its mesh whose lanes are the devices: shards are cut from the arguments as the
specs say, JAX itself turns collectives between lanes into sums, maxima and moves along axes, and results are put
together again. So the judge relies on what JAX says of named axes under vmap, and on nothing in precjax. Of what the
specs promise to be the same on all devices, it takes the first device's.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core as jex

from precjax._judge.control_flow import control_flow
from precjax._judge.reduction import MAXIMUM, MINIMUM, SUM
from precjax._judge.table import rule

# What vmap leaves of a collective over its own axis.
for _names, _fold in {("psum",): SUM, ("pmax",): MAXIMUM, ("pmin",): MINIMUM}.items():
    rule(*_names)(lambda x, *, axes, fold=_fold, **params: fold.reduce(x, axis=tuple(axes)))


@control_flow("shard_map")
def shard_map(eqn, points, run):
    shapes = [jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype) for var in eqn.invars]
    return run(jax.make_jaxpr(lambda *arrays: _on_lanes(eqn.params, arrays))(*shapes), points)


def _on_lanes(params, arrays):
    sizes = {name: size for name, size in params["mesh"].shape.items() if name in params["newly_manual_axes"]}
    body = _untyped(params["jaxpr"])
    shards = [_split(x, spec, sizes) for x, spec in zip(arrays, params["in_specs"], strict=True)]
    for name in reversed(sizes):
        body = jax.vmap(body, in_axes=0, out_axes=0, axis_name=name, axis_size=sizes[name])
    results = body(*shards)
    return [_join(x, spec, sizes) for x, spec in zip(results, params["out_specs"], strict=True)]


def _parts(spec, rank):
    """The names of the axes along which each dimension is cut, the slowest first."""
    named = [part if isinstance(part, tuple) else () if part is None else (part,) for part in spec]
    return named + [()] * (rank - len(named))


def _split(x, spec, sizes):
    """An array with the axes of the mesh in front, each of them as long as it is, of the shards."""
    shape, where = [], {}
    for length, names in zip(x.shape, _parts(spec, x.ndim), strict=True):
        names = [name for name in names if name in sizes]
        where.update((name, len(shape) + i) for i, name in enumerate(names))
        shape += [sizes[name] for name in names]
        shape.append(length // int(np.prod([sizes[name] for name in names], dtype=int)))
    x = x.reshape(shape)
    front = [where[name] for name in sizes if name in where]
    x = jnp.transpose(x, front + [i for i in range(len(shape)) if i not in front])
    for i, name in enumerate(sizes):
        if name not in where:
            x = jnp.repeat(jnp.expand_dims(x, i), sizes[name], i)
    return x


def _join(x, spec, sizes):
    """The inverse of `_split`."""
    parts = _parts(spec, x.ndim - len(sizes))
    used = {name for names in parts for name in names if name in sizes}
    kept = [name for name in sizes if name in used]
    x = x[tuple(slice(None) if name in used else 0 for name in sizes)]
    order, shape = [], []
    for i, names in enumerate(parts):
        names = [name for name in names if name in sizes]
        order += [kept.index(name) for name in names] + [len(kept) + i]
        shape.append(int(np.prod([sizes[name] for name in names], dtype=int)) * x.shape[len(kept) + i])
    return jnp.transpose(x, order).reshape(shape)


def _untyped(jaxpr):
    """A function of a jaxpr without what only a shard_map with checked types has: casts, and sums named after them."""
    body = getattr(jaxpr, "jaxpr", jaxpr)

    def function(*arrays):
        known = dict(zip([*body.constvars, *body.invars], [*getattr(jaxpr, "consts", ()), *arrays], strict=True))
        read = lambda atom: np.asarray(atom.val, atom.aval.dtype) if isinstance(atom, jex.Literal) else known[atom]  # noqa: E731
        for eqn in body.eqns:
            known.update(zip(eqn.outvars, _apply(eqn, [read(atom) for atom in eqn.invars]), strict=True))
        return [read(atom) for atom in body.outvars]

    return function


def _apply(eqn, arrays):
    name, params = eqn.primitive.name, eqn.params
    if name == "pvary":
        return arrays
    if name == "psum_invariant":
        return [lax.psum(arrays[0], params["axes"])]
    if name == "all_gather_invariant":
        axis, tiled = params["all_gather_dimension"], params["tiled"]
        return [lax.all_gather(arrays[0], params["axis_name"], axis=axis, tiled=tiled)]
    if name in _MOVES:
        return [_MOVES[name](arrays[0], **params)]
    if name in _INNER:
        return _INNER[name](params, arrays)
    results = eqn.primitive.bind(*arrays, **params)
    return results if eqn.primitive.multiple_results else [results]


def _permuted(x, *, axis_name, perm, **params):
    """What vmap has for complete permutations only: a lane that receives nothing has 0."""
    source = np.full(lax.axis_size(axis_name), -1)
    source[[to for _, to in perm]] = [origin for origin, _ in perm]
    mine = jnp.asarray(source)[lax.axis_index(axis_name)]
    return jnp.where(mine >= 0, lax.all_gather(x, axis_name)[mine], jnp.zeros_like(x))


def _exchanged(x, *, axis_name, split_axis, concat_axis, tiled, **params):
    """What vmap has for pieces of length 1 only: each lane gets its piece of every other."""
    lanes = lax.axis_size(axis_name)
    pieces = jnp.stack(jnp.split(lax.all_gather(x, axis_name), lanes, 1 + split_axis))[lax.axis_index(axis_name)]
    if tiled:
        return jnp.concatenate(list(pieces), concat_axis)
    return jnp.stack([jnp.squeeze(piece, split_axis) for piece in pieces], concat_axis)


_MOVES = {"ppermute": _permuted, "all_to_all": _exchanged}


def _call(params, arrays):
    return _untyped(next(params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr", "call") if key in params))(*arrays)


def _scan(params, arrays):
    if "num_consts" in params:
        consts, carry = params["num_consts"], params["num_carry"]
    else:
        consts, carry, _ = map(len, params["ft_in"].unpack())
    body = _untyped(params["jaxpr"])

    def step(state, xs):
        results = body(*arrays[:consts], *state, *xs)
        return results[:carry], results[carry:]

    state, ys = lax.scan(
        step,
        list(arrays[consts : consts + carry]),
        list(arrays[consts + carry :]),
        length=params["length"],
        reverse=params["reverse"],
    )
    return [*state, *ys]


def _cond(params, arrays):
    branches = [_untyped(branch) for branch in params["branches"]]
    which = jnp.clip(jnp.asarray(arrays[0]).astype(jnp.int32), 0, len(branches) - 1)
    return lax.switch(which, branches, *arrays[1:])


def _while(params, arrays):
    consts = params["cond_nconsts"]
    state = consts + params["body_nconsts"]
    test, body = _untyped(params["cond_jaxpr"]), _untyped(params["body_jaxpr"])
    return lax.while_loop(
        lambda carry: test(*arrays[:consts], *carry)[0],
        lambda carry: body(*arrays[consts:state], *carry),
        list(arrays[state:]),
    )


_INNER = {
    **dict.fromkeys(
        ("jit", "pjit", "closed_call", "core_call", "call", "eval_jaxpr", "custom_jvp_call", "custom_vjp_call",
         "remat2", "checkpoint", "remat"), _call,
    ),
    "scan": _scan, "cond": _cond, "while": _while,
}  # fmt: skip
