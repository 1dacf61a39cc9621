"""Blame: shares of an error by the line whose roundings cause it."""

import culprits
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import precjax

AMPLIFIED = [(f, args) for f, args in culprits.CULPRITS if f is not culprits.naive_log_sum_exp]  # where the last line errs most


def total(f):
    return lambda *args: jnp.sum(f(*args).astype(jnp.float32))


@pytest.mark.parametrize(("f", "args"), AMPLIFIED, ids=lambda x: getattr(x, "__name__", ""))
def test_the_line_to_blame_comes_first(f, args):
    found = precjax.blame(total(f))(*args)
    assert found.rows[0]["where"].startswith(culprits.line_of(f, "blamed")), str(found)
    assert sum(row["share"] for row in found.rows) == pytest.approx(1)
    assert 0 < found.error <= 1.1 * float(precjax.track(total(f))(*args).error)


def test_under_jit():
    for f, args in AMPLIFIED[1:4]:
        found = precjax.blame(jax.jit(total(f)))(*args)
        assert found.rows[0]["where"].startswith(culprits.line_of(f, "blamed")), str(found)


@pytest.mark.parametrize("model", ["worst_case", "probabilistic"])
def test_agrees_with_the_bound_to_first_order(model):
    """Where nothing is used twice, the two are the same but for terms of second order."""
    f = lambda x: jnp.sum(jnp.exp(jnp.sin(x * 1.7) * 0.9))  # noqa: E731
    x = jnp.linspace(0.1, 1, 50)
    found, tracked = precjax.blame(f, model=model)(x), precjax.track(f, model=model)(x)
    assert found.error == pytest.approx(float(tracked.error), rel=0.1) and found.value == float(f(x))


def check_observed(f, *args):
    """The signed parts add up to the error that a shadow sees, of the value that blame found."""
    found, shadow = precjax.blame(f, model="shadow")(*args), precjax.track(f, model="shadow")(*args)
    observed = float(found.value - np.float64(shadow.value) + np.float64(shadow.error))
    assert observed != 0 and found.error == pytest.approx(observed, rel=0.02), str(found)
    assert sum(row["error"] for row in found.rows) == pytest.approx(found.error)
    assert sum(row["share"] for row in found.rows) == pytest.approx(1)
    return found


# Of a sum of squares of deviations the derivative by the mean is 0, so that the second order decides.
FIRST_ORDER = [(f, args) for f, args in culprits.CULPRITS if f is not culprits.centred_times]


@pytest.mark.parametrize(
    ("f", "args"),
    [pytest.param(*c, marks=[pytest.mark.long] * (i % 5 > 0), id=c[0].__name__) for i, c in enumerate(FIRST_ORDER)],
)
def test_observed_errors_to_first_order(f, args):
    check_observed(total(f), *args)


def turned(x):
    """A loop whose turns take either branch, some backwards."""
    turn = lambda c, _: (lax.cond(c[0] > 0.5, lambda c: jnp.sin(c * 1.3), lambda c: jnp.cos(c), c), None)  # noqa: E731
    return jnp.sum(lax.scan(turn, x, None, length=10)[0])


def narrow(x):
    """A small network whose every result is rounded to bfloat16."""
    h = jnp.tanh(x @ x.T)
    return jnp.sum((h / jnp.sqrt(1 + jnp.mean(h * h, -1, keepdims=True))).astype(jnp.float32))


def test_observed_errors_of_loops_formats_and_gradients():
    check_observed(turned, np.float32([1, 2, 3]))
    check_observed(lambda x: jnp.sum(x * x - 0.5 * x), np.random.default_rng(0).normal(size=3).astype(np.float32))  # fused
    check_observed(narrow, jnp.asarray(np.random.default_rng(0).normal(size=(8, 16)), jnp.bfloat16))
    check_observed(lambda x: jnp.sum(jax.grad(narrow)(x) ** 2), jnp.linspace(-1, 2, 8).reshape(2, 4))


@jax.custom_vjp
def unlearned(x):
    """A function whose derivative the program does not want."""
    return jnp.exp(x) * 1.3


unlearned.defvjp(lambda x: (unlearned(x), x), lambda x, ct: (0 * ct,))


@pytest.mark.parametrize("hidden", [lax.stop_gradient, unlearned])
def test_errors_pass_where_gradients_do_not(hidden):
    f = lambda x: jnp.sum(jnp.square(hidden(jnp.sin(x * 1.7)))[:2])  # noqa: E731
    check_observed(f, jnp.linspace(0.1, 1, 50))


def test_a_steep_slope_that_nobody_reads():
    found = precjax.blame(lambda x: jnp.sum(jax.scipy.special.xlogy(x, x * 1.1) + jnp.sin(x)))(jnp.float32([0, 0.3, 1.2]))
    assert 0 < found.error < 1e-5


def test_observed_errors_in_float64_and_of_arguments():
    with jax.enable_x64(True):
        x = jnp.linspace(0.0, 1.0, 9).reshape(3, 3)
        check_observed(lambda x: jnp.sum(jnp.sin(x * 1e3) @ jnp.exp(x)), x)
        found = check_observed(lambda x: jnp.sum(jnp.sin(x)), precjax.Tracked(x, -1e-12 * np.ones((3, 3))))
    assert found.rows[0]["where"] == "argument [0]" and found.error < 0


def test_errors_of_arguments():
    x = precjax.Tracked(np.float32([1.0, 2.0]), np.float32([1e-3, 0]))
    found = precjax.blame(lambda w, x: jnp.sum(w * x))(np.float32(3), x)
    assert found.rows[0]["where"] == "argument [1]" and found.rows[0]["error"] == pytest.approx(3e-3)


def test_turns_of_a_loop_add_up():
    """Of 100 products of one factor each causes the same relative error."""
    f = lambda x: lax.scan(lambda c, _: (c * x, None), jnp.float32(1), None, length=100)[0]  # noqa: E731
    found = precjax.blame(f, by="primitive")(np.float32(1.01))
    assert [row["where"] for row in found.rows] == ["mul"]
    assert found.error == pytest.approx(100 * 2.0**-24 * found.value, rel=0.05)


def test_branches_and_loops_that_are_not_taken():
    f = lambda x: lax.cond(x > 0, lambda x: jnp.sin(x), lambda x: jnp.exp(x) * 1e6, x)  # noqa: E731
    assert [row["where"] for row in precjax.blame(f, by="primitive")(np.float32(1)).rows] == ["sin"]


class Net(nn.Module):
    """A layer whose outputs are rounded to bfloat16, and one whose are not."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(4, name="wide")(jnp.tanh(nn.Dense(8, name="narrow", dtype=jnp.bfloat16)(x)).astype(jnp.float32))


def test_modules():
    net = Net()
    variables = net.init(jax.random.key(0), culprits.ROWS)
    found = precjax.blame(lambda v: jnp.sum(net.apply(v, culprits.ROWS) ** 2), by="module")(variables)
    assert found.rows[0]["where"] == "Net/narrow" and found.rows[0]["share"] > 0.5
    assert "Net/narrow" in str(found)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: precjax.blame(jnp.sin, by="file"), ValueError, "by='file'"),
        (lambda: precjax.blame(jnp.sin, model="certified"), ValueError, "model='certified'"),
        (lambda: precjax.blame(jnp.sin, model="stochastic"), ValueError, "model='stochastic'"),
        (lambda: precjax.blame(jnp.sin, model=precjax.Shadow(correct=True)), ValueError, "options have no meaning"),
        (lambda: precjax.blame(3), TypeError, "must be a function"),
        (lambda: precjax.blame(jnp.sin)(np.ones(3, np.float32)), ValueError, "must be one real number"),
        (lambda: precjax.blame(lambda x: lax.while_loop(lambda c: c < 9, lambda c: 1.7 * c, x))(1.0), NotImplementedError, "blame follows.*while_loop"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
