"""Orthogonal factors of float64 programs: references in pairs, against their own bounds and exact results."""

from typing import NamedTuple

import flint
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.lax import linalg
from test_pair_bounds import assert_bounded, reference

from precjax import Tracked, track
from precjax._interpreter import _TRANSFORMED
from precjax.doubledouble import _reflections
from precjax.models import _pair_reflections
from precjax.rules.enclosure import Enclosure
from precjax.testing import assert_encloses, exact


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True), flint.ctx.workprec(1024):
        yield


RANDOM = np.random.default_rng(0)
SQUARES, TALL, FLAT = RANDOM.normal(size=(2, 4, 4)), RANDOM.normal(size=(5, 3)), RANDOM.normal(size=(3, 5))
GRADED = RANDOM.normal(size=(5, 5)) * 10.0 ** -np.arange(0, 15, 3)


def hilbert(n):
    return 1 / (np.arange(n)[:, None] + np.arange(n) + 1.0)


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
}
SHORT = ("QR, ill-conditioned",)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.long] * (n not in SHORT)) for n in PROGRAMS])
def test_references_lie_within_their_bounds(name):
    """Exact matrices, and matrices with errors of one in 2**80, which no high part shows."""
    f, arrays, largest = PROGRAMS[name]
    truth = exact(f, *arrays, precision=1024)
    for args in (arrays, [Tracked(x, np.ldexp(np.abs(x), -80)) for x in arrays]):
        results = reference(f, args)(list(args))
        assert_bounded(results, [truth])
        for (_, bounds), limit in zip(results, largest, strict=True):
            assert np.all(bounds <= (limit if args is arrays or limit > 1 else 1e7 * limit)), bounds


@pytest.mark.long
def test_certified_and_shadow_say_what_the_error_is():
    f = lambda a, b: (jnp.linalg.qr(a), jnp.linalg.qr(b))  # noqa: E731
    args = SQUARES[0], hilbert(7)
    truth = exact(f, *args, precision=400)
    certified, shadow = (track(f, model=m)(*args) for m in ("certified", "shadow"))
    assert np.median(assert_encloses(certified, truth)) < 1.0001
    assert_observed(shadow, truth)


def assert_observed(shadow, truth, tolerance=1e-2):
    """Errors to so much of the largest error of the array, beside a bit of pairs."""
    for value, error, x in zip(*(jax.tree.leaves(t) for t in (shadow.value, shadow.error, truth)), strict=True):
        observed = [float(flint.arb(float(v)) - t) for v, t in zip(np.ravel(value), np.ravel(x), strict=True)]
        np.testing.assert_allclose(np.ravel(error), observed, rtol=0, atol=tolerance * np.max(np.abs(observed)) + 1e-28)


FAULTS = {
    "residual not looked at": (
        _pair_reflections,
        "residual",
        lambda original: lambda *args: Enclosure(0 * original(*args).mid),
    ),
    "less than what moves the factors": (
        _pair_reflections,
        "qr_errors",
        lambda original: lambda *args: [e * 2.0**-40 for e in original(*args)],
    ),
    "a wrong sign": (
        _reflections,
        "_reflected",
        lambda original: lambda c, v, tau: original(c, v, _reflections.arithmetic.neg(tau)),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["residual not looked at", *(pytest.param(n, marks=pytest.mark.long) for n in list(FAULTS)[1:])]
)
def test_a_fault_is_seen(name, monkeypatch):
    where, attribute, faulty = FAULTS[name]
    monkeypatch.setattr(where, attribute, faulty(getattr(where, attribute)))
    _TRANSFORMED.clear()
    with pytest.raises(AssertionError):
        test_references_lie_within_their_bounds("QR, ill-conditioned")
    _TRANSFORMED.clear()
