"""Roundings at random: means, variances, and independence of neighbours, samples and uses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from precjax import _random_rounding as rounding

RANDOM = np.random.default_rng(2)


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def keys(count, salt=0):
    return jax.vmap(lambda i: rounding.key(i, salt))(jnp.arange(count))


@pytest.mark.parametrize("x", [np.ones(20000), np.arange(20000), normal(20000)], ids=["equal", "ordered", "random"])
def test_bits_are_independent(x):
    """Of neighbours, samples, uses and numbers, in the upper half: correlations of five sigma would be 0.035."""
    x = jnp.asarray(x, jnp.float32)
    uses = ((0, x), (1, x), (0, 2 * x), (0, -x))
    use = [jax.vmap(lambda key, y=y: rounding.random_bits(y, key))(keys(3, salt)) for salt, y in uses]
    rows = np.asarray(jnp.concatenate(use)).astype(np.float64) / 2**32
    rows = np.concatenate([rows, rows[:1, np.r_[1:20000, 0]], rows[:1, np.r_[64:20000, :64]]])
    assert np.all(np.abs(rows.mean(1) - 0.5) < 0.011) and np.all(np.abs(rows.var(1) * 12 - 1) < 0.032)
    for seen in (rows, rows > 0.95, rows * 256 % 1, rows * 2**15 % 1):
        assert np.all(np.abs(np.corrcoef(seen) - np.eye(len(rows))) < 0.036)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("variance", [1 / 6, 0.9, 2.5, 40.0, 1e4])
def test_variance(dtype, variance):
    if dtype != "float32" and variance > 1:
        return
    x = jnp.full(10000, 1.5, dtype)
    moved = jax.vmap(lambda key: rounding.moved(x, key, variance=variance))(keys(8))
    units = (np.asarray(moved, np.float64) - 1.5) / np.asarray(jnp.finfo(dtype).eps, np.float64)
    assert abs(units.mean()) < 0.02 * np.sqrt(variance) and abs(units.var() / variance - 1) < 0.05


def test_roundings_have_the_exact_mean():
    x = 1 + np.arange(1000) / 1000
    down = jax.vmap(lambda key: rounding.rounded_at_random(jnp.asarray(x, jnp.float32), key, digits=5))(keys(4000))
    assert set(np.unique(np.asarray(down) * 16 % 1)) == {0}
    assert np.max(np.abs(np.mean(np.asarray(down, np.float64), 0) - x)) < 5 / np.sqrt(4000) / 32
    a, b = np.float32(1.1), normal(1000)
    of_product = jax.vmap(
        lambda key: rounding.rounded_toward(a * b, rounding.removed_by_rounding("mul", [a, b], jnp.asarray(a * b)), key)
    )(keys(4000))
    missed = np.mean(np.asarray(of_product, np.float64), 0) - np.float64(a) * b
    assert np.max(np.abs(missed) / np.spacing(np.abs(a * b))) < 5 / np.sqrt(4000) / 2
