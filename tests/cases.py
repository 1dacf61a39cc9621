"""What a row of the table of soundness tests is, and how its inputs are drawn: numbers that are hard on floating point."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

FLOATS = ("float32", "float64", "bfloat16", "float16")
FULL = ("float32", "float64")
FLOATS_AND_X64 = (*FLOATS, "float32+x64")  # float32 while float64 is switched on


class Case(NamedTuple):
    """One primitive with one set of parameters.

    Attributes:
        name: name of the row.
        f: the function.
        inputs: `inputs(draw)` gives the arguments, each a `Drawn` (may get an error) or a plain array (exact).
        formats: formats of the inputs.
        models: models beside the default one.
        scalar: whether the row counts for the median over the scalar rows.
        unbounded: whether benign inputs may have an infinite error.
        rare: formats that only the long run tries.
    """

    name: str
    f: Callable[..., Any]
    inputs: Callable[["Draw"], Any]
    formats: tuple[str, ...] = FLOATS
    models: tuple[Any, ...] = ()
    scalar: bool = False
    unbounded: bool = False
    rare: tuple[str, ...] = ()


class Drawn(NamedTuple):
    """An argument that may get an error, as long as its ball stays between low and high."""

    value: np.ndarray
    low: Any = -np.inf
    high: Any = np.inf


class Draw:
    """Draws arguments of one format; hardness mixes in zeros, subnormals, ties, cancellation and numbers near overflow.

    Negative hardness draws benign numbers that lie close together, so that errors change the outcome of decisions.
    """

    def __init__(self, dtype: str, seed: int, hardness: float):
        self.dtype, self.info = jnp.dtype(dtype), jnp.finfo(dtype)
        self.random, self.hardness, self.crowded = np.random.default_rng(seed), max(hardness, 0.0), hardness < 0

    def numbers(self, *shape, low=-np.inf, high=np.inf, scale=1.0, edges=(), wide=True) -> Drawn:
        """Floats between low and high; benign ones are spread around `scale`; `wide` allows numbers near overflow."""
        size = int(np.prod(shape))
        largest = float(self.info.max)
        x = self._benign(size, low, high, scale)
        hard = self.random.random(size) < self.hardness
        with np.errstate(over="ignore"):
            x = np.where(hard, self._hard(size, x, edges, wide), x)
        x = np.clip(x, -largest, largest).astype(self.dtype)
        limits = [np.asarray(np.clip(limit, -largest, largest), self.dtype) for limit in (low, high)]
        return Drawn(np.clip(x, *limits).astype(self.dtype).reshape(shape), low, high)

    def exact(self, *shape, **options) -> np.ndarray:
        """Floats that never get an error."""
        return self.numbers(*shape, **options).value

    def complexes(self, *shape, real=None, imag=None, **options) -> Drawn:
        """Complex numbers; further options of each part."""
        parts = [self.numbers(*shape, **{**options, **(more or {})}).value for more in (real, imag)]
        return Drawn(parts[0] + parts[1] * np.asarray(1j, jnp.result_type(self.dtype, jnp.complex64)))

    def integers(self, *shape, low=-9, high=9, dtype="int32") -> Drawn:
        """Integers, both ends included."""
        limits = np.iinfo(dtype)
        return Drawn(self.random.integers(low, high, shape, dtype, endpoint=True), int(limits.min), int(limits.max))

    def bools(self, *shape) -> np.ndarray:
        return self.random.random(shape) < 0.5

    def _benign(self, size, low, high, scale):
        if np.isfinite(low) and np.isfinite(high):
            middle, half = (low + high) / 2, (high - low) / 2
            return middle + half * self.random.uniform(-0.95, 0.95, size)
        if self.crowded:
            sizes = np.exp(self.random.normal(0, 0.1, size))
            return low + sizes if np.isfinite(low) else high - sizes if np.isfinite(high) else sizes
        sizes = scale * np.exp(self.random.normal(0, 0.7, size))
        if np.isfinite(low) or np.isfinite(high):
            return low + sizes if np.isfinite(low) else high - sizes
        return sizes * self.random.choice([-1.0, 1.0], size)

    def _hard(self, size, x, edges, wide):
        """One of many kinds of trouble per element."""
        tiny, eps = float(self.info.smallest_normal), float(self.info.eps)
        exponents = self.random.integers(-12, 12, size)
        kinds = [
            np.zeros(size),
            x * tiny * self.random.choice([1, 0.5, 2.0**-5, 3.0], size),  # subnormal, or almost
            np.sign(x) * tiny,
            np.ldexp(np.sign(x), exponents),
            np.sign(x) * np.ldexp(1 + eps * self.random.choice([-0.5, 1, 2], size), exponents),
            np.roll(x, 1),  # ties
            -np.roll(x, 1) * (1 + eps * self.random.integers(0, 3, size)),  # cancellation
            x * np.exp(self.random.normal(0, 4, size)),
            np.round(x * 4) / 4,
        ]
        kinds += [np.full(size, edge) * (1 + eps * self.random.choice([0, 0, 1, -1, 8, -8], size)) for edge in edges]
        if wide and self.hardness > 0.5:
            biggest = float(self.info.max)
            kinds.append(np.sign(x) * biggest * self.random.choice([1, 0.75, 0.5, 2.0**-8], size))
            spread = int(np.log2(biggest)) - 2
            kinds.append(np.ldexp(np.sign(x), self.random.integers(-spread, spread, size)))
        return np.choose(self.random.integers(0, len(kinds), size), kinds)


RELATIVE = np.array([0, 1e-8, 1e-6, 1e-4, 1e-3, 0.03, 0.3])


def errors_of(drawn: Drawn, random, pattern: str) -> np.ndarray:
    """Errors that keep the ball between low and high.

    Args:
        drawn: the argument.
        random: where to draw from.
        pattern: "zero", "small" (1e-3 relative), "relative" (1e-8 to 0.3), "uneven" (0 or 0.3 relative), or
            "absolute" (one for all, or zero).

    Returns:
        Errors in the dtype that `track` uses.
    """
    value = np.asarray(drawn.value)
    if value.dtype.kind in "iu":
        return _errors_of_integers(drawn, random, pattern)
    with np.errstate(over="ignore"):
        x = np.minimum(np.abs(value.astype(np.complex128)), 1e308) if np.iscomplexobj(value) else value.astype(np.float64)
    size = np.where(np.isfinite(x), np.abs(x), 0.0)
    typical = float(np.median(size)) or 1.0
    errors = {
        "zero": np.zeros_like(x),
        "small": 1e-3 * random.uniform(0.5, 1, x.shape) * size,
        "relative": random.choice(RELATIVE, x.shape) * size,
        "uneven": random.choice([0, 0.3], x.shape) * size,
        "absolute": np.full_like(x, typical * random.choice([1e-7, 1e-4, 1e-2])) * random.choice([0, 1, 1], x.shape),
    }[pattern]
    room = np.minimum(x - drawn.low, drawn.high - x) * (1 - 2.0**-10)
    errors = np.minimum(errors, np.maximum(room, 0))
    dtype = np.float64 if value.dtype in (np.float64, np.complex128) else np.float32
    return np.minimum(errors, np.finfo(dtype).max).astype(dtype)


def _errors_of_integers(drawn, random, pattern):
    if pattern == "zero":
        return np.zeros(np.shape(drawn.value), np.float32)
    room = np.frompyfunc(lambda x: min(int(x) - drawn.low, drawn.high - int(x), 2), 1, 1)(drawn.value)
    return np.minimum(random.integers(0, 3, np.shape(drawn.value)), np.asarray(room, int)).astype(np.float32)
