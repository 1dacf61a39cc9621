"""Norms of rows: of an array ``(*s, n)``, bounds ``(*s, 1)`` of the 2-norms along the last axis.

Theorem (spectral norms). For any matrix |M|_2**2 = |M^T M|_2, and a computed product of n terms differs from M^T M by
at most n u |M|_F**2 in the Frobenius norm (Higham section 3.5), so that
    |M|_2**2 <= |fl(M^T M)|_2 + n u |M|_F**2,
again and again; at the end |M|_2 <= |M|_F. Squaring three times makes of Frobenius' norm, sqrt(n) times too large for
Gaussian numbers, one that is (1430 n)**(1/16) / 2, or 1.2 for n = 512: Schatten's norm of order 16. No iteration from a
start vector gives an upper bound.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._rounding import enlarged, format_of, plus, ratio, same_shape, stored, times

_SQUARINGS = 3


def root(squares: Any, terms: int) -> Any:
    """The root of a sum of squares, but for rounding; squares that underflow are made up for.

    The clamp changes nothing: XLA:CPU would hand the root to the library that adds up the squares, which is slow at it.
    """
    zero, top = (np.asarray(end, squares.dtype) for end in (0, np.inf))
    return lax.sqrt(plus(lax.clamp(zero, squares, top), terms * format_of(squares.dtype).smallest_normal))


def along(x: Any, axes: tuple[int, ...]) -> Any:
    """Upper bound of the 2-norms of a real array along axes, which stay, of length 1."""
    count = math.prod(x.shape[d] for d in axes)
    norms = root(lax.reduce_sum(stored(lax.mul(x, x)), axes), count)
    return lax.reshape(enlarged(norms, count + 4, x.dtype), [1 if d in axes else n for d, n in enumerate(x.shape)])


def of_rows(x: Any) -> Any:
    """Upper bound of the 2-norms of the rows of a real array ``(*s, n)``."""
    return along(x, (x.ndim - 1,))


def largest(x: Any) -> Any:
    """The largest number of each row; NaN stays NaN, which XLA's maximum may drop."""
    last = x.ndim - 1
    seen = lax.reduce_max(lax.select(lax.eq(x, x), x, lax.full_like(x, jnp.inf)), (last,))
    return lax.reshape(seen, [*x.shape[:-1], 1])


def both(*norms: Any) -> Any:
    """The norm of what several make together, each within its own: their sum; None stands for zero."""
    total = plus(*norms)
    return None if total is None else enlarged(total, len(norms), total.dtype)


def spectral(matrices: Any) -> Any:
    """Upper bound of the spectral norms of real matrices ``(*s, m, n)``: ``(*s, 1, 1)``."""
    dtype, u = matrices.dtype, format_of(matrices.dtype).unit_roundoff
    axes = matrices.ndim - 2, matrices.ndim - 1
    size = along(matrices, axes)
    if 1 in matrices.shape[-2:] or 0 in matrices.shape:
        return size
    *_, m, n = matrices.shape
    # Divided by its Frobenius norm nothing overflows; the roundings of that are a little of that norm.
    product = lax.mul(*same_shape(matrices, ratio(jnp.ones_like(size), size)))
    product = product if m >= n else jnp.swapaxes(product, -1, -2)
    lost = []
    for _ in range(_SQUARINGS):
        terms, count = product.shape[-2], product.shape[-1] ** 2
        frobenius = along(product, axes)
        underflow = 2.0 * terms * count * format_of(dtype).smallest_normal
        lost.append(plus(times(frobenius, frobenius, 1.01 * terms * u), underflow))
        batch = tuple(range(product.ndim - 2))
        numbers = (((axes[0],), (axes[0],)), (batch, batch))
        product = lax.dot_general(product, product, numbers, precision=lax.Precision.HIGHEST)
    bound = along(product, axes)
    for more in reversed(lost):
        bound = enlarged(lax.sqrt(plus(bound, more)), 4, dtype)
    # |M|_2 <= |M|_F (|fl(M / |M|_F)|_2 + 4 u), and 4 u may be too little only where M is subnormal.
    return lax.min(size, enlarged(times(size, plus(bound, 6 * u)), 4, dtype))
