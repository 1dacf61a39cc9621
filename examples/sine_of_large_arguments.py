"""The sine of a large number is only as good as the number: half an ulp of x is half an ulp in radians."""

import jax
import jax.numpy as jnp

import precjax


def main():
    """Prints sin(x) for growing x, first for exact x, then for x that were rounded to float32 on entry."""
    x = jnp.float32(10.0) ** jnp.arange(0, 10, 2, dtype=jnp.int32) * jnp.float32(1.1)
    sine = jax.jit(precjax.track(jnp.sin))
    exact, rounded = sine(x), sine(precjax.rounded(x))
    print(f"{'x':>12}  {'x exact':<16}{'x rounded on entry'}")
    for i, number in enumerate(x):
        first, second = (precjax.Tracked(s.value[i], s.error[i]) for s in (exact, rounded))
        print(f"{number:>12.6g}  {_digits(first):<16}{_digits(second)}")


def _digits(tracked):
    return str(tracked).removeprefix("Tracked(").removesuffix(")")


if __name__ == "__main__":
    main()
