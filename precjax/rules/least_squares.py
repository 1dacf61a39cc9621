"""Least squares: pseudoinverses, and what they make of a right hand side.

Theorem: let A*, m x n, have full column rank, and R be any n x n matrix. With Q* = A* R and Q*^H Q* = I + E,

    A*^+ = R (I + E)^-1 Q*^H,  hence  A*^+ b* - x = R (I + E)^-1 Q*^H (b* - A* x)  for every x,

as A*^+ A* = I. For R = V S^-1, of the computed singular values and vectors, E is small: it does not matter whether
singular values are apart, where singular vectors may turn. E proves the rank as well: if |E|_2 and |V^H V - I|_2 are at
most 1/4, the smallest singular value of A* is, in proportion to the largest, at least 3/5 of what was computed.

References:
    Rump, Verification methods, Acta Numerica 19 (2010), section 10.
    Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., chapter 20.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _lapack as lapack
from precjax._annotated import Annotated
from precjax._registry import rule, same_for_complex
from precjax._rounding import enlarged, error_dtype, format_of, less, minimum, never_nan, plus, times, where
from precjax.rules.enclosure import (
    Enclosure,
    adjoint,
    amplified,
    defect,
    difference,
    dot_up,
    enclosed,
    identity,
    middle,
    product,
    size,
    spectral_norm,
    transposed,
)

RANK = {"lstsq": 1.0, "pinv": 10.0}  # smallest singular values that count, in max(m, n) eps of the largest
LONG = 16  # rows per column, beyond which the unit matrix of pinv would dwarf the matrix


class Preconditioned(NamedTuple):
    """A* R = Q*, with a bound of E, and whether the rank is full."""

    r: Any
    q: Enclosure
    e: Any
    full: Any

    def moved(self, rest: Enclosure) -> Any:
        """A bound of R (I + E)^-1 Q*^H (b* - A* x), from Q*^H (b* - A* x)."""
        error = dot_up(enlarged(lax.abs(self.r), 4, self.e.dtype), amplified(self.e, size(rest)))
        return never_nan(where(self.full, error, np.inf))


def preconditioned(a: Enclosure, rank: float, x: Any) -> Preconditioned:
    """R from the singular values; LAPACK waits for the result x."""
    _, s, vh = lapack.svd(a.mid, full_matrices=False)
    v, s = adjoint(vh), s[..., None, :]
    r = lax.div(*jnp.broadcast_arrays(v, s.astype(v.dtype)))
    q = product(a, Enclosure(r))
    e = defect(q.h, q)
    norms = jnp.maximum(*(never_nan(spectral_norm(z)) for z in (e, defect(Enclosure(adjoint(v)), Enclosure(v)))))
    least = rank * max(a.mid.shape[-2:]) * 2 * format_of(s.dtype).unit_roundoff
    full = lax.bitwise_and(less(norms, 0.25), less(times(s[..., :1], 2.0 * least), s[..., -1:]))
    return Preconditioned(r, q, e, full)


@rule("pinv")
def pinv(
    model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, steps: Sequence[Annotated]
) -> list[Any] | None:
    """b* = I; a wide matrix is transposed first; a much longer one would need too large a unit matrix."""
    p = middle(outs[0])
    a = enclosed(model, operands[0], error_dtype(p.dtype))
    wide = a.mid.shape[-2] < a.mid.shape[-1]
    a, x = (a.h, adjoint(p)) if wide else (a, p)
    m, n = a.mid.shape[-2:]
    if m > LONG * n:
        return None
    near = preconditioned(a, RANK["pinv"], x)
    rest = difference(Enclosure(identity(m, a.mid)), product(a, Enclosure(x)))
    error = near.moved(product(near.q.h, rest))
    return [minimum(transposed(error) if wide else error, model.error(steps[0]))]


@rule("lstsq")
def lstsq(
    model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, steps: Sequence[Annotated]
) -> list[Any] | None:
    """The solution and the sum of squares that it leaves; rank and singular values are those of the steps."""
    dtype = error_dtype(outs[0].dtype)
    a, b = (enclosed(model, x, dtype) for x in operands)
    if a.mid.shape[-2] < a.mid.shape[-1]:
        return None
    vector = b.mid.ndim < a.mid.ndim
    b = b.map(lambda z: z[..., None]) if vector else b
    x = middle(outs[0])[..., None] if vector else middle(outs[0])
    near = preconditioned(a, RANK["lstsq"], x)
    rest = difference(b, product(a, Enclosure(x)))
    error = near.moved(product(near.q.h, rest))
    of_squares = minimum(_of_squares(a, rest, error, outs[1]), model.error(steps[1]))
    error = minimum(error[..., 0] if vector else error, model.error(steps[0]))
    return [error, of_squares, *(y.error for y in steps[2:])]


def _of_squares(a: Enclosure, rest: Enclosure, error: Any, out: Any) -> Any:
    """How far a sum of squares is from that of b* - A* x*, each within |A*| |x* - x| of b* - A* x."""
    sizes, m = lax.abs(rest.mid), a.mid.shape[-2]
    moved = enlarged(plus(dot_up(size(a), error), rest.rad), 4, sizes.dtype)
    squares = jnp.sum(lax.square(sizes), axis=-2)
    spread = jnp.sum(times(moved, plus(times(sizes, 2.0), moved)), axis=-2)
    rounding = times(squares, (m + 8) * 2 * format_of(sizes.dtype).unit_roundoff)
    apart = lax.abs(lax.sub(squares, out.astype(squares.dtype)))
    return never_nan(enlarged(plus(spread, rounding, apart), 2 * m + 16, sizes.dtype, flushed=4 * m))


same_for_complex("pinv", "lstsq")
