"""What is documented of other platforms, tried on the CPU: TF32 by hand lies within the bounds that a GPU would get."""

import jax
import jax.numpy as jnp
import measure_ulps
import numpy as np
import pytest
from jax import lax

import precjax
from precjax import platforms
from precjax._interpreter import _TRANSFORMED
from precjax.testing import assert_encloses, exact


@pytest.fixture
def gpu(monkeypatch):
    """The CPU with the products of a GPU."""
    there = platforms.current()._replace(products=platforms.products("gpu"))
    _TRANSFORMED.clear()
    monkeypatch.setattr(platforms, "current", lambda: there)
    yield
    _TRANSFORMED.clear()


def product(precision):
    return lambda x, w: jnp.dot(x, w, precision=precision)


def operands():
    draw = np.random.default_rng(0)
    return [jnp.asarray(draw.standard_normal(shape), jnp.float32) for shape in ((4, 16), (16, 3))]


def in_tf32(x, w):
    return product("highest")(*(lax.reduce_precision(v, 8, 10) for v in (x, w)))


@pytest.mark.parametrize(("precision", "enclosed"), [(None, True), ("high", True), ("highest", False)])
def test_tf32(precision, enclosed, gpu):
    x, w = operands()
    error = precjax.track(product(precision))(x, w).error
    truth = exact(product(precision), x, w)
    if enclosed:
        assert np.median(assert_encloses((in_tf32(x, w), error), truth)) < 100
    else:
        with pytest.raises(AssertionError, match="times the error"):
            assert_encloses((in_tf32(x, w), error), truth)


def test_the_cpu_keeps_operands():
    x, w = operands()
    assert float(jnp.max(precjax.track(product(None))(x, w).error)) < 1e-4


def test_convolutions_of_a_gpu_are_refused(gpu):
    with pytest.raises(precjax.MissingRuleError, match="Winograd"):
        precjax.track(lambda x: lax.conv(x, x, (1, 1), "SAME"))(jnp.ones((1, 1, 4, 4)))


def test_platforms_without_a_table_are_refused():
    for name in ("gpu", "tpu"):
        assert platforms.products(name)
        with pytest.raises(precjax.UnknownPlatformError, match="measure_ulps.py --write"):
            platforms.platform(name)


def test_a_table_that_was_written_is_read(tmp_path, monkeypatch):
    """In place of the CPU's own."""
    monkeypatch.setattr(platforms, "__file__", str(tmp_path / "__init__.py"))
    measure_ulps.write({"exp": ("value", {"float32": 1.2, "float16": 0.8})})
    rows = platforms._rows(tmp_path / f"{jax.default_backend()}.csv")
    assert rows == {("exp", "float32"): (1.8, "value"), ("exp", "float16"): (1.2, "value")}
    assert not platforms._rows(tmp_path / f"{jax.default_backend()}_complex.csv")
    with pytest.raises(FileExistsError):
        measure_ulps.write({})
