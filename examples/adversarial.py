"""Adversarial perturbations beside rounding: how near must an image be to a boundary for rounding to decide?

For each digit, the step along the signs of the gradient that turns the prediction (Goodfellow et al. 2014) is found
by bisection in the trained network of `interpretability.py`. On the way there it crosses a band in which `argmax` has
an error: only there does rounding decide; it is counted as one spacing of the format at least. Medians over the
digits.
"""

import jax
import jax.numpy as jnp
import numpy as np
from interpretability import RUNS, digits, logits, train

import precjax


def attack(parameters, image, label):
    """The direction that lowers the winner against the next, every pixel by one."""

    def margin(x):
        scores = logits(parameters, x)
        return scores[label] - jnp.max(scores.at[label].set(-jnp.inf))

    return -jnp.sign(jax.grad(margin)(image))


def winner(parameters, image, direction, size):
    """What the network says of the image after a step."""
    return jnp.argmax(logits(parameters, image + size * direction))


def bisect(turned, low, high, steps):
    """The least size, for each image, at which something has turned."""
    for _ in range(steps):
        middle = (low + high) / 2
        there = turned(middle)
        low, high = np.where(there, low, middle), np.where(there, middle, high)
    return high


def main(count=600, steps=150, shown=16, bisections=30, runs=RUNS):
    """Prints the sizes that turn predictions, and the width of the band in which rounding decides."""
    images, labels = digits(count)
    trained = train(images, labels, steps)
    print(f"{'format':<10}{'model':<12}{'turned by a step of':>20}{'rounding decides within':>25}{'ratio':>10}")
    told = jax.vmap(winner, (None, 0, 0, 0))
    for dtype, model in runs:
        parameters, pictures = jax.tree.map(lambda a, d=dtype: jnp.asarray(a, d), (trained, images[:shown]))
        start = told(parameters, pictures, pictures, jnp.zeros(shown, dtype))
        directions = jax.vmap(attack, (None, 0, 0))(parameters, pictures, start)
        run = jax.jit(precjax.track(told, model=model))

        def seen(size, run=run, where=(parameters, pictures, directions), dtype=dtype):
            return run(*where, jnp.asarray(size, dtype))

        zero, half = np.zeros(shown), np.full(shown, 0.5)
        turned = bisect(lambda s, seen=seen, at=start: np.asarray(seen(s).value != at), zero, half, bisections)
        doubt = bisect(lambda s, seen=seen: np.asarray(seen(s).error > 0), zero, turned, bisections)
        band = np.median(np.maximum(turned - doubt, turned * jnp.finfo(dtype).eps))
        print(f"{dtype:<10}{model:<12}{np.median(turned):>20.3f}{band:>25.1e}{np.median(turned) / band:>10.0f}")


if __name__ == "__main__":
    main()
