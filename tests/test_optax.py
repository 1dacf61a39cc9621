"""Monitored training: bits per step and module, and the step at which training becomes noise."""

import csv
import io

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint
import pytest
from flax import nnx
from flax.training.train_state import TrainState

import precjax
import precjax.optax as monitoring

X = np.float32(np.random.default_rng(0).normal(size=(8, 4)))
Y = np.float32(X @ [1.0, -2.0, 0.5, 3.0])


def loss(w):
    """Least squares, with an offset in which small losses drown."""
    return 100 + jnp.mean((X @ w["linear"]["w"] + w["shift"]["b"] - Y) ** 2)


def train(steps, state, params, optimizer):
    found = monitoring.value_and_grad(loss)

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(found(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.jit(lambda params, state: jax.lax.scan(step, (params, state), None, length=steps)[0])(params, state)


OPTIMIZER = monitoring.monitor(optax.sgd(0.1), steps=300)
START = {"linear": {"w": np.zeros(4, np.float32)}, "shift": {"b": np.float32(0.5)}}


def test_training_becomes_noise():
    """Convergence is linear; in the end the loss stands still, while the parameters still move."""
    params, state = train(400, OPTIMIZER.init(START), START, OPTIMIZER)
    found = monitoring.history(state)
    assert found.steps == 400 and len(found.rows) == 300 and found.rows[0]["step"] == 100
    assert 150 < found.first < 250 and found.noisy > 150 and "noise, the first at step" in str(found)
    changes = [abs(b["loss"] - a["loss"]) - a["loss_error"] - b["loss_error"] for a, b in zip(found.rows, found.rows[1:], strict=False)]
    assert changes[found.first - 101] <= 0 < min(changes[: found.first - 101])
    last = found.rows[-1]
    assert last["noise"] and last["loss"] == 100 and 0 < last["loss_error"] < 1e-5
    assert last["update bits/linear"] <= last["gradient bits/linear"] < 10
    # The plain optimizer, on gradients without errors, goes the same way.
    plain, optimizer = START, optax.sgd(0.1)
    for _ in range(3):
        updates, _ = optimizer.update(jax.grad(loss)(plain), optimizer.init(plain), plain)
        plain = optax.apply_updates(plain, updates)
    same, _ = train(3, OPTIMIZER.init(START), START, OPTIMIZER)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), plain, same)


def test_rows_table_and_scalars():
    _, state = train(3, OPTIMIZER.init(START), START, OPTIMIZER)
    found = monitoring.history((state, "other"))
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [row["step"] for row in rows] == ["0", "1", "2"] and float(rows[0]["loss"]) == float(loss(START))
    assert {name.split("/")[0] for name in rows[0]} == {"step", "loss", "loss_error", "noise", "gradient bits", "update bits"}
    tags = {(tag, step) for tag, _, step in found.scalars()}
    assert ("precjax/update bits/linear", 2) in tags and len(tags) == 3 * 7
    assert str(found).splitlines()[-1] == "0 of 3 steps are noise" and found.first is None


def test_resumed_from_a_checkpoint(tmp_path):
    """Five steps are two, saved and restored, and three."""
    params, state = train(2, OPTIMIZER.init(START), START, OPTIMIZER)
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "two", {"params": params, "state": state})
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(tmp_path / "two", {"params": params, "state": state})
    params, state = train(3, restored["state"], restored["params"], OPTIMIZER)
    once = train(5, OPTIMIZER.init(START), START, OPTIMIZER)
    jax.tree.map(np.testing.assert_array_equal, once, (params, state))


def test_train_state_of_linen():
    net = nn.Sequential([nn.Dense(3), nn.tanh, nn.Dense(1)])
    state = TrainState.create(apply_fn=net.apply, params=net.init(jax.random.key(0), X), tx=monitoring.monitor(optax.adam(1e-2)))
    found = monitoring.value_and_grad(lambda p: jnp.mean((net.apply(p, X)[:, 0] - Y) ** 2))
    step = jax.jit(lambda state: state.apply_gradients(grads=found(state.params)))
    state = step(step(state))
    rows = monitoring.history(state).rows
    assert len(rows) == 2 and {"gradient bits/params/layers_0", "update bits/params/layers_2"} <= set(rows[0])
    assert rows[1]["loss"] < rows[0]["loss"] and 10 < rows[0]["gradient bits/params/layers_0"] < 24


def test_optimizer_of_nnx():
    model = nnx.Linear(4, 1, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, monitoring.monitor(optax.sgd(0.1)), wrt=nnx.Param)
    graph = nnx.graphdef(model)
    found = monitoring.value_and_grad(lambda state: jnp.mean((nnx.merge(graph, state)(X)[:, 0] - Y) ** 2))
    for _ in range(2):
        value, gradient = found(nnx.state(model))
        optimizer.update(model, gradient.value, gradient_error=gradient.error, loss=value)
    rows = monitoring.history(nnx.as_pure(optimizer.opt_state)).rows
    assert len(rows) == 2 and rows[1]["loss"] < rows[0]["loss"] and all(10 < v < 24 for k, v in rows[0].items() if "bits" in k)


def test_gradients_of_every_kind():
    """Plain ones are exact; the update then has the optimizer's own roundings."""
    params = {"a": jnp.full(3, 0.3)}
    plain, tracked, given = (
        OPTIMIZER.update(gradient, OPTIMIZER.init(params), params, **extra)[1]
        for gradient, extra in (
            (params, {}), (precjax.Tracked(params, {"a": np.float32([0, 0.3, 0.3])}), {}), (params, {"gradient_error": {"a": jnp.float32(1)}, "loss": 3.0})
        )
    )  # fmt: skip
    bits = [float(s.update["a"][0]) for s in (plain, tracked, given)]
    assert 23 < bits[0] <= 24 and bits[1] == pytest.approx(np.log2(1.5), abs=1e-3) and bits[2] == 0
    assert not plain.noise[0] and tracked.noise[0] and given.noise[0] and given.loss[0] == 3 and np.isnan(plain.loss[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: monitoring.monitor(optax.sgd(1.0), min_bits=0), "min_bits=0"),
        (lambda: monitoring.monitor(optax.sgd(1.0), steps=0), "steps=0"),
        (lambda: monitoring.monitor(optax.sgd(1.0), model="shadow"), "model='shadow'"),
        (lambda: monitoring.history({"a": X}), "no state of precjax.optax.monitor in dict"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
