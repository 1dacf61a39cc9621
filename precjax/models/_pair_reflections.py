"""Error bounds of orthogonal factors of pairs: the theorems of `rules.orthogonal`, with residuals in pairs.

As in `_pair_factorizations`: what must be small is computed in pairs, each operation with its bound; sizes, and the
signs of reflections, come from the high parts, with radii that cover the low ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import doubledouble as dd
from precjax._annotated import Annotated
from precjax._rounding import enlarged, plus, where
from precjax.doubledouble import DD
from precjax.doubledouble._factorizations import lu, solve_triangular, triangle
from precjax.doubledouble._numbers import adjoint, mapped, transposed
from precjax.doubledouble._reflections import householder_product
from precjax.models._pair_factorizations import (
    annotated,
    elimination_error,
    enclosed,
    evaluated,
    moved,
    residual,
    solution_error,
)
from precjax.models._pair_rules import Call, PairRules, special
from precjax.models._paired import pair
from precjax.rules.elimination import below_diagonal
from precjax.rules.enclosure import dot, identity, size
from precjax.rules.orthogonal import (
    Remainders,
    diagonal,
    orthogonal_factors,
    qr_errors,
    reflection_errors,
    signs_certain,
)

_FLOAT64 = np.dtype(np.float64)


@special("qr")
def _qr(model: PairRules, call: Call) -> list[Any]:
    """Pivots of columns are not followed."""
    (matrix,), (q, r, *pivots) = call.operands, call.outs
    left = None
    if not pivots:
        k = min(np.shape(matrix.value)[-2:])
        left = _remainders(model, matrix, _columns(q, 0, k), mapped(lambda x: x[..., :k, :], r))
    of_q, of_r = qr_errors(enclosed(matrix), enclosed(annotated(q)), enclosed(annotated(r)), left)
    of_r = where(below_diagonal(of_r), 0.0, of_r)
    return [of_q, of_r, *(lax.full_like(x, x.shape[-1] - 1, jnp.float32) for x in pivots)]


def _columns(x: DD, start: int, end: int | None) -> DD:
    return mapped(lambda v: v[..., start:end], x)


def _remainders(model: PairRules, a: Annotated, q: DD, r: DD) -> Remainders:
    """See `rules.orthogonal.remainders`."""
    k = q.hi.shape[-1]
    first, others = (moved(lambda x, ends=ends: _columns(x, *ends), a) for ends in ((0, k), (k, None)))
    square, rest = mapped(jnp.triu, _columns(r, 0, k)), _columns(r, k, None)
    factor, turned = annotated(q), annotated(adjoint(q))
    return Remainders(
        size(residual(model, first, factor, annotated(square))),
        size(residual(model, Annotated(identity(k, q.hi)), turned, factor)),
        size(residual(model, annotated(rest), turned, others)),
    )


@special("geqrf")
def _geqrf(model: PairRules, call: Call) -> list[Any]:
    """The reflections are those of an elimination I - Q = V W, as in `rules.orthogonal`."""
    (matrix,), (packed, taus) = call.operands, call.outs
    k = taus.hi.shape[-1]
    first, r = _columns(packed, 0, k), mapped(lambda x: jnp.triu(x[..., :k, :]), packed)
    q = householder_product(first, taus)
    a, view = enclosed(matrix), enclosed(annotated(q))
    of_q, of_r = orthogonal_factors(a, view, enclosed(annotated(r)), _remainders(model, matrix, q, r))
    again, errors = _eliminated(model, q, of_q)
    of_v = plus(errors, _apart(again, first))
    of_tau = plus(diagonal(errors), _apart(mapped(diagonal, again), taus))
    certain = signs_certain(a, view.mid, plus(of_q, view.rad))
    return reflection_errors(a, packed.hi, taus.hi, certain, (of_r, of_v, of_tau))


def _apart(x: DD, y: DD) -> Any:
    return enlarged(lax.abs(dd.sub(x, y).hi), 4, _FLOAT64)


def _eliminated(model: PairRules, q: DD, of_q: Any) -> tuple[DD, Any]:
    """V and W, packed, and their errors: inf where rows would be exchanged."""
    m, k = q.hi.shape[-2:]
    eye = Annotated(jnp.broadcast_to(jnp.eye(m, k), q.hi.shape))
    left = evaluated(model, lax.sub, eye, annotated(q, of_q))
    packed, _, permutation = lu(DD(left.value, left.error.low))
    unmoved = jnp.all(permutation == jnp.arange(m), axis=-1)[..., None, None]
    return packed, where(unmoved, elimination_error(model, left, packed), np.inf)


@special("householder_product")
def _householder_product(model: PairRules, call: Call) -> list[Any]:
    """See `rules.orthogonal`."""
    (out,) = call.outs
    first = Annotated(jnp.broadcast_to(jnp.eye(*out.hi.shape[-2:]), out.hi.shape))
    v, t, turned = _compact(model, call.operands)
    return [_reflected(model, lambda c, v, t, w: dot(dot(v, t), dot(w, c)), out, first, v, t, turned)]


@special("ormqr")
def _ormqr(model: PairRules, call: Call) -> list[Any]:
    """The product of reflections, or its transpose, times a matrix from the left or the right."""
    v, t, turned = _compact(model, call.operands[:2])
    t = moved(transposed, t) if call.eqn.params["transpose"] else t
    left = lambda c, v, t, w: dot(dot(v, t), dot(w, c))  # noqa: E731
    right = lambda c, v, t, w: dot(dot(c, v), dot(t, w))  # noqa: E731
    change = left if call.eqn.params["left"] else right
    return [_reflected(model, change, call.outs[0], call.operands[2], v, t, turned)]


def _reflected(model: PairRules, change: Callable[..., Any], out: DD, c: Annotated, *factors: Annotated) -> Any:
    """How far a result is from c - change."""
    rest = evaluated(model, lambda x, c, *f: lax.sub(x, lax.sub(c, change(c, *f))), annotated(out), c, *factors)
    return size(enclosed(rest))


def _compact(model: PairRules, operands: Any) -> tuple[Annotated, Annotated, Annotated]:
    """V, T and V^T, by the second theorem of `rules.orthogonal`."""
    packed, taus = operands
    m, k = np.shape(packed.value)[-2], np.shape(taus.value)[-1]
    strict = moved(lambda x: mapped(lambda v: jnp.tril(v[..., :k], -1), x), packed)
    v = strict._replace(value=plus(strict.value, jnp.broadcast_to(jnp.eye(m, k), strict.value.shape)))
    turned, eye = moved(transposed, v), jnp.eye(k)
    d = moved(lambda x: mapped(lambda t: eye * t[..., None, :], x), taus)
    inner = evaluated(model, lambda d, w, v: dot(d, dot(w, v)), d, turned, v)
    upper = moved(lambda x: triangle(x, lower=False, unit_diagonal=True), inner)
    t = solve_triangular(pair(upper), pair(d), lower=False)
    return v, annotated(t, solution_error(model, upper, d, t, lower=False)), turned
