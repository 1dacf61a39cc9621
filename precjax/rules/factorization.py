"""Triangular factorizations: Cholesky, LU, QR.

Theorem: let the computed factors leave a residual, and move it between them: E = L^-1 (A* - L L^T) L^-T. Then
A* = L (I + E) L^T, and where I + E = (I + K)(I + K)^T with K lower triangular, the exact factor is L* = L (I + K).
K = low(E - K K^T), with half of the diagonal in `low`, is a fixed point, bounded by Brouwer's theorem
(`enclosure.fixed_point`); the Cholesky factor is unique, so it is this one. In the same way P A* = L (I + E) U with
I + E = (I + K)(I + H), K strictly lower, H upper triangular, and K + H = E - K H. For A* = Q* R*, the matrix
C = A* R^-1 has C^T C = I + E = (I + K)(I + K)^T, so R* = (I + K)^T R and Q* = C (I + K)^-T.

References:
    Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., chapters 9, 10 and 19.
    Rump, Verification methods, Acta Numerica 19 (2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._annotated import Annotated
from precjax._registry import rule
from precjax._rounding import enlarged, error_dtype, less, minimum, plus, times, where
from precjax.rules.enclosure import (
    Enclosure,
    amplified,
    defect,
    diagonal_below_one,
    difference,
    dot_up,
    enclosed,
    fixed_point,
    identity,
    inverse_size,
    on_diagonal,
    product,
    size,
    symmetric,
    transposed,
)
from precjax.rules.linalg import triangular_inverse, triangular_weights


@rule("cholesky")
def cholesky(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """The lower triangle of the matrix is read; inf where it is not proved to be positive definite."""
    dtype = error_dtype(outs[0].dtype)
    a, factor = symmetric(enclosed(model, operands[0], dtype), lower=True), jnp.tril(outs[0].astype(dtype))
    return [where(_on_or_below(outs[0]), _cholesky_error(a, factor), lax.abs(outs[0].astype(dtype)))]


def _cholesky_error(a: Enclosure, factor: Any) -> Any:
    """How far a lower triangular matrix is from the Cholesky factor of a*."""
    lower = Enclosure(factor)
    residual = size(difference(a, product(lower, lower.t)))
    inverse = _inverse_size(lower, lower=True)
    return dot_up(lax.abs(factor), _cholesky_of_one_plus(dot_up(inverse, residual, transposed(inverse))))


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


def _cholesky_of_one_plus(e: Any) -> Any:
    """A bound of K with I + E = (I + K)(I + K)^T."""

    def low(x: Any) -> Any:
        return where(on_diagonal(x), times(x, 0.5), jnp.tril(x))

    k = fixed_point(lambda k: low(enlarged(plus(e, dot_up(k, transposed(k))), 2, e.dtype)), e)
    # A diagonal of I + K that is positive: there is only one such factor.
    return where(diagonal_below_one(k), k, np.inf)


def _on_or_below(x: Any, offset: int = 0) -> Any:
    return jnp.broadcast_to(jnp.tril(jnp.ones(x.shape[-2:], bool), offset), x.shape)


def _inverse_size(x: Enclosure, lower: bool) -> Any:
    """|x^-1| of a triangular matrix."""
    return inverse_size(x, triangular_inverse(x.mid, lower), triangular_weights(lower))


@rule("lu")
def lu(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """With partial pivoting, a decision: certain where every other candidate of a column is smaller than the pivot.

    Only the first min(m - 1, n) pivots divide and decide. What remains, the last row of U, is S in
    P A* = L diag(I, S) U, and K + H = E - K H holds for its error as well: the last pivot may be 0.
    """
    factors, _, permutation = outs
    dtype = error_dtype(factors.dtype)
    a = enclosed(model, operands[0], dtype).map(lambda x: _permuted(x, permutation))
    packed = factors.astype(dtype)
    m, n = packed.shape[-2:]
    steps = min(m - 1, n)
    lower, middle, upper = _parts(packed, steps)
    residual = size(difference(a, product(product(Enclosure(lower), Enclosure(middle)), Enclosure(upper))))
    e = dot_up(_inverse_size(Enclosure(lower), True), residual, _inverse_size(Enclosure(upper), False))

    def split(z: Any) -> tuple[Any, Any]:
        """K, (m, m), and H, (n, n)."""
        return _fitted(jnp.tril(z, -1)[..., :steps], m, m), _fitted(jnp.triu(z)[..., :steps, :], n, n)

    def following(z: Any) -> Any:
        k, h = split(z)
        return enlarged(plus(e, dot_up(k[..., :steps], h[..., :steps, :])), 2, dtype)

    moved = fixed_point(following, e)
    k, h = split(moved)
    unique = diagonal_below_one(h)  # the pivots of I + E are not 0
    of_upper = plus(_fitted(dot_up(h, lax.abs(upper)), m, n), _remainder(moved, steps))
    below = _on_or_below(packed, -1)
    error = where(below, _fitted(dot_up(lax.abs(lower), k), m, n), of_upper)
    certain = lax.bitwise_and(_certain(packed, error, below, operands[0].error is None), unique)
    doubt = where(certain[..., 0], 0.0, float(m - 1))
    return [where(certain, error, np.inf), *(jnp.broadcast_to(doubt, x.shape).astype(jnp.float32) for x in outs[1:])]


def _permuted(x: Any, rows: Any) -> Any:
    return jnp.take_along_axis(x, rows[..., None], -2, mode="promise_in_bounds")


def _parts(packed: Any, steps: int) -> tuple[Any, Any, Any]:
    """L, (m, m), what elimination leaves, (m, n), and U, (n, n), after so many steps."""
    m, n = packed.shape[-2:]
    lower = plus(_fitted(jnp.tril(packed, -1)[..., :steps], m, m), identity(m, packed))
    rows = _fitted(jnp.triu(packed)[..., :steps, :], n, n)
    upper = plus(rows, where(jnp.arange(n)[:, None] < steps, 0.0, identity(n, packed)))
    eye = jnp.broadcast_to(jnp.eye(m, n, dtype=packed.dtype), packed.shape)
    return lower, plus(where(jnp.arange(m)[:, None] < steps, eye, 0.0), _remainder(packed, steps)), upper


def _remainder(x: Any, steps: int) -> Any:
    """The rows and columns that elimination has not reached; zero elsewhere."""
    m, n = x.shape[-2:]
    return where(jnp.arange(m)[:, None] < steps, 0.0, where(jnp.arange(n) < steps, 0.0, x))


def _fitted(x: Any, m: int, n: int) -> Any:
    """Cut, or filled with zeros, to (m, n)."""
    x = x[..., :m, :n]
    return jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(0, m - x.shape[-2]), (0, n - x.shape[-1])])


def _certain(packed: Any, error: Any, below: Any, exact: bool) -> Any:
    """Whether no other pivots are possible; a first column that is known exactly decides itself, ties included."""
    smaller = less(plus(lax.abs(packed), error), 1.0)
    if exact:
        smaller = lax.bitwise_or(smaller, jnp.broadcast_to(jnp.arange(packed.shape[-1]) == 0, packed.shape))
    return jnp.all(lax.bitwise_or(smaller, lax.bitwise_not(below)), axis=(-2, -1), keepdims=True)


@rule("lu_pivots_to_permutation")
def lu_pivots_to_permutation(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Any pivot in doubt spoils all of the permutation."""
    doubt = model.doubt(operands[0])
    if doubt is None:
        return [None]
    any_doubt = jnp.any(doubt, axis=-1, keepdims=True)
    return [jnp.broadcast_to(where(any_doubt, float(outs[0].shape[-1] - 1), jnp.float32(0)), outs[0].shape)]


@rule("qr")
def qr(
    model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, full_matrices: bool, pivoting: bool = False
) -> list[Any]:
    """The factorization whose diagonal of R has the signs of the computed one; pivots of columns are not followed.

    Elements of Q are at most 1, those of R at most the norm of their column: where nothing else is known (a rank in
    doubt, columns of Q beyond those of the matrix), this is what bounds the error. Columns of a wide matrix beyond its
    height are R_2* = Q*^T A_2*.
    """
    q, r = (x.astype(error_dtype(x.dtype)) for x in outs[:2])
    a = enclosed(model, operands[0], q.dtype)
    known = jnp.all(less(size(a), np.inf), axis=(-2, -1), keepdims=True)
    of_q, of_r = _no_more_than_one(q, known), _no_more_than_columns(r, a)
    if not pivoting:
        k = min(a.mid.shape[-2:])
        q_bound, r_bound = _orthogonal_factors(a, Enclosure(q[..., :k]), Enclosure(r[..., :k, :]), k)
        of_q = jnp.concatenate([minimum(q_bound, of_q[..., :k]), of_q[..., k:]], -1)
        of_r = jnp.concatenate([minimum(r_bound, of_r[..., :k, :]), of_r[..., k:, :]], -2)
    pivots = [lax.full_like(x, x.shape[-1] - 1, jnp.float32) for x in outs[2:]]
    return [of_q, where(_on_or_below(r, -1), lax.abs(r), of_r), *pivots]


def _no_more_than_one(q: Any, known: Any) -> Any:
    """The error of an element of a unit vector of which nothing is known."""
    return where(known, enlarged(plus(lax.abs(q), 1.0), 4, q.dtype), np.inf)


def _no_more_than_columns(r: Any, a: Enclosure) -> Any:
    norms = jnp.sqrt(jnp.sum(lax.square(size(a)), axis=-2, keepdims=True))
    return enlarged(plus(lax.abs(r), norms), a.mid.shape[-2] + 8, r.dtype, flushed=8)


def _orthogonal_factors(a: Enclosure, q: Enclosure, r: Enclosure, k: int) -> tuple[Any, Any]:
    """|C - Q| <= |A* - Q R| |R^-1| = D, and E = Q^T Q - I + Q^T (C - Q) + (C - Q)^T Q + (C - Q)^T (C - Q)."""
    square = Enclosure(jnp.triu(r.mid[..., :k]))
    first, rest = a.map(lambda x: x[..., :k]), a.map(lambda x: x[..., k:])
    off = dot_up(size(difference(first, product(q, square))), _inverse_size(square, lower=False))
    side = dot_up(lax.abs(transposed(q.mid)), off)
    e = enlarged(plus(defect(q.t, q), side, transposed(side), dot_up(transposed(off), off)), 4, off.dtype)
    moved = _cholesky_of_one_plus(e)
    inverse = transposed(amplified(moved, moved, triangular_weights(lower=True)(moved)))
    of_q = enlarged(plus(off, dot_up(plus(lax.abs(q.mid), off), inverse)), 4, off.dtype)
    of_r = dot_up(transposed(moved), lax.abs(square.mid))
    missing = size(difference(product(q.t, rest), Enclosure(r.mid[..., k:])))
    of_rest = enlarged(plus(missing, dot_up(transposed(of_q), size(rest))), 2, off.dtype)
    return of_q, jnp.concatenate([of_r, of_rest], -1)
