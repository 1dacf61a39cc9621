"""Constants and tables of pairs, computed to 100 digits when they are first needed and rounded correctly to parts."""

from __future__ import annotations

import decimal
import functools
import math
from decimal import Decimal
from typing import Any

import jax.numpy as jnp
import numpy as np

from precjax.doubledouble._pairs import DD

DIGITS = decimal.Context(prec=100, Emin=-99999, Emax=99999)
STEPS = 256  # of the table of expm1 to an octave, of the tables of sin and cos to pi
REACH = 160  # entries of the table of expm1 to either side of 0: exp(REACH ln(2) / STEPS) > 1.5


def parts(numerator: Decimal | int, denominator: Decimal | int, count: int, bits: int = 53) -> list[float]:
    """The quotient as a sum of floats, all but the last rounded to `bits` bits."""
    with decimal.localcontext(DIGITS):
        rest, found = Decimal(numerator) / denominator, []
        for left in reversed(range(count)):
            part = float(rest)
            if left:
                fraction, power = math.frexp(part)
                part = math.ldexp(round(math.ldexp(fraction, bits)), power - bits)
            found.append(part)
            rest -= Decimal(part)
        return found


def pair(numerator: Decimal | int, denominator: Decimal | int = 1) -> DD:
    """The quotient, rounded to a pair of floats."""
    return DD(*parts(numerator, denominator, 2))


def _table(numbers: list[Decimal]) -> DD:
    rows = [pair(number) for number in numbers]
    return DD(*(np.array(column) for column in zip(*rows, strict=True)))


@functools.cache
def ln2() -> Decimal:
    """The natural logarithm of 2."""
    return Decimal(2).ln(DIGITS)


@functools.cache
def pi() -> Decimal:
    """Pi, by Machin's formula 16 arctan(1/5) - 4 arctan(1/239)."""

    def arctan_of_inverse(n: int) -> Decimal:
        term, total, k = Decimal(1) / n, Decimal(0), 0
        while term > Decimal("1e-110"):
            total += (-1) ** k * term / (2 * k + 1)
            term, k = term / (n * n), k + 1
        return total

    with decimal.localcontext(DIGITS):
        return 16 * arctan_of_inverse(5) - 4 * arctan_of_inverse(239)


@functools.cache
def expm1_table() -> DD:
    """expm1(j ln(2) / STEPS) for j = -REACH, ..., REACH."""
    with decimal.localcontext(DIGITS):
        return _table([(j * ln2() / STEPS).exp() - 1 for j in range(-REACH, REACH + 1)])


@functools.cache
def sine_table() -> DD:
    """sin(j pi / STEPS) for j = 0, ..., 2.5 STEPS - 1: sine and cosine of a whole turn."""
    with decimal.localcontext(DIGITS):
        angle = pi() / STEPS
        sine = term = angle
        for k in range(1, 40):
            term *= -angle * angle / (2 * k * (2 * k + 1))
            sine += term
        cosine = (1 - sine * sine).sqrt()
        points = [(Decimal(1), Decimal(0))]
        for _ in range(STEPS // 2):
            c, s = points[-1]
            points.append((c * cosine - s * sine, s * cosine + c * sine))
        quarter = [s for _, s in points[:-1]]
        half = [*quarter, Decimal(1), *quarter[:0:-1]]
        return _table([*half, *(-s for s in half), *half[: STEPS // 2]])


def entry(table: DD, index: Any) -> DD:
    """Rows of a table; indices outside are clipped."""
    return DD(*(jnp.take(jnp.asarray(column), index, mode="clip") for column in table))
