"""Functions of JAX's libraries that are recognised by their jaxprs.

The determinant does not depend on the pivots of the factorization that computes it, which no rule for one equation
could know. A call is recognised if its jaxpr is, letter by letter, the one that JAX makes of the function today, plain
or vmapped; otherwise its steps are tracked one by one.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from precjax import _jax_compat as compat

_FUNCTIONS = {"det": jnp.linalg.det, "slogdet": jnp.linalg.slogdet}


def recognized(eqn: Any) -> str | None:
    """The name of the library function that a call with a derivative of its own is, None if it is none of them."""
    jaxpr = compat.call_jaxpr(eqn)
    if (
        len(eqn.invars) != 1
        or 0 in eqn.invars[0].aval.shape
        or not any(e.primitive.name == "lu" for e in compat.equations(jaxpr))
    ):
        return None
    aval = eqn.invars[0].aval
    text = str(jaxpr)
    for name in _FUNCTIONS:
        for vmaps in range(aval.ndim - 1):
            if text in _texts(name, aval.shape, aval.dtype.name, vmaps):
                return name
    return None


@functools.cache
def _texts(name: str, shape: tuple[int, ...], dtype: str, vmaps: int) -> tuple[str, ...]:
    """The jaxprs of the function on an array, as they stand in calls with a derivative of their own."""
    function = _FUNCTIONS[name]
    for _ in range(vmaps):
        function = jax.vmap(function)
    traced = jax.make_jaxpr(function)(jax.ShapeDtypeStruct(shape, dtype))
    calls = [e for e in compat.equations(traced) if e.primitive.name == "custom_jvp_call"]
    return tuple(str(compat.call_jaxpr(call)) for call in calls[:1])
