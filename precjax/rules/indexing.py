"""Gathers, scatters and dynamic slices.

Theorem: with certain indices they move elements, so errors move the same way; with an uncertain index any element may
have been meant (`uncertain_indices`). A slice that would reach beyond its array is moved back: its start is certain
where all that it may be is on one side of the array. A scatter-add sums what meets in one place: (count - 1) u sum |x|
more, the count being scattered along.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _jax_compat as compat
from precjax import platforms
from precjax._annotated import Annotated
from precjax._registry import complex_rule, refusal, rule
from precjax._rounding import (
    COMPLEX_PRODUCT,
    enlarged,
    error_dtype,
    is_inexact,
    less,
    never_nan,
    plus,
    reordered,
    times,
    where,
)
from precjax.rules.integer import combine_integers
from precjax.rules.reduction import product_error
from precjax.rules.structural import explicit
from precjax.rules.uncertain_indices import farthest_apart, may_leave


def _uncertain(model: Any, indices: Sequence[Annotated]) -> Any:
    """A bool scalar: whether any index is in doubt; None if never."""
    doubts = [jnp.any(d) for x in indices if (d := model.doubt(x)) is not None]
    return None if not doubts else jnp.any(jnp.stack(doubts))


def _starts_in_doubt(model: Any, starts: Sequence[Annotated], limits: Sequence[int]) -> Any:
    """The same of starts that are clamped to [0, limit]."""
    doubts = []
    for start, limit in zip(starts, limits, strict=True):
        doubt = model.doubt(start)
        if doubt is None or limit == 0:
            continue
        place = lax.convert_element_type(start.value, jnp.float32)
        room = plus(model.error(start).astype(jnp.float32), times(lax.abs(place), 2.0**-20))
        clamped = lax.bitwise_or(less(limit * (1 + 2.0**-20), lax.sub(place, room)), less(plus(place, room), 0.0))
        doubts.append(lax.bitwise_and(doubt, lax.bitwise_not(clamped)))
    return None if not doubts else jnp.any(jnp.stack(doubts))


def _unless(doubt: Any, error: Any, model: Any, out: Any, apart: Any = np.inf) -> Any:
    """The error, or how far numbers may be apart where the indices are in doubt."""
    if doubt is None:
        return error
    if error is None:
        error = model.explicit(Annotated(out)).error
    return where(jnp.broadcast_to(doubt, error.shape), apart, error)


@rule("gather")
def gather(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], **params: Any) -> list[Any]:
    """Rows of errors; what is filled in for an index out of bounds is exact."""
    (x, indices), out = operands, outs[0]
    numbers = params["dimension_numbers"]
    moved = lambda errors: compat.primitives.gather_p.bind(errors, indices.value, **{**params, "fill_value": 0})  # noqa: E731
    error = None if x.error is None else moved(x.error)
    doubt = model.doubt(indices)
    if doubt is None:
        return [error]
    indexed = numbers.start_index_map
    apart = moved(jnp.broadcast_to(farthest_apart(model, out, (x, indexed)), x.value.shape))
    if "FILL" in str(params["mode"]):
        limits = [x.value.shape[d] - params["slice_sizes"][d] for d in indexed]
        leaves = may_leave(model, indices, limits)
        if leaves is not None:
            apart = where(_along(jnp.any(leaves, axis=-1), out.shape, numbers.offset_dims), np.inf, apart)
    return [_unless(_along(jnp.any(doubt, axis=-1), out.shape, numbers.offset_dims), error, model, out, apart)]


def _along(rows: Any, shape: tuple[int, ...], windows: Sequence[int]) -> Any:
    """What holds for indices, for all numbers of their windows."""
    return lax.broadcast_in_dim(rows, shape, [d for d in range(len(shape)) if d not in windows])


@rule("dynamic_slice")
def dynamic_slice(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, slice_sizes: Any) -> list[Any]:
    """A slice of the errors."""
    x, *starts = operands
    error = None if x.error is None else lax.dynamic_slice(x.error, [s.value for s in starts], slice_sizes)
    limits = [n - size for n, size in zip(x.value.shape, slice_sizes, strict=True)]
    doubt = _starts_in_doubt(model, starts, limits)
    apart = None if doubt is None else farthest_apart(model, outs[0], (x, [d for d, room in enumerate(limits) if room]))
    return [_unless(doubt, error, model, outs[0], apart)]


@rule("dynamic_update_slice")
def dynamic_update_slice(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Errors of the update where it lands."""
    x, update, *starts = operands
    error = None
    if x.error is not None or update.error is not None:
        dtype = error_dtype(outs[0].dtype)
        error = lax.dynamic_update_slice(
            explicit(model, x, dtype), explicit(model, update, dtype), [s.value for s in starts]
        )
    limits = [n - size for n, size in zip(x.value.shape, update.value.shape, strict=True)]
    doubt = _starts_in_doubt(model, starts, limits)
    return [_unless(doubt, error, model, outs[0], _old_or_new(model, outs[0], doubt, x, update))]


def _old_or_new(model: Any, out: Any, doubt: Any, x: Annotated, update: Annotated) -> Any:
    """How far numbers may be apart that are what they were, or any of the update."""
    return None if doubt is None else farthest_apart(model, out, (x, ()), (update, None))


@rule("scatter")
def scatter(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], **params: Any) -> list[Any]:
    """Errors of the updates where they land."""
    x, indices, update = operands
    error = None
    if x.error is not None or update.error is not None:
        dtype = error_dtype(outs[0].dtype)
        errors = (explicit(model, x, dtype), indices.value, explicit(model, update, dtype))
        error = compat.primitives.scatter_p.bind(*errors, **_float_updates(params))
    doubt = _uncertain(model, [indices])
    return [_unless(doubt, error, model, outs[0], _old_or_new(model, outs[0], doubt, x, update))]


@refusal("scatter")
def _applies(eqn: Any) -> str | None:
    """Whether the new number is not what is left of (old, new)."""
    update = eqn.params["update_jaxpr"]
    body = None if update is None else compat.open_jaxpr(update)
    overwrites = body is None or (not body.eqns and body.outvars[0] is body.invars[1])
    return None if overwrites else "it applies a function in place; write x.at[i].set(f(x[i]))"


def _float_updates(params: dict[str, Any]) -> dict[str, Any]:
    """A scatter of errors needs no jaxpr of how updates of the values' dtype combine."""
    return {**params, "update_jaxpr": None, "update_consts": ()}


@rule("scatter-add", "scatter-sub", "scatter_add", "scatter_sub")
def scatter_add(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], **params: Any) -> list[Any]:
    """Sums of errors, and roundings of sums of as many terms as meet in a place, in any order."""
    x, indices, update = operands
    out = outs[0]
    dtype = error_dtype(out.dtype)

    def add(base: Any, updates: Any) -> Any:
        return _scattered(lax.scatter_add, base, indices.value, updates, params)

    def strays(terms: Any) -> Any:
        """The terms whose place is in doubt, all of which may meet in any."""
        doubt = model.doubt(indices)
        if doubt is None:
            return None
        numbers = params["dimension_numbers"]
        uncertain = _along(jnp.any(doubt, axis=-1), terms.shape, numbers.update_window_dims)
        first = _scattered(
            lax.scatter_add, jnp.zeros(out.shape, dtype), jnp.zeros_like(indices.value), where(uncertain, terms, 0.0),
            {**params, "unique_indices": False},
        )  # fmt: skip
        total = jnp.sum(first, axis=numbers.scatter_dims_to_operand_dims, keepdims=True)
        return jnp.broadcast_to(total, out.shape)

    a, b = model.ball(x, dtype), model.ball(update, dtype)
    size = jnp.asarray(plus(b.size, b.reach, b.error if b.linear else None), dtype)
    if not is_inexact(out.dtype):
        bound = lambda *_: plus(add(explicit(model, x, dtype), explicit(model, update, dtype)), strays(size))  # noqa: E731
        return [combine_integers(model, [x, indices, update], out, bound)]
    steps = max(int(np.prod(indices.value.shape[:-1])), 1) + 2
    ones = jnp.ones(update.value.shape, dtype)
    count = plus(add(jnp.zeros(out.shape, dtype), ones), strays(ones))
    astray = strays(size)
    sizes = plus(add(jnp.asarray(plus(a.size, a.reach), dtype), size), astray)
    moved = add(*(jnp.broadcast_to(jnp.asarray(o.absorbed, dtype), np.shape(o.operand.value)) if o.absorbed is not None
                  else jnp.zeros(np.shape(o.operand.value), dtype) for o in (a, b)))  # fmt: skip
    bound = enlarged(plus(moved, astray, times(sizes, count, model.unit(out.dtype))), 2 * steps, dtype)
    return [model.total(out, bound, ulps=0, flushed=steps)]


def _scattered(scatter: Any, base: Any, indices: Any, updates: Any, params: dict[str, Any]) -> Any:
    """A scatter of errors, as the primitive scatters values."""
    return scatter(
        base, indices, updates, params["dimension_numbers"], indices_are_sorted=params["indices_are_sorted"],
        unique_indices=params["unique_indices"], mode=params["mode"],
    )  # fmt: skip


@rule("scatter-mul", "scatter_mul")
def scatter_mul(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], **params: Any) -> list[Any]:
    """Products of as many factors as meet in a place, in any order."""
    return _products(model, operands, outs[0], params, ulps=1.0)


@complex_rule("scatter-mul", "scatter_mul")
def complex_scatter_mul(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], **params: Any) -> list[Any]:
    """As of real numbers, with the roundings of complex products."""
    return _products(model, operands, outs[0], params, COMPLEX_PRODUCT)


def _products(model: Any, operands: Sequence[Annotated], out: Any, params: dict[str, Any], ulps: float) -> list[Any]:
    x, indices, update = operands
    multiply = lambda base, updates: _scattered(lax.scatter_mul, base, indices.value, updates, params)  # noqa: E731
    terms = max(int(np.prod(indices.value.shape[:-1])), 1) + 1
    error = product_error(model, [x, update], out, terms, multiply, ulps)
    return [_unless(_uncertain(model, [indices]), error, model, out)]


@rule("scatter-max", "scatter-min", "scatter_max", "scatter_min")
def scatter_extreme(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], **params: Any) -> list[Any]:
    """The largest error of what meets in a place: extremes are nonexpansive."""
    x, indices, update = operands
    out, error = outs[0], None
    dtype = error_dtype(out.dtype)
    if x.error is not None or update.error is not None or _reads_subnormals(out.dtype):
        errors = [never_nan(explicit(model, o, dtype)) for o in (x, update)]
        largest = _scattered(lax.scatter_max, errors[0], indices.value, errors[1], params)
        error = where(lax.eq(out, out), reordered(largest) if is_inexact(out.dtype) else largest, np.inf)
    doubt = _uncertain(model, [indices])
    return [_unless(doubt, error, model, out, _old_or_new(model, out, doubt, x, update))]


def _reads_subnormals(dtype: Any) -> bool:
    """Whether comparisons may take subnormals for 0."""
    return is_inexact(dtype) and platforms.current().read_loss(dtype) > 0
