"""Functions of JAX's libraries that are recognised by their jaxprs.

The determinant does not depend on the pivots of the factorization that computes it, nor a least squares solution on the
singular vectors, nor an interpolated value much on which side of a knot it was made, which no rule for one equation
could know. A call is recognised if its jaxpr is, letter by letter, the one that JAX makes of the function today, plain
or, of matrices, vmapped; otherwise its steps are tracked one by one.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from precjax import _jax_compat as compat


class Function(NamedTuple):
    """A library function of so many arrays.

    Attributes:
        arrays: how many.
        marks: primitives one of which it has, as it is traced by one version of JAX or another.
        called: what the equation that calls it has as its name or its primitive's.
        variants: the function, with each choice of its options.
        of_matrices: whether it takes matrices, of which its rule takes stacks as well.
    """

    arrays: int
    marks: frozenset[str]
    called: str
    variants: tuple[Any, ...]
    of_matrices: bool = True


_LU, _SVD = frozenset({"lu"}), frozenset({"svd"})
_FUNCTIONS = {
    "det": Function(1, _LU, "custom_jvp_call", (jnp.linalg.det,)),
    "slogdet": Function(1, _LU, "custom_jvp_call", (jnp.linalg.slogdet,)),
    "pinv": Function(1, _SVD, "custom_jvp_call", (jnp.linalg.pinv,)),
    "lstsq": Function(2, _SVD, "_lstsq", (jnp.linalg.lstsq,)),
    "searchsorted": Function(
        arrays=2,
        marks=frozenset({"scan", "call_hi_primitive"}),
        called="searchsorted",
        variants=tuple(functools.partial(jnp.searchsorted, side=side) for side in ("left", "right")),
        of_matrices=False,
    ),
    "interp": Function(3, frozenset({"gather"}), "_interp", (jnp.interp,), of_matrices=False),
}


def recognized(eqn: Any) -> str | None:
    """The name of the library function that a call is, None if it is none of them."""
    avals = [v.aval for v in eqn.invars]
    candidates = [n for n, f in _FUNCTIONS.items() if f.arrays == len(avals) and _calls(eqn, f)]
    if not candidates or any(0 in aval.shape for aval in avals):
        return None
    jaxpr = compat.call_jaxpr(eqn)
    made_of = {e.primitive.name for e in compat.equations(jaxpr)}
    candidates = [n for n in candidates if _FUNCTIONS[n].marks & made_of]
    if not candidates:
        return None
    text, shapes = str(jaxpr), tuple((aval.shape, aval.dtype.name) for aval in avals)
    for name in candidates:
        for vmaps in range(avals[0].ndim - 1 if _FUNCTIONS[name].of_matrices else 1):
            if text in _texts(name, shapes, vmaps):
                return name
    return None


def _calls(eqn: Any, known: Function) -> bool:
    return known.called in (eqn.primitive.name, eqn.params.get("name"))


@functools.cache
def _texts(name: str, shapes: tuple[tuple[tuple[int, ...], str], ...], vmaps: int) -> tuple[str, ...]:
    """The jaxprs of the function on arrays, as they stand in the equations that call it."""
    known = _FUNCTIONS[name]
    texts = []
    for function in known.variants:
        for _ in range(vmaps):
            function = jax.vmap(function)  # noqa: PLW2901
        try:
            traced = jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct(*shape) for shape in shapes))
        except (TypeError, ValueError):
            continue  # no arrays of such shapes
        calls = [e for e in compat.equations(traced) if _calls(e, known)]
        texts += [str(compat.call_jaxpr(call)) for call in calls[:1]]
    return tuple(texts)
