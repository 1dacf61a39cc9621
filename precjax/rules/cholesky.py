"""The Cholesky factorization.

Theorem: let the computed factors leave a residual, and move it between them: E = L^-1 (A* - L L^H) L^-H. Then
A* = L (I + E) L^H, and where I + E = (I + K)(I + K)^H with K lower triangular, its diagonal real, the exact factor is
L* = L (I + K). K = low(E - K K^H), with half of the diagonal in `low`, is a fixed point, bounded by Brouwer's theorem
(`enclosure.fixed_point`); the Cholesky factor is unique, so it is this one.

References:
    Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., chapter 10.
    Rump, Verification methods, Acta Numerica 19 (2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax._annotated import Annotated
from precjax._registry import rule, same_for_complex
from precjax._rounding import enlarged, error_dtype, plus, times, where
from precjax.rules.enclosure import (
    Enclosure,
    by_elimination,
    difference,
    dot_up,
    enclosed,
    fixed_point,
    hermitian,
    middle,
    on_diagonal,
    product,
    size,
    transposed,
)
from precjax.rules.linalg import triangular_inverse_size


@rule("cholesky")
def cholesky(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """The lower triangle of the matrix is read; inf where it is not proved to be positive definite."""
    dtype = error_dtype(outs[0].dtype)
    a, factor = hermitian(enclosed(model, operands[0], dtype), lower=True), jnp.tril(middle(outs[0]))
    return [where(_on_or_below(outs[0]), _cholesky_error(a, factor), lax.abs(middle(outs[0])))]


same_for_complex("cholesky")


def _cholesky_error(a: Enclosure, factor: Any) -> Any:
    """How far a lower triangular matrix is from the Cholesky factor of a*."""
    lower = Enclosure(factor)
    return moved_cholesky_factor(lower, size(difference(a, product(lower, lower.h))))


def moved_cholesky_factor(factor: Enclosure, residual: Any) -> Any:
    """The error of a factor, from a bound of what its product leaves of the matrix."""
    inverse = triangular_inverse_size(factor, lower=True)
    return dot_up(size(factor), factor_of_one_plus(dot_up(inverse, residual, transposed(inverse))))


@rule("cholesky_update")
def cholesky_update(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """The upper Cholesky factor of R^T R + w w^T."""
    dtype = error_dtype(outs[0].dtype)
    r, w = (enclosed(model, x, dtype) for x in operands)
    r, w = r.map(jnp.triu), w.map(lambda x: x[..., None, :])
    # An exact operand has no radius, the other may have one.
    radii = [jnp.zeros_like(x.mid) if x.rad is None else x.rad for x in (r, w)]
    rows = Enclosure(jnp.concatenate([r.mid, w.mid], -2), jnp.concatenate(radii, -2))
    factor = jnp.triu(outs[0].astype(dtype))
    error = transposed(_cholesky_error(product(rows.t, rows), transposed(factor)))
    return [where(_on_or_below(factor, -1), lax.abs(outs[0].astype(dtype)), error)]


def factor_of_one_plus(e: Any) -> Any:
    """A bound of K with I + E = (I + K)(I + K)^T."""

    def low(x: Any) -> Any:
        return where(on_diagonal(x), times(x, 0.5), jnp.tril(x))

    step = lambda k: low(enlarged(plus(e, dot_up(k, transposed(k))), 2, e.dtype))  # noqa: E731
    return fixed_point(step, e, *by_elimination(e, e.shape[-1]))


def _on_or_below(x: Any, offset: int = 0) -> Any:
    return jnp.broadcast_to(jnp.tril(jnp.ones(x.shape[-2:], bool), offset), x.shape)
