"""Gathers, scatters and dynamic slices.

Theorem: with certain indices they move elements, so errors move the same way; with an uncertain index any element may
have been meant and the error is inf. A slice that would reach beyond its array is moved back: its start is certain
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
from precjax._registry import refusal, rule
from precjax._rounding import enlarged, error_dtype, is_inexact, less, never_nan, plus, reordered, times, where
from precjax.rules.integer import combine_integers
from precjax.rules.reduction import product_error
from precjax.rules.structural import explicit


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


def _unless(doubt: Any, error: Any, model: Any, out: Any) -> Any:
    """The error, inf where the indices are in doubt."""
    if doubt is None:
        return error
    if error is None:
        error = model.explicit(Annotated(out)).error
    return where(jnp.broadcast_to(doubt, error.shape), np.inf, error)


@rule("gather")
def gather(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], **params: Any) -> list[Any]:
    """Rows of errors; what is filled in for an index out of bounds is exact."""
    x, indices = operands
    error = None
    if x.error is not None:
        params = (
            {**params, "fill_value": 0} if params.get("fill_value") is not None or "fill_value" in params else params
        )
        error = compat.primitives.gather_p.bind(x.error, indices.value, **params)
    doubt = model.doubt(indices)
    if doubt is not None:
        doubt = _rows_in_doubt(doubt, outs[0], params["dimension_numbers"])
    return [_unless(doubt, error, model, outs[0])]


def _rows_in_doubt(doubt: Any, out: Any, numbers: Any) -> Any:
    """The result's rows whose index is in doubt."""
    rows = jnp.any(doubt, axis=-1)
    batch = [d for d in range(out.ndim) if d not in numbers.offset_dims]
    return lax.broadcast_in_dim(rows, out.shape, batch)


@rule("dynamic_slice")
def dynamic_slice(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, slice_sizes: Any) -> list[Any]:
    """A slice of the errors."""
    x, *starts = operands
    error = None if x.error is None else lax.dynamic_slice(x.error, [s.value for s in starts], slice_sizes)
    limits = [n - size for n, size in zip(x.value.shape, slice_sizes, strict=True)]
    return [_unless(_starts_in_doubt(model, starts, limits), error, model, outs[0])]


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
    return [_unless(_starts_in_doubt(model, starts, limits), error, model, outs[0])]


@rule("scatter")
def scatter(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], **params: Any) -> list[Any]:
    """Errors of the updates where they land."""
    x, indices, update = operands
    error = None
    if x.error is not None or update.error is not None:
        dtype = error_dtype(outs[0].dtype)
        errors = (explicit(model, x, dtype), indices.value, explicit(model, update, dtype))
        error = compat.primitives.scatter_p.bind(*errors, **_float_updates(params))
    return [_unless(_uncertain(model, [indices]), error, model, outs[0])]


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

    if not is_inexact(out.dtype):
        errors = [
            combine_integers(
                model, [x, update], out, lambda *_: add(explicit(model, x, dtype), explicit(model, update, dtype))
            )
        ]
        return [_unless(_uncertain(model, [indices]), errors[0], model, out)]
    a, b = model.ball(x, dtype), model.ball(update, dtype)
    steps = max(int(np.prod(indices.value.shape[:-1])), 1) + 2
    ones = jnp.ones(update.value.shape, dtype)
    count = add(jnp.zeros(out.shape, dtype), ones)
    sizes = add(*(jnp.asarray(plus(o.size, o.reach), dtype) for o in (a, b)))
    moved = add(*(jnp.broadcast_to(jnp.asarray(o.absorbed, dtype), np.shape(o.operand.value)) if o.absorbed is not None
                  else jnp.zeros(np.shape(o.operand.value), dtype) for o in (a, b)))  # fmt: skip
    bound = enlarged(plus(moved, times(sizes, count, model.unit(out.dtype))), 2 * steps, dtype)
    error = model.total(out, bound, ulps=0, flushed=steps)
    return [_unless(_uncertain(model, [indices]), error, model, out)]


def _scattered(scatter: Any, base: Any, indices: Any, updates: Any, params: dict[str, Any]) -> Any:
    """A scatter of errors, as the primitive scatters values."""
    return scatter(
        base, indices, updates, params["dimension_numbers"], indices_are_sorted=params["indices_are_sorted"],
        unique_indices=params["unique_indices"], mode=params["mode"],
    )  # fmt: skip


@rule("scatter-mul", "scatter_mul")
def scatter_mul(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], **params: Any) -> list[Any]:
    """Products of as many factors as meet in a place, in any order."""
    x, indices, update = operands
    multiply = lambda base, updates: _scattered(lax.scatter_mul, base, indices.value, updates, params)  # noqa: E731
    terms = max(int(np.prod(indices.value.shape[:-1])), 1) + 1
    error = product_error(model, [x, update], outs[0], terms, multiply)
    return [_unless(_uncertain(model, [indices]), error, model, outs[0])]


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
    return [_unless(_uncertain(model, [indices]), error, model, out)]


def _reads_subnormals(dtype: Any) -> bool:
    """Whether comparisons may take subnormals for 0."""
    return is_inexact(dtype) and platforms.current().read_loss(dtype) > 0
