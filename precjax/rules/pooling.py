"""Windows: sums and maxima over them, and the gradient of a maximum.

Sums obey the theorem of `reduction`, with the window's size for n. A window's maximum moves by at most the largest
error in it. The gradient of max-pooling sends a number to the winner: where the winner is in doubt, every candidate may
gain or lose it.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _jax_compat as compat
from precjax._annotated import Annotated
from precjax._ball import Ball, read_error
from precjax._registry import refusal, rule
from precjax._rounding import error_dtype, is_inexact, less, maximum, never_nan, plus, reordered, times, where
from precjax.rules.integer import combine_integers
from precjax.rules.reduction import product_error, summed


@rule("reduce_window_sum")
def reduce_window_sum(
    model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, window_dimensions: Any, **params: Any
) -> list[Any]:
    """Any order within a window."""
    out = outs[0]
    add = lambda e: compat.primitives.reduce_window_sum_p.bind(e, window_dimensions=window_dimensions, **params)  # noqa: E731
    if not is_inexact(out.dtype):
        return [combine_integers(model, operands, out, add)]
    return [summed(model, model.ball(operands[0], error_dtype(out.dtype)), math.prod(window_dimensions), add, out)]


@rule("reduce_window_max", "reduce_window_min")
def reduce_window_max(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], **params: Any) -> list[Any]:
    """The largest error in the window."""
    x = Ball(operands[0], error_dtype(outs[0].dtype))
    error = read_error(x) if is_inexact(outs[0].dtype) else x.error
    if error is None:
        return [None]
    largest = compat.primitives.reduce_window_max_p.bind(never_nan(error), **params)
    # Padding counts as -inf there; a window of padding alone has no error.
    return [where(lax.eq(outs[0], outs[0]), reordered(maximum(largest, 0.0)), np.inf)]


@rule("select_and_scatter_add")
def select_and_scatter_add(
    model: Any,
    operands: Sequence[Annotated],
    outs: Sequence[Any],
    *,
    select_prim: Any,
    window_dimensions: Any,
    window_strides: Any,
    padding: Any,
) -> list[Any]:
    """Offset by offset in the window: who may have won, and what that changes."""
    source, operand = operands
    out = outs[0]
    dtype = error_dtype(out.dtype)
    s, x = Ball(source, dtype), Ball(operand, dtype)
    windows = _Windows(operand.value.shape, source.value.shape, window_dimensions, window_strides, padding)
    candidates = _candidates(windows, x, select_prim.name)
    error = _full(0.0 if s.absorbed is None else s.absorbed, source, dtype)
    disputed = less(1.0, sum(c.astype(dtype) for c in candidates))
    if x.exact:
        # Of equal numbers the first wins, in exact arithmetic as well, unless a subnormal was taken for 0.
        disputed = lax.bitwise_and(disputed, _full(jnp.any(x.subnormal), source, jnp.bool_))
    terms = math.prod(-(-w // max(t, 1)) for w, t in zip(window_dimensions, window_strides, strict=True))
    rounding = times(plus(s.size, s.reach), sum(model.sum_rounding(terms + 1, out.dtype)))
    share = plus(where(disputed, plus(s.size, error), error), rounding)
    total = jnp.zeros(out.shape, dtype)
    for candidate, offset in zip(candidates, windows.offsets, strict=True):
        total = lax.add(total, windows.put(where(candidate, share, 0.0), offset))
    return [_known(operand, model.total(out, total, ulps=0, steps=2 * len(windows.offsets), flushed=terms + 1))]


@rule("select_and_gather_add")
def select_and_gather_add(
    model: Any,
    operands: Sequence[Annotated],
    outs: Sequence[Any],
    *,
    select_prim: Any,
    window_dimensions: Any,
    window_strides: Any,
    padding: Any,
) -> list[Any]:
    """What the winner of each window sends: its error, or, where the winner is in doubt, all that candidates send."""
    sent, operand = operands
    out = outs[0]
    s, x = Ball(sent, error_dtype(out.dtype)), Ball(operand, error_dtype(out.dtype))
    windows = _Windows(operand.value.shape, out.shape, window_dimensions, window_strides, padding)
    candidates = _candidates(windows, x, select_prim.name)
    error = never_nan(_full(0.0 if s.absorbed is None else s.absorbed, sent, s.dtype))
    value = _full(s.value, sent, s.dtype)

    def extreme(array: Any, filler: float, choose: Any) -> Any:
        seen = [windows.take(array, offset, filler) for offset in windows.offsets]
        return functools.reduce(choose, (where(c, v, filler) for c, v in zip(candidates, seen, strict=True)))

    high, low = extreme(value, -np.inf, lax.max), extreme(value, np.inf, lax.min)
    largest = extreme(error, 0.0, lax.max)
    # From any candidate that an execution takes to any that the exact program takes.
    apart = plus(times(lax.sub(high, low), 1 + 8 * s.eps), times(largest, 3.0))
    disputed = less(1.0, sum(c.astype(s.dtype) for c in candidates))
    return [_known(operand, model.total(out, where(disputed, apart, largest), ulps=0))]


@rule("reduce_window")
def reduce_window(
    model: Any,
    operands: Sequence[Annotated],
    outs: Sequence[Any],
    *,
    window_dimensions: Any,
    window_strides: Any,
    padding: Any,
    base_dilation: Any,
    window_dilation: Any,
) -> list[Any]:
    """Products in windows."""

    def multiply(v: Any) -> Any:
        one = jnp.ones((), v.dtype)
        return lax.reduce_window(
            v, one, lax.mul, window_dimensions, window_strides, padding, base_dilation, window_dilation
        )

    return [product_error(model, operands[:1], outs[0], math.prod(window_dimensions) + 1, multiply)]


@refusal("select_and_gather_add")
def _dilated(eqn: Any) -> str | None:
    dilations = {*eqn.params["base_dilation"], *eqn.params["window_dilation"]}
    return "its windows are dilated" if dilations - {1} else None


@refusal("reduce_window")
def _no_product(eqn: Any) -> str | None:
    names = [inner.primitive.name for inner in compat.open_jaxpr(eqn.params["jaxpr"]).eqns]
    start = eqn.invars[1]
    if names == ["mul"] and compat.is_literal(start) and start.val == 1:
        return None
    return "it reduces with any function in any order, so nothing bounds its result"


def _known(operand: Annotated, error: Any) -> Any:
    """The error; inf where a NaN among the candidates spoils every comparison."""
    unknown = jnp.any(lax.ne(operand.value, operand.value))
    return where(jnp.broadcast_to(unknown, error.shape), np.inf, error)


def _full(value: Any, like: Annotated, dtype: Any) -> Any:
    return jnp.broadcast_to(jnp.asarray(value, dtype), like.value.shape)


def _candidates(windows: _Windows, x: Ball, comparison: str) -> list[Any]:
    """Per offset, which windows' winner may be there.

    Of equal numbers, such as the zeros after a relu, the first wins by "ge" or "le", the last by "gt" or "lt".
    """
    value = times(x.value, 1.0 if comparison.startswith("g") else -1.0)
    reach = plus(x.absorbed if x.exact else x.reach, times(x.size, 2 * x.eps))
    tops = [windows.take(lax.add(value, reach), offset, -np.inf) for offset in windows.offsets]
    bottoms = [windows.take(lax.sub(value, reach), offset, -np.inf) for offset in windows.offsets]
    best = functools.reduce(lax.max, bottoms)
    before = [lax.full_like(best, -np.inf), *itertools.accumulate(bottoms[:-1], lax.max)]
    if comparison in ("gt", "lt"):
        before = before[:1] * len(before)
    found = []
    for offset, top, earlier in zip(windows.offsets, tops, before, strict=True):
        # A window of equal infinities, or of padding alone, has no certain winner.
        beaten = lax.bitwise_or(lax.lt(top, best), lax.bitwise_and(lax.le(top, earlier), less(-np.inf, earlier)))
        found.append(lax.bitwise_and(lax.bitwise_not(beaten), windows.inside(offset)))
    return found


class _Windows:
    """All windows of a pooling, one offset at a time: `take` reads what each window sees there, `put` adds it back."""

    def __init__(self, shape: Any, count: Any, dimensions: Any, strides: Any, padding: Any) -> None:
        self.shape, self.count, self.strides, self.padding = shape, count, strides, padding
        self.offsets = list(itertools.product(*map(range, dimensions)))

    def take(self, x: Any, offset: Any, filler: float) -> Any:
        padded = lax.pad(x, jnp.asarray(filler, x.dtype), [(low, high, 0) for low, high in self.padding])
        limits = [o + (n - 1) * t + 1 for o, n, t in zip(offset, self.count, self.strides, strict=True)]
        return lax.slice(padded, offset, limits, self.strides)

    def inside(self, offset: Any) -> Any:
        """Where the offset is not padding."""
        return less(0.0, self.take(jnp.ones(self.shape, jnp.float32), offset, 0.0))

    def put(self, y: Any, offset: Any) -> Any:
        config = []
        for o, n, t, size, (low, _) in zip(offset, self.count, self.strides, self.shape, self.padding, strict=True):
            start, extent = o - low, (n - 1) * t + 1
            config.append((start, size - start - extent, t - 1))
        return lax.pad(y, jnp.zeros((), y.dtype), config)
