"""Measures the errors of XLA's functions of complex numbers on this machine, against python-flint.

Run by hand, as `measure_ulps.py`: ``python tests/measure_complex.py [count]``. Prints, per function and format, the largest
|value - exact| found, in units of u times the scale of the row, beside the factor of `precjax/platforms/cpu_complex.csv`; a star marks a factor that is
too small. Points are of every binade, of moderate size, next to the axes, and next to roots, poles and branch points.
"""

from __future__ import annotations

import sys

import flint
import jax
import numpy as np
from flint import acb, arb
from jax import lax

from precjax import platforms
from precjax._rounding import format_of

FUNCTIONS = {
    "abs": abs, "sign": lambda z: z.sgn(), "square": lambda z: z * z, "exp": acb.exp,
    "exp2": lambda z: (z * arb(2).log()).exp(), "expm1": acb.expm1, "log": acb.log, "log2": lambda z: z.log() / arb(2).log(),
    "log1p": acb.log1p, "sqrt": acb.sqrt, "rsqrt": acb.rsqrt, "sin": acb.sin, "cos": acb.cos, "tan": acb.tan, "sinh": acb.sinh,
    "cosh": acb.cosh, "tanh": acb.tanh, "asin": acb.asin, "acos": acb.acos, "atan": acb.atan, "asinh": acb.asinh,
    "acosh": acb.acosh, "atanh": acb.atanh, "logistic": lambda z: 1 / (1 + (-z).exp()),
}  # fmt: skip
BINARY = {"mul": acb.__mul__, "div": acb.__truediv__, "pow": lambda z, w: (w * z.log()).exp()}
SPECIAL = (0, 1, -1, 1j, -1j, np.pi / 2, np.pi, -np.pi, 1j * np.pi / 2, 1j * np.pi, 2, 0.5, 10, 10j, 80, -80, 80j)


def samples(dtype, count, rng):
    """Complex numbers of the dtype."""
    real = np.float32 if dtype == np.complex64 else np.float64
    edge = 0.45 * np.log2(float(format_of(dtype).largest))

    def turned(sizes):
        return sizes * np.exp(2j * np.pi * rng.uniform(size=sizes.shape))

    near = np.where(rng.uniform(size=count) < 0.5, rng.choice(SPECIAL, count), np.pi / 2 * rng.integers(-60, 60, count))
    near = near * rng.choice([1, 1j], count) + turned(2.0 ** rng.uniform(-1.2 * format_of(dtype).digits, 1, count))
    parts = 2.0 ** rng.uniform(-edge, edge, (2, count)) * rng.choice([-1, 1], (2, count))
    axes = turned(2.0 ** rng.uniform(-10, 6, count))
    thin = 2.0 ** rng.uniform(-40, 0, count)
    groups = [
        near, parts[0] + 1j * parts[1], turned(2.0 ** rng.uniform(-6, 7, count)), axes.real + 1j * axes.imag * thin,
        axes.real * thin + 1j * axes.imag, turned(1 + thin * rng.choice([-1, 1], count)),
    ]  # fmt: skip
    z = np.concatenate(groups)
    return z.real.astype(real) + 1j * z.imag.astype(real)


def _scale(kind, z, y):
    """What the factor of the table multiplies, besides the unit roundoff."""
    size = abs(y)
    return {
        "value": lambda: size,
        "branch": lambda: size,
        "value_x": lambda: size * (1 + abs(z[0])),
        "growth": lambda: abs(z[0].real).exp() * (1 + abs(z[0].real)),
        "conditioned": lambda: size + abs(z[0]) * z[0].real.exp(),
        "tangent": lambda: 1 + size * size,
        "pole": lambda: size + size * size,
        "logarithmic": lambda: size * (1 + abs(z[-1]) * (1 + abs(z[0].log()))),
    }[kind]()


def _lifted(z):
    return acb(arb(float(z.real)), arb(float(z.imag)))


def in_loop(function, *arguments):
    """The function in the body of a scan, where other code is generated."""
    return lax.scan(lambda carry, z: (carry, function(*z)), 0, arguments)[1]


def worst(function, dtype, arguments, got, kind):
    """The largest error in units of u scale, and where, among results whose size is normal."""
    fmt, place, most = format_of(dtype), None, 0.0
    for *z, y in zip(*arguments, got, strict=True):
        if not np.isfinite(y) or any(0 < part < fmt.smallest_normal for x in z for part in (abs(x.real), abs(x.imag))):
            continue
        lifted = list(map(_lifted, z))
        exact = function(*lifted)
        size = float(abs(exact)) if exact.is_finite() else np.inf
        if 8 * fmt.smallest_normal / fmt.unit_roundoff < size < fmt.largest / 8:
            if kind == "logarithmic" and abs(z[1]) * float(abs(lifted[0].log())) > 0.97 * np.log(fmt.largest):
                continue  # where a factor may overflow or underflow
            scale = _scale(kind, lifted, exact)
            if scale * fmt.unit_roundoff > 0.02 * abs(exact) and kind in ("tangent", "pole", "logarithmic"):
                continue  # the rule gives inf, or next to it, where so little is known
            error = float(abs(_lifted(y) - exact) / scale) / fmt.unit_roundoff
            most, place = max((most, place), (error, z), key=lambda pair: pair[0])
    return most, place


def main(count, names=()):
    jax.config.update("jax_enable_x64", True)
    table = platforms.platform("cpu")
    flint.ctx.prec = 2000  # inverse functions cancel at tiny and at huge arguments
    for dtype in (np.complex64, np.complex128):
        rng = np.random.default_rng(0)
        for name, function in {**FUNCTIONS, **BINARY}.items():
            if (names and name not in names) or not hasattr(lax, name):
                continue
            arguments = [samples(dtype, count, rng) for _ in range(2 if name in BINARY else 1)]
            if name == "div":
                arguments[1] = np.roll(arguments[1], count)
            accuracy = table.accuracy(name, dtype) or platforms.Accuracy(8.0, "value")
            call, few = getattr(lax, name), [z[::3] for z in arguments]
            found = [
                worst(function, dtype, arguments, np.asarray(jax.jit(call)(*arguments)), accuracy.scale),
                worst(function, dtype, few, np.asarray(jax.jit(in_loop, static_argnums=0)(call, *few)), accuracy.scale),
            ]
            most, place = max(found, key=lambda pair: pair[0])
            print(
                f"{name:9} {np.dtype(dtype).name:10} {accuracy.factor:7} {most:10.4g} {'*' if most > accuracy.factor else ' '} {place}",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000, sys.argv[2:])
