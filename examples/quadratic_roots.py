"""The school formula loses the small root of x^2 - 1000 x + 1; the rearranged formula keeps it."""

import jax.numpy as jnp

import precjax


def school(a, b, c):
    """Both roots by the formula of every textbook."""
    root = jnp.sqrt(b * b - 4 * a * c)
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def rearranged(a, b, c):
    """The same roots, by one quotient that subtracts nothing from its like: q has the sign of -b twice."""
    q = -0.5 * (b + jnp.copysign(jnp.sqrt(b * b - 4 * a * c), b))
    return c / q, q / a


def main():
    """Prints the roots by both formulas."""
    for formula in (school, rearranged):
        roots = precjax.track(formula)(1.0, -1000.0, 1.0)
        print(f"{formula.__name__:>10}: {roots}")
        print(f"{'':>10}  exact bits of the small root: {roots.exact_bits[0]:.1f} of 24")


if __name__ == "__main__":
    main()
