"""What is kept of every run of an equation: how many exact bits come in and go out, and how large the numbers are."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._facts import MOVES
from precjax._hooks import Equation, Hook, Site
from precjax._rounding import dtype_of, format_of, is_inexact
from precjax._tracked import Tracked


class Summaries(Hook):
    """Collects a few numbers per run of every equation that computes with floats.

    Attributes:
        seen: by place: sums of bits over the ``runs``, extremes of what else there is, ``order`` in the program.
    """

    def __init__(self) -> None:
        """Nothing yet."""
        self.seen: dict[Site, dict[str, float]] = {}

    def watch(self, tracked: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Runs a function that this hook sees, to its end.

        Args:
            tracked: made by `track` with this hook.
            *args: its arguments.
            **kwargs: its keyword arguments.

        Returns:
            Its result; `seen` is of this run.
        """
        self.seen.clear()
        result = jax.block_until_ready(tracked(*args, **kwargs))
        jax.effects_barrier()
        return result

    def trace(self, equation: Equation) -> Any:
        """Sums and extremes of what goes in and comes out; None where elements are only moved.

        Args:
            equation: any.

        Returns:
            A dict of scalars, or None.
        """
        operands = [x for x in equation.operands if _is_float(x)]
        if not operands or equation.site.primitive in MOVES:
            return None
        seen = {"operands": [_sums(equation, x) for x in operands]}
        for result, rounding in zip(equation.results[:1], equation.rounding, strict=False):
            if _is_float(result):
                propagated = jnp.minimum(jnp.maximum(result.error - rounding, 0), jnp.abs(result.value))
                seen |= {"result": _sums(equation, result), "propagated": jnp.mean(propagated)}
            elif not is_inexact(dtype_of(result.value)):
                seen["undecided"] = jnp.mean(result.error != 0)
        return seen

    def observe(self, site: Site, data: Any) -> None:
        """Keeps the extremes, and the sums for means.

        Args:
            site: where the equation stands.
            data: what `trace` asked for.
        """
        kept = self.seen.setdefault(site, {"runs": 0.0, "order": float(len(self.seen))})
        kept["runs"] += 1
        for name, value in _summary(site, data).items():
            merge = _EXTREMES.get(name, operator.add)
            kept[name] = merge(kept[name], value) if name in kept else value


_EXTREMES: dict[str, Callable[[float, float], float]] = {
    "fewest": min, "worst": min, "smallest": min, "largest": max, "overflow_margin": min, "underflow_margin": min,
    "cancelled": max, "undecided": max,
}  # fmt: skip


def _is_float(x: Tracked) -> bool:
    return is_inexact(dtype_of(x.value)) and np.size(x.value) > 0


class _Sums(NamedTuple):
    """Of one array, infinities left out: scalars.

    Attributes:
        size: mean |value|.
        error: mean error, at most 100% for each number.
        relative: largest relative error.
        smallest: smallest |value| but 0.
        largest: largest |value|.
        digits: significand bits of the format.
        format: its largest and smallest normal numbers.
    """

    size: Any
    error: Any
    relative: Any
    smallest: Any
    largest: Any
    digits: Any
    format: Any


def _sums(equation: Equation, x: Tracked) -> _Sums:
    """In one pass over the array, once per array."""
    known = equation.shared.get((_Sums, id(x.value)))
    if known is None:
        # The array is kept, so that nothing else gets its id.
        known = equation.shared[_Sums, id(x.value)] = _sums_of(x), x.value
    return known[0]


def _sums_of(x: Tracked) -> _Sums:
    size = jnp.abs(jnp.asarray(x.value))
    size = size.astype(jnp.promote_types(size.dtype, jnp.float32))
    size = jnp.where(jnp.isfinite(size), size, 0)
    error = jnp.broadcast_to(jnp.asarray(x.error, size.dtype), size.shape)
    bounded = jnp.where(error < size, error, size)
    relative = jnp.where(error > 0, jnp.where(error < size, error / size, 1), 0)
    zero, infinity = jnp.zeros((), size.dtype), jnp.asarray(jnp.inf, size.dtype)
    arrays = (size, bounded, relative, jnp.where(size > 0, size, jnp.inf), size)
    starts = (zero, zero, zero, infinity, zero)
    total, missed, worst, smallest, largest = lax.reduce(arrays, starts, _combined, tuple(range(size.ndim)))
    fmt = format_of(dtype_of(x.value))
    limits = np.float64(fmt.largest), np.float64(fmt.smallest_normal)
    return _Sums(total / size.size, missed / size.size, worst, smallest, largest, fmt.digits, limits)


def exact_bits_of(x: Tracked) -> Any:
    """-log2 of the mean error over the mean size, a traced scalar."""
    sums = _sums_of(x)
    bits = jnp.clip(jnp.log2(sums.size / jnp.where(sums.error > 0, sums.error, 1)), 0, sums.digits)
    return jnp.where(sums.error > 0, bits, jnp.where(sums.relative > 0, 0, sums.digits))


def _combined(a: Any, b: Any) -> Any:
    return a[0] + b[0], a[1] + b[1], jnp.maximum(a[2], b[2]), jnp.minimum(a[3], b[3]), jnp.maximum(a[4], b[4])


def _summary(site: Site, data: dict[str, Any]) -> dict[str, float]:
    """Bits, from the sums of one run."""
    if "result" not in data:
        return {"undecided": float(data["undecided"])} if "undecided" in data else {}
    operands, result = data["operands"], data["result"]
    largest, smallest = (math.log2(x) for x in result.format)
    bits_out = _bits(result.size, result.error, result.relative, result.digits)
    summary = {
        "bits_in": min(_bits(x.size, x.error, x.relative, x.digits) for x in operands),
        "bits_out": bits_out,
        "without_rounding": _bits(result.size, data["propagated"], data["propagated"], math.inf),
        "fewest": bits_out,
        "worst": _bits(1.0, result.relative, result.relative, result.digits),
        "smallest": float(result.smallest),
        "largest": float(result.largest),
        "overflow_margin": largest - math.log2(result.largest) if result.largest > 0 else largest - smallest,
        "underflow_margin": (math.log2(result.smallest) if result.smallest < math.inf else largest) - smallest,
    }
    if site.primitive in ("add", "sub", "add_any"):
        summary["cancelled"] = _bits(max(float(x.size) for x in operands), result.size, 1.0, 24)
    return summary


def _bits(size: Any, error: Any, worst: Any, digits: Any) -> float:
    """-log2(error / size), between 0 and the digits of the format; all of them only if no error is left."""
    size, error = float(size), float(error)
    if error == 0 and (size > 0 or not worst > 0):
        return float(digits)
    return min(max(math.log2(size / error), 0.0), float(digits)) if size > 0 and error > 0 else 0.0
