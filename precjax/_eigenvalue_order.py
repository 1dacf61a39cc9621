"""The order of eigenvalues: LAPACK's is that in which it finds them, another one with other jobs."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax


def in_order(values: Any, others: Any, vectors: Any) -> Any:
    """Columns of vectors, for each of some eigenvalues those of the nearest one.

    Args:
        values: eigenvalues ``(..., n)`` in the order that is wanted.
        others: the same in another order, up to rounding.
        vectors: a column ``(..., n, n)`` for each of the others.

    Returns:
        The columns ``(..., n, n)``; some twice and others not at all where eigenvalues are one to rounding.
    """
    distances = lax.abs(values[..., None, :] - others[..., :, None])
    return jnp.take_along_axis(vectors, jnp.argmin(distances, axis=-2)[..., None, :], -1)
