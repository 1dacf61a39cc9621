"""The only file that knows which JAX this is.

Everything here is either a name that moved between JAX 0.10 and 0.12, or a piece of JAX that has no public spelling.
"""

from __future__ import annotations

import contextlib
import functools
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jaxlib
from jax import lax
from jax._src import core as private_core
from jax._src import source_info_util as private_source_info
from jax._src.lax import parallel as private_parallel
from jax._src.state import discharge
from jax.extend import core as jex
from jax.extend import source_info_util
from jax.extend.core import primitives


def jaxlib_before(version: str) -> bool:
    """Whether the installed jaxlib is older than a version such as "0.12"."""
    wanted = tuple(map(int, version.split(".")))
    return tuple(int(part) for part in jaxlib.__version__.split(".")[: len(wanted)]) < wanted


def open_jaxpr(jaxpr: Any) -> Any:
    """The jaxpr without its constants (JAX 0.12 merged Jaxpr and ClosedJaxpr)."""
    return getattr(jaxpr, "jaxpr", jaxpr)


def constants(jaxpr: Any) -> list[Any]:
    """The constants that a closed jaxpr carries."""
    return list(getattr(jaxpr, "consts", ()) or ())


def hoisted(jaxpr: Any) -> tuple[Any, list[Any]]:
    """The jaxpr with its constants as leading inputs, and the constants."""
    body = open_jaxpr(jaxpr)
    return body.replace(constvars=[], invars=[*body.constvars, *body.invars]), constants(jaxpr)


_MAKING_REFS = ("new_ref", "empty_ref")


def without_refs(jaxpr: Any) -> Any:
    """The jaxpr with every mutable array that it makes turned into values, handed from equation to equation.

    JAX lowers programs with refs in this way. Inner jaxprs that were given a ref take its value and return the new one;
    those that make refs of their own are left to whoever opens them.
    """
    body = open_jaxpr(jaxpr)
    if not any(eqn.primitive.name in _MAKING_REFS for eqn in body.eqns):
        return jaxpr
    return discharged(body, constants(jaxpr))


def discharged(jaxpr: Any, consts: Sequence[Any] = ()) -> Any:
    """The jaxpr as a function of the values of its refs, which returns their last values after its results."""
    return discharge.discharge_state(jex.ClosedJaxpr(jaxpr, consts))


def without_first(jaxpr: Any, name: str) -> Any:
    """The jaxpr as a function of the results of its first equation, the only one that reads its input; else None."""
    body = open_jaxpr(jaxpr)
    first, *rest = body.eqns
    if first.primitive.name != name or body.constvars or any(v in e.invars for e in rest for v in body.invars):
        return None
    return body.replace(eqns=rest, invars=list(first.outvars))


def is_literal(atom: Any) -> bool:
    """Whether an operand of an equation is a constant written into it."""
    return isinstance(atom, jex.Literal)


def as_function(jaxpr: Any) -> Callable[..., list[Any]]:
    """The function of flat arguments that a closed jaxpr describes."""
    return jex.jaxpr_as_fun(jaxpr)


def primitive(name: str) -> Any:
    """A primitive by the name of its object, None in a JAX that lacks it (some collectives have no public place)."""
    places = (primitives, lax, private_parallel)
    return next((found for place in places if (found := getattr(place, f"{name}_p", None)) is not None), None)


def scan_counts(params: dict[str, Any]) -> tuple[int, int]:
    """How many constants and carries a scan equation has."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, *_ = params["ft_in"].unpack()
    return len(consts), len(carry)


def varying(x: Any) -> frozenset[Any]:
    """The axes of devices along which the type of an array lets it vary, inside of a shard_map that checks that."""
    return jax.typeof(x).manual_axis_type.varying


def unreduced(aval: Any) -> bool:
    """Whether an array is a sum over devices that has yet to be taken."""
    sharding = getattr(aval, "sharding", None)
    kind = getattr(aval, "manual_axis_type", None)
    return bool(getattr(getattr(sharding, "spec", None), "unreduced", None) or getattr(kind, "unreduced", None))


def reduced(sharding: Any) -> Any:
    """The sharding of the sum that an array of this sharding has yet to be; others as they are."""
    spec = getattr(sharding, "spec", None)
    if not getattr(spec, "unreduced", None):
        return sharding
    return sharding.update(spec=jax.sharding.PartitionSpec(*spec.partitions))


def dtypes(eqn: Any) -> list[Any]:
    """The dtypes of the operands and results of an equation that have one."""
    avals = [v.aval for v in (*eqn.invars, *eqn.outvars)]
    return [aval.dtype for aval in avals if hasattr(aval, "dtype")]


def device_axes() -> Any:
    """The named axes and the mesh in whose context the program is traced; hashable."""
    return tuple(private_core.get_axis_env().axis_sizes.items()), jax.sharding.get_abstract_mesh()


def effects(eqn: Any) -> set[Any]:
    """What an equation does besides computing; that it names an axis of devices is no such thing."""
    return {effect for effect in eqn.effects if not isinstance(effect, private_core.NamedAxisEffect)}


def untyped(eqn: Any) -> Any:
    """The equation as it is in a shard_map that does not check along which axes arrays vary."""
    groups = {"axis_index_groups": None}
    if eqn.primitive.name == "psum_invariant":
        return eqn.replace(primitive=lax.psum_p, params={**eqn.params, **groups})
    if eqn.primitive.name == "all_gather_invariant":
        return eqn.replace(primitive=lax.all_gather_p, params={**eqn.params, **groups})
    return eqn.replace(primitive=lax.copy_p, params={}) if eqn.primitive.name == "pvary" else eqn


def is_axis(name: Any) -> bool:
    """Whether an axis of devices, or of a vmap, has this name where the program is traced."""
    return private_core.get_axis_env().axis_exists(name)


def explicit_sharding(x: Any) -> Any:
    """The sharding in the type of an array on a mesh with explicit axes; None on others."""
    sharding = jax.typeof(x).sharding
    return sharding if sharding.mesh._any_axis_explicit else None


def sharded_alike(*arrays: Any) -> tuple[Any, ...]:
    """Arrays of one shape, on a mesh with explicit axes with the sharding of the one that is cut most."""
    shardings = [found for x in arrays if (found := explicit_sharding(x)) is not None]
    if not shardings:
        return arrays
    most = max(shardings, key=lambda s: sum(part is not None for part in s.spec))
    return tuple(x if explicit_sharding(x) == most else jax.sharding.reshard(x, most) for x in arrays)


def is_unspecified(sharding: Any) -> bool:
    """Whether a jit leaves the sharding of an argument or result open."""
    return not isinstance(sharding, jax.sharding.Sharding)


def named_axes(axes: Any) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """The names, and the positions, among the axes of a collective (one or many): vmap turns a name into a position."""
    axes = axes if isinstance(axes, tuple) else (axes,)
    return tuple(a for a in axes if not isinstance(a, int)), tuple(a for a in axes if isinstance(a, int))


def bind(eqn: Any, values: Sequence[Any]) -> list[Any]:
    """Runs the primitive of an equation on other values, as the equation would."""
    parameters = eqn.primitive.get_bind_params(eqn.params)
    # A pair (functions, parameters) before JAX 0.9.2, a dict since.
    functions, parameters = parameters if isinstance(parameters, tuple) else ((), parameters)
    out = eqn.primitive.bind(*functions, *values, **parameters)
    return list(out) if eqn.primitive.multiple_results else [out]


def rebind(eqn: Any, *operands: Any, **changes: Any) -> Any:
    """The same primitive with the same parameters on other operands: how a linear rule moves its error."""
    out = eqn.primitive.bind(*operands, **{**eqn.params, **changes})
    return list(out) if eqn.primitive.multiple_results else out


def with_params(eqn: Any, **changes: Any) -> Any:
    """The equation with other parameters."""
    return eqn.replace(params={**eqn.params, **changes})


def rematerialize(eqn: Any, closed: Any, operands: Sequence[Any]) -> list[Any]:
    """A remat equation with another body; policy and differentiation state stay."""
    body = open_jaxpr(closed)
    body = body.replace(constvars=[], invars=[*body.constvars, *body.invars])
    return primitives.remat_p.bind(*constants(closed), *operands, **{**eqn.params, "jaxpr": body})


class _WithX64:
    """The context of an equation, with x64 on while it is lowered: some lowerings make arrays by dtype."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    @property
    def manager(self) -> Any:
        """What JAX enters around everything that it does with the equation."""
        return self._entered()

    @contextlib.contextmanager
    def _entered(self) -> Any:
        with self._context.manager, jax.enable_x64(True):
            yield


def keep_x64(jaxpr: Any) -> Callable[..., list[Any]]:
    """The function of a jaxpr that calls jitted functions, which will be lowered with x64 on, whoever lowers them."""
    body = open_jaxpr(jaxpr)
    eqns = [with_params(e, jaxpr=_keep_x64(e.params["jaxpr"])) if "jaxpr" in e.params else e for e in body.eqns]
    return as_function(jex.ClosedJaxpr(body.replace(eqns=eqns), constants(jaxpr)))


def _keep_x64(closed: Any) -> Any:
    body = open_jaxpr(closed)
    eqns = [eqn.replace(ctx=_WithX64(eqn.ctx)) for eqn in body.eqns]
    return jex.ClosedJaxpr(body.replace(eqns=eqns), constants(closed))


def call_jaxpr(eqn: Any) -> Any:
    """The jaxpr of a call-like equation, whatever the parameter is called."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr", "call"):
        candidate = eqn.params.get(name)
        if isinstance(candidate, (jex.Jaxpr, jex.ClosedJaxpr)):
            return candidate
    raise TypeError(f"equation {eqn.primitive.name} carries no jaxpr")


def defined(eqn: Any) -> Any:
    """The jaxpr by which JAX itself defines a primitive of sparse arrays."""
    from jax.experimental.sparse import bcoo, bcsr, coo, csr  # such an equation has loaded them already

    name = f"_{eqn.primitive.name}_impl"
    body = next(getattr(module, name) for module in (bcoo, bcsr, coo, csr) if hasattr(module, name))
    return jax.make_jaxpr(lambda *operands: body(*operands, **eqn.params))(*(v.aval for v in eqn.invars))


def interpreted_kernel(eqn: Any) -> Any:
    """The ordinary program that JAX runs for a Pallas kernel with interpret=True; None if it compiles the kernel."""
    if eqn.params["interpret"] is not True:
        return None
    from jax._src.pallas import hlo_interpreter  # such an equation has loaded it already

    params = {name: value for name, value in eqn.params.items() if name != "interpret"}
    run = functools.partial(hlo_interpreter.pallas_call_hlo_interpret, **params)
    return jax.make_jaxpr(run)(*(v.aval for v in eqn.invars))


def inner_programs(eqn: Any) -> list[Any]:
    """The jaxprs that an equation runs: its own, or the one that stands for a kernel."""
    if eqn.primitive.name != "pallas_call":
        return inner_jaxprs(eqn)
    kernel = interpreted_kernel(eqn)
    return [] if kernel is None else [kernel]


def inner_jaxprs(eqn: Any) -> list[Any]:
    """Every jaxpr among the parameters of an equation."""
    found = []
    for parameter in eqn.params.values():
        for candidate in parameter if isinstance(parameter, (tuple, list)) else (parameter,):
            if isinstance(candidate, (jex.Jaxpr, jex.ClosedJaxpr)):
                found.append(candidate)
    return found


def equations(jaxpr: Any) -> Iterator[Any]:
    """Every equation, those of inner jaxprs included."""
    for eqn in open_jaxpr(jaxpr).eqns:
        yield eqn
        for inner in inner_jaxprs(eqn):
            yield from equations(inner)


def expand_high_level(eqn: Any, values: Sequence[Any]) -> Any:
    """The ordinary jaxpr behind a hijax equation."""
    prim = eqn.params["_prim"]
    return jax.make_jaxpr(lambda *a: eqn.primitive.to_lojax(*a, _prim=prim))(*values)


def platform_switch(platforms: Sequence[Any], branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """Runs the branch that belongs to the platform the program is lowered for."""
    named = {p: f for f, ps in zip(branches, platforms, strict=True) for p in ps or ()}
    default = next((f for f, ps in zip(branches, platforms, strict=True) if ps is None), None)
    return lax.platform_dependent(*operands, default=default, **named)


def source_frames(eqn: Any) -> list[tuple[str, int, str]]:
    """(file, line, function) of an equation's frames outside of JAX, from the innermost."""
    frames = private_source_info.user_frames(eqn.source_info.traceback)
    return [(frame.file_name, frame.start_line, frame.function_name) for frame in frames]


def is_library_call(eqn: Any) -> bool:
    """Whether an equation calls a function of an installed package, whose jaxpr may come from another call's trace."""
    if eqn.primitive.name in ("scan", "while", "cond") or not (inner := inner_jaxprs(eqn)):
        return False
    info = getattr(open_jaxpr(inner[0]), "debug_info", None)
    return is_installed((getattr(info, "func_src_info", None) or "").rpartition(" at ")[2])


@functools.cache
def is_installed(file_name: str) -> bool:
    """Whether a file belongs to an installed package."""
    return file_name.startswith((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))


def name_stack() -> str:
    """The path of names, of modules and transformations, under which the program is traced."""
    return str(source_info_util.current_name_stack())


@contextlib.contextmanager
def source_context(eqn: Any) -> Any:
    """What is traced inside is attributed to the user's line and module, under the mesh of the equation."""
    stack = source_info_util.current_name_stack() + eqn.source_info.name_stack
    with source_info_util.user_context(eqn.source_info.traceback, name_stack=stack), eqn.ctx.manager:
        yield
