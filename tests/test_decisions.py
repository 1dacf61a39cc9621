"""Tolerances, comparisons, guards: what a bound is for."""

import culprits
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from jax.experimental import checkify

import precjax
from precjax.testing import assert_close, check_rule

X = np.float32(np.random.default_rng(0).normal(size=(8, 16)))


def program(x):
    """Sums in some order, an elementary function, zeros, an integer, a decision."""
    return {"y": jnp.tanh(x @ x.T) @ x, "zero": jax.nn.relu(-jnp.abs(x)), "count": jnp.argmax(x), "sum": jnp.sum(x * 1e-3)}


# ---------------------------------------------------------------------------------------------------------- tolerances


def test_tolerances_are_enough_and_not_too_much():
    found = precjax.tolerances(program)(X)
    plain, other = program(X), jax.jit(program)(X)
    jax.tree.map(
        lambda a, b, t: np.testing.assert_allclose(a, b, *t), plain, other, found, is_leaf=lambda x: isinstance(x, precjax.Tolerance)
    )
    assert found["zero"] == found["count"] == (0.0, 0.0)
    assert 0 < found["y"].rtol < 1e-4
    error = precjax.track(program)(X).error["y"]
    allowed = found["y"].atol + found["y"].rtol * (np.abs(plain["y"]) - 2 * error)
    assert np.all(allowed >= 2 * error) and np.median(allowed / error) < 10
    assert float(f"{found['y'].rtol:.1e}") == found["y"].rtol


def test_tolerances_against_the_exact_result_are_half():
    run, exact = (precjax.tolerances(jnp.sin, against=a)(X) for a in ("run", "exact"))
    assert run.rtol == pytest.approx(2 * exact.rtol, rel=0.1)


def test_no_tolerance_for_what_is_unknown():
    x = precjax.Tracked(np.float32(1e-3), np.float32(1))
    assert precjax.tolerances(lambda x: 1 / x)(x) == (np.inf, np.inf)


# ---------------------------------------------------------------------------------------------------------- comparisons


def test_jit_against_eager_is_rounding():
    found = precjax.compare(program(X), jax.jit(program)(X), precjax.track(program)(X))
    assert found.explained and all(row["ratio"] <= 1 for row in found.rows) and "explained by rounding" in str(found)


@pytest.mark.parametrize("trials", [50, pytest.param(500, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", ["mlp", "residual"])
def test_no_false_alarm_on_networks(name, trials):
    network = {"mlp": lambda: zoo.mlp(3, width=32), "residual": lambda: zoo.residual(2, width=32)}[name]()
    tracked = jax.jit(precjax.track(network.layers))
    plain = jax.jit(network.layers)
    for seed in range(trials):
        inputs = jnp.asarray(zoo.normal(seed, *network.inputs.shape))
        found = precjax.compare(network.layers(network.parameters, inputs), plain(network.parameters, inputs), tracked(network.parameters, inputs))
        assert found.explained, str(found)


def test_planted_faults_are_caught():
    """A change of 2.1 errors in any one number, 50 times."""
    value, error = precjax.track(program)(X)
    random = np.random.default_rng(1)
    for _ in range(50):
        row, column = random.integers(8), random.integers(16)
        other = np.array(value["y"], np.float64)
        other[row, column] += 2.1 * error["y"][row, column]
        found = precjax.compare(value, value | {"y": other}, error)
        assert not found.explained and found.rows[0]["where"] == "['y']" and found.rows[0]["index"] == (row, column)
        assert found.rows[0]["unexplained"] == 1 and "NOT explained" in str(found)


def test_infinities_and_nan():
    a, b = np.float32([np.inf, np.nan, 1.0]), np.float32([np.inf, np.nan, np.nan])
    assert precjax.compare(a[:2], b[:2], np.zeros(2)).explained
    assert not precjax.compare(a, b, np.float32([0, 0, 1])).explained
    assert precjax.compare(a, b, np.float32([0, 0, np.inf])).explained


def test_assert_close():
    tracked = precjax.track(jnp.sum)(X)
    assert_close(jnp.sum(X), jnp.sum(X[::-1]), tracked)
    with pytest.raises(AssertionError, match="more than rounding.*\n.*difference/bound"):
        assert_close(jnp.sum(X), jnp.sum(X) + 0.1, tracked)


# --------------------------------------------------------------------------------------------------------------- guards


@pytest.mark.parametrize(("f", "args"), [c for c in culprits.CULPRITS if c[0] in (culprits.one_minus_cosine, culprits.layer_in_a_scan)])
def test_guard_raises_at_the_line(f, args):
    with pytest.raises(precjax.PrecisionError, match="culprits.py:.*exact bits, fewer than min_bits=16") as caught:
        precjax.guard(f, min_bits=16)(*args)
    assert caught.value.bits < 16 and caught.value.site.line.startswith("culprits.py")


def test_guard_returns_the_value():
    np.testing.assert_array_equal(precjax.guard(jnp.sin)(X), precjax.track(jnp.sin)(X).value)


def test_guard_as_a_block():
    """Tracked functions inside it, made before or there; nothing outside of it, nor what jit traces."""
    bad, good = precjax.track(lambda x: jnp.sin((x + 1e6) - 1e6)), precjax.track(jnp.sin)
    x = np.float32(0.1)
    bad(x)
    with precjax.guard(min_bits=6):
        assert good(x) == good(x) and jax.jit(bad)(x).error > 0
        with pytest.raises(precjax.PrecisionError, match="sub at test_decisions.py.*min_bits=6"):
            bad(x)
        assert precjax.track(jnp.sin, model="certified")(x).error > 0
    assert bad(x).error > 0


def test_guard_under_jit():
    f = checkify.checkify(jax.jit(precjax.guard(lambda x: jnp.sin((x + 1e6) - 1e6))))
    error, _ = f(np.float32(0.1))
    assert "sub at test_decisions.py" in error.get()
    error, _ = checkify.checkify(jax.jit(precjax.guard(jnp.sin)))(np.float32(0.1))
    assert error.get() is None


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: precjax.tolerances(jnp.sin, against="numpy"), ValueError, "against='numpy'"),
        (lambda: precjax.guard(jnp.sin, min_bits=0), ValueError, "min_bits=0"),
        (lambda: precjax.guard(jnp.sin, model="shadow"), ValueError, "hooks with model"),
        (lambda: precjax.compare([1.0], (1.0,), [0.0]), ValueError, "different structure"),
        (lambda: precjax.compare(np.ones(2), np.ones(3), np.ones(2)), ValueError, r"\(2,\), \(3,\)"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_computed_difference_may_have_a_sign_that_the_exact_one_never_has():
    def sign(x):
        y = jnp.clip(x, 0, 1)
        for factor in np.float32([1.2, 1.8, 0.7, 1.2]):
            y = y * factor
        return jnp.sign(np.float32(1.8144001) - y)  # 1e-8 at 1, computed -1e-7

    check_rule(sign, np.float32([1, 0.5]))
