"""Networks on which models of error are compared: every layer's activations, a loss and its gradients, training steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import precjax


class Network(NamedTuple):
    """A function of (parameters, inputs) that returns the activations of its layers, the last one the logits."""

    name: str
    layers: Callable[[Any, Any], list[Any]]
    parameters: Any
    inputs: Any

    def loss(self, parameters: Any, inputs: Any) -> Any:
        """Cross-entropy with the classes 0, 1, 2, ... in turn."""
        logits = self.layers(parameters, inputs)[-1]
        logits = logits.reshape(-1, logits.shape[-1])
        labels = jnp.arange(len(logits)) % logits.shape[-1]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def gradients(self, parameters: Any, inputs: Any) -> list[Any]:
        """Of the loss, leaf by leaf."""
        return jax.tree.leaves(jax.grad(self.loss)(parameters, inputs))

    def trained(self, steps: int) -> Callable[[Any, Any], list[Any]]:
        """Parameters after so many steps of Adam."""

        def run(parameters: Any, inputs: Any) -> list[Any]:
            optimizer = optax.adam(1e-3)

            def step(state: Any, _: None) -> Any:
                parameters, rest = state
                updates, rest = optimizer.update(jax.grad(self.loss)(parameters, inputs), rest, parameters)
                return (optax.apply_updates(parameters, updates), rest), None

            (parameters, _), _ = jax.lax.scan(step, (parameters, optimizer.init(parameters)), None, length=steps)
            return jax.tree.leaves(parameters)

        return run

    def redrawn(self, seed: int) -> Network:
        """Other inputs; those of seed 0 are its own."""
        return self._replace(inputs=jnp.asarray(normal(10_000 + seed, *self.inputs.shape), self.inputs.dtype) if seed else self.inputs)

    def astype(self, dtype: Any) -> Network:
        """The same network, parameters and inputs in another format."""
        cast = lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x  # noqa: E731
        return self._replace(parameters=jax.tree.map(cast, self.parameters), inputs=cast(self.inputs))


def normal(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def mlp(depth: int, width: int = 256, batch: int = 16, seed: int = 0) -> Network:
    """Gaussian weights, relu."""
    weights = [jnp.asarray(normal(seed + i, width, width) * np.sqrt(2 / width)) for i in range(depth)]

    def layers(weights: Any, x: Any) -> list[Any]:
        found = []
        for w in weights:
            x = jax.nn.relu(x @ w)
            found.append(x)
        return found

    return Network(f"MLP of depth {depth}", layers, weights, jnp.asarray(normal(seed + 999, batch, width)))


def residual(depth: int = 16, width: int = 256, batch: int = 16, seed: int = 0) -> Network:
    """x + 0.5 tanh(x W), again and again."""
    weights = [jnp.asarray(normal(seed + i, width, width) / np.sqrt(width)) for i in range(depth)]

    def layers(weights: Any, x: Any) -> list[Any]:
        found = []
        for w in weights:
            x = x + 0.5 * jnp.tanh(x @ w)
            found.append(x)
        return found

    return Network(f"residual network of depth {depth}", layers, weights, jnp.asarray(normal(seed + 999, batch, width)))


class Block(nn.Module):
    """A pre-norm Transformer block."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        dense = lambda features: nn.Dense(features, param_dtype=x.dtype, dtype=x.dtype)  # noqa: E731
        y = nn.LayerNorm(param_dtype=x.dtype, dtype=x.dtype)(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=4, param_dtype=x.dtype, dtype=x.dtype)(y)
        y = nn.LayerNorm(param_dtype=x.dtype, dtype=x.dtype)(x)
        return x + dense(x.shape[-1])(nn.gelu(dense(4 * x.shape[-1])(y)))


class Transformer(nn.Module):
    """Blocks, a norm and a head."""

    blocks: int

    @nn.compact
    def __call__(self, x: Any) -> list[Any]:
        found = []
        for _ in range(self.blocks):
            x = Block()(x)
            found.append(x)
        found.append(nn.Dense(10, param_dtype=x.dtype, dtype=x.dtype)(nn.LayerNorm(param_dtype=x.dtype, dtype=x.dtype)(x)))
        return found


class Convolutions(nn.Module):
    """Convolutions with BatchNorm in training, pooled."""

    @nn.compact
    def __call__(self, x: Any) -> list[Any]:
        found, like = [], {"param_dtype": x.dtype, "dtype": x.dtype}
        for features in (16, 32):
            x = nn.relu(nn.BatchNorm(use_running_average=False, **like)(nn.Conv(features, (3, 3), **like)(x)))
            x = nn.max_pool(x, (2, 2), (2, 2))
            found.append(x)
        found.append(nn.Dense(10, **like)(x.reshape(len(x), -1)))
        return found


class Recurrent(nn.Module):
    """An LSTM: its states at four times, and a head."""

    @nn.compact
    def __call__(self, x: Any) -> list[Any]:
        states = nn.RNN(nn.OptimizedLSTMCell(32, dtype=x.dtype))(x)  # orthogonal parameters are never made in bfloat16
        steps = np.linspace(0, x.shape[1] - 1, 5).astype(int)[1:]
        return [*(states[:, i] for i in steps), nn.Dense(10, param_dtype=x.dtype, dtype=x.dtype)(states[:, -1])]


def flax_network(name: str, module: nn.Module, inputs: Any) -> Network:
    """Random parameters, biases and scales of norms included."""
    variables = module.init(jax.random.key(0), inputs)
    moved = jax.tree.map(lambda p: p + 0.1 * jnp.asarray(normal(p.size, *p.shape)), variables["params"])

    def layers(parameters: Any, x: Any) -> list[Any]:
        return module.apply({**variables, "params": parameters}, x, mutable=["batch_stats"])[0]

    return Network(name, layers, moved, jnp.asarray(inputs))


def transformer(blocks: int = 12, width: int = 64) -> Network:
    return flax_network(f"Transformer of {blocks} blocks", Transformer(blocks), normal(1, 2, 16, width))


def convolutions() -> Network:
    return flax_network("CNN with BatchNorm", Convolutions(), normal(2, 8, 16, 16, 3))


def lstm(steps: int = 200) -> Network:
    return flax_network(f"LSTM of {steps} steps", Recurrent(), normal(3, 4, steps, 16))


def zoo() -> list[Network]:
    """All of them."""
    return [*(mlp(depth) for depth in (1, 2, 4, 8, 16, 32)), residual(), transformer(), convolutions(), lstm()]


def observed(f: Callable[..., Any], tracked: Any, *args: Any) -> Any:
    """Errors of the tracked program's own values: the shadow says where the exact results are."""
    shadow = jax.jit(precjax.track(f, model="shadow"))(*args)

    def deviation(own: Any, value: Any, error: Any) -> Any:
        own, value, error = (np.asarray(x, np.float64) for x in (own, value, error))
        return own - (value - error)

    return jax.tree.map(deviation, tracked.value, shadow.value, shadow.error)


class Comparison(NamedTuple):
    """Of one leaf: root mean squares of the model's and of the observed error, and the share that the model covers."""

    predicted: float
    observed: float
    coverage: float

    @property
    def ratio(self) -> float:
        return self.predicted / self.observed if self.observed else 1.0


def compared(tracked: Any, observed: Any) -> list[Comparison]:
    """Leaf by leaf; `observed` holds values minus exact results."""
    rows = []
    for bound, error in zip(jax.tree.leaves(tracked.error), jax.tree.leaves(observed), strict=True):
        bound, error = np.asarray(bound, np.float64), np.abs(np.asarray(error, np.float64))
        rms = [float(np.sqrt(np.mean(np.square(x)))) for x in (bound, error)]
        rows.append(Comparison(*rms, float(np.mean(error <= bound))))
    return rows


def judged(tracked: Callable[..., Any], f: Callable[..., Any], *args: Any) -> list[Comparison]:
    """What a tracked function says of its results, against what is observed."""
    result = tracked(*args)
    assert all(np.isfinite(error).all() for error in jax.tree.leaves(result.error))
    return compared(result, observed(f, result, *args))


def pooled(runs: list[list[Comparison]]) -> list[Comparison]:
    """Leaf by leaf, over several runs: where a rare decision makes the error, that of a single run is luck."""
    root_mean_square = lambda xs: float(np.sqrt(np.mean(np.square(xs))))  # noqa: E731
    return [
        Comparison(root_mean_square([r.predicted for r in leaf]), root_mean_square([r.observed for r in leaf]), float(np.mean([r.coverage for r in leaf])))
        for leaf in zip(*runs, strict=True)
    ]
