"""Error bounds of linear systems and factorizations of pairs: the theorems of `rules`, with residuals in pairs.

Theorem: the bounds of `rules.enclosure`, `rules.elimination` and `rules.cholesky` are a posteriori: they say of any
results how far they are from the exact ones, given a bound of their residual. Here the residual is computed in pairs,
each operation with its bound, so that it is some 2**-102 of what cancels in it. All else are factors of it, sizes of
inverses and of triangular factors, which float64 gives well enough, from balls around high parts that cover low parts.
Complex matrices are no other case: there, errors bound moduli, and transposes are adjoints.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._annotated import Annotated
from precjax._inline import walk
from precjax._rounding import dtype_of, enlarged, plus, where
from precjax._widen import wider
from precjax.doubledouble import DD
from precjax.doubledouble import _complex_primitives as complex_primitives
from precjax.doubledouble import _primitives as primitives
from precjax.doubledouble._factorizations import symmetric, triangle
from precjax.doubledouble._numbers import adjoint, conj, mapped, transposed
from precjax.doubledouble._pairs import FLOOR
from precjax.models._pair_rules import Call, PairRules, fat, pair_errors, special
from precjax.models._paired import Rest, pair
from precjax.rules.cholesky import moved_cholesky_factor
from precjax.rules.elimination import (
    OF_PARTS,
    Eliminated,
    before_doubt,
    less_in_parts,
    less_than_pivot,
    moved_factors,
    parts,
)
from precjax.rules.enclosure import Enclosure, amplified, defect, product, size
from precjax.rules.linalg import triangular_inverse, triangular_weights

_FLOAT64 = np.dtype(np.float64)


def enclosed(x: Annotated) -> Enclosure:
    """Its exact value, around the high part."""
    view = fat(x)
    return Enclosure(jnp.asarray(view.value, wider(dtype_of(view.value))), view.error)


def evaluated(model: PairRules, f: Callable[..., Any], *xs: Annotated) -> Annotated:
    """A function of arrays, in pairs with its bound."""

    def visit(eqn: Any, operands: list[Annotated]) -> list[Annotated]:
        run = complex_primitives.run if complex_primitives.of_complex(eqn) else primitives.run
        outs = run(eqn, list(map(pair, operands)))
        errors = pair_errors(model, eqn, operands, outs)
        return [annotated(out, error) for out, error in zip(outs, errors, strict=True)]

    (result,) = walk(jax.make_jaxpr(f)(*(x.value for x in xs)), xs, visit)
    return result


def annotated(x: DD, error: Any = None) -> Annotated:
    """A pair with its bound, at least what reading it may lose."""
    floor = 2 * FLOOR if jnp.iscomplexobj(x.hi) else FLOOR
    return Annotated(x.hi, Rest(x.lo, plus(jnp.zeros(x.hi.shape) if error is None else error, floor)))


def moved(f: Callable[[DD], DD], x: Annotated) -> Annotated:
    """A move of elements; the bound moves as the low part does."""
    pairs = f(pair(x))
    if x.error is None:
        return Annotated(pairs.hi)
    return annotated(pairs, f(DD(jnp.zeros_like(pairs.hi), x.error.error)).lo)


def residual(model: PairRules, b: Annotated, *factors: Annotated) -> Enclosure:
    """b - the product of the factors."""

    def rest(b: Any, x: Any, *more: Any) -> Any:
        for y in more:
            batch = tuple(range(x.ndim - 2))
            x = lax.dot_general(x, y, (((x.ndim - 1,), (y.ndim - 2,)), (batch, batch)))
        return lax.sub(b, x)

    return enclosed(evaluated(model, rest, b, *factors))


@special("triangular_solve")
def _triangular_solve(model: PairRules, call: Call) -> list[Any]:
    """See `rules.linalg`."""
    params, (a, b), (x,) = call.eqn.params, call.operands, call.outs
    lower = params["lower"]
    a = moved(lambda v: triangle(conj(v) if params["conjugate_a"] else v, lower, params["unit_diagonal"]), a)
    if params["transpose_a"] == params["left_side"]:
        a, lower = moved(transposed, a), not lower
    turned = (lambda v: v) if params["left_side"] else transposed
    error = solution_error(model, a, moved(turned, b), turned(x), lower)
    return [error if params["left_side"] else jnp.swapaxes(error, -1, -2)]


def solution_error(model: PairRules, a: Annotated, b: Annotated, x: DD, lower: bool) -> Any:
    """How far x is from the solution of a x = b; a is triangular."""
    rest = residual(model, b, a, annotated(x))
    inverse = triangular_inverse(a.value, lower)
    m = defect(Enclosure(inverse), enclosed(a))
    return amplified(m, size(product(Enclosure(inverse), rest)), triangular_weights(lower)(m))


@special("cholesky")
def _cholesky(model: PairRules, call: Call) -> list[Any]:
    """See `rules.cholesky`."""
    a, factor = moved(symmetric, call.operands[0]), mapped(jnp.tril, call.outs[0])
    rest = residual(model, a, annotated(factor), annotated(adjoint(factor)))
    error = moved_cholesky_factor(enclosed(annotated(factor)), size(rest))
    read = jnp.broadcast_to(jnp.tril(jnp.ones(error.shape[-2:], bool)), error.shape)
    return [where(read, error, 0.0)]


@special("lu")
def _lu(model: PairRules, call: Call) -> list[Any]:
    """See `rules.elimination`; pivots are those of the high parts."""
    (matrix,), (packed, *rows) = call.operands, call.outs
    permutation = rows[1]
    a = moved(lambda v: mapped(lambda x: jnp.take_along_axis(x, permutation[..., None], -2), v), matrix)
    error = elimination_error(model, a, packed)
    computed = enlarged(plus(lax.abs(packed.hi), lax.abs(packed.lo)), 10, _FLOAT64)
    whole = enlarged(plus(error, lax.abs(packed.lo)), 5, _FLOAT64)
    if jnp.iscomplexobj(packed.hi):
        decided = less_in_parts(packed.hi, whole), False, OF_PARTS
    else:
        decided = less_than_pivot(packed.hi, whole), matrix.error is None
    return before_doubt(Eliminated(error, computed, size(enclosed(matrix)), *decided), permutation)


def elimination_error(model: PairRules, a: Annotated, packed: DD) -> Any:
    """How far packed factors are from those of the matrix, with its rows in the order of the pivots."""
    m, n = packed.hi.shape[-2:]
    steps = max(min(m - 1, n), 0)
    high, low = parts(packed.hi, steps), _low_parts(packed.lo, steps)
    lower, middle, upper = (DD(h, lo) for h, lo in zip(high, low, strict=True))
    rest = size(residual(model, a, annotated(lower), annotated(middle), annotated(upper)))
    views = [enclosed(annotated(x)) for x in (lower, upper)]
    return moved_factors(views[0], views[1], rest, packed.hi, steps)


def _low_parts(packed: Any, steps: int) -> list[Any]:
    """The same parts of a correction: no ones."""
    ones = parts(jnp.zeros_like(packed), steps)
    return [lax.sub(whole, one) for whole, one in zip(parts(packed, steps), ones, strict=True)]
