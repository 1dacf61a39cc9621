"""Factorizations of complex matrices in pairs: what they leave of the matrix, exactly, and whose phases they have."""

from typing import NamedTuple

import cases_complex
import flint
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.lax import linalg
from test_pair_bounds import reference

from precjax import Tracked
from precjax._interpreter import _TRANSFORMED
from precjax.doubledouble import DD, _factorizations, _numbers, _reflections, _rotations
from precjax.models import _pair_factorizations, _pair_reflections, _pair_spectral
from precjax.rules.enclosure import Enclosure
from precjax.testing import exact

TOLERANCE = 1e-29  # of numbers about 1; float64 leaves 1e-16


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True), flint.ctx.workprec(400):
        yield


RANDOM = np.random.default_rng(0)


def normal(*shape):
    return RANDOM.normal(size=shape) + 1j * RANDOM.normal(size=shape)


def beyond(a):
    """A pair, with a low part."""
    return DD(jnp.asarray(a), jnp.asarray(a * RANDOM.normal(size=a.shape) * 2.0**-60))


def exactly(x):
    """A matrix of balls: the pair itself."""
    high, low = (np.asarray(v) for v in (x if isinstance(x, DD) else (x, np.zeros_like(x))))
    number = lambda h, l: flint.acb(complex(h)) + flint.acb(complex(l))  # noqa: E731, E741
    return np.vectorize(number, otypes=[object])(high, low)


def adjoint(a):
    return np.vectorize(lambda x: x.conjugate(), otypes=[object])(a.T)


def largest(a):
    return max((float(abs(flint.acb(x)).upper()) for x in np.ravel(a)), default=0.0)


def assert_small(*remainders):
    for r in remainders:
        assert largest(r) < TOLERANCE, largest(r)


def identity(n):
    return exactly(np.eye(n))


def near(x, plain):
    """With the phases, the signs and the order of float64."""
    np.testing.assert_allclose(np.asarray(x.hi), np.asarray(plain), rtol=0, atol=1e-12)


SQUARE, TALL, FLAT = normal(4, 4), normal(5, 3), normal(3, 5)
POSITIVE = SQUARE @ SQUARE.conj().T + np.eye(4)
HERMITIAN = SQUARE + SQUARE.conj().T
CLUSTER = np.linalg.qr(SQUARE)[0]
CLUSTER = CLUSTER @ np.diag([1.0, 1 + 1e-13, 1 + 2e-13, 3.0]) @ CLUSTER.conj().T
ROTATED = TALL * np.array([1, 1j, -1])  # the first elements are of every kind


def of_lu(a):
    packed, _, permutation = jax.jit(_factorizations.lu)(x := beyond(a))
    near(packed, linalg.lu(a)[0])
    m, n = a.shape
    k, factors = min(m, n), exactly(packed)
    lower = np.tril(factors[:, :k], -1) + np.eye(m, k, dtype=int)
    assert_small(lower @ np.triu(factors[:k]) - exactly(x)[np.asarray(permutation)])


def of_cholesky(a):
    factor = jax.jit(_factorizations.cholesky)(x := beyond(a))
    near(factor, linalg.cholesky(a))
    low, given = exactly(factor), exactly(x)
    assert_small(np.tril(low @ adjoint(low) - given, -1), [x.real for x in np.diag(low @ adjoint(low) - given)])
    assert np.all(np.imag(np.diagonal(factor.hi)) == 0) and np.all(np.imag(np.diagonal(factor.lo)) == 0)


def of_systems(a):
    for i in range(2**5):
        left_side, lower, transpose_a, conjugate_a, unit_diagonal = (bool(i & 2**j) for j in range(5))
        options = dict(left_side=left_side, lower=lower, transpose_a=transpose_a, conjugate_a=conjugate_a)
        options["unit_diagonal"] = unit_diagonal
        x, b = beyond(a + 4 * np.eye(4)), beyond(normal(4, 4))
        found = exactly(_factorizations.triangular_solve(x, b, **options))
        matrix = (np.tril if lower else np.triu)(exactly(x), (-1 if lower else 1) if unit_diagonal else 0)
        matrix = matrix + np.eye(4, dtype=int) if unit_diagonal else matrix
        matrix = adjoint(matrix).T if conjugate_a else matrix
        matrix = matrix.T if transpose_a else matrix
        assert_small((matrix @ found if left_side else found @ matrix) - exactly(b))


def of_qr(a):
    for full in (False, True):
        q, r = jax.jit(_reflections.qr, static_argnums=1)(x := beyond(a), full)
        near(q, linalg.qr(a, full_matrices=full)[0])
        near(r, linalg.qr(a, full_matrices=full)[1])
        q, r = exactly(q), exactly(r)
        assert_small(q @ r - exactly(x), adjoint(q) @ q - identity(q.shape[1]), np.tril(r, -1))
    q, r, pivots = _reflections.qr(x, False, pivoting=True)
    near(q, linalg.qr(a, full_matrices=False, pivoting=True)[0])
    assert_small(exactly(q) @ exactly(r) - exactly(x)[:, np.asarray(pivots)])


def of_reflections(a):
    packed, taus = jax.jit(_reflections.geqrf)(beyond(a))
    transposed, plain = jnp.linalg.qr(a, mode="raw")
    near(packed, transposed.T)
    near(taus, plain)
    q = jax.jit(_reflections.householder_product)(packed, taus)
    near(q, linalg.householder_product(transposed.T, plain))
    complete = exactly(_reflections.reflect(packed, taus, _numbers.lifted(jnp.eye(a.shape[0]) + 0j), transpose=False))
    assert_small(complete[:, : q.hi.shape[1]] - exactly(q), adjoint(complete) @ complete - identity(len(a)))
    for left in (True, False):
        for transpose in (True, False):
            c = beyond(normal(a.shape[0], 2) if left else normal(2, a.shape[0]))
            found = exactly(_reflections.ormqr(packed, taus, c, left=left, transpose=transpose))
            factor = adjoint(complete) if transpose else complete
            assert_small(found - (factor @ exactly(c) if left else exactly(c) @ factor))


def of_eigh(a):
    v, d = jax.jit(_rotations.eigh, static_argnums=1)(x := beyond(a), True)
    plain, values = linalg.eigh(a, symmetrize_input=False)
    np.testing.assert_allclose(d.hi, values, atol=1e-12)
    read = np.tril(exactly(x), -1)
    read = read + adjoint(read) + np.diag([y.real for y in np.diag(exactly(x))])
    vectors, values = exactly(v), np.diag(exactly(d))
    assert_small(read @ vectors - vectors @ values, adjoint(vectors) @ vectors - identity(len(a)))
    phases = np.einsum("ij,ij->j", np.conj(v.hi), plain)
    if a is not CLUSTER:
        np.testing.assert_allclose(phases, 1, atol=1e-12)


def of_upper(a):
    lower = jax.jit(_rotations.eigh, static_argnums=1)(beyond(a), True)[1]
    upper = jax.jit(_rotations.eigh, static_argnums=1)(_numbers.adjoint(beyond(a)), False)[1]
    np.testing.assert_allclose(upper.hi, lower.hi, atol=1e-12)


def of_svd(a):
    for full in (False, True):
        s, u, vh = jax.jit(_rotations.svd, static_argnums=(1, 2))(x := beyond(a), full, True)
        np.testing.assert_allclose(s.hi, np.linalg.svd(a, compute_uv=False), atol=1e-12)
        tall = a.shape[0] >= a.shape[1]
        plain = linalg.svd(a, full_matrices=full)
        near(*((vh, plain[2]) if tall else (u, plain[0])))
        k, (u, vh) = s.hi.shape[0], map(exactly, (u, vh))
        assert_small(adjoint(u) @ u - identity(u.shape[1]), vh @ adjoint(vh) - identity(len(vh)))
        assert_small(u[:, :k] @ np.diag(exactly(s)) @ vh[:k] - exactly(x))


class Program(NamedTuple):
    """A check, and its matrix."""

    check: object
    matrix: np.ndarray


PROGRAMS = {
    "Cholesky": Program(of_cholesky, POSITIVE),
    "LU": Program(of_lu, SQUARE),
    "LU, tall": Program(of_lu, TALL),
    "LU, flat": Program(of_lu, FLAT),
    "systems": Program(of_systems, SQUARE),
    "QR": Program(of_qr, SQUARE),
    "QR, tall": Program(of_qr, ROTATED),
    "QR, flat": Program(of_qr, FLAT),
    "reflections": Program(of_reflections, TALL),
    "reflections, square": Program(of_reflections, SQUARE),
    "reflections of a triangle": Program(of_reflections, np.triu(SQUARE)),
    "reflections, of real numbers": Program(of_reflections, np.triu(SQUARE.real) + 0j),
    "eigh": Program(of_eigh, HERMITIAN),
    "eigh, of a cluster": Program(of_eigh, CLUSTER),
    "eigh, of a diagonal": Program(of_eigh, np.diag([3.0, -1.0, 2.0]) + 0j),
    "eigh, upper": Program(of_upper, HERMITIAN),
    "svd": Program(of_svd, SQUARE),
    "svd, tall": Program(of_svd, TALL),
    "svd, flat": Program(of_svd, FLAT),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.long] * (n != "Cholesky")) for n in PROGRAMS])
def test_nothing_is_left_that_pairs_can_tell(name):
    check, matrix = PROGRAMS[name]
    check(matrix)


# How large a bound may be where the matrix is exact.
BOUNDED = {
    "Cholesky": (linalg.cholesky, POSITIVE, 1e-27),
    "LU": (lambda a: linalg.lu(a)[0], SQUARE, 1e-26),
    "LU, tall": (lambda a: linalg.lu(a)[0], TALL, 1e-26),
    "systems": (lambda a: cases_complex.systems(a, None), SQUARE[:3, :3], 1e-26),
    "QR": (jnp.linalg.qr, TALL, 1e-26),
    "eigh": (lambda a: cases_complex.spectrum(a, None), HERMITIAN, 1e-26),
    "svd": (lambda a: cases_complex.singular(a, None), TALL, 1e-25),
}


@pytest.mark.long
@pytest.mark.parametrize("name", BOUNDED)
def test_references_lie_within_their_bounds(name):
    """Exact matrices, and matrices with errors of one in 2**80, which no high part shows."""
    f, a, limit = BOUNDED[name]
    truth = jax.tree.leaves(exact(f, a, precision=400))
    for arg in (a, Tracked(a, np.ldexp(np.abs(a), -80))):
        results = reference(f, [arg])([arg])
        for (x, bounds), t in zip(results, truth, strict=True):
            assert arg is not a or np.all(np.asarray(bounds) <= limit), np.max(bounds)
            for found, bound, number in zip(*map(np.ravel, (exactly(x), bounds, t)), strict=True):
                assert abs(found - flint.acb(number)) <= flint.arb(float(bound)), name


UNSEEN = lambda f: lambda *args: Enclosure(0 * f(*args).mid)  # noqa: E731
FAULTS = {
    "residual of a Cholesky factor not looked at": (_pair_factorizations, "residual", UNSEEN, "Cholesky"),
    "residual of LU not looked at": (_pair_factorizations, "residual", UNSEEN, "LU"),
    "residual of QR not looked at": (_pair_reflections, "residual", UNSEEN, "QR"),
    "less than what moves singular vectors": (
        _pair_spectral, "singular_errors", lambda f: lambda *args: [e * 2.0**-40 for e in f(*args)], "svd",
    ),
    "a transpose for an adjoint": (_factorizations, "adjoint", lambda _: _numbers.transposed, "Cholesky"),
    "a phase left out": (_rotations.numbers, "direction", lambda _: lambda x: _numbers.lifted(jnp.ones_like(x.hi)), "eigh"),
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_seen(name, monkeypatch):
    where, attribute, faulty, program = FAULTS[name]
    monkeypatch.setattr(where, attribute, faulty(getattr(where, attribute)))
    _TRANSFORMED.clear()
    with pytest.raises(AssertionError):
        test_references_lie_within_their_bounds(program)
    _TRANSFORMED.clear()
