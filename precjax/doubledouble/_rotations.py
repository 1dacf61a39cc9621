"""Eigenvalues and singular values of matrices of pairs, by Jacobi's rotations from the vectors of float64.

Theorem (Hestenes): rotations of two columns of A V, each by the angle that makes them orthogonal, end in columns U S:
quadratically, in whatever clusters the singular values lie. Started from float64 vectors, one or two sweeps over all
pairs are enough, a few more within clusters, where those vectors are arbitrary. An angle need not be exact: its tangent
is a float64 number, of which cosine and sine are computed in pairs, so that each rotation is orthogonal to 2**-100.
Right singular vectors of A + c I, where it is positive definite, are eigenvectors of a symmetric A.

Of complex columns, one of the two is first turned by the phase of their inner product, which is real then; the phases
of the vectors are those that bring them nearest to the vectors of float64.

A sweep is n - 1 rounds of a tournament: in each, every column meets another, and all of them turn at once.

References:
    Golub and Van Loan, Matrix Computations, 4th ed., sections 8.5 and 8.6.3.
    Brent and Luk, The solution of singular-value and symmetric eigenvalue problems on multiprocessor arrays, SIAM J.
    Sci. Stat. Comput. 6 (1985).
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax import _lapack as lapack
from precjax._rounding import divide
from precjax.doubledouble import _arithmetic as arithmetic
from precjax.doubledouble import _numbers as numbers
from precjax.doubledouble._complex import is_complex
from precjax.doubledouble._factorizations import symmetric
from precjax.doubledouble._numbers import adjoint, dot, lifted, mapped
from precjax.doubledouble._pairs import DD, exponent, from_float, power_of_two, scaled
from precjax.doubledouble._reflections import inner, orthonormal, squares

_SWEEPS = 20  # never reached: quadratic convergence needs three, in clusters some ten
_NOISE = 2.0**-90  # a singular value below it, of a matrix of unit size, says little about its left vector
_TINY = 2.0**-450  # columns so short do not matter, beside others of unit size
_SMALL = 2.0**-98  # a cosine that some roundings of pairs may leave


def eigh(a: DD, lower: bool) -> tuple[DD, DD]:
    """As `lax.linalg.eigh`: unit vectors with the signs that float64 gives them, values in ascending order."""
    a = symmetric(a if lower else adjoint(a))
    near, none = lapack.eigh(a.hi, symmetrize_input=False)
    if not a.hi.size:
        return lifted(near), from_float(none)
    unit = numbers.unit(a, (-2, -1))
    a = numbers.scaled(a, -unit)
    norm = jnp.max(jnp.sum(lax.abs(a.hi), axis=-1, keepdims=True), axis=-2, keepdims=True, initial=0.5)
    shift = from_float(jnp.eye(a.hi.shape[-1]) * power_of_two(exponent(norm) + 1))
    _, v = _orthogonalized(numbers.add(a, shift), near)
    values = numbers.real(inner(v, dot(a, v)))
    order = jnp.lexsort((values.lo, values.hi), axis=-1)
    v, values = (mapped(lambda x: jnp.take_along_axis(x, order, -1), x) for x in (v, values))
    return signed(near, v)[0], mapped(lambda x: x[..., 0, :], scaled(values, unit))


def svd(a: DD, full_matrices: bool, compute_uv: bool) -> tuple[DD, ...]:
    """As `lax.linalg.svd`: right vectors of a tall matrix, left ones of a wide one, have the signs of float64."""
    wide = a.hi.shape[-2] < a.hi.shape[-1]
    u, none, vt = lapack.svd(a.hi, full_matrices=full_matrices)
    if not a.hi.size:
        return tuple(map(lifted, (none, u, vt) if compute_uv else (none,)))
    near = u, jnp.conj(jnp.swapaxes(vt, -1, -2))
    s, *factors = _singular(adjoint(a), *near[::-1]) if wide else _singular(a, *near)
    u, v = reversed(factors) if wide else factors
    return (s, u, adjoint(v)) if compute_uv else (s,)


def _singular(a: DD, left: Any, right: Any) -> tuple[DD, DD, DD]:
    """Values, left and right vectors of a tall matrix, from vectors of float64."""
    unit = numbers.unit(a, (-2, -1))
    w, v = _orthogonalized(numbers.scaled(a, -unit), right)
    s = arithmetic.sqrt(squares(w))
    order = jnp.lexsort((-s.lo, -s.hi), axis=-1)
    s, v, w = (mapped(lambda x: jnp.take_along_axis(x, order, -1), x) for x in (s, v, w))
    v, w = signed(right, v, w)
    return mapped(lambda x: x[..., 0, :], scaled(s, unit)), _left(w, s, left), v


def _orthogonalized(a: DD, near: Any) -> tuple[DD, DD]:
    """Orthogonal columns A V, and V, orthogonal and near a matrix that is so to float64."""
    m, n = a.hi.shape[-2:]
    v = _orthogonal(lifted(near))
    columns = mapped(lambda x: jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, n % 2)]), _stacked(dot(a, v), v))
    turned = _swept(columns, m)
    return mapped(lambda x: x[..., :m, :n], turned), mapped(lambda x: x[..., m:, :n], turned)


def _left(w: DD, s: DD, near: Any) -> DD:
    """Left vectors W / S; where that is noise, and beyond them, those of float64, made orthogonal to the others."""
    n = s.hi.shape[-1]
    noise, others = ~(s.hi > _NOISE), lifted(near)
    u = numbers.div(w, arithmetic.select(noise, from_float(1.0), s))
    u = arithmetic.select(noise, mapped(lambda x: x[..., :n], others), u)
    beyond = mapped(lambda x: x[..., n:], others)
    return orthonormal(DD(*(jnp.concatenate(parts, -1) for parts in zip(u, beyond, strict=True))))


def _orthogonal(v: DD) -> DD:
    """The orthogonal matrix near one that is so to float64: two steps of Newton's method for the polar factor."""
    eye = from_float(jnp.broadcast_to(jnp.eye(v.hi.shape[-1]), v.hi.shape))

    def step(_: int, v: DD) -> DD:
        return numbers.add(v, dot(v, arithmetic.scale(numbers.sub(eye, dot(adjoint(v), v)), 0.5)))

    return lax.fori_loop(0, 2, step, v)


def _stacked(x: DD, y: DD) -> DD:
    return DD(*(jnp.concatenate(parts, -2) for parts in zip(x, y, strict=True)))


def signed(like: Any, v: DD, *others: DD) -> list[DD]:
    """Columns of vectors, and of what belongs to them, with the signs, or phases, that are nearest to other vectors."""
    phase = numbers.direction(inner(v, lifted(like)))
    return [numbers.mul(x, phase) for x in (v, *others)]


def _swept(x: DD, m: int) -> DD:
    """Sweeps until nothing turns any more."""
    n = x.hi.shape[-1]

    def following(_: int, state: tuple[DD, Any]) -> tuple[DD, Any]:
        x, off = _round(state[0], m)
        return x, jnp.maximum(state[1], jnp.max(off))

    def sweep(state: tuple[DD, Any, Any]) -> tuple[DD, Any, Any]:
        return *lax.fori_loop(0, n - 1, following, (state[0], jnp.zeros(()))), state[2] + 1

    start = x, jnp.full((), jnp.inf), 0
    return lax.while_loop(lambda state: (state[1] > _SMALL) & (state[2] < _SWEEPS), sweep, start)[0]


def _round(x: DD, m: int) -> tuple[DD, Any]:
    """Columns turn that in their first m rows are to be orthogonal; how far they are from it, as a cosine."""
    half = x.hi.shape[-1] // 2
    first, second = mapped(lambda v: v[..., :half], x), mapped(lambda v: v[..., half:], x)
    upper = [mapped(lambda v: v[..., :m, :], y) for y in (first, second)]
    sizes, off = [squares(y) for y in upper], inner(*upper)
    if is_complex(off):
        second, off = numbers.mul(second, numbers.conj(numbers.direction(off))), numbers.absolute(off)
    cosine, sine = _rotation(*sizes, off)
    left = numbers.sub(numbers.mul(cosine, first), numbers.mul(sine, second))
    right = numbers.add(numbers.mul(sine, first), numbers.mul(cosine, second))
    norms = jnp.sqrt(sizes[0].hi) * jnp.sqrt(sizes[1].hi)
    off = jnp.where(norms > _TINY, lax.abs(off.hi) / jnp.maximum(norms, _TINY), 0.0)
    return DD(*(_next_round(*parts) for parts in zip(left, right, strict=True))), off


def _rotation(first: DD, second: DD, off: DD) -> tuple[DD, DD]:
    """Cosines and sines that diagonalize [[first, off], [off, second]], by the smaller of two angles."""
    still = off.hi == 0
    zeta = divide(arithmetic.sub(second, first).hi, jnp.where(still, 1.0, 2 * off.hi))
    tangent = divide(jnp.where(zeta < 0, -1.0, 1.0), lax.abs(zeta) + jnp.sqrt(1 + zeta * zeta))
    tangent = from_float(jnp.where(still, 0.0, tangent))
    cosine = arithmetic.rsqrt(arithmetic.add(arithmetic.square(tangent), from_float(jnp.ones_like(zeta))))
    return cosine, arithmetic.mul(cosine, tangent)


def _next_round(left: Any, right: Any) -> Any:
    """Columns sit left and right of a table; all but the first left one move on by one seat."""
    if left.shape[-1] == 1:
        return jnp.concatenate([left, right], -1)
    seats = [left[..., :1], right[..., :1], left[..., 1:-1], right[..., 1:], left[..., -1:]]
    return jnp.concatenate(seats, -1)
