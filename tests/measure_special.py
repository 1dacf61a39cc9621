"""Measures the errors of XLA's special functions on this machine, as shares of the bounds that their rules state.

Run by hand after an upgrade of jaxlib or on a new CPU: ``python tests/measure_special.py [count] [seed] [functions]``.
Prints, per function and format, the largest share of its bound that an error takes, in vector code and in a loop body,
over arguments of all sizes, next to roots and poles, and where distributions change. A factor of
`precjax/platforms/cpu.csv` times its share is what was measured (as long as it is not the smallest normal number that
decides); a star marks a share beyond 1. The judge is python-flint, in as many bits as a number needs.
"""

from __future__ import annotations

import sys

import flint
import jax
import jax.numpy as jnp
import numpy as np
from flint import arb
from jax import lax

import precjax
from precjax._judge import elementary  # noqa: F401 (fills the table)
from precjax._judge.table import RULES

MOST_BITS = 2**15


class Sampler:
    """Numbers of one format, as float64."""

    def __init__(self, dtype, count, seed):
        self.dtype, self.count, self.eps = dtype, count, float(jnp.finfo(dtype).eps)
        self.random = np.random.default_rng(seed)
        self.tiny = 4 * float(jnp.finfo(dtype).smallest_normal)

    def sizes(self, low, high):
        """Between two positive numbers, every binade alike."""
        return np.exp(self.random.uniform(np.log(low), np.log(high), self.count))

    def near(self, places):
        """Next to one of some places, at every distance."""
        away = self.random.choice([-1.0, 1.0], self.count) * self.sizes(self.eps, 1)
        return self.random.choice(places, self.count) + away

    def line(self, *places):
        """Arguments of a function of one number."""
        signs = self.random.choice([-1.0, 1.0], self.count)
        poles = -np.arange(60.0)
        parts = [signs * self.sizes(self.tiny, 1e30), self.near(places), self.near(poles), self.near(poles - 0.5)]
        parts += [self.random.uniform(-12, 12, self.count), -self.sizes(1, 1 / self.eps), self.random.uniform(0, 4, self.count)]
        return (np.concatenate(parts),)

    def gamma(self, largest):
        """Parameter and argument of a gamma distribution."""
        scattered = self.sizes(2.0**-20, largest), self.sizes(self.tiny, 100 * largest)
        small = self.sizes(0.1, 30), self.sizes(0.01, 100)
        a = self.sizes(2.0**-20, largest)
        middle = a, a * np.exp(self.random.normal(0, 1, self.count) / np.sqrt(1 + a))
        ones = self.near([1.0, 2.0]), self.near([1.0, 2.0])
        return tuple(np.abs(np.concatenate(parts)) for parts in zip(scattered, small, middle, ones, strict=True))

    def beta(self):
        """Parameters and argument of a beta distribution."""
        scattered = self.sizes(2.0**-20, 2.0**10), self.sizes(2.0**-20, 2.0**10)
        small = self.sizes(0.1, 30), self.sizes(0.1, 30)
        large = self.sizes(0.5, 2.0**10), self.sizes(0.5, 2.0**10)
        a, b = (np.concatenate(parts) for parts in zip(scattered, small, large, strict=True))
        middle = a / (a + b) + self.random.normal(0, 1, a.size) * np.sqrt(a * b / (a + b) ** 2 / (a + b + 1))
        anywhere = np.concatenate([self.sizes(1e-30, 1), self.random.uniform(0, 1, self.count), 1 - self.sizes(self.eps, 1)])
        return a, b, np.where((middle > 0) & (middle < 1), middle, anywhere)

    def zeta(self):
        """Arguments right of 1 and of 0."""
        x = np.concatenate([self.sizes(1e-6, 50), self.sizes(0.1, 10)])
        return 1 + x, np.concatenate([self.sizes(1e-4, 1e6), self.sizes(0.01, 100)])

    def polygamma(self):
        """Orders whose factorial is finite, and positive numbers."""
        most = 33 if self.dtype == np.float32 else 160
        m = np.concatenate([self.random.integers(0, 6, self.count), self.random.integers(0, most, self.count)])
        return m.astype(float), np.concatenate([self.sizes(1e-3, 1e4), self.sizes(0.01, 100)])


ARGUMENTS = {
    "lgamma": lambda s: s.line(1.0, 2.0, 0.5),
    "digamma": lambda s: s.line(1.4616321449683623, 0.5),
    "bessel_i0e": lambda s: s.line(8.0, -8.0),
    "bessel_i1e": lambda s: s.line(8.0, -8.0),
    "igamma": lambda s: s.gamma(2.0**18),
    "igammac": lambda s: s.gamma(2.0**18),
    "igamma_grad_a": lambda s: s.gamma(2.0**10),
    "regularized_incomplete_beta": Sampler.beta,
    "zeta": Sampler.zeta,
    "polygamma": Sampler.polygamma,
}


def exactly(name, arguments):
    """(nearest float64, what it lacks, whether that is known) of each result."""
    rows = []
    for numbers in zip(*arguments, strict=True):
        bits = 128
        while True:
            with flint.ctx.workprec(bits):
                result = arb(RULES[name](*(np.asarray([v]) for v in numbers))[0])
                head = float(result.mid()) if result.is_finite() else np.nan
                rest = float((result - head).mid()) if result.is_finite() else np.nan
                good = not result.is_finite() or result.rel_accuracy_bits() > 80
            if good or bits >= MOST_BITS:
                break
            bits *= 4
        rows.append((head, rest, good and result.is_finite()))
    return np.array(rows, dtype=float).T


def in_loop(function, arguments):
    """The function in the body of a scan, where other code is generated."""
    return lax.scan(lambda carry, v: (carry, function(*v)), 0, arguments)[1]


def measure(name, dtype, count, seed):
    """Prints one line."""
    arguments = tuple(jnp.asarray(x.astype(dtype)) for x in ARGUMENTS[name](Sampler(dtype, count, seed)))
    function = lax.betainc if name == "regularized_incomplete_beta" else getattr(lax, name)
    value, error = (np.asarray(x, np.float64) for x in jax.jit(precjax.track(function))(*arguments))
    looped = np.asarray(jax.jit(in_loop, static_argnums=0)(function, arguments), np.float64)
    head, rest, known = exactly(name, [np.asarray(x, np.float64) for x in arguments])
    with np.errstate(all="ignore"):
        usable = (known == 1) & np.isfinite(error)
        shares = [np.where(usable, np.abs(v - head - rest) / error, 0) for v in (value, looped)]
        large = usable & (np.abs(head) > 64 * float(jnp.finfo(dtype).smallest_normal))
        typical = np.median(np.where(large, error / np.abs(head), np.inf)) / float(jnp.finfo(dtype).eps)
    place = int(np.argmax(np.maximum(*shares)))
    at = [float(x[place]) for x in arguments]
    star = "*" if np.max(shares) > 1 else " "
    print(f"{name:28} {np.dtype(dtype).name:8} {shares[0].max():7.3f} {shares[1].max():7.3f} {star} finite {usable.mean():.2f} "
          f"relative bound / eps {typical:9.3g}  at {at}", flush=True)  # fmt: skip


def main(count, seed, names):
    jax.config.update("jax_enable_x64", True)
    print(f"jax {jax.__version__}\n{'function':28} {'format':8} {'vector':>7} {'loop':>7}")
    for name in names:
        for dtype in (np.float32, np.float64):
            measure(name, dtype, count, seed)


if __name__ == "__main__":
    count, seed = (int(sys.argv[i]) if len(sys.argv) > i else default for i, default in ((1, 2000), (2, 0)))
    main(count, seed, sys.argv[3].split(",") if len(sys.argv) > 3 else list(ARGUMENTS))
