"""Where an index is in doubt: what any element that may have been meant would make of the result.

Theorem: let an index be any of those that its error allows, perhaps another one in every execution and in exact
arithmetic. What is moved there is one of the numbers along the indexed axes, so that no two of its values are further
apart than the largest and the smallest number there, errors included. A sum of scattered terms changes by no more than
all the terms whose place is in doubt, of which none may meet in one place, or all.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._annotated import Annotated
from precjax._rounding import enlarged, error_dtype, less, never_nan, plus, times


def may_leave(model: Any, index: Annotated, limits: Sequence[int]) -> Any:
    """Where an index ``(*s, k)`` may be below 0 or beyond the limits of its k components; None if nowhere."""
    if index.known.low >= 0 and index.known.high <= min(limits):
        return None
    place = lax.convert_element_type(index.value, jnp.float32)
    room = plus(model.error(index).astype(jnp.float32), times(lax.abs(place), 2.0**-20))
    ends = jnp.broadcast_to(np.asarray(limits, np.float32), place.shape)
    return lax.bitwise_or(less(lax.sub(place, room), 0.0), lax.gt(lax.add(place, room), ends))


def farthest_apart(model: Any, out: Any, *parts: tuple[Annotated, Sequence[int] | None]) -> Any:
    """How far numbers of a result may be apart that are one of several; inf for complex ones.

    Args:
        model: the model of error.
        out: the result.
        *parts: arrays of which it is made, each with the axes along which any number may have been meant, which
            are then of size 1, or None for all of them and no axes. What is left must broadcast.
    """
    dtype = error_dtype(out.dtype)
    if out.dtype == jnp.bool_ or not jnp.issubdtype(out.dtype, jnp.number) or jnp.iscomplexobj(out):
        return jnp.full((), 1.0 if out.dtype == jnp.bool_ else np.inf, dtype)
    ends = [_ends(model.ball(x, dtype), axes if axes is None else tuple(axes)) for x, axes in parts]
    below, above = (functools.reduce(jnp.maximum, end) for end in zip(*ends, strict=True))
    return enlarged(lax.add(below, above), 8, dtype)


def _ends(ball: Any, axes: tuple[int, ...] | None) -> list[Any]:
    """Upper bounds of -x and of x along axes, errors included."""
    more = ball.error if ball.linear else None
    ends = (never_nan(plus(end, more)) for end in (lax.neg(ball.low), ball.high))
    return [jnp.max(end, axis=axes, keepdims=axes is not None, initial=-np.inf) for end in ends]
