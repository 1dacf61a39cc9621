"""Pairs of float64 numbers and the error-free transforms that they rest on, which no compiler can spoil.

A pair (hi, lo) stands for the real number hi + lo, with hi = RN(hi + lo): about 106 significant bits.

XLA may contract a product into a sum (one rounding less), merge neighbouring additions of constants ((x + c) - c is x
in jaxlib 0.10.2), and compute one intermediate several times, in several fusions, each contracted in its own way. The
last is the worst: hi from one copy and lo from another need not belong together. So everything here obeys one rule,
**every intermediate is a function of the inputs, whatever the compiler does**:

- a product that enters a sum is either exact, so that contraction changes nothing (`two_prod` splits its operands by
  masking bits, which also spares the constant of Veltkamp's splitting and its overflow), or `opaque`;
- a sum from which an operand is subtracted again is `opaque`, so that constants are not merged;
- float64 functions whose last bit depends on the context they are compiled in are held by `optimization_barrier`.

Subnormal numbers may be flushed at any step: each transform is exact up to FLOOR.

References:
    Dekker, A floating-point technique for extending the available precision, Numer. Math. 18 (1971).
    Knuth, The Art of Computer Programming, volume 2, section 4.2.2, theorem B (two_sum).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from precjax._rounding import computed_once, opaque

# What one operation may lose where results are subnormal: at most 16 of them, each below the smallest normal number.
FLOOR = 2.0**-1018


class DD(NamedTuple):
    """The number hi + lo, two float64 arrays of one shape with hi = RN(hi + lo); lo is 0 where hi is not finite."""

    hi: Any
    lo: Any


def from_float(x: Any) -> DD:
    """A float64 array or number as a pair, exactly.

    An array passes a barrier: if it came from a plain computation, every later copy reads the same bits of it.

    Args:
        x: a real number or an array ``(*s)`` of any real dtype; integers beyond 2**53 are rounded.

    Returns:
        The pair, ``(*s)``, float64. Requires x64.
    """
    if isinstance(x, jax.Array):
        x = opaque(lax.optimization_barrier(lax.convert_element_type(x, jnp.float64)))
    else:
        x = jnp.asarray(x, jnp.float64)
    return DD(x, jnp.zeros_like(x))


def to_float(x: DD) -> Any:
    """The nearest float64, NaN where lo is."""
    return x.hi + x.lo


def elementary(f: Callable[..., DD]) -> Callable[..., DD]:
    """A function compiled once per shape, its result held by a barrier."""
    # XLA would otherwise fuse functions of functions into one loop, once for hi and once for lo; jaxlib 0.12 does not
    # end compiling exp(log(x)) that way (minutes, against 2 seconds).

    @functools.wraps(f)
    def held(*args: DD) -> DD:
        return DD(*lax.optimization_barrier(tuple(f(*args))))

    return jax.jit(held)


def stored(x: DD) -> DD:
    """The same pair, which XLA computes in one place and stores."""
    return DD(*map(computed_once, x))


def alone(f: Callable[[DD], DD]) -> Callable[[DD], DD]:
    """A function in a loop of its own, as `elementary`: for those that are made of other functions."""
    # No fusion looks through a loop. Barriers are gone by then, and where many kernels read what functions of functions
    # give, XLA:CPU computes it again and again (jaxlib 0.10.2: minutes for a sum of three lgammas of 20 numbers).

    @functools.wraps(f)
    def looped(x: DD) -> DD:
        if not x.hi.size:
            return f(x)
        # One turn, which XLA cannot know: of the sign bit, and of which of two copies is read.
        turns = lax.max(lax.bitcast_convert_type(jnp.ravel(x.hi)[0], jnp.int64) >> 63, jnp.int64(1))
        copies = DD(*(jnp.stack([v, v]) for v in x))
        nothing = DD(jnp.zeros_like(x.hi), jnp.zeros_like(x.hi))
        return lax.fori_loop(0, turns, lambda i, _: f(DD(*(v[i] for v in copies))), nothing)

    return elementary(looped)


def two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """RN(a + b) and its exact error, for any a and b."""
    s = opaque(a + b)
    b_part = s - a
    return s, (a - (s - b_part)) + (b - b_part)


def fast_two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """RN(a + b) and its exact error, for |a| >= |b| or a = 0, neither of them a constant."""
    s = a + b
    return s, b - (s - a)


def split(x: Any) -> tuple[Any, Any]:
    """x as an exact sum of two numbers of 26 bits each; NaN for |x| >= 2**1024 (1 - 2**-27)."""
    # Adding 2**26 to the pattern of bits rounds the significand of 53 bits to its upper 26; the rest is at most 2**26
    # units: 26 bits, or a power of two.
    bits = lax.bitcast_convert_type(x, jnp.int64)
    top = lax.bitcast_convert_type((bits + 2**26) & -(2**27), jnp.float64)
    return top, x - top


def two_prod(a: Any, b: Any) -> tuple[Any, Any]:
    """a b as an exact sum p + e, |e| <= 3.01 u |a b|, but for FLOOR."""
    # In units of ulp(a) ulp(b), where |a b| >= 2**104, the parts are integers: a1 b1 is a multiple of 2**54, a1 b2 and
    # a2 b1 are multiples of 2**27 up to 2**79, so their sum, up to 2**80, has 53 bits and is exact; a2 b2, up to 2**52
    # <= 2 u |a b|, is exact. fast_two_sum leaves t, an integer with |t| <= 2**52 and |t| <= u |p|, and t + a2 b2 is an
    # integer up to 2**53, hence exact.
    a1, a2 = split(a)
    b1, b2 = split(b)
    p, t = fast_two_sum(a1 * b1, a1 * b2 + a2 * b1)
    return p, t + a2 * b2


def settle(sound: Any, plain: Any, hi: Any, lo: Any) -> DD:
    """The pair (hi, lo) where it is `sound`; elsewhere (an inf, a NaN, a zero) the float64 result `plain`."""
    return DD(lax.select(sound, hi, plain), lax.select(sound, lo, jnp.zeros_like(lo)))


def power_of_two(n: Any) -> Any:
    """2**n for integers -1022 <= n <= 1023."""
    return lax.bitcast_convert_type((n.astype(jnp.int64) + 1023) << 52, jnp.float64)


def scaled(x: DD, n: Any) -> DD:
    """x 2**n for integers n, exactly but for FLOOR and overflow; in two steps, since 2**n itself may overflow."""
    n = jnp.clip(n, -2040, 2040)
    first, second = power_of_two(n >> 1), power_of_two(n - (n >> 1))
    return DD(x.hi * first * second, x.lo * first * second)


def exponent(x: Any) -> Any:
    """The integer e with 2**(e - 1) <= |x| < 2**e; -1022 for 0 and subnormal numbers."""
    bits = lax.bitcast_convert_type(x, jnp.int64)
    return ((bits >> 52) & 0x7FF) - 1022
