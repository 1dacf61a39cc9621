"""Primitives that are several others one after the other, for arithmetic that knows only those."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from precjax import _lapack as lapack
from precjax._annotated import Annotated, constant
from precjax._inline import inlined, walk
from precjax.rules.enclosure import transposed


def composed(
    eqn: Any, operands: Sequence[Annotated], apply: Callable[[Any, Sequence[Annotated]], list[tuple[Any, Any]]]
) -> list[tuple[Any, Any]]:
    """The results of a primitive in `COMPOSITIONS`.

    Args:
        eqn: an equation.
        operands: as the interpreter carries them.
        apply: what the model makes of one equation.

    Returns:
        Value and error of every result.
    """

    def visit(step: Any, xs: list[Any]) -> list[Annotated]:
        xs = [x if isinstance(x, Annotated) else constant(x) for x in xs]
        return [Annotated(*made) for made in apply(step, xs)]

    function = COMPOSITIONS[eqn.primitive.name]
    closed = jax.make_jaxpr(lambda *xs: function(*xs, **eqn.params))(*(x.value for x in operands))
    return [(x.value, x.error) for x in walk(inlined(closed, 0), operands, visit)]


def _cholesky_update(r: Any, w: Any, **params: Any) -> Any:
    """The upper factor of R^T R + w w^T."""
    upper = jnp.triu(r)
    moved = jnp.matmul(transposed(upper), upper) + w[..., :, None] * w[..., None, :]
    return jnp.triu(transposed(lapack.cholesky(moved, symmetrize_input=False)))


def _symmetric_product(a: Any, c: Any, alpha: float, beta: float, **params: Any) -> Any:
    return alpha * jnp.matmul(a, transposed(a)) + beta * c


def _tridiagonal_solve(below: Any, middle: Any, above: Any, b: Any, **params: Any) -> Any:
    """As a dense system; the first element below and the last one above the diagonal are not read."""
    n = middle.shape[-1]
    a = sum(
        jnp.where(jnp.eye(n, k=k, dtype=bool), x[..., :, None], 0) for k, x in ((-1, below), (0, middle), (1, above))
    )
    factors, _, permutation = lapack.lu(a)
    b = jnp.take_along_axis(b, permutation[..., :, None], -2)
    b = lapack.triangular_solve(factors, b, left_side=True, lower=True, unit_diagonal=True)
    return lapack.triangular_solve(factors, b, left_side=True)


COMPOSITIONS: dict[str, Callable[..., Any]] = {
    "cholesky_update": _cholesky_update,
    "symmetric_product": _symmetric_product,
    "tridiagonal_solve": _tridiagonal_solve,
}
