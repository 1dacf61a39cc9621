"""What rounds in each primitive, how much, and where: the model of arithmetic of `Stochastic`.

A rounding to nearest is taken as uniform in half a unit in the last place (ulp), of variance 1/12. A sample and the
value round apart: their difference, which `Stochastic` measures, has twice that variance, and so have the perturbations
here. (Where a sample's operands already differ, its own rounding is another one, and the difference has up to twice the
variance that it should have: errors come out up to 1.4 times too large, never too small for want of perturbation.)

A sum of n terms rounds every partial sum. `Roundings` moves each term by its share, so that a sum that cancels errs as
it should, and the result by the rest; see `partial_sums`. Products of bfloat16 and float16 are accumulated in float32
and rounded once (measured on CPU).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from precjax import platforms
from precjax._annotated import Annotated
from precjax._devices import added
from precjax._facts import MOVES, is_power_of_two
from precjax._rounding import dtype_of, format_of, is_inexact
from precjax.models.probabilistic import partial_sums

# The axis over which the runs are vectorised: its index is the number of the run, inside any loop or branch.
SAMPLES = "precjax_samples"

ROUNDING = 1 / 6  # variance, in ulp**2, of the difference of two roundings

# Besides those that only move their operand, primitives whose results are numbers of the format as they are.
_EXACT = MOVES | {
    "neg", "abs", "max", "min", "clamp", "select_n", "concatenate", "pad", "dynamic_update_slice", "scatter",
    "scatter-min", "scatter-max", "scatter_min", "scatter_max", "real", "imag", "complex", "conj", "sign", "floor",
    "ceil", "round", "rem", "nextafter", "bitcast_convert_type", "iota", "top_k", "approx_top_k", "rng_uniform",
    "select_and_gather_add", "ppermute", "empty", "empty2", "axis_index",
}  # fmt: skip

# Without parameters that name a format: they run in float32 on float32 operands.
_ELEMENTWISE = frozenset({
    "add", "add_any", "sub", "mul", "div", "square", "sqrt", "rsqrt", "cbrt", "exp", "exp2", "expm1", "log", "log1p",
    "logistic", "tanh", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "asinh", "acosh", "atanh",
    "erf", "erfc", "erf_inv", "lgamma", "digamma", "pow", "integer_pow", "reduce_sum", "cumsum", "reduce_prod",
    "cumprod",
})  # fmt: skip
_CONTRACTIONS = frozenset({"dot_general", "conv_general_dilated", "ragged_dot_general"})

# Their partial sums are blocked: 0.4 to 0.8 times the deviation of a random order (see `partial_sums`).
_PRODUCTS = 0.5

# The same for an exponent that only the data know, mostly small: x**4.
_INTEGER_POWER = 5.0

# The table of ulps holds maxima with a margin: about so many times the root mean square, in roundings (tanh, measured).
_LARGEST = 3.5

# An operand this many times larger than the other is not the one that is moved.
_LARGER = 8


class Roundings(NamedTuple):
    """Variances, in ulp**2, of what perturbs an operand, each number of it, and the result."""

    of_result: float = ROUNDING
    of_term: float = 0.0
    operand: int = 0


def roundings(eqn: Any) -> Roundings | None:
    """What rounds in an equation; None if nothing does."""
    avals = [var.aval for var in eqn.invars]
    name, out = eqn.primitive.name, eqn.outvars[0].aval
    if name in _EXACT or name.startswith("random_") or not any(is_inexact(v.aval.dtype) for v in eqn.outvars):
        return None
    if name == "convert_element_type" and _fits(avals[0].dtype, out.dtype):
        return None
    if name in _TERMS:
        return _of_sum(name, *_TERMS[name](eqn.params, *avals), avals, out)
    if jnp.issubdtype(out.dtype, jnp.complexfloating):
        return Roundings(of_term=ROUNDING)  # parts may cancel
    return Roundings(ROUNDING * _count(eqn))


def of_one(eqn: Any) -> bool:
    """Whether each number of the result is a function of one real number."""
    (x, *others), out = (var.aval for var in eqn.invars), eqn.outvars[0].aval
    if others or eqn.primitive.name not in _ELEMENTWISE or eqn.primitive.name in _TERMS:
        return False
    return x.shape == out.shape and is_inexact(x.dtype) and not jnp.issubdtype(x.dtype, jnp.complexfloating)


def scales(eqn: Any, operands: Sequence[Annotated]) -> bool:
    """Whether an equation only multiplies by a power of two, or divides by one."""
    factors = {"mul": operands, "div": operands[1:]}.get(eqn.primitive.name, ())
    return any(is_power_of_two(x.known) for x in factors)


def _count(eqn: Any) -> float:
    """How many roundings an elementary function amounts to."""
    name, dtype = eqn.primitive.name, eqn.outvars[0].aval.dtype
    if name == "integer_pow":  # by repeated squaring, which doubles what came before: sum of 4**k
        return max((eqn.params["y"] ** 2 - 1) / 3, 1.0)
    if name == "pow" and not is_inexact(eqn.invars[1].aval.dtype):
        return _INTEGER_POWER
    try:
        accuracy = platforms.current().accuracy(name, dtype)
    except platforms.UnknownPlatformError:
        return 1.0
    if accuracy is None or accuracy.scale != "value" or format_of(dtype).digits < 24:
        return 1.0
    return max((accuracy.factor / _LARGEST) ** 2, 1.0)


def _fits(integer: Any, dtype: Any) -> bool:
    """Whether a cast is taken as exact: it is, or what few large integers lose in it is left out."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return True
    bits = 1 if integer == jnp.bool_ else jnp.iinfo(integer).bits
    return bits <= format_of(dtype).digits


def _of_sum(name: str, terms: int, pairwise: bool, operand: int, avals: Sequence[Any], out: Any) -> Roundings | None:
    if terms <= 1 and name not in _CONTRACTIONS:
        return None if name in ("reduce_sum", "psum", "reduce_scatter") else Roundings()
    share = _PRODUCTS if name in _CONTRACTIONS else 1.0
    per_term, of_result = (factor * share * ROUNDING for factor in partial_sums(terms, pairwise))
    if name in _CONTRACTIONS and format_of(avals[operand].dtype).digits < 24:
        return _accumulated_wider(per_term + of_result, out)
    return Roundings(max(of_result, ROUNDING), per_term, operand)


def _accumulated_wider(variance: float, out: Any) -> Roundings:
    """In units of the accumulator, which count only if the result is of its format."""
    return Roundings(max(variance, ROUNDING) if format_of(out.dtype).digits >= 24 else ROUNDING)


def _smaller(a: Any, b: Any) -> int:
    """The left operand, as a rule activations, whose rows are many; but not if it is much the larger."""
    return 1 if a.size > _LARGER * b.size else 0


def _product(params: Any, a: Any, b: Any, *groups: Any) -> tuple[int, bool, int]:
    """Of a ragged product in which terms have groups, as many as there are."""
    numbers = params.get("dimension_numbers") or params["ragged_dot_dimension_numbers"].dot_dimension_numbers
    (contracted, _), _ = numbers
    return math.prod(a.shape[i] for i in contracted), False, _smaller(a, b)


def _convolution(params: Any, a: Any, kernel: Any) -> tuple[int, bool, int]:
    """Always the images: kernels that differ from run to run make a grouped convolution, five times as slow."""
    spec = params["dimension_numbers"].rhs_spec
    return math.prod(kernel.shape[d] for d in spec[1:]), False, 0


def _added(params: Any, x: Any, indices: Any, updates: Any) -> tuple[int, bool, int]:
    """As many as fall on each number, on average."""
    return 1 + math.ceil(updates.size / max(x.size, 1)), False, 2


def _dense(params: Any, x: Any, *others: Any) -> tuple[int, bool, int]:
    """Backward stable methods of linear algebra: as if each number of the matrix took part in that many sums."""
    return (x.shape[-1] if x.shape else 1), False, 0


def _transform(params: Any, x: Any) -> tuple[int, bool, int]:
    return math.prod(params["fft_lengths"]), True, 0


# How many terms are summed, whether in a tree, and which operand they are.
_TERMS: dict[str, Callable[..., tuple[int, bool, int]]] = {
    "reduce_sum": lambda params, x: (math.prod(x.shape[i] for i in params["axes"]), True, 0),
    "cumsum": lambda params, x: (x.shape[params["axis"]], True, 0),
    "reduce_window_sum": lambda params, x: (math.prod(params["window_dimensions"]), True, 0),
    "dot_general": _product, "ragged_dot_general": _product, "conv_general_dilated": _convolution,
    "scatter-add": _added, "scatter_add": _added, "scatter-sub": _added, "scatter_sub": _added,
    "fft": _transform,
    "psum": lambda params, x: (added(params["axes"], params["axis_index_groups"], x.shape), False, 0),
    "reduce_scatter": lambda params, x: (params["axis_size"], False, 0),
    **dict.fromkeys(("cholesky", "lu", "geqrf", "householder_product", "qr", "eigh", "svd"), _dense),
    "triangular_solve": _dense,
}  # fmt: skip


def in_float32(eqn: Any, operands: Sequence[Annotated]) -> list[Annotated]:
    """Operands of a narrow format, in float32 if the equation runs on them: its result is then not rounded yet."""
    name, dtype = eqn.primitive.name, eqn.outvars[0].aval.dtype
    if not is_inexact(dtype) or format_of(dtype).digits >= 24:
        return list(operands)
    if name not in _ELEMENTWISE:
        return list(operands)
    return [
        x._replace(value=lax.convert_element_type(x.value, jnp.float32)) if is_inexact(dtype_of(x.value)) else x
        for x in operands
    ]
