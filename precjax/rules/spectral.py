"""Eigenvalues and singular values.

Theorem (Weyl; Ostrowski): for Hermitian A* and any V, d with |V^H V - I|_2 <= delta < 1, sorted eigenvalues obey
|l_i - d_i| <= |A* - V D V^H|_2 + delta |d_i|; singular values likewise.

Theorem: let V^-1 A* V = D + G. Then y = e_i + z, z_i = 0, is an eigenvector of D + G with eigenvalue l if
l - d_i = g_ii + sum_k g_ik z_k and z_j (l - d_j) = g_ji + sum_k g_jk z_k for j != i: a fixed point, which exists, with
|l - d_i| <= rho_i and |z| below a bound, by Brouwer's theorem (`enclosure.fixed_point`). Where Weyl's intervals around
all other d_j stay clear of d_i +- rho_i, it belongs to the i-th eigenvalue, which is simple. To first order this is
z_j = g_ji / (d_i - d_j): Davis and Kahan (1970), elementwise.

An eigenvector is determined up to its sign, or its phase: the exact one is the unit vector with the one that is nearest
to the computed one. Where eigenvalues are not proved to be apart, all that is known is that its elements are at most 1.

References:
    Rump, Verification methods, Acta Numerica 19 (2010), section 13. Higham, Functions of Matrices, appendix B.
    Davis and Kahan, The rotation of eigenvectors by a perturbation, SIAM J. Numer. Anal. 7 (1970).
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
from precjax._rounding import (
    enlarged,
    error_dtype,
    format_of,
    less,
    maximum,
    minimum,
    minus,
    plus,
    ratio,
    times,
    where,
)
from precjax.rules.enclosure import (
    Enclosure,
    adjoint,
    defect,
    difference,
    dot_up,
    enclosed,
    fixed_point,
    hermitian,
    highest,
    inverse_size,
    middle,
    on_diagonal,
    product,
    size,
    spectral_norm,
    transposed,
)


@rule("eigh")
def eigh(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, lower: bool) -> list[Any]:
    """Eigenvalues by Weyl, or more sharply where they are apart; eigenvectors where they are apart."""
    dtype = error_dtype(outs[1].dtype)
    v, d = middle(outs[0]), outs[1].astype(dtype)[..., None, :]
    a = hermitian(enclosed(model, operands[0], dtype), lower)
    vectors = Enclosure(v)
    values = scaled_columns(vectors, d)
    left = Remainders(
        size(difference(a, product(values, vectors.h))),
        defect(vectors.h, vectors),
        size(difference(product(a, vectors), values)),
    )
    return list(eigen_errors(vectors, lax.abs(d), left, gaps(d, d)))


class Remainders(NamedTuple):
    """What computed vectors and values leave, as bounds of sizes.

    Attributes:
        whole: of A* - V D V^H.
        off: of I - V^H V.
        moved: of A* V - V D.
    """

    whole: Any
    off: Any
    moved: Any


def eigen_errors(v: Enclosure, d: Any, left: Remainders, gaps: Any) -> tuple[Any, Any]:
    """Errors of vectors around their midpoints, and of values, from bounds of |d|, (..., 1, n), and of their gaps."""
    weyl = _weyl(left.whole, left.off, d)
    g = dot_up(inverse_size(v, adjoint(v.mid)), left.moved)
    rho, z = rotations(g, gaps)
    clear = apart(gaps, plus(rho, transposed(weyl)))
    of_vectors = where(clear, normalized(size(v), z, left.off)[0], np.inf)
    of_values = where(clear, minimum(rho, weyl), weyl)
    return of_unit(v.mid, of_vectors, less(weyl, np.inf)[..., :1]), of_values[..., 0, :]


def scaled_columns(x: Enclosure, d: Any) -> Enclosure:
    """x diag(d), for exact x."""
    mid = lax.mul(*jnp.broadcast_arrays(x.mid, d.astype(x.mid.dtype)))
    # 3 u for a complex product (Higham, section 3.6).
    return Enclosure(mid, enlarged(times(lax.abs(mid), 3 * format_of(mid.dtype).unit_roundoff), 4, d.dtype, flushed=4))


def _weyl(residual: Any, off: Any, d: Any) -> Any:
    """|A* - V D V^T|_2 + delta |d|; inf unless delta < 1/2."""
    delta = spectral_norm(off)
    delta = where(less(delta, 0.5), delta, np.inf)
    return enlarged(plus(times(d, delta), spectral_norm(residual)), 8, d.dtype)


def gaps(a: Any, b: Any) -> Any:
    """Lower bounds of |a_i - b_j| for rows (..., 1, n): element (j, i)."""
    distance, fmt = lax.abs(lax.sub(*jnp.broadcast_arrays(a, transposed(b)))), format_of(a.dtype)
    return maximum(minus(times(distance, 1 - 8 * fmt.unit_roundoff), 4 * fmt.smallest_normal), 0.0)


def apart(gaps: Any, radii: Any) -> Any:
    """For every column, whether all other gaps exceed the radii: (..., 1, n)."""
    clear = lax.gt(gaps, enlarged(radii, 4, gaps.dtype))
    return jnp.all(lax.bitwise_or(clear, on_diagonal(gaps)), axis=-2, keepdims=True)


def rotations(g: Any, gaps: Any) -> tuple[Any, Any]:
    """Bounds of the shifts l_i - d_i, (..., 1, n), and of the z of every column."""
    diagonal = on_diagonal(g)

    def shifts(z: Any) -> tuple[Any, Any]:
        moved = enlarged(plus(g, dot_up(g, z)), 2, g.dtype)
        return moved, highest(where(diagonal, moved, 0.0), -2)

    def following(z: Any) -> Any:
        moved, rho = shifts(z)
        room = maximum(minus(times(gaps, 1 - 2.0**-20), rho), 0.0)
        return where(diagonal, 0.0, enlarged(ratio(moved, room), 6, g.dtype))

    z = fixed_point(following, g)
    return shifts(z)[1], z


def normalized(v: Any, z: Any, off: Any) -> tuple[Any, Any]:
    """How far V (e_i + z) / nu, nu its norm, is from v_i, with |V| = v; and a bound of |nu - 1|.

    nu**2 = 1 + (V^T V - I)_ii + 2 sum_j (V^T V - I)_ij z_j + z^T V^T V z, and |nu - 1| <= |nu**2 - 1|.
    """
    across = dot_up(off, z)
    squares = jnp.sum(times(z, plus(across, z)), axis=-2, keepdims=True)
    own = highest(where(on_diagonal(z), plus(off, times(across, 2.0)), 0.0), -2)
    stretch = enlarged(plus(own, squares), z.shape[-1] + 8, z.dtype, flushed=z.shape[-1] + 4)
    moved = plus(dot_up(v, z), times(v, stretch))
    return enlarged(ratio(moved, _rest(1.0, stretch)), 8, z.dtype), stretch


def _rest(whole: Any, part: Any) -> Any:
    """A lower bound of whole - part, at least 0."""
    return maximum(minus(times(whole, 1 - 2.0**-20), times(part, 1 + 2.0**-20)), 0.0)


@rule("svd")
def svd(
    model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, full_matrices: bool, compute_uv: bool
) -> list[Any]:
    """Singular values, then vectors where the values are apart; a wide matrix is transposed first."""
    dtype = error_dtype(outs[0].dtype)
    a = enclosed(model, operands[0], dtype)
    s = outs[0].astype(dtype)[..., None, :]
    wide = a.mid.shape[-2] < a.mid.shape[-1]
    left, _, right = (outs[1], None, outs[2]) if compute_uv else lapack.svd(a.mid, full_matrices=False)
    factors = [middle(left), adjoint(middle(right))]
    tall = a.h if wide else a
    u, v = (x[..., : s.shape[-1]] for x in (reversed(factors) if wide else factors))
    errors = singular_errors(Enclosure(u), Enclosure(v), s, _singular_remainders(tall, u, v, s), gaps(s, s))
    return arranged(errors, factors, wide)[: len(outs)]


def arranged(errors: Sequence[Any], factors: Sequence[Any], wide: bool) -> list[Any]:
    """Errors of S, U and V^H, from those of the tall matrix; `factors` are U and V."""
    of_s, *of_factors = errors
    known = jnp.all(less(of_s, np.inf), axis=-1, keepdims=True)
    bounds = [of_unit(x, e, known) for x, e in zip(factors, reversed(of_factors) if wide else of_factors, strict=True)]
    return [of_s[..., 0, :], bounds[0], transposed(bounds[1])]


def of_unit(x: Any, error: Any, known: Any) -> Any:
    """The error of unit vectors, of which the last may not be known at all: their elements are at most 1."""
    unknown = where(known, enlarged(plus(lax.abs(x), 1.0), 4, x.dtype), np.inf)
    k = error.shape[-1]
    return jnp.concatenate([minimum(error, unknown[..., :k]), unknown[..., k:]], -1)


class SingularRemainders(NamedTuple):
    """What computed singular vectors and values leave, as bounds of sizes.

    Attributes:
        whole: of A* - U S V^H.
        off_u: of I - U^H U.
        off_v: of I - V^H V.
        right: of A* V - U S.
        left: of A*^H U - V S.
    """

    whole: Any
    off_u: Any
    off_v: Any
    right: Any
    left: Any


def _singular_remainders(a: Enclosure, u: Any, v: Any, s: Any) -> SingularRemainders:
    """Computed again, with all roundings counted."""
    left, right, us = Enclosure(u), Enclosure(v), scaled_columns(Enclosure(u), s)
    return SingularRemainders(
        size(difference(a, product(us, right.h))),
        defect(left.h, left),
        defect(right.h, right),
        size(difference(product(a, right), us)),
        size(difference(product(a.h, left), scaled_columns(right, s))),
    )


def singular_errors(
    u: Enclosure, v: Enclosure, s: Any, remainders: SingularRemainders, gaps: Any
) -> tuple[Any, Any, Any]:
    """Errors of s, (..., 1, n), of U, (m, n), and of V, (n, n), around their midpoints, for m >= n.

    With A* V = U S + R1 and A*^H U = V S + R2: V^-1 A*^H A* V = S**2 + G, G = V^-1 R2 S + V^-1 A*^H R1, where
    A*^H = (V S + R2) U^H + (A* - U S V^H)^H - R2 U^H. And sigma nu u* = A* V (e_i + z) = U S (e_i + z) + R1 (e_i + z).

    Args:
        u: left vectors.
        v: right vectors.
        s: singular values, (..., 1, n), or a few roundings above them.
        remainders: what they leave.
        gaps: lower bounds of distances between singular values.

    Returns:
        The errors.
    """
    dtype = s.dtype
    residual, off_u, off_v, r1, r2 = remainders
    delta = plus(spectral_norm(off_u), spectral_norm(off_v))
    weyl = enlarged(plus(times(s, where(less(delta, 0.5), delta, np.inf)), spectral_norm(residual)), 8, dtype)
    inverse, sizes_u = inverse_size(v, adjoint(v.mid)), size(u)
    inner, across = dot_up(inverse, r2), dot_up(transposed(sizes_u), r1)
    outer = enlarged(plus(transposed(residual), dot_up(r2, transposed(sizes_u))), 2, dtype)
    g = plus(times(inner, s), times(transposed(s), across), dot_up(inner, across), dot_up(inverse, outer, r1))
    sums = times(gaps, plus(s, transposed(s)), 1 - 2.0**-20)
    rho, z = rotations(enlarged(g, 8, dtype, flushed=8), sums)
    radii = plus(rho, times(transposed(weyl), plus(times(transposed(s), 2.0), transposed(weyl))))
    clear = apart(sums, radii)
    of_s = minimum(enlarged(ratio(rho, plus(s, _rest(s, weyl))), 16, dtype), weyl)
    of_s = where(clear, of_s, weyl)
    of_v, stretch = normalized(size(v), z, off_v)
    moved = plus(dot_up(sizes_u, times(transposed(s), z)), r1, dot_up(r1, z))
    length = times(_rest(s, of_s), _rest(1.0, stretch))
    change = plus(of_s, times(plus(s, of_s), stretch))
    of_u = enlarged(ratio(plus(moved, times(sizes_u, change)), length), 24, dtype, flushed=8)
    return of_s, where(clear, of_u, np.inf), where(clear, of_v, np.inf)


same_for_complex("eigh", "svd")
