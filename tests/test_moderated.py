"""Bounds from a few deviations of each number of an array cover what they say, whatever the array's errors have in common."""

import jax
import numpy as np
import pytest

from precjax.models import _moderated
from precjax.models._moderated import moderated_bound, own_bound

RANDOM = np.random.default_rng(0)
ARRAYS = 2000


def independent(deviations):
    return lambda count: deviations * RANDOM.normal(size=(ARRAYS, count, len(deviations)))


def inverse_chi_square(freedom):
    """The model of the bound itself."""
    deviations = 1 / np.sqrt(RANDOM.chisquare(freedom, size=(ARRAYS, 1, 100)) / freedom)
    return lambda count: deviations * RANDOM.normal(size=(ARRAYS, count, 100))


# k possible errors of each number of many arrays, (arrays, k, numbers).
ERRORS = {
    "one number": independent(np.ones(1)),
    "two numbers": independent(np.ones(2)),
    "alike in size": independent(np.ones(100)),
    "one common factor": lambda count: RANDOM.normal(size=(ARRAYS, count, 1)) * np.linspace(1, 2, 100),
    "a factor for each quarter": lambda count: np.repeat(RANDOM.normal(size=(ARRAYS, count, 4)), 25, axis=2),
    "half in common": lambda count: RANDOM.normal(size=(ARRAYS, count, 1)) + RANDOM.normal(size=(ARRAYS, count, 100)),
    "inverse chi-square": inverse_chi_square(6),
    "far apart": independent(np.exp(3 * np.linspace(-2, 2, 100))),
    "one large": independent(np.float64([1e6, 1, 1, 1, 1, 1])),
    "powers of ten": independent(10.0 ** np.arange(0, 40, 8)),
    "few deviate": independent(np.float64(np.arange(100) % 33 == 5)),
}


@pytest.mark.parametrize("probes", [2, 4, 16])
@pytest.mark.parametrize("name", ERRORS)
def test_coverage(name, probes):
    assert coverage(name, probes) >= 0.985


@pytest.mark.parametrize("probes", [2, 4])
@pytest.mark.parametrize("name", ["alike in size", "one common factor", "a factor for each quarter", "half in common", "far apart", "few deviate"])
def test_coverage_if_only_some_say_what_is_common(name, probes, monkeypatch):
    monkeypatch.setattr(_moderated, "_ENOUGH", 16)
    assert coverage(name, probes) >= 0.985


def coverage(name, probes):
    deviations, error = ERRORS[name](probes), ERRORS[name](1)[:, 0]
    bound = np.asarray(jax.vmap(lambda d: moderated_bound(d, 0.99))(np.float32(deviations)), np.float64)
    deviates = np.any(deviations != 0, axis=1)
    return np.mean((np.abs(error) <= bound)[deviates])


def test_many_numbers_alike_need_few_probes():
    """Their bound is nearly Gaussian, 2.6 deviations, where four probes alone give 4.6 or more."""
    deviations = np.float32(ERRORS["alike in size"](4))
    bound, own = (jax.vmap(lambda d, f=f: f(d, 0.99))(deviations) for f in (moderated_bound, own_bound))
    size = lambda x: np.sqrt(np.mean(np.square(x)))  # noqa: E731
    assert 2.58 < size(bound) < 3.2
    assert 4.5 < size(own) < 4.7


def test_what_is_exact_or_unknown_stays_so():
    deviations = np.float32(RANDOM.normal(size=(4, 50)))
    usual = moderated_bound(deviations[:, 2:], 0.99)
    deviations[:, 0], deviations[2, 1] = 0, np.nan
    bound = moderated_bound(deviations, 0.99)
    assert bound[0] == 0
    assert np.isposinf(bound[1])
    np.testing.assert_allclose(bound[2:], usual, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_no_square_vanishes_or_overflows(scale):
    deviations = RANDOM.normal(size=(4, 50))
    bound = np.asarray(moderated_bound(np.float32(scale * deviations), 0.99), np.float64)
    np.testing.assert_allclose(bound / scale, moderated_bound(np.float32(deviations), 0.99), rtol=1e-4)
