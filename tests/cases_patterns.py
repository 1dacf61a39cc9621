"""Rows of whole patterns: softmax, normalisation, losses, masks, optimizer steps, control flow, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
from cases import FLOATS, FLOATS_AND_X64, FULL, Case
from cases_arrays import numbers
from jax import lax

MASK = np.tril(np.ones((4, 5), bool), 1)


def masked(f, fill):
    return lambda x: f(jnp.where(MASK, x, fill if fill is not None else jnp.finfo(x.dtype).min))


def added_mask(fill):
    """A mask that is added; -1e9 overflows float16."""
    return lambda x: jax.nn.softmax(x + jnp.where(MASK, 0, fill).astype(x.dtype), axis=-1)


def layer_norm(x):
    mean = x.mean(-1, keepdims=True)
    variance = jnp.square(x - mean).mean(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + 1e-5)


def layer_norm_of_moments(x):
    mean = x.mean(-1, keepdims=True)
    variance = jnp.maximum(0, jnp.square(x).mean(-1, keepdims=True) - jnp.square(mean))
    return (x - mean) * lax.rsqrt(variance + 1e-5)


def rms_norm(x):
    return x * lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6)


def cross_entropy(x):
    return -jax.nn.log_softmax(x)[jnp.arange(4), jnp.array([0, 4, 2, 2])].mean()


def attention(q, k, v):
    scores = q @ k.T / np.sqrt(q.shape[-1]).astype(q.dtype)
    return jax.nn.softmax(jnp.where(np.tril(np.ones((4, 4), bool)), scores, jnp.finfo(q.dtype).min)) @ v


def softmax_of_narrow_exponentials(x):
    e = jnp.exp(x - x.max(-1, keepdims=True)).astype(jnp.float32)
    return e / e.sum(-1, keepdims=True)


def exponentials_of_two_masks(x):
    """No softmax: what is summed is not all of the terms."""
    kept = jnp.where(MASK, x, -jnp.inf)
    terms = jnp.exp(kept - kept.max(-1, keepdims=True))
    return terms / jnp.where(MASK[:, ::-1], terms, 0.0).sum(-1, keepdims=True)


def log_sum_of_two_masks(x):
    """No log-sum-exp: what is summed are other terms than those of which the largest is taken."""
    largest = jnp.where(MASK, x, -jnp.inf).max(-1, keepdims=True)
    terms = jnp.where(MASK[:, ::-1], jnp.exp(x - largest), 0.0)
    return jnp.log(terms.sum(-1, keepdims=True)) + largest


def exponentials_of_a_mask_and_none(x):
    """The gradient of no log-sum-exp: the mask is not that of the sum, and in doubt."""
    terms = jnp.exp(x - x.max(-1, keepdims=True))
    return jnp.where(x > 0.5, jnp.broadcast_to(1 / terms.sum(-1, keepdims=True), x.shape), 0.0) * terms


SQUARE = {
    "softmax": lambda x: jax.nn.softmax(x, axis=-1),
    "softmax over rows": lambda x: jax.nn.softmax(x, axis=0),
    "softmax with where": lambda x: jax.nn.softmax(x, axis=-1, where=MASK),
    "log_softmax with where": lambda x: jax.nn.log_softmax(x, axis=-1, where=np.roll(MASK, 1, 0) & (np.arange(4) > 0)[:, None]),
    "exponentials of two masks": exponentials_of_two_masks,
    "softmax masked by -inf": masked(jax.nn.softmax, -np.inf),
    "softmax masked by finfo.min": masked(jax.nn.softmax, None),
    "softmax with added -inf": added_mask(-np.inf),
    "log_softmax": lambda x: jax.nn.log_softmax(x, axis=-1),
    "log_softmax masked by finfo.min": masked(jax.nn.log_softmax, None),
    "logsumexp": lambda x: jax.nn.logsumexp(x, axis=1),
    "logsumexp with where": lambda x: jax.nn.logsumexp(x, axis=1, where=jnp.asarray(MASK)),
    "logsumexp where x > 0.5": lambda x: jax.nn.logsumexp(x, axis=1, where=x > 0.5),
    "gradient of logsumexp with where": jax.grad(lambda x: (jax.nn.logsumexp(x, axis=1, where=jnp.asarray(MASK)) ** 2).sum()),
    "gradient of logsumexp where x > 0.5": jax.grad(lambda x: (jax.nn.logsumexp(x.at[:, 0].set(1), axis=1, where=x.at[:, 0].set(1) > 0.5) ** 2).sum()),
    "log of a sum of two masks": log_sum_of_two_masks,
    "exponentials of a mask and none": exponentials_of_a_mask_and_none,
    "logsumexp masked by -inf": masked(lambda x: jax.nn.logsumexp(x, axis=1), -np.inf),
    "softmax of narrow exponentials": softmax_of_narrow_exponentials,
    "softmax by hand": lambda x: jnp.exp(x) / jnp.exp(x).sum(-1, keepdims=True),
    "softmax of sums": lambda x: jax.nn.softmax(jnp.cumsum(x, axis=1), axis=1) @ x.T,
    "layer norm": layer_norm,
    "layer norm of moments": layer_norm_of_moments,
    "rms norm": rms_norm,
    "standardize": lambda x: jax.nn.standardize(x, epsilon=1e-3),
    "l2 normalize": lambda x: x / jnp.sqrt(jnp.maximum(jnp.sum(x * x, axis=1, keepdims=True), 1e-12)),
    "cross entropy": cross_entropy,
    "gradient of cross entropy": jax.grad(cross_entropy),
    "gradient of softmax": jax.grad(lambda x: (jax.nn.softmax(x) * np.arange(5)).sum()),
    "gradient of softmax squared": jax.grad(lambda x: (jax.nn.softmax(x) ** 2).sum()),
    "gradient of log_softmax": jax.grad(lambda x: (jax.nn.log_softmax(x) * np.arange(5)).sum()),
    "gradient of logsumexp": jax.grad(lambda x: jax.nn.logsumexp(x, axis=0).sum()),
    "gradient of logsumexp of rows": lambda x: jax.vmap(jax.grad(jax.nn.logsumexp))(x),
    "gradient of logsumexp squared": jax.grad(lambda x: (jax.nn.logsumexp(x, axis=1, keepdims=True) ** 2).sum()),
    "gradient of layer norm": jax.grad(lambda x: (layer_norm(x) * np.arange(5)).sum()),
    "gradient of rms norm": jax.grad(lambda x: (rms_norm(x) * np.arange(5)).sum()),
    "gradient of relu": jax.grad(lambda x: (jax.nn.relu(x) ** 2).sum()),
    "gradient of gelu": jax.grad(lambda x: jax.nn.gelu(x).sum()),
    "gradient of exact gelu": jax.grad(lambda x: jax.nn.gelu(x, approximate=False).sum()),
    "gradient of max": jax.grad(lambda x: x.max(axis=1).sum()),
    "gradient of norm": jax.grad(lambda x: jnp.linalg.norm(x)),
    "gradient of tanh and sigmoid": jax.grad(lambda x: (jnp.tanh(x) * jax.nn.sigmoid(x)).sum()),
    "hessian of logsumexp": lambda x: jax.hessian(jax.nn.logsumexp)(x[0]),
    "jvp of silu": lambda x: jax.jvp(jax.nn.silu, (x,), (x * 2,)),
}
FORMATS = {
    **dict.fromkeys(("exponentials of two masks", "log of a sum of two masks", "exponentials of a mask and none"), ("float32",)),
    **dict.fromkeys(("softmax with where", "log_softmax", "layer norm of moments", "gradient of gelu"), (*FULL, "bfloat16")),
    "softmax of narrow exponentials": ("bfloat16", "float16"),
    **dict.fromkeys(("softmax masked by -inf", "softmax masked by finfo.min", "logsumexp", "rms norm", "cross entropy"), FLOATS),
}
LOOSE = {"gradient of max", "log of a sum of two masks", "softmax by hand", "exponentials of two masks", "logsumexp where x > 0.5", "gradient of logsumexp where x > 0.5"}


def adam(g, m, v, w):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    return w - 1e-3 * (m / (1 - 0.9**3)) / (jnp.sqrt(v / (1 - 0.999**3)) + 1e-8)


def adam_inputs(draw):
    size = dict(wide=False)
    return draw.numbers(12, **size), draw.numbers(12, **size), draw.numbers(12, low=0.0, **size), draw.numbers(12, **size)


def clip_by_norm(g):
    norm = jnp.sqrt(jnp.sum(g * g))
    return jnp.where(norm < 1, g, g / norm)


def recurrent(x):
    def cell(h, row):
        h = jnp.tanh(0.5 * h + row)
        return h, h.sum()

    return lax.scan(cell, jnp.zeros(5, x.dtype), x)


def gated(x):
    def cell(state, row):
        c, h = state
        i, f, g, o = jax.nn.sigmoid(row + h), jax.nn.sigmoid(row - h), jnp.tanh(row + h), jax.nn.sigmoid(h)
        c = f * c + i * g
        h = o * jnp.tanh(c)
        return (c, h), h

    zero = jnp.zeros(5, x.dtype)
    return lax.scan(cell, (zero, zero), x)[1]


def newton(x):
    """Three steps towards a square root, counted."""
    return lax.while_loop(lambda s: s[1] < 3, lambda s: ((s[0] + x / s[0]) / 2, s[1] + 1), (x, 0))[0]


@jax.vmap
def halved(x):
    """A loop whose test depends on the data; of an infinite number it would not end."""
    return lax.while_loop(lambda s: (s[0] > 0.9) & (s[1] < 1100), lambda s: (s[0] / 2, s[1] + 1), (jnp.abs(x[0]), 0))


CONTROL = {
    "scan": recurrent,
    "gated scan": gated,
    "reverse scan": lambda x: lax.scan(lambda c, r: (c * 0.5 + r, c), x[0], x, reverse=True),
    "scan without operands": lambda x: lax.scan(lambda c, _: (c * 0.5 + 1, None), x, None, length=4)[0],
    "scan of an exact carry": lambda x: lax.scan(lambda c, r: (c + 1, r * c), jnp.ones((), x.dtype), x),
    "fori_loop": lambda x: lax.fori_loop(0, 3, lambda i, c: c * 0.5 + x[i], x[0]),
    "fori_loop of dynamic slices": lambda x: lax.fori_loop(0, 4, lambda i, c: c + lax.dynamic_slice(x, (i, i), (1, 1))[0, 0], x[0, 0]),
    "while": lambda x: newton(jnp.abs(x) + 1),
    "while on data": halved,
    "cond": lambda x: lax.cond(x[0, 0] > 0.3, lambda y: y * 3, lambda y: y - 1, x),
    "cond of shapes": lambda x: lax.cond(x.sum() > 0, lambda y: (y.sum(), 1), lambda y: (y.max(), 2), x),
    "switch": lambda x: lax.switch(jnp.int32(jnp.floor(jnp.clip(x[0, 0], 0, 2))), [jnp.tanh, lambda y: 2 * y, lambda y: y - 1], x),
    "map": lambda x: lax.map(lambda r: jnp.exp(r).sum(), x),
    "remat": jax.grad(lambda x: jax.checkpoint(lambda y: jnp.sin(jnp.tanh(y)).sum())(x)),
    "inner jit": lambda x: jax.jit(lambda y: jnp.tanh(y) * 3)(jax.jit(lambda y: y + 1)(x)),
    "inner vmap": lambda x: jax.vmap(lambda r: lax.cond(r[0] > 0, jnp.sum, jnp.max, r))(x),
    "gradient of scan": jax.grad(lambda x: recurrent(x)[0].sum()),
    "gradient of while": jax.grad(lambda x: lax.fori_loop(0, 3, lambda i, c: jnp.sin(c), x).sum()),
    "custom_jvp": lambda x: jax.nn.relu(x) + jax.nn.silu(x) * jax.nn.relu6(x),
    "random noise": lambda x: x + jax.random.uniform(jax.random.key(0), x.shape, x.dtype),
    "dropout": lambda x: jnp.where(jax.random.bernoulli(jax.random.key(0), 0.7, x.shape), x / 0.7, 0),
}
UNBOUNDED = {"while on data", "switch"}


def patterns():
    for name, f in SQUARE.items():
        formats = FLOATS_AND_X64 if name in ("softmax", "layer norm") else FORMATS.get(name, FULL)
        yield Case(name, f, numbers((4, 5), wide=False), formats, unbounded=name in LOOSE)
    for name, f in CONTROL.items():
        yield Case(name, f, numbers((4, 5), wide=False), FULL, unbounded=name in UNBOUNDED)
    yield Case("softmax with added -1e9", added_mask(-1e9), numbers((4, 5), wide=False), ("float32", "float64", "bfloat16"))
    yield Case("attention", attention, numbers((4, 3), (4, 3), (4, 2), wide=False))
    yield Case("adam", adam, adam_inputs, FULL, unbounded=True)
    yield Case("clip by norm", clip_by_norm, numbers((8,), wide=False), FULL, unbounded=True)
    yield Case("momentum", lambda g, m, w: w - 0.1 * (g + 0.9 * m), numbers((9,), (9,), (9,), wide=False))


CASES = list(patterns())
