"""Factorizations of complex matrices.

Eigenvectors and singular vectors have the phase that makes the first element of an eigenvector, or of a right singular
vector, positive: programs to be judged must not depend on it.
"""

import numpy as np
from flint import acb, acb_mat, arb

from precjax._judge.complex_numbers import divide
from precjax._judge.decision import first_best
from precjax._judge.linalg import each_factor, swap_and_eliminate
from precjax._judge.number import ZERO, Undecidable, as_complex, compare
from precjax._judge.reduction import SUM
from precjax._judge.spectral import ascending
from precjax._judge.table import COMPLEX, rule

_COMPLEX = np.frompyfunc(as_complex, 1, 1)
_CONJUGATE = np.frompyfunc(lambda z: as_complex(z).conjugate(), 1, 1)
_DIVIDE = np.frompyfunc(lambda a, b: divide(as_complex(a), as_complex(b)), 2, 1)
_SIZE = np.frompyfunc(lambda z: abs(as_complex(z)), 1, 1)


def _adjoint(a):
    return _CONJUGATE(np.swapaxes(a, -1, -2))


def _norm(v):
    return SUM.reduce(_SIZE(v) ** 2).sqrt()


@rule("triangular_solve", table=COMPLEX)
def triangular_solve(a, b, *, left_side, lower, transpose_a, conjugate_a, unit_diagonal, **params):
    """Substitution; from the right, in the transposed system."""
    n = a.shape[-1]
    read = np.tri(n, dtype=bool)
    a = np.where(read if lower else read.T, _CONJUGATE(a) if conjugate_a else a, acb(0))
    if unit_diagonal:
        a = np.where(np.eye(n, dtype=bool), acb(1), a)
    if transpose_a == left_side:
        a, lower = np.swapaxes(a, -1, -2), not lower
    result = (b if left_side else np.swapaxes(b, -1, -2)).copy()
    for place in np.ndindex(b.shape[:-2]):
        _substitute(a[place], result[place], lower)
    return result if left_side else np.swapaxes(result, -1, -2)


def _substitute(a, x, lower):
    n = len(a)
    for i in range(n) if lower else reversed(range(n)):
        known = slice(0, i) if lower else slice(i + 1, None)
        x[i] = _DIVIDE(x[i] - np.matmul(a[i, known], x[known]), a[i, i])


@rule("cholesky", table=COMPLEX)
def cholesky(a, **params):
    return each_factor(a, acb(0), _cholesky)


def _cholesky(a, lower):
    for i in range(len(a)):
        for j in range(i):
            rest = a[i, j] - SUM.reduce(lower[i, :j] * _CONJUGATE(lower[j, :j]))
            lower[i, j] = divide(as_complex(rest), as_complex(lower[j, j]))
        rest = as_complex(a[i, i]).real - SUM.reduce(_SIZE(lower[i, :i]) ** 2)
        lower[i, i] = acb(arb(rest).sqrt())  # NaN where there is no factor


@rule("lu", table=COMPLEX)
def lu(a, **params):
    """LAPACK takes the candidate with the largest |re| + |im|."""
    factors, rank = a.copy(), min(a.shape[-2:])
    pivots = np.empty((*a.shape[:-2], rank), dtype=int)
    permutation = np.empty(a.shape[:-1], dtype=int)
    for place in np.ndindex(a.shape[:-2]):
        permutation[place] = np.arange(a.shape[-2])
        for k in range(rank):
            column = [abs(z.real) + abs(z.imag) for z in map(as_complex, factors[place][k:, k])]
            pivots[place][k] = k + first_best(column, 1)
            swap_and_eliminate(factors[place], permutation[place], k, pivots[place][k], _DIVIDE)
    return factors, pivots, permutation


@rule("eigh", table=COMPLEX)
def eigh(a, *, lower, **params):
    vectors, values = np.empty(a.shape, dtype=object), np.empty(a.shape[:-1], dtype=object)
    for place in np.ndindex(a.shape[:-2]):
        read = np.tril(a[place]) if lower else _adjoint(np.triu(a[place]))
        strict = np.tril(read, -1)
        diagonal = np.diag([acb(as_complex(x).real) for x in np.diagonal(read)])
        values[place], vectors[place] = _hermitian(strict + _adjoint(strict) + diagonal)
    return vectors, values


def _hermitian(a):
    """Ascending eigenvalues, and unit eigenvectors as columns."""
    numbers, columns = ascending(acb_mat([[as_complex(x) for x in row] for row in a]))
    return numbers, np.stack([_turned(v) for v in columns], axis=1)


def _turned(vector):
    return vector * (_CONJUGATE(vector[:1]) / (_SIZE(vector[:1]) * _norm(vector)))


@rule("svd", table=COMPLEX)
def svd(a, *, compute_uv, full_matrices, **params):
    """Of tall matrices without a singular value 0, and square where all vectors are asked for."""
    m, n = a.shape[-2:]
    if m < n or (full_matrices and m != n and compute_uv):
        raise NotImplementedError("the judge has singular values of tall complex matrices only")
    s, u, vh = (np.empty((*a.shape[:-2], *shape), dtype=object) for shape in ((n,), (m, n), (n, n)))
    for place in np.ndindex(a.shape[:-2]):
        squares, right = _hermitian(np.matmul(_adjoint(a[place]), a[place]))
        if compare(squares[0], ZERO) != 1:
            raise Undecidable("singular vectors of the value 0")
        s[place] = [x.sqrt() for x in squares[::-1]]
        u[place], vh[place] = np.matmul(a[place], right[:, ::-1]) / s[place], _adjoint(right[:, ::-1])
    return (s, u, vh) if compute_uv else [s]


@rule("qr", table=COMPLEX)
def qr(a, *, full_matrices, pivoting=False, **params):
    """Householder's reflections, which make the diagonal of R real, of the sign opposite to the real part there."""
    m, n = a.shape[-2:]
    k = min(m, n)
    if pivoting or (full_matrices and m > n):
        raise NotImplementedError("the judge has the reduced QR of complex matrices only")
    q, r = (np.empty((*a.shape[:-2], *shape), dtype=object) for shape in ((m, k), (k, n)))
    for place in np.ndindex(a.shape[:-2]):
        orthogonal, triangular = _householder(_COMPLEX(a[place]))
        q[place], r[place] = orthogonal[:, :k], triangular[:k]
    return q, r


def _householder(a):
    """I - tau v v^H for x: beta = -sign(re x_1) |x|, v = (x - beta e_1) / (x_1 - beta), tau = (beta - x_1) / beta."""
    m, n = a.shape
    r, q = a.copy(), np.where(np.eye(m, dtype=bool), acb(1), acb(0))
    for j in range(min(m, n)):
        x = r[j:, j].copy()
        if all(z == 0 for z in [*x[1:], x[0].imag]):
            continue
        beta = _norm(x) if compare(x[0].real, ZERO) == -1 else -_norm(x)
        tau = (beta - x[0]) / beta
        v = np.concatenate([[acb(1)], x[1:] / (x[0] - beta)])
        # LAPACK reflects by H^H, and Q is the product of the H.
        r[j:] = r[j:] - tau.conjugate() * np.outer(v, np.matmul(_CONJUGATE(v), r[j:]))
        q[:, j:] = q[:, j:] - tau * np.outer(np.matmul(q[:, j:], v), _CONJUGATE(v))
        r[j + 1 :, j] = acb(0)
    return q, r
