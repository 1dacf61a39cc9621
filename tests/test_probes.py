"""Probabilistic(probes=k): correlations of errors are kept, whatever the program does with them, and coverage holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from jax import lax
from test_probabilistic import BALLS, REPEATED, SMALL, X, comparisons

import precjax
from precjax import Probabilistic, Tracked, track
from precjax._interpreter import _TRANSFORMED
from precjax.models import _pushed

PROBES = Probabilistic(probes=16)
FEW = Probabilistic(probes=4)

# Functions of x that cancel errors of x to first order, for which errors joined as if independent are far too large.
CANCELLING = {
    "difference of one number": lambda x: (1.1 * x) - (1.1 * x),
    "the same over another path": lambda x: x.reshape(10, 10).T.reshape(-1) - x.reshape(10, 10).T.ravel(),
    "a selection": lambda x: jnp.where(x > 0, x, 0) + jnp.where(x > 0, 0, x) - x,
    "a maximum": lambda x: jnp.maximum(x, 0) + jnp.minimum(x, 0) - x,
    "clamps": lambda x: jnp.clip(x, -1, 1) - jnp.maximum(jnp.minimum(x, 1), -1),
    "a modulus": lambda x: jnp.abs(x) - jnp.sign(x) * x,
}


def test_errors_with_a_common_source_cancel():
    every = lambda x: {name: f(x) for name, f in CANCELLING.items()}  # noqa: E731
    own, independent = (track(every, model=m)(BALLS).error for m in (PROBES, Probabilistic()))
    for name in CANCELLING:
        assert np.median(own[name]) < 0.05 * 1e-5, name
        assert np.median(own[name]) <= np.median(independent[name]), name


def test_a_number_that_is_used_twice():
    errors = track(lambda x: {name: f(x) for name, (f, _) in REPEATED.items()}, model=PROBES)(BALLS).error
    for name, (_, sensitivity) in REPEATED.items():
        assert 0.9 < np.median(errors[name] / (1e-5 * np.abs(sensitivity(X)))) < 1.5, name


FORMULAS = {
    "mul": lambda a, b: a * b, "div": lambda a, b: a / b, "sub": lambda a, b: a - b, "max": jnp.maximum,
    "min": jnp.minimum, "sqrt": lambda a, b: jnp.sqrt(a), "rsqrt": lambda a, b: lax.rsqrt(a), "exp": lambda a, b: jnp.exp(a),
    "log": lambda a, b: jnp.log(a), "square": lambda a, b: lax.square(a), "abs": lambda a, b: jnp.abs(-a), "select": lambda a, b: jnp.where(a > b, a, b),
    "clamp": lambda a, b: jnp.clip(a, 1, b), "tanh": lambda a, b: jnp.tanh(a), "dot": lambda a, b: (a[:, None] @ b[None, :]).sum(1),
    "product over two axes": lambda a, b: jnp.tensordot(a.reshape(5, 4, 5), b.reshape(5, 4, 5), ((0, 1), (0, 1))),
    "convolution": lambda a, b: jnp.convolve(a, b[:9], mode="valid"),
    "stop_gradient": lambda a, b: lax.stop_gradient(a), "floor": lambda a, b: jnp.floor(3 * a), "ceil": lambda a, b: jnp.ceil(5 * a),
    "round": lambda a, b: jnp.round(4 * a), "sign": lambda a, b: jnp.sign(a - b), "reduce_max": lambda a, b: a.reshape(20, 5).max(1),
    "reduce_min": lambda a, b: b.reshape(20, 5).min(1), "bools": lambda a, b: jnp.where((a > 1) != (b > a), a, b),
    "pool": lambda a, b: jax.grad(lambda a: (lax.reduce_window(a, -jnp.inf, lax.max, (4,), (4,), "VALID") * b[:25]).sum())(a),
}  # fmt: skip


def deviations():
    """What is made of deviations as large as a tenth of the numbers, and what they make in float64."""
    random = np.random.default_rng(0)
    balls = [Tracked(np.float32(random.uniform(0.5, 2, 100)), np.float32(0.02)) for _ in range(2)]
    every = lambda a, b: (a, b, *(f(a, b) for f in FORMULAS.values()))  # noqa: E731
    first, second, *made = _deviations(Probabilistic(probes=2).fit(None), every, *balls)
    values = [np.asarray(x.value, np.float64) for x in balls]
    with jax.enable_x64(True):
        run = jax.jit(every)
        moved = [
            run(*(v + np.asarray(d[:, j], np.float64) for v, d in zip(values, (first, second), strict=True)))
            for j in range(2)
        ]
        exact = [np.stack([m - still for m in both], -1) for *both, still in zip(*moved, run(*values), strict=True)]
    return dict(zip(FORMULAS, zip(made, exact[2:], strict=True), strict=True))


FAULTS = {
    "mul": lambda eqn, out, a, b: a[1] * b[0] + a[0] * b[1],  # first order only
    "div": lambda eqn, out, a, b: (a[1] - out * b[1]) / b[0],
    "select_n": lambda eqn, out, which, a, b: jnp.where(which[0], b[1], a[1]),  # decided when undecided
    "square": lambda eqn, out, x: x[1] * x[0],
    **dict.fromkeys(("stop_gradient", "floor", "sign"), lambda eqn, out, x: 0 * x[1]),  # by the derivative
    "reduce_max": lambda eqn, out, x: x[1].max(2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mul", *(pytest.param(n, marks=pytest.mark.long) for n in list(FAULTS)[1:])])
def test_a_fault_is_seen(name, monkeypatch):
    monkeypatch.setitem(_pushed._FUNCTIONS, name, None)
    _pushed.formula(name)(FAULTS[name])
    _TRANSFORMED.clear()
    row = {"select_n": "select"}.get(name, name)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_deviations(row, *deviations()[row])
    _TRANSFORMED.clear()


def test_what_has_no_derivative_by_an_operand_is_bounded_by_its_rule():
    f = lambda x: jax.scipy.special.betainc(x + 1, 2.0, 0.3)  # noqa: E731
    bound = track(f, model=PROBES)(Tracked(np.float32(0.8), np.float32(1e-3))).error
    assert 1e-3 * 0.1 < bound < 1e-3


def test_deviations_pass_as_differences_do():
    for name, (made, exact) in deviations().items():
        check_deviations(name, made, exact)


PRODUCTS = ("dot", "product over two axes", "convolution")  # to first order, but for 3 times the second


def check_deviations(name, made, exact):
    if name in PRODUCTS:
        made, exact = (x / np.sqrt(np.mean(np.square(exact))) for x in (made, exact))
        return np.testing.assert_allclose(made, exact, atol=0.06, err_msg=name)
    np.testing.assert_allclose(made, exact, rtol=0.05 if name == "tanh" else 1e-3, atol=2e-6, err_msg=name)


def _deviations(model, f, *args):
    """What the model carries for the results."""
    closed = jax.make_jaxpr(f)(*(x.value for x in args))
    run = lambda *args: [x.error for x in precjax._interpreter.interpret(model, closed, [model.lift(*x) for x in args])]  # noqa: E731
    return jax.jit(run)(*args)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        pytest.param("mlp", "bfloat16", marks=pytest.mark.long),
        pytest.param("residual", "float32", marks=pytest.mark.long),
        pytest.param("convolutions", "bfloat16", marks=pytest.mark.long),
        pytest.param("transformer", "float32", marks=pytest.mark.long),
        pytest.param("transformer", "bfloat16", marks=pytest.mark.long),
        pytest.param("lstm", "float32", marks=pytest.mark.long),
    ],
)
def test_realistic_gradients(name, dtype):
    """Gradients that are zero for a reason (a bias before a norm, the bias of a key) included; a relu turns in some draws."""
    network = SMALL[name]().astype(dtype)
    tracked = jax.jit(track(network.gradients, model=FEW))
    draws = [network.redrawn(seed) for seed in range(4)]
    rows = zoo.pooled([zoo.judged(tracked, network.gradients, n.parameters, n.inputs) for n in draws])
    assert np.median([row.ratio for row in rows]) < 10, [row.ratio for row in rows]
    assert all(1 < row.ratio < 15 for row in rows), [row.ratio for row in rows]
    assert np.mean([row.coverage for row in rows]) >= 0.99


@pytest.mark.long
def test_noise_that_is_normalized():
    """A gradient that is noise, divided by its own size as Adam does: its error is as large as itself."""

    def update(x):
        gradient = jax.grad(lambda b: jnp.sum(jax.nn.softmax(x + b, axis=-1) * jnp.cos(3 * x)))(jnp.zeros((), x.dtype))
        return gradient / (jnp.sqrt(lax.square(gradient)) + 1e-12)

    x = zoo.normal(0, 3000, 20)
    tracked = jax.jit(track(jax.vmap(update), model=PROBES))(x)
    assert np.mean(tracked.error >= np.abs(tracked.value)) > 0.95


def test_sums_that_repeat():
    running = lambda x: lax.fori_loop(0, 2000, lambda i, s: s + x, jnp.zeros((), x.dtype))  # noqa: E731
    for dtype, increment in (("float32", 0.1), ("bfloat16", 1.0)):
        x = jnp.asarray(increment, dtype)
        value, error = track(running, model=PROBES)(x)
        assert abs(float(value) - 2000 * float(x)) <= float(error) < np.inf


def test_control_flow_and_transformations():
    def f(x):
        x = lax.fori_loop(0, 3, lambda i, x: jnp.sin(1.1 * x), x)
        return lax.cond(x[0] > 0, lambda x: 2 * x, lambda x: -x, x)

    x = zoo.normal(3, 5)
    error = track(f, model=PROBES)(x).error
    np.testing.assert_allclose(jax.jit(track(f, model=PROBES))(x).error, error, rtol=1e-3)
    assert np.isfinite(jax.vmap(track(f, model=PROBES))(x[None]).error).all()
    np.testing.assert_allclose(
        jax.jvp(lambda x: track(f, model=PROBES)(x).value, (x,), (x,))[1], jax.jvp(f, (x,), (x,))[1], rtol=1e-5
    )
    plain = np.asarray(track(f, model="probabilistic")(x).error)
    assert np.all((error > plain / 6) & (error < 6 * plain))


def test_what_deviations_cannot_pass():
    """Integers, complex numbers and functions without a derivative go by the rules."""
    f = lambda x: (jnp.argmax(x), jnp.floor(x), jnp.abs(jnp.fft.rfft(x)), jnp.sort(x), x[jnp.argmax(x)])  # noqa: E731
    tracked = track(f, model=PROBES)(Tracked(X, np.float32(1e-5)))
    assert all(np.isfinite(e).all() for e in jax.tree.leaves(tracked.error))
    assert track(jnp.argmax, model=PROBES)(Tracked(np.float32([1, 1]), np.float32(1e-3))).error > 0


def test_report_says_what_is_rounded():
    found = precjax.report(lambda x: (1 - jnp.cos(x)) / x**2, by="primitive", model=PROBES)(1e-3)
    assert found.rows[0]["where"] == "sub"


@pytest.mark.long
def test_decisions_that_errors_turn():
    """In bfloat16 a few relus of a network are on the other side, which its gradients show more than all roundings."""
    network = zoo.mlp(4, width=32).astype("bfloat16")
    rows = comparisons(network.gradients, network.parameters, network.inputs, model=PROBES)
    assert all(row.ratio < 15 and row.coverage >= 0.98 for row in rows), rows


@pytest.mark.parametrize("probes", [0, 1, 17, 2.5, True, "16"])
def test_number_of_probes(probes):
    with pytest.raises(ValueError, match="probes=.*from 2 to 16"):
        Probabilistic(probes=probes)
