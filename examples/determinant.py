"""Determinants of Hilbert matrices by Gaussian elimination: how large may the matrix be before no digit is certain?

An entry such as 1/3 is no float32: `precjax.rounded` tells the bound that the matrix was rounded on entry.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import precjax


def hilbert(n):
    """The n by n matrix of 1 / (i + j + 1), each entry rounded to the nearest float32."""
    i = np.arange(n, dtype=np.float32)
    return 1 / (i[:, None] + i + 1)


def determinant(matrix):
    """The product of the pivots; no exchange of rows, as for any positive definite matrix."""

    def eliminate(remaining, k):
        pivot_row = lax.dynamic_index_in_dim(remaining, k, keepdims=False)
        pivot = pivot_row[k]
        below = jnp.arange(len(matrix)) > k
        factors = jnp.where(below, remaining[:, k] / pivot, 0)
        return remaining - factors[:, None] * pivot_row, pivot

    _, pivots = lax.scan(eliminate, matrix, jnp.arange(len(matrix)))
    return jnp.prod(pivots)


def main():
    """Prints determinants with their certain digits."""
    for n in range(2, 6):
        tracked = jax.jit(precjax.track(determinant))(precjax.rounded(hilbert(n)))
        print(f"det(Hilbert {n}) = {tracked}, {tracked.exact_bits:.1f} exact bits")


if __name__ == "__main__":
    main()
