"""Stochastic: its deviation is the size of the error that is observed, and its randomness is sane."""

import copy
import pickle

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from precjax import Stochastic, Tracked, track
from precjax._annotated import Annotated
from precjax.models._age import Count, older
from precjax.models.stochastic import StochasticTracked, _run_by_run

RANDOM = np.random.default_rng(2)
X = np.float32([1.0, -2.0, 0.3])
MANY = 32


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def rms(x):
    return np.sqrt(np.mean(np.square(np.asarray(x, np.float64))))


def assert_same_size(tracked, observed, factor=2.0):
    """The root mean squares of every leaf's errors, within a factor."""
    assert not jax.config.jax_enable_x64
    for value, error, seen in zip(*map(jax.tree.leaves, (*tracked, observed)), strict=True):
        assert error.dtype == np.float32 and error.shape == value.shape
        assert 1 / factor < rms(error) / rms(seen) < factor


# ----------------------------------------------------------------------------------------- against what is observed


class Convolutions(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.avg_pool(nn.tanh(nn.Conv(8, (3, 3))(x)), (2, 2), (2, 2))
        x = nn.tanh(nn.Conv(8, (3, 3), strides=2)(x))
        return nn.Dense(10)(x.reshape(len(x), -1))


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = x + nn.MultiHeadDotProductAttention(4)(nn.LayerNorm()(x))
        return x + nn.Dense(32)(nn.gelu(nn.Dense(64)(nn.LayerNorm()(x))))


def perceptron(depth):
    return nn.Sequential([layer for _ in range(depth) for layer in (nn.Dense(128), nn.tanh)])


NETWORKS = {
    "perceptron 1": (perceptron(1), (16, 128)),
    "perceptron 4": (perceptron(4), (16, 128)),
    "perceptron 8": (perceptron(8), (16, 128)),
    "convolutions": (Convolutions(), (4, 8, 8, 3)),
    "transformer": (Block(), (2, 12, 32)),
}


def network(name, dtype):
    """The outputs and the gradients of a loss; parameters and inputs."""
    model, shape = NETWORKS[name]
    x = normal(*shape)
    parameters = jax.jit(model.init)(jax.random.key(0), x)

    def loss(parameters, x):
        outputs = model.apply(parameters, x)
        return (outputs.astype(jnp.float32) ** 2).mean(), outputs

    def f(parameters, x):
        gradients, outputs = jax.grad(loss, has_aux=True)(parameters, x)
        return outputs, {k: v for k, v in gradients.items() if "bias" not in k}

    return f, *jax.tree.map(lambda a: jnp.asarray(a, dtype), (parameters, x))


# The others belong to the long run: compiling a gradient with random roundings takes tens of seconds.
SHORT = {("perceptron 1", "bfloat16"), ("perceptron 1", "float32")}
PAIRS = [(name, dtype) for name in NETWORKS for dtype in ("float32", "bfloat16")]


@pytest.mark.parametrize(
    ("name", "dtype"), [pytest.param(*pair, marks=[pytest.mark.long] * (pair not in SHORT)) for pair in PAIRS]
)
def test_networks(name, dtype, record_property):
    f, *arguments = network(name, dtype)
    out = track(f, model=Stochastic(samples=MANY))(*arguments)
    observed = track(f, model="shadow")(*arguments)
    for left, right in zip(jax.tree.leaves(out.value), jax.tree.leaves(jax.jit(f)(*arguments)), strict=True):
        np.testing.assert_array_equal(left, right)
    ratios = [
        rms(e) / rms(o)
        for e, o in zip(jax.tree.leaves(out.error), jax.tree.leaves(observed.error), strict=True)
        if e.size > 64
    ]
    record_property("summary", f"{name} {dtype}: error / observed {min(ratios):.2f} to {max(ratios):.2f}")
    assert 0.5 < min(ratios) and max(ratios) < 2


OPERATIONS = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: 3 - x,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "sqrt": lambda x, y: jnp.sqrt(jnp.abs(x)),
    "exp": lambda x, y: jnp.exp(x),
    "tanh": lambda x, y: jnp.tanh(x),
    "power": lambda x, y: x**7,
    "sum": lambda x, y: x.reshape(40, -1).sum(0),
    "product": lambda x, y: x.reshape(40, -1).T @ y.reshape(40, -1),
    "convolution": lambda x, y: lax.conv(x.reshape(1, 4, 20, 20), y.reshape(25, 4, 4, 4), (2, 2), "SAME"),
    "cumulative sum": lambda x, y: jnp.cumsum(x.reshape(40, -1), 1),
    "from integers": lambda x, y: ((x * 2.0**18).astype(jnp.int32) * 1001).astype(x.dtype),
    "narrower": lambda x, y: x.astype(jnp.float16).astype(x.dtype),
}  # fmt: skip


def of_size_one(count):
    """Numbers of size 0.5 to 1.5: many of them share the root mean square, also that of their powers and quotients."""
    return np.float32(RANDOM.choice([-1, 1], count) * RANDOM.uniform(0.5, 1.5, count))


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name):
    f, x, y = OPERATIONS[name], of_size_one(1600), of_size_one(1600)
    assert_same_size(track(f, model=Stochastic(samples=MANY))(x, y), track(f, model="shadow")(x, y).error)


def test_a_product_that_cancels():
    """Its partial sums round, not its small result; the samples vary on their own."""

    def f(a, b):
        turned = [jnp.roll(m, 7, axis) for m, axis in ((a, 1), (b, 0))]
        return jnp.concatenate([a, -turned[0], a * 2.0**-12], 1) @ jnp.concatenate([b, turned[1], b], 0)

    x, y = normal(40, 40), normal(40, 40)
    out = track(f, model=Stochastic(samples=MANY))(x, y)
    observed = track(f, model="shadow")(x, y).error
    assert_same_size(out, observed, 3)
    assert rms(np.std(out.samples, -1)) > 0.5 * rms(observed) > 50 * 2.0**-24 * rms(out.value)


def test_what_is_exact_does_not_round():
    def f(x, n):
        y = x.astype(jnp.bfloat16).astype(jnp.float32)
        return (
            x * 2,
            x / 4,
            x + 0,
            -x,
            jnp.abs(x),
            jnp.maximum(x, 0.1),
            x[::-1],
            x > 0,
            y.astype(jnp.bfloat16),
            n * 3.0,
            jnp.sqrt(n * n),
            jnp.where(x > 0, x, -x),
        )

    out = track(f, model=Stochastic(samples=MANY))(np.float32([1, -2, 0.375]), np.float32([3, 5, 7]))
    assert not any(np.any(e) for e in jax.tree.leaves(out.error))


# ---------------------------------------------------------------------------------------------------- seeds


def test_seeds():
    f = lambda x: jnp.tanh(jnp.sin(x) @ jnp.cos(x).T)  # noqa: E731
    x = normal(8, 8)
    first, again = (track(f, model=Stochastic(seed=3))(x) for _ in range(2))
    np.testing.assert_array_equal(first.samples, again.samples)
    np.testing.assert_array_equal(first.samples, jax.jit(track(f, model=Stochastic(seed=3)))(x).samples)
    assert np.any(first.samples != track(f, model=Stochastic(seed=4))(x).samples)
    assert 0.5 < rms(track(f, model=Stochastic(seed=4))(x).error) / rms(first.error) < 2


# ---------------------------------------------------------------------------------------------------- compositions


def f(w, x):
    h, sums = lax.scan(lambda h, row: (jnp.tanh(h @ w + row), h.sum()), x[0], x)
    n, h = lax.while_loop(lambda s: s[1].sum() > -3, lambda s: (s[0] + 1, s[1] * 0.9 - 0.3), (0, h))
    return lax.cond(sums.sum() > n, lambda h: jax.nn.softmax(h), lambda h: h**3 / 2, h)


W, ROWS = normal(16, 16) / 4, normal(5, 16)
BATCH = np.stack([ROWS, -ROWS])
MODEL = Stochastic(samples=16)
WAYS = {
    "jit of track": lambda: jax.jit(track(f, model=MODEL))(W, ROWS),
    "track of jit": lambda: track(jax.jit(f), model=MODEL)(W, ROWS),
    "track of checkpoint": lambda: track(jax.checkpoint(f), model=MODEL)(W, ROWS),
    "vmap of track": lambda: first(jax.vmap(track(f, model=MODEL), (None, 0))(W, BATCH)),
    "track of vmap": lambda: first(track(jax.vmap(f, (None, 0)), model=MODEL)(W, BATCH)),
    "in a scan": lambda: first(lax.scan(lambda c, x: (c, track(f, model=MODEL)(W, x)), 0, BATCH)[1]),
    "in a checkpoint": lambda: jax.checkpoint(track(f, model=MODEL))(W, ROWS),
}


def first(tree):
    return jax.tree.map(lambda x: x[0], tree)


@pytest.fixture(scope="module")
def reference():
    return track(f, model=MODEL)(W, ROWS)


@pytest.mark.parametrize("way", WAYS)
def test_compositions(way, reference):
    out = WAYS[way]()
    assert out.samples.shape == (16, 16) and isinstance(out, StochasticTracked)
    assert_same_size(out, reference.error)


def test_the_reference_of_compositions(reference):
    assert_same_size(reference, track(f, model="shadow")(W, ROWS).error)


def test_gradients():
    def g(w):
        return jax.nn.logsumexp(jax.checkpoint(jnp.tanh)(ROWS @ w))

    tracked = track(g, model=MODEL)
    np.testing.assert_allclose(jax.grad(lambda w: tracked(w).value)(W), jax.grad(g)(W), rtol=1e-5, atol=1e-7)
    assert not np.any(jax.grad(lambda w: tracked(w).error)(W))


def test_each_sample_takes_its_own_branch():
    """1 + x - 1 is 0 if rounded to nearest, 2**-23 now and then."""

    def g(x, one):
        small = one + x - one
        turns = lax.while_loop(lambda n: (small <= 0) & (n < 9), lambda n: n + 1, 1)
        return lax.cond(small > 0, lambda: 10.0, lambda: 20.0), small > 0, turns

    value, error = track(g, model=Stochastic(samples=256))(jnp.float32(2.0**-26), jnp.float32(1))
    assert value[0] == 20 and not value[1] and value[2] == 9
    np.testing.assert_allclose(error[1], np.sqrt(1 / 8 / 2), rtol=0.3)  # one sample in eight
    np.testing.assert_allclose([error[0], error[2]], [10 * error[1], 8 * error[1]], rtol=1e-6)


def test_a_sum_that_stagnates():
    """All roundings to nearest go the same way; those at random do not."""
    x = jnp.asarray(0.1, jnp.bfloat16)
    value, error = track(lambda x: lax.fori_loop(0, 1000, lambda _, s: s + x, x * 0), model="stochastic")(x)
    assert value < 50 and 0.6 < error / (100 - value) < 0.8  # 1 / sqrt(2)


@pytest.mark.long
def test_twenty_steps_of_training():
    optimizer, x = optax.adam(2.0**-6, b1=0.875, b2=0.96875, eps=2.0**-20), normal(8, 4)

    def step(state, x):
        parameters, rest = state
        gradients = jax.grad(lambda p: (jax.nn.log_softmax(jnp.tanh(x @ p[0]) @ p[1])[:, 0] ** 2).mean())(parameters)
        updates, rest = optimizer.update(gradients, rest, parameters)
        return optax.apply_updates(parameters, updates), rest

    parameters = normal(4, 16), normal(16, 5)
    sampled = observed = parameters, optimizer.init(parameters)
    steps = [jax.jit(track(step, model=model)) for model in (Stochastic(samples=MANY), "shadow")]
    for _ in range(20):
        sampled, observed = steps[0](sampled, x), steps[1](observed, x)
    assert_same_size((sampled.value[0], sampled.error[0]), observed.error[0])


# ------------------------------------------------------------------------------------- precision, arguments, results


def test_a_narrower_format_is_as_bad_as_it_really_is():
    f, *arguments = network("perceptron 4", "float32")
    f_outputs = lambda *a: f(*a)[0]  # noqa: E731
    out = track(f_outputs, model=Stochastic(precision={"float32": 8}))(*arguments)
    wide = jax.jit(f_outputs)(*arguments)
    np.testing.assert_array_equal(out.value, wide)
    narrow = jax.jit(f_outputs)(*jax.tree.map(lambda a: a.astype(jnp.bfloat16), arguments))
    assert_same_size(out, np.asarray(narrow, np.float64) - np.asarray(wide, np.float64))
    same = track(f_outputs, model=Stochastic(precision={"float32": 24, "bfloat16": 3}))(*arguments)
    np.testing.assert_array_equal(same.samples, track(f_outputs, model=Stochastic())(*arguments).samples)


def test_errors_of_arguments():
    x = np.ones(4000, np.float32)
    arguments = [
        Tracked(x, 1e-3),
        Tracked(x.astype(np.int32), 3.0),
        Tracked(x > 0, 0.5),
        Tracked(x + 1j * x, 1e-3),
        Tracked(x.astype(jnp.bfloat16), 0.1),
    ]
    _, errors = track(lambda x: x, model=Stochastic(samples=MANY))(arguments)
    np.testing.assert_allclose([rms(e) for e in errors], [1e-3, 3, 0.5, 1e-3, 0.1], rtol=0.05)
    assert_same_size(track(lambda x: x * 3, model="stochastic")(arguments[0]), 3e-3 * x, 1.1)


def test_other_programs_and_formats():
    def g(x, key):
        a = x[:, None] * x + jnp.diag(jnp.arange(3.0))
        return (
            jnp.fft.fft(x),
            jnp.linalg.cholesky(a + 3 * jnp.eye(3)),
            x.astype(jnp.float8_e4m3fn) * 3,
            jax.random.normal(key, (3,)),
            (x + 1j) * (x + 2j),
            jnp.where(jnp.arange(3) > 0, x + 1j, 0) + jnp.arange(3),
            lax.ragged_dot(a, a[None] * x[:2, None, None], jnp.array([1, 2], jnp.int32)),
        )

    out = track(g, model="stochastic")(X, jax.random.key(0))
    assert all(np.all(np.isfinite(e)) and rms(e) > 0 for e in jax.tree.leaves(out.error))
    assert track(lambda k: k, model="stochastic")(jax.random.key(0)).error == 0 and track(
        lambda: {}, model="stochastic"
    )() == ({}, {})
    with jax.enable_x64(True):
        wide = track(lambda x: jnp.sin(x / 3), model="stochastic")(normal(1000).astype(np.float64))
        assert wide.error.dtype == np.float64 and 1e-18 < rms(wide.error) < 2e-16


def test_infinities_and_nan():
    """Rounded to nearest, the last sum is the largest number; rounded up, it is infinite."""
    x = np.float32([-1, 0, np.nan, np.finfo(np.float32).max])
    _, (of_log, of_sum) = track(lambda x: (jnp.log(x), x + x * 2.0**-26), model=Stochastic(samples=64))(x)
    assert not np.any(of_log[:3]) and not np.any(of_sum[1:3]) and np.isinf(of_sum[3])


def test_significant_bits():
    """The chi-square bound fails in 2.5% of the cases, one side of 5%."""
    out = track(lambda x: x, model="stochastic")(Tracked(np.ones(4000, np.float32), 1e-3))
    bits = np.asarray(out.significant_bits())
    truth = -np.log2(np.sqrt(2) * 1e-3 * 2.5758)
    assert 0.012 < np.mean(bits > truth) < 0.04 and np.all(bits < out.exact_bits)
    assert np.all(out.significant_bits(confidence=0.5, probability=0.5) > bits)


def test_state_is_a_tree():
    state = track(lambda x: (x * 1.1, jnp.round(x).astype(jnp.int32)), model="stochastic")(X)
    for other in (
        pickle.loads(pickle.dumps(state)),
        copy.deepcopy(state),
        jax.tree.map(lambda a: a, state),
        jax.jit(lambda a: a)(state),
    ):
        assert type(other) is StochasticTracked and len(other) == 2
        np.testing.assert_array_equal(other.samples[0], state.samples[0])
    assert type(state._replace(error=state.error)) is Tracked and "?" in repr(state)
    model = Stochastic(precision={"float32": 11})
    assert (
        pickle.loads(pickle.dumps(model)) == model and hash(model) == hash(copy.copy(model)) and model != Stochastic()
    )


def test_tracing_happens_once():
    traced = []
    tracked = track(lambda x: traced.append(1) or jnp.sin(x), model="stochastic")
    tracked(X)
    count = len(traced)
    tracked(X + 1)
    assert len(traced) == count


BAD = {
    "samples": (lambda: Stochastic(samples=1), "samples=1.*at least 2"),
    "no number": (lambda: Stochastic(samples=8.0), "samples=8.0.*integer"),
    "seed": (lambda: Stochastic(seed=-1), "seed=-1"),
    "strict": (lambda: track(jnp.sin, model="stochastic", strict=True), "strict=True.*Certified"),
    "no mapping": (lambda: Stochastic(precision=12), "precision=12.*float32"),
    "dtype": (lambda: Stochastic(precision={"int32": 5}), "'int32'.*float dtype"),
    "name": (lambda: Stochastic(precision={"f32": 5}), "'f32'.*float dtype"),
    "bits": (lambda: Stochastic(precision={"float32": 25}), r"precision\['float32'\]=25.*1 to 24"),
    "other samples": (
        lambda: track(jnp.sin, model=MODEL)(track(jnp.sin, model="stochastic")(X)),
        "8 samples.*samples=16",
    ),
    "negative error": (lambda: track(jnp.sin, model="stochastic")(Tracked(X, -1.0)), "non-negative"),
    "probability": (lambda: track(jnp.sin, model="stochastic")(X).significant_bits(probability=1), "probability=1"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("batched", [(0, 0), (0, None), (None, 0), (None, None)])
def test_convolutions_run_by_run(batched):
    """Where both operands differ from run to run, each run has its own kernel."""
    images, kernels = normal(5, 2, 3, 8, 8), normal(5, 4, 3, 3, 3)
    args = tuple(x if axis == 0 else x[0] for x, axis in zip((images, kernels), batched, strict=True))
    (eqn,) = jax.make_jaxpr(lambda x, k: lax.conv(x, k, (1, 1), "SAME"))(images[0], kernels[0]).eqns
    run = lambda x, k: _run_by_run(eqn, (Annotated(x), Annotated(k)))  # noqa: E731
    (found,) = jax.jit(jax.vmap(run, batched, axis_size=5))(*args)
    for i in range(5):
        x, k = (a[i] if axis == 0 else a for a, axis in zip(args, batched, strict=True))
        np.testing.assert_allclose(found[i], lax.conv(x, k, (1, 1), "SAME"), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("salts", [(0, 7), (5, 0, 3), (9, 9, 9)])
def test_counts_known_at_run_time(salts):
    """The count of a chain of operations is the same whether the counts it began with were known while tracing or not."""
    start, other = 3_000_000_019, 77
    known, unknown = Count(start), Count(0, ((np.uint32(start), 1),))
    for salt in salts:
        known, unknown = (older((count, count, Count(other)), salt) for count in (known, unknown))
        assert len(unknown.terms) == 1
    assert int(unknown.word()) == known.word()


def test_turns_of_a_loop_round_apart():
    """A sum that stagnates is rounded up in some turns: the samples keep its mean, which the program misses."""
    tenth = lambda x: lax.fori_loop(0, 1000, lambda i, s: s + x * jnp.float32(2.0**-26), jnp.float32(1.0))  # noqa: E731
    out = track(tenth, model=Stochastic(samples=MANY))(jnp.float32(1))
    assert out.value == 1
    assert abs(np.mean(out.samples) - (1 + 1000 * 2.0**-26)) < 3e-6
