"""Two results of one program: does rounding explain how they differ?"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from precjax._rounding import is_plain
from precjax._tracked import Tracked
from precjax.analysis._table import number, table

_SLACK = 1 + 2.0**-40  # differences and bounds are compared in float64


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` found; ``print`` shows it as a table.

    Attributes:
        rows: one dict per leaf, worst first: ``where`` (its path), ``explained`` (whether rounding explains all of its
            differences), ``ratio`` (the largest difference in units of its bound; at most 1 if explained), ``index``
            (of that element), ``a``, ``b`` (its two values), ``difference``, ``bound``, ``unexplained`` (how many
            elements are).
    """

    rows: list[dict[str, Any]]

    @property
    def explained(self) -> bool:
        """Whether rounding explains every difference."""
        return all(row["explained"] for row in self.rows)

    def __str__(self) -> str:
        """A table, a leaf per line, and the verdict."""
        head = ("leaf", "verdict", "difference/bound", "index", "a", "b", "bound")
        lines = [head, *map(_cells, self.rows)]
        verdict = "explained by rounding" if self.explained else "NOT explained by rounding"
        return f"{table(lines, left=(0, 1))}\n{verdict}"


def compare(a: Any, b: Any, error: Any) -> Comparison:
    """Whether two results of one program differ by no more than rounding allows.

    Args:
        a: tree of arrays ``(*s)``: a result on one device, in one version, under jit, ...
        b: the same of another.
        error: what each of them may be off: a `Tracked` of the same program, or the tree of its errors ``(*s)``.

    Returns:
        A `Comparison`.

    Guarantee:
        With proved bounds, what is not explained is no rounding: a bug, other inputs, another program, or a hazard that
        the documentation names.

    Raises:
        ValueError: if the trees or shapes do not match.

    Example:
        >>> import jax, jax.numpy as jnp, precjax
        >>> f = lambda x: jnp.sum(jnp.sin(x))
        >>> x = jnp.linspace(0, 1, 1000)
        >>> precjax.compare(f(x), jax.jit(f)(x), precjax.track(f)(x)).explained
        True
    """
    error = error.error if isinstance(error, Tracked) else error
    trees = [jax.tree_util.tree_flatten_with_path(tree) for tree in (a, b, error)]
    if any(structure != trees[0][1] for _, structure in trees[1:]):
        raise ValueError(f"compare: trees of different structure, {', '.join(str(s) for _, s in trees)}")
    rows = [
        _row(jax.tree_util.keystr(path) or "result", *map(np.asarray, _numbers(*leaves)))
        for (path, *leaves) in ((p, x, y, e) for (p, x), (_, y), (_, e) in zip(*(t for t, _ in trees), strict=True))
    ]
    return Comparison(sorted(rows, key=lambda row: -row["ratio"]))


def _numbers(a: Any, b: Any, error: Any) -> tuple[Any, Any, Any]:
    """Random keys as the words that they are made of."""
    if is_plain(a):
        return a, b, error
    return jax.random.key_data(a), jax.random.key_data(b), np.expand_dims(error, -1)


def _row(where: str, a: Any, b: Any, error: Any) -> dict[str, Any]:
    if a.shape != b.shape or np.broadcast_shapes(a.shape, error.shape) != a.shape:
        raise ValueError(f"compare: shapes at {where}: {a.shape}, {b.shape}, and {error.shape} of the error")
    difference, bound = _difference(a, b), np.broadcast_to(2 * np.abs(error.astype(np.float64)), a.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(difference == 0, 0.0, np.where(np.isinf(bound), 0.0, difference / bound))
    if not ratio.size:
        return {"where": where, "explained": True, "ratio": 0.0, "index": (), "unexplained": 0} | dict.fromkeys(
            ("a", "b", "difference", "bound")
        )
    index = np.unravel_index(int(np.argmax(ratio)), a.shape)
    return {
        "where": where,
        "explained": bool(ratio[index] <= _SLACK),
        "ratio": float(ratio[index]),
        "index": tuple(map(int, index)),
        "a": a[index].item(),
        "b": b[index].item(),
        "difference": float(difference[index]),
        "bound": float(bound[index]),
        "unexplained": int(np.sum(ratio > _SLACK)),
    }


def _difference(a: Any, b: Any) -> Any:
    """|a - b|; 0 where both are the same infinity or NaN, inf where only one is."""
    wide = np.complex128 if np.iscomplexobj(a) else np.float64
    a, b = a.astype(wide), b.astype(wide)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        distance = np.abs(a - b)
    return np.where(same, 0.0, np.where(np.isnan(distance), np.inf, distance))


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    verdict = "rounding" if row["explained"] else f"not rounding ({row['unexplained']} numbers)"
    index = ", ".join(map(str, row["index"]))
    shown = ["-" if row[k] is None else f"{row[k]:.8g}" for k in ("a", "b")]
    return row["where"], verdict, number(row["ratio"]), f"[{index}]", *shown, number(row["bound"])


def assert_close(actual: Any, desired: Any, tracked: Any) -> None:
    """Asserts that two results of one program differ by no more than rounding allows.

    Args:
        actual: tree of arrays ``(*s)``.
        desired: tree of arrays ``(*s)``.
        tracked: a `Tracked` of the same program, or the tree of its errors ``(*s)``.

    Raises:
        AssertionError: if a difference exceeds twice its error; the message has the table of `compare`.
        ValueError: if the trees or shapes do not match.

    Example:
        >>> import jax.numpy as jnp, precjax
        >>> from precjax.testing import assert_close
        >>> x = jnp.linspace(0, 1, 1000)
        >>> assert_close(jnp.sum(x), jnp.sum(x[::-1]), precjax.track(jnp.sum)(x))
    """
    found = compare(actual, desired, tracked)
    if not found.explained:
        raise AssertionError(f"results differ by more than rounding:\n{found}")
