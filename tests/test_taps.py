"""Hooks of Certified: intermediate values, each within a bound that is its observed error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import precjax
from precjax import Tracked, _taps, track
from precjax.models.certified import CertifiedTracked

X = np.float32(np.random.default_rng(0).uniform(0.1, 1, 20))


class Results(precjax.Hook):
    """Every result, by primitive."""

    def __init__(self):
        self.seen = {}

    def trace(self, equation):
        return [(x.value, x.error) for x in (*equation.operands, *equation.results)]

    def observe(self, site, data):
        self.seen[site.primitive] = (site, data)


def program(x):
    """The steps of a library's function are seen, a loop as a whole."""
    y = jax.jit(lambda x: jnp.sin(x) + 0.5)(x)
    with jax.named_scope("norm"):
        z = jnp.exp(y) / jnp.sqrt(x)
    return lax.fori_loop(0, 3, lambda i, z: z * 1.1, z), jnp.argmax(z)


EXACT = {
    "sin": np.sin,
    "add": lambda x: np.sin(x) + 0.5,
    "exp": lambda x: np.exp(np.sin(x) + 0.5),
    "div": lambda x: np.exp(np.sin(x) + 0.5) / np.sqrt(x),
    "scan": lambda x: np.exp(np.sin(x) + 0.5) / np.sqrt(x) * np.float64(np.float32(1.1)) ** 3,
}


def observed(f, *args, **kwargs):
    hook = Results()
    return track(f, model="certified", hooks=[hook])(*args, **kwargs), hook.seen


def assert_certified(seen):
    for name, exact in EXACT.items():
        value, error = next(x for x in seen[name][1][::-1] if np.shape(x[0]) == X.shape)
        missed = np.abs(np.float64(value) - exact(np.float64(X)))
        assert np.all(missed <= error * (1 + 1e-6)), name
        assert np.all(error <= missed * 1.001 + 1e-9), name


def test_every_equation_is_certified():
    result, seen = observed(program, X)
    assert_certified(seen)
    assert isinstance(result, CertifiedTracked)
    plain = track(program, model="certified")(X)
    np.testing.assert_allclose(result.value[0], plain.value[0], rtol=1e-6)
    np.testing.assert_allclose(result.value[0] - result.offset[0], plain.value[0] - plain.offset[0], rtol=1e-7)
    assert seen["div"][0].module == "norm" and seen["sin"][0].line.startswith("test_taps.py")


def test_arguments_and_keywords_with_errors():
    _, seen = observed(lambda x, *, y: x["a"] * y, {"a": Tracked(X, np.float32(1e-3))}, y=X)
    (value, error), _, (_, of_product) = seen["mul"][1]
    np.testing.assert_array_equal(value, X)
    np.testing.assert_allclose(error, 1e-3)
    np.testing.assert_allclose(of_product, 1e-3 * X, rtol=1e-3)


def test_float64():
    with jax.enable_x64(True):
        _, seen = observed(lambda x: jnp.exp(x) - 1, np.float64(X))
        value, error = seen["sub"][1][-1]
        assert value.dtype == error.dtype == np.float64
        assert np.all(np.abs(value - np.expm1(np.float64(X))) <= error + 1e-15) and np.all(error < 1e-15)


def test_report_and_guard():
    found = precjax.report(lambda x: (1 - jnp.cos(x)) / x**2, by="primitive", model="certified")(1e-3)
    rows = {row["where"]: row for row in found.rows}
    assert found.rows[0]["where"] == "sub" and rows["cos"]["bits_out"] == 24 and 4 < rows["sub"]["bits_out"] < 5
    with pytest.raises(precjax.PrecisionError, match="sub"):
        precjax.guard(lambda x: (1 - jnp.cos(x)) / x**2, min_bits=8, model="certified")(1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jax.jit(track(jnp.sin, model="certified", hooks=[Results()]))(X), "outside jit"),
        (lambda: track(jnp.sum, model="certified", hooks=[Results()], static_argnums=1)(X, 0), "static_argnums=1"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.slow
def test_a_fault_is_seen(monkeypatch):
    """Errors of the equation before."""
    original = _taps._tell
    monkeypatch.setattr(_taps, "_tell", lambda h, c, a, values, errors: original(h, c, a, values, [errors[0], *errors[:-1]]))
    with pytest.raises((AssertionError, ValueError)):
        assert_certified(observed(program, X)[1])
