"""Linear algebra of float64 programs: references in pairs, against their own bounds and exact results."""

import flint
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
import pytest
from jax import lax
from test_pair_bounds import assert_bounded, reference

from precjax import Tracked, track
from precjax._interpreter import _TRANSFORMED
from precjax.doubledouble import _factorizations
from precjax.models import _pair_factorizations
from precjax.rules.enclosure import Enclosure
from precjax.testing import assert_encloses, exact


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True), flint.ctx.workprec(1024):
        yield


RANDOM = np.random.default_rng(0)
A, B = RANDOM.normal(size=(2, 4, 4)), RANDOM.normal(size=(2, 4, 3))
SPD = A @ np.swapaxes(A, -1, -2) + 0.1 * np.eye(4)
HILBERT = 1 / (np.arange(6)[:, None] + np.arange(6) + 1.0)  # condition number 1.5e7
TALL, FLAT = RANDOM.normal(size=(5, 3)), RANDOM.normal(size=(3, 5))
LEFT = dict(left_side=True, lower=True)

PROGRAMS = {
    "systems": (jnp.linalg.solve, (A, B)),
    "inverse": (jnp.linalg.inv, (A[0],)),
    "an ill-conditioned inverse": (jnp.linalg.inv, (HILBERT,)),
    "determinant": (jnp.linalg.det, (A[1],)),
    "Cholesky": (jnp.linalg.cholesky, (SPD,)),
    "an ill-conditioned Cholesky": (jnp.linalg.cholesky, (HILBERT,)),
    "system by Cholesky": (lambda a, b: jsl.cho_solve(jsl.cho_factor(a), b), (SPD[0], B[0])),
    "triangular": (lambda a, b: lax.linalg.triangular_solve(a, b, **LEFT), (A, B)),
    "triangular, transposed": (lambda a, b: lax.linalg.triangular_solve(a, b, transpose_a=True, **LEFT), (A[0], B[0])),
    "triangular, unit": (lambda a, b: lax.linalg.triangular_solve(a, b, unit_diagonal=True, **LEFT), (A[0], B[0])),
    "triangular, from the right": (lambda a, b: lax.linalg.triangular_solve(a, b.T), (A[0], B[0])),
    "LU": (lambda a: lax.linalg.lu(a)[0], (A,)),
    "LU, tall": (lambda a: lax.linalg.lu(a)[0], (TALL,)),
    "LU, flat": (lambda a: lax.linalg.lu(a)[0], (FLAT,)),
    "tridiagonal system": (lax.linalg.tridiagonal_solve, (A[0, :3].ravel(), 3 + A[0, 1:].ravel(), A[1, :3].ravel(), B.reshape(12, 2))),
    "Cholesky, one row more": (lax.linalg.cholesky_update, (np.triu(A[0]) + 3 * np.eye(4), B[0, :, 0])),
    "symmetric product": (lambda a, c: lax.linalg.symmetric_product(a, c, alpha=1.3, beta=0.7), (B[0], A[0])),
    "LU, singular": (lambda a: lax.linalg.lu(a)[0], (np.array([[4.0, 2.0], [2.0, 1.0]]),)),
}
SHORT = ("systems", "an ill-conditioned Cholesky")


def programs(*always):
    return [pytest.param(name, marks=[pytest.mark.long] * (name not in always)) for name in PROGRAMS]


@pytest.mark.parametrize("name", programs(*SHORT))
def test_references_lie_within_their_bounds(name):
    """Exact matrices, and matrices with errors of one in 2**80, which no high part shows."""
    f, arrays = PROGRAMS[name]
    truth = exact(f, *arrays, precision=1024)
    for args in (arrays, [Tracked(x, np.ldexp(np.abs(x), -80)) for x in arrays]):
        results = reference(f, args)(list(args))
        assert_bounded(results, [truth])
        bounds = np.asarray(results[0][1])
        ill = {"an ill-conditioned inverse": 1e12, "an ill-conditioned Cholesky": 1e7}.get(name, 1.0)
        assert np.all(bounds <= (1e-27 if args is arrays else 1e-20) * ill), bounds


def test_moved_matrices_lie_within_the_bounds():
    """At the corners of the balls of the matrices."""
    f, (a, b) = PROGRAMS["systems"]
    a, b = a[0], b[0]
    radius = 2.0**-60
    results = reference(f, [Tracked(a, radius), Tracked(b, radius)])([Tracked(a, radius), Tracked(b, radius)])
    for signs in RANDOM.choice([-1, 1], (8, 2)):
        corner = [
            np.vectorize(lambda v, s=s: flint.arb(v) + s * flint.arb(radius), otypes=[object])(x) for x, s in zip((a, b), signs, strict=True)
        ]
        assert_bounded(results, [exact(f, a, b, at=corner, precision=1024)])


@pytest.mark.long
def test_certified_and_shadow_say_what_the_error_is():
    f = lambda a, b, s: (jnp.linalg.solve(a, b), jnp.linalg.cholesky(s))  # noqa: E731
    args = A[0], B[0], SPD[0]
    truth = exact(f, *args, precision=400)
    certified, shadow = (track(f, model=m)(*args) for m in ("certified", "shadow"))
    tightness = assert_encloses(certified, truth)
    assert np.median(tightness) < 1.0001
    for value, error, x in zip(*(jax.tree.leaves(t) for t in (shadow.value, shadow.error, truth)), strict=True):
        for v, e, t in zip(np.ravel(value), np.ravel(error), np.ravel(x), strict=True):
            assert abs(float(flint.arb(float(v)) - t) - float(e)) <= 1e-6 * abs(float(e)) + 1e-40


@pytest.mark.long
def test_no_bound_where_nothing_is_proved():
    indefinite = np.array([[1.0, 2.0], [2.0, 1.0]])
    assert np.isinf(track(jnp.linalg.cholesky, model="certified")(indefinite).error).any()
    singular = np.array([[1.0, 2.0], [2.0, 4.0]])
    assert np.isinf(track(jnp.linalg.inv, model="certified")(singular).error).all()
    tied = Tracked(np.array([[1.0, 2.0], [1.0, 5.0]]), 1e-20)
    assert (track(lambda a: lax.linalg.lu(a)[0], model="certified")(tied).error[1] > 1).all()


FAULTS = {
    "residual not looked at": (_pair_factorizations, "residual", lambda original: lambda *args: Enclosure(0 * original(*args).mid)),
    "less than what moves a factor": (_pair_factorizations, "moved_cholesky_factor", lambda original: lambda *args: original(*args) * 2.0**-30),
    "refinement left out": (_factorizations, "_TURNS", lambda original: 0),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["residual not looked at", *(pytest.param(n, marks=pytest.mark.long) for n in list(FAULTS)[1:])])
def test_a_fault_is_seen(name, monkeypatch):
    """Without refinement the bounds hold, and are large."""
    where, attribute, faulty = FAULTS[name]
    monkeypatch.setattr(where, attribute, faulty(getattr(where, attribute)))
    _TRANSFORMED.clear()
    with pytest.raises(AssertionError):
        test_references_lie_within_their_bounds("an ill-conditioned Cholesky")
    _TRANSFORMED.clear()
