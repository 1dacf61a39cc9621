"""Series of pairs: loops over tables of coefficients, which compile once however many terms there are.

Theorem (Horner). If coefficients err by 1, products by 11, sums by 3.01, in u**2 = 2**-106 of themselves, and x by e,
then the sum of c_k x**k errs by at most the sum over k of (4.01 + (14.01 + e) k) |c_k x**k|: term k passes k products
and k + 1 sums. Terms of order u**4 go into the rounded-up constants of the functions that use it.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax.doubledouble._arithmetic import add, mul
from precjax.doubledouble._constants import entry, pair
from precjax.doubledouble._pairs import DD


def table(numbers: list[Any]) -> DD:
    """Numbers (`Decimal`, `Fraction` or int; or nested lists of them) as one array of pairs, each correctly rounded."""
    if isinstance(numbers[0], list):
        rows = [table(row) for row in numbers]
    else:
        rows = [pair(n.numerator, n.denominator) if isinstance(n, Fraction) else pair(Decimal(n)) for n in numbers]
    return DD(*(np.array(column) for column in zip(*rows, strict=True)))


def series(coefficients: DD, x: DD, row: Any = None) -> DD:
    """The sum of c_k x**k by Horner's rule.

    Args:
        coefficients: pairs ``(n,)``; or ``(n, m)``, m series side by side.
        x: pairs ``(*s)``.
        row: integers ``(*s)``: which of the m series.

    Returns:
        The sum, ``(*s)``.
    """

    def coefficient(c: DD) -> DD:
        return DD(*(jnp.broadcast_to(v, x.hi.shape) for v in (c if row is None else entry(c, row))))

    def step(value: DD, c: DD) -> tuple[DD, None]:
        return add(coefficient(c), mul(x, value)), None

    start = DD(jnp.zeros_like(x.hi), jnp.zeros_like(x.hi))
    return lax.scan(step, start, DD(*map(jnp.asarray, coefficients)), reverse=True)[0]
