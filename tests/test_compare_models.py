"""compare_models: one row per output and model, reasons of those that refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from precjax import Certified, Stochastic, compare_models, track

X = np.float32([1.0, -2.0, 0.3])


def test_comparison():
    table = compare_models(lambda x: {"a": jnp.exp(x) - 1, "n": (x > 0).sum()})(X)
    assert [row["output"] for row in table.rows] == ["['a']"] * 5 + ["['n']"] * 5
    seen = np.float64(track(lambda x: jnp.exp(x) - 1, model="shadow")(X).error)
    rows = {row["model"]: row for row in table.rows[:5]}
    assert rows["shadow"]["ratio"] == 1 and rows["certified"]["ratio"] < 1.1 < rows["worst_case"]["ratio"] < 100
    assert rows["stochastic"]["observed"] == np.sqrt(np.mean(np.square(seen)))
    assert 15 < rows["worst_case"]["exact_bits"] <= rows["certified"]["exact_bits"] <= 24
    assert len(str(table).splitlines()) == 11 and "worst_case" in str(table)


def test_advice():
    """Where float64 is at its end, pairs are not; and they are not praised where they are of no use."""

    def f(x, large):
        for _ in range(8):
            x = (large + x) - large
        return x

    table = compare_models(f, models=["certified", Certified(reference="pairs")])(jnp.float32(4e-6), jnp.float32(1e10))
    assert table.rows[0]["ratio"] > 2 > table.rows[1]["ratio"] and table.rows[1]["advice"] is None
    assert str(table).splitlines()[-1].startswith("certified: most") and "advice" in table.rows[0]
    assert compare_models(jnp.sin, models=["certified"])(X).rows[0]["advice"] is None
    with jax.enable_x64(True):
        (row,) = compare_models(lambda *x: f(*x).astype(np.float32), models=["certified"])(np.float64(1e-3), np.float64(1e28)).rows
        assert row["ratio"] > 2 and row["advice"] is None


def test_a_model_that_refuses():
    table = compare_models(lambda x: jax.scipy.linalg.schur(x)[0], models=("worst_case", Stochastic(samples=4)))(np.diag(X))
    refused, taken = table.rows
    assert "schur" in refused["refused"] and refused["error"] is None and taken["refused"] is None
    assert "refused: no error rule" in str(table) and "samples=4" in taken["model"]
    with jax.enable_x64(True):
        (row,) = compare_models(jnp.sin, models=["worst_case"])(np.float64(1)).rows
        assert row["error"] < 1e-15 and (row["observed"] is None or row["ratio"] > 1)
    with pytest.raises(TypeError, match="str"):
        compare_models(jnp.sin)("text")
    with pytest.raises(ValueError, match="several names"):
        compare_models(jnp.sin, models=())
    with pytest.raises(ValueError, match="unknown error model 'best'"):
        compare_models(jnp.sin, models=["best"])
