"""Eigenvalues and eigenvectors of general matrices of pairs, by Newton's method from the vectors of float64.

Theorem: if G = V^-1 A V is nearly diagonal, V (I + F) with f_ij = g_ij / (g_jj - g_ii) off the diagonal brings it
nearer: what is left is of second order in F. So errors of one in 2**53 become such of one in 2**106 in a step or two,
a few more where eigenvalues are close. Where F stays large, or is divided by nothing, the vectors of float64 say too
little of those of the matrix: there the vectors are NaN, and the values too, unless G is nearly diagonal anyway.

References:
    Ogita and Aishima, Iterative refinement for symmetric eigenvalue decomposition, Japan J. Indust. Appl. Math. 35
    (2018).
    Dongarra, Moler and Wilkinson, Improving the accuracy of computed eigenvalues and eigenvectors, SIAM J. Numer.
    Anal. 20 (1983).
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax import _lapack as lapack
from precjax._eigenvalue_order import in_order
from precjax.doubledouble import _arithmetic as arithmetic
from precjax.doubledouble import _numbers as numbers
from precjax.doubledouble._complex import joined, parts
from precjax.doubledouble._numbers import adjoint, conj, dot, lifted, mapped, transposed
from precjax.doubledouble._pairs import DD
from precjax.doubledouble._reflections import identity, squares
from precjax.doubledouble._rotations import signed

_STEPS = 8
_DONE = 2.0**-95  # the largest element of F that may be left out
_KNOWN = 2.0**-60  # what may be left of F in vectors, of G / |A| in values
_LARGE = 0.25  # elements of F that Newton's method cannot use


def eig(a: DD, *, compute_left_eigenvectors: bool, compute_right_eigenvectors: bool) -> tuple[DD, ...]:
    """As `lax.linalg.eig`: values in the order of float64, unit vectors with the phases that are nearest to its own."""
    asked = dict(
        compute_left_eigenvectors=compute_left_eigenvectors, compute_right_eigenvectors=compute_right_eigenvectors
    )
    values, *near = lapack.eig(a.hi, **asked)
    if not a.hi.size:
        return lifted(values), *map(lifted, near)
    unit = numbers.unit(a, (-2, -1))
    a = joined(parts(numbers.scaled(a, -unit)))
    if not near:
        found, _ = _refined(a, in_order(values, *lapack.eig(a.hi, compute_left_eigenvectors=False)))
        return (numbers.scaled(found, unit[..., 0]),)
    pairs = []
    if compute_left_eigenvectors:
        found, left = _refined(adjoint(a), near[0])
        pairs.append((conj(found), left))
    if compute_right_eigenvectors:
        pairs.append(_refined(a, near[-1]))
    return numbers.scaled(pairs[-1][0], unit[..., 0]), *(vectors for _, vectors in pairs)


def _refined(a: DD, near: Any) -> tuple[DD, DD]:
    """Values (..., n) and vectors."""

    def step(state: tuple[Any, ...]) -> tuple[Any, ...]:
        v, _, steps, *_ = state
        g = _turned(a, v)
        f = _correction(g)
        size = lax.abs(f.hi)
        used = arithmetic.select(size < _LARGE, f, lifted(jnp.zeros_like(f.hi)))
        return numbers.add(v, dot(v, used)), g, steps + 1, size

    start = lifted(near), lifted(near), 0, jnp.full(near.shape, jnp.inf)
    v, g, _, f = lax.while_loop(_going, step, start)
    off = lax.abs(_off_diagonal(g).hi)
    known = jnp.max(f, axis=-2, keepdims=True) < _KNOWN
    values = known[..., 0, :] | (jnp.maximum(jnp.max(off, axis=-2), jnp.max(off, axis=-1)) < _KNOWN * _KNOWN)
    v = signed(near, numbers.div(v, arithmetic.sqrt(squares(v))))[0]
    return _where(values, _diagonal(g)), _where(known, v)


def _going(state: tuple[Any, ...]) -> Any:
    """Whether the last step, if any, moved something."""
    *_, steps, size = state
    return (steps == 0) | (steps < _STEPS) & jnp.any((size > _DONE) & (size < _LARGE))


def _turned(a: DD, v: DD) -> DD:
    """V^-1 A V."""
    eye = identity(v, v.hi.shape[-1])

    def newton(_: int, y: DD) -> DD:
        return numbers.add(y, dot(y, numbers.sub(eye, dot(v, y))))

    inverse = lax.fori_loop(0, 2, newton, lifted(lapack.inv(v.hi)))
    return dot(inverse, dot(a, v))


def _correction(g: DD) -> DD:
    """F; inf where something is divided by nothing."""
    d = mapped(lambda x: x[..., None, :], _diagonal(g))
    gaps = numbers.sub(*(mapped(lambda x: jnp.broadcast_to(x, g.hi.shape), x) for x in (d, transposed(d))))
    off = _off_diagonal(g)
    none = gaps.hi == 0
    f = numbers.div(off, arithmetic.select(none, lifted(jnp.ones_like(gaps.hi)), gaps))
    return DD(jnp.where(none & (off.hi != 0), jnp.inf, f.hi), f.lo)


def _diagonal(g: DD) -> DD:
    return mapped(lambda x: jnp.diagonal(x, axis1=-2, axis2=-1), g)


def _off_diagonal(g: DD) -> DD:
    return mapped(lambda x: jnp.where(jnp.eye(x.shape[-1], dtype=bool), 0, x), g)


def _where(known: Any, x: DD) -> DD:
    return mapped(lambda v: jnp.where(known, v, jnp.nan), x)
