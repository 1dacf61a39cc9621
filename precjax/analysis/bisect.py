"""Where two runs begin to differ by more than rounding: the first module or line, in the order of the program.

Both runs are within their errors of what the exact program computes at the same place, so there they differ by no more
than the two errors together. (`compare` asks the same of results.)
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from precjax._hooks import Equation, Hook, Site
from precjax._rounding import dtype_of, is_inexact
from precjax._tracked import Tracked
from precjax._transform import track
from precjax.analysis._table import number, table
from precjax.analysis.compare import compare
from precjax.analysis.report import KEYS
from precjax.models import ErrorModel


@dataclasses.dataclass(frozen=True)
class Recording:
    """What `record` kept of a run; it can be pickled, and compared with one of another machine.

    Attributes:
        by: what the places are: "line", "module" or "primitive".
        places: in the order in which they end, by place, the `Tracked` array that its last equation computed (at its
            last run if it is in a loop).
    """

    by: str
    places: dict[str, Tracked]


@dataclasses.dataclass(frozen=True)
class Bisection:
    """What `bisect` found; ``print`` shows it as a table.

    Attributes:
        rows: one dict per place that both recordings have, in the order in which they end: ``where``, ``explained``
            (whether rounding explains the difference), ``ratio`` (largest difference in units of its bound), ``index``,
            ``a``, ``b``, ``difference``, ``bound`` (both errors together), as in `compare`.
        alone: places that only one of them has.
    """

    rows: list[dict[str, Any]]
    alone: list[str]

    @property
    def first(self) -> str | None:
        """The first place where the two differ by more than rounding; None if there is none."""
        return next((row["where"] for row in self.rows if not row["explained"]), None)

    def __str__(self) -> str:
        """A table as far as the first difference, and the verdict."""
        lines = [("where", "difference/bound", "a", "b", "bound")]
        for row in self.rows:
            shown = ["-" if row[k] is None else f"{row[k]:.8g}" for k in ("a", "b")]
            lines.append((row["where"], number(row["ratio"]), *shown, number(row["bound"])))
            if not row["explained"]:
                break
        verdict = (
            "rounding explains all" if self.first is None else f"{self.first} is the first that it does not explain"
        )
        return f"{table(lines)}\n{verdict}"


def record(
    f: Callable[..., Any], *, by: str = "module", model: str | ErrorModel = "probabilistic", **options: Any
) -> Callable[..., Recording]:
    """Keeps what a function computes on its way, with errors, for `bisect`.

    Args:
        f: any function that JAX can trace.
        by: what a place is: a "module", a "line" of the source or a "primitive".
        model: "probabilistic" (errors as they are likely to be) or "worst_case" (as they may be), or an instance.
        **options: further options of `track`.

    Returns:
        A function of the same arguments that runs `f` and returns a `Recording`. Every array is copied to the host.

    Raises:
        ValueError: if `by` is unknown, or the model has no errors along with the values.
        TypeError: if `f` is not callable.

    Example:
        >>> import jax, jax.numpy as jnp, precjax
        >>> def f(x):
        ...     with jax.named_scope("one"):
        ...         return jnp.sin(x)
        >>> list(precjax.record(f)(jnp.float32(1)).places)
        ['one']
    """
    if by not in KEYS:
        raise ValueError(f"by={by!r}: expected one of {', '.join(map(repr, KEYS))}")
    hook = _Last(KEYS[by])
    tracked = track(f, model=model, hooks=[hook], **options)

    @functools.wraps(f)
    def recorded(*args: Any, **kwargs: Any) -> Recording:
        hook.places.clear()
        jax.block_until_ready(tracked(*args, **kwargs))
        jax.effects_barrier()
        return Recording(by, dict(hook.places))

    return recorded


class _Last(Hook):
    """Keeps the last array of floats of every place."""

    def __init__(self, key: Callable[[Site], str]) -> None:
        self._key = key
        self.places: dict[str, Tracked] = {}

    def trace(self, equation: Equation) -> Any:
        """The first result.

        Args:
            equation: any.

        Returns:
            A `Tracked`; None if it is not of floats.
        """
        x = equation.results[0]
        return x if is_inexact(dtype_of(x.value)) else None

    def observe(self, site: Site, data: Any) -> None:
        """Keeps it in place of the one before: places are in the order in which they end.

        Args:
            site: where the equation stands.
            data: what `trace` asked for.
        """
        where = self._key(site)
        self.places.pop(where, None)
        self.places[where] = data


def bisect(a: Recording, b: Recording) -> Bisection:
    """Says where two runs begin to differ by more than rounding.

    Args:
        a: of one implementation, format, device or version.
        b: of the other: a program with the same names of modules (or lines), on the same inputs.

    Returns:
        A `Bisection`.

    Guarantee:
        With a model whose errors are proved bounds, what comes first is no rounding: another formula, input or bug
        there, or at a place before it that only one of the two has.

    Raises:
        TypeError: if one is no `Recording`.
        ValueError: if they are of different kinds of places, or share none.

    Example:
        >>> import jax, jax.numpy as jnp, precjax
        >>> def f(x, factor):
        ...     with jax.named_scope("one"):
        ...         x = jnp.sin(x)
        ...     with jax.named_scope("two"):
        ...         x = x * factor
        ...     with jax.named_scope("three"):
        ...         return x + 1
        >>> runs = [precjax.record(f)(jnp.float32(1), factor) for factor in (2.0, 2.001)]
        >>> precjax.bisect(*runs).first
        'two'
    """
    for x in (a, b):
        if not isinstance(x, Recording):
            raise TypeError(f"bisect: expected two results of precjax.record(f)(*args), got {type(x).__name__}")
    common = [where for where in a.places if where in b.places]
    if a.by != b.by or not common:
        raise ValueError(f"bisect: a recording by {a.by} and one by {b.by} with {len(common)} places in common")
    alone = sorted(set(a.places) ^ set(b.places))
    return Bisection([_row(where, a.places[where], b.places[where]) for where in common], alone)


def _row(where: str, a: Tracked, b: Tracked) -> dict[str, Any]:
    if np.shape(a.value) != np.shape(b.value):
        empty = dict.fromkeys(("a", "b", "difference", "bound"))
        return {"where": where, "explained": False, "ratio": float("inf"), "index": (), "unexplained": 0} | empty
    errors = [np.broadcast_to(np.asarray(x.error, np.float64), np.shape(x.value)) for x in (a, b)]
    (row,) = compare(a.value, b.value, (errors[0] + errors[1]) / 2).rows
    return row | {"where": where}
