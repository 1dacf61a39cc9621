"""Eigenvalues and eigenvectors of general matrices.

Theorem: V^-1 A* V = D + G has the eigenvalues of A*. Every one of them lies in one of Gershgorin's discs, of radius
r_j = sum_k |g_jk| around d_j; as many lie in a connected part of the discs as it has discs. So the eigenvalues can be
numbered with |l_i - d_i| <= 2 sum_j r_j, and a disc that is apart from all others holds one. That one obeys the fixed
point of `spectral.rotations` as well, which bounds it and its eigenvector.

What is exact: the eigenvalues, numbered like the computed ones that they are nearest to; the unit eigenvectors, with
the phase that is nearest to the computed one.

References:
    Rump, Verification methods, Acta Numerica 19 (2010), section 13.
    Horn and Johnson, Matrix Analysis, 2nd ed., theorem 6.1.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _lapack as lapack
from precjax._annotated import Annotated
from precjax._eigenvalue_order import in_order
from precjax._registry import complex_rule
from precjax._rounding import enlarged, error_dtype, less, maximum, minimum, plus, times, where
from precjax.rules.enclosure import (
    Enclosure,
    defect,
    difference,
    dot_up,
    inverse_size,
    product,
    size,
    transposed,
)
from precjax.rules.spectral import apart, gaps, normalized, of_unit, rotations, scaled_columns


@complex_rule("eig")
def eig(
    model: Any,
    operands: Sequence[Annotated],
    outs: Sequence[Any],
    *,
    compute_left_eigenvectors: bool,
    compute_right_eigenvectors: bool,
) -> list[Any]:
    """An error of a complex number bounds the modulus of its deviation."""
    values = outs[0][..., None, :]
    x = model.ball(operands[0], error_dtype(values.dtype))
    a = Enclosure(lax.convert_element_type(operands[0].value, values.dtype), x.error)
    if len(outs) == 1:
        others, right = lapack.eig(operands[0].value, compute_left_eigenvectors=False)
        return [_pairs(a, in_order(outs[0], others, right), values)[0][..., 0, :]]
    errors = []
    if compute_left_eigenvectors:
        # u^H A = d u^H
        of_values, of_left = _pairs(a.h, outs[1], lax.conj(values))
        errors.append(of_left)
    if compute_right_eigenvectors:
        of_values, of_right = _pairs(a, outs[-1], values)
        errors.append(of_right)
    return [of_values[..., 0, :], *errors]


def _pairs(a: Enclosure, v: Any, d: Any) -> tuple[Any, Any]:
    """Errors of eigenvalues, (..., 1, n), and of right eigenvectors."""
    vectors = Enclosure(v)
    left = size(difference(product(a, vectors), scaled_columns(vectors, d)))
    return disc_errors(vectors, left, defect(vectors.h, vectors), gaps(d, d))


def disc_errors(v: Enclosure, left: Any, off: Any, distances: Any) -> tuple[Any, Any]:
    """Errors of eigenvalues, (..., 1, n), and of right eigenvectors around their midpoints.

    Args:
        v: the computed vectors.
        left: a bound of |A* V - V D|.
        off: a bound of |I - V^H V|.
        distances: lower bounds of those between computed eigenvalues.
    """
    g = dot_up(inverse_size(v, lapack.inv(v.mid)), left)
    radii = enlarged(jnp.sum(g, axis=-1, keepdims=True), g.shape[-1] + 2, g.dtype)
    rho, z = rotations(g, distances)
    isolated = apart(distances, plus(maximum(rho, transposed(radii)), radii))
    anywhere = enlarged(times(jnp.sum(radii, axis=-2, keepdims=True), 2.0), g.shape[-1] + 2, g.dtype)
    of_values = where(isolated, minimum(rho, transposed(radii)), anywhere)
    moved = where(isolated, normalized(size(v), z, off)[0], np.inf)
    return of_values, of_unit(v.mid, moved, less(of_values, np.inf)[..., :1])
