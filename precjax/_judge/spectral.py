"""Eigenvalues, singular values and orthogonal factors.

Eigenvectors have the sign that makes their first element that is not 0 positive: programs to be judged must not depend
on it.
"""

import numpy as np
from flint import acb, acb_mat, arb

from precjax._judge.arithmetic import divide
from precjax._judge.elementary import sqrt
from precjax._judge.number import ZERO, Undecidable, ball, compare, sign
from precjax._judge.reduction import SUM
from precjax._judge.table import rule


@rule("eigh")
def eigh(a, *, lower, **params):
    vectors, values = np.empty(a.shape, dtype=object), np.empty(a.shape[:-1], dtype=object)
    for place in np.ndindex(a.shape[:-2]):
        read = np.tril(a[place]) if lower else np.triu(a[place]).T
        values[place], vectors[place] = _symmetric(read + np.tril(read, -1).T)
    return vectors, values


def _symmetric(a):
    """Ascending eigenvalues, and unit eigenvectors as columns."""
    numbers, columns = ascending(acb_mat([[acb(ball(x)) for x in row] for row in a]))
    return numbers, np.stack([_unit(v) for v in columns], axis=1)


def ascending(matrix):
    """The eigenvalues of a Hermitian matrix in order, and an eigenvector of each, of any length."""
    n = matrix.nrows()
    try:
        values, right = matrix.eig(right=True)
    except ValueError as error:
        raise Undecidable(f"eigenvalues that are not apart: {error}") from error
    numbers = [value.real for value in values]
    order = sorted(range(n), key=lambda i: float(numbers[i].mid()))
    for i, j in zip(order, order[1:], strict=False):
        if compare(numbers[i], numbers[j]) != -1:
            raise Undecidable("eigenvalues that are not apart")
    columns = [np.array([right[i, j] for i in range(n)], dtype=object) for j in order]
    return np.array([numbers[i] for i in order], dtype=object), columns


def _unit(vector):
    """A complex multiple of a real vector, made real, of length 1 and of the sign of the table."""
    pivot = max(vector, key=lambda x: float(abs(x).mid()))
    real = np.array([(x / pivot).real for x in vector], dtype=object)
    return _first_positive(real / SUM.reduce(real * real).sqrt())


def _first_positive(vector):
    leading = next((x for x in vector if not (x.contains(0) and abs(x) < arb(2) ** -300)), None)
    return vector if leading is None or sign(leading) > 0 else -vector


@rule("svd")
def svd(a, *, compute_uv, full_matrices, **params):
    m, n = a.shape[-2:]
    k = min(m, n)
    shapes = [(k,), (m, m if full_matrices else k), (n if full_matrices else k, n)]
    s, u, vt = results = [np.full((*a.shape[:-2], *shape), ZERO, dtype=object) for shape in shapes]
    for place in np.ndindex(a.shape[:-2]):
        tall = a[place] if m >= n else a[place].T
        s[place], left, right = _singular(tall, compute_uv)
        left, right = (left, right) if m >= n else (right, left)
        if not compute_uv:
            continue
        if u[place].shape != left.shape or vt[place].shape != right.T.shape:
            raise NotImplementedError("the judge has no singular vectors of the value 0")
        u[place], vt[place] = left, right.T
    return results if compute_uv else [s]


def _singular(a, vectors):
    """Descending singular values of a tall matrix, left and right vectors as columns."""
    values, right = _symmetric(np.matmul(a.T, a))
    values, right = (
        np.array([sqrt(x.max(0) if x.contains(0) else x) for x in values[::-1]], dtype=object),
        right[:, ::-1],
    )
    if vectors and any(compare(x, ZERO) == 0 for x in values):
        raise Undecidable("singular vectors of the value 0")
    left = np.matmul(a, right) / values if vectors else np.zeros(a.shape)
    return values, left, right


@rule("qr")
def qr(a, *, full_matrices, pivoting=False, **params):
    """Householder's reflections, which give the diagonal of R the sign opposite to the element they start from."""
    m, n = a.shape[-2:]
    k = m if full_matrices else min(m, n)
    q, r = (np.full((*a.shape[:-2], *shape), ZERO, dtype=object) for shape in ((m, k), (k, n)))
    if pivoting:
        raise NotImplementedError("the judge has no pivoted QR")
    for place in np.ndindex(a.shape[:-2]):
        orthogonal, triangular = _householder(a[place])
        q[place], r[place] = orthogonal[:, :k], triangular[:k]
    return q, r


def _householder(a):
    m, n = a.shape
    r, q = a.copy(), np.where(np.eye(m, dtype=bool), ZERO + 1, ZERO)
    for j in range(min(m - 1, n)):
        v = r[j:, j].copy()
        if all(compare(x, ZERO) == 0 for x in v[1:]):
            continue
        norm = sqrt(SUM.reduce(v * v))
        v[0] = v[0] + (norm if compare(v[0], ZERO) >= 0 else -norm)
        scale = divide(ZERO + 2, SUM.reduce(v * v))
        r[j:] = r[j:] - scale * np.outer(v, np.matmul(v, r[j:]))
        q[:, j:] = q[:, j:] - scale * np.outer(np.matmul(q[:, j:], v), v)
        r[j + 1 :, j] = ZERO
    return q, r


@rule("geqrf")
def geqrf(a, **params):
    """R and, below it, the vectors of the reflections; their factors."""
    packed, taus = a.copy(), np.empty((*a.shape[:-2], min(a.shape[-2:])), dtype=object)
    for place in np.ndindex(a.shape[:-2]):
        _pack(packed[place], taus[place])
    return packed, taus


def _pack(a, taus):
    for j in range(len(taus)):
        x = a[j:, j].copy()
        if all(compare(y, ZERO) == 0 for y in x[1:]):
            taus[j] = ZERO
            continue
        norm = sqrt(SUM.reduce(x * x))
        beta = -norm if compare(x[0], ZERO) >= 0 else norm
        taus[j] = (beta - x[0]) / beta
        v = np.concatenate([[ZERO + 1], x[1:] / (x[0] - beta)])
        a[j:, j:] = a[j:, j:] - taus[j] * np.outer(v, np.matmul(v, a[j:, j:]))
        a[j + 1 :, j] = v[1:]


@rule("householder_product")
def householder_product(a, taus, **params):
    result = np.full(a.shape, ZERO, dtype=object)
    for place in np.ndindex(a.shape[:-2]):
        result[place] = _reflections(a[place], taus[place])[:, : a.shape[-1]]
    return result


@rule("ormqr")
def ormqr(a, taus, c, *, left, transpose, **params):
    result = c.copy()
    for place in np.ndindex(a.shape[:-2]):
        q = _reflections(a[place], taus[place])
        q = q.T if transpose else q
        result[place] = np.matmul(q, c[place]) if left else np.matmul(c[place], q)
    return result


def _reflections(a, taus):
    """H_1 ... H_k."""
    q = np.where(np.eye(len(a), dtype=bool), ZERO + 1, ZERO)
    for j, tau in enumerate(taus):
        v = np.concatenate([[ZERO + 1], a[j + 1 :, j]])
        q[:, j:] = q[:, j:] - tau * np.outer(np.matmul(q[:, j:], v), v)
    return q
