"""Measures the errors of XLA's elementary functions on this machine, in units of the table's own scale.

Run by hand after an upgrade of jaxlib or on a new CPU: ``python tests/measure_ulps.py [count]``. Prints, per function and format, the
largest error found, in vector code and in a loop body, beside the factor of `precjax/platforms/cpu.csv`; a star marks a
factor that is too small. ``--write`` writes the table of a platform that has none, ``precjax/platforms/NAME.csv`` (and a complex one
without rows): every factor 1.5 times the largest error found, with the scales of the CPU. The platform is then no longer refused: look at
the figures first, and at what `precjax/platforms/products.csv` says of it. float32 and the 16-bit formats are judged against float64, float64 against the 80-bit long double.
"""

from __future__ import annotations

import argparse
import csv
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax import lax

from precjax import platforms
from precjax._rounding import format_of

FUNCTIONS = {
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log2": np.log2, "log1p": np.log1p,
    "logistic": lambda x: 1 / (1 + np.exp(-x)), "tanh": np.tanh, "sinh": np.sinh, "cosh": np.cosh, "asinh": np.arcsinh,
    "acosh": np.arccosh, "atanh": np.arctanh, "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos,
    "atan": np.arctan, "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x), "cbrt": np.cbrt,
    "erf": scipy.special.erf, "erfc": scipy.special.erfc, "erf_inv": scipy.special.erfinv,
    "div": np.divide, "pow": np.power, "atan2": np.arctan2,
}  # fmt: skip
OF_TWO = ("div", "pow", "atan2")
DOUBLE_ONLY = ("erf", "erfc", "erf_inv")  # no long double reference


def samples(dtype, count, rng):
    """Bit patterns of every binade, and numbers of moderate size."""
    bits = np.dtype(f"uint{8 * np.dtype(dtype).itemsize}")
    patterns = rng.integers(0, np.iinfo(bits).max, count, dtype=bits, endpoint=True).view(dtype)
    near = [
        rng.uniform(-1, 1, count),
        rng.uniform(-12, 12, count),
        rng.uniform(-100, 100, count),
        1 + rng.normal(0, 0.1, count),
    ]
    return np.concatenate([patterns, *(x.astype(dtype) for x in near)])


def scale_of(kind, x, y):
    """What the factor of the table multiplies, besides the unit roundoff."""
    with np.errstate(all="ignore"):
        return {
            "value": np.abs(y),
            "near_largest": np.abs(y),
            "reciprocal": np.abs(y),
            "value_x": np.abs(y) * (1 + np.abs(x)),
            "upper_tail": np.abs(y) * (1 + np.maximum(x, 0) ** 2),
            "value_log": np.abs(y) * (1 + np.abs(np.log(np.abs(x)))),
            "conditioned": np.abs(y) + np.abs(x) * np.sqrt(np.pi) / 2 * np.exp(np.minimum(y * y, 700)),
        }[kind]


def in_loop(function, *operands):
    """The function in the body of a scan, where other code is generated."""
    return lax.scan(lambda carry, row: (carry, function(*row)), 0, operands)[1]


def worst(name, dtype, operands, got, accuracy):
    """The largest error in units of u scale among normal results of normal operands, and where."""
    wide, x = np.longdouble if dtype == np.float64 else np.float64, operands[0]
    with np.errstate(all="ignore"):
        exact = FUNCTIONS[name](*(v.astype(wide) for v in operands))
        fmt = format_of(dtype)
        size = np.abs(exact)
        normal = (
            np.isfinite(exact) & np.isfinite(got.astype(wide)) & (size > 4 * fmt.smallest_normal) & (size < fmt.largest)
        )
        for v in operands:
            normal &= (np.abs(v) >= fmt.smallest_normal) | (v == 0)
        error = np.abs(got.astype(wide) - exact) / (scale_of(accuracy.scale, x.astype(wide), exact) * fmt.unit_roundoff)
    error = np.where(normal, error, 0)
    place = int(np.argmax(error))
    return float(error[place]), ", ".join(str(v[place]) for v in operands)


def write(measured):
    """The tables of the platform at hand, unless it has some."""
    path = pathlib.Path(platforms.__file__).with_name(f"{jax.default_backend()}.csv")
    formats = ("float32", "float64", "bfloat16", "float16")
    source = f"measured on {jax.devices()[0].device_kind} with JAX {jax.__version__}; times 1.5"
    with path.open("x") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["primitive", "before", "scale", *formats, "source"])
        for name, (scale, found) in measured.items():
            rows.writerow([name, "", scale, *(f"{1.5 * found[f]:.3g}" if f in found else "" for f in formats), source])
    path.with_name(f"{path.stem}_complex.csv").write_text("primitive,before,scale,complex64,complex128,source\n")


def main(count, writes):
    jax.config.update("jax_enable_x64", True)
    rng = np.random.default_rng(0)
    table, measured = platforms.platform("cpu"), {}
    print(f"{'function':10} {'format':9} {'factor':>7} {'vector':>8} {'loop':>8}   at")
    for dtype in (np.float32, np.float64, jnp.bfloat16, np.float16):
        x = samples(dtype, count, rng)
        for name in FUNCTIONS:
            if dtype == np.float64 and name in DOUBLE_ONLY:
                continue
            accuracy = table.accuracy(name, dtype)
            function = getattr(lax, name, None) or getattr(jnp, name)  # log2 is a primitive since 0.12
            operands = (x, rng.permutation(x)) if name in OF_TWO else (x,)
            vector, at = worst(name, dtype, operands, np.asarray(jax.jit(function)(*operands)), accuracy)
            few = [v[:: max(1, len(x) // 50000)] for v in operands]
            looped = jax.jit(in_loop, static_argnums=0)(function, *few)
            loop, at_loop = worst(name, dtype, few, np.asarray(looped), accuracy)
            measured.setdefault(name, (accuracy.scale, {}))[1][np.dtype(dtype).name] = max(vector, loop, 0.7)
            bad = "*" if max(vector, loop) > accuracy.factor else " "
            where = at if vector >= loop else at_loop
            print(
                f"{name:10} {np.dtype(dtype).name:9} {accuracy.factor:7} {vector:8.3f} {loop:8.3f} {bad} {where}",
                flush=True,
            )
    if writes:
        write(measured)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("count", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--write", action="store_true", dest="writes")
    main(**vars(parser.parse_args()))
