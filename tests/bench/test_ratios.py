"""Time and compile time of tracked programs, as ratios to the plain ones: medians of interleaved runs in one process.

Run by hand: ``python -m pytest -m bench -s tests/bench``. Absolute times mean nothing on a shared machine; ratios do.
"""

from __future__ import annotations

import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import precjax

pytestmark = pytest.mark.bench

MODELS = {c: precjax.WorstCase(contraction=c) for c in ("normwise", "componentwise")}


class Block(nn.Module):
    """A pre-norm Transformer block."""

    width: int

    @nn.compact
    def __call__(self, x):
        y = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=8)(y, y)
        y = nn.Dense(4 * self.width)(nn.LayerNorm()(x))
        return x + nn.Dense(self.width)(nn.gelu(y))


class Transformer(nn.Module):
    """Blocks on top of given embeddings."""

    layers: int = 4
    width: int = 256

    @nn.compact
    def __call__(self, x):
        for _ in range(self.layers):
            x = Block(self.width)(x)
        return nn.LayerNorm()(x)


class MLP(nn.Module):
    """Four dense layers, 1024 wide."""

    @nn.compact
    def __call__(self, x):
        for _ in range(4):
            x = nn.relu(nn.Dense(1024)(x))
        return x


def _normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def _gradient_of(module):
    return jax.value_and_grad(lambda p, x: jnp.mean(module.apply(p, x) ** 2))


def programs():
    """(name, function, arguments)."""
    matrices = _normal(0, 1024, 1024), _normal(1, 1024, 1024)
    inexact = tuple(precjax.Tracked(m, 1e-6 * jnp.abs(m)) for m in matrices)
    yield "matmul 1024", jnp.matmul, matrices
    yield "matmul 1024, one inexact", jnp.matmul, (inexact[0], matrices[1])
    yield "matmul 1024, both inexact", jnp.matmul, inexact
    yield "softmax 1024 x 1024", jax.nn.softmax, matrices[:1]
    yield (
        "chain of 10 on 1M",
        lambda x: jnp.tanh(jnp.exp(-x * x) * x + jnp.sin(x)) / (1 + x * x),
        (_normal(2, 1 << 20),),
    )
    x, mlp = _normal(3, 256, 1024), MLP()
    yield "MLP 4 x 1024", mlp.apply, (mlp.init(jax.random.key(0), x), x)
    yield "MLP 4 x 1024, gradient", _gradient_of(mlp), (mlp.init(jax.random.key(0), x), x)
    for layers in (2, 4):
        x, transformer = _normal(4, 4, 128, 256), Transformer(layers)
        parameters = transformer.init(jax.random.key(0), x)
        yield f"Transformer {layers} x 256", transformer.apply, (parameters, x)
        yield f"Transformer {layers} x 256, gradient", _gradient_of(transformer), (parameters, x)


def values_of(args):
    return jax.tree.map(
        lambda a: a.value if isinstance(a, precjax.Tracked) else a,
        args,
        is_leaf=lambda a: isinstance(a, precjax.Tracked),
    )


def compiled(function, args):
    start = time.perf_counter()
    lowered = jax.jit(function).lower(*args)
    middle = time.perf_counter()
    program = lowered.compile()
    return program, middle - start, time.perf_counter() - middle


def interleaved(candidates, rounds=9):
    """Median seconds of each program, run in turn."""
    times = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, (program, args) in candidates.items():
            start = time.perf_counter()
            jax.block_until_ready(program(*args))
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(t)) for name, t in times.items()}


def test_ratios():
    print(f"\n{'program':34} {'plain ms':>9} " + " ".join(f"{m:>14} {'trace':>6} {'compile':>8}" for m in MODELS))
    for name, function, args in programs():
        plain = values_of(args)
        jax.clear_caches()
        program, trace, build = compiled(function, plain)
        candidates, costs = {"plain": (program, plain)}, {}
        for label, model in MODELS.items():
            tracked, t, c = compiled(precjax.track(function, model=model), args)
            candidates[label], costs[label] = (tracked, args), (t / trace, c / build)
        seconds = interleaved(candidates)
        row = " ".join(f"{seconds[m] / seconds['plain']:14.2f} {costs[m][0]:6.1f} {costs[m][1]:8.1f}" for m in MODELS)
        print(f"{name:34} {1e3 * seconds['plain']:9.2f} {row}", flush=True)
