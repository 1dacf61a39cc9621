"""Cholesky and QR factorizations.

Theorem: let the computed factors leave a residual, and move it between them: E = L^-1 (A* - L L^T) L^-T. Then
A* = L (I + E) L^T, and where I + E = (I + K)(I + K)^T with K lower triangular, the exact factor is L* = L (I + K).
K = low(E - K K^T), with half of the diagonal in `low`, is a fixed point, bounded by Brouwer's theorem
(`enclosure.fixed_point`); the Cholesky factor is unique, so it is this one. For A* = Q* R*, the matrix
C = A* R^-1 has C^T C = I + E = (I + K)(I + K)^T, so R* = (I + K)^T R and Q* = C (I + K)^-T.

References:
    Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., chapters 10 and 19.
    Rump, Verification methods, Acta Numerica 19 (2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._annotated import Annotated
from precjax._ball import subnormal
from precjax._registry import rule
from precjax._rounding import enlarged, equal, error_dtype, format_of, less, minimum, minus, plus, ratio, times, where
from precjax.rules.elimination import elimination_error
from precjax.rules.enclosure import (
    Enclosure,
    amplified,
    defect,
    diagonal_below_one,
    difference,
    dot_up,
    enclosed,
    fixed_point,
    highest,
    on_diagonal,
    product,
    size,
    symmetric,
    transposed,
)
from precjax.rules.linalg import triangular_inverse_size, triangular_weights


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
    inverse = triangular_inverse_size(factor, lower=True)
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


@rule("qr")
def qr(
    model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, full_matrices: bool, pivoting: bool = False
) -> list[Any]:
    """Signs are decisions of Householder's reflections; pivots of columns are not followed.

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
        flips = where(_signs_certain(a, q[..., :k], q_bound), 0.0, 2.0)
        q_bound = plus(q_bound, times(lax.abs(q[..., :k]), flips))
        r_bound = plus(r_bound, times(lax.abs(r[..., :k, :]), transposed(flips)))
        of_q = jnp.concatenate([minimum(q_bound, of_q[..., :k]), of_q[..., k:]], -1)
        of_r = jnp.concatenate([minimum(r_bound, of_r[..., :k, :]), of_r[..., k:, :]], -2)
    pivots = [lax.full_like(x, x.shape[-1] - 1, jnp.float32) for x in outs[2:]]
    return [of_q, where(_on_or_below(r, -1), lax.abs(r), of_r), *pivots]


def _no_more_than_one(q: Any, known: Any) -> Any:
    """The error of an element of a unit vector of which nothing is known."""
    return where(known, enlarged(plus(lax.abs(q), 1.0), 4, q.dtype), np.inf)


def _no_more_than_columns(r: Any, a: Enclosure) -> Any:
    sizes = size(a)
    largest = highest(sizes, -2)  # of every column: so that no square overflows, and none that matters vanishes
    norms = times(largest, jnp.sqrt(jnp.sum(lax.square(ratio(sizes, largest)), axis=-2, keepdims=True)))
    return enlarged(plus(lax.abs(r), norms), 2 * a.mid.shape[-2] + 16, r.dtype, flushed=8)


def _orthogonal_factors(a: Enclosure, q: Enclosure, r: Enclosure, k: int) -> tuple[Any, Any]:
    """|C - Q| <= |A* - Q R| |R^-1| = D, and E = Q^T Q - I + Q^T (C - Q) + (C - Q)^T Q + (C - Q)^T (C - Q)."""
    square = Enclosure(jnp.triu(r.mid[..., :k]))
    first, rest = a.map(lambda x: x[..., :k]), a.map(lambda x: x[..., k:])
    off = dot_up(size(difference(first, product(q, square))), triangular_inverse_size(square.mid, lower=False))
    side = dot_up(lax.abs(transposed(q.mid)), off)
    e = enlarged(plus(defect(q.t, q), side, transposed(side), dot_up(transposed(off), off)), 4, off.dtype)
    moved = _cholesky_of_one_plus(e)
    inverse = transposed(amplified(moved, moved, triangular_weights(lower=True)(moved)))
    of_q = enlarged(plus(off, dot_up(plus(lax.abs(q.mid), off), inverse)), 4, off.dtype)
    of_r = dot_up(transposed(moved), lax.abs(square.mid))
    missing = size(difference(product(q.t, rest), Enclosure(r.mid[..., k:])))
    of_rest = enlarged(plus(missing, dot_up(transposed(of_q), size(rest))), 2, off.dtype)
    return of_q, jnp.concatenate([of_r, of_rest], -1)


def _signs_certain(a: Enclosure, q: Any, of_q: Any) -> Any:
    """Of which columns the exact reflections choose the same sign, (..., 1, k).

    The reflection I - tau v v^T of a column x has tau = 1 + |x_1| / |x| > 1, unless x_1 may be 0. I - Q = V W, V of the
    columns v, W upper triangular with the tau on its diagonal: an elimination in which no other row comes first
    (Ballard and others, Reconstructing Householder vectors, IPDPS 2014). A column of one element is left as it is; so
    is one that has only zeros below the diagonal.
    """
    m, k = q.shape[-2:]
    left = Enclosure(lax.sub(jnp.broadcast_to(jnp.eye(m, k, dtype=q.dtype), q.shape), q), of_q)
    outs = lax.linalg.lu(left.mid)
    room = minus(jnp.abs(outs[0]), elimination_error(left._replace(rad=plus(of_q, 2 * _ulp(q))), outs))
    in_order = lax.eq(outs[2], jnp.broadcast_to(jnp.arange(m, dtype=outs[2].dtype), outs[2].shape))
    reflected = lax.gt(jnp.diagonal(room, axis1=-2, axis2=-1), jnp.asarray(1 + 4 * _ulp(q), q.dtype))
    reflected = lax.bitwise_and(reflected, jnp.all(in_order, axis=-1, keepdims=True))
    alone = jnp.broadcast_to(jnp.arange(k) == m - 1, reflected.shape)
    certain = lax.bitwise_or(lax.bitwise_or(reflected, alone), _zero_below(a, k))
    # A reflection that is in doubt leaves the following columns in doubt.
    return jnp.cumprod(certain.astype(jnp.int32), axis=-1)[..., None, :] > 0


def _zero_below(a: Enclosure, k: int) -> Any:
    """Which columns have only zeros below the diagonal, and all columns before them as well."""
    zero = lax.bitwise_and(equal(plus(lax.abs(a.mid), a.rad), 0.0), lax.bitwise_not(subnormal(a.mid)))
    columns = jnp.all(lax.bitwise_or(zero, lax.bitwise_not(_on_or_below(zero, -1))), axis=-2)[..., :k]
    return jnp.cumprod(columns.astype(jnp.int32), axis=-1) > 0


def _ulp(x: Any) -> float:
    return 2 * format_of(x.dtype).unit_roundoff
