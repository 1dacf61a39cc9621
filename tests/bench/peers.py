"""What other packages take for the same matrix product, over the time of the plain one in numpy or XLA."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import precjax

SIZES = {"large": 256, "small": 24}  # python numbers are for the small one


def peers(rounds: int) -> list[dict[str, Any]]:
    """One row per package that is installed."""
    rows = []
    for name, (size, make) in _PEERS.items():
        try:
            plain, other = make(*_matrices(SIZES[size]))
        except ImportError as error:
            print(f"{name}: left out, {error.name} is not installed")
            continue
        base, seconds = (_median(f, rounds) for f in (plain, other))
        rows.append({"program": f"matmul {SIZES[size]}", "model": name, "time": seconds / base})
    return rows


def _matrices(n: int) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    return random.standard_normal((n, n)), random.standard_normal((n, n))


def _median(f: Callable[[], Any], rounds: int) -> float:
    jax.block_until_ready(f())
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        jax.block_until_ready(f())
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def _jitted(f: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    program = jax.jit(f)
    return lambda: program(*args)


def _float32(a: Any, b: Any) -> tuple[Any, Any]:
    return jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)


def _precjax(model: Any) -> Callable[[Any, Any], Any]:
    def make(a: Any, b: Any) -> Any:
        a, b = _float32(a, b)
        return _jitted(jnp.matmul, a, b), _jitted(precjax.track(jnp.matmul, model=model), a, b)

    return make


def _float64_by_hand(a: Any, b: Any) -> Any:
    a, b = _float32(a, b)
    both = lambda: (a @ b, np.asarray(a, np.float64) @ np.asarray(b, np.float64))  # noqa: E731
    return _jitted(jnp.matmul, a, b), both


def _immrax(a: Any, b: Any) -> Any:
    immrax = importlib.import_module("immrax")
    a, b = _float32(a, b)
    balls = [immrax.interval(x - 1e-6 * abs(x), x + 1e-6 * abs(x)) for x in (a, b)]
    return _jitted(jnp.matmul, a, b), _jitted(immrax.natif(jnp.matmul), *balls)


def _arb(a: Any, b: Any) -> Any:
    flint = importlib.import_module("flint")
    x, y = (flint.arb_mat(m.tolist()) for m in (a, b))
    return lambda: a @ b, lambda: x * y


def _mpmath(a: Any, b: Any) -> Any:
    mpmath = importlib.import_module("mpmath")
    x, y = (mpmath.iv.matrix(m.tolist()) for m in (a, b))
    return lambda: a @ b, lambda: x * y


def _uncertainties(a: Any, b: Any) -> Any:
    unumpy = importlib.import_module("uncertainties.unumpy")
    x, y = (unumpy.uarray(m, 1e-6 * abs(m)) for m in (a, b))
    return lambda: a @ b, lambda: x @ y


_PEERS: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "precjax normwise": ("large", _precjax(precjax.WorstCase(contraction="normwise"))),
    "precjax componentwise": ("large", _precjax(precjax.WorstCase())),
    "float64 beside float32": ("large", _float64_by_hand),
    "immrax": ("large", _immrax),
    "python-flint arb_mat": ("large", _arb),
    "mpmath iv": ("small", _mpmath),
    "uncertainties": ("small", _uncertainties),
}
