"""Probabilistic: covers as often as it promises, realistic at every depth, finite, and careful where errors repeat."""

import statistics

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from jax import lax

import precjax
from precjax import Probabilistic, Tracked, track
from precjax.models.probabilistic import _root_of_tail

SMALL = {
    "mlp": lambda: zoo.mlp(8, width=64),
    "residual": lambda: zoo.residual(6, width=64),
    "transformer": lambda: zoo.transformer(2, width=32),
    "convolutions": zoo.convolutions,
    "lstm": lambda: zoo.lstm(20),
}


def comparisons(f, *args, model="probabilistic"):
    return zoo.judged(jax.jit(track(f, model=model)), f, *args)


# The short run has what compiles in seconds.
LONG = {("transformer", "float32"), ("transformer", "bfloat16"), ("convolutions", "bfloat16"), ("lstm", "bfloat16"), ("lstm", "float32")}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [pytest.param(n, d, marks=[pytest.mark.long] * ((n, d) in LONG)) for n in SMALL for d in ("float32", "bfloat16")],
)
def test_realistic_at_every_layer(name, dtype):
    network = SMALL[name]().astype(dtype)
    rows = comparisons(network.layers, network.parameters, network.inputs)
    assert all(1 < row.ratio < 12 for row in rows), [row.ratio for row in rows]
    assert np.mean([row.coverage for row in rows]) >= 0.99


@pytest.mark.parametrize("name", ["residual", pytest.param("lstm", marks=pytest.mark.long)])
def test_realistic_gradients(name):
    network = SMALL[name]()
    rows = comparisons(network.gradients, network.parameters, network.inputs)
    assert all(1 < row.ratio < 12 for row in rows), [row.ratio for row in rows]


def test_does_not_explode_with_depth():
    """Where the worst case has lost every digit after 16 layers."""
    network = zoo.mlp(16, width=64)
    ratios = {m: [r.ratio for r in comparisons(network.layers, network.parameters, network.inputs, model=m)] for m in ("probabilistic", "worst_case")}
    assert ratios["probabilistic"][-1] < 2 * ratios["probabilistic"][0]
    assert ratios["worst_case"][-1] > 1e6 * ratios["probabilistic"][-1]


@pytest.mark.parametrize(("confidence", "probes"), [(0.5, None), pytest.param(0.9, None, marks=pytest.mark.long), (0.99, None), pytest.param(0.9, 8, marks=pytest.mark.long), (0.99, 4), (0.99, 16)])
def test_coverage_over_networks(confidence, probes):
    """Of 200 networks each number is covered as often as the confidence says, forward and in gradients."""

    def numbers(weights, x):
        def logits(weights, x):
            for w in weights:
                x = jnp.tanh(x @ w)
            return x

        return logits(weights, x), jax.grad(lambda w: jax.nn.logsumexp(logits(w, x)))(weights)

    random = np.random.default_rng(0)
    weights = [random.normal(size=(200, 16, 16)).astype(np.float32) / 4 for _ in range(3)]
    x = random.normal(size=(200, 4, 16)).astype(np.float32)
    f = jax.vmap(numbers)
    tracked = jax.jit(track(f, model=Probabilistic(confidence=confidence, probes=probes)))(weights, x)
    for bound, error in zip(jax.tree.leaves(tracked.error), jax.tree.leaves(zoo.observed(f, tracked, weights, x)), strict=True):
        assert np.mean(np.abs(error) <= bound) >= confidence


# ------------------------------------------------------------------------------------------------- errors that repeat

X = np.float32(np.random.default_rng(1).normal(size=100))
BALLS = Tracked(X, 1e-5 * np.abs(X))
# What a common error does to each: (function, its sensitivity to a relative error of x)
REPEATED = {
    "x + x": (lambda x: x + x, lambda x: 2 * x),
    "x * x": (lambda x: x * x, lambda x: 2 * x**2),
    "x**3": (lambda x: x**3, lambda x: 3 * x**3),
    "x * (1 + x)": (lambda x: x * (1 + x), lambda x: x * (1 + 2 * x)),
}


@pytest.mark.parametrize("name", REPEATED)
def test_a_number_that_is_used_twice(name):
    f, sensitivity = REPEATED[name]
    assert np.all(np.asarray(track(f, model="probabilistic")(BALLS).error) >= 0.7e-5 * np.abs(sensitivity(X)))


def test_sums_that_stagnate_fall_back_to_the_worst_case():
    ones = jnp.ones(3000, jnp.bfloat16)
    running = lambda x: lax.scan(lambda total, one: (total + one, None), jnp.zeros((), x.dtype), x)[0]  # noqa: E731
    value, error = track(running, model="probabilistic")(ones)
    assert abs(float(value) - 3000) > 1000  # bfloat16 cannot count beyond 256
    assert abs(float(value) - 3000) <= float(error)
    value, error = track(jnp.sum, model="probabilistic")(jnp.full(1 << 20, 0.1, jnp.float16))
    assert np.isinf(float(value)) or abs(float(value) - 0.1 * (1 << 20)) <= float(error)


def test_running_sums_over_many_steps():
    """A constant increment is rounded the same way again and again."""
    value, error = track(lambda x: lax.fori_loop(0, 10000, lambda i, s: s + x, jnp.float32(0)), model="probabilistic")(np.float32(0.1))
    assert abs(float(value) - 10000 * float(np.float32(0.1))) <= float(error)


# ---------------------------------------------------------------------------------------------------------- interface


def test_normwise_is_close_to_componentwise():
    a, b = zoo.normal(0, 64, 64), zoo.normal(1, 64, 64)
    balls = Tracked(a, 1e-6 * np.abs(a))
    errors = [np.asarray(track(jnp.matmul, model=Probabilistic(contraction=c))(balls, b).error) for c in ("componentwise", "normwise")]
    assert 0.5 < np.median(errors[1] / errors[0]) < 2


def test_more_confidence_costs_more():
    errors = [float(track(jnp.sum, model=Probabilistic(confidence=c))(X).error) for c in (0.5, 0.9, 0.99, 0.9999)]
    assert errors == sorted(errors) and errors[-1] < 5 * errors[0]


def test_compositions():
    f = lambda w, x: jax.nn.softmax(jnp.tanh(x @ w)).sum(0)  # noqa: E731
    w, x = zoo.normal(0, 4, 4), zoo.normal(1, 3, 4)
    tracked = track(f, model="probabilistic")
    error = tracked(w, x).error
    np.testing.assert_allclose(jax.jit(tracked)(w, x).error, error, rtol=1e-4)
    np.testing.assert_allclose(jax.vmap(tracked, (None, 0))(w, x[None]).error[0], error, rtol=1e-3)
    gradient = jax.grad(lambda w: track(f, model="probabilistic")(w, x).value[0])(w)
    np.testing.assert_allclose(gradient, jax.grad(lambda w: f(w, x)[0])(w), rtol=1e-4, atol=1e-7)
    step = track(lambda s: jnp.sin(s * 1.1), model="probabilistic")
    state, _ = lax.scan(lambda s, _: (step(s), None), step(X), None, length=5)
    assert np.isfinite(state.error).all()


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1.0, float("nan")])
def test_confidence_is_a_probability(confidence):
    with pytest.raises(ValueError, match="confidence=.*between 0 and 1"):
        precjax.Probabilistic(confidence=confidence)


def test_constants_without_errors():
    """XLA folds what is known of them, squares of errors among it."""
    paddings = jnp.zeros((1, 2), jnp.float32)
    x = Tracked(np.float32([[-1.5, -1.75, -1e5]]), np.float32([[0.01, 0.01, 0.02]]))

    def chosen(x):
        place = 2 - jnp.sum(paddings, axis=1).astype(jnp.int32)
        return jnp.einsum("bn,bn->b", x, jax.nn.one_hot(place, 3))

    for model in (Probabilistic(), Probabilistic(contraction="normwise"), Probabilistic(probes=4)):
        assert 0.01 < track(chosen, model=model)(x).error[0] < 0.2


def test_float32_constants_where_float64_is_enabled():
    """A constant's size is a Python float, which is a float64 there; the error stays a float32 and the same."""
    x = precjax.rounded(np.float32(0.3))
    plain = precjax.track(lambda x: 1 - x, model="probabilistic")(x)
    with jax.enable_x64(True):
        wide = precjax.track(lambda x: 1 - x, model="probabilistic")(x)
    assert wide.error.dtype == plain.error.dtype == np.float32
    np.testing.assert_array_equal(wide.error, plain.error)


# ------------------------------------------------------------------------------------- what a rounding, a decision counts


def test_a_rounding_goes_by_half_a_unit_in_the_last_place():
    """Below a power of two it errs by half as much of the number as above."""
    x = np.float32([1.0, 1.999, 2.001]) * np.float32([[1], [2.0**40]])
    for model in (Probabilistic(), Probabilistic(probes=4)):
        tracked = jax.vmap(jax.vmap(track(lambda x: x * np.float32(1 + 2.0**-20), model=model)))
        units = np.asarray(tracked(x).error) / np.spacing(x)
        np.testing.assert_allclose(units, np.broadcast_to(units[0, 0], units.shape), rtol=1e-3)
        assert 0.99 * 0.5 < units[0, 0] < 1.5


def test_decisions_are_covered_and_their_sum_is():
    """Numbers of deviation 1, anywhere about where they turn a choice: however far they are found from there, and summed."""
    random = np.random.default_rng(0)
    exact = random.uniform(-6, 6, (500, 200)).astype(np.float32)
    x = exact + random.standard_normal(exact.shape, np.float32)
    error = np.float32(statistics.NormalDist().inv_cdf(0.995))  # 99% of errors of deviation 1 are below it

    def f(x):
        chosen = jnp.where(x > 0, 3.0, 1.0)
        return chosen, x > 0, chosen.sum(1)

    tracked = track(f, model="probabilistic")(Tracked(x, error))
    covered = [
        np.abs(np.asarray(value, np.float32) - np.asarray(right, np.float32)) <= np.asarray(bound) * (1 + 1e-6)
        for value, bound, right in zip(*tracked, f(exact), strict=True)
    ]
    distance = np.floor(np.abs(x) * 4)
    for each in covered[:2]:
        assert min(np.mean(each[distance == d]) for d in range(16)) >= 0.985
    assert np.mean(covered[2]) >= 0.985
    assert np.max(tracked.error[1]) == 1


@pytest.mark.parametrize("contraction", ["componentwise", "normwise"])
@pytest.mark.parametrize("scale", [2.0**-60, 2.0**-30, 1.0, 2.0**40])
def test_errors_of_any_size_are_joined(contraction, scale):
    """Squares of errors neither vanish nor overflow: bounds go with the size of the data."""
    rng = np.random.default_rng(5)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((8, 64), (64, 8)))
    inexact = lambda s: Tracked(s * x, s * 1e-6 * np.abs(x))  # noqa: E731
    tracked = jax.jit(track(lambda x: (x @ w) * 3 + x[:, :8], model=Probabilistic(contraction=contraction)))
    wanted, found = (np.asarray(tracked(inexact(s)).error, np.float64) / s for s in (1.0, scale))
    np.testing.assert_allclose(found, wanted, rtol=1e-3)


@pytest.mark.parametrize("error", [0.0, 1e-30, 1e30, np.inf])
def test_the_root_of_the_sum_of_squares(error):
    join = Probabilistic().join
    for other in (0.0, 1e-30, 1e-3, 1e30):
        wanted = np.hypot(np.float64(np.float32(error)), np.float64(np.float32(other)))
        np.testing.assert_allclose(jax.jit(join)(jnp.float32(error), jnp.float32(other)), wanted, rtol=1e-6)
        # Products of constants are XLA's to rearrange.
        constants = jax.jit(lambda x=error, y=other: join(jnp.full(3, x, jnp.float32), jnp.full(3, y, jnp.float32)))
        np.testing.assert_allclose(constants(), wanted, rtol=1e-6)
        half = jax.jit(lambda x, y=other: join(x, jnp.full(3, y, jnp.float32)))
        np.testing.assert_allclose(half(jnp.full(3, error, jnp.float32)), wanted, rtol=1e-6)
    assert np.isnan(join(jnp.float32(error), jnp.float32(np.nan)))


def test_the_tail_of_the_normal_distribution():
    t = np.linspace(0, 5, 501)
    exact = np.sqrt([1 - statistics.NormalDist().cdf(v) for v in t])
    found = np.asarray(_root_of_tail(jnp.asarray(t, jnp.float32)))
    assert (found >= exact * (1 - 1e-4)).all() and (found <= 1.08 * exact).all()
