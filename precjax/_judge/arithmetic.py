"""Arithmetic of numbers. Undefined results (1/0, 0/0, inf - inf, a power of a negative number) are NaN."""

import numpy as np
from flint import arb, fmpq

from precjax._judge.number import (
    INF,
    LONGEST_RATIONAL,
    NAN,
    ONE,
    ZERO,
    Undecidable,
    compare,
    finite,
    is_finite,
    is_nan,
    larger,
    sign,
    smaller,
    truncate,
)
from precjax._judge.table import defelementwise, rule


def add(a, b):
    return a + b


def subtract(a, b):
    if a is b and is_finite(a):
        return ZERO  # a ball does not know that it is subtracted from itself
    return a - b


def multiply(a, b):
    return a * b


def divide(a, b):
    # Real arithmetic has no signed zero that could say which infinity 1/0 is.
    return a / b if sign(b) else NAN


def remainder(a, b):
    if not sign(b) or not is_finite(a):
        return NAN
    if not is_finite(b):
        return a
    return a - b * truncate(divide(a, b))


def signum(x):
    s = sign(x)
    return NAN if s is None else fmpq(s)


def clamp(low, x, high):
    return smaller(larger(x, low), high)


def power(x, y):
    """x**y with the conventions of IEEE 754 pow, but NaN where they hang on the sign of a zero."""
    if y == ZERO or x == ONE:
        return ONE
    if is_nan(x) or is_nan(y):
        return NAN
    if not is_finite(y):
        return _infinite_power(x, y)
    if _is_integer(y):
        return integer_power(x, int(y.p))
    return _fractional_power(x, y)


def _fractional_power(x, y):
    s = sign(x)
    if s < 0:
        if type(y) is arb and y.contains_integer():
            raise Undecidable(f"whether {y} is an integer")
        return NAN
    if s == 0:
        return ZERO if sign(y) > 0 else INF
    if not is_finite(x):
        return INF if sign(y) > 0 else ZERO
    return finite(arb(x) ** arb(y))


def _is_integer(y):
    return type(y) is fmpq and y.q == 1


def _infinite_power(x, y):
    order = compare(abs(x), ONE)
    return ONE if order == 0 else INF if order == sign(y) else ZERO


def integer_power(x, y):
    """x**y for a Python integer y; NaN for a negative odd power of zero, whose sign nobody knows."""
    if not is_finite(x):
        return x if y == 1 or is_nan(x) else ZERO if y < 0 else INF * sign(x) ** y
    if y < 0 and sign(x) == 0:
        return NAN if y % 2 else INF
    if type(x) is fmpq and x.height_bits() * abs(y) > LONGEST_RATIONAL:
        x = arb(x)
    if type(x) is fmpq:
        return x**y
    return _repeated_product(x, y) if y >= 0 else 1 / _repeated_product(x, -y)


def _repeated_product(x, n):
    # python-flint's power of a ball around zero is NaN.
    if n == 0 or not x.contains(0):
        return x**n
    half = _repeated_product(x * x, n // 2)
    return half * x if n % 2 else half


for _name, _function in {
    "add": add,
    "add_any": add,
    "sub": subtract,
    "mul": multiply,
    "div": divide,
    "rem": remainder,
    "max": larger,
    "min": smaller,
    "pow": power,
}.items():
    defelementwise(_name, _function, operands=2)

defelementwise("neg", lambda x: -x)
defelementwise("abs", abs)
defelementwise("sign", signum)
defelementwise("square", lambda x: integer_power(x, 2))
defelementwise("one_minus_square", lambda x: ONE - integer_power(x, 2))
defelementwise("clamp", clamp, operands=3)


@rule("integer_pow")
def integer_pow(x, *, y, **params):
    return np.frompyfunc(lambda number: integer_power(number, y), 1, 1)(x)


@rule("polynomial")
def polynomial(x, *coefficients, **params):
    total = ZERO
    for coefficient in reversed(coefficients):
        total = total * x + coefficient
    return total
