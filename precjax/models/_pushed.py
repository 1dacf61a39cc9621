"""How a deviation passes through an equation: f(x + d) - f(x), for many deviations at once.

Deviations are arrays ``(k, *s)`` beside values ``(*s)``: k possible errors of the same number. They are far smaller
than the values, so f(x + d) - f(x) is rarely computed like that:

- for basic operations there is a formula without cancellation, exact also where a number is as uncertain as it is
  large: (a + da) / (b + db) - a / b = (da - db a / b) / (b + db);
- products of matrices of which both deviate are made anew, with larger deviations, see `_pushed_products`;
- comparisons are decided anew for every deviation: a + da < b + db is (a - b) + (da - db) < 0, where a - b is exact if
  it matters (Sterbenz), and selections and maxima choose anew;
- other real functions pass deviations by their derivative, as JAX knows it: the first term of Taylor's series.

Correlations are kept: a number that is used twice deviates alike in both places, so that what cancels cancels.

References:
    Sterbenz, Floating-point computation, Prentice-Hall 1974, theorem 4.3.1.
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
from precjax import _lapack as lapack
from precjax._annotated import Annotated
from precjax._rounding import dtype_of, error_dtype, is_inexact, is_plain, stored
from precjax._widen import is_cast, retyped
from precjax.models._pushed_products import PRODUCTS, for_each, in_wide, moved_product, wide_dtype

_FUNCTIONS: dict[str, Callable[..., Any]] = {}


def probes_first(x: Annotated) -> Annotated:
    """Deviations ``(k, *s)``, which are fast to compute with; XLA drops the transposition between two operations."""
    error = None if x.error is None else jnp.moveaxis(x.error, -1, 0)
    return x._replace(value=lax.stop_gradient(x.value), error=error)


def pushed(eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any] | None:
    """The deviations of the results, roundings of the equation itself left out.

    Args:
        eqn: an equation.
        operands: annotated with deviations ``(k, *s)``, None where exact.
        outs: its results.

    Returns:
        An array ``(k, *s)`` for each result in its dtype of errors; None if it is not known how they pass.
    """
    name = eqn.primitive.name
    arrays = (*outs, *(x.value for x in operands))
    if any(jnp.issubdtype(dtype_of(v), jnp.complexfloating) or not is_plain(v) for v in arrays):
        return None
    if is_cast(eqn):
        return [operands[0].error.astype(error_dtype(outs[0].dtype))]
    if name == "select_and_scatter_add":
        return [_scattered(eqn, operands, outs[0])]
    if all(map(_is_bool, arrays)):
        return _of_bools(eqn, operands, outs)
    if name in _FUNCTIONS:
        return _FUNCTIONS[name](eqn, operands, outs[0])
    results = () if name in _WITH_INTEGERS else outs
    if not all(is_inexact(dtype_of(v)) for v in (*results, *(x.value for x in operands if x.error is not None))):
        return None
    if name in PRODUCTS and all(x.error is not None for x in operands):
        return [moved_product(eqn, *operands, outs[0])]
    return _linear(eqn, operands, outs)


_WITH_INTEGERS = ("lu",)  # among their results, which do not move


def _linear(eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any] | None:
    """By the derivative, in the dtype of errors."""
    wide = [x._replace(value=in_wide(x.value)) for x in operands]
    eqn = retyped(eqn, wide, wide_dtype)
    moving = [i for i, x in enumerate(wide) if x.error is not None]

    def function(*values: Any) -> list[Any]:
        every = [x.value for x in wide]
        for i, value in zip(moving, values, strict=True):
            every[i] = value
        return [out for out in lapack.bind_each(eqn, every) if is_inexact(out.dtype)]

    values = [jnp.asarray(wide[i].value) for i in moving]
    # Made before they are summed: XLA's library is slow at what it makes itself.
    deviations = [stored(wide[i].error.astype(v.dtype)) for i, v in zip(moving, values, strict=True)]
    slope = lambda *ds: jax.jvp(function, values, list(ds))[1]  # noqa: E731
    try:
        made = for_each(eqn, slope)(*deviations)
    except (NotImplementedError, ValueError):  # a primitive without a derivative, by some operand
        return None
    if len(deviations) == 1:  # a slope may be infinite, and 0 inf is not 0
        (d,) = deviations
        made = [jnp.where(d == 0, 0, m) if m.shape == d.shape and eqn.primitive.name in _STEEP else m for m in made]
    made = iter(made)
    return [next(made).astype(error_dtype(out.dtype)) if is_inexact(out.dtype) else None for out in outs]


_STEEP = frozenset({"log1p", "cbrt", "integer_pow", "asin", "acos", "acosh", "atanh", "erf_inv", "lgamma", "digamma"})


def _is_bool(value: Any) -> bool:
    return dtype_of(value) == jnp.bool_


def _of_bools(eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Run again with the bools that the deviations turn."""
    axes = [None if x.error is None else 0 for x in operands]
    turned = [x.value if x.error is None else _turned(x) for x in operands]
    made = jax.vmap(lambda *values: compat.bind(eqn, values), in_axes=axes)(*turned)
    return [jnp.not_equal(m, out[None]).astype(jnp.float32) for m, out in zip(made, outs, strict=True)]


def _turned(x: Annotated) -> Any:
    return jnp.not_equal(jnp.asarray(x.value)[None], x.error != 0)


def _scattered(eqn: Any, operands: Sequence[Annotated], out: Any) -> Any:
    """The gradient of a maximum over windows: other elements may be chosen; what they get is moved and added."""
    source, chosen = (x._replace(value=in_wide(x.value)) for x in operands)
    eqn = retyped(eqn, [source, chosen], wide_dtype)
    sample = chosen.value if chosen.error is None else chosen.value + chosen.error
    axis = None if chosen.error is None else 0
    run = lambda s, c: compat.bind(eqn, [s, c])[0]  # noqa: E731
    made = 0.0
    if chosen.error is not None:
        elsewhere = jax.vmap(run, in_axes=(None, 0))(source.value, sample)
        made = elsewhere - run(source.value, chosen.value)
    if source.error is not None:
        made = made + jax.vmap(run, in_axes=(0, axis))(source.error, sample)
    return made.astype(error_dtype(out.dtype))


# ------------------------------------------------------------------------------------------ functions with a formula


def formula(*names: str) -> Callable[[Callable], Callable]:
    """Registers ``f(eqn, out, *(value, deviation)) -> deviation``, all ``(1 or k, *s)`` in the dtype of errors."""

    def register(f: Callable[..., Any]) -> Callable[..., Any]:
        def deviations(eqn: Any, operands: Sequence[Annotated], out: Any) -> list[Any]:
            rank = np.ndim(out)
            pairs = [
                (_spread(jnp.asarray(in_wide(x.value))[None], rank), _spread(_deviation(x), rank)) for x in operands
            ]
            made = f(eqn, jnp.asarray(in_wide(out))[None], *pairs)
            count = max(len(x.error) for x in operands if x.error is not None)
            return [jnp.broadcast_to(made, (count, *np.shape(out))).astype(error_dtype(dtype_of(out)))]

        _FUNCTIONS.update(dict.fromkeys(names, deviations))
        return f

    return register


def _spread(x: Any, rank: int) -> Any:
    """A scalar operand of an operation on arrays, or what does not deviate."""
    return x.reshape(len(x), *[1] * rank) if np.ndim(x) == 1 else x


def _deviation(x: Annotated) -> Any:
    """Of a bool: what turning it would add."""
    if x.error is None or not _is_bool(x.value):
        return 0.0 if x.error is None else x.error
    return _turned(x).astype(jnp.float32) - jnp.asarray(x.value)[None].astype(jnp.float32)


@formula("add", "add_any")
def _add(eqn: Any, out: Any, a: Any, b: Any) -> Any:
    return a[1] + b[1]


@formula("sub")
def _sub(eqn: Any, out: Any, a: Any, b: Any) -> Any:
    return a[1] - b[1]


@formula("mul")
def _mul(eqn: Any, out: Any, a: Any, b: Any) -> Any:
    return a[1] * (b[0] + b[1]) + a[0] * b[1]


@formula("square")
def _square(eqn: Any, out: Any, x: Any) -> Any:
    return x[1] * (2 * x[0] + x[1])


@formula("div")
def _div(eqn: Any, out: Any, a: Any, b: Any) -> Any:
    moved = a[1] - out * b[1]
    return jnp.where(moved == 0, 0, moved / (b[0] + b[1]))


@formula("sqrt")
def _sqrt(eqn: Any, out: Any, x: Any) -> Any:
    """Below 0 is no exact number that has a root."""
    d = jnp.maximum(x[1], -x[0])
    return jnp.where(d == 0, 0, d / (out + jnp.sqrt(x[0] + d)))


@formula("rsqrt")
def _rsqrt(eqn: Any, out: Any, x: Any) -> Any:
    moved = jnp.sqrt(x[0] + x[1])
    return jnp.where(x[1] == 0, 0, -out * x[1] / (moved * (moved + jnp.sqrt(x[0]))))


@formula("exp")
def _exp(eqn: Any, out: Any, x: Any) -> Any:
    return jnp.where(x[1] == 0, 0, out * jnp.expm1(x[1]))


@formula("log")
def _log(eqn: Any, out: Any, x: Any) -> Any:
    ratio = x[1] / x[0]
    return jnp.where(x[1] == 0, 0, jnp.where(jnp.abs(ratio) < 0.5, jnp.log1p(ratio), ratio))


@formula("abs")
def _abs(eqn: Any, out: Any, x: Any) -> Any:
    """||x + d| - |x|| is |d| unless x + d has the other sign."""
    return jnp.where(x[0] < 0, -x[1], x[1]) + 2 * jnp.maximum(jnp.where(x[0] < 0, x[1], -x[1]) - out, 0)


@formula("stop_gradient")
def _same(eqn: Any, out: Any, x: Any) -> Any:
    return x[1]


@formula("sign")
def _sign(eqn: Any, out: Any, x: Any) -> Any:
    return jnp.sign(x[0] + x[1]) - out


@formula("floor", "ceil", "round")
def _rounded(eqn: Any, out: Any, x: Any) -> Any:
    """Integers are apart from each other by integers: what x is beside its own, and the deviation, tell how many."""
    return jnp.where(x[1] == 0, 0, compat.bind(eqn, [(x[0] - out) + x[1]])[0])


@formula("convert_element_type")
def _number_of_bool(eqn: Any, out: Any, x: Any) -> Any:
    """Of an integer: its own; casts of floats to integers are not passed on (see `pushed`)."""
    return x[1]


def _compared(turn: Callable[[Any, Any], Any], eqn: Any, out: Any, a: Any, b: Any) -> Any:
    sample = turn((a[0] - b[0]) + (a[1] - b[1]), 0)
    return jnp.not_equal(sample, turn(a[0], b[0])).astype(jnp.float32)


for _name, _turn in {
    "lt": jnp.less, "le": jnp.less_equal, "gt": jnp.greater, "ge": jnp.greater_equal, "eq": jnp.equal,
    "ne": jnp.not_equal,
}.items():  # fmt: skip
    formula(_name)(functools.partial(_compared, _turn))


def _extreme(sign: int, eqn: Any, out: Any, a: Any, b: Any) -> Any:
    """The larger of both differences to the result."""
    differences = [sign * (_from(x[0], out) + x[1]) for x in (a, b)]
    return sign * jnp.maximum(*differences)


formula("max")(functools.partial(_extreme, 1))
formula("min")(functools.partial(_extreme, -1))


def _extreme_of_all(extreme: Callable[..., Any], eqn: Any, out: Any, x: Any) -> Any:
    axes = tuple(axis + 1 for axis in eqn.params["axes"])
    return extreme(_from(x[0], jnp.expand_dims(out, axes)) + x[1], axes)


formula("reduce_max")(functools.partial(_extreme_of_all, jnp.max))
formula("reduce_min")(functools.partial(_extreme_of_all, jnp.min))


def _from(value: Any, out: Any) -> Any:
    """value - out: 0 for an infinity and itself."""
    return jnp.where(value == out, 0, value - out)


@formula("clamp")
def _clamp(eqn: Any, out: Any, low: Any, x: Any, high: Any) -> Any:
    ends = [_from(end[0], out) + end[1] for end in (low, high)]
    return jnp.minimum(jnp.maximum(_from(x[0], out) + x[1], ends[0]), ends[1])


@formula("select_n")
def _select(eqn: Any, out: Any, which: Any, *cases: Any) -> Any:
    """Another case where the deviation turns the choice."""
    index = jnp.round(which[0].astype(jnp.float32) + which[1]).astype(jnp.int32)
    moved = [_from(value, out) + d for value, d in cases]
    shape = jnp.broadcast_shapes(index.shape, *(np.shape(m) for m in moved))
    index, *moved = (jnp.broadcast_to(m, shape) for m in (index, *moved))
    return lax.select_n(jnp.clip(index, 0, len(moved) - 1), *moved)
