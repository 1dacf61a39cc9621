"""Norms of rows of errors through matrix products.

Theorem: each row of a product is a row times a matrix, a W. With errors |d|_2 <= r of a and of norm R of all of W,
    |d W|_2 <= r |W|_2,   |a D|_2 <= |a|_2 R,   roundings <= n u |a|_2 |W|_F,
the last because each number of the result errs by n u |a|_2 |w_j|_2 at most (Higham section 3.5, Cauchy-Schwarz). Which
operand holds the rows, and which the matrix, is seen from the result: its last axis runs over columns of the matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from precjax import _row_norms as norms
from precjax import platforms
from precjax._annotated import Annotated
from precjax._rounding import enlarged, error_dtype, format_of, plus, times
from precjax.rules.algorithms import preset
from precjax.rules.bilinear import roundings_of_products
from precjax.rules.rows import norm_of, reached, rounded, row_rule


class _Axes(NamedTuple):
    """Axes of one operand of a contraction."""

    contracted: tuple[int, ...]
    batch: tuple[int, ...]
    free: tuple[int, ...]


class _Product(NamedTuple):
    """A contraction as its result's rows see it: each is a row times a matrix, over whose columns it runs."""

    row: Annotated
    of_row: _Axes
    matrix: Annotated
    of_matrix: _Axes

    def beside_rows(self, x: Any) -> Any:
        """Numbers over the row's batch and free axes, laid out against the result."""
        return lax.reshape(x, [*x.shape, *([1] * len(self.of_matrix.free))])

    def beside_columns(self, x: Any) -> Any:
        """Numbers over the matrix's batch and free axes but the last, laid out against the result."""
        batch = len(self.of_matrix.batch)
        return lax.reshape(x, [*x.shape[:batch], *([1] * len(self.of_row.free)), *x.shape[batch:], 1])


def _seen_from_rows(eqn: Any, operands: Sequence[Annotated]) -> _Product | None:
    """The result's last axis is the last free one of the second operand, if it has one, else of the first."""
    axes = []
    for x, contracted, batch in zip(operands, *eqn.params["dimension_numbers"], strict=True):
        free = tuple(d for d in range(x.value.ndim) if d not in contracted and d not in batch)
        axes.append(_Axes(tuple(contracted), tuple(batch), free))
    (a, b), (of_a, of_b) = operands, axes
    return _Product(a, of_a, b, of_b) if of_b.free else _Product(b, of_b, a, of_a) if of_a.free else None


def _along(x: Any, axes: tuple[int, ...], kept: Sequence[int]) -> Any:
    """Norms along axes, as an array over those that are kept, in their order."""
    found = norms.along(x, axes)
    found = lax.transpose(found, [*kept, *(d for d in range(x.ndim) if d not in kept)])
    return lax.reshape(found, found.shape[: len(kept)])


@row_rule("dot_general")
def _contracted(model: Any, eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """|d W|_2 <= |d|_2 |W|_2, |a D|_2 <= |a|_2 |D|_F, and roundings of n u |a|_2 |W|_F."""
    seen = _seen_from_rows(eqn, operands)
    if seen is None or 0 in outs[0].shape or preset(eqn.params["precision"]) is not None:
        return [None]
    out, dtype = outs[0], error_dtype(outs[0].dtype)
    (over, batch, free), (over_m, batch_m, free_m) = seen.of_row, seen.of_matrix
    terms = max(math.prod(seen.row.value.shape[d] for d in over), 1)
    per_product, once_more = roundings_of_products(model, operands, out.dtype, terms, eqn.params["precision"])
    # As in `contraction`: subnormal operands of which there may be any number are read as 0.
    lost = max(platforms.current().read_loss(out.dtype), format_of(dtype).smallest_normal) / per_product
    lost_m = lost * math.sqrt(terms * out.shape[-1])

    of_row = lambda x: seen.beside_rows(_along(x, over, (*batch, *free)))  # noqa: E731
    of_matrix = lambda x: seen.beside_columns(_along(x, (*over_m, free_m[-1]), (*batch_m, *free_m[:-1])))  # noqa: E731
    error, reach, size = _parts(model, seen.row, of_row, lost * math.sqrt(terms), dtype)
    error_m, reach_m, size_m = _parts(model, seen.matrix, of_matrix, lost_m, dtype)
    size, size_m = norms.both(size, reach), norms.both(size_m, reach_m)
    moved = None if error is None else times(error, norms.both(_spectral(seen, dtype), error_m))
    moved = plus(moved, times(size, error_m), times(size, size_m, per_product))
    moved = enlarged(moved, terms + 16, dtype, flushed=terms)
    return [rounded(model, out, moved, ulps=once_more, flushed=4 * terms)]


def _parts(model: Any, x: Annotated, norm: Callable[[Any], Any], lost: float, dtype: Any) -> tuple[Any, Any, Any]:
    """Norms of an operand's errors, of its reach, and of itself."""
    size = plus(norm(jnp.asarray(model.ball(x, dtype).size, dtype)), lost if x.error is None else None)
    if x.error is None:
        return None, None, size
    error = norm(norm_of(model, x, dtype))
    return error, reached(x, error), size


def _spectral(seen: _Product, dtype: Any) -> Any:
    """Spectral norms of the matrices, against the result."""
    over, batch, free = seen.of_matrix
    values = lax.convert_element_type(seen.matrix.value, dtype)
    moved = lax.transpose(values, (*batch, *free[:-1], *over, free[-1]))
    kept = moved.shape[: len(batch) + len(free) - 1]
    matrices = lax.reshape(moved, [*kept, math.prod(moved.shape[len(kept) : -1]), moved.shape[-1]])
    return seen.beside_columns(lax.reshape(norms.spectral(matrices), kept))
