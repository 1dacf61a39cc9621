"""Functions of JAX's libraries that are recognised by their jaxprs.

The determinant does not depend on the pivots of the factorization that computes it, nor a least squares solution on the
singular vectors, which no rule for one equation could know. A call is recognised if its jaxpr is, letter by letter, the
one that JAX makes of the function today, plain or vmapped; otherwise its steps are tracked one by one.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from precjax import _jax_compat as compat


class Function(NamedTuple):
    """A library function of so many arrays, and what the equation that calls it has as its name or its primitive's."""

    function: Any
    arrays: int
    called: str = "custom_jvp_call"


_FUNCTIONS = {
    "det": Function(jnp.linalg.det, 1),
    "slogdet": Function(jnp.linalg.slogdet, 1),
    "pinv": Function(jnp.linalg.pinv, 1),
    "lstsq": Function(jnp.linalg.lstsq, 2, "_lstsq"),
}
_FACTORIZATIONS = {"lu", "svd"}


def recognized(eqn: Any) -> str | None:
    """The name of the library function that a call is, None if it is none of them."""
    avals = [v.aval for v in eqn.invars]
    candidates = [n for n, f in _FUNCTIONS.items() if f.arrays == len(avals) and _calls(eqn, f)]
    if not candidates or any(0 in aval.shape for aval in avals):
        return None
    jaxpr = compat.call_jaxpr(eqn)
    if not any(e.primitive.name in _FACTORIZATIONS for e in compat.equations(jaxpr)):
        return None
    text, shapes = str(jaxpr), tuple((aval.shape, aval.dtype.name) for aval in avals)
    for name in candidates:
        for vmaps in range(avals[0].ndim - 1):
            if text in _texts(name, shapes, vmaps):
                return name
    return None


def _calls(eqn: Any, known: Function) -> bool:
    return known.called in (eqn.primitive.name, eqn.params.get("name"))


@functools.cache
def _texts(name: str, shapes: tuple[tuple[tuple[int, ...], str], ...], vmaps: int) -> tuple[str, ...]:
    """The jaxprs of the function on arrays, as they stand in the equations that call it."""
    known = _FUNCTIONS[name]
    function = known.function
    for _ in range(vmaps):
        function = jax.vmap(function)
    try:
        traced = jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct(*shape) for shape in shapes))
    except (TypeError, ValueError):
        return ()  # no arrays of such shapes
    calls = [e for e in compat.equations(traced) if _calls(e, known)]
    return tuple(str(compat.call_jaxpr(call)) for call in calls[:1])
