"""Complex numbers whose parts are pairs: a pair of complex arrays, whose real and imaginary parts are pairs each.

Products and quotients err by some 20 and 60 units of 2**-106 of their modulus, not of each part, as those of any
complex arithmetic. The elementary functions take their parts from real ones; where a part is small because something
cancels, it is as good as the modulus needs (logarithms next to 1, sines and inverse functions next to 0). Where float64
gives an infinity or a NaN in a part, so does this, and on a cut it goes to the same side.

References:
    Kahan, Branch cuts for complex elementary functions, in The State of the Art in Numerical Analysis (1987).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from precjax.doubledouble import _arithmetic as real
from precjax.doubledouble._constants import ln2, pair
from precjax.doubledouble._exponential import asinh, constant, cosh, exp, expm1, log, log1p, sinh
from precjax.doubledouble._exponential import exp2 as real_exp2
from precjax.doubledouble._pairs import DD, exponent, from_float, scaled
from precjax.doubledouble._trigonometric import atan2, cos, sin


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
    return joined(
        Parts(*(_where(sound, x, from_float(p)) for x, p in zip(z, (lax.real(plain), lax.imag(plain)), strict=True)))
    )


def _where(condition: Any, x: DD, y: DD) -> DD:
    return DD(*(jnp.where(condition, a, b) for a, b in zip(x, y, strict=True)))


def _choose(condition: Any, z: Parts, w: Parts) -> Parts:
    return Parts(*(_where(condition, x, y) for x, y in zip(z, w, strict=True)))


def _half(x: DD) -> DD:
    return DD(0.5 * x.hi, 0.5 * x.lo)


def _double(x: DD) -> DD:
    return DD(2.0 * x.hi, 2.0 * x.lo)


def _one(x: DD) -> DD:
    return from_float(jnp.ones_like(x.hi))


def _unity(z: Parts) -> Parts:
    return Parts(_one(z.re), from_float(jnp.zeros_like(z.re.hi)))


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
    return Parts(real.mul(real.sub(z.re, z.im), real.add(z.re, z.im)), _double(real.mul(z.re, z.im)))


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
    size = _where(zero, _one(size), size)
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
        return _unity(z)
    return result if y > 0 else div(_unity(z), result)


@held
def csqrt(z: Parts) -> Parts:
    """t = sqrt((|z| + |x|) / 2) and y / (2 t), in the half plane to the right."""
    larger = real.sqrt(_half(real.add(cabs(z), real.abs(z.re))))
    zero = larger.hi == 0
    other = real.div(z.im, _double(_where(zero, _one(larger), larger)))
    left = Parts(real.abs(other), _where(z.im.hi < 0, real.neg(larger), larger))
    return _choose(z.re.hi < 0, left, Parts(larger, other))


def crsqrt(z: Parts) -> Parts:
    """1 over the root."""
    return div(_unity(z), csqrt(z))


def _polar(size: DD, angle: DD) -> Parts:
    return Parts(real.mul(size, cos(angle)), real.mul(size, sin(angle)))


@held
def cexp(z: Parts) -> Parts:
    """exp(x) (cos y + i sin y)."""
    return _polar(exp(z.re), z.im)


def cexp2(z: Parts) -> Parts:
    """2**x (cos(y log 2) + i sin(y log 2))."""
    return _polar(real_exp2(z.re), real.mul(constant(pair(ln2()), z.im), z.im))


@held
def cexpm1(z: Parts) -> Parts:
    """expm1(x) cos y - 2 sin(y / 2)**2, and the imaginary part of the exponential."""
    half = real.square(sin(_half(z.im)))
    return Parts(real.sub(real.mul(expm1(z.re), cos(z.im)), _double(half)), real.mul(exp(z.re), sin(z.im)))


@held
def clog(z: Parts) -> Parts:
    """log|z| and the angle; next to 1, log|z| = log1p((|x| - 1)(|x| + 1) + y**2) / 2, the larger part as x."""
    size = cabs(z)
    swap = real.gt(real.abs(z.im), real.abs(z.re))
    x, y = (_where(swap, u, v) for u, v in ((z.im, z.re), (z.re, z.im)))
    x, one = real.abs(x), _one(x)
    near = (size.hi > 0.5) & (size.hi < 2)
    beyond = real.add(real.mul(real.sub(x, one), real.add(x, one)), real.square(y))
    close = _half(log1p(_where(near, beyond, from_float(jnp.zeros_like(size.hi)))))
    return Parts(_where(near, close, log(size)), atan2(z.im, z.re))


@held
def clog1p(z: Parts) -> Parts:
    """log1p(2 x + x**2 + y**2) / 2 while that is near 0, and the logarithm of 1 + z beyond."""
    moved = Parts(real.add(z.re, _one(z.re)), z.im)
    far = clog(moved)
    beyond = real.add(real.mul(z.re, real.add(z.re, from_float(jnp.full_like(z.re.hi, 2.0)))), real.square(z.im))
    near = lax.abs(beyond.hi) < 0.5
    close = _half(log1p(_where(near, beyond, from_float(jnp.zeros_like(beyond.hi)))))
    return Parts(_where(near, close, far.re), far.im)


def cpow(z: Parts, w: Parts) -> Parts:
    """exp(w log z)."""
    return cexp(mul(w, clog(z)))


@held
def csin(z: Parts) -> Parts:
    """sin x cosh y + i cos x sinh y."""
    return Parts(real.mul(sin(z.re), cosh(z.im)), real.mul(cos(z.re), sinh(z.im)))


@held
def ccos(z: Parts) -> Parts:
    """cos x cosh y - i sin x sinh y."""
    return Parts(real.mul(cos(z.re), cosh(z.im)), real.neg(real.mul(sin(z.re), sinh(z.im))))


@held
def csinh(z: Parts) -> Parts:
    """sinh x cos y + i cosh x sin y."""
    return Parts(real.mul(sinh(z.re), cos(z.im)), real.mul(cosh(z.re), sin(z.im)))


@held
def ccosh(z: Parts) -> Parts:
    """cosh x cos y + i sinh x sin y."""
    return Parts(real.mul(cosh(z.re), cos(z.im)), real.mul(sinh(z.re), sin(z.im)))


_FLAT = 40.0  # where tanh x is 1 to 2**-115


def ctanh(z: Parts) -> Parts:
    """sinh over cosh, whose exponentials stay in range."""
    x = _where(lax.abs(z.re.hi) < _FLAT, z.re, from_float(jnp.clip(z.re.hi, -_FLAT, _FLAT)))
    near = div(csinh(Parts(x, z.im)), ccosh(Parts(x, z.im)))
    # Beyond, the imaginary part is 4 sin y cos y exp(-2 |x|).
    tail = exp(_double(real.neg(real.abs(z.re))))
    far = real.mul(_double(_double(tail)), real.mul(sin(z.im), cos(z.im)))
    return Parts(near.re, _where(lax.abs(z.re.hi) < _FLAT, near.im, far))


def _turned(z: Parts) -> Parts:
    """i z."""
    return Parts(real.neg(z.im), z.re)


def _turned_back(z: Parts) -> Parts:
    """-i z."""
    return Parts(z.im, real.neg(z.re))


def ctan(z: Parts) -> Parts:
    """-i tanh(i z)."""
    return _turned_back(ctanh(_turned(z)))


def clogistic(z: Parts) -> Parts:
    """(1 + tanh(z / 2)) / 2 right of 0, exp(z) / (1 + exp(z)) left of it."""
    left = cexp(Parts(_where(z.re.hi < 0, z.re, real.neg(z.re)), _where(z.re.hi < 0, z.im, real.neg(z.im))))
    one = _unity(z)
    return _choose(z.re.hi < 0, div(left, add(one, left)), div(one, add(one, left)))


def _roots(z: Parts) -> tuple[Parts, Parts]:
    """sqrt(1 - z) and sqrt(1 + z)."""
    one = _unity(z)
    return csqrt(sub(one, z)), csqrt(add(one, z))


@held
def casin(z: Parts) -> Parts:
    """Kahan's formula."""
    below, above = _roots(z)
    return Parts(atan2(z.re, mul(below, above).re), asinh(mul(conj(below), above).im))


@held
def cacos(z: Parts) -> Parts:
    """Kahan's formula."""
    below, above = _roots(z)
    return Parts(_double(atan2(below.re, above.re)), asinh(mul(conj(above), below).im))


def casinh(z: Parts) -> Parts:
    """-i asin(i z)."""
    return _turned_back(casin(_turned(z)))


def cacosh(z: Parts) -> Parts:
    """Kahan's formula."""
    one = _unity(z)
    below, above = csqrt(sub(z, one)), csqrt(add(z, one))
    return Parts(asinh(mul(conj(below), above).re), _double(atan2(below.im, above.re)))


def catanh(z: Parts) -> Parts:
    """log1p(4 x / ((1 - x)**2 + y**2)) / 4 and half the angle of (1 - x)(1 + x) - y**2 + 2 i y."""
    one, x = _one(z.re), real.abs(z.re)
    below = real.sub(one, x)
    distance = real.add(real.square(below), real.square(z.im))
    growth = log1p(real.div(_double(_double(x)), _where(distance.hi == 0, one, distance)))
    quarter = _half(_half(growth))
    angle = atan2(_double(z.im), real.sub(real.mul(below, real.add(one, x)), real.square(z.im)))
    return Parts(_where(z.re.hi < 0, real.neg(quarter), quarter), _half(angle))


def catan(z: Parts) -> Parts:
    """-i atanh(i z)."""
    return _turned_back(catanh(_turned(z)))


def on_side_of(plain: Any, z: Parts) -> Parts:
    """The parts with the signs that float64 gives them: those of a cut."""

    def signed(x: DD, like: Any) -> DD:
        size = real.abs(x)
        return _where(jnp.signbit(like), real.neg(size), size)

    return Parts(signed(z.re, lax.real(plain)), signed(z.im, lax.imag(plain)))


ELEMENTWISE: dict[str, Callable[..., Parts]] = {
    "add": add, "add_any": add, "sub": sub, "mul": mul, "div": div, "neg": neg, "conj": conj, "square": square,
    "sign": csign, "exp": cexp, "exp2": cexp2, "expm1": cexpm1, "pow": cpow, "sin": csin, "cos": ccos, "tan": ctan,
    "sinh": csinh, "cosh": ccosh, "tanh": ctanh, "logistic": clogistic,
}  # fmt: skip
# Functions with cuts along an axis.
MANY_VALUED: dict[str, Callable[..., Parts]] = {
    "log": clog, "log1p": clog1p, "sqrt": csqrt, "rsqrt": crsqrt, "asin": casin, "acos": cacos, "atan": catan,
    "asinh": casinh, "acosh": cacosh, "atanh": catanh,
}  # fmt: skip
