"""Identities of the mathematical model that floats break: is it rounding, or is the identity none?

Each function below computes the difference of two sides that ought to be equal. In real arithmetic an identity gives
0, so zero must lie within value +- error; where it provably does not, the failure is no rounding but a mistake in the
identity. `Certified` bounds are tight enough to tell even a 1e-5 in a denominator from rounding.
"""

import jax
import jax.numpy as jnp
import numpy as np

import precjax

NAMES = (
    "softmax sums to one",
    "softmax of shifted logits",
    "LayerNorm of shifted inputs",
    "attention of permuted tokens",
    "attention with a causal mask",
    "BatchNorm of tripled weights, eps=0",
    "BatchNorm of tripled weights, eps=1e-5",
    "weights times gradient, eps=0",
    "weights times gradient, eps=1e-5",
    "convolution of a moved image, torus",
    "convolution of a moved image, padded",
    "gradients of cross entropy sum to 0",
)


def attention(tokens, weights, mask=0.0):
    """Self-attention of one head."""
    query, key, value = (tokens @ w for w in weights)
    return jax.nn.softmax(query @ key.T / query.shape[1] ** 0.5 + mask) @ value


def layer_norm(x, eps=1e-5):
    """Without scale and shift."""
    centred = x - jnp.mean(x, -1, keepdims=True)
    return centred / jnp.sqrt(jnp.mean(centred**2, -1, keepdims=True) + eps)


def batch_norm_loss(weights, x, eps):
    """The loss of a layer under BatchNorm: in theory no function of the length of its weights."""
    z = x @ weights
    z = z - jnp.mean(z, 0)
    return jnp.mean(jnp.tanh(z / jnp.sqrt(jnp.mean(z**2, 0) + eps) - x[:, :1]) ** 2)


def convolution(image, kernel, mode):
    """Of an image and a kernel of 3 by 3; ``wrap`` makes the plane a torus, ``constant`` surrounds it with zeros."""
    padded = jnp.pad(image, 1, mode=mode)
    return jax.scipy.signal.convolve(padded, kernel, mode="valid")


def identities(x, weights, kernel, order):
    """Left side minus right side of each identity, in the order of `NAMES`."""
    grad = jax.grad(batch_norm_loss)
    causal = jnp.where(jnp.tril(jnp.ones((len(x), len(x)), bool)), 0.0, -jnp.inf)
    shift, move = jnp.asarray(3.0, x.dtype), lambda a: jnp.roll(a, 1, 0)
    return (
        jnp.sum(jax.nn.softmax(x), -1) - 1,
        jax.nn.softmax(x + shift) - jax.nn.softmax(x),
        layer_norm(x + shift) - layer_norm(x),
        attention(x[order], weights) - attention(x, weights)[order],
        attention(x[order], weights, causal) - attention(x, weights, causal)[order],
        batch_norm_loss(3 * weights[0], x, 0) - batch_norm_loss(weights[0], x, 0),
        batch_norm_loss(3 * weights[0], x, 1e-5) - batch_norm_loss(weights[0], x, 1e-5),
        jnp.sum(weights[0] * grad(weights[0], x, 0)),
        jnp.sum(weights[0] * grad(weights[0], x, 1e-5)),
        convolution(move(x), kernel, "wrap") - move(convolution(x, kernel, "wrap")),
        convolution(move(x), kernel, "constant") - move(convolution(x, kernel, "constant")),
        jnp.sum(jax.grad(lambda z: jnp.sum(jax.nn.logsumexp(z, -1) - z[:, 0]))(x), -1),
    )


def main(size=8):
    """Prints each departure with its bounds and a verdict."""
    random = np.random.default_rng(0)
    x, kernel = (random.normal(size=s).astype(np.float32) for s in ((size, size), (3, 3)))
    weights = random.normal(size=(3, size, size)).astype(np.float32) / np.float32(size) ** 0.5
    arguments = (x, weights, kernel, random.permutation(size))
    certified, worst = (jax.jit(precjax.track(identities, model=m))(*arguments) for m in ("certified", "worst_case"))
    print(f"{'identity':<38}  {'departure':>9}  {'certified':>9}  {'worst case':>10}  verdict")
    for name, value, bound, loose in zip(NAMES, *certified, worst.error, strict=True):
        value, bound = abs(np.asarray(value)), np.asarray(bound)
        verdict = "rounding" if np.all(value <= bound) else f"no identity: off by {np.max(value - bound):.1e} at least"
        print(f"{name:<38}  {value.max():>9.1e}  {bound.max():>9.1e}  {loose.max():>10.1e}  {verdict}")


if __name__ == "__main__":
    main()
