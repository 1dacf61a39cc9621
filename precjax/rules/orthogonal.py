"""Orthogonal factors and the reflections that they are made of.

Theorem: for A* = Q* R* and computed Q, R, the matrix C = A* R^-1 has C^H C = I + E = (I + K)(I + K)^H with K lower
triangular (`cholesky.factor_of_one_plus`), so R* = (I + K)^H R and Q* = C (I + K)^-H, with the signs of the computed R
on the diagonal, which is real. The exact reflections choose these signs where the real part of the first element of
every column that they reflect is certain not to be 0: a reflection I - tau v v^H of x has re tau = 1 + |re x_1| / |x|.

Theorem: let low(Z) be the elements below the diagonal and half of it, B = A* - Q R, D = C - Q = B R^-1, X = Q^H D and
F = Q^H Q - I. As K^H = low(E - K K^H)^H and low(Z)^H = Z - low(Z) for Hermitian Z, and as X R = Q^H B and D R = B,
    R* - R = K^H R = low(F)^H R + Q^H B + (low(X)^H - low(X)) R + D^H B - low(D^H D) R - K (K^H R) + low(K K^H) R.
Here no column of R^-1 meets a row of R from its own on, which would multiply errors by the condition of A.

Theorem (Schreiber and Van Loan 1989): the product of the reflections I - tau_i v_i v_i^H is I - V T V^H, where
(I + D N) T = D, D = diag(tau), N the strictly upper triangle of V^H V.

References:
    Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., chapter 19.
    Schreiber and Van Loan, A storage-efficient WY representation, SIAM J. Sci. Stat. Comput. 10 (1989).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _lapack as lapack
from precjax._annotated import Annotated
from precjax._ball import subnormal
from precjax._registry import rule, same_for_complex
from precjax._rounding import enlarged, equal, error_dtype, format_of, less, minimum, minus, plus, ratio, times, where
from precjax.rules.cholesky import factor_of_one_plus
from precjax.rules.elimination import below_diagonal, elimination_error, fitted
from precjax.rules.enclosure import (
    Enclosure,
    amplified,
    defect,
    difference,
    dot_up,
    enclosed,
    highest,
    identity,
    middle,
    on_diagonal,
    product,
    size,
    solution_error,
    transposed,
)
from precjax.rules.linalg import triangle, triangular_inverse, triangular_inverse_size, triangular_weights


@rule("qr")
def qr(
    model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, full_matrices: bool, pivoting: bool = False
) -> list[Any]:
    """Signs are decisions of Householder's reflections; pivots of columns are not followed.

    Elements of Q are at most 1, those of R at most the norm of their column: where nothing else is known (a rank in
    doubt, columns of Q beyond those of the matrix), this is what bounds the error. Columns of a wide matrix beyond its
    height are R_2* = Q*^T A_2*.
    """
    q, r = (Enclosure(middle(x)) for x in outs[:2])
    a = enclosed(model, operands[0], error_dtype(r.mid.dtype))
    pivots = [lax.full_like(x, x.shape[-1] - 1, jnp.float32) for x in outs[2:]]
    return [*qr_errors(a, q, r, None if pivoting else remainders(a, *economic(q, r))), *pivots]


class Remainders(NamedTuple):
    """What computed factors leave, as bounds of sizes: of A* = (A_1*, A_2*) and R = (R_1, R_2), R_1 a square.

    Attributes:
        first: of A_1* - Q R_1.
        off: of I - Q^H Q.
        others: of R_2 - Q^H A_2*.
    """

    first: Any
    off: Any
    others: Any


def economic(q: Enclosure, r: Enclosure) -> tuple[Enclosure, Enclosure]:
    """The first columns of Q, and the rows of R that are not zero."""
    k = min(q.mid.shape[-2], r.mid.shape[-1])
    return q.map(lambda x: x[..., :k]), r.map(lambda x: x[..., :k, :])


def remainders(a: Enclosure, q: Enclosure, r: Enclosure) -> Remainders:
    """Computed again, with all roundings counted."""
    k = q.mid.shape[-1]
    first, others = a.map(lambda x: x[..., :k]), a.map(lambda x: x[..., k:])
    square = Enclosure(jnp.triu(r.mid[..., :k]))
    missing = difference(product(q.h, others), Enclosure(r.mid[..., k:]))
    return Remainders(size(difference(first, product(q, square))), defect(q.h, q), size(missing))


def qr_errors(a: Enclosure, q: Enclosure, r: Enclosure, left: Remainders | None) -> list[Any]:
    """Errors of Q and R around their midpoints, the radii of which cover their low parts; None for no remainders."""
    known = jnp.all(less(size(a), np.inf), axis=(-2, -1), keepdims=True)
    of_q, of_r = _no_more_than_one(q.mid, known), _no_more_than_columns(r.mid, a)
    if left is not None:
        first, top = economic(q, r)
        k = first.mid.shape[-1]
        q_bound, r_bound = orthogonal_factors(a, first, top, left)
        certain = signs_certain(a, first.mid, plus(q_bound, first.rad))
        flips = where(certain, 0.0, jnp.asarray(2.0, q_bound.dtype))
        q_bound = plus(q_bound, times(size(first), flips))
        r_bound = plus(r_bound, times(size(top), transposed(flips)))
        of_q = jnp.concatenate([minimum(q_bound, of_q[..., :k]), of_q[..., k:]], -1)
        of_r = jnp.concatenate([minimum(r_bound, of_r[..., :k, :]), of_r[..., k:, :]], -2)
    return [of_q, where(below_diagonal(r.mid), plus(lax.abs(r.mid), r.rad), of_r)]


def _no_more_than_one(q: Any, known: Any) -> Any:
    """The error of an element of a unit vector of which nothing is known."""
    return where(known, enlarged(plus(lax.abs(q), 1.0), 4, q.dtype), np.inf)


def _no_more_than_columns(r: Any, a: Enclosure) -> Any:
    sizes = size(a)
    largest = highest(sizes, -2)  # of every column: so that no square overflows, and none that matters vanishes
    norms = times(largest, jnp.sqrt(jnp.sum(lax.square(ratio(sizes, largest)), axis=-2, keepdims=True)))
    return enlarged(plus(lax.abs(r), norms), 2 * a.mid.shape[-2] + 16, r.dtype, flushed=8)


def orthogonal_factors(a: Enclosure, q: Enclosure, r: Enclosure, left: Remainders) -> tuple[Any, Any]:
    """|C - Q| <= |A* - Q R| |R^-1| = D, and E = Q^H Q - I + Q^H (C - Q) + (C - Q)^H Q + (C - Q)^H (C - Q)."""
    k = q.mid.shape[-1]
    square, others = r.map(lambda x: jnp.triu(x[..., :k])), a.map(lambda x: x[..., k:])
    off = dot_up(left.first, triangular_inverse_size(square, lower=False))
    side = dot_up(transposed(size(q)), off)
    e = enlarged(plus(left.off, side, transposed(side), dot_up(transposed(off), off)), 4, off.dtype)
    moved = factor_of_one_plus(e)
    inverse = transposed(amplified(moved, moved, triangular_weights(lower=True)(moved)))
    of_q = enlarged(plus(off, dot_up(plus(size(q), off), inverse)), 4, off.dtype)
    of_r = _of_right_factor(q, square, left, off, side, moved)
    of_others = enlarged(plus(left.others, dot_up(transposed(of_q), size(others))), 2, off.dtype)
    return of_q, jnp.concatenate([of_r, of_others], -1)


def _of_right_factor(q: Enclosure, r: Enclosure, left: Remainders, off: Any, side: Any, moved: Any) -> Any:
    """|K^H R|, by |K| |R|, or by the third theorem."""
    plain = dot_up(transposed(moved), size(r))
    turned = _lower_half(side) if jnp.iscomplexobj(q.mid) else jnp.tril(side, -1)
    squares = _lower_half(plus(dot_up(transposed(off), off), dot_up(moved, transposed(moved))))
    weights = plus(transposed(_lower_half(transposed(left.off))), turned, transposed(turned), squares)
    terms = dot_up(transposed(size(q)), left.first), dot_up(transposed(off), left.first), dot_up(moved, plain)
    split = enlarged(plus(dot_up(enlarged(weights, 4, off.dtype), size(r)), *terms), 4, off.dtype)
    return minimum(split, plain)


def _lower_half(x: Any) -> Any:
    """The elements below the diagonal, and half of it."""
    return where(on_diagonal(x), times(x, 0.5), jnp.tril(x))


def signs_certain(a: Enclosure, q: Any, of_q: Any) -> Any:
    """Of which columns the exact reflections choose the same sign, (..., 1, k).

    A column of one element is left as it is; so is one that has only zeros below the diagonal. One that may have
    nothing else there (the vector of its reflection may be 0) is in doubt. Complex elements on the diagonal are turned
    as well, to real ones, even where nothing is below.
    """
    m, k = q.shape[-2:]
    (packed, *_), errors = _reflections(q, of_q)
    moved = less(4 * _ulp(q), minus(lax.abs(packed), errors))
    turned = less(4 * _ulp(q), diagonal(minus(lax.abs(jnp.imag(packed)), errors)))  # of complex matrices only
    moved = lax.bitwise_or(jnp.any(lax.bitwise_and(below_diagonal(packed), moved), axis=-2), turned)
    certain = lax.bitwise_and(less(1 + 4 * _ulp(q), diagonal(minus(jnp.real(packed), errors))), moved)
    if not jnp.iscomplexobj(q):
        alone = jnp.broadcast_to(jnp.arange(k) == m - 1, certain.shape)
        certain = lax.bitwise_or(lax.bitwise_or(certain, alone), _zero_below(a, k))
    # A reflection that is in doubt leaves the following columns in doubt.
    return jnp.cumprod(certain.astype(jnp.int32), axis=-1)[..., None, :] > 0


def _reflections(q: Any, of_q: Any) -> tuple[Any, Any]:
    """An elimination I - Q = V W: V and W packed, and their errors.

    V has the vectors of the reflections I - tau v v^T as columns, W is upper triangular with the tau on its diagonal
    (Ballard and others, Reconstructing Householder vectors from TSQR, IPDPS 2014). As |v| <= 1, no row is exchanged.
    """
    m, k = q.shape[-2:]
    left = Enclosure(lax.sub(jnp.broadcast_to(jnp.eye(m, k, dtype=q.dtype), q.shape), q), plus(of_q, 2 * _ulp(q)))
    outs = lapack.lu(left.mid)
    in_order = lax.eq(outs[2], jnp.broadcast_to(jnp.arange(m, dtype=outs[2].dtype), outs[2].shape))
    unmoved = jnp.all(in_order, axis=-1)[..., None, None]
    return outs, where(unmoved, elimination_error(left, outs), np.inf)


def _zero_below(a: Enclosure, k: int) -> Any:
    """Which columns have only zeros below the diagonal, and all columns before them as well."""
    zero = lax.bitwise_and(equal(plus(lax.abs(a.mid), a.rad), 0.0), lax.bitwise_not(subnormal(a.mid)))
    columns = jnp.all(lax.bitwise_or(zero, lax.bitwise_not(below_diagonal(zero))), axis=-2)[..., :k]
    return jnp.cumprod(columns.astype(jnp.int32), axis=-1) > 0


def _ulp(x: Any) -> float:
    return 2 * format_of(x.dtype).unit_roundoff


@rule("householder_product")
def householder_product(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """The first columns of the product of reflections, computed again with its rounding counted."""
    out = middle(outs[0])
    v, t = _compact(model, operands)
    m, n = out.shape[-2:]
    first = Enclosure(jnp.broadcast_to(jnp.eye(m, n, dtype=out.dtype), out.shape))
    reflected = product(product(v, t), v.map(lambda x: x[..., :n, :]).h)
    return [size(difference(Enclosure(out), difference(first, reflected)))]


@rule("ormqr")
def ormqr(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, left: bool, transpose: bool) -> list[Any]:
    """The product of reflections, or its transpose, times a matrix from the left or the right."""
    out = outs[0].astype(error_dtype(outs[0].dtype))
    v, t = _compact(model, operands[:2])
    c = enclosed(model, operands[2], out.dtype)
    t = t.t if transpose else t
    reflected = product(product(v, t), product(v.t, c)) if left else product(product(c, v), product(t, v.t))
    return [size(difference(Enclosure(out), difference(c, reflected)))]


def _compact(model: Any, operands: Sequence[Annotated]) -> tuple[Enclosure, Enclosure]:
    """V and T, by the second theorem."""
    dtype = error_dtype(operands[0].value.dtype)
    packed, taus = (enclosed(model, x, dtype) for x in operands)
    k = taus.mid.shape[-1]
    v = packed.map(lambda x: jnp.tril(x[..., :k], -1))
    v = v._replace(mid=plus(v.mid, jnp.broadcast_to(jnp.eye(*v.mid.shape[-2:], dtype=v.mid.dtype), v.mid.shape)))
    eye = identity(k, v.mid)
    d = taus.map(lambda x: times(eye, x[..., None, :]))
    m = triangle(product(d, product(v.h, v)), lower=False, unit_diagonal=True)
    t = lapack.triangular_solve(m.mid, d.mid, left_side=True)
    error = solution_error(m, d, t, triangular_inverse(m.mid, lower=False), triangular_weights(lower=False))
    return v, Enclosure(t, error)


@rule("geqrf")
def geqrf(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """R on and above the diagonal, the vectors of the reflections below it, at most 1; their tau, at most 2."""
    packed, taus = map(middle, outs)
    a, k = enclosed(model, operands[0], error_dtype(packed.dtype)), taus.shape[-1]
    first, r = packed[..., :k], Enclosure(jnp.triu(packed[..., :k, :]))
    q = Enclosure(lapack.householder_product(first, taus))
    of_q, of_r = orthogonal_factors(a, q, r, remainders(a, q, r))
    (again, *_), errors = _reflections(q.mid, of_q)
    of_v = plus(errors, lax.abs(lax.sub(again, first)))
    of_tau = plus(diagonal(errors), lax.abs(lax.sub(diagonal(again), taus)))
    return reflection_errors(a, packed, taus, signs_certain(a, q.mid, of_q), (of_r, of_v, of_tau))


def reflection_errors(a: Enclosure, packed: Any, taus: Any, certain: Any, errors: Sequence[Any]) -> list[Any]:
    """Errors of the packed factors and the taus, from those of R, V and taus, if all signs are those of the exact."""
    (m, n), k = packed.shape[-2:], taus.shape[-1]
    of_r, of_v, of_tau = errors
    flips = where(transposed(certain), 0.0, jnp.asarray(2.0, of_r.dtype))
    of_r = enlarged(plus(of_r, times(lax.abs(jnp.triu(packed[..., :k, :])), flips)), 8, of_r.dtype)
    known = jnp.all(less(size(a), np.inf), axis=(-2, -1), keepdims=True)
    of_v = _or_at_most(1.0, packed[..., :k], where(certain, of_v, np.inf), known)
    of_tau = _or_at_most(2.0, taus, where(certain[..., 0, :], of_tau, np.inf), known[..., 0])
    of_r = minimum(of_r, _no_more_than_columns(packed[..., :k, :], a))
    return [where(below_diagonal(packed), fitted(of_v, m, n), fitted(of_r, m, n)), of_tau]


def diagonal(x: Any) -> Any:
    """In a row."""
    return jnp.diagonal(x, axis1=-2, axis2=-1)


def _or_at_most(largest: float, x: Any, error: Any, known: Any) -> Any:
    """The error of a number that is at most so large, whatever else is known of it."""
    error = enlarged(error, 4, x.dtype)
    return where(known, minimum(error, enlarged(plus(lax.abs(x), largest), 4, x.dtype)), np.inf)


same_for_complex("qr")
