"""Fast Fourier transforms.

Theorem (Higham section 24.1, for any mixed radix): after log2 n levels of butterflies, every output is a sum of inputs
times numbers of modulus at most 1 + k u log2 n, so that for y = F x
    |computed - exact| <= sum |x' - x*| + k u (1 + log2 n) sum |x'|.
Where n has a large prime factor XLA:CPU (DUCC) may convolve with a chirp (Bluestein) instead, whose roundings mix all
inputs: normwise (Higham theorem 24.2), at most k u (1 + log2 n) ||F x||_2 = k u (1 + log2 n) sqrt(n) ||x||_2. That is
the same sum with every |x_i| replaced by their root mean square. k is the platform's row `fft`, or `fft_chirp`,
measured over many lengths. Inverse transforms divide by n. Of a real transform, the spectrum's second half is the
mirror of the first: its numbers count twice, but for those that have no mirror image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._annotated import Annotated
from precjax._registry import complex_rule
from precjax._rounding import error_dtype, plus, times

_FORWARD, _INVERSE, _REAL, _INVERSE_REAL = range(4)  # jax.lax.FftType
_RADIX = 11  # the largest prime factor of lengths that are surely transformed by butterflies


@complex_rule("fft")
def fft(
    model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, fft_type: Any, fft_lengths: Any
) -> list[Any]:
    """Over the last axes, all at once."""
    out, n = outs[0], math.prod(fft_lengths)
    x = model.ball(operands[0], error_dtype(out.dtype))
    kind, shape = int(fft_type), np.shape(operands[0].value)
    weights = _weights(fft_lengths[-1], x.dtype) if kind == _INVERSE_REAL else np.ones(shape[-1], x.dtype)
    scale = 1.0 / n if kind in (_INVERSE, _INVERSE_REAL) else 1.0
    axes = tuple(range(len(shape) - len(fft_lengths), len(shape)))
    spread = _summed_over(axes, weights, out.shape)
    sizes = jnp.broadcast_to(jnp.asarray(plus(x.size, x.reach), x.dtype), shape)
    smooth = all(map(_smooth, fft_lengths))
    if not smooth:
        sizes = _levelled(sizes, axes, weights, n)
    moved = None if x.absorbed is None else jnp.broadcast_to(jnp.asarray(x.absorbed, x.dtype), shape)
    moved = None if moved is None else model.accumulate(spread, moved)
    rounding = _rounding(model, out, n, "fft" if smooth else "fft_chirp")
    terms = (None if moved is None else times(moved, scale), times(model.accumulate(spread, sizes), rounding * scale))
    return [model.total(out, *terms, ulps=2, steps=n + 16, flushed=math.ceil(16 * n**1.5))]


def _rounding(model: Any, out: Any, n: int, row: str) -> float:
    """k u (1 + log2 n)."""
    complex_dtype = np.result_type(out.dtype, np.complex64)
    return model.accuracy(row, complex_dtype).factor * model.unit(out.dtype) * (1 + math.log2(n))


def _weights(n: int, dtype: Any) -> Any:
    """How often a number of the first half of the spectrum of n real numbers occurs in the whole."""
    return np.asarray([1 if 2 * k in (0, n) else 2 for k in range(n // 2 + 1)], dtype)


def _summed_over(axes: Sequence[int], weights: Any, shape: tuple[int, ...]) -> Callable[[Any], Any]:
    """The weighted sum over the axes, the same for every output."""

    def spread(e: Any) -> Any:
        total = lax.reduce_sum(lax.mul(e, jnp.broadcast_to(weights, e.shape)), tuple(axes))
        return lax.broadcast_in_dim(total, shape, tuple(range(total.ndim)))

    return spread


def _levelled(sizes: Any, axes: Sequence[int], weights: Any, n: int) -> Any:
    """Every size replaced by the root mean square of the whole spectrum or signal."""
    largest = jnp.max(sizes, axis=axes, keepdims=True, initial=np.finfo(sizes.dtype).tiny)
    scaled = lax.div(sizes, jnp.broadcast_to(largest, sizes.shape))
    mean = jnp.sum(scaled * scaled * weights, axis=axes, keepdims=True) / n
    return jnp.broadcast_to(lax.sqrt(mean) * largest, sizes.shape)


def _smooth(n: int) -> bool:
    for factor in range(2, _RADIX + 1):
        while n % factor == 0:
            n //= factor
    return n == 1
