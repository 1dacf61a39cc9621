"""The programs whose cost is measured: names, functions and arguments, made when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import precjax

Program = tuple[Callable[..., Any], tuple[Any, ...]]


def normal(seed: int, *shape: int) -> Any:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


class Block(nn.Module):
    """A pre-norm Transformer block."""

    width: int

    @nn.compact
    def __call__(self, x: Any, _: Any = None) -> Any:
        y = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=8)(y, y)
        y = nn.Dense(4 * self.width)(nn.LayerNorm()(x))
        x = x + nn.Dense(self.width)(nn.gelu(y))
        return (x, None) if _ is not None else x


class Transformer(nn.Module):
    """Blocks on top of given embeddings: written out, each one jitted, or a scan."""

    layers: int
    form: str = "unrolled"
    width: int = 256

    @nn.compact
    def __call__(self, x: Any) -> Any:
        if self.form == "scan":
            blocks = nn.scan(Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=self.layers)
            x = blocks(self.width)(x, jnp.zeros(self.layers))[0]
        else:
            block = nn.jit(Block) if self.form == "jitted" else Block
            for _ in range(self.layers):
                x = block(self.width)(x)
        return nn.LayerNorm()(x)


class MLP(nn.Module):
    """Four dense layers, 1024 wide."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        for _ in range(4):
            x = nn.relu(nn.Dense(1024)(x))
        return x


class Convolutions(nn.Module):
    """Three convolutions with BatchNorm in training, and a head."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        for features in (32, 64, 64):
            x = nn.relu(nn.BatchNorm(use_running_average=False)(nn.Conv(features, (3, 3))(x)))
        return nn.Dense(10)(x.mean((1, 2)))


class Recurrent(nn.Module):
    """An LSTM."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.RNN(nn.OptimizedLSTMCell(64))(x)[:, -1]


def operations() -> Iterator[tuple[str, Callable[[], Program]]]:
    """Single operations and short chains."""
    square = lambda seed: normal(seed, 1024, 1024)  # noqa: E731
    ball = lambda x: precjax.Tracked(x, 1e-6 * jnp.abs(x))  # noqa: E731
    yield "matmul 1024", lambda: (jnp.matmul, (square(0), square(1)))
    yield "matmul 1024, one inexact", lambda: (jnp.matmul, (ball(square(0)), square(1)))
    yield "matmul 1024, both inexact", lambda: (jnp.matmul, (ball(square(0)), ball(square(1))))
    yield "batched matmul 64 x 128", lambda: (jnp.matmul, (ball(normal(0, 64, 128, 128)), ball(normal(1, 64, 128, 128))))
    chain = lambda x: jnp.tanh(jnp.exp(-x * x) * x + jnp.sin(x)) / (1 + x * x)  # noqa: E731
    yield "chain of 10 on 4M", lambda: (chain, (normal(2, 1 << 22),))
    yield "sum of 4M", lambda: (jnp.sum, (ball(normal(2, 2048, 2048)),))
    yield "softmax 1024 x 1024", lambda: (jax.nn.softmax, (ball(square(0)),))
    yield "LayerNorm 1024 x 1024", lambda: network(nn.LayerNorm(), ball(square(0)))


def networks() -> Iterator[tuple[str, Callable[[], Program]]]:
    """Whole networks, forward; the others are made from these."""
    yield "MLP 4 x 1024", lambda: network(MLP(), normal(3, 256, 1024))
    yield "CNN with BatchNorm", lambda: network(Convolutions(), normal(4, 16, 32, 32, 3))
    yield "LSTM of 200 steps", lambda: network(Recurrent(), normal(5, 8, 200, 32))
    for layers in (4, 12, 24):
        for form in ("unrolled", "jitted", "scan"):
            yield (
                f"Transformer {layers} x 256, {form}",
                lambda layers=layers, form=form: network(Transformer(layers, form), normal(6, 4, 128, 256)),
            )


def network(module: nn.Module, x: Any) -> Program:
    """(apply(parameters, x), arguments); batch statistics are constants."""
    variables = dict(module.init(jax.random.key(0), x.value if isinstance(x, precjax.Tracked) else x))
    parameters = variables.pop("params")

    def apply(parameters: Any, x: Any) -> Any:
        return module.apply({"params": parameters, **variables}, x, mutable=list(variables))[0]

    return apply, (parameters, x)


def gradient(program: Program) -> Program:
    """Value and gradient of the mean square of the outputs."""
    apply, args = program
    return jax.value_and_grad(lambda p, x: jnp.mean(apply(p, x) ** 2)), args


def adam(program: Program) -> Program:
    """One step of Adam on that."""
    of, (parameters, x) = gradient(program)
    optimizer = optax.adam(1e-3)

    def step(parameters: Any, state: Any, x: Any) -> Any:
        updates, state = optimizer.update(of(parameters, x)[1], state, parameters)
        return optax.apply_updates(parameters, updates), state

    return step, (parameters, optimizer.init(parameters), x)


def programs() -> dict[str, Callable[[], Program]]:
    """All of them, by name."""
    forward = dict(networks())
    return {
        **dict(operations()),
        **forward,
        **{f"{name}, gradient": lambda make=make: gradient(make()) for name, make in forward.items()},
        **{f"{name}, Adam": lambda name=name: adam(forward[name]()) for name in ("MLP 4 x 1024", "Transformer 4 x 256, unrolled")},
    }
