"""Tolerances for tests, from bounds in place of guesses."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from precjax._transform import track
from precjax.models import ErrorModel


class Tolerance(NamedTuple):
    """What ``assert_allclose(actual, desired, *tolerance)`` takes: |actual - desired| <= atol + rtol |desired|.

    Attributes:
        rtol: relative tolerance.
        atol: absolute tolerance, in the unit of the values.
    """

    rtol: float
    atol: float


_FACTORS = {"run": 2.0, "exact": 1.0}


def tolerances(
    f: Callable[..., Any], *, model: str | ErrorModel = "worst_case", against: str = "run", **options: Any
) -> Callable[..., Any]:
    """The tolerances that a test of a function needs: as much as rounding may differ, and no more.

    Args:
        f: any function that JAX can trace.
        model: what the errors are, as in `track`.
        against: what results are compared with: another "run" of the function (another device, version, order of sums),
            which is off by as much as this one, or the "exact" result.
        **options: further options of `track`.

    Returns:
        A function of the same arguments, any subtree of which may be a `Tracked`, that returns a tree shaped as f's
        output, a `Tolerance` in the place of each array: both numbers rounded up to two digits, inf where the error is.

    Guarantee:
        With a model whose errors are proved bounds, results that differ by more differ by more than rounding.

    Raises:
        ValueError: if `against` is unknown.
        TypeError: if `f` is not callable.

    Example:
        >>> import jax.numpy as jnp, numpy as np, precjax
        >>> rtol, atol = precjax.tolerances(jnp.sin)(np.float32(1.0))
        >>> rtol < 1e-6, atol
        (True, 0.0)
    """
    if against not in _FACTORS:
        raise ValueError(f"against={against!r}: expected one of {', '.join(map(repr, _FACTORS))}")
    tracked = track(f, model=model, **options)

    @functools.wraps(f)
    def tolerated(*args: Any, **kwargs: Any) -> Any:
        out = tracked(*args, **kwargs)
        return jax.tree.map(lambda v, e: _tolerance(v, e, _FACTORS[against]), out.value, out.error)

    return tolerated


def _tolerance(value: Any, error: Any, factor: float) -> Tolerance:
    # Twice the median ratio is rtol; what is then missing, most of all near 0, is atol. The desired number may be
    # smaller than the value by the whole difference.
    difference = factor * np.abs(np.asarray(error, np.float64))
    if not difference.size or not difference.any():
        return Tolerance(0.0, 0.0)
    if not np.isfinite(difference).all():
        return Tolerance(math.inf, math.inf)
    size = _finite_size(value)
    ratios = difference[size > 0] / size[size > 0]
    rtol = _rounded_up(min(2 * float(np.median(ratios)), 1.0)) if ratios.size else 0.0
    return Tolerance(rtol, _rounded_up(float(np.max(difference * (1 + rtol) - rtol * size, initial=0.0))))


def _finite_size(value: Any) -> np.ndarray:
    size = np.abs(np.asarray(value, np.complex128 if np.iscomplexobj(value) else np.float64))
    return np.where(np.isfinite(size), size, 0)


def _rounded_up(x: float) -> float:
    """The next number with two digits."""
    if x <= 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(x)) - 1)
    digits = math.ceil(x / unit * (1 - 1e-12))
    return float(f"{digits * unit:.1e}")
