"""What each primitive of JAX is on pairs: one line per primitive.

An operand or result of a floating dtype is a pair; integers and bools are themselves. What only moves elements is done
to hi and lo alike.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _jax_compat as compat
from precjax._devices import Axes, added
from precjax._inline import CALLS
from precjax._places import line_of
from precjax._registry import MissingRuleError
from precjax._rounding import is_inexact
from precjax.doubledouble import _arithmetic as arithmetic
from precjax.doubledouble import _bessel as bessel
from precjax.doubledouble import _beta as beta
from precjax.doubledouble import _collectives as collectives
from precjax.doubledouble import _contractions as contractions
from precjax.doubledouble import _eigenvectors as eigenvectors
from precjax.doubledouble import _error_functions as error_functions
from precjax.doubledouble import _exponential as exponential
from precjax.doubledouble import _factorizations as factorizations
from precjax.doubledouble import _gamma as gamma
from precjax.doubledouble import _incomplete as incomplete
from precjax.doubledouble import _incomplete_slope as incomplete_slope
from precjax.doubledouble import _indexing as indexing
from precjax.doubledouble import _reductions as reductions
from precjax.doubledouble import _reflections as reflections
from precjax.doubledouble import _rotations as rotations
from precjax.doubledouble import _trigonometric as trigonometric
from precjax.doubledouble import _zeta as zeta
from precjax.doubledouble._pairs import DD, from_float, two_sum

# Primitives that only move elements, and choose them by operands that are no floats.
MOVES = frozenset({
    "broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims", "slice", "rev", "copy", "copy_p", "split",
    "unstack", "tile", "dynamic_slice", "dynamic_update_slice", "gather", "scatter", "concatenate", "stack", "pad",
    "select_n", "stop_gradient", "name", "optimization_barrier", "sharding_constraint", "pvary", "reshard",
    "layout_constraint", "device_put", "all_gather", "all_gather_invariant", "all_to_all", "pbroadcast", "ppermute",
})  # fmt: skip

_TABLE: dict[str, Callable[..., list[Any]]] = {}


def supports(name: str) -> bool:
    """Whether a primitive of floats is known on pairs."""
    return name in MOVES or name in _TABLE


def run(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    """The results of an equation on pairs.

    Args:
        eqn: an equation with floats among its operands or results, all real, whose primitive `supports` knows.
        operands: a pair for each float, an array for every other operand.

    Returns:
        The same for the results.
    """
    name = eqn.primitive.name
    return _move(eqn, operands) if name in MOVES else _TABLE[name](eqn, operands)


def _move(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    """The primitive on the high parts, and on the low ones."""
    high, low = ([x[i] if isinstance(x, DD) else x for x in operands] for i in range(2))
    # What a gather fills in has no low part.
    filled = compat.with_params(eqn, fill_value=0) if eqn.primitive.name == "gather" else eqn
    results = zip(compat.bind(eqn, high), compat.bind(filled, low), strict=True)
    return [DD(*x) if is_inexact(x[0].dtype) else x[0] for x in results]


def _elementwise(name: str, f: Callable[..., Any], *params: str) -> None:
    """An elementwise function of numbers of one shape, or of scalars, with some of the equation's parameters."""

    def apply(eqn: Any, operands: Sequence[Any]) -> list[Any]:
        pairs = [_pair(x) for x in operands]
        shape = np.broadcast_shapes(*(x.hi.shape for x in pairs))
        pairs = [DD(*(jnp.broadcast_to(v, shape) for v in x)) for x in pairs]
        return [f(*pairs, **{p: eqn.params[p] for p in params})]

    _TABLE[name] = apply


def _pair(x: Any) -> DD:
    return x if isinstance(x, DD) else from_integer(x)


for _module, _names in {
    arithmetic: "abs add ceil cbrt div eq floor ge gt is_finite le lt max min mul ne neg rsqrt sign sqrt square sub",
    exponential: "acosh asinh atanh cosh exp exp2 expm1 log log1p log2 logistic pow sinh tanh",
    trigonometric: "acos asin atan atan2 cos sin tan",
    error_functions: "erf erfc erf_inv",
    gamma: "lgamma digamma",
    zeta: "zeta polygamma",
    bessel: "bessel_i0e bessel_i1e",
    incomplete: "igamma igammac",
    incomplete_slope: "igamma_grad_a",
    beta: "regularized_incomplete_beta",
}.items():
    for _name in _names.split():
        _elementwise(_name, getattr(_module, _name))
_elementwise("add_any", arithmetic.add)
_elementwise("rem", arithmetic.rem)
_elementwise("clamp", lambda low, x, high: arithmetic.min(arithmetic.max(x, low), high))
_elementwise("round", arithmetic.round, "rounding_method")
_elementwise("integer_pow", arithmetic.integer_pow, "y")
_elementwise("one_minus_square", lambda x: arithmetic.sub(from_float(1.0), arithmetic.square(x)))


def _polynomial(x: DD, *coefficients: DD) -> DD:
    """From the last coefficient on, as the primitive does."""
    *others, result = coefficients
    for coefficient in reversed(others):
        result = arithmetic.add(arithmetic.mul(result, x), coefficient)
    return result


_elementwise("polynomial", _polynomial)


def _whole(name: str, f: Callable[..., Any], *params: str) -> None:
    """A function of one array, with some of the equation's parameters."""

    def apply(eqn: Any, operands: Sequence[Any]) -> list[Any]:
        result = f(*operands, **{p: eqn.params[p] for p in params})
        return [result] if isinstance(result, DD) or not isinstance(result, tuple) else list(result)

    _TABLE[name] = apply


for _name in ("reduce_sum", "reduce_prod", "reduce_max", "reduce_min"):
    _whole(_name, getattr(reductions, _name), "axes")
for _name in ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"):
    _whole(_name, getattr(reductions, _name), "axis", "reverse")
WINDOWS = ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")
for _name in ("reduce_window_sum", "reduce_window_max", "reduce_window_min"):
    _whole(_name, getattr(indexing, _name), *WINDOWS)
SCATTER = ("dimension_numbers", "indices_are_sorted", "unique_indices", "mode")
_whole("scatter-add", indexing.scatter_add, *SCATTER)
_whole("scatter-sub", lambda x, i, y, **p: indexing.scatter_add(x, i, arithmetic.neg(y), **p), *SCATTER)
for _name, _operation in {"mul": arithmetic.mul, "max": arithmetic.max, "min": arithmetic.min}.items():
    for _joint in "-_":
        _whole(f"scatter{_joint}{_name}", functools.partial(indexing.scatter_combined, _operation), *SCATTER)
_whole("conv_general_dilated", contractions.conv_general_dilated, "window_strides", "padding", "lhs_dilation",
       "rhs_dilation", "dimension_numbers", "feature_group_count", "batch_group_count")  # fmt: skip
_whole("triangular_solve", factorizations.triangular_solve, "left_side", "lower", "transpose_a", "conjugate_a",
       "unit_diagonal")  # fmt: skip
_whole("lu", factorizations.lu)
_whole("cholesky", factorizations.cholesky)
_whole("eigh", rotations.eigh, "lower")
_whole("eig", eigenvectors.eig, "compute_left_eigenvectors", "compute_right_eigenvectors")
_whole("svd", rotations.svd, "full_matrices", "compute_uv")
_whole("qr", reflections.qr, "full_matrices", "pivoting")
_whole("geqrf", reflections.geqrf)
_whole("householder_product", reflections.householder_product)
_whole("ormqr", reflections.ormqr, "left", "transpose")


def _primitive(*names: str) -> Callable[[Callable], Callable]:
    def register(f: Callable) -> Callable:
        _TABLE.update(dict.fromkeys(names, f))
        return f

    return register


@_primitive("argmax", "argmin")
def _winner(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    (axis,) = eqn.params["axes"]
    return [getattr(reductions, eqn.primitive.name)(*operands, axis, eqn.params["index_dtype"])]


@_primitive("top_k")
def _top_k(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    axis = eqn.params.get("axis", -1) % operands[0].hi.ndim
    return list(indexing.top_k(*operands, eqn.params["k"], axis))


@_primitive("approx_top_k")
def _approx_top_k(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    """The largest or smallest, exactly; without aggregation, those that float64 gives."""
    (x,), axis = operands, eqn.params["reduction_dimension"] % operands[0].hi.ndim
    if not eqn.params["aggregate_to_topk"]:
        high, places = compat.bind(eqn, [x.hi])
        return [DD(high, jnp.take_along_axis(x.lo, places, axis)), places]
    sign = 1 if eqn.params["is_max_k"] else -1
    found, places = indexing.top_k(_signed(x, sign), eqn.params["k"], axis)
    return [_signed(found, sign), places]


def _signed(x: DD, sign: int) -> DD:
    return x if sign > 0 else arithmetic.neg(x)


@_primitive("psum", "psum_invariant", "reduce_scatter")
def _added(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    (x,), groups = operands, eqn.params.get("axis_index_groups")
    axes = eqn.params.get("axes", eqn.params.get("axis_name"))
    return [collectives.added(eqn, x, Axes.of(axes, groups), added(axes, groups, x.hi.shape))]


@_primitive("pmax", "pmin")
def _extreme(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    extreme = collectives.largest if eqn.primitive.name == "pmax" else collectives.smallest
    return [extreme(*operands, Axes.of(eqn.params["axes"], eqn.params["axis_index_groups"]))]


@_primitive("sort")
def _sort(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    return indexing.sort(operands, **{p: eqn.params[p] for p in ("dimension", "num_keys", "is_stable")})


@_primitive("select_and_scatter_add", "select_and_gather_add")
def _select_and_add(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    windows = {name: value for name, value in eqn.params.items() if name in WINDOWS}
    largest = eqn.params["select_prim"].name.startswith("g")
    return [getattr(indexing, eqn.primitive.name)(*operands, largest, **windows)]


@_primitive("reduce")
def _reduce(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    return _folded(eqn, operands, lambda *args: lax.reduce(*args, eqn.params["dimensions"]))


@_primitive("reduce_window")
def _reduce_window(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    windows = {name: eqn.params[name] for name in WINDOWS}
    return _folded(eqn, operands, lambda *args: lax.reduce_window(*args, **windows))


def _folded(eqn: Any, operands: Sequence[Any], reduce: Callable[..., Any]) -> list[Any]:
    """A reduction by the equation's own function; high and low parts are operands of their own."""
    count = len(operands) // 2
    arrays, starts = list(operands[:count]), list(operands[count:])
    structure = jax.tree.structure(arrays)

    def step(*both: Any) -> tuple[Any, ...]:
        parts = [x for v in both for x in jax.tree.unflatten(structure, v)]
        return tuple(jax.tree.leaves(_evaluated(eqn.params["jaxpr"], parts)))

    folded = reduce(tuple(jax.tree.leaves(arrays)), tuple(jax.tree.leaves(starts)), step)
    return jax.tree.unflatten(structure, folded)


def _evaluated(jaxpr: Any, arguments: Sequence[Any]) -> list[Any]:
    """The results of a jaxpr on pairs and arrays."""
    body = compat.open_jaxpr(jaxpr)
    env = dict(zip((*body.constvars, *body.invars), (*compat.constants(jaxpr), *arguments), strict=True))

    def read(atom: Any) -> Any:
        value = np.asarray(atom.val, atom.aval.dtype) if compat.is_literal(atom) else env[atom]
        if isinstance(value, DD) or not is_inexact(atom.aval.dtype):
            return value
        return from_float(jnp.asarray(value, jnp.float64))

    for eqn in body.eqns:
        env.update(zip(eqn.outvars, _step(eqn, [read(atom) for atom in eqn.invars]), strict=True))
    return [read(atom) for atom in body.outvars]


def _step(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    """One equation of a jaxpr, which may be a call of another."""
    if eqn.primitive.name in CALLS:
        return _evaluated(compat.call_jaxpr(eqn), operands)
    if not any(isinstance(x, DD) for x in operands):
        return compat.bind(eqn, operands)
    if not supports(eqn.primitive.name):
        raise MissingRuleError(f"no arithmetic of pairs for {eqn.primitive.name!r}, used at {line_of(eqn)}")
    return run(eqn, operands)


@_primitive("dot_general")
def _dot_general(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    numbers = tuple(tuple(tuple(axes) for axes in pair) for pair in eqn.params["dimension_numbers"])
    return [contractions.dot_general(*map(_pair, operands), numbers)]


@_primitive("ragged_dot_general")
def _ragged_dot_general(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    x, y, sizes = operands
    return [contractions.ragged_dot_general(_pair(x), _pair(y), sizes, eqn.params["ragged_dot_dimension_numbers"])]


@_primitive("convert_element_type")
def _convert(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    """Between floats and integers; the format of a float means nothing."""
    (x,), dtype = operands, eqn.params["new_dtype"]
    if not isinstance(x, DD):
        return [from_integer(x)]
    return [x if is_inexact(dtype) else to_integer(x, dtype)]


def from_integer(x: Any) -> DD:
    """An array of integers or bools as pairs, exactly."""
    if x.dtype not in (jnp.int64, jnp.uint64):
        return from_float(x)
    upper, lower = lax.shift_right_arithmetic if x.dtype == jnp.int64 else lax.shift_right_logical, 2**32 - 1
    top = lax.convert_element_type(upper(x, lax.full_like(x, 32)), np.float64) * 2.0**32
    return DD(*two_sum(top, lax.convert_element_type(x & lax.full_like(x, lower), np.float64)))


def to_integer(x: DD, dtype: Any) -> Any:
    """Pairs truncated to integers, as XLA casts: saturated, NaN to 0; bools say what is not 0."""
    if dtype == jnp.bool_:
        return x.hi != 0
    whole = arithmetic.select(x.hi < 0, arithmetic.ceil(x), arithmetic.floor(x))
    high, low = (lax.convert_element_type(v, dtype) for v in (whole.hi, lax.abs(whole.lo)))
    inside = lax.convert_element_type(high, np.float64) == whole.hi
    return jnp.where(inside, jnp.where(whole.lo < 0, high - low, high + low), high)
