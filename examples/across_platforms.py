"""The same program on two platforms: are the differences rounding, or a bug?

A GPU of today multiplies float32 matrices in TF32 unless told otherwise: it rounds the operands to 11 significant bits
and adds the products in float32. A CPU, and a GPU with ``jax.default_matmul_precision("highest")``, keeps all 24. Here
the operands are rounded by hand, so that no GPU is needed. The bounds are certified: proved, and close to the errors,
so that they tell TF32 from float32, and a bug from both.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import precjax


def highest(x, weights):
    """A product with all bits of its operands."""
    return jnp.dot(x, weights, precision="highest")


def tf32(x, weights):
    """What tensor cores compute: 10 bits after the leading one, and the exponents of float32."""
    x, weights = (lax.reduce_precision(operand, exponent_bits=8, mantissa_bits=10) for operand in (x, weights))
    return highest(x, weights)


def broken(x, weights):
    """A kernel that forgets the last feature."""
    return highest(x[:, :-1], weights[:-1])


def network(product):
    """Two layers whose products are computed by `product`."""
    return lambda parameters, x: product(jnp.tanh(product(x, parameters["in"])), parameters["out"])


def main():
    """Compares three ways to multiply, with the bound of the arithmetic that was meant."""
    draw = np.random.default_rng(0)
    shapes = {"in": (256, 64), "out": (64, 8)}
    parameters = {k: jnp.asarray(draw.standard_normal(s) / s[0] ** 0.5, jnp.float32) for k, s in shapes.items()}
    x = jnp.asarray(draw.standard_normal((16, 256)), jnp.float32)

    on_cpu, on_gpu, by_bug = (jax.jit(network(product))(parameters, x) for product in (highest, tf32, broken))
    certified = {
        name: precjax.track(network(product), model="certified")(parameters, x)
        for name, product in {"float32": highest, "TF32": tf32}.items()
    }
    for name, result in {"TF32": on_gpu, "a bug": by_bug}.items():
        for arithmetic, tracked in certified.items():
            print(f"float32 against {name}, with the bound of {arithmetic}:")
            print(precjax.compare(on_cpu, result, tracked), end="\n\n")


if __name__ == "__main__":
    main()
