"""Programs of the FPBench suite (fpbench.org), written as functions of arrays, with the ranges that FPBench gives their inputs.

Damouche et al., Toward a standard benchmark format and suite for floating-point analysis, NSV 2016.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax


class Program(NamedTuple):
    """A function and the range of each of its arguments."""

    f: Callable[..., Any]
    ranges: tuple[tuple[float, float], ...]


def doppler(u, v, t):
    t1 = 331.4 + 0.6 * t
    return -t1 * v / ((t1 + u) * (t1 + u))


def jet_engine(x1, x2):
    t, s = 3 * x1 * x1 + 2 * x2 - x1, 3 * x1 * x1 - 2 * x2 - x1
    d = x1 * x1 + 1
    t, s = t / d, s / d
    return x1 + ((2 * x1 * t * (t - 3) + x1 * x1 * (4 * t - 6)) * d + 3 * x1 * x1 * t + x1 * x1 * x1 + x1 + 3 * s)


def azimuth(lat1, lat2, lon1, lon2):
    d = lon2 - lon1
    return jnp.arctan(jnp.cos(lat2) * jnp.sin(d) / (jnp.cos(lat1) * jnp.sin(lat2) - jnp.sin(lat1) * jnp.cos(lat2) * jnp.cos(d)))


def kepler0(x1, x2, x3, x4, x5, x6):
    return x2 * x5 + x3 * x6 - x2 * x3 - x5 * x6 + x1 * (-x1 + x2 + x3 - x4 + x5 + x6)


def kepler1(x1, x2, x3, x4):
    return x1 * x4 * (-x1 + x2 + x3 - x4) + x2 * (x1 - x2 + x3 + x4) + x3 * (x1 + x2 - x3 + x4) - x2 * x3 * x4 - x1 * x3 - x1 * x2 - x4


def himmelblau(x1, x2):
    a, b = x1 * x1 + x2 - 11, x1 + x2 * x2 - 7
    return a * a + b * b


def determinant(a, b, c, d, e, f, g, h, i):
    return (a * e * i + b * f * g + c * d * h) - (c * e * g + b * d * i + a * f * h)


def sum_of_differences(x, y, z):
    return (x + y - z) + (y + z - x) + (z + x - y)


def nonlinear(x, y):
    t = x * y
    return (t - 1) / (t * t - 1)


def hartman3(x1, x2, x3):
    a = ((3.0, 10.0, 30.0), (0.1, 10.0, 35.0), (3.0, 10.0, 30.0), (0.1, 10.0, 35.0))
    p = ((0.3689, 0.117, 0.2673), (0.4699, 0.4387, 0.747), (0.1091, 0.8732, 0.5547), (0.03815, 0.5743, 0.8828))
    exponents = [sum(k * (x - c) * (x - c) for k, c, x in zip(ks, cs, (x1, x2, x3), strict=True)) for ks, cs in zip(a, p, strict=True)]
    return -sum(w * jnp.exp(-e) for w, e in zip((1.0, 1.2, 3.0, 3.2), exponents, strict=True))


def carbon_gas(v):
    p, a, b, t, n, k = 3.5e7, 0.401, 42.7e-6, 300.0, 1000.0, 1.3806503e-23
    return (p + a * (n / v) * (n / v)) * (v - n * b) - k * n * t


def turbine(scale, tail):
    return lambda v, w, r: scale(v, r) - 0.125 * tail(v) * (w * w * r * r) / (1 - v)


def sine_newton(x):
    def turn(x, _):
        return x - (x - x**3 / 6 + x**5 / 120 + x**7 / 5040) / (1 - x * x / 2 + x**4 / 24 + x**6 / 720), None

    return lax.scan(turn, x, None, length=10)[0]


def pendulum(t, w):
    h, ratio = 0.01, -9.80665 / 2.0

    def turn(state, _):
        t, w = state
        middle = w + h / 2 * (ratio * jnp.sin(t))
        return (t + h * middle, w + h * (ratio * jnp.sin(t + h / 2 * w))), None

    return lax.scan(turn, (t, w), None, length=10)[0][0]


TEN, FOUR = ((-10.0, 10.0),), ((4.0, 6.36),)
PROGRAMS = {
    "carthesianToPolar radius": Program(lambda x, y: jnp.sqrt(x * x + y * y), ((1, 100),) * 2),
    "carthesianToPolar theta": Program(lambda x, y: jnp.arctan(y / x) * (180.0 / 3.14159265359), ((1, 100),) * 2),
    "polarToCarthesian x": Program(lambda r, t: r * jnp.cos(t * (3.14159265359 / 180.0)), ((1, 10), (0, 360))),
    "polarToCarthesian y": Program(lambda r, t: r * jnp.sin(t * (3.14159265359 / 180.0)), ((1, 10), (0, 360))),
    "matrixDeterminant": Program(determinant, TEN * 9),
    "sqrt_add": Program(lambda x: 1 / (jnp.sqrt(x + 1) + jnp.sqrt(x)), ((1, 1000),)),
    "exp1x": Program(lambda x: (jnp.exp(x) - 1) / x, ((0.01, 0.5),)),
    "exp1x_log": Program(lambda x: (jnp.exp(x) - 1) / jnp.log(jnp.exp(x)), ((0.01, 0.5),)),
    "x_by_xy": Program(lambda x, y: x / (x + y), ((1, 4),) * 2),
    "logexp": Program(lambda x: jnp.log(1 + jnp.exp(x)), ((-8, 8),)),
    "sum": Program(sum_of_differences, ((1, 2),) * 3),
    "nonlin1": Program(lambda z: z / (z + 1), ((0, 999),)),
    "nonlin2": Program(nonlinear, ((1.001, 2),) * 2),
    "i6": Program(lambda x, y: jnp.sin(x * y), ((0.1, 10), (-5, 5))),
    "himmilbeau": Program(himmelblau, ((-5, 5),) * 2),
    "sphere": Program(lambda x, r, lat, lon: x + r * jnp.sin(lat) * jnp.cos(lon), ((-10, 10), (0, 10), (-1.57, 1.57), (-3.14, 3.14))),
    "azimuth": Program(azimuth, ((0, 0.4), (0.5, 1), (0, 3.14), (-3.14, -0.5))),
    "floudas3": Program(lambda x, y: -12 * x - 7 * y + y * y, ((0, 2), (0, 3))),
    "hartman3": Program(hartman3, ((0, 1),) * 3),
    "kepler0": Program(kepler0, FOUR * 6),
    "kepler1": Program(kepler1, FOUR * 4),
    "test02_sum8": Program(lambda *x: sum(x), ((1, 2),) * 8),
    "test03_nonlin2": Program(lambda x, y: (x + y) / (x - y), ((0, 1), (-1, -0.1))),
    "test05_nonlin1 r4": Program(lambda x: (x - 1) / (x * x - 1), ((1.00001, 2),)),
    "NMSE example 3.1": Program(lambda x: jnp.sqrt(x + 1) - jnp.sqrt(x), ((0, 1e5),)),
    "NMSE example 3.3": Program(lambda x, e: jnp.sin(x + e) - jnp.sin(x), ((-10, 10), (-1e-3, 1e-3))),
    "NMSE example 3.4": Program(lambda x: (1 - jnp.cos(x)) / jnp.sin(x), ((1e-3, 1),)),
    "NMSE example 3.5": Program(lambda n: jnp.arctan(n + 1) - jnp.arctan(n), ((1, 1e4),)),
    "NMSE example 3.6": Program(lambda x: 1 / jnp.sqrt(x) - 1 / jnp.sqrt(x + 1), ((1, 1e5),)),
    "NMSE problem 3.3.3": Program(lambda x: 1 / (x + 1) - 2 / x + 1 / (x - 1), ((2, 1e3),)),
    "NMSE problem 3.3.6": Program(lambda n: jnp.log(n + 1) - jnp.log(n), ((1, 1e5),)),
    "NMSE problem 3.3.7": Program(lambda x: jnp.exp(x) - 2 + jnp.exp(-x), ((-1e-2, 1e-2),)),
    "NMSE p42 positive": Program(lambda a, b, c: (-b + jnp.sqrt(b * b - 4 * (a * c))) / (2 * a), ((1, 2), (100, 1000), (1, 2))),
    "NMSE example 3.8": Program(lambda n: (n + 1) * jnp.log(n + 1) - n * jnp.log(n) - 1, ((1, 1e5),)),
    "NMSE example 3.9": Program(lambda x: 1 / x - 1 / jnp.tan(x), ((1e-3, 1),)),
    "NMSE example 3.10": Program(lambda x: jnp.log(1 - x) / jnp.log(1 + x), ((0.01, 0.9),)),
    "NMSE problem 3.4.1": Program(lambda x: (1 - jnp.cos(x)) / (x * x), ((1e-3, 1),)),
    "NMSE problem 3.4.3": Program(lambda e: jnp.log((1 - e) / (1 + e)), ((-0.9, 0.9),)),
    "NMSE section 3.11": Program(lambda x: jnp.exp(x) / (jnp.exp(x) - 1), ((1e-3, 1),)),
    "complex square root": Program(lambda re, im: 0.5 * jnp.sqrt(2.0 * (jnp.sqrt(re * re + im * im) + re)), ((-10, -1), (1e-3, 1))),
    "complex sine": Program(lambda re, im: 0.5 * jnp.sin(re) * (jnp.exp(-im) - jnp.exp(im)), ((-3, 3), (-1, 1))),
    "doppler1": Program(doppler, ((-100, 100), (20, 20000), (-30, 50))),
    "rigidBody1": Program(lambda x, y, z: -(x * y) - 2 * y * z - x - z, ((-15, 15),) * 3),
    "rigidBody2": Program(lambda x, y, z: 2 * x * y * z + 3 * z * z - y * x * y * z + 3 * z * z - y, ((-15, 15),) * 3),
    "jetEngine": Program(jet_engine, ((-5, 5), (-20, 5))),
    "turbine1": Program(turbine(lambda v, r: 3 + 2 / (r * r) - 4.5, lambda v: 3 - 2 * v), ((-4.5, -0.3), (0.4, 0.9), (3.8, 7.8))),
    "turbine2": Program(turbine(lambda v, r: 6 * v - 2.5, lambda v: 4 * v), ((-4.5, -0.3), (0.4, 0.9), (3.8, 7.8))),
    "turbine3": Program(turbine(lambda v, r: 3 - 2 / (r * r) - 0.5, lambda v: 1 + 2 * v), ((-4.5, -0.3), (0.4, 0.9), (3.8, 7.8))),
    "verhulst": Program(lambda x: 4.0 * x / (1 + x / 1.11), ((0.1, 0.3),)),
    "predatorPrey": Program(lambda x: 4.0 * x * x / (1 + (x / 1.11) * (x / 1.11)), ((0.1, 0.3),)),
    "carbonGas": Program(carbon_gas, ((0.1, 0.5),)),
    "sine": Program(lambda x: x - x * x * x / 6 + x**5 / 120 - x**7 / 5040, ((-1.57, 1.57),)),
    "sqroot": Program(lambda x: 1 + 0.5 * x - 0.125 * x * x + 0.0625 * x * x * x - 0.0390625 * x * x * x * x, ((0, 1),)),
    "sineOrder3": Program(lambda x: 0.954929658551372 * x - 0.12900613773279798 * (x * x * x), ((-2, 2),)),
    "cav10": Program(lambda x: jnp.where(x * x - x >= 0, x / 10, x * x + 2), ((0, 10),)),
    "squareRoot3": Program(lambda x: jnp.where(x < 1e-5, 1 + 0.5 * x, jnp.sqrt(1 + x)), ((0, 10),)),
    "bspline3": Program(lambda u: -(u * u * u) / 6, ((0, 1),)),
    "Pendulum": Program(pendulum, ((-2, 2), (-5, 5))),
    "Sine Newton": Program(sine_newton, ((-1, 1),)),
}  # fmt: skip
