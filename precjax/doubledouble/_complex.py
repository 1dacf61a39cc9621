"""Complex numbers whose parts are pairs: a pair of complex arrays, whose real and imaginary parts are pairs each.

Products and quotients err by some 20 and 60 units of 2**-106 of their modulus, not of each part, as those of any
complex arithmetic. Where float64 gives an infinity or a NaN in a part, so does this, and on a cut it goes to the same
side.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from precjax.doubledouble import _arithmetic as real
from precjax.doubledouble._pairs import DD, exponent, from_float, scaled


class Parts(NamedTuple):
    """The number re + i im, two pairs of one shape."""

    re: DD
    im: DD


def held(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function compiled once per shape, its result held by a barrier; see `_pairs.elementary`."""

    @functools.wraps(f)
    def barred(*args: Any) -> Any:
        return lax.optimization_barrier(f(*args))

    return jax.jit(barred)


def is_complex(x: Any) -> bool:
    """Whether the pair is one of complex arrays."""
    return isinstance(x, DD) and jnp.issubdtype(x.hi.dtype, jnp.complexfloating)


def parts(z: DD) -> Parts:
    """The parts of a pair, complex or real."""
    if not is_complex(z):
        return Parts(z, DD(jnp.zeros_like(z.hi), jnp.zeros_like(z.hi)))
    return Parts(*(DD(part(z.hi), part(z.lo)) for part in (lax.real, lax.imag)))


def joined(z: Parts) -> DD:
    """The pair of complex arrays."""
    return DD(*(lax.complex(re, im) for re, im in zip(*z, strict=True)))


def settled(z: Parts, plain: Any) -> DD:
    """The number, or float64's where a part of that is not finite, or where pairs have overflown on the way."""
    sound = lax.is_finite(lax.real(plain)) & lax.is_finite(lax.imag(plain))
    for x in z:
        sound &= lax.is_finite(x.hi)
    plain_parts = Parts(from_float(lax.real(plain)), from_float(lax.imag(plain)))
    return joined(choose(sound, z, plain_parts))


def choose(condition: Any, z: Parts, w: Parts) -> Parts:
    return Parts(*(real.select(condition, x, y) for x, y in zip(z, w, strict=True)))


def halved(x: DD) -> DD:
    return real.scale(x, 0.5)


def doubled(x: DD) -> DD:
    return real.scale(x, 2.0)


def ones(x: DD) -> DD:
    return from_float(jnp.ones_like(x.hi))


def unity(z: Parts) -> Parts:
    return Parts(ones(z.re), from_float(jnp.zeros_like(z.re.hi)))


def add(z: Parts, w: Parts) -> Parts:
    """Part by part."""
    return Parts(real.add(z.re, w.re), real.add(z.im, w.im))


def sub(z: Parts, w: Parts) -> Parts:
    """Part by part."""
    return Parts(real.sub(z.re, w.re), real.sub(z.im, w.im))


def neg(z: Parts) -> Parts:
    """Part by part."""
    return Parts(real.neg(z.re), real.neg(z.im))


def conj(z: Parts) -> Parts:
    """The imaginary part with the other sign."""
    return Parts(z.re, real.neg(z.im))


@held
def mul(z: Parts, w: Parts) -> Parts:
    """Four products and two sums."""
    return Parts(
        real.sub(real.mul(z.re, w.re), real.mul(z.im, w.im)), real.add(real.mul(z.re, w.im), real.mul(z.im, w.re))
    )


@held
def square(z: Parts) -> Parts:
    """(x - y)(x + y) + 2 i x y."""
    return Parts(real.mul(real.sub(z.re, z.im), real.add(z.re, z.im)), doubled(real.mul(z.re, z.im)))


def _unit(z: Parts) -> Any:
    """The exponent of the larger part."""
    return exponent(jnp.maximum(lax.abs(z.re.hi), lax.abs(z.im.hi)))


def _scaled(z: Parts, n: Any) -> Parts:
    return Parts(scaled(z.re, n), scaled(z.im, n))


def _norm(z: Parts) -> DD:
    """The square of the modulus."""
    return real.add(real.square(z.re), real.square(z.im))


@held
def div(z: Parts, w: Parts) -> Parts:
    """z conj(w) / |w|**2, with a divisor that is scaled to 1, so that its square is in range."""
    unit = _unit(w)
    w = _scaled(w, -unit)
    product, norm = mul(z, conj(w)), _norm(w)
    return _scaled(Parts(real.div(product.re, norm), real.div(product.im, norm)), -unit)


@held
def cabs(z: Parts) -> DD:
    """The modulus, with squares in range."""
    unit = _unit(z)
    return scaled(real.sqrt(_norm(_scaled(z, -unit))), unit)


def csign(z: Parts) -> Parts:
    """z / |z|; 0 of 0."""
    z = _scaled(z, -_unit(z))
    size = real.sqrt(_norm(z))
    zero = size.hi == 0
    size = real.select(zero, ones(size), size)
    return Parts(real.div(z.re, size), real.div(z.im, size))


def integer_pow(z: Parts, y: int) -> Parts:
    """Repeated squares; of a negative power the quotient."""
    result, base, n = None, z, abs(y)
    while n:
        if n % 2:
            result = base if result is None else mul(result, base)
        n //= 2
        base = square(base) if n else base
    if result is None:
        return unity(z)
    return result if y > 0 else div(unity(z), result)


@held
def csqrt(z: Parts) -> Parts:
    """t = sqrt((|z| + |x|) / 2) and y / (2 t), in the half plane to the right."""
    larger = real.sqrt(halved(real.add(cabs(z), real.abs(z.re))))
    zero = larger.hi == 0
    other = real.div(z.im, doubled(real.select(zero, ones(larger), larger)))
    left = Parts(real.abs(other), real.select(z.im.hi < 0, real.neg(larger), larger))
    return choose(z.re.hi < 0, left, Parts(larger, other))


def crsqrt(z: Parts) -> Parts:
    """1 over the root."""
    return div(unity(z), csqrt(z))


def on_side_of(plain: Any, z: Parts) -> Parts:
    """The parts with the signs that float64 gives them: those of a cut."""

    def signed(x: DD, like: Any) -> DD:
        size = real.abs(x)
        return real.select(jnp.signbit(like), real.neg(size), size)

    return Parts(signed(z.re, lax.real(plain)), signed(z.im, lax.imag(plain)))
