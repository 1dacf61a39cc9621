"""LAPACK calls that wait for nobody.

JAX before 0.12 hands the matrices of a stack to the threads that run the program, and waits for them: where as many
such calls run at once as there are threads, all wait for ever. Plain programs of twelve triangular solves do (jaxlib
0.10.2, two threads); a tracked one makes several calls for each of its program's. So it makes them for one matrix at a
time, in a loop: that waits for nobody, and gives the same bits.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import sequential_vmap

from precjax import _jax_compat as compat

_CALLS = frozenset({
    "cholesky", "cholesky_update", "eig", "eigh", "geqp3", "geqrf", "hessenberg", "householder_product", "lu", "ormqr",
    "qr", "schur", "svd", "triangular_solve", "tridiagonal",
})  # fmt: skip


def waits(eqn: Any) -> bool:
    """Whether an equation, on stacks, waits for threads."""
    return eqn.primitive.name in _CALLS and _wait()


def _wait() -> bool:
    return compat.jaxlib_before("0.12") and jax.default_backend() == "cpu"


def bind_each(eqn: Any, values: Sequence[Any]) -> list[Any]:
    """The results of an equation, as `compat.bind`: for one matrix at a time, with its derivative, where it waits."""
    call = functools.partial(compat.bind, eqn)
    if np.ndim(values[0]) <= 2 or not waits(eqn):
        return call(values)
    stack = np.shape(values[0])[:-2]
    rows = [jnp.reshape(x, (math.prod(stack), *np.shape(x)[len(stack) :])) for x in values]
    return [lax.reshape(out, (*stack, *out.shape[1:])) for out in lax.map(call, rows)]


def each(call: Callable[..., Any]) -> Callable[..., Any]:
    """A function of matrices, for those of stacks, and under `vmap`; without a derivative."""

    @functools.wraps(call)
    def of_stacks(*stacks: Any, **params: Any) -> Any:
        run = functools.partial(call, **params)
        if not _wait():
            return run(*stacks)
        run = sequential_vmap(run)
        for _ in range(np.ndim(stacks[0]) - 2):
            run = jax.vmap(run)
        return run(*map(lax.stop_gradient, stacks))

    return of_stacks


cholesky = each(lax.linalg.cholesky)
eig = each(lax.linalg.eig)
eigh = each(lax.linalg.eigh)
householder_product = each(lax.linalg.householder_product)
inv = each(jnp.linalg.inv)
lu = each(lax.linalg.lu)
qr = each(lax.linalg.qr)
svd = each(lax.linalg.svd)
triangular_solve = each(lax.linalg.triangular_solve)
