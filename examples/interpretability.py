"""How many bits of a saliency map are right, and which rankings of features could rounding alone change?

A small attention network reads handwritten digits row by row. Of its explanations we track three: the gradient of the
winning logit (saliency), integrated gradients, and the attention map. Two features are in doubt if their intervals
overlap.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

import precjax

RUNS = (("float32", "certified"), ("float32", "worst_case"), ("bfloat16", "certified"), ("bfloat16", "worst_case"))


def digits(count):
    """Images ``(count, 8, 8)``, multiples of 1/16, and labels."""
    pixels, labels = load_digits(return_X_y=True)
    return pixels[:count].reshape(-1, 8, 8).astype(np.float32) / 16, labels[:count]


def attention_map(parameters, image):
    """How much each row ``(8,)`` of the image attends to each."""
    tokens = jnp.tanh(image @ parameters["embed"] + parameters["place"])
    return tokens, jax.nn.softmax(tokens @ parameters["query"] @ tokens.T / 4)


def logits(parameters, image):
    """Ten of them."""
    tokens, weights = attention_map(parameters, image)
    return (weights @ tokens).reshape(-1) @ parameters["read"]


def train(images, labels, steps, width=16):
    """Adam on all images at once."""
    shapes = {"embed": (8, width), "place": (8, width), "query": (width, width), "read": (8 * width, 10)}
    random = np.random.default_rng(0)
    parameters = {k: (random.normal(size=s) / s[0] ** 0.5).astype(np.float32) for k, s in shapes.items()}
    optimizer = optax.adam(1e-2)

    def loss(p):
        scores = jax.vmap(logits, (None, 0))(p, images)
        return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean()

    def step(state, _):
        updates, rest = optimizer.update(jax.grad(loss)(state[0]), state[1])
        return (optax.apply_updates(state[0], updates), rest), None

    return jax.jit(lambda s: jax.lax.scan(step, s, length=steps)[0])((parameters, optimizer.init(parameters)))[0]


def explanations(parameters, image, winner, points):
    """Three maps of one image; integrated gradients from a black image by the midpoint rule."""
    slope = jax.grad(lambda x: logits(parameters, x)[winner])
    at = (jnp.arange(points, dtype=image.dtype) + jnp.asarray(0.5, image.dtype)) / points
    integrated = image * jnp.mean(jax.vmap(lambda t: slope(t * image))(at), 0)
    return {
        "saliency": slope(image),
        "integrated gradients": integrated,
        "attention": attention_map(parameters, image)[1],
    }


def doubtful(value, error):
    """Pairs of features whose order rounding could change, of all pairs; and how many of the first ten are in order."""
    order = np.argsort(-np.abs(value.ravel()))
    v, e = np.abs(value.ravel()[order]).astype(float), error.ravel()[order].astype(float)
    overlap = (v[:, None] - v <= e[:, None] + e) & (e[:, None] + e > 0)
    above = np.triu(np.ones_like(overlap), 1)
    certain = 0
    while certain < 10 and not overlap[certain, certain + 1 :].any():
        certain += 1
    return np.sum(overlap & above), np.sum(above), certain


def main(count=600, steps=150, points=16, shown=3, runs=RUNS):
    """Prints bits and doubtful rankings of each explanation in two formats."""
    images, labels = digits(count)
    trained = train(images, labels, steps)
    right = np.mean(jax.vmap(logits, (None, 0))(trained, images).argmax(-1) == labels)
    print(f"trained: {right:.0%} of {count} digits are right; the first {shown} images:")
    print("format    explanation           model       bits: median  least  pairs in doubt  first 10 certain")
    for dtype, model in runs:
        parameters, pictures = jax.tree.map(lambda a, d=dtype: jnp.asarray(a, d), (trained, images[:shown]))
        winners = jnp.argmax(jax.vmap(logits, (None, 0))(parameters, pictures), -1)
        f = jax.vmap(lambda *a: explanations(*a, points), (None, 0, 0))
        tracked = jax.jit(precjax.track(f, model=model))(parameters, pictures, winners)
        for name in ("saliency", "integrated gradients", "attention"):
            value, error = (np.asarray(t[name], np.float32) for t in tracked)
            bits = np.asarray(tracked.exact_bits[name])[value != 0]
            doubt = np.array([doubtful(v, e) for v, e in zip(value, error, strict=True)])
            pairs, every = doubt[:, 0].sum(), doubt[:, 1].sum()
            print(f"{dtype:<10}{name:<22}{model:<12}{np.median(bits):>12.1f}{bits.min():>7.1f}{pairs:>8} of {every:<5}"
                  f"{', '.join(map(str, doubt[:, 2])):>17}")  # fmt: skip


if __name__ == "__main__":
    main()
