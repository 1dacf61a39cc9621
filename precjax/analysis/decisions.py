"""Which predictions of a batch could rounding alone turn?

The largest of n numbers, the k largest, and the side of a threshold are functions of numbers that are each known to
within their errors. With x_i in [l_i, h_i], the set of the k largest is certain if each of them beats each of the
others: the least l of the ones exceeds the largest h of the others. x_i is above t for certain if l_i > t, below if
h_i < t. A tie is in doubt, for the program may break it either way.

Another run of the program is off by as much again: it decides alike if the gap exceeds twice the errors.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from precjax._tracked import Tracked
from precjax.analysis._table import number, table


@dataclasses.dataclass(frozen=True)
class Decisions:
    """What `decisions` found; ``print`` shows it as a table.

    Attributes:
        rows: one dict per decision, the least certain first: ``index`` (in the batch), ``decision`` (the winner, the k
            winners, or whether it is above the threshold), ``certain``, ``gap`` (between what decides it: the two
            numbers, or number and threshold), ``error`` (the errors of both together), ``ratio`` (gap / error; more
            than 1 if certain).
        certain: bool array of the batch's shape: no rounding within the errors can turn the decision.
    """

    rows: list[dict[str, Any]]
    certain: np.ndarray

    def __str__(self) -> str:
        """A table, at most 20 rows, and the count."""
        lines = [("index", "decision", "gap", "error", "")]
        for row in self.rows[:20]:
            doubt = "" if row["certain"] else "could flip"
            lines.append((str(row["index"]), str(row["decision"]), number(row["gap"]), number(row["error"]), doubt))
        return f"{table(lines, left=(0, 1, 4))}\n{int(self.certain.sum())} of {self.certain.size} are certain"


def decisions(scores: Tracked, *, top: int = 1, threshold: float | None = None) -> Decisions:
    """Says which decisions on scores rounding alone could turn.

    Args:
        scores: `Tracked` of one array of real numbers: ``(*s, n)``, the last axis being the classes; any shape with a
            threshold.
        top: how many classes win; their order among themselves does not matter.
        threshold: if given, a score is decided by being above it, in place of the largest ones.

    Returns:
        A `Decisions` for a batch ``(*s)``; with a threshold, of the shape of the scores.

    Guarantee:
        With a model whose errors are proved bounds, a certain decision is that of exact arithmetic. Where ``ratio``
        exceeds 2, so is that of every other run of the program on the same inputs.

    Raises:
        TypeError: if `scores` is not a `Tracked` of one real array.
        ValueError: if `top` is not from 1 to n - 1, or given along with a threshold.

    Example:
        >>> import jax.numpy as jnp, precjax
        >>> logits = precjax.Tracked(jnp.array([[2.0, 1.0, 0.0], [2.0, 1.99, 0.0]]), jnp.full((2, 3), 0.01))
        >>> precjax.decisions(logits).certain
        array([ True, False])
    """
    values, errors = _checked(scores)
    if threshold is not None:
        if top != 1:
            raise ValueError(f"top={top!r} with threshold={threshold!r}: expected one of the two")
        gap, error, chosen = np.abs(values - threshold), errors, values > threshold
        return _decided(gap, error, chosen, values.shape)
    if not values.ndim or not 1 <= top < values.shape[-1]:
        raise ValueError(f"top={top!r}: expected a number from 1 to n - 1 for scores of shape {values.shape}")
    order = np.argsort(-values, axis=-1, kind="stable")
    values, errors = (np.take_along_axis(x, order, axis=-1) for x in (values, errors))
    low, high = values - errors, values + errors
    weakest, strongest = np.argmin(low[..., :top], axis=-1), top + np.argmax(high[..., top:], axis=-1)
    take = lambda x, at: np.take_along_axis(x, at[..., None], axis=-1)[..., 0]  # noqa: E731
    # The pair is found by ends of intervals, the gap by a difference, all rounded to float64.
    rounding = 2.0**-50 * np.max(np.abs(values) + np.where(np.isinf(errors), 0, errors), axis=-1)
    gap = np.maximum(take(values, weakest) - take(values, strongest) - rounding, 0)
    error = take(errors, weakest) + take(errors, strongest)
    chosen = order[..., 0] if top == 1 else np.sort(order[..., :top], axis=-1)
    return _decided(gap, error, chosen, values.shape[:-1])


def _checked(scores: Any) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(scores, Tracked) or len(jax.tree.leaves(scores.value)) != 1:
        raise TypeError(
            f"decisions(scores={type(scores).__name__}): expected a Tracked of one array, from precjax.track"
        )
    (value,), (error,) = jax.tree.leaves(scores.value), jax.tree.leaves(scores.error)
    if np.iscomplexobj(value):
        raise TypeError("decisions: complex scores have no order")
    values = np.asarray(value, np.float64)
    errors = np.broadcast_to(np.abs(np.asarray(error, np.float64)), values.shape)
    unknown = ~np.isfinite(values) | ~np.isfinite(errors)
    return np.where(unknown, 0.0, values), np.where(unknown, np.inf, errors)


def _decided(gap: np.ndarray, error: np.ndarray, chosen: np.ndarray, shape: tuple[int, ...]) -> Decisions:
    certain = np.asarray(gap > error * (1 + 2.0**-40))
    rows = [
        {
            "index": index[0] if len(index) == 1 else index,
            "decision": np.asarray(chosen[index]).tolist(),
            "certain": bool(certain[index]),
            "gap": float(gap[index]),
            "error": float(error[index]),
            "ratio": float(gap[index] / error[index]) if error[index] else float("inf" if gap[index] else 0),
        }
        for index in np.ndindex(*shape)
    ]
    return Decisions(sorted(rows, key=lambda row: row["ratio"]), certain)
