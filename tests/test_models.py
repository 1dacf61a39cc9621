"""Flax models and optax steps: nothing is refused, and float32 lies within its bound of the float64 result."""

import functools

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from precjax import Tracked, WorstCase, missing_rules, track

WIDTH, LENGTH, WORDS, LAYERS, CLASSES = 32, 6, 11, 4, 5
RANDOM = np.random.default_rng(0)
TOKENS = RANDOM.integers(0, WORDS, (2, LENGTH))
IMAGES = RANDOM.normal(size=(2, 8, 8, 1)).astype(np.float32)
SIGNAL = RANDOM.normal(size=(2, LENGTH, 4)).astype(np.float32)
LABELS = np.array([1, 3])


# ----------------------------------------------------------------------------------------------------------------- linen


class LinenBlock(linen.Module):
    @linen.compact
    def __call__(self, x, deterministic):
        y = linen.LayerNorm()(x)
        y = linen.MultiHeadDotProductAttention(num_heads=2, dropout_rate=0.1)(
            y, mask=linen.make_causal_mask(jnp.ones(x.shape[:2])), deterministic=deterministic
        )
        x = x + linen.Dropout(0.1)(y, deterministic=deterministic)
        y = linen.Dense(WIDTH)(linen.gelu(linen.Dense(2 * WIDTH)(linen.LayerNorm()(x))))
        return x + linen.Dropout(0.1)(y, deterministic=deterministic)


class LinenTransformer(linen.Module):
    @linen.compact
    def __call__(self, tokens, deterministic=False):
        x = linen.Embed(WORDS, WIDTH)(tokens) + linen.Embed(LENGTH, WIDTH)(jnp.arange(LENGTH))
        for _ in range(LAYERS):
            x = LinenBlock()(x, deterministic)
        return linen.Dense(CLASSES)(linen.LayerNorm()(x).mean(1))


class LinenConvolutions(linen.Module):
    @linen.compact
    def __call__(self, x, deterministic=False):
        x = linen.BatchNorm(use_running_average=deterministic)(linen.Conv(4, (3, 3))(x))
        x = linen.max_pool(linen.relu(x), (2, 2), (2, 2))
        x = linen.avg_pool(linen.Conv(4, (3, 3), strides=2)(x), (2, 2), (1, 1))
        return linen.Dense(CLASSES)(x.reshape(x.shape[0], -1))


class LinenRecurrent(linen.Module):
    cell: type

    @linen.compact
    def __call__(self, x, deterministic=False):
        return linen.Dense(CLASSES)(linen.RNN(self.cell(8, param_dtype=x.dtype))(x)[:, -1])


def linen_model(module, x):
    """(parameters, logits(parameters, x)), in training: dropout on, batch statistics updated."""
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    variables = jax.jit(module.init)(keys, x)
    parameters = variables.pop("params")

    def logits(parameters, x):
        variables_of_dtype = jax.tree.map(lambda s: s.astype(jax.tree.leaves(parameters)[0].dtype), variables)
        outputs = module.apply(
            {"params": parameters, **variables_of_dtype}, x, rngs={"dropout": jax.random.key(2)}, mutable=["batch_stats"]
        )
        return outputs[0]

    return parameters, logits


# ------------------------------------------------------------------------------------------------------------------- nnx


class NnxBlock(nnx.Module):
    def __init__(self, rngs):
        self.norms = nnx.List([nnx.LayerNorm(WIDTH, rngs=rngs), nnx.LayerNorm(WIDTH, rngs=rngs)])
        self.attention = nnx.MultiHeadAttention(2, WIDTH, decode=False, rngs=rngs)
        self.wide, self.narrow = nnx.Linear(WIDTH, 2 * WIDTH, rngs=rngs), nnx.Linear(2 * WIDTH, WIDTH, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)

    def __call__(self, x):
        y = self.attention(self.norms[0](x), mask=nnx.make_causal_mask(jnp.ones(x.shape[:2])))
        x = x + self.dropout(y)
        return x + self.dropout(self.narrow(nnx.gelu(self.wide(self.norms[1](x)))))


class NnxTransformer(nnx.Module):
    def __init__(self, rngs):
        self.embed, self.places = nnx.Embed(WORDS, WIDTH, rngs=rngs), nnx.Embed(LENGTH, WIDTH, rngs=rngs)
        self.blocks = nnx.List([NnxBlock(rngs) for _ in range(LAYERS)])
        self.norm, self.head = nnx.RMSNorm(WIDTH, rngs=rngs), nnx.Linear(WIDTH, CLASSES, rngs=rngs)

    def __call__(self, tokens):
        x = self.embed(tokens) + self.places(jnp.arange(LENGTH))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


def nnx_model(make):
    """(parameters, logits(parameters, x))."""
    graph, parameters, rest = nnx.split(make(nnx.Rngs(0, dropout=1)), nnx.Param, ...)

    def logits(parameters, x):
        return nnx.merge(graph, parameters, rest, copy=True)(x)

    return parameters, logits


MODELS = {
    "linen transformer": (lambda: linen_model(LinenTransformer(), TOKENS), TOKENS),
    "nnx transformer": (lambda: nnx_model(NnxTransformer), TOKENS),
    "convolutions": (lambda: linen_model(LinenConvolutions(), IMAGES), IMAGES),
    "lstm": (lambda: linen_model(LinenRecurrent(linen.OptimizedLSTMCell), SIGNAL), SIGNAL),
    "gru": (lambda: linen_model(LinenRecurrent(linen.GRUCell), SIGNAL), SIGNAL),
}
# Each is made once: what initialises them takes seconds to compile.
MODELS = {name: (functools.cache(make), x) for name, (make, x) in MODELS.items()}
SLOW = {"linen transformer", "nnx transformer"}
OPTIMIZERS = {
    "adam": lambda: optax.adam(1e-3),
    "adamw": lambda: optax.adamw(1e-3),
    "momentum": lambda: optax.sgd(0.1, momentum=0.9, nesterov=True),
    "clipped": lambda: optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.1)),
}


def model_parameters(names=MODELS, long=()):
    marks = {n: [pytest.mark.slow] * (n in SLOW) + [pytest.mark.long] * (n in long) for n in names}
    return pytest.mark.parametrize("name", [pytest.param(n, marks=marks[n]) for n in names])


def loss_of(logits):
    def loss(parameters, x):
        return optax.softmax_cross_entropy_with_integer_labels(logits(parameters, x), LABELS).mean()

    return loss


def finite_share(error):
    flat = np.concatenate([np.ravel(np.asarray(e, float)) for e in jax.tree.leaves(error)])
    assert not np.isnan(flat).any() and (flat >= 0).all()
    return np.isfinite(flat).mean()


def wide(tree):
    return jax.tree.map(lambda x: x.astype(np.float64) if x.dtype == np.float32 else x, jax.tree.map(np.asarray, tree))


def assert_within_reference(tracked, f, *args):
    """|float32 - float64| <= error of float32 + error of float64, the latter by the same rules."""
    with jax.enable_x64(True):
        reference = track(f)(*wide(args))
    quadruples = zip(*map(jax.tree.leaves, (*tracked, *reference)), strict=True)
    for value, error, truth, its_error in quadruples:
        deviation = np.abs(np.asarray(value, np.float64) - np.asarray(truth, np.float64))
        assert np.all(deviation <= np.asarray(error, np.float64) + np.asarray(its_error))


@pytest.mark.slow
def test_forward_of_a_transformer_of_nnx():
    make, x = MODELS["nnx transformer"]
    parameters, logits = make()
    value, error = jax.jit(track(logits))(parameters, x)
    assert finite_share(error) == 1
    assert np.all(np.abs(jax.jit(logits)(parameters, x) - value) <= 2 * error)
    jax.eval_shape(track(jax.value_and_grad(loss_of(logits))), parameters, x)  # a rule that fails does so here


@model_parameters(long=MODELS)  # gradients compile for long: all kinds have theirs in a step of training
def test_forward_and_gradient(name, record_property):
    make, x = MODELS[name]
    parameters, logits = make()
    loss = loss_of(logits)
    assert missing_rules(jax.grad(loss))(parameters, x) == []
    forward = jax.jit(track(logits))(parameters, x)
    backward = jax.jit(track(jax.value_and_grad(loss)))(parameters, x)
    relative = np.median(np.concatenate([np.ravel(r) for r in jax.tree.leaves(forward.relative_error)]))
    shares = f"finite bounds: {finite_share(forward.error):.0%} of logits, {finite_share(backward.error):.0%} of loss and gradient"
    record_property("summary", f"{shares}; median relative error of logits {relative:.1e}")
    assert finite_share(forward.error) == 1
    plain, gradient = jax.jit(logits)(parameters, x), jax.jit(jax.value_and_grad(loss))(parameters, x)
    for value, (tracked, error) in ((plain, forward), (gradient, backward)):
        for v, t, e in zip(*map(jax.tree.leaves, (value, tracked, error)), strict=True):
            assert np.all((np.abs(v - t) <= 2 * e) | np.isinf(e))


@model_parameters(["convolutions", "lstm", "gru", "linen transformer"], long={"linen transformer"})
def test_float32_within_its_bound_of_float64(name):
    make, x = MODELS[name]
    parameters, logits = make()
    assert_within_reference(track(logits)(parameters, x), logits, parameters, x)


def training_step(name, optimizer):
    """(the step, its arguments)."""
    make, x = MODELS[name]
    parameters, logits = make()
    loss, transformation = loss_of(logits), OPTIMIZERS[optimizer]()

    def step(parameters, state, x):
        gradients = jax.grad(loss)(parameters, x)
        updates, state = transformation.update(gradients, state, parameters)
        return optax.apply_updates(parameters, updates), state

    return step, (parameters, transformation.init(parameters), x)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@model_parameters()
def test_no_rule_is_missing(name, optimizer):
    step, arguments = training_step(name, optimizer)
    assert missing_rules(step)(*arguments) == []


# Every optimizer once; the long run has them all, with every kind of model: a step of a Transformer takes a minute to compile.
TRAINED = {("convolutions", "adam"), ("gru", "adamw"), ("lstm", "clipped"), ("lstm", "momentum")}


def trained():
    for name in MODELS:
        for optimizer in OPTIMIZERS:
            marks = [pytest.mark.slow] * (name in SLOW) + [pytest.mark.long] * ((name, optimizer) not in TRAINED)
            yield pytest.param(name, optimizer, marks=marks)


@pytest.mark.parametrize(("name", "optimizer"), list(trained()))
def test_training_step(name, optimizer, record_property):
    step, (parameters, state, x) = training_step(name, optimizer)
    value, error = jax.jit(track(step, model=WorstCase(contraction="normwise")))(parameters, state, x)
    assert jax.tree.structure(value) == jax.tree.structure((parameters, state))
    record_property("summary", f"{finite_share(error[0]):.0%} of the new parameters have a finite bound")


def test_state_of_training_is_carried():
    parameters, logits = MODELS["lstm"][0]()
    transformation = optax.adam(1e-3)

    def step(carried, x):
        parameters, state = carried
        updates, state = transformation.update(jax.grad(loss_of(logits))(parameters, x), state, parameters)
        return optax.apply_updates(parameters, updates), state

    carried = (parameters, transformation.init(parameters))
    state = Tracked(carried, jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), carried))
    tracked = jax.jit(track(step))
    for _ in range(2):
        state = tracked(state, SIGNAL)
    assert jax.tree.structure(state.value) == jax.tree.structure(carried)
    finite_share(state.error)
