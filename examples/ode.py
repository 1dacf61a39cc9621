"""The best step size of an ODE solver in float32: smaller steps truncate less and round more.

y' = y cos(t), y(0) = 1 has the solution exp(sin t). `Shadow` gives the signed rounding error of each run; what is
left of the distance to the solution is truncation. The step with the smallest sum is where both meet.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import precjax


def slope(t, y):
    """The right side."""
    return y * jnp.cos(t)


def euler(t, y, h):
    """First order."""
    return y + h * slope(t, y)


def heun(t, y, h):
    """Second order."""
    first = slope(t, y)
    return y + h / 2 * (first + slope(t + h, y + h * first))


def runge_kutta(t, y, h):
    """Fourth order."""
    a = slope(t, y)
    b = slope(t + h / 2, y + h / 2 * a)
    c = slope(t + h / 2, y + h / 2 * b)
    d = slope(t + h, y + h * c)
    return y + h / 6 * (a + 2 * b + 2 * c + d)


def solver(method):
    """y(1) by so many steps of a method; their number may be traced."""

    def solve(steps, h):
        return lax.fori_loop(0, steps, lambda i, y: method(i.astype(h.dtype) * h, y, h), jnp.ones_like(h))

    return solve


def main(most=16):
    """Prints, for step sizes 1/2 to 2**-most, both errors of each method, and the best step."""
    exact = np.exp(np.sin(1.0))
    for method in (euler, heun, runge_kutta):
        solve = jax.jit(precjax.track(solver(method), model="shadow"))
        print(f"{method.__name__}\n{'steps':>8}{'truncation':>13}{'rounding':>11}{'together':>11}")
        totals = {}
        for k in range(1, most + 1, 1 if method is runge_kutta else 3):
            value, error = map(float, solve(jnp.int32(2**k), jnp.float32(2.0**-k)))
            totals[k] = abs(value - exact)
            print(f"{2**k:>8}{value - error - exact:>13.1e}{error:>11.1e}{value - exact:>11.1e}")
        best = min(totals, key=totals.get)
        print(f"best: {2**best} steps, error {totals[best]:.1e}; one ulp is {np.spacing(np.float32(exact)):.1e}\n")


if __name__ == "__main__":
    main()
