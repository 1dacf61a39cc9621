"""Complex numbers: enclosures by python-flint, on the principal branch.

Real arithmetic has no signed zeros, so a number on a branch cut has the value that the cut is given by convention: an
imaginary part of 0 counts as one above it for logarithms and roots.
"""

import flint
import numpy as np
from flint import acb, arb, fmpq

from precjax._judge import (  # noqa: F401  their semantics are shared below
    arithmetic,
    contraction,
    decision,
    indexing,
    reduction,
    structural,
    window,
)
from precjax._judge.number import LONGEST_RATIONAL, Undecidable, as_complex, finite, is_finite, lift
from precjax._judge.table import COMPLEX, RULES, defelementwise, rule

# What is the same for complex numbers: moves, and what sums and products are made of.
_SHARED = (
    "mul", "neg", "select_n", "copy", "copy_p", "stop_gradient", "name", "reduce_precision",
    "optimization_barrier", "reshape", "broadcast_in_dim", "transpose", "squeeze", "expand_dims", "rev", "slice",
    "concatenate", "split", "stack", "unstack", "tile", "pad", "gather", "dynamic_slice", "dynamic_update_slice",
    "scatter", "scatter-add", "scatter-sub", "scatter-mul", "reduce_sum", "reduce_prod", "cumsum", "cumprod",
    "reduce_window_sum", "dot_general", "ragged_dot_general", "conv_general_dilated", "empty", "empty2", "iota",
    "polynomial",
)  # fmt: skip
COMPLEX.update({name: RULES[name] for name in _SHARED})


def _function(name, function, operands=1):
    """Register a function of finite complex numbers; of anything else it is NaN."""

    def extended(*numbers):
        return function(*map(as_complex, numbers)) if all(map(is_finite, numbers)) else arb.nan()

    defelementwise(name, extended, operands, COMPLEX)


def _off(pole, function):
    """A function with a pole, at which it is NaN."""

    def guarded(z):
        if z.contains(pole):
            return _known(z, pole)
        return finite(function(z))

    return guarded


def _precisely(function):
    """An inverse function: its formula cancels for tiny and for huge numbers, by twice the exponent of a float64."""

    def precise(z):
        with flint.ctx.workprec(flint.ctx.prec + 2200):
            return finite(function(z))

    return precise


def _known(z, pole):
    if z == pole:
        return arb.nan()
    raise Undecidable(f"whether {z} is {pole}")


def divide(a, b):
    return a * _off(0, lambda z: 1 / z)(b)


def add(a, b):
    """Without rounding, if the parts are floats: the sum's own rounding error may be all that a bound allows."""
    with flint.ctx.workprec(max(flint.ctx.prec, 2 * LONGEST_RATIONAL)):
        return a + b


def subtract(a, b):
    return acb(0) if a is b else add(a, -b)


def integer_power(z, n):
    if n < 0:
        return divide(acb(1), integer_power(z, -n))
    result = acb(1)
    for _ in range(n):
        result *= z
    return result


def power(z, w):
    if w == 0 or z == 1:
        return acb(1)
    if w.imag == 0 and w.real.is_integer() and abs(w.real) < 64:
        return integer_power(z, int(w.real.unique_fmpz()))
    return _off(0, lambda base: (w * base.log()).exp())(z)


def equal(a, b):
    if not a.overlaps(b):
        return False
    if a is b or (a.is_exact() and b.is_exact()):
        return True
    raise Undecidable(f"{a} against {b}")


for _name, _binary in {"add": add, "add_any": add, "sub": subtract, "div": divide, "pow": power}.items():
    _function(_name, _binary, 2)
_function("square", lambda z: z * z)
_function("sign", lambda z: z.sgn())
_function("conj", lambda z: z.conjugate())
_function("real", lambda z: z.real)
_function("imag", lambda z: z.imag)
_function("abs", abs)
for _direct in (acb.exp, acb.expm1, acb.sqrt, acb.sin, acb.cos, acb.tan, acb.sinh, acb.cosh, acb.tanh):
    _function(_direct.__name__, lambda z, function=_direct: finite(function(z)))
for _inverse in (acb.asin, acb.acos, acb.asinh, acb.acosh):
    _function(_inverse.__name__, _precisely(_inverse))
_function("exp2", lambda z: finite((z * arb(2).log()).exp()))
_function("log", _off(0, acb.log))
_function("log2", _off(0, lambda z: z.log() / arb(2).log()))
_function("log1p", _off(-1, acb.log1p))
_function("rsqrt", _off(0, acb.rsqrt))
_function("atan", acb.atan)
_function("atanh", acb.atanh)
_function("logistic", lambda z: divide(acb(1), 1 + (-z).exp()))
defelementwise("eq", lambda a, b: is_finite(a) and is_finite(b) and equal(a, b), 2, COMPLEX)
defelementwise("ne", lambda a, b: not (is_finite(a) and is_finite(b) and equal(a, b)), 2, COMPLEX)


@rule("complex", table=COMPLEX)
def complex_(real, imaginary, **params):
    return np.frompyfunc(lambda x, y: acb(arb(x), arb(y)), 2, 1)(lift(real), lift(imaginary))


@rule("integer_pow", table=COMPLEX)
def integer_pow(z, *, y, **params):
    return np.frompyfunc(lambda number: integer_power(number, y), 1, 1)(z)


@rule("convert_element_type", table=COMPLEX)
def convert_element_type(x, *, new_dtype, **params):
    """To a complex format the same number, to a real one its real part, to a bool whether it is not 0."""
    if np.issubdtype(new_dtype, np.complexfloating):
        return lift(x)
    if new_dtype == np.bool_:
        return np.frompyfunc(lambda z: not equal(z, acb(0)), 1, 1)(x)
    return RULES["convert_element_type"](COMPLEX["real"](x), new_dtype=new_dtype)


def root_of_unity(n, k) -> acb:
    """exp(2 pi i k / n)."""
    turn = fmpq(2 * (k % n), n)
    return acb(arb(turn)).exp_pi_i()
