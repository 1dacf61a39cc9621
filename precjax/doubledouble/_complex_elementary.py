"""Elementary functions of complex pairs.

They take their parts from real functions; where a part is small because something cancels, it is as good as the modulus
needs (logarithms next to 1, sines and inverse functions next to 0).

References:
    Kahan, Branch cuts for complex elementary functions, in The State of the Art in Numerical Analysis (1987).
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from precjax.doubledouble import _arithmetic as real
from precjax.doubledouble._complex import (
    Parts,
    add,
    cabs,
    choose,
    conj,
    crsqrt,
    csign,
    csqrt,
    div,
    doubled,
    halved,
    held,
    mul,
    neg,
    ones,
    square,
    sub,
    unity,
)
from precjax.doubledouble._constants import ln2, pair
from precjax.doubledouble._exponential import asinh, constant, cosh, exp, expm1, log, log1p, sinh
from precjax.doubledouble._exponential import exp2 as real_exp2
from precjax.doubledouble._pairs import DD, from_float
from precjax.doubledouble._trigonometric import atan2, cos, sin


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
    half = real.square(sin(halved(z.im)))
    return Parts(real.sub(real.mul(expm1(z.re), cos(z.im)), doubled(half)), real.mul(exp(z.re), sin(z.im)))


@held
def clog(z: Parts) -> Parts:
    """log|z| and the angle; next to 1, log|z| = log1p((|x| - 1)(|x| + 1) + y**2) / 2, the larger part as x."""
    size = cabs(z)
    swap = real.gt(real.abs(z.im), real.abs(z.re))
    x, y = (real.select(swap, u, v) for u, v in ((z.im, z.re), (z.re, z.im)))
    x, one = real.abs(x), ones(x)
    near = (size.hi > 0.5) & (size.hi < 2)
    beyond = real.add(real.mul(real.sub(x, one), real.add(x, one)), real.square(y))
    close = halved(log1p(real.select(near, beyond, from_float(jnp.zeros_like(size.hi)))))
    return Parts(real.select(near, close, log(size)), atan2(z.im, z.re))


@held
def clog1p(z: Parts) -> Parts:
    """log1p(2 x + x**2 + y**2) / 2 while that is near 0, and the logarithm of 1 + z beyond."""
    moved = Parts(real.add(z.re, ones(z.re)), z.im)
    far = clog(moved)
    beyond = real.add(real.mul(z.re, real.add(z.re, from_float(jnp.full_like(z.re.hi, 2.0)))), real.square(z.im))
    near = lax.abs(beyond.hi) < 0.5
    close = halved(log1p(real.select(near, beyond, from_float(jnp.zeros_like(beyond.hi)))))
    return Parts(real.select(near, close, far.re), far.im)


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
    x = real.select(lax.abs(z.re.hi) < _FLAT, z.re, from_float(jnp.clip(z.re.hi, -_FLAT, _FLAT)))
    near = div(csinh(Parts(x, z.im)), ccosh(Parts(x, z.im)))
    # Beyond, the imaginary part is 4 sin y cos y exp(-2 |x|).
    tail = exp(doubled(real.neg(real.abs(z.re))))
    far = real.mul(doubled(doubled(tail)), real.mul(sin(z.im), cos(z.im)))
    return Parts(near.re, real.select(lax.abs(z.re.hi) < _FLAT, near.im, far))


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
    left = cexp(Parts(real.select(z.re.hi < 0, z.re, real.neg(z.re)), real.select(z.re.hi < 0, z.im, real.neg(z.im))))
    one = unity(z)
    return choose(z.re.hi < 0, div(left, add(one, left)), div(one, add(one, left)))


def _roots(z: Parts) -> tuple[Parts, Parts]:
    """sqrt(1 - z) and sqrt(1 + z)."""
    one = unity(z)
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
    return Parts(doubled(atan2(below.re, above.re)), asinh(mul(conj(above), below).im))


def casinh(z: Parts) -> Parts:
    """-i asin(i z)."""
    return _turned_back(casin(_turned(z)))


def cacosh(z: Parts) -> Parts:
    """Kahan's formula."""
    one = unity(z)
    below, above = csqrt(sub(z, one)), csqrt(add(z, one))
    return Parts(asinh(mul(conj(below), above).re), doubled(atan2(below.im, above.re)))


def catanh(z: Parts) -> Parts:
    """log1p(4 x / ((1 - x)**2 + y**2)) / 4 and half the angle of (1 - x)(1 + x) - y**2 + 2 i y."""
    one, x = ones(z.re), real.abs(z.re)
    below = real.sub(one, x)
    distance = real.add(real.square(below), real.square(z.im))
    growth = log1p(real.div(doubled(doubled(x)), real.select(distance.hi == 0, one, distance)))
    quarter = halved(halved(growth))
    angle = atan2(doubled(z.im), real.sub(real.mul(below, real.add(one, x)), real.square(z.im)))
    return Parts(real.select(z.re.hi < 0, real.neg(quarter), quarter), halved(angle))


def catan(z: Parts) -> Parts:
    """-i atanh(i z)."""
    return _turned_back(catanh(_turned(z)))


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
