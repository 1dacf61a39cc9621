"""Refs under every model of error, effects in their order, and checks by checkify."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases_state import recurrence
from jax.experimental import checkify

import precjax
from precjax.testing import assert_encloses, exact

X = np.float32([0.1, 0.7, -0.4, 1.3])


@pytest.mark.parametrize("model", ["worst_case", "certified", "probabilistic", "shadow", "stochastic"])
def test_refs_under_every_model(model):
    value, error = precjax.track(recurrence, model=model)(X)
    for got, wanted in zip(value, jax.jit(recurrence)(X), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5)
    assert all(np.isfinite(e).all() and np.any(e != 0) for e in error)
    if model in ("worst_case", "certified"):
        assert_encloses((value, error), exact(recurrence, X))


def test_a_ref_from_outside_is_refused():
    outside = jax.new_ref(X)
    with pytest.raises(precjax.MissingRuleError, match="outside of the function"):
        precjax.track(lambda x: outside[...] * x)(X)
    assert "get at" in precjax.missing_rules(lambda ref: ref[...] * 2)(outside)[0]


def test_effects_keep_their_order():
    seen = []

    def f(x):
        ref = jax.new_ref(x)
        for i in range(3):
            ref[0] *= 1.1
            jax.debug.callback(lambda v, i=i: seen.append((i, float(v))), ref[0], ordered=True)
        return ref[...]

    value, _ = precjax.track(f)(X)
    jax.effects_barrier()
    assert [i for i, _ in seen] == [0, 1, 2]
    assert seen[-1][1] == float(value[0])


def positive_log(x):
    checkify.check(jnp.all(x > 0), "not positive")
    return jnp.log(x)


@pytest.mark.parametrize("checks", [checkify.user_checks, checkify.float_checks])
def test_checkify_around_and_inside(checks):
    f = positive_log if checks is checkify.user_checks else jnp.log
    for x, fails in ((np.abs(X), False), (X, True)):
        around, tracked = checkify.checkify(precjax.track(f), errors=checks)(x)
        (inside, value), (_, error) = precjax.track(checkify.checkify(f, errors=checks))(x)
        assert (around.get() is not None) == (inside.get() is not None) == fails
        np.testing.assert_array_equal(tracked.value, value)
        np.testing.assert_array_equal(np.isfinite(error), x > 0)
