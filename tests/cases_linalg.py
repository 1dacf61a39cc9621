"""Rows of linear algebra: systems, factorizations, spectra, for matrices from mild to singular."""

import jax.numpy as jnp
import numpy as np
from cases import FLOATS, FULL, Case, Drawn
from jax import lax


def hard(*shapes):
    """Zeros, ties and subnormals among the elements: pivots in doubt, singular matrices."""
    return lambda draw: tuple(draw.numbers(*shape, wide=False) for shape in shapes)


def mild(*shapes):
    """Gaussian elements: no two eigenvalues or singular values are the same."""
    return lambda draw: tuple(Drawn(draw.random.normal(size=shape).astype(draw.dtype)) for shape in shapes)


def dominant(*shapes):
    """A diagonal that no relative error of a third makes small."""

    def inputs(draw):
        drawn = mild(*shapes)(draw)
        return tuple(Drawn((x.value + 9 * np.eye(*x.value.shape[-2:])).astype(draw.dtype)) for x in drawn)

    return inputs


def positive(n, condition):
    """A symmetric positive definite matrix."""

    def inputs(draw):
        q, _ = np.linalg.qr(draw.random.normal(size=(n, n)))
        a = q @ np.diag(condition ** -np.linspace(0, 1, n)) @ q.T
        return (Drawn(((a + a.T) / 2).astype(draw.dtype)),)

    return inputs


def nearly_singular(n, *others):
    """The last column is nearly the sum of the others."""

    def inputs(draw):
        a, *rest = (x.value for x in mild((n, n), *others)(draw))
        a[:, -1] = a[:, :-1].sum(1) + 1e-3 * a[:, -1]
        return tuple(map(Drawn, (a, *rest)))

    return inputs


def with_two_candidates(draw):
    """After the first step of an elimination two elements are nearly the same: the rows may come in either order."""
    c = draw.random.uniform(1, 2)
    a = np.array([[4, 1, 2], [2, 0.5 + c, 1], [-1, -0.25 - c * (1 - 2e-4), 3]])
    return (Drawn(a.astype(draw.dtype)),)


def with_twins(*shape):
    """A matrix, and two numbers that are nearly the same: errors may change the sign of their difference."""

    def inputs(draw):
        a, c = (x.value for x in mild(shape, (2,))(draw))
        return Drawn(a), Drawn(c[0] * np.array([1, 1.002], draw.dtype))

    return inputs


def tied(*shape):
    """Whole numbers: most columns have several largest elements, some only zeros, and errors decide between them."""

    def inputs(draw):
        drawn = draw.random.integers(-2, 3, shape)
        drawn[..., shape[-1] // 2] *= draw.random.integers(0, 2)
        return (Drawn((drawn * (1 + draw.hardness * draw.random.choice([0, 1e-4], shape))).astype(draw.dtype)),)

    return inputs


def of_one_sign(v):
    """Eigenvectors whose first element is not negative: what is exact does not depend on the sign."""
    return v * jnp.sign(v[..., :1, :])


def eigh(a):
    values, vectors = jnp.linalg.eigh(a)
    return values, of_one_sign(vectors)


def svd(a):
    u, s, vt = jnp.linalg.svd(a, full_matrices=False)
    signs = jnp.sign(u[..., :1, :])
    return u * signs, s, vt * jnp.swapaxes(signs, -1, -2)


def triangular(a, b):
    return (
        lax.linalg.triangular_solve(a, b, left_side=True, lower=True),
        lax.linalg.triangular_solve(a, b.T, left_side=False, lower=True, transpose_a=True, unit_diagonal=True),
        lax.linalg.triangular_solve(a, b, left_side=True, lower=False, transpose_a=True),
    )


def singles(a):
    """Matrices of one element."""
    positive = a * a + 1
    return jnp.linalg.inv(a), jnp.linalg.cholesky(positive), jnp.linalg.slogdet(positive), jnp.linalg.svdvals(a)


def least_squares(a, b):
    """A solution, and what it leaves."""
    return jnp.linalg.lstsq(a, b)[:2]


def banded(below, middle, above, b):
    return lax.linalg.tridiagonal_solve(below, middle + 5, above, b)


ROWS = {
    "triangular_solve": (triangular, hard((4, 4), (4, 2)), FLOATS),
    "triangular_solve of a dominant matrix": (triangular, dominant((4, 4), (4, 2)), ("float64",)),
    "solve": (jnp.linalg.solve, hard((5, 5), (5, 2))),
    "solve of a nearly singular matrix": (jnp.linalg.solve, nearly_singular(5, (5,)), ("float64",)),
    "inv of a stack": (jnp.linalg.inv, mild((2, 2, 2)), ("float32",)),
    "matrices of one element": (singles, mild((1, 1)), ("float32",)),
    "cholesky": (jnp.linalg.cholesky, positive(5, 10.0), ("float32",)),
    "cholesky of an ill-conditioned matrix": (jnp.linalg.cholesky, positive(3, 1e4), ("float64",)),
    "lu": (lax.linalg.lu, hard((4, 4))),
    "lu with a pivot in doubt": (lax.linalg.lu, with_two_candidates, ("float32",)),
    "lu of a tall matrix": (lax.linalg.lu, mild((4, 2)), ("float64",)),
    "lu of ties": (lax.linalg.lu, tied(2, 3, 4), ("float32",)),
    "det of a stack": (jnp.linalg.det, hard((3, 4, 4)), ("float32",)),
    "slogdet": (jnp.linalg.slogdet, dominant((4, 4)), ("float64",)),
    "qr": (lambda a, c: jnp.linalg.qr(a.at[0, 0].set(c[0] - c[1])), with_twins(3, 2), ("float32",)),
    "eigh": (eigh, mild((4, 4)), ("float32",)),
    "svd": (svd, mild((3, 2)), ("float64",)),
    "lstsq": (least_squares, mild((4, 2), (4,)), ("float32",)),
    "tridiagonal_solve": (banded, mild((4,), (4,), (4,), (4, 1)), ("float32",)),
}
UNBOUNDED = {
    "triangular_solve", "solve", "solve of a nearly singular matrix", "cholesky of an ill-conditioned matrix",
}  # fmt: skip

CASES = [
    Case(name, f, inputs, *formats or (FULL,), unbounded=name in UNBOUNDED)
    for name, (f, inputs, *formats) in ROWS.items()
]
