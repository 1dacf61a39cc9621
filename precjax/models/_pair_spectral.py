"""Error bounds of eigenvalues and singular values of pairs: the theorems of `rules.spectral`, with residuals in pairs.

As in `_pair_factorizations`. Distances between eigenvalues are those of pairs: high parts may agree where values are
apart by a few units of their last place.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._annotated import Annotated
from precjax._eigenvalue_order import in_order
from precjax._rounding import enlarged, maximum, minus, times
from precjax.doubledouble import DD
from precjax.doubledouble import _eigenvectors as eigenvectors
from precjax.doubledouble import _rotations as rotations
from precjax.doubledouble._complex import joined, parts
from precjax.doubledouble._factorizations import symmetric
from precjax.doubledouble._numbers import absolute, adjoint, conj, mapped, sub, transposed
from precjax.doubledouble._pairs import FLOOR
from precjax.models._pair_factorizations import annotated, enclosed, evaluated, moved, residual
from precjax.models._pair_rules import Call, PairRules, special
from precjax.models._paired import pair
from precjax.rules.eigenvalues import disc_errors
from precjax.rules.enclosure import dot, identity, size
from precjax.rules.spectral import Remainders, SingularRemainders, arranged, eigen_errors, singular_errors

_FLOAT64 = np.dtype(np.float64)


@special("eigh")
def _eigh(model: PairRules, call: Call) -> list[Any]:
    """See `rules.spectral`."""
    (matrix,), (v, d) = call.operands, call.outs
    lower = call.eqn.params["lower"]
    a = moved(lambda x: symmetric(x if lower else adjoint(x)), matrix)
    vectors, turned, row = annotated(v), annotated(adjoint(v)), _row(d)
    values = evaluated(model, lax.mul, vectors, annotated(_repeated(row, v)))
    left = Remainders(
        size(residual(model, a, values, turned)),
        _defect(model, turned, vectors),
        _rest(model, a, vectors, values),
    )
    return list(eigen_errors(enclosed(vectors), _size(row), left, _gaps(row)))


@special("eig")
def _eig(model: PairRules, call: Call) -> list[Any]:
    """See `rules.eigenvalues`."""
    (matrix,), (d, *vectors), params = call.operands, call.outs, call.eqn.params
    a = matrix if jnp.iscomplexobj(matrix.value) else _of_complex(matrix)
    if not vectors:
        found = eigenvectors.eig(pair(matrix), compute_left_eigenvectors=False,
                                 compute_right_eigenvectors=True)  # fmt: skip
        right = mapped(lambda v: in_order(d.hi, found[0].hi, v), found[1])
        return [_of_pairs(model, a, right, _row(d))[0][..., 0, :]]
    errors = []
    if params["compute_left_eigenvectors"]:
        of_values, of_left = _of_pairs(model, moved(adjoint, a), vectors[0], _row(conj(d)))
        errors.append(of_left)
    if params["compute_right_eigenvectors"]:
        of_values, of_right = _of_pairs(model, a, vectors[-1], _row(d))
        errors.append(of_right)
    return [of_values[..., 0, :], *errors]


def _of_complex(x: Annotated) -> Annotated:
    z = joined(parts(pair(x)))
    return Annotated(z.hi) if x.error is None else annotated(z, x.error.error)


def _of_pairs(model: PairRules, a: Annotated, v: DD, row: DD) -> tuple[Any, Any]:
    vectors = annotated(v)
    values = evaluated(model, lax.mul, vectors, annotated(_repeated(row, v)))
    off = _defect(model, annotated(adjoint(v)), vectors)
    return disc_errors(enclosed(vectors), _rest(model, a, vectors, values), off, _gaps(row))


@special("svd")
def _svd(model: PairRules, call: Call) -> list[Any]:
    """See `rules.spectral`; any vectors prove singular values."""
    (matrix,), (s, *vectors) = call.operands, call.outs
    u, vt = vectors or rotations.svd(pair(matrix), full_matrices=False, compute_uv=True)[1:]
    factors, k = [u, adjoint(vt)], s.hi.shape[-1]
    m, n = np.shape(matrix.value)[-2:]
    a = moved(adjoint, matrix) if m < n else matrix
    left, right = (mapped(lambda x: x[..., :k], x) for x in (factors[::-1] if m < n else factors))
    row = _row(s)
    remainders = _singular_remainders(model, a, left, right, row)
    views = [enclosed(annotated(x)) for x in (left, right)]
    errors = singular_errors(*views, _size(row), remainders, _gaps(row))
    return arranged(errors, [x.hi for x in factors], m < n)[: len(call.outs)]


def _singular_remainders(model: PairRules, a: Annotated, u: DD, v: DD, row: DD) -> SingularRemainders:
    """See `rules.spectral`."""
    left, right, turned = annotated(u), annotated(v), moved(adjoint, a)
    us, vs = (evaluated(model, lax.mul, annotated(x), annotated(_repeated(row, x))) for x in (u, v))
    across = annotated(adjoint(v))
    return SingularRemainders(
        size(residual(model, a, us, across)),
        _defect(model, annotated(adjoint(u)), left),
        _defect(model, across, right),
        _rest(model, a, right, us),
        _rest(model, turned, left, vs),
    )


def _rest(model: PairRules, a: Annotated, x: Annotated, y: Annotated) -> Any:
    """A bound of |A X - Y|."""
    return size(enclosed(evaluated(model, lambda a, x, y: lax.sub(dot(a, x), y), a, x, y)))


def _defect(model: PairRules, turned: Annotated, vectors: Annotated) -> Any:
    """A bound of |I - V^T V|."""
    return size(residual(model, Annotated(identity(turned.value.shape[-2], turned.value)), turned, vectors))


def _row(d: DD) -> DD:
    return mapped(lambda x: x[..., None, :], d)


def _repeated(row: DD, like: DD) -> DD:
    return mapped(lambda x: jnp.broadcast_to(x, like.hi.shape).astype(like.hi.dtype), row)


def _size(x: DD) -> Any:
    return enlarged(lax.abs(x.hi), 2, _FLOAT64)


def _gaps(row: DD) -> Any:
    """Lower bounds of |d_i - d_j|: element (j, i)."""
    n = row.hi.shape[-1]
    square = mapped(lambda x: jnp.broadcast_to(x, (*x.shape[:-2], n, n)), row)
    distance = absolute(sub(square, transposed(square))).hi
    return maximum(minus(times(distance, 1 - 2.0**-49), 4 * FLOOR), 0.0)
