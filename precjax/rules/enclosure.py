"""Matrices in midpoint and radius, and the verified bounds that linear algebra is made of.

Theorem (Rump, Acta Numerica 2010, sections 9 and 10): if x* lies in x +- rx and y* in y +- ry, then x* y* lies within
|x| ry + rx (|y| + ry) + n u |x| |y| of the computed x y, elementwise (n u: Jeannerod and Rump 2013, any order).

Bounds of this family are a posteriori: they look at a computed result and say how far it is from the exact one,
however it was computed. The rounding that they count in a residual, n u |x| |y|, is also what a stable algorithm may
leave there (Higham, theorems 8.5, 9.3 and 10.3), so that to first order results of other executions obey the same
bound.

All arrays are stacks of matrices, (..., m, n), in the dtype of errors; midpoints may be complex, with moduli for
absolute values, and radii of discs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._annotated import Annotated
from precjax._rounding import (
    arithmetic_dtype,
    enlarged,
    error_dtype,
    format_of,
    less,
    maximum,
    minus,
    never_nan,
    plus,
    ratio,
    times,
    where,
)


class Enclosure(NamedTuple):
    """Every matrix within `rad` of `mid`, elementwise; None for no radius."""

    mid: Any
    rad: Any = None

    @property
    def t(self) -> Enclosure:
        """The transposed matrices."""
        return Enclosure(transposed(self.mid), None if self.rad is None else transposed(self.rad))

    @property
    def h(self) -> Enclosure:
        """The conjugate transposed matrices."""
        return Enclosure(adjoint(self.mid), None if self.rad is None else transposed(self.rad))

    def map(self, f: Callable[[Any], Any]) -> Enclosure:
        """A move of elements."""
        return Enclosure(f(self.mid), None if self.rad is None else f(self.rad))


def enclosed(model: Any, operand: Annotated, dtype: Any) -> Enclosure:
    """The operand: its exact value lies within its error."""
    return Enclosure(middle(jnp.asarray(operand.value), dtype), model.ball(operand, dtype).error)


def middle(x: Any, dtype: Any = None) -> Any:
    """An array as it is computed with: in the dtype of errors, or complex."""
    return x.astype(arithmetic_dtype(x.dtype, dtype or error_dtype(x.dtype)))


def transposed(x: Any) -> Any:
    """Rows and columns exchanged."""
    return jnp.swapaxes(x, -1, -2)


def adjoint(x: Any) -> Any:
    """The conjugate transpose, of real matrices the transpose."""
    return jnp.conj(transposed(x))


def identity(n: int, like: Any) -> Any:
    """The unit matrix, once per matrix of a stack."""
    return jnp.broadcast_to(jnp.eye(n, dtype=like.dtype), (*like.shape[:-2], n, n))


def dot(a: Any, b: Any) -> Any:
    """The product of stacks of matrices, rounded to nearest."""
    batch = tuple(range(a.ndim - 2))
    numbers = (((a.ndim - 1,), (b.ndim - 2,)), (batch, batch))
    return lax.dot_general(a, b, numbers, precision=lax.Precision.HIGHEST, preferred_element_type=a.dtype)


def dot_up(a: Any, b: Any, *more: Any) -> Any:
    """An upper bound of the product of non-negative matrices, from left to right."""
    n = a.shape[-1]
    product = enlarged(dot(a, b), n + 2, a.dtype, flushed=2 * n + 1)
    return dot_up(product, *more) if more else product


def product(x: Enclosure, y: Enclosure) -> Enclosure:
    """x* y*, by the theorem above."""
    dtype, n = x.mid.dtype, x.mid.shape[-1]
    fmt = format_of(dtype)
    # Reading a subnormal as 0 loses as much as rounding smallest / u.
    left, right = (plus(lax.abs(z.mid), fmt.smallest_normal / fmt.unit_roundoff) for z in (x, y))
    rounding = times(right, _terms(n, dtype) * fmt.unit_roundoff)
    radius = dot_up(left, plus(rounding, y.rad))
    if x.rad is not None:
        radius = plus(radius, dot_up(x.rad, plus(right, y.rad)))
    return Enclosure(dot(x.mid, y.mid), enlarged(radius, 8, dtype, flushed=4 * n))


def _terms(n: int, dtype: Any) -> float:
    """Real and imaginary parts of a complex product sum 2 n terms each, of sizes that add up to at most n |x| |y|."""
    return 2 * math.sqrt(2) * (n + 2) if jnp.issubdtype(dtype, jnp.complexfloating) else n + 2.0


def difference(x: Enclosure, y: Enclosure) -> Enclosure:
    """x* - y*."""
    mid, fmt = lax.sub(x.mid, y.mid), format_of(x.mid.dtype)
    radius = plus(x.rad, y.rad, times(lax.abs(mid), fmt.unit_roundoff))
    return Enclosure(mid, enlarged(radius, 4, mid.dtype, flushed=4))


def size(x: Enclosure) -> Any:
    """An upper bound of |x*|."""
    return enlarged(plus(lax.abs(x.mid), x.rad), 8, x.mid.dtype)  # 4 of them for the modulus of a complex number


def defect(x: Enclosure, y: Enclosure) -> Any:
    """An upper bound of |I - x* y*|."""
    return size(difference(Enclosure(identity(x.mid.shape[-2], x.mid)), product(x, y)))


def amplified(m: Any, d: Any, weights: Any = None) -> Any:
    """An upper bound of (I - m)^-1 d for non-negative m and d; inf where I - m is not known to be an M-matrix.

    For any w > 0 with m w <= a w, a < 1: (I - m)^-1 d = d + m (I - m)^-1 d <= d + m w max(d / w) / (1 - a).
    """
    w = _weights(m) if weights is None else weights
    moved = dot_up(m, w)
    a = highest(ratio(moved, w), -2)
    c = highest(ratio(d, w), -2)
    eps = 2 * format_of(m.dtype).unit_roundoff
    room = maximum(minus(1 - 4 * eps, times(a, 1 + 4 * eps)), 0.0)
    return enlarged(plus(d, times(moved, ratio(c, room))), 16, m.dtype, flushed=4)


def _weights(m: Any) -> Any:
    """About (I - 2 m)^-1 1, for which m w <= w / 2, whatever the scales of rows and columns."""
    ones = jnp.ones((*m.shape[:-1], 1), m.dtype)
    w = ones
    for _ in range(4):
        w = plus(times(dot(m, w), 2.0), ones)
    return w


def highest(x: Any, *axes: int) -> Any:
    """The largest element along axes, which are kept; inf where one is not a number."""
    return jnp.max(never_nan(x), axis=axes, keepdims=True, initial=0.0)


def inverse_size(x: Enclosure, inverse: Any, weights: Callable[[Any], Any] | None = None) -> Any:
    """An upper bound of |x*^-1|, from an approximate inverse R: x^-1 = (I - (I - R x))^-1 R."""
    m = defect(Enclosure(inverse), x)
    return amplified(m, lax.abs(inverse), None if weights is None else weights(m))


def solution_error(
    a: Enclosure, b: Enclosure, x: Any, inverse: Any, weights: Callable[[Any], Any] | None = None
) -> Any:
    """How far x is from the solution of a* x* = b*.

    x* - x = (R a*)^-1 R (b* - a* x), so |x* - x| <= (I - M)^-1 |R (b* - a* x)|, M >= |I - R a*|. A solution x' with
    |b* - a* x'| <= e_b + F |x'|, F holding the errors of a and its own roundings, M >= |R| F, is no further from x*
    than (I - 2 M)^-1 (I - M)^-1 of the same bound, hence than (I - 3 M)^-1 of it.
    """
    residual = difference(b, product(a, Enclosure(x)))
    m = times(defect(Enclosure(inverse), a), 3.0)
    return amplified(m, size(product(Enclosure(inverse), residual)), None if weights is None else weights(m))


def fixed_point(f: Callable[[Any], Any], like: Any, limit: Any = np.inf, levels: Any = None) -> Any:
    """A bound of some fixed point of every continuous F with |F(z)| <= f(|z|), f increasing; inf where none is proved.

    If f(x) <= x, then F maps the box |z| <= x into itself, and Brouwer's theorem gives a fixed point, which lies in
    |z| <= f(f(x)) as well.

    Args:
        f: one step.
        like: an array of the shape of z.
        limit: what the bound must stay below.
        levels: for every element a number; an element depends on those of its own and lower levels, which are a problem
            of their own. Without levels every column is one.

    Returns:
        The bound.
    """
    twice = times(limit, 2.0)

    def step(x: Any) -> Any:
        # What is out of bounds must not spoil by an inf times 0 what does not depend on it.
        return f(where(less(x, twice), x, twice))

    x = step(jnp.zeros_like(like))
    for _ in range(3):
        x = step(times(x, 2.0))
    x = times(x, 2.0)
    inside = step(x)
    proved = lax.bitwise_and(lax.bitwise_and(lax.le(inside, x), less(x, twice)), less(inside, limit))
    if levels is None:
        proved = jnp.all(proved, axis=-2, keepdims=True)
    else:
        failed = jnp.min(where(proved, np.inf, levels), axis=(-2, -1), keepdims=True, initial=np.inf)
        proved = lax.lt(levels, jnp.broadcast_to(failed, like.shape))
    return where(proved, step(inside), np.inf)


def by_elimination(like: Any, steps: int) -> tuple[Any, Any]:
    """Limits and levels of what elimination moves: (i, j) depends on elements left of it and above it.

    The first diagonal elements must stay below 1: no pivot of I + E is 0, so its factors are unique.
    """
    m, n = like.shape[-2:]
    i, j = np.arange(m)[:, None], np.arange(n)
    large = 2.0 ** (-np.log2(format_of(like.dtype).smallest_normal) // 2 - 6)
    limit = np.where(np.minimum(i, j) < steps, np.where(i == j, 1.0, large), np.inf)
    limit, levels = (jnp.broadcast_to(jnp.asarray(x, like.dtype), like.shape) for x in (limit, np.minimum(i, j)))
    return limit, levels


def on_diagonal(x: Any) -> Any:
    """Where row and column are the same."""
    return jnp.broadcast_to(jnp.eye(*x.shape[-2:], dtype=bool), x.shape)


def hermitian(a: Enclosure, lower: bool) -> Enclosure:
    """The Hermitian matrix of which one triangle is read, of its diagonal the real parts; a symmetric one, if real."""
    part, rest = (jnp.tril, -1) if lower else (jnp.triu, 1)

    def whole(x: Any) -> Any:
        x = plus(part(x), adjoint(part(x, rest)))
        return where(on_diagonal(x), jnp.real(x).astype(x.dtype), x)

    return a.map(whole)


def spectral_norm(p: Any) -> Any:
    """An upper bound of the 2-norm of every matrix below p: Frobenius, or the root of the 1-norm times the inf-norm."""
    m, n = p.shape[-2:]
    total = jnp.sum(lax.square(_scaled(p)), axis=(-2, -1), keepdims=True)
    frobenius = times(lax.sqrt(total), _scale(p))
    columns, rows = (highest(jnp.sum(p, axis=axis, keepdims=True), -2, -1) for axis in (-2, -1))
    mixed = times(lax.sqrt(columns), lax.sqrt(rows))
    smaller = where(less(frobenius, mixed), frobenius, mixed)
    return enlarged(smaller, m * n + 8, p.dtype, flushed=m * n)


def _scale(p: Any) -> Any:
    return plus(highest(p, -2, -1), format_of(p.dtype).smallest_normal)


def _scaled(p: Any) -> Any:
    """Between 0 and 1, so that squares do not overflow; what underflows is too small to matter, and made up for."""
    scaled = lax.div(p, jnp.broadcast_to(_scale(p), p.shape))
    return maximum(scaled, 2.0 ** -(0.4 * -np.log2(format_of(p.dtype).smallest_normal)))
