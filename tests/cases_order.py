"""Rows of complex numbers in order: sorting, the largest of two and of many."""

import jax.numpy as jnp
import numpy as np
from cases import FULL, Case
from jax import lax


def lines(draw):
    """Some real parts are equal, some nearly so, and some numbers are conjugate to their neighbours."""
    z = draw.complexes(3, 6, wide=False)
    z.value[0, 1] = np.conj(z.value[0, 0])
    z.value[1, 1:3] = z.value[1, 0].real * np.array([1, 1 + 2 * float(draw.info.eps)]) + 1j * z.value[1, 1:3].imag
    return (z,)


ROWS = {
    "complex sort": lambda z: (jnp.sort(z, axis=1), jnp.sort(z, axis=0)),
    "complex sort with payload": lambda z: lax.sort((z, abs(z), 1 - z), dimension=1, num_keys=1),
    "complex payload": lambda z: lax.sort((z.real > 0.3, z, z.imag), dimension=1, num_keys=1),
    "complex second key": lambda z: lax.sort((jnp.round(z.real), z), dimension=1, num_keys=2),
    "complex extremes": lambda z: (jnp.max(z, axis=1), jnp.min(z), jnp.maximum(z[0], z[1] * 2), jnp.minimum(z[0], z[2] + 1j)),
}
CASES = [Case(name, f, lines, FULL, rare=("float64",), unbounded=name == "complex second key") for name, f in ROWS.items()]
