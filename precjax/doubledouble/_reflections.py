"""Householder's reflections of matrices of pairs, with LAPACK's conventions, column by column.

The reflection I - tau v v^T, v_1 = 1, maps a column x to beta e_1, where beta has the sign opposite to that of x_1; it
is the identity, tau = 0, where x has only zeros below its first element. So Q and R are those that LAPACK computes, and
backward stable (Higham, theorem 19.4): each column of the matrix is moved by some 2**-100 of its norm.

Of complex numbers, (I - tau v v^H)^H maps x to beta e_1, where beta is real, and its sign opposite to that of the real
part of x_1; it is the identity where x_1 is real, too.

References:
    Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., chapter 19.
    Anderson and others, LAPACK Users' Guide, 3rd ed.: dlarfg, dgeqrf, dorgqr, dormqr;
    zlarfg, zgeqrf, zungqr, zunmqr.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from precjax import _lapack as lapack
from precjax.doubledouble import _arithmetic as arithmetic
from precjax.doubledouble import _numbers as numbers
from precjax.doubledouble._complex import is_complex, parts
from precjax.doubledouble._numbers import adjoint, conj, mapped
from precjax.doubledouble._pairs import DD, from_float, scaled


def geqrf(a: DD) -> tuple[DD, DD]:
    """As `lax.linalg.geqrf`: R on and above the diagonal, the vectors v below it, and the factors tau."""
    m, n = a.hi.shape[-2:]
    rows, columns = jnp.arange(m)[:, None], jnp.arange(n)

    def step(j: Any, state: tuple[DD, DD]) -> tuple[DD, DD]:
        packed, taus = state
        beta, v, tau = _reflection(_column(packed, j), j)
        reflected = _reflected(packed, v, conj(tau))
        column = arithmetic.select(rows > j, v, arithmetic.select(rows == j, beta, _column(packed, j)))
        packed = arithmetic.select(columns > j, reflected, arithmetic.select(columns == j, column, packed))
        return packed, arithmetic.select(jnp.arange(taus.hi.shape[-1]) == j, mapped(lambda x: x[..., 0], tau), taus)

    none = jnp.zeros((*a.hi.shape[:-2], min(m, n)), a.hi.dtype)
    return lax.fori_loop(0, min(m, n), step, (a, DD(none, none))) if min(m, n) else (a, DD(none, none))


def householder_product(packed: DD, taus: DD) -> DD:
    """As `lax.linalg.householder_product`: the first columns of Q."""
    return reflect(packed, taus, identity(packed, packed.hi.shape[-1]), transpose=False)


def ormqr(packed: DD, taus: DD, c: DD, *, left: bool, transpose: bool) -> DD:
    """As `lax.linalg.ormqr`: the product of Q, or of its adjoint, with a matrix from the left or the right."""
    if left:
        return reflect(packed, taus, c, transpose)
    return adjoint(reflect(packed, taus, adjoint(c), not transpose))


def qr(a: DD, full_matrices: bool, pivoting: bool = False) -> tuple[Any, ...]:
    """As `lax.linalg.qr`, with the columns in the order that float64 gives them."""
    pivots = lapack.qr(a.hi, pivoting=True)[2:] if pivoting else []
    for order in pivots:
        a = mapped(lambda x, order=order: jnp.take_along_axis(x, order[..., None, :], -1), a)
    m, n = a.hi.shape[-2:]
    packed, taus = geqrf(a)
    k = m if full_matrices else min(m, n)
    q = reflect(packed, taus, identity(a, k), transpose=False)
    return q, mapped(lambda x: jnp.triu(x[..., :k, :]), packed), *pivots


def orthonormal(x: DD) -> DD:
    """Orthonormal columns, each of which is nearest to its column among those orthogonal to all before it."""
    q, r = qr(x, full_matrices=False)
    negative = jnp.real(jnp.diagonal(r.hi, axis1=-2, axis2=-1))[..., None, :] < 0
    return arithmetic.select(negative, arithmetic.neg(q), q)


def reflect(packed: DD, taus: DD, c: DD, transpose: bool) -> DD:
    """Q c, or its adjoint times c; Q is the product of the reflections, from the first to the last."""
    k, rows = taus.hi.shape[-1], jnp.arange(packed.hi.shape[-2])[:, None]
    taus = conj(taus) if transpose else taus

    def step(i: Any, c: DD) -> DD:
        j = i if transpose else k - 1 - i
        one = from_float(jnp.where(rows == j, 1.0, 0.0))
        v = arithmetic.select(rows > j, _column(packed, j), one)
        return _reflected(c, v, _column(mapped(lambda x: x[..., None, :], taus), j))

    return lax.fori_loop(0, k, step, c) if k else c


def _column(x: DD, j: Any) -> DD:
    return mapped(lambda v: lax.dynamic_slice_in_dim(v, j, 1, -1), x)


def identity(like: DD, columns: int) -> DD:
    m, eye = like.hi.shape[-2], jnp.eye(like.hi.shape[-2], columns, dtype=like.hi.dtype)
    return numbers.lifted(jnp.broadcast_to(eye, (*like.hi.shape[:-2], m, columns)))


def _reflected(c: DD, v: DD, tau: DD) -> DD:
    """(I - tau v v^H) c."""
    return numbers.sub(c, numbers.mul(v, numbers.mul(tau, inner(v, c))))


def inner(v: DD, c: DD) -> DD:
    """Inner products of columns, in a row: a product of slices would take longer to compile, and to run."""
    return _in_row(numbers.reduce_sum(numbers.mul(conj(v), c), (c.hi.ndim - 2,)))


def squares(x: DD) -> DD:
    """Squares of the norms of columns, in a row: real numbers."""
    rows = x.hi.ndim - 2
    sums = [numbers.reduce_sum(arithmetic.square(part), (rows,)) for part in (parts(x) if is_complex(x) else (x,))]
    return _in_row(arithmetic.add(*sums) if is_complex(x) else sums[0])


def _in_row(x: DD) -> DD:
    return mapped(lambda v: v[..., None, :], x)


@jax.jit
def _reflection(column: DD, j: Any) -> tuple[DD, DD, DD]:
    """beta, v and tau of the elements from the j-th on; v is 0 above, and what squares may lose is scaled away."""
    rows = jnp.arange(column.hi.shape[-2])[:, None]
    x = arithmetic.select(rows >= j, column, from_float(0.0))
    unit = numbers.unit(x, (-2,))
    x = numbers.scaled(x, -unit)
    first = mapped(lambda v: lax.dynamic_slice_in_dim(v, j, 1, -2), x)
    moves = jnp.any((x.hi != 0) & (rows > j), axis=-2, keepdims=True) | (jnp.imag(first.hi) != 0)
    norm = arithmetic.sqrt(squares(x))
    beta = arithmetic.select(jnp.real(first.hi) < 0, norm, arithmetic.neg(norm))
    one, zero = from_float(jnp.ones_like(beta.hi)), from_float(jnp.zeros_like(beta.hi))
    # Signs of beta and of x_1 differ: nothing cancels. Where nothing moves, beta may be 0.
    tau = numbers.div(numbers.sub(beta, first), arithmetic.select(moves, beta, one))
    v = numbers.div(x, arithmetic.select(moves, numbers.sub(first, beta), one))
    v = arithmetic.select(rows == j, one, arithmetic.select((rows > j) & moves, v, zero))
    beta = scaled(arithmetic.select(moves, beta, numbers.real(first)), unit)
    return beta, v, arithmetic.select(moves, tau, zero)
