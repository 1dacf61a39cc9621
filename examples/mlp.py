"""An MLP in plain JAX: the digits of its outputs in float32 and in bfloat16, and those of a gradient."""

import jax
import jax.numpy as jnp

import precjax


def network(parameters, x):
    """Two hidden layers with tanh."""
    *hidden, (last, bias) = parameters
    for weights, shift in hidden:
        x = jnp.tanh(x @ weights + shift)
    return x @ last + bias


def random_parameters(sizes):
    """Weights of deviation 1 / sqrt(inputs), zero biases."""
    keys = jax.random.split(jax.random.key(0), len(sizes) - 1)
    shapes = zip(sizes, sizes[1:], strict=False)
    return [(jax.random.normal(k, s) / s[0] ** 0.5, jnp.zeros(s[1])) for k, s in zip(keys, shapes, strict=True)]


def main():
    """Prints three outputs in two formats, then the exact bits of the gradient."""
    parameters, x = random_parameters([16, 32, 32, 3]), jax.random.normal(jax.random.key(1), (16,))
    for dtype in (jnp.float32, jnp.bfloat16):
        inputs = jax.tree.map(lambda a, dtype=dtype: a.astype(dtype), (parameters, x))
        print(f"{dtype.__name__:>8}: {precjax.track(network)(*inputs)}")

    gradient = precjax.track(jax.grad(lambda p, x: jnp.sum(network(p, x) ** 2)))(parameters, x)
    medians = [f"{jnp.median(weights):.1f}" for weights, _ in gradient.exact_bits]
    print(f"gradient: median exact bits {', '.join(medians)} of 24, first layer to last")


if __name__ == "__main__":
    main()
