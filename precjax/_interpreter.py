"""Walks a jaxpr with annotated values, for any model of error.

The interpreter knows nothing of bounds. It reads the operands of an equation, lets the model apply the primitive to
them, attaches what is known statically, writes the results, and forgets what is dead. A mutable array is the sequence
of its values, each with its annotation, so a jaxpr that makes one is rewritten first. Equations that carry jaxprs are
handled by `rules.control_flow`, once for every model, through `transform`: an inner jaxpr is turned, once per model and
signature of its arguments, into a jaxpr on values and annotations, which is then called wherever the original was.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from precjax import _jax_compat as compat
from precjax import platforms
from precjax._annotated import Annotated, Coarse, Known, Origin, constant
from precjax._facts import infer
from precjax._hooks import Watch
from precjax._places import called_at, full_stack, inside, of_gradient, place_of_caller
from precjax._rerolled import rerolled
from precjax._turned_products import with_products_turned

_CONTROL: dict[str, Callable[..., list[Annotated]]] = {}
_TAKE_COARSE: set[str] = set()
_WORTH_SPARING = 1 << 16  # numbers: the head of a network is smaller, and quotients by small probabilities have a bound


def control(*names: str, coarse: bool = False) -> Callable[[Callable], Callable]:
    """Registers the handler ``handler(model, eqn, operands) -> results`` of a higher-order primitive.

    Args:
        *names: of the primitive.
        coarse: whether it takes operands with `Coarse` errors.
    """

    def register(handler: Callable) -> Callable:
        _CONTROL.update(dict.fromkeys(names, handler))
        _TAKE_COARSE.update(names if coarse else ())
        return handler

    return register


def is_control(name: str) -> bool:
    """Whether a primitive is handled by the interpreter rather than by a rule."""
    return name in _CONTROL


def interpret(model: Any, jaxpr: Any, args: Sequence[Annotated]) -> list[Annotated]:
    """Runs a jaxpr on annotated arguments.

    Args:
        model: the model of error.
        jaxpr: a jaxpr, closed or open (then without constants).
        args: one `Annotated` per input of the jaxpr.

    Returns:
        One `Annotated` per output of the jaxpr.
    """
    jaxpr = compat.without_refs(jaxpr)
    body = with_products_turned(compat.open_jaxpr(jaxpr))
    if model.loops:
        body = rerolled(body)
    constants = [_fixed(model.admit(given(x))) for x in compat.constants(jaxpr)]
    env = dict(zip(body.constvars, constants, strict=True))
    env.update(zip(body.invars, args, strict=True))
    forward: set[Any] = set()

    def read(atom: Any) -> Annotated:
        return model.admit(constant(atom.val)) if compat.is_literal(atom) else env[atom]

    watch = Watch(model)
    for eqn, dead in schedule(body):
        with compat.source_context(eqn):
            if not (model.sparing and of_gradient(full_stack())):
                forward.update(eqn.outvars)
            else:
                left = forward.intersection(atom for atom in eqn.invars if not compat.is_literal(atom))
                env.update((v, _largest(model, env[v])) for v in left)
                forward -= left
            operands = [read(atom) for atom in eqn.invars]
            if eqn.primitive.name not in _TAKE_COARSE:
                operands = list(map(model.spread, operands))
            results = apply(model, eqn, operands)
            if not is_control(eqn.primitive.name):
                watch.add(eqn, operands, results)
        env.update(zip(eqn.outvars, results, strict=True))
        for var in dead:
            env.pop(var, None)
    watch.deliver()
    return [model.spread(read(atom)) for atom in body.outvars]


def _largest(model: Any, x: Annotated) -> Annotated:
    """With its largest error everywhere, if that is worth it, and no loop has left it one for every turn."""
    small = np.size(x.value) < _WORTH_SPARING
    return x if small or isinstance(x.error, Coarse) else model.spread(model.stacked(x))


def given(value: Any) -> Annotated:
    """An array from outside the program: exact."""
    return Annotated(value, known=Known(settled=True, masked=True))


def _fixed(x: Annotated) -> Annotated:
    return x._replace(known=x.known._replace(fixed=True))


def apply(model: Any, eqn: Any, operands: list[Annotated]) -> list[Annotated]:
    """Runs one equation."""
    handler = _CONTROL.get(eqn.primitive.name)
    if handler is not None:
        with called_at(eqn):
            results = handler(model, eqn, operands)
        return [x._replace(origin=x.origin or Origin(eqn, tuple(operands), i)) for i, x in enumerate(results)]
    pairs = model.apply(eqn, operands)
    results = [
        Annotated(v, e, infer(eqn, operands, i, e), Origin(eqn, tuple(operands), i)) for i, (v, e) in enumerate(pairs)
    ]
    return model.refined(eqn, operands, results)


def schedule(body: Any) -> list[tuple[Any, list[Any]]]:
    """The equations whose results are used or that have effects, each with the variables that die with it."""
    used = {atom for atom in body.outvars if not compat.is_literal(atom)}
    schedule = []
    for eqn in reversed(body.eqns):
        if not (compat.effects(eqn) or any(var in used for var in eqn.outvars)):
            continue
        operands = {atom for atom in eqn.invars if not compat.is_literal(atom)}
        schedule.append((eqn, list(operands - used)))
        used |= operands
    return schedule[::-1]


class Signature(NamedTuple):
    """What is static about an annotated array: the structure of its annotation, and the known facts."""

    structure: Any
    known: Known


def signature(x: Annotated) -> Signature:
    """The static part of an annotated array; hashable."""
    return Signature(jax.tree.structure(x.annotation), x.known)


class Transformed(NamedTuple):
    """A jaxpr on values and annotations, a jitted call: flat values and leaves of annotations in, the same out."""

    jaxpr: Any
    outputs: tuple[Signature, ...]


def flatten(xs: Sequence[Annotated]) -> list[Any]:
    """Values, then the leaves of the annotations."""
    return [x.value for x in xs] + jax.tree.leaves([x.annotation for x in xs])


def unflatten(signatures: Sequence[Signature], leaves: Sequence[Any]) -> list[Annotated]:
    """The inverse of `flatten`."""
    values, rest = leaves[: len(signatures)], list(leaves[len(signatures) :])
    results = []
    for value, (structure, known) in zip(values, signatures, strict=True):
        taken, rest = rest[: structure.num_leaves], rest[structure.num_leaves :]
        error, norm = jax.tree.unflatten(structure, taken)
        results.append(Annotated(value, error, known, norm=norm))
    return results


# Keyed weakly on the jaxpr object: JAX hands out the same object for every call of a block, and for its derivatives.
_TRANSFORMED: weakref.WeakKeyDictionary[Any, dict[Any, Transformed]] = weakref.WeakKeyDictionary()


def transform(
    model: Any, jaxpr: Any, args: Sequence[Annotated], name: str = "body", inline: Any = False
) -> Transformed:
    """The jaxpr that computes what `interpret` would; made once per jaxpr, model and signature of the arguments.

    Args:
        model: the model of error (hashable).
        jaxpr: the inner jaxpr.
        args: annotated arguments; only their shapes and signatures matter.
        name: what the call shows as in profiles.
        inline: as in ``jax.jit``.

    Returns:
        The transformed jaxpr and the signatures of its outputs.
    """
    signatures = tuple(map(signature, args))
    made = _TRANSFORMED.setdefault(jaxpr, {})
    place = place_of_caller() if model.placed else None
    config = jax.config.jax_enable_x64, str(jax.config.jax_default_device)
    key = (model, signatures, name, str(inline), place, config, compat.device_axes(), platforms.assumption())
    if key not in made:
        made[key] = _transform(model, jaxpr, args, signatures, name, inline)
    return made[key]


def forget_transformed(model: Any) -> None:
    """Drops what was transformed for a model that lives no longer than one trace."""
    for made in _TRANSFORMED.values():
        for key in [key for key in made if key[0] is model]:
            del made[key]


def _transform(
    model: Any, jaxpr: Any, args: Sequence[Annotated], signatures: tuple[Signature, ...], name: str, inline: Any
) -> Transformed:
    outputs: list[Signature] = []

    def paired(*leaves: Any) -> list[Any]:
        results = interpret(model, jaxpr, unflatten(signatures, leaves))
        outputs[:] = map(signature, results)
        return flatten(results)

    paired.__name__ = paired.__qualname__ = name
    with inside():
        closed = jax.make_jaxpr(jax.jit(paired, inline=inline))(*flatten(args))
    return Transformed(closed, tuple(outputs))


def run(transformed: Transformed, args: Sequence[Annotated]) -> list[Annotated]:
    """Calls a transformed jaxpr: one equation, nothing is traced again."""
    return unflatten(transformed.outputs, compat.as_function(transformed.jaxpr)(*flatten(args)))
