"""Orthogonal factors and spectra of float64 programs: references in pairs, against their own bounds and exact results."""

from typing import NamedTuple

import flint
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases_linalg import eigh, svd
from jax.lax import linalg
from test_pair_bounds import assert_bounded, reference

from precjax import Tracked, track
from precjax._interpreter import _TRANSFORMED
from precjax.doubledouble import _reflections, _rotations
from precjax.models import _pair_least_squares, _pair_reflections, _pair_spectral
from precjax.rules.enclosure import Enclosure
from precjax.testing import assert_encloses, exact


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True), flint.ctx.workprec(1024):
        yield


RANDOM = np.random.default_rng(0)
SQUARES, TALL, FLAT = RANDOM.normal(size=(2, 4, 4)), RANDOM.normal(size=(5, 3)), RANDOM.normal(size=(3, 5))
ALIKE = np.linalg.qr(TALL)[0] * (1 + 2e-15 * np.arange(3))  # singular values that are some ulps apart
GRADED = RANDOM.normal(size=(5, 5)) * 10.0 ** -np.arange(0, 15, 3)


def hilbert(n):
    return 1 / (np.arange(n)[:, None] + np.arange(n) + 1.0)


def symmetric(a):
    return (a + np.swapaxes(a, -1, -2)) / 2


class Program(NamedTuple):
    """A function, its arrays, and what the largest bound of each result may be."""

    f: object
    arrays: tuple
    largest: tuple


def geqrf(a):
    packed, taus = jnp.linalg.qr(a, mode="raw")
    return jnp.swapaxes(packed, -1, -2), taus


def q_of(a):
    return linalg.householder_product(*geqrf(a))


def reflected(left, transpose):
    return lambda a, c: linalg.ormqr(*geqrf(a), c, left=left, transpose=transpose)


PROGRAMS = {
    "QR": Program(jnp.linalg.qr, (SQUARES,), (1e-28, 1e-28)),
    "QR, tall": Program(jnp.linalg.qr, (TALL,), (1e-28, 1e-28)),
    "QR, flat": Program(jnp.linalg.qr, (FLAT,), (1e-28, 1e-28)),
    "QR, ill-conditioned": Program(jnp.linalg.qr, (hilbert(6),), (1e-22, 1e-28)),
    "QR, graded": Program(jnp.linalg.qr, (GRADED,), (1e-28, 1e-28)),
    "QR, complete": Program(lambda a: jnp.linalg.qr(a, mode="complete"), (TALL,), (2.0, 1e-28)),
    "QR, of a diagonal": Program(jnp.linalg.qr, (np.diag([1.0, -2.0, 3.0]),), (1e-28, 1e-28)),
    "QR, of zeros": Program(jnp.linalg.qr, (np.zeros((3, 3)),), (2.1, 1e-300)),
    "reflections": Program(geqrf, (SQUARES,), (1e-28, 1e-27)),
    "reflections, flat": Program(geqrf, (FLAT,), (1e-28, 1e-27)),
    "product of reflections": Program(q_of, (TALL,), (1e-27,)),
    "reflected": Program(reflected(True, True), (TALL, RANDOM.normal(size=(5, 2))), (1e-27,)),
    "reflected from the right": Program(reflected(False, False), (TALL, RANDOM.normal(size=(2, 5))), (1e-27,)),
    "eigh": Program(eigh, (symmetric(SQUARES),), (1e-28, 1e-28)),
    "eigh, ill-conditioned": Program(eigh, (hilbert(6),), (1e-28, 1e-24)),
    "eigh, apart beyond float64": Program(eigh, (np.array([[1.0, 1e-20], [1e-20, 1.0]]),), (1e-28, 1e-9)),
    "eigh, graded": Program(eigh, (GRADED.T @ GRADED,), (1e-28, 2.0)),
    "eigh, of one": Program(eigh, (np.array([[-2.5]]),), (1e-28, 1e-28)),
    "eigenvalues": Program(jnp.linalg.eigvalsh, (symmetric(SQUARES[0]),), (1e-28,)),
    "svd": Program(svd, (SQUARES,), (1e-27, 1e-27, 1e-27)),
    "svd, tall": Program(svd, (TALL,), (1e-27, 1e-27, 1e-27)),
    "svd, flat": Program(svd, (FLAT,), (1e-27, 1e-27, 1e-27)),
    "svd, ill-conditioned": Program(svd, (hilbert(6),), (1e-22, 1e-27, 1e-22)),
    "svd, graded": Program(svd, (GRADED,), (1e-14, 1e-27, 1e-14)),
    "pseudoinverse": Program(jnp.linalg.pinv, (ALIKE,), (1e-28,)),
    "singular values": Program(lambda a: jnp.linalg.svd(a, compute_uv=False), (hilbert(8),), (1e-28,)),
}
SHORT = ("QR, ill-conditioned", "svd, ill-conditioned")
CLOSE = "eigh, apart beyond float64"


ROWS = [
    pytest.param(name, exactly, marks=[pytest.mark.long] * (name not in SHORT or not exactly))
    for name in PROGRAMS
    for exactly in (True, False)
]


@pytest.mark.parametrize("name, exactly", ROWS)
def test_references_lie_within_their_bounds(name, exactly):
    """Exact matrices, and matrices with errors of one in 2**80, which no high part shows."""
    f, arrays, largest = PROGRAMS[name]
    args = list(arrays) if exactly else [Tracked(x, np.ldexp(np.abs(x), -80)) for x in arrays]
    results = reference(f, args)(args)
    assert_bounded(results, [exact(f, *arrays, precision=1024)])
    for (_, bounds), limit in zip(results, largest, strict=True):
        assert not exactly or np.all(bounds <= limit), bounds


def made_of_them(a, h, b):
    """What JAX makes of the singular values and vectors."""
    numbers = jnp.linalg.norm(a, ord=2), jnp.linalg.norm(a, ord="nuc"), jnp.linalg.cond(h), jnp.linalg.matrix_rank(a)
    return numbers, jnp.linalg.pinv(a), jnp.linalg.lstsq(a, b)


WHOLE = {
    "QR": (lambda *matrices: list(map(jnp.linalg.qr, matrices)), (SQUARES[0], hilbert(7), hilbert(12))),
    "eigh": (lambda *matrices: list(map(eigh, matrices)), (symmetric(SQUARES), hilbert(9), hilbert(12))),
    "svd": (lambda *matrices: list(map(svd, matrices)), (SQUARES, TALL, hilbert(12))),
    "what is made of them": (made_of_them, (TALL, hilbert(10), RANDOM.normal(size=(5, 2)))),
    "of nearly one singular value": (
        lambda a, b: (jnp.linalg.pinv(a), jnp.linalg.lstsq(a, b)),
        (ALIKE, TALL[:, :2]),
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("name", WHOLE)
def test_certified_and_shadow_say_what_the_error_is(name):
    f, args = WHOLE[name]
    truth = exact(f, *args, precision=1024)
    certified, shadow = (track(f, model=m)(*args) for m in ("certified", "shadow"))
    assert np.median(assert_encloses(certified, truth)) < 1.0001
    assert_observed(shadow, truth)


@pytest.mark.long
def test_where_nothing_is_unique():
    """Ranks in doubt in float64 are none in pairs; vectors of one value are only known to be of unit length."""
    ranks = lambda a: (jnp.linalg.matrix_rank(a), jnp.linalg.svd(a, compute_uv=False))  # noqa: E731
    rank, values = track(ranks, model="certified")(np.outer([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])).error
    assert rank == 0
    assert np.all(values < 1e-14)
    of_values, of_vectors = track(jnp.linalg.eigh, model="certified")(np.eye(3)).error
    assert np.all(of_values < 1e-28)
    assert np.all((of_vectors >= 1) & (of_vectors <= 2.01))
    assert np.isnan(track(jnp.linalg.svd, model="shadow")(np.full((2, 2), np.nan)).value[1]).all()


def assert_observed(shadow, truth, tolerance=1e-2):
    """Errors to so much of the largest error of the array."""
    for value, error, x in zip(*(jax.tree.leaves(t) for t in (shadow.value, shadow.error, truth)), strict=True):
        observed = [
            float(flint.arb(float(v)) - flint.arb(t)) for v, t in zip(np.ravel(value), np.ravel(x), strict=True)
        ]
        np.testing.assert_allclose(np.ravel(error), observed, rtol=0, atol=tolerance * np.max(np.abs(observed)) + 1e-28)


def smaller(original):
    return lambda *args: [error * 2.0**-40 for error in original(*args)]


def unseen(original):
    return lambda *args: Enclosure(0 * original(*args).mid)


QR, SVD = "QR, ill-conditioned", "svd, ill-conditioned"


@pytest.mark.long
@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
@pytest.mark.parametrize("model", ["shadow", "certified", "worst_case"])
def test_matrices_without_elements(shape, model):
    for f in (jnp.linalg.qr, jnp.linalg.svd):
        value, error = track(f, model=model)(np.zeros(shape))
        assert jax.tree.map(np.shape, value) == jax.tree.map(np.shape, error)


FAULTS = {
    "residual of QR not looked at": (_pair_reflections, "residual", unseen, QR),
    "less than what moves Q and R": (_pair_reflections, "qr_errors", smaller, QR),
    "a wrong sign": (
        _reflections,
        "_reflected",
        lambda f: lambda c, v, tau: f(c, v, _reflections.arithmetic.neg(tau)),
        QR,
    ),
    "remainders of svd not looked at": (
        _pair_spectral,
        "_singular_remainders",
        lambda f: lambda *args: f(*args)._replace(left=0 * f(*args).left, right=0 * f(*args).right),
        SVD,
    ),
    "less than what moves vectors": (_pair_spectral, "singular_errors", smaller, SVD),
    "less than what moves a pseudoinverse": (
        _pair_least_squares,
        "_moved",
        lambda f: lambda *args: f(*args) * 2.0**-40,
        "pseudoinverse",
    ),
    "values too far apart": (_pair_spectral, "_gaps", lambda f: lambda row: f(row) * 2.0**40, "eigh, ill-conditioned"),
    "distances of high parts": (_pair_spectral, "_gaps", lambda f: lambda row: f(row._replace(lo=0 * row.lo)), CLOSE),
    "sweeps left out": (_rotations, "_SWEEPS", lambda f: 0, SVD),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.long] * (i > 0)) for i, n in enumerate(FAULTS)])
def test_a_fault_is_seen(name, monkeypatch):
    where, attribute, faulty, program = FAULTS[name]
    monkeypatch.setattr(where, attribute, faulty(getattr(where, attribute)))
    _TRANSFORMED.clear()
    with pytest.raises(AssertionError):
        test_references_lie_within_their_bounds(program, exactly=True)
    _TRANSFORMED.clear()
