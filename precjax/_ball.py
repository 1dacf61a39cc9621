"""A value and its error, as a rule sees them.

Two radii. `error` bounds |computed - exact| for every admissible execution. The tracked value is one execution; the
exact value lies within `error` of it, and any other execution's value within `error` of the exact one, hence within
`reach` of the tracked one: twice the error, or once where the value is settled (every execution has it). A rule
evaluates slopes and decides comparisons over `reach`, so that its bound holds whatever order, contraction or precision
the compiler chooses.

Reading. A subnormal operand may be read as 0. A computed value's error already covers that (it was enlarged by the
smallest normal number, once, for the result or for its reading). For an exact one that is not a constant, `absorbed`
supplies it.

Of a complex number the error and the reach are radii of discs, and rules read only the modulus, `size`, which is itself
rounded: `near` and `far` allow for that.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import platforms
from precjax._annotated import RANGE_SLACK, Annotated
from precjax._rounding import (
    as_error,
    dtype_of,
    format_of,
    held,
    is_constant,
    is_inexact,
    magnitude,
    maximum,
    plus,
    times,
    typed,
    where,
)


class Ball:
    """An array with an error, in the dtype of the errors of the result.

    Attributes:
        linear: whether errors spread as if they were infinitely small; see `Point`.
    """

    linear = False

    def __init__(self, operand: Annotated, dtype: Any) -> None:
        """Views `operand` in arithmetic of `dtype` (float32 or float64)."""
        self.operand, self.dtype = operand, dtype
        self.eps = 2 * format_of(dtype).unit_roundoff

    @property
    def exact(self) -> bool:
        """Whether the value is known to be exact while tracing."""
        return self.operand.error is None

    @functools.cached_property
    def value(self) -> Any:
        """The value in the dtype of errors (rounded, if that is narrower: integers and float64)."""
        value = self.operand.value
        return float(held(value)) if is_constant(value) else lax.convert_element_type(value, self.dtype)

    @functools.cached_property
    def size(self) -> Any:
        """|value|."""
        return magnitude(self.operand.value, self.dtype)

    @functools.cached_property
    def finite_size(self) -> Any:
        """|value| from below: the modulus of a finite complex number may overflow."""
        if not self.is_complex:
            return self.size
        return lax.min(*typed(jnp.asarray(self.size, self.dtype), format_of(self.dtype).largest))

    @functools.cached_property
    def is_complex(self) -> bool:
        """Whether errors are radii of discs."""
        return jnp.issubdtype(dtype_of(self.operand.value), jnp.complexfloating)

    @functools.cached_property
    def error(self) -> Any:
        """The error, None if exact."""
        return as_error(self.operand.error, self.dtype)

    @functools.cached_property
    def reach(self) -> Any:
        """Radius around the tracked value of everything that can be computed or exact here; None if exact."""
        return self.error if self.spread == 1.0 else times(self.error, self.spread)

    @property
    def spread(self) -> float:
        """The reach over the error; 0 if exact."""
        return 0.0 if self.exact else 1.0 if self.operand.known.settled else 2.0

    @property
    def moved(self) -> float:
        """How far from the tracked value others may be that are computed, in errors; 0 if exact or settled."""
        return 0.0 if self.operand.known.settled else self.spread

    @functools.cached_property
    def absorbed(self) -> Any:
        """The error, or the smallest normal number for an exact operand that may be subnormal."""
        value, known = self.operand.value, self.operand.known
        if not self.exact or is_constant(value) or known.low == known.high or not is_inexact(dtype_of(value)):
            return self.error
        return platforms.current().read_loss(dtype_of(value)) or None

    @functools.cached_property
    def far(self) -> Any:
        """Upper bound of |x| over the reach."""
        return times(plus(self.size, self.reach), 1 + 4 * self.eps)

    @functools.cached_property
    def near(self) -> Any:
        """Lower bound of |x| over the reach, at least 0; uses a static range that excludes 0."""
        near = self.nearest()
        known = self.operand.known
        floor = max(known.low, -known.high) * (1 - RANGE_SLACK)
        return maximum(near, jnp.asarray(floor, self.dtype)) if floor > 0 else near

    def nearest(self, more: float = 0.0) -> Any:
        """Lower bound of |x| over the reach, less so many errors, at least 0."""
        radius = times(self.error, (self.spread + more) * (1 + 4 * self.eps))
        size = times(self.finite_size, 1 - 4 * self.eps)
        return maximum(size if radius is None else lax.sub(size, radius), 0.0)

    @functools.cached_property
    def low(self) -> Any:
        """Lower bound of x over the reach."""
        low = lax.sub(self.value, self._slack)
        known = self.operand.known.low
        return lax.max(low, jnp.asarray(known - abs(known) * RANGE_SLACK, self.dtype)) if known > -math.inf else low

    @functools.cached_property
    def high(self) -> Any:
        """Upper bound of x over the reach."""
        high = lax.add(self.value, self._slack)
        known = self.operand.known.high
        return lax.min(high, jnp.asarray(known + abs(known) * RANGE_SLACK, self.dtype)) if known < math.inf else high

    @functools.cached_property
    def _slack(self) -> Any:
        """Reach, and what the addition of value and reach may round."""
        rounding = times(self.size, 2 * self.eps)
        return plus(times(self.reach, 1 + 2 * self.eps), rounding)

    @functools.cached_property
    def subnormal(self) -> Any:
        """Where an exact float, or a part of it, is subnormal, read from its bits (XLA compares a subnormal as 0)."""
        return subnormal(self.operand.value)


class Point(Ball):
    """A value whose error is taken as infinitely small: slopes are those at the value, to first order."""

    linear = True

    @functools.cached_property
    def reach(self) -> Any:
        """Nothing; a float if the value is a constant."""
        return None if self.exact else jnp.zeros_like(self.size)

    @property
    def spread(self) -> float:
        """None."""
        return 0.0

    def nearest(self, more: float = 0.0) -> Any:
        """The size."""
        return self.finite_size


def subnormal(value: Any) -> Any:
    """Where a float array, or a part of a complex one, is subnormal, by integer operations, which nothing flushes."""
    dtype = dtype_of(value)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        value = jnp.asarray(value)
        return lax.bitwise_or(subnormal(lax.real(value)), subnormal(lax.imag(value)))
    bits = jnp.dtype(f"uint{8 * np.dtype(dtype).itemsize}")
    word = lax.bitcast_convert_type(value, bits)
    digits = lax.bitwise_and(word, jnp.asarray((1 << (8 * bits.itemsize - 1)) - 1, bits))
    smallest_normal = 1 << (format_of(dtype).digits - 1)
    # Zero wraps around to the largest integer, so one comparison excludes it.
    return lax.lt(lax.sub(digits, jnp.asarray(1, bits)), jnp.asarray(smallest_normal - 1, bits))


def sign_bit(x: Any) -> Any:
    """Where the sign bit of a float is set, also that of a zero."""
    bits = lax.bitcast_convert_type(x, jnp.dtype(f"int{8 * np.dtype(x.dtype).itemsize}"))
    return lax.lt(bits, lax.full_like(bits, 0))


def read_error(ball: Ball) -> Any:
    """What reading an exact operand may lose: the smallest normal where it is subnormal, None if it never is."""
    if isinstance(ball.absorbed, float) and ball.exact:
        return where(ball.subnormal, ball.absorbed, jnp.zeros((), ball.dtype))
    return ball.error
