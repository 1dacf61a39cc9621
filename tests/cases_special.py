"""Rows of special functions: those around Gamma, Bessel functions, and the distributions made of them."""

import jax.numpy as jnp
import numpy as np
from cases import Case, Drawn
from cases_elementwise import one
from jax import lax

M = 20

# name: (low, high, edges); left of 0 lie the poles
ONE = {
    "lgamma": (0.0, np.inf, (1.0, 2.0, 0.5)),
    "digamma": (0.0, np.inf, (1.4616321, 0.5, 1.0)),
    "bessel_i0e": (-np.inf, np.inf, (8.0,)),
    "bessel_i1e": (-np.inf, np.inf, (8.0, 1.545, 2.0)),
}


def gamma(draw, high=np.inf):
    """Parameters and arguments of gamma distributions; every third next to the mean."""
    a = draw.numbers(M, low=0.02, high=100.0, edges=(1.0, 2.0)) if draw.hardness else draw.numbers(M, low=0.02, scale=3.0)
    x = draw.numbers(M, low=0.0, edges=(1.0,), scale=3.0, wide=False)
    x = Drawn(np.minimum(x.value, x.value.dtype.type(min(high, 6e4))), 0.0, high)
    x.value[::3] = (a.value * np.float32(1.25)).astype(x.value.dtype)[::3]
    return a, x


def large(draw):
    """Exact parameters up to hundreds of thousands, and arguments next to the mean or five times as far."""
    a = np.exp(draw.random.uniform(np.log(300), np.log(3e5), 3)).astype(draw.dtype)
    x = a * (1 + draw.random.normal(0, 1, 3) / np.sqrt(a)) * np.array([5, 1, 1])
    return a, x.astype(draw.dtype)


def beta(draw):
    positive = dict(low=0.02, edges=(1.0, 2.0))
    a, b = (draw.numbers(M, high=100.0, **positive) if draw.hardness else draw.numbers(M, scale=2.0, **positive) for _ in "ab")
    return a, b, draw.numbers(M, low=0.0, high=1.0, edges=(0.5,))


def squares(draw):
    """Gamma distributions at 0 and next to it."""
    a, x = gamma(draw, 20.0)
    x.value[1::4] = np.asarray(draw.random.choice([0.0, 1e-3, 1e-2], len(x.value[1::4])), draw.dtype)
    return a, Drawn(x.value, -np.inf, np.inf)


def zeta(draw):
    return draw.numbers(M, low=1.0, high=6.0, edges=(2.0,)), draw.numbers(M, low=0.0, edges=(1.0,), scale=3.0, wide=False)


def polygamma(draw):
    order = draw.random.integers(0, 5, M).astype(draw.dtype)
    return order, draw.numbers(M, low=0.0, edges=(1.4616321, 1.0), scale=3.0, wide=False)


MORE = {
    "igamma": (lax.igamma, gamma),
    "igammac": (lax.igammac, gamma),
    "igamma_grad_a": (lax.igamma_grad_a, lambda draw: gamma(draw, 300.0)),
    "betainc": (lax.betainc, beta),
    "zeta": (lax.zeta, zeta),
    "polygamma": (lax.polygamma, polygamma),
}


def functions_of_one():
    for name, (low, high, edges) in ONE.items():
        yield Case(name, getattr(lax, name), one(low, high, edges), scalar=True)
    left = one(-np.inf, 0.0, (-0.5, -1.0, -2.457024, -30.5, -7.0), scale=4.0)
    for name in ("lgamma", "digamma"):
        yield Case(f"{name} left of 0", getattr(lax, name), left, scalar=True, unbounded=True)


def clipped(draw):
    """Beta distributions at 0, at 1, and next to them; numbers outside of the domain are moved into it."""
    a, b, x = beta(draw)
    x.value[::4] = np.asarray(draw.random.choice([-1.0, 0.0, 1e-6, 1e-3, 0.999, 1.0, 2.0], len(x.value[::4])), draw.dtype)
    return a, b, Drawn(x.value, -np.inf, np.inf)


def functions_of_more():
    for name, (f, inputs) in MORE.items():
        yield Case(name, f, inputs)
    yield Case("betainc of what is clipped", lambda a, b, x: (lax.betainc(a, b, jnp.clip(x, 0, 1)), lax.betainc(b, a, 1 - jnp.clip(x, 0, 1))), clipped)
    yield Case("igamma of squares", lambda a, x: (lax.igamma(a, x * x), lax.igammac(a, x * x)), squares)
    yield Case("igamma of large numbers", lambda a, x: (lax.igamma(a, x), lax.igammac(a, x)), large, ("float32", "float64"), rare=("float32", "float64"))


def counts(draw):
    """Whole numbers, some so large that sums are rounded."""
    n = draw.integers(M, low=0, high=9)
    if draw.hardness:
        n.value[::3] = draw.random.choice([2**24 - 1, 2**24, 2**24 + 1, 2**11, 2**11 - 1, 255, 2**30, -(2**24)], len(n.value[::3]))
    return (n,)


def whole():
    """Sums that stay exact, and decisions on them."""
    yield Case("sum of counts", lambda n: jnp.floor(n.astype(jnp.float32) + 1) - (n - 3), counts, ("float32",), unbounded=True)
    yield Case("sum of constants", lambda n: (n.astype(jnp.float16) + 2.0**11) + 1.0, counts, ("float32",), unbounded=True)
    yield Case("upper half of a product", lambda n: lax.mulhi(n * 2**20, n), counts, ("float32",), unbounded=True)
    yield Case("order of a derivative", lambda n: n.astype(jnp.float32) + 1.0 == 1.0, counts, ("float32",), unbounded=True)


CASES = [*functions_of_one(), *functions_of_more(), *whole()]
