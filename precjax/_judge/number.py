"""Exact numbers: rationals while they last, balls after that, infinities and NaN beside them.

A number is a `flint.fmpq` (known exactly) or a `flint.arb` (an enclosure, an infinity, or NaN), a complex number a
`flint.acb` (an enclosure; NaN stands for all that is not finite). Whatever depends on which side of a boundary a
number lies is *decided* here, or refused with `Undecidable`; nothing is ever guessed from a midpoint.
"""

import fractions

import flint
import jax.numpy as jnp
import numpy as np
from flint import acb, arb, fmpq

ZERO, ONE, HALF = fmpq(0), fmpq(1), fmpq(1, 2)
INF, NAN = arb.pos_inf(), arb.nan()

# Rationals longer than this become balls: products double their length, so long programs would never end.
LONGEST_RATIONAL = 2048
# From this working precision on, two balls with one midpoint and one radius are taken for the same real number: ties of
# equal computations, such as a maximum over equal entries of a softmax, can be told in no other way.
TIE_PRECISION = 3200


class Undecidable(ArithmeticError):
    """A decision of the program (a comparison, a floor, a branch) that no working precision could settle."""


def lift(array) -> np.ndarray:
    """The numbers that an array of floats, integers or bools stores, as an object array of the same shape.

    Args:
        array: Anything that numpy reads; elements of object arrays may be `acb`, `arb`, `fmpq`, `Fraction`,
            complex, float or int.

    Returns:
        Object array of `fmpq` (finite) and `arb` (infinite, NaN, or given as a ball); of `acb` for complex numbers.
    """
    array = np.asarray(array)
    if array.dtype == object:
        return as_objects(_from_python(array))
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        return as_objects(_from_complex(array))
    if jnp.issubdtype(array.dtype, jnp.floating):
        return as_objects(_from_float(array.astype(np.float64)))  # exact: no format is wider
    return as_objects(_from_integer(array.astype(object)))


def as_objects(array) -> np.ndarray:
    """An object array, also where numpy has unwrapped a zero-dimensional one."""
    return np.asarray(array, dtype=object)


def _number_from_float(x):
    if np.isfinite(x):
        return fmpq(*float(x).as_integer_ratio())
    return arb(float(x))


def _number_from_complex(x):
    return acb(arb(float(x.real)), arb(float(x.imag)))


def _number_from_python(x):
    if isinstance(x, (acb, arb, fmpq)):
        return x
    if isinstance(x, fractions.Fraction):
        return fmpq(x.numerator, x.denominator)
    if isinstance(x, complex):
        return _number_from_complex(x)
    return _number_from_float(x) if isinstance(x, float) else fmpq(int(x))


_from_float = np.frompyfunc(_number_from_float, 1, 1)
_from_complex = np.frompyfunc(_number_from_complex, 1, 1)
_from_integer = np.frompyfunc(lambda x: fmpq(int(x)), 1, 1)
_from_python = np.frompyfunc(_number_from_python, 1, 1)


def settle(x):
    """The same number in its canonical form: exact and short as `fmpq`, infinities without a radius.

    Raises:
        Undecidable: The ball is the whole line, as after an overflow of its exponent.
    """
    if type(x) is fmpq:
        return arb(x) if x.height_bits() > LONGEST_RATIONAL else x
    if type(x) is acb:
        return x if x.is_finite() else as_complex(NAN)
    if not x.is_finite():
        return NAN if x.is_nan() else INF * sign(x)
    if x.is_exact():
        mantissa, exponent = x.man_exp()
        if abs(exponent) < LONGEST_RATIONAL:
            return fmpq(mantissa << exponent) if exponent >= 0 else fmpq(mantissa, 1 << -exponent)
    return x


def as_complex(x) -> acb:
    """A real number as a complex one."""
    return x if type(x) is acb else acb(ball(x))


def ball(x):
    """The number as a ball, exact if it is a dyadic rational."""
    if type(x) is not fmpq:
        return x
    with flint.ctx.workprec(max(flint.ctx.prec, 2 * LONGEST_RATIONAL)):
        return arb(x)


def finite(x: arb) -> arb:
    """The value of a function at a finite number inside its domain, where only lack of precision gives no number.

    Raises:
        Undecidable: The working precision is too low for the exponent of the value.
    """
    if x.is_finite():
        return x
    raise Undecidable("a value of huge exponent")


def is_nan(x) -> bool:
    return not is_finite(x) and (type(x) is acb or x.is_nan())


def is_finite(x) -> bool:
    return type(x) is fmpq or x.is_finite()


def sign(x):
    """-1, 0 or 1; None for NaN.

    Raises:
        Undecidable: The ball holds numbers of several signs.
    """
    if type(x) is fmpq:
        return int(x.p > 0) - int(x.p < 0)
    if x > 0:
        return 1
    if x < 0:
        return -1
    if x.is_nan():
        return None
    if x.is_zero():
        return 0
    raise Undecidable(f"the sign of {x}")


def compare(a, b):
    """-1, 0 or 1 as a < b, a = b or a > b; None if one is NaN.

    Raises:
        Undecidable: The balls overlap.
    """
    if a is b:
        return None if is_nan(a) else 0
    if type(a) is fmpq and type(b) is fmpq:
        return int(a > b) - int(a < b)
    a, b = arb(a), arb(b)
    if a < b:
        return -1
    if a > b:
        return 1
    if a.is_nan() or b.is_nan():
        return None
    if a == b or _indistinguishable(a, b):
        return 0
    raise Undecidable(f"{a} against {b}")


def _indistinguishable(a, b) -> bool:
    return flint.ctx.prec >= TIE_PRECISION and a.is_finite() and a.mid() == b.mid() and a.rad() == b.rad()


def larger(a, b):
    """The larger of two numbers, NaN if one is NaN; the operand itself where the order is decided."""
    try:
        order = compare(a, b)
    except Undecidable:
        return arb(a).max(arb(b))  # an enclosure of the maximum needs no decision
    return NAN if order is None else a if order >= 0 else b


def smaller(a, b):
    """The smaller of two numbers, NaN if one is NaN."""
    return -larger(-a, -b)


def floor(x):
    """The largest integer that is not above x; x itself if it is infinite or NaN.

    Raises:
        Undecidable: The ball crosses an integer.
    """
    if type(x) is fmpq:
        return fmpq(x.floor())
    if not x.is_finite():
        return x
    below = x.floor()
    if not below.is_exact():
        raise Undecidable(f"the floor of {x}")
    return below


def truncate(x):
    """The integer next to x on the side of zero; x itself if it is infinite or NaN."""
    return -floor(-x) if sign(x) == -1 else floor(x)
