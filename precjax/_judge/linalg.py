"""Dense factorizations that have one exact answer."""

import numpy as np

from precjax._judge.arithmetic import divide
from precjax._judge.decision import first_best
from precjax._judge.elementary import sqrt
from precjax._judge.number import NAN, ZERO, is_nan, lift
from precjax._judge.reduction import SUM
from precjax._judge.table import rule

DIVIDE = np.frompyfunc(divide, 2, 1)


@rule("cholesky")
def cholesky(a, **params):
    return each_factor(a, ZERO, _cholesky)


def each_factor(a, zero, fill):
    """Of a batch of matrices: `fill` writes the factor of one over zeros."""
    result = np.full(a.shape, zero, dtype=object)
    for place in np.ndindex(a.shape[:-2]):
        fill(a[place], result[place])
    return result


def _cholesky(a, lower):
    for i in range(len(a)):
        for j in range(i):
            lower[i, j] = divide(a[i, j] - SUM.reduce(lower[i, :j] * lower[j, :j]), lower[j, j])
        rest = a[i, i] - SUM.reduce(lower[i, :i] * lower[i, :i])
        lower[i, i] = NAN if is_nan(rest) else sqrt(rest)


@rule("cholesky_update")
def cholesky_update(r, w, **params):
    """The upper factor of R^T R + w w^T."""
    r = np.where(np.triu(np.ones(r.shape, dtype=bool)), r, ZERO)
    return np.swapaxes(cholesky(np.matmul(np.swapaxes(r, -1, -2), r) + w[..., :, None] * w[..., None, :]), -1, -2)


@rule("symmetric_product")
def symmetric_product(a, c, *, alpha, beta, **params):
    return lift(alpha).item() * np.matmul(a, np.swapaxes(a, -1, -2)) + lift(beta).item() * c


@rule("tridiagonal_solve")
def tridiagonal_solve(below, middle, above, b, **params):
    """Elimination without pivots, as far as it goes."""
    below, middle, above, result = below.copy(), middle.copy(), above.copy(), b.copy()
    n = middle.shape[-1]
    for i in range(1, n):
        factor = np.asarray(DIVIDE(below[..., i], middle[..., i - 1]), dtype=object)
        middle[..., i] = middle[..., i] - factor * above[..., i - 1]
        result[..., i, :] = result[..., i, :] - factor[..., None] * result[..., i - 1, :]
    for i in reversed(range(n)):
        if i + 1 < n:
            result[..., i, :] = result[..., i, :] - above[..., i, None] * result[..., i + 1, :]
        result[..., i, :] = DIVIDE(result[..., i, :], middle[..., i, None])
    return result


@rule("lu")
def lu(a, **params):
    """Gaussian elimination with the first largest pivot: (lu, pivots, permutation)."""
    factors = a.copy()
    rank = min(a.shape[-2:])
    pivots = np.empty((*a.shape[:-2], rank), dtype=int)
    permutation = np.empty(a.shape[:-1], dtype=int)
    for place in np.ndindex(a.shape[:-2]):
        permutation[place] = np.arange(a.shape[-2])
        for k in range(rank):
            pivots[place][k] = k + first_best(abs(factors[place][k:, k]), 1)
            swap_and_eliminate(factors[place], permutation[place], k, pivots[place][k], divide)
    return factors, pivots, permutation


def swap_and_eliminate(a, permutation, k, pivot, divide):
    """Clear column k below the diagonal, after the row of the pivot came to row k; a column of zeros stays (LAPACK)."""
    a[[k, pivot]] = a[[pivot, k]]
    permutation[[k, pivot]] = permutation[[pivot, k]]
    if a[k, k] == 0:
        return
    for i in range(k + 1, len(a)):
        a[i, k] = divide(a[i, k], a[k, k])
        a[i, k + 1 :] -= a[i, k] * a[k, k + 1 :]


@rule("triangular_solve")
def triangular_solve(a, b, *, left_side, lower, transpose_a, unit_diagonal, **params):
    if not left_side:
        swapped = np.swapaxes(b, -1, -2)
        solution = triangular_solve(
            a, swapped, left_side=True, lower=lower, transpose_a=not transpose_a, unit_diagonal=unit_diagonal
        )
        return np.swapaxes(solution, -1, -2)
    if transpose_a:
        a, lower = np.swapaxes(a, -1, -2), not lower
    result = b.copy()
    for place in np.ndindex(b.shape[:-2]):
        _substitute(a[place], result[place], lower, unit_diagonal)
    return result


def _substitute(a, x, lower, unit_diagonal):
    rows = range(len(a)) if lower else reversed(range(len(a)))
    for i in rows:
        known = slice(0, i) if lower else slice(i + 1, None)
        for column in range(x.shape[1]):
            rest = x[i, column] - SUM.reduce(a[i, known] * x[known, column])
            x[i, column] = rest if unit_diagonal else divide(rest, a[i, i])
