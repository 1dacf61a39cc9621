"""Which part of a program may run in which format, so that its results stay good enough."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from precjax._hooks import Site
from precjax._nnx import named_modules
from precjax._rounding import format_of
from precjax._tracked import values_of
from precjax._transform import track
from precjax.analysis._mixed import in_formats, is_real, run_in_formats
from precjax.analysis._sensitivity import Sensitivity, sensitivity
from precjax.analysis._table import number, table
from precjax.analysis.report import KEYS

# A module has one format, forward and in its gradient.
_KEYS: dict[str, Callable[[Site], str]] = {**KEYS, "module": lambda site: site.module or "(no module)"}
_ROUNDS = 8  # of choosing and running; each compiles the program once


@dataclasses.dataclass(frozen=True)
class Advice:
    """What `advise` found; ``print`` shows it as a table.

    Attributes:
        target: the relative error that was asked for.
        error: the relative error of the program run in these formats, of its worst result: root mean square of its
            error over that of its numbers.
        by: what the rows are: "line", "module" or "primitive".
        rows: one dict per row, most work first: ``where``; ``format`` (its name); ``work`` (share of the floating-point
            operations, gradient included); ``error`` (the relative error of the results that its roundings in this
            format cause, to first order); ``reason`` (why not in the first of the formats: "error", "range" or "").
        apply: the function in these formats: traceable, for any arguments.
    """

    target: float
    error: float
    by: str
    rows: list[dict[str, Any]]
    apply: Callable[..., Any] = dataclasses.field(repr=False)

    @property
    def formats(self) -> dict[str, str]:
        """The format of each place by name: for modules, their ``dtype=`` in Flax."""
        return {row["where"]: row["format"] for row in self.rows}

    @property
    def policy(self) -> str:
        """The one policy that comes nearest, as ``jmp.get_policy`` reads it: most work is done in its ``compute``."""
        work: dict[str, float] = {}
        for row in self.rows:
            work[row["format"]] = work.get(row["format"], 0.0) + row["work"]
        return f"params=float32,compute={max(work, key=lambda name: work[name])},output=float32"

    def share(self, dtype: Any) -> float:
        """The share of the work that is done in a format.

        Args:
            dtype: the format, or its name.

        Returns:
            Between 0 and 1.
        """
        return sum(row["work"] for row in self.rows if row["format"] == jnp.dtype(dtype).name)

    def __str__(self) -> str:
        """A table, at most 30 rows."""
        lines = [("where", "format", "work", "error", "kept wide for")]
        lines += [
            (row["where"], row["format"], f"{row['work']:.1%}", number(row["error"]), f"its {row['reason']}")
            if row["reason"]
            else (row["where"], row["format"], f"{row['work']:.1%}", number(row["error"]), "")
            for row in self.rows[:30]
        ]
        found = f"relative error {number(self.error)} ({_bits(self.error)}), asked for {number(self.target)}"
        return f"{table(lines, left=(0, 1, 4))}\n{found}"


def advise(
    f: Callable[..., Any],
    *,
    target: float,
    formats: Sequence[Any] = ("bfloat16", "float16", "float32"),
    by: str = "module",
) -> Callable[..., Advice]:
    """Says which part of a function may run in which format, so that its results stay good enough.

    Derivatives of the results by every intermediate number say what each part would add to the error in each format;
    what adds most for its work is put into a wider one. The choice is then run, with real casts, beside a wider
    reference, and chosen anew until it meets the target as run.

    Args:
        f: a function that JAX can trace and differentiate in reverse, with real results, in its widest format.
        target: what is asked of every result: its exact bits if at least 1, else its relative error; root mean square
            of the error over that of the numbers.
        formats: dtypes or names, in order of preference, the widest last.
        by: what has a format: a "module", a "line" of the source or a "primitive".

    Returns:
        A function of the same arguments that runs `f` a few times and returns an `Advice`. Casts that `f` makes itself
        stay; no place is given more digits than `f` computes with.

    Guarantee:
        Observed: ``.error`` was measured on these arguments. A format is not chosen
        where numbers exceed half of its largest one.

    Raises:
        ValueError: if an option is wrong, no result is real, one is not finite, or not even the widest format meets the
            target.
        TypeError: if `f` is not callable.
        NotImplementedError: if JAX has no derivative in reverse for a part of `f`, such as a loop of unknown length.

    Example:
        >>> import jax, jax.numpy as jnp, precjax
        >>> def f(x):
        ...     with jax.named_scope("smooth"):
        ...         y = jnp.tanh(x @ x)
        ...     with jax.named_scope("cancelling"):
        ...         return (y + 100) - 99.5
        >>> precjax.advise(f, target=5, formats=("bfloat16", "float32"))(jnp.eye(8)).formats
        {'smooth': 'bfloat16', 'cancelling': 'float32'}
    """
    if not callable(f):
        raise TypeError(f"advise(f={f!r}): f must be a function, got {type(f).__name__}")
    if by not in _KEYS:
        raise ValueError(f"by={by!r}: expected one of {', '.join(map(repr, _KEYS))}")
    if not 0 < target < math.inf:
        raise ValueError(f"target={target!r}: expected exact bits, at least 1, or a relative error below 1")
    dtypes = _dtypes(formats)

    @functools.wraps(f)
    def advised(*args: Any, **kwargs: Any) -> Advice:
        return _advise(f, 2.0**-target if target >= 1 else float(target), dtypes, by, args, kwargs)

    return advised


def _dtypes(formats: Sequence[Any]) -> tuple[Any, ...]:
    message = f"formats={formats!r}: expected names of real floating formats, the widest last"
    try:
        dtypes = tuple(jnp.dtype(name) for name in ([] if isinstance(formats, str) else formats))
    except TypeError as error:
        raise ValueError(message) from error
    if not dtypes or not all(jnp.issubdtype(d, jnp.floating) for d in dtypes):
        raise ValueError(message)
    if format_of(dtypes[-1]).digits < max(format_of(d).digits for d in dtypes):
        raise ValueError(message)
    return dtypes


def _advise(f: Callable[..., Any], target: float, dtypes: tuple[Any, ...], by: str, args: Any, kwargs: Any) -> Advice:
    args, kwargs = values_of((args, kwargs))
    key = _KEYS[by]
    with named_modules():
        closed = jax.make_jaxpr(lambda a, k: f(*a, **k))(args, kwargs)
    if not any(map(is_real, closed.out_avals)):
        raise ValueError(f"advise: no result of f is real, got {[*map(str, closed.out_avals)]}")
    leaves, exact = jax.tree.leaves((args, kwargs)), _exact(f, args, kwargs)
    sizes = [_size(x) for x in exact]
    if not all(map(math.isfinite, sizes)):
        raise ValueError("advise: a result of f is infinite or NaN on these arguments")
    costs = sensitivity(closed, leaves, sizes, dtypes, key)

    def observed(choice: tuple[int, ...]) -> float:
        mix = {place: dtypes[level] for place, level in zip(costs.places, choice, strict=True)}
        results = jax.jit(lambda leaves: run_in_formats(closed, leaves, mix, key))(leaves)
        return max(_missed(x, y, size) for x, y, size in zip(results, exact, sizes, strict=True))

    widest = (len(dtypes) - 1,) * len(costs.places)
    least = observed(widest)
    if not least <= target:
        raise ValueError(
            f"target: {dtypes[-1].name}, the widest of the formats, leaves a relative error of {number(least)} "
            f"({_bits(least)}), more than {number(target)}; precjax.report shows where it comes from"
        )
    choice, error = _search(costs, dtypes, target, observed) or (widest, least)
    mix = {place: dtypes[level] for place, level in zip(costs.places, choice, strict=True)}
    return Advice(target, error, by, _rows(costs, dtypes, choice), in_formats(f, mix, key))


def _exact(f: Callable[..., Any], args: Any, kwargs: Any) -> list[Any]:
    """The results of a wider reference; None for those that are not real."""
    value, error = track(f, model="shadow")(*args, **kwargs)
    with np.errstate(invalid="ignore"):
        return [
            np.asarray(v, np.float64) - np.asarray(e, np.float64) if is_real(v) else None
            for v, e in zip(jax.tree.leaves(value), jax.tree.leaves(error), strict=True)
        ]


def _size(x: Any) -> float:
    """Root mean square; 0 for what does not count."""
    return 0.0 if x is None or not x.size else float(np.sqrt(np.mean(np.square(x))))


def _missed(x: Any, exact: Any, size: float) -> float:
    """Relative error of a result; inf if it is not finite."""
    if exact is None or not exact.size:
        return 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        error = _size(np.asarray(x, np.float64) - exact)
    return 0.0 if error == 0 else error / size if size and math.isfinite(error) else math.inf


def _search(
    costs: Sensitivity, dtypes: tuple[Any, ...], target: float, observed: Callable[[tuple[int, ...]], float]
) -> tuple[tuple[int, ...], float] | None:
    """The narrowest choice found that meets the target as run: predictions are scaled by what was observed."""
    scale, failed, passed = 1.0, 0.0, math.inf
    best, tried = None, set()
    for _ in range(_ROUNDS):
        choice = _choice(costs, dtypes, target**2 / scale)
        if choice in tried:
            break
        tried.add(choice)
        error = observed(choice)
        if error <= target:
            passed = scale
            best = choice, error
        else:
            failed = scale
        predicted = _variances(costs, choice).sum()
        scale = error**2 / predicted if predicted > 0 else math.nan
        if not failed < scale < passed:
            scale = 4 * failed if passed == math.inf else passed / 4 if not failed else math.sqrt(failed * passed)
    return best


def _variances(costs: Sensitivity, choice: Sequence[int]) -> np.ndarray:
    return costs.variances[np.arange(len(choice)), list(choice)]


def _choice(costs: Sensitivity, dtypes: tuple[Any, ...], budget: float) -> tuple[int, ...]:
    """A format for each place, widened where that takes off most variance for the work, until the budget is kept."""
    bits = [8 * dtype.itemsize for dtype in dtypes]
    levels = [_fitting(costs, place, 0, math.inf) for place in range(len(costs.places))]
    while _variances(costs, levels).sum() > budget:
        gains = []
        for place, level in enumerate(levels):
            if level + 1 < len(dtypes):
                variance = costs.variances[place, level]
                following = _fitting(costs, place, level + 1, variance)
                cost = (1 + costs.work[place]) * max(bits[following] - bits[level], 1)
                gains.append((np.nan_to_num(variance - costs.variances[place, following]) / cost, place, following))
        if not gains:
            break
        _, place, following = max(gains)
        levels[place] = following
    return tuple(levels)


def _fitting(costs: Sensitivity, place: int, level: int, variance: float) -> int:
    """The first format from that one on that holds the numbers of a place and adds less; the last one, if none does."""
    fits = (costs.beyond[place, level:] == 0) & (costs.variances[place, level:] <= variance)
    return level + int(np.argmax(fits)) if fits.any() else costs.beyond.shape[1] - 1


def _rows(costs: Sensitivity, dtypes: tuple[Any, ...], choice: Sequence[int]) -> list[dict[str, Any]]:
    total = costs.work.sum() or 1.0
    rows = [
        {
            "where": place,
            "format": dtypes[level].name,
            "work": float(work / total),
            "error": math.sqrt(variance),
            "reason": "" if level == 0 else "range" if costs.beyond[i, 0] else "error",
        }
        for i, (place, level, work, variance) in enumerate(
            zip(costs.places, choice, costs.work, _variances(costs, choice), strict=True)
        )
    ]
    return sorted(rows, key=lambda row: -row["work"])


def _bits(error: float) -> str:
    return f"{max(-math.log2(error), 0):.1f} bits" if error > 0 else "exact"
