"""LU factorization with partial pivoting.

Theorem: let E = L^-1 (P A* - L U) U^-1. Then P A* = L (I + E) U, and where I + E = (I + K)(I + H), K strictly lower and
H upper triangular, the exact factors for the same pivots are L (I + K) and (I + H) U. K + H = E - K H is a fixed point,
bounded by Brouwer's theorem (`enclosure.fixed_point`); the factors are unique, so they are these. The exact program
takes the same pivots if every other candidate is smaller than the pivot, that is, if |l| < 1 below the diagonal of L*.
Column by column: what an elimination has done before a pivot that is in doubt, no choice of that pivot undoes.

Theorem: whichever pivots are the largest candidates of their columns, no multiplier exceeds c = 1, of complex numbers
c = sqrt(2), as LAPACK compares |re| + |im|. A step takes l times the row of the pivot from every other: the largest
element of a column becomes at most 1 + c times as large. So |u_ij| <= (1 + c)^i max_k |a_kj|, and after k steps whose
pivots are certain, |u_ij| <= (1 + c)^(i - k) max |s_j| for the column s_j that they leave. A pivot 0 stands in a column
of zeros, which LAPACK leaves as they are. Hence a bound of every error where a pivot is in doubt: two bounds of sizes.

References:
    Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., chapter 9 (theorem 9.8: growth by 2 at most).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._annotated import Annotated
from precjax._registry import complex_rule, rule
from precjax._rounding import enlarged, error_dtype, format_of, less, minimum, plus, times, where
from precjax.rules.enclosure import (
    Enclosure,
    by_elimination,
    difference,
    dot_up,
    enclosed,
    fixed_point,
    highest,
    identity,
    middle,
    on_diagonal,
    product,
    size,
    transposed,
)
from precjax.rules.linalg import triangular_inverse_size


class Eliminated(NamedTuple):
    """What is known of the packed factors of a*, and of a* itself.

    Attributes:
        error: their error, if the exact program takes the same pivots.
        computed: bounds of their own moduli.
        matrix: bounds of |a*|.
        smaller: which candidates of a column are certain to be smaller than its pivot.
        decided: whether the first column is known exactly and decides itself, ties included.
        multiplier: what no multiplier of an exact elimination exceeds.
    """

    error: Any
    computed: Any
    matrix: Any
    smaller: Any
    decided: bool
    multiplier: float = 1.0

    @property
    def exact(self) -> Any:
        """Bounds of the moduli of the exact factors, if the exact program takes the same pivots."""
        return enlarged(plus(self.computed, self.error), 2, self.error.dtype)


@rule("lu")
def lu(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Pivots are a decision: certain where every other candidate of a column is smaller than the pivot."""
    return _with_certain_pivots(model, operands[0], outs, less_than_pivot, operands[0].error is None, 1.0)


@complex_rule("lu")
def complex_lu(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """LAPACK compares |re| + |im|, which is rounded: not even an exact column decides itself."""
    return _with_certain_pivots(model, operands[0], outs, less_in_parts, False, OF_PARTS)


OF_PARTS = 1.4143  # sqrt(2): |z| <= |re z| + |im z| <= sqrt(2) |z|


def _with_certain_pivots(
    model: Any, matrix: Annotated, outs: Sequence[Any], smaller: Callable[..., Any], decided: bool, multiplier: float
) -> list[Any]:
    packed = middle(outs[0])
    a = enclosed(model, matrix, error_dtype(packed.dtype))
    error = elimination_error(a, outs)
    computed = enlarged(lax.abs(packed), 4, error.dtype)
    known = Eliminated(error, computed, size(a), smaller(packed, error), decided, multiplier)
    return before_doubt(known, outs[2])


def elimination_error(a: Enclosure, outs: Sequence[Any]) -> Any:
    """The error of the packed factors of a*, if the exact program takes the same pivots.

    Only the first min(m - 1, n) pivots divide and decide. What remains, the last row of U, is S in
    P A* = L diag(I, S) U, and K + H = E - K H holds for its error as well: the last pivot may be 0.
    """
    factors, _, permutation = outs
    dtype = a.mid.dtype
    a = a.map(lambda x: permuted(x, permutation))
    packed = factors.astype(dtype)
    m, n = packed.shape[-2:]
    steps = max(min(m - 1, n), 0)
    lower, middle, upper = map(Enclosure, parts(packed, steps))
    residual = size(difference(a, product(product(lower, middle), upper)))
    return moved_factors(lower, upper, residual, packed, steps)


def moved_factors(lower: Enclosure, upper: Enclosure, residual: Any, packed: Any, steps: int) -> Any:
    """The error of the packed factors, from a bound of what their product leaves of the matrix."""
    m, n = packed.shape[-2:]
    dtype = residual.dtype
    left = triangular_inverse_size(lower, True)
    right = triangular_inverse_size(upper, False)
    e = dot_up(left, residual, right)

    def split(z: Any) -> tuple[Any, Any]:
        """K, (m, m), and H, (n, n)."""
        return fitted(jnp.tril(z, -1)[..., :steps], m, m), fitted(jnp.triu(z)[..., :steps, :], n, n)

    def following(z: Any) -> Any:
        k, h = split(z)
        return enlarged(plus(e, dot_up(k[..., :steps], h[..., :steps, :])), 2, dtype)

    moved = fixed_point(following, e, *by_elimination(e, steps))
    k, h = split(moved)
    of_upper = plus(fitted(dot_up(h, size(upper)), m, n), _remainder(moved, steps))
    of_lower = fitted(dot_up(size(lower), k), m, n)
    return where(below_diagonal(packed), of_lower, of_upper)


def below_diagonal(x: Any) -> Any:
    """Where the row is below the diagonal."""
    return jnp.broadcast_to(jnp.tril(jnp.ones(x.shape[-2:], bool), -1), x.shape)


def permuted(x: Any, rows: Any) -> Any:
    """Rows in the order of the pivots."""
    return jnp.take_along_axis(x, rows[..., None], -2, mode="promise_in_bounds")


def parts(packed: Any, steps: int) -> tuple[Any, Any, Any]:
    """L, (m, m), what elimination leaves, (m, n), and U, (n, n), after so many steps."""
    m, n = packed.shape[-2:]
    lower = plus(fitted(jnp.tril(packed, -1)[..., :steps], m, m), identity(m, packed))
    rows = fitted(jnp.triu(packed)[..., :steps, :], n, n)
    upper = plus(rows, where(jnp.arange(n)[:, None] < steps, 0.0, identity(n, packed)))
    eye = jnp.broadcast_to(jnp.eye(m, n, dtype=packed.dtype), packed.shape)
    return lower, plus(where(jnp.arange(m)[:, None] < steps, eye, 0.0), _remainder(packed, steps)), upper


def _remainder(x: Any, steps: int) -> Any:
    """The rows and columns that elimination has not reached; zero elsewhere."""
    m, n = x.shape[-2:]
    return where(jnp.arange(m)[:, None] < steps, 0.0, where(jnp.arange(n) < steps, 0.0, x))


def fitted(x: Any, m: int, n: int) -> Any:
    """Cut, or filled with zeros, to (m, n)."""
    x = x[..., :m, :n]
    return jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(0, m - x.shape[-2]), (0, n - x.shape[-1])])


def less_than_pivot(packed: Any, error: Any) -> Any:
    """Which candidates of a column are surely smaller than its pivot, in every execution."""
    return less(plus(lax.abs(packed), times(error, 2.0)), 1.0)


def less_in_parts(packed: Any, error: Any) -> Any:
    """The same for |re| + |im|, which moves by sqrt(2) times the modulus: the candidates are l u, u the pivot."""
    k = min(packed.shape[-2:])
    pivots, of_pivots = (jnp.diagonal(x, axis1=-2, axis2=-1)[..., None, :] for x in (packed, error))
    candidates, errors = packed[..., :k], error[..., :k]
    moved = plus(times(lax.abs(candidates), of_pivots), times(errors, plus(lax.abs(pivots), of_pivots)))
    moved = plus(moved, of_pivots, times(lax.abs(pivots), 64 * format_of(error.dtype).unit_roundoff))
    computed = _sum_of_parts(lax.mul(*jnp.broadcast_arrays(candidates, pivots)))
    smaller = less(plus(computed, times(moved, 3.0)), _sum_of_parts(pivots))
    return jnp.concatenate([smaller, jnp.ones(packed[..., k:].shape, bool)], -1)


def _sum_of_parts(z: Any) -> Any:
    return plus(lax.abs(lax.real(z)), lax.abs(lax.imag(z)))


def before_doubt(known: Eliminated, permutation: Any) -> list[Any]:
    """Errors of the factors, the pivots and the permutation, where pivots of some column on may be others.

    Rows of U above the first pivot in doubt are what they are; so are the elements of L left of it, but for their
    order: the rows that are not yet chosen may come in any.
    """
    error, (m, n) = known.error, known.error.shape[-2:]
    chosen = _certain_pivots(known.smaller, known.decided)[..., None, None]
    i, j = jnp.arange(m)[:, None], jnp.arange(n)
    shuffled = lax.bitwise_and(*jnp.broadcast_arrays(i >= chosen, chosen < n))
    in_any_row = enlarged(plus(known.exact, highest(where(i >= chosen, known.exact, 0.0), -2)), 2, error.dtype)
    left = lax.bitwise_and(jnp.broadcast_to(shuffled, error.shape), below_diagonal(error))
    of_factors = where(jnp.minimum(i, j) < chosen, where(left, in_any_row, error), np.inf)
    of_factors = minimum(of_factors, _whichever_pivots(known, chosen))
    of_pivots = where(shuffled, (m - 1.0) - jnp.arange(m, dtype=jnp.float32)[:, None], jnp.float32(0))
    return [of_factors, of_pivots[..., : min(m, n), 0], _of_order(permutation, shuffled[..., 0])]


def _whichever_pivots(known: Eliminated, chosen: Any) -> Any:
    """Errors of the packed factors by the second theorem; `chosen` pivots are certain, (..., 1, 1)."""
    dtype, m = known.error.dtype, known.error.shape[-2]
    i = np.arange(m)[:, None]
    with np.errstate(over="ignore"):
        growth = jnp.asarray(np.power(1 + known.multiplier, np.arange(m + 1)).astype(dtype))
    columns = _grown(highest(known.matrix, -2), growth[:m, None])
    later = _grown(highest(_left_over(known.exact, chosen), -2), growth[jnp.maximum(i - chosen, 0)])
    columns = minimum(where(i >= chosen, later, np.inf), columns)
    of_upper, of_lower = (enlarged(plus(known.computed, x), 8, dtype) for x in (columns, known.multiplier))
    finite = jnp.all(less(known.matrix, np.inf), axis=(-2, -1), keepdims=True)
    return where(finite, where(below_diagonal(of_upper), of_lower, of_upper), np.inf)


def _grown(columns: Any, growth: Any) -> Any:
    return times(*jnp.broadcast_arrays(columns, growth))


def _left_over(exact: Any, chosen: Any) -> Any:
    """A bound of what an elimination leaves after so many steps: the product of the factors' other columns and rows."""
    k = min(exact.shape[-2:])
    lower = jnp.tril(exact)[..., :k]
    lower = where(on_diagonal(lower), 1.0, lower)
    later = jnp.arange(k) >= chosen
    upper = jnp.triu(exact)[..., :k, :]
    return dot_up(where(later, lower, 0.0), where(transposed(later), upper, 0.0))


def _of_order(permutation: Any, shuffled: Any) -> Any:
    """Errors of the permutation: rows that are not yet chosen come in any order."""
    rows = lax.convert_element_type(permutation, jnp.float32)
    first = jnp.min(where(shuffled, rows, np.inf), axis=-1, keepdims=True, initial=np.inf)
    last = jnp.max(where(shuffled, rows, -np.inf), axis=-1, keepdims=True, initial=-np.inf)
    return where(shuffled, lax.max(lax.sub(last, rows), lax.sub(rows, first)), jnp.float32(0))


def _certain_pivots(smaller: Any, decided: bool) -> Any:
    """How many first pivots are certain, all n of them where no candidate may take the place of one."""
    if decided:
        smaller = lax.bitwise_or(smaller, jnp.broadcast_to(jnp.arange(smaller.shape[-1]) == 0, smaller.shape))
    certain = jnp.all(lax.bitwise_or(smaller, lax.bitwise_not(below_diagonal(smaller))), axis=-2)
    return jnp.sum(jnp.cumprod(certain.astype(jnp.int32), axis=-1), axis=-1)


@rule("lu_pivots_to_permutation")
def lu_pivots_to_permutation(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """The first pivot in doubt spoils all places from its own on."""
    doubt = model.doubt(operands[0])
    if doubt is None:
        return [None]
    n, k = outs[0].shape[-1], doubt.shape[-1]
    spoiled = jnp.cumsum(doubt.astype(jnp.int32), axis=-1) > 0
    spoiled = jnp.take(spoiled, jnp.minimum(jnp.arange(n), k - 1), axis=-1) if k else jnp.zeros(outs[0].shape, bool)
    return [where(spoiled, float(n - 1), jnp.float32(0))]
