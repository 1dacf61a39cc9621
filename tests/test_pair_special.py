"""Special functions of pairs whose arguments are uncertain: bounds of references, at the corners of the arguments' balls."""

import itertools

import flint
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from test_pair_bounds import assert_bounded, reference
from test_pair_distributions import mostly_long

from precjax import Tracked
from precjax._interpreter import _TRANSFORMED
from precjax.models import _pair_special
from precjax.testing import exact


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True), flint.ctx.workprec(600):
        yield


RADIUS = 2.0**-70  # of an argument: no high part shows it
FUNCTIONS = {
    "zeta": (jax.scipy.special.zeta, [1.5, 3.0, 20.0], [0.3, 7.0, 2.0]),
    "polygamma": (lambda x: lax.polygamma(jnp.full_like(x, 2.0), x), [0.3, 1.0, 30.0]),
    "igamma": (lax.igamma, [3.3, 0.2, 90.0], [2.5, 4.0, 95.0]),
    "igammac": (lax.igammac, [3.3, 0.2, 90.0], [2.5, 4.0, 95.0]),
    "igamma_grad_a": (lax.igamma_grad_a, [3.3, 0.2, 20.0], [2.5, 4.0, 21.0]),
    "regularized_incomplete_beta": (lax.betainc, [3.3, 0.2, 90.0], [0.7, 4.0, 95.0], [0.8, 0.01, 0.49]),
}


def check(name):
    """And of arguments that are as sure as their bits, which only the function's own roundings move."""
    f, *arrays = FUNCTIONS[name]
    arrays = [np.array(x) for x in arrays]
    balls = [Tracked(x, RADIUS * np.abs(x)) for x in arrays]
    results = reference(f, balls)(balls)
    for signs in itertools.product([-1, 1], repeat=len(arrays)):
        corner = [np.vectorize(lambda v, s=s: flint.arb(v) + s * RADIUS * abs(flint.arb(v)), otypes=[object])(x) for x, s in zip(arrays, signs, strict=True)]
        assert_bounded(results, [exact(f, *arrays, at=corner, precision=600)])
    ((_, bounds),) = results
    assert np.all(bounds < 1e-16)
    assert_bounded(reference(f, arrays)(arrays), [exact(f, *arrays, precision=600)])


@pytest.mark.parametrize("name", mostly_long(FUNCTIONS, ("zeta",)))
def test_bounds_hold_at_the_corners(name):
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", mostly_long(FUNCTIONS, ("zeta",)))
def test_a_fault_is_seen(name, monkeypatch):
    """What arguments move is forgotten, as if all were exact."""
    total = _pair_special._total
    monkeypatch.setattr(_pair_special, "_total", lambda model, call, *terms: total(model, call, *(t * 2.0**-30 for t in terms)))
    _TRANSFORMED.clear()
    with pytest.raises(AssertionError):
        check(name)
    _TRANSFORMED.clear()
