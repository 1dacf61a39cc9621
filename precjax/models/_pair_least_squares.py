"""Error bounds of least squares in pairs: the theorem of `rules.least_squares`, with residuals in pairs.

Singular vectors of close values turn freely, so that the steps of `pinv` and `lstsq` prove nothing of them. What these
give does not depend on that. Preconditioners come from float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._annotated import Annotated
from precjax._rounding import enlarged, minimum, plus
from precjax.doubledouble._numbers import mapped, transposed
from precjax.models._pair_factorizations import annotated, enclosed, evaluated, moved
from precjax.models._pair_rules import PairRules
from precjax.models._paired import pair
from precjax.rules.enclosure import dot, dot_up, identity, size
from precjax.rules.least_squares import LONG, RANK, Preconditioned, preconditioned

_FLOAT64 = np.dtype(np.float64)

Theorem = Callable[[PairRules, Sequence[Annotated], Sequence[Annotated]], "list[Any] | None"]


def _pinv(model: PairRules, operands: Sequence[Annotated], results: Sequence[Annotated]) -> list[Any] | None:
    """See `rules.least_squares`."""
    a, x = operands[0], pair(results[0])
    wide = np.shape(a.value)[-2] < np.shape(a.value)[-1]
    a, x = (moved(transposed, a), transposed(x)) if wide else (a, x)
    m, n = np.shape(a.value)[-2:]
    if m > LONG * n:
        return None
    rest = _rest(model, a, Annotated(identity(m, x.hi)), annotated(x))
    error = _moved(model, preconditioned(enclosed(a), RANK["pinv"], x.hi), a, rest)
    return [minimum(jnp.swapaxes(error, -1, -2) if wide else error, results[0].error.error)]


def _lstsq(model: PairRules, operands: Sequence[Annotated], results: Sequence[Annotated]) -> list[Any] | None:
    """The solution and the sum of squares that it leaves; rank and singular values are those of the steps."""
    a, b = operands
    if np.shape(a.value)[-2] < np.shape(a.value)[-1]:
        return None
    vector = np.ndim(b.value) < np.ndim(a.value)
    column = lambda y: mapped(lambda v: v[..., None], y) if vector else y  # noqa: E731
    x, squares = column(pair(results[0])), pair(results[1])
    rest = _rest(model, a, moved(column, b), annotated(x))
    error = _moved(model, preconditioned(enclosed(a), RANK["lstsq"], x.hi), a, rest)
    reach = enlarged(plus(rest.error.error, dot_up(size(enclosed(a)), error)), 4, _FLOAT64)
    left = lambda r, s: lax.sub(lax.reduce_sum(lax.mul(r, r), (r.ndim - 2,)), s)  # noqa: E731
    of_squares = size(enclosed(evaluated(model, left, annotated(pair(rest), reach), annotated(squares))))
    error = minimum(error[..., 0] if vector else error, results[0].error.error)
    return [error, minimum(of_squares, results[1].error.error)]


def _rest(model: PairRules, a: Annotated, b: Annotated, x: Annotated) -> Annotated:
    """b - A x."""
    return evaluated(model, lambda a, b, x: lax.sub(b, dot(a, x)), a, b, x)


def _moved(model: PairRules, near: Preconditioned, a: Annotated, rest: Annotated) -> Any:
    """How far x is from the solution: what is left is not small, but nearly orthogonal to all columns of A."""
    turned = Annotated(jnp.swapaxes(near.r, -1, -2)), moved(transposed, a)
    return near.moved(enclosed(evaluated(model, lambda r, a, y: dot(dot(r, a), y), *turned, rest)))


THEOREMS: dict[str, Theorem] = {"pinv": _pinv, "lstsq": _lstsq}
