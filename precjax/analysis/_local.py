"""What one equation rounds, on whatever operands an execution hands it.

Theorem. Let an execution compute the operands v' and the result w', and let g be the real function of the equation. Its
local error |w' - g(v')| is
    at most u 2**floor(log2 |w'|), half the distance of floats there, if the result is rounded correctly: sums,
        differences, products, roots, quotients, casts (Higham, section 2.1; u |w'| is up to twice as much);
    of a sum at most either operand, since the other is a float; 0 if y/2 <= x <= 2 y and the sum is x - y (Sterbenz);
    of a quotient by a number that XLA may invert first: u |w'| more;
    of an n-th power (n - 2) u |w'| more, in whatever order its products are taken (Higham, lemma 3.1);
    of an elementary function what the platform's table says, and of a sum of n terms (n - 1) u times their magnitudes
        (Jeannerod and Rump 2013).
|w'| is at most its tracked value and reach. Each reading and each result may be flushed besides: the smallest normal
number times the slope of g, which is bounded where an operand may be subnormal, or else nothing is known (inf).

What XLA does not round. A product in a sum may be contracted, a cast to a wider format may read an unrounded number.
Then the operand's local error is 0; if other equations read the operand rounded, the sum is taken to err by the
operand's local error besides: twice where the operand was taken for a float, as in Sterbenz's difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _patterns as patterns
from precjax import platforms
from precjax._annotated import Annotated
from precjax._ball import Ball
from precjax._facts import is_power_of_two
from precjax._rounding import (
    binade,
    dtype_of,
    enlarged,
    format_of,
    less,
    plus,
    ratio,
    times,
    where,
)
from precjax.rules.accuracy import rounding
from precjax.rules.arithmetic import merged_constants

# Continuous, piecewise smooth functions that round nothing; moves are linear in their first operands.
MOVES = frozenset({
    "broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims", "slice", "rev", "copy", "copy_p",
    "concatenate", "pad", "split", "unstack", "tile", "gather", "dynamic_slice", "neg",
})  # fmt: skip
_SUMS = ("add", "sub", "add_any")
_SINGULAR = ("log", "sqrt", "rsqrt")
# Not those whose derivative JAX writes with a rounded constant (2 / sqrt(pi), 1 / 3): erf, erfc, erf_inv, cbrt, log2.
_ELEMENTARY = (
    "exp", "exp2", "expm1", "log1p", "logistic", "tanh", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh",
    "asinh", "acosh", "atanh", *_SINGULAR,
)  # fmt: skip
_LARGEST_POWER = 128  # a factor of the derivative, to be a number of every format


class Operand(NamedTuple):
    """An operand as an equation meets it.

    Attributes:
        ball: its value, error and reach.
        shared: its local error, if it was rounded, and other equations read it too; None otherwise.
        fixed: whether it depends on no argument, so that XLA may fold it into a constant.
    """

    ball: Ball
    shared: Any = None
    fixed: bool = False


Local = Callable[[Any, Any, list[Operand], Ball], Any]
_LOCAL: dict[str, Local] = {}


def is_smooth(eqn: Any, operands: Sequence[Annotated]) -> bool:
    """Whether the equation is one real function of reals, continuous and piecewise smooth, whose rounding is known."""
    name, choices = eqn.primitive.name, operands[1:] if eqn.primitive.name == "select_n" else operands
    if name not in _LOCAL or hasattr(eqn.params.get("accuracy"), "rtol"):
        return False
    if name == "integer_pow" and abs(eqn.params["y"]) > _LARGEST_POWER:
        return False
    known = all(x.error is None or is_real(dtype_of(x.value)) for x in choices)
    # Sums of sums are added up in one go, in an order that may round more than both.
    merged = name == "reduce_sum" and patterns.made_by(_source(operands[0]), "reduce_sum")
    return known and not merged and all(is_real(v.aval.dtype) for v in eqn.outvars)


def is_real(dtype: Any) -> bool:
    """Whether numbers of this dtype are real, of a format whose rounding the theorem describes."""
    return jnp.issubdtype(dtype, jnp.floating) and format_of(dtype).digits >= 8


def local_error(model: Any, eqn: Any, operands: list[Operand], out: Ball) -> Any:
    """The theorem's bound of |w' - g(v')| for a smooth equation; None for exactly zero."""
    found = _LOCAL[eqn.primitive.name](model, eqn, operands, out)
    return None if found is None else enlarged(found, 24, out.dtype)


def half_ulp(far: Any, dtype: Any) -> Any:
    """u 2**floor(log2 far): by the bits of the exponent, those of an infinity being inf itself."""
    return times(binade(jnp.asarray(far)), format_of(dtype).unit_roundoff)


def local(*names: str) -> Callable[[Local], Local]:
    """Registers what bounds the local errors of these primitives, before they are enlarged."""

    def register(function: Local) -> Local:
        _LOCAL.update(dict.fromkeys(names, function))
        return function

    return register


local(*MOVES, "abs", "select_n")(lambda model, eqn, operands, out: None)


def _flush(out: Ball) -> float:
    return platforms.current().underflow(dtype_of(out.operand.value))


def _rounded(out: Ball) -> Any:
    """A result that is rounded correctly."""
    return plus(half_ulp(out.far, dtype_of(out.operand.value)), _flush(out))


def _grown(relative: float) -> float:
    """A relative error of the exact result, as one of the computed result; inf for one that is not small."""
    return relative / (1 - relative) if relative < 0.5 else math.inf


def _read(x: Ball) -> Any:
    """What reading the operand may lose: nothing where it cannot be subnormal."""
    lost = platforms.current().read_loss(dtype_of(x.operand.value))
    if not lost or isinstance(x.size, float):
        return None
    return where(less(x.near, lost), lost, jnp.zeros((), x.dtype))


@local(*_SUMS)
def _sum(model: Any, eqn: Any, operands: list[Operand], out: Ball) -> Any:
    a, b = (x.ball for x in operands)
    dtype = dtype_of(out.operand.value)
    merged = merged_constants(a, b, out.operand.value, -1 if eqn.primitive.name == "sub" else 1)
    read = [x.shared for x in operands if merged is not None or not patterns.made_by(_source(x.ball.operand), *_SUMS)]
    rounded = jnp.asarray(half_ulp(out.far, dtype))
    of_floats = where(_sterbenz(a, b, eqn.primitive.name == "sub"), 0.0, jnp.minimum(_far(a), _far(b)))
    error = jnp.minimum(plus(rounded, *read), plus(of_floats, *(times(x, 2.0) for x in read)))
    return plus(error, merged, 3 * _flush(out))


def _sterbenz(a: Ball, b: Ball, subtracted: bool) -> Any:
    """Whether the operands lie within a factor of 2 of each other wherever they are, and are subtracted."""
    close = (_far(a) <= times(_near(b), 2.0)) & (_far(b) <= times(_near(a), 2.0))
    alike = (jnp.asarray(a.value) > 0) == (jnp.asarray(b.value) > 0)
    return jnp.asarray(close & (alike == subtracted))


def _near(x: Ball) -> Any:
    """The end next to 0, of a constant too."""
    return x.size if isinstance(x.size, float) else x.near


def _far(x: Ball) -> Any:
    """The end far from 0, of a constant too, which may be 0."""
    return jnp.asarray(0.0 if x.far is None else x.far, x.dtype)


def _source(x: Annotated) -> Annotated:
    """The array before it was moved or negated."""
    while patterns.made_by(x, *MOVES - {"concatenate", "pad"}):
        x = x.origin.operands[0]
    return x


@local("mul")
def _product(model: Any, eqn: Any, operands: list[Operand], out: Ball) -> Any:
    a, b = (x.ball for x in operands)
    read = plus(times(_read(a), b.far), times(_read(b), a.far))
    scaled = is_power_of_two(a.operand.known) or is_power_of_two(b.operand.known)
    return plus(2 * _flush(out) if scaled else _rounded(out), read)


@local("div")
def _quotient(model: Any, eqn: Any, operands: list[Operand], out: Ball) -> Any:
    """XLA inverts constants and what is broadcast, which a scalar never is; it merges chains of divisions and roots."""
    a, b = (x.ball for x in operands)
    u = format_of(dtype_of(out.operand.value)).unit_roundoff
    if is_power_of_two(b.operand.known):
        return plus(2 * _flush(out), _read(a))
    more = _inverse_error(operands[1], out) / u
    if patterns.made_by(_source(b.operand), "sqrt", "rsqrt", "pow", "div") or patterns.made_by(
        _source(a.operand), "div"
    ):
        more = 5.0  # the merged chain's roundings, and those of the first quotient or root where others read it
    if not platforms.current().read_loss(dtype_of(out.operand.value)):
        more += 4.5
    read = _read(a)
    lost = None if read is None else ratio(read, jnp.asarray(_near(b), out.dtype))
    return plus(_rounded(out), times(out.far, more * u), lost, _unless_subnormal(b))


def _inverse_error(divisor: Operand, out: Ball) -> float:
    """The relative error of 1 / b, as XLA computes it before it multiplies; 0 where it divides."""
    dtype, size = dtype_of(out.operand.value), divisor.ball.size
    if not divisor.fixed and np.ndim(out.operand.value) == 0:
        return 0.0
    if not isinstance(size, float) or dtype not in (np.float32, np.float64) or not 1e-30 < size < 1e30:
        return format_of(dtype).unit_roundoff * 1.01
    inverse = np.ones((), dtype) / np.asarray(size, dtype)
    return float(abs(Fraction(float(inverse)) * Fraction(size) - 1)) * (1 + 2.0**-40)


def _unless_subnormal(x: Ball) -> Any:
    """Nothing, but inf where the operand may be subnormal."""
    read = _read(x)
    return None if read is None else where(lax.gt(read, jnp.zeros((), x.dtype)), math.inf, jnp.zeros((), x.dtype))


@local("square")
def _square(model: Any, eqn: Any, operands: list[Operand], out: Ball) -> Any:
    return plus(_rounded(out), _flush(out))


@local("integer_pow")
def _power(model: Any, eqn: Any, operands: list[Operand], out: Ball) -> Any:
    y, u = eqn.params["y"], format_of(dtype_of(out.operand.value)).unit_roundoff
    if y in (0, 1):
        return None
    if y > 0:
        return plus(_rounded(out), times(out.far, _grown((y - 2) * u)), 3 * y * _flush(out))
    inverted = plus(times(out.far, _grown((2 - y) * u)), 1.01 / format_of(dtype_of(out.operand.value)).largest)
    return plus(inverted, _flush(out), _unless_subnormal(operands[0].ball))


@local(*_ELEMENTARY)
def _elementary(model: Any, eqn: Any, operands: list[Operand], out: Ball) -> Any:
    """The table's figure, at the largest |f| in reach; slopes next to 0 are below 2."""
    name, x, value = eqn.primitive.name, operands[0].ball, out.operand.value
    ulps, more = rounding(model, name, x, out.far, value)
    rounded = half_ulp(out.far, value.dtype) if ulps == 1.0 else times(out.far, _grown(ulps * model.unit(value.dtype)))
    singular = _unless_subnormal(x) if name in _SINGULAR else None
    # log(sqrt(x)), log(x**y), log(exp(x)) may be computed as a multiple of log |x|, or as x.
    merged = operands[0].shared if patterns.made_by(_source(x.operand), "sqrt", "rsqrt", "pow", "exp") else None
    merged = None if merged is None else ratio(times(merged, 2.0), jnp.asarray(x.near, out.dtype))
    return plus(rounded, more, singular, merged, 3 * _flush(out))


@local("pow")
def _general_power(model: Any, eqn: Any, operands: list[Operand], out: Ball) -> Any:
    """As its rule has it."""
    factor = max(model.accuracy("pow", out.operand.value.dtype).factor, 2.5)
    rounded = times(out.far, _grown(factor * model.unit(out.operand.value.dtype)))
    return plus(rounded, 3 * _flush(out), _unless_subnormal(operands[0].ball))


@local("max", "min", "clamp")
def _extreme(model: Any, eqn: Any, operands: list[Operand], out: Ball) -> Any:
    """Subnormal numbers compare as 0."""
    return platforms.current().read_loss(dtype_of(out.operand.value)) or None


@local("convert_element_type")
def _cast(model: Any, eqn: Any, operands: list[Operand], out: Ball) -> Any:
    """Perhaps by way of float32, which rounds a little more."""
    (x, shared, _), dtype = operands[0], dtype_of(out.operand.value)
    before, after = format_of(dtype_of(x.operand.value)), format_of(dtype)
    wider = after.digits >= before.digits and after.smallest_normal <= before.smallest_normal
    return plus(None if wider else times(_rounded(out), 1 + 2.0**-10), times(shared, 2.0), _read(x), _flush(out))


@local("reduce_sum")
def _reduction(model: Any, eqn: Any, operands: list[Operand], out: Ball) -> Any:
    (x, shared, _), axes = operands[0], tuple(eqn.params["axes"])
    size = np.shape(x.operand.value)
    n = math.prod(size[i] for i in axes)
    far = jnp.broadcast_to(jnp.asarray(x.far, out.dtype), size)
    u = format_of(dtype_of(out.operand.value)).unit_roundoff
    terms = plus(times(far, max(n - 1, 0) * u * (1 + 4 * n * format_of(out.dtype).unit_roundoff)), times(shared, 2.0))
    return plus(lax.reduce_sum(terms, axes), 2 * n * _flush(out))
