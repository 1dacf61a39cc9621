"""Linear systems and factorizations of matrices of pairs, real or complex, by refinement of those of float64.

Theorem: let B be about A^-1, |I - B A| <= c < 1. Then x + B (b - A x) is closer to A^-1 b than x, by a factor of c:
each turn gains the digits that float64 gets right, until the residual is as exact as it can be computed, in pairs. The
same holds for factors: of A = L (I + E) U with a small residual E = L^-1 (A - L U) U^-1, the factors are
L (I + low E) and (I + up E) U but for terms of E**2.

How far a result is from the exact one is said a posteriori, by its residual: see `models._pair_factorizations`.

References:
    Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., chapter 12.
    Rump, Verification methods, Acta Numerica 19 (2010), section 10.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax import _lapack as lapack
from precjax.doubledouble._numbers import add, adjoint, conj, dot, lifted, mapped, sub, transposed
from precjax.doubledouble._pairs import DD

_TURNS = 4  # condition numbers up to 1e11 leave float64 five digits a turn


def triangle(x: DD, lower: bool, unit_diagonal: bool = False) -> DD:
    """What is read of a triangular matrix."""
    part = jnp.tril if lower else jnp.triu
    if not unit_diagonal:
        return mapped(part, x)
    strict = mapped(lambda v: part(v, -1 if lower else 1), x)
    return strict._replace(hi=strict.hi + jnp.eye(x.hi.shape[-1]))


def solve_triangular(a: DD, b: DD, lower: bool) -> DD:
    """x with a x = b; a is triangular."""
    rough = lambda r: lapack.triangular_solve(a.hi, r, left_side=True, lower=lower)  # noqa: E731

    def turn(_: int, x: DD) -> DD:
        residual = sub(b, dot(a, x))
        return add(x, lifted(rough(residual.hi)))

    return lax.fori_loop(0, _TURNS, turn, lifted(rough(b.hi)))


def triangular_solve(
    a: DD, b: DD, *, left_side: bool, lower: bool, transpose_a: bool, conjugate_a: bool, unit_diagonal: bool
) -> DD:
    """As `lax.linalg.triangular_solve`."""
    a = triangle(conj(a) if conjugate_a else a, lower, unit_diagonal)
    if transpose_a == left_side:
        a, lower = transposed(a), not lower
    if left_side:
        return solve_triangular(a, b, lower)
    return transposed(solve_triangular(a, transposed(b), lower))


def cholesky(a: DD) -> DD:
    """The lower factor of the symmetric matrix of which the lower triangle is read."""
    a = symmetric(a)
    half = lambda e: jnp.tril(e, -1) + _diagonal(e) / 2  # noqa: E731

    def turn(_: int, factor: DD) -> DD:
        residual = sub(a, dot(factor, adjoint(factor))).hi
        return _multiplied(factor, half(between(factor.hi, residual, jnp.conj(jnp.swapaxes(factor.hi, -1, -2)))))

    return lax.fori_loop(0, _TURNS, turn, lifted(jnp.tril(lapack.cholesky(a.hi, symmetrize_input=False))))


def symmetric(a: DD) -> DD:
    """The symmetric, or Hermitian, matrix of which the lower triangle is read."""
    return mapped(lambda v: jnp.tril(v, -1) + _diagonal(v) + jnp.conj(jnp.swapaxes(jnp.tril(v, -1), -1, -2)), a)


def _diagonal(v: Any) -> Any:
    """The diagonal, which is real, of a Hermitian matrix."""
    return jnp.real(jnp.triu(jnp.tril(v)))


def between(lower: Any, residual: Any, upper: Any, unit_diagonal: bool = False) -> Any:
    """L^-1 R U^-1, in float64."""
    left = lapack.triangular_solve(lower, residual, left_side=True, lower=True, unit_diagonal=unit_diagonal)
    return lapack.triangular_solve(upper, left, left_side=False, lower=False)


def _multiplied(factor: DD, small: Any) -> DD:
    """factor (I + small): the small part has digits to spare."""
    return add(factor, lifted(jnp.matmul(factor.hi, small, precision=lax.Precision.HIGHEST)))


def lu(a: DD) -> tuple[DD, Any, Any]:
    """As `lax.linalg.lu`, for the pivots that float64 takes.

    Of the largest square that the factors share, both are refined; the rows below it and the columns beside it are
    solutions of triangular systems.

    Args:
        a: matrices ``(..., m, n)``.

    Returns:
        The packed factors, the pivots and the permutation.
    """
    packed, pivots, permutation = lapack.lu(a.hi)
    a = mapped(lambda v: jnp.take_along_axis(v, permutation[..., None], -2), a)
    k = min(a.hi.shape[-2:])
    square = mapped(lambda v: v[..., :k, :k], a)
    lower, upper = _refined(square, packed[..., :k, :k])
    top = mapped(lambda v: v[..., :k, k:], a)
    below = mapped(lambda v: v[..., k:, :k], a)
    right = solve_triangular(triangle(lower, True, True), top, lower=True)
    left = transposed(solve_triangular(transposed(upper), transposed(below), lower=True))
    factors = DD(*(jnp.tril(low, -1) + jnp.triu(up) for low, up in zip(lower, upper, strict=True)))
    factors = DD(*(jnp.concatenate(parts, -1) for parts in zip(factors, right, strict=True)))
    if a.hi.shape[-2] > k:
        factors = DD(*(jnp.concatenate(parts, -2) for parts in zip(factors, left, strict=True)))
    return factors, pivots, permutation


def _refined(a: DD, packed: Any) -> tuple[DD, DD]:
    """Lower and upper factor; the diagonal of the lower one is 1."""
    # The last pivot, by which nothing is divided, may be 0: its row of U is what is left.
    last = jnp.arange(packed.shape[-1]) == packed.shape[-1] - 1
    corner = last[:, None] & last

    def turn(_: int, factors: tuple[DD, DD]) -> tuple[DD, DD]:
        lower, upper = factors
        residual = sub(a, dot(lower, upper)).hi
        divided = jnp.where(corner, 1.0, upper.hi)
        e = between(lower.hi, residual, divided, unit_diagonal=True)
        moved = jnp.matmul(jnp.triu(e), divided, precision=lax.Precision.HIGHEST)
        return _multiplied(lower, jnp.tril(e, -1)), add(upper, lifted(jnp.triu(moved)))

    start = triangle(lifted(packed), True, True), triangle(lifted(packed), False)
    return lax.fori_loop(0, _TURNS, turn, start)
