"""Dense factorizations that have one exact answer."""

import numpy as np

from precjax._judge.arithmetic import divide
from precjax._judge.elementary import sqrt
from precjax._judge.number import ZERO
from precjax._judge.reduction import SUM
from precjax._judge.table import rule


@rule("cholesky")
def cholesky(a, **params):
    result = np.full(a.shape, ZERO, dtype=object)
    for place in np.ndindex(a.shape[:-2]):
        _cholesky(a[place], result[place])
    return result


def _cholesky(a, lower):
    for i in range(len(a)):
        for j in range(i):
            lower[i, j] = divide(a[i, j] - SUM.reduce(lower[i, :j] * lower[j, :j]), lower[j, j])
        lower[i, i] = sqrt(a[i, i] - SUM.reduce(lower[i, :i] * lower[i, :i]))


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
