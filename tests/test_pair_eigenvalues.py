"""Eigenvalues and eigenvectors of general float64 matrices, in pairs: against exact ones, and their own bounds."""

import flint
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flint import acb, acb_mat, arb
from jax.lax import linalg
from test_pair_bounds import reference

from precjax import Tracked, track
from precjax._interpreter import _TRANSFORMED
from precjax.doubledouble import _eigenvectors
from precjax.models import _pair_spectral


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True), flint.ctx.workprec(600):
        yield


RANDOM = np.random.default_rng(0)
REAL = RANDOM.normal(size=(5, 5))
MATRICES = {
    "real": REAL,
    "complex": REAL[:4, :4] + 1j * RANDOM.normal(size=(4, 4)),
    "graded": REAL * 10.0 ** -np.arange(0, 15, 3),
    "not normal": np.triu(REAL, 1) * 10 + np.diag(np.arange(5) / 7),
    "close": np.diag([1, 1 + 1e-9, 2]) + 1e-3 * np.triu(REAL[:3, :3], -1),
    "symmetric": REAL + REAL.T,
    "of one": np.array([[2.5]]),
}


def exact_pairs(a, values, vectors):
    """The exact eigenvalues nearest to the computed ones, and unit vectors with the phases nearest to the computed."""
    exact, columns = acb_mat([[acb(*map(float, (complex(x).real, complex(x).imag))) for x in row] for row in a]).eig(right=True)
    n = len(values)
    nearest = [min(range(n), key=lambda j, v=v: float(abs(exact[j] - v).mid())) for v in values]
    assert sorted(nearest) == list(range(n))
    found = np.empty((n, n), object)
    for i, j in enumerate(nearest):
        column = [columns[k, j] for k in range(n)]
        size = sum((abs(x) ** 2 for x in column), arb(0)).sqrt()
        inner = sum((x.conjugate() * v for x, v in zip(column, vectors[:, i], strict=True)), acb(0))
        for k in range(n):
            found[k, i] = column[k] / size * (inner / abs(inner))
    return np.array([exact[j] for j in nearest], object), found


def number(x):
    return acb(float(np.real(x)), float(np.imag(x)))


def distances(xs, exact):
    return np.vectorize(lambda x, t: float(abs(x - t).mid()), otypes=[float])(xs, exact)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.long] * (n != "real")) for n in MATRICES])
def test_errors_are_those_observed(name):
    a = MATRICES[name]
    shadow, certified = (track(jnp.linalg.eig, model=m)(a) for m in ("shadow", "certified"))
    computed = [np.vectorize(number, otypes=[object])(np.asarray(x)) for x in shadow.value]
    for value, exactly, error, bound in zip(computed, exact_pairs(a, *computed), shadow.error, certified.error, strict=True):
        truth = distances(value, exactly)
        np.testing.assert_allclose(error, truth, rtol=0, atol=1e-2 * np.max(truth) + 1e-28)
        assert np.all(np.asarray(bound) >= truth * (1 - 1e-12))
        assert np.all(np.asarray(bound) <= 1.05 * truth + 1e-25), "tight"


@pytest.mark.long
@pytest.mark.parametrize("name", MATRICES)
def test_references_lie_within_their_bounds(name):
    check_reference(MATRICES[name], 1e-24)
    a = np.real(MATRICES[name])
    check_reference(a, 1e-14, np.ldexp(np.abs(a), -80))


def check_reference(a, largest, radius=None):
    args = [a if radius is None else Tracked(a, radius)]
    (values, of_values), (vectors, of_vectors) = reference(jnp.linalg.eig, args)(args)
    sums = [np.vectorize(lambda h, l: number(h) + number(l), otypes=[object])(*map(np.asarray, x)) for x in (values, vectors)]  # noqa: E741
    for computed, bounds, truth in zip(sums, (of_values, of_vectors), exact_pairs(a, *sums), strict=True):
        assert np.all(distances(computed, truth) <= np.asarray(bounds))
        assert np.all(np.asarray(bounds) < largest)


@pytest.mark.long
def test_left_vectors_and_values_alone():
    a = MATRICES["real"]
    values, left = track(lambda a: linalg.eig(a, compute_right_eigenvectors=False), model="certified")(a).error
    of_adjoint = track(jnp.linalg.eig, model="certified")(a.T).error
    assert np.all(np.asarray(values) < 1e-14) and np.all(np.asarray(left) < 1e-14)
    alone = track(jnp.linalg.eigvals, model="certified")(a).error
    np.testing.assert_allclose(alone, values, rtol=1e-6)
    assert np.max(of_adjoint[1]) < 1e-14


@pytest.mark.long
def test_what_is_one_eigenvalue_to_float64():
    """Nothing is said of the reference, and as much as by float64 of the certificate."""
    jordan = np.array([[1.0, 1.0], [0.0, 1.0]])
    assert np.isnan(np.asarray(track(jnp.linalg.eig, model="shadow")(jordan).error[1])).any()
    worst, certified = (track(jnp.linalg.eig, model=m)(jordan).error for m in ("worst_case", "certified"))
    np.testing.assert_allclose(certified[0], worst[0], rtol=1e-6)
    values, vectors = track(jnp.linalg.eig, model="certified")(np.eye(3)).error
    assert np.all(values < 1e-28) and np.all(vectors <= 2.01)
    assert track(jnp.linalg.eig, model="certified")(np.zeros((0, 0))).value[0].shape == (0,)


FAULTS = {
    "less than what moves vectors": (_pair_spectral, "disc_errors", lambda f: lambda *args: [e * 2.0**-12 for e in f(*args)]),
    "the inverse as float64 gives it": (_eigenvectors.lax, "fori_loop", lambda f: lambda a, b, g, x: x),
}


@pytest.mark.long
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_seen(name, monkeypatch):
    where, attribute, faulty = FAULTS[name]
    monkeypatch.setattr(where, attribute, faulty(getattr(where, attribute)))
    _TRANSFORMED.clear()
    with pytest.raises(AssertionError):
        check_reference(MATRICES["graded"], 1e-24)
    _TRANSFORMED.clear()
