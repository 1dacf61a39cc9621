"""Functions that lose their digits in one line, marked as the culprit; the roundings that it amplifies may stand in another one.

That line is marked as the one to blame.
"""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def line_of(f, *marks):
    """file.py:12 of the line with the first of these marks that there is."""
    lines, start = inspect.getsourcelines(f)
    for mark in (*marks, "culprit"):
        found = [start + i for i, line in enumerate(lines) if line.rstrip().endswith(f"# {mark}")]
        if found:
            return f"culprits.py:{found[0]} "
    raise ValueError(f"{f.__name__} has no mark")


RANDOM = np.random.default_rng(0)
ROWS = np.float32(RANDOM.uniform(0.5, 1.5, (4, 8)))


def far_from_zero(x):
    scaled = x / 3
    shifted = (1e5 + scaled) - 1e5  # culprit
    return jnp.tanh(shifted)


def naive_variance(x):
    mean = jnp.mean(x)  # blamed
    square = jnp.mean(x * x)
    variance = square - mean * mean  # culprit
    return jnp.sqrt(variance)


def naive_log_sum_exp(x):
    logits = x / 0.3
    weights = jnp.exp(logits * 20)  # culprit
    return jnp.log(jnp.sum(weights))


def sine_of_a_large_argument(t):
    phase = 6.2831855 * t  # blamed
    wave = jnp.sin(phase)  # culprit
    return 0.5 * wave + 2


def one_narrow_layer(x):
    for _ in range(2):
        x = jnp.tanh(x * 1.1)
    x = x.astype(jnp.bfloat16).astype(jnp.float32)  # culprit
    for _ in range(2):
        x = jnp.tanh(x * 1.1)
    return x


def sum_in_bfloat16(x):
    halves = x * jnp.bfloat16(0.5)

    def turn(i, total):
        return total + halves[i % 8]  # culprit

    return lax.fori_loop(0, 400, turn, jnp.bfloat16(0)) * jnp.bfloat16(2)


def one_minus_cosine(x):
    cosine = jnp.cos(x)  # blamed
    return (1 - cosine) / (x * x)  # culprit


def heron(a, b, c):
    s = (a + b + c) / 2  # blamed
    product = (s - a) * (s - b) * (s - c)  # culprit
    return jnp.sqrt(s * product)


def quadratic_root(a, b, c):
    discriminant = b * b - 4 * a * c
    root = jnp.sqrt(discriminant)  # blamed
    difference = root - b  # culprit
    return difference / (2 * a)


def divergence_near_convergence(x):
    p, q = jax.nn.softmax(x), jax.nn.softmax(x + 1e-4 * x * x)  # blamed
    ratio = jnp.log(p) - jnp.log(q)  # culprit
    return jnp.sum(p * ratio)


def exponential_minus_one(x):
    scaled = x / 7
    small = jnp.exp(scaled) - 1  # culprit
    return small / scaled


def difference_of_roots(x):
    a, b = jnp.sqrt(x + 1), jnp.sqrt(x)  # blamed
    return a - b  # culprit


def finite_difference(x):
    h = 1e-3
    ahead, here = jnp.sin(x + h), jnp.sin(x)  # blamed
    slope = (ahead - here) / h  # culprit
    return slope * slope


def logarithm_near_one(x):
    y = x / 3
    return jnp.log(1 + y)  # culprit


def tangent_near_its_pole(x):
    angle = x * 1.5707  # blamed
    steep = jnp.tan(angle)  # culprit
    return jnp.log(steep)


def determinant(m):
    scaled = m / 3  # blamed
    return scaled[0, 0] * scaled[1, 1] - scaled[0, 1] * scaled[1, 0]  # culprit


def near_a_multiple_root(x):
    square = x * x
    value = ((square * x - 3 * square) + 3 * x) - 1  # culprit
    return value * 8


def compound_interest(rate):
    base = 1 + rate / 365  # blamed
    return base ** 36500.0  # culprit


def angle_between(x, y):
    cosine = jnp.sum(x * y) / jnp.sqrt(jnp.sum(x * x) * jnp.sum(y * y))  # blamed
    return jnp.arccos(jnp.minimum(cosine, 1))  # culprit


def centred_times(t):
    times = t * 1.1
    centred = times - jnp.mean(times)  # culprit
    return jnp.sum(centred * centred)


def layer_in_a_scan(x):
    def layer(h, w):
        h = jnp.tanh(h * w)
        h = (h + 300) - 300  # culprit
        return h, None

    return lax.scan(layer, x, jnp.ones((3, 8)))[0]


CULPRITS = [
    (far_from_zero, (np.float32(0.3),)),
    (naive_variance, (np.float32(100 + RANDOM.uniform(size=50)),)),
    (naive_log_sum_exp, (np.float32(RANDOM.uniform(0.5, 1, 8)),)),
    (sine_of_a_large_argument, (np.float32(RANDOM.uniform(1e4, 2e4, 8)),)),
    (one_narrow_layer, (ROWS,)),
    (sum_in_bfloat16, (jnp.asarray(ROWS[0], jnp.bfloat16),)),
    (one_minus_cosine, (np.float32(1e-3),)),
    (heron, (np.float32(9.0), np.float32(5.3), np.float32(3.7001))),
    (quadratic_root, (np.float32(1), np.float32(1e3), np.float32(1))),
    (divergence_near_convergence, (ROWS,)),
    (exponential_minus_one, (np.float32(1e-4),)),
    (difference_of_roots, (np.float32(1e5),)),
    (finite_difference, (np.float32(1.0),)),
    (logarithm_near_one, (np.float32(1e-5),)),
    (tangent_near_its_pole, (np.float32(1.0),)),
    (determinant, (np.float32([[1, 2], [2, 4.0001]]),)),
    (near_a_multiple_root, (np.float32(1.01),)),
    (compound_interest, (np.float32(0.05),)),
    (angle_between, (ROWS[0], ROWS[0] * np.float32(1.001) + np.float32(1e-2) * ROWS[1])),
    (centred_times, (np.float32(1e6 + RANDOM.uniform(size=16)),)),
    (layer_in_a_scan, (ROWS[0],)),
]
