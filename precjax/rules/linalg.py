"""Linear systems.

Theorem (Rump, Acta Numerica 2010, section 10): for any approximate inverse R of the matrix A and any x,
|x* - x| <= (I - M)^-1 |R (b* - A* x)| where M >= |I - R A*| has a spectral radius below 1. How x was computed does not
matter; see `enclosure.solution_error`. Triangular R A* is handled by substitution, which no condition number spoils.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax import _lapack as lapack
from precjax._annotated import Annotated
from precjax._linear_map import as_matrix
from precjax._registry import rule, same_for_complex
from precjax._rounding import enlarged, error_dtype, format_of, plus, times
from precjax.rules.enclosure import (
    Enclosure,
    difference,
    enclosed,
    identity,
    inverse_size,
    middle,
    product,
    size,
    solution_error,
    transposed,
)


@rule("triangular_solve")
def triangular_solve(
    model: Any,
    operands: Sequence[Annotated],
    outs: Sequence[Any],
    *,
    left_side: bool,
    lower: bool,
    transpose_a: bool,
    conjugate_a: bool,
    unit_diagonal: bool,
) -> list[Any]:
    """Only one triangle is read; a solution from the right is one of the transposed system."""
    out = outs[0]
    dtype = error_dtype(out.dtype)
    a, b = (enclosed(model, x, dtype) for x in operands)
    a = triangle(a.map(jnp.conj) if conjugate_a else a, lower, unit_diagonal)
    if transpose_a == left_side:
        a, lower = a.t, not lower
    x = middle(out)
    if not left_side:
        b, x = b.t, transposed(x)
    inverse = triangular_inverse(a.mid, lower)
    error = solution_error(_coarser(model, a, out), b, x, inverse, triangular_weights(lower))
    error = error if left_side else transposed(error)
    # A narrow result may be kept in excess precision where the residual reads it.
    return [error if out.dtype == x.dtype else model.total(out, error)]


def _coarser(model: Any, a: Enclosure, out: Any) -> Enclosure:
    """Roundings of a format narrower than that of errors are backward errors of the matrix."""
    if out.dtype == a.mid.dtype:
        return a
    return a._replace(rad=plus(a.rad, times(lax.abs(a.mid), (a.mid.shape[-1] + 2) * model.unit(out.dtype))))


def triangle(a: Enclosure, lower: bool, unit_diagonal: bool = False) -> Enclosure:
    """What is read of a triangular matrix."""
    part = jnp.tril if lower else jnp.triu
    if not unit_diagonal:
        return a.map(part)
    strict = a.map(lambda x: part(x, -1 if lower else 1))
    return strict._replace(mid=plus(strict.mid, identity(a.mid.shape[-1], a.mid)))


def triangular_inverse(a: Any, lower: bool) -> Any:
    """An approximate inverse."""
    return lapack.triangular_solve(a, identity(a.shape[-1], a), left_side=True, lower=lower)


def triangular_weights(lower: bool) -> Any:
    """(I - 2 m)^-1 1 for a triangular m: exists, positive, where no element of the diagonal reaches 1/2."""

    def weights(m: Any) -> Any:
        matrix = lax.sub(identity(m.shape[-1], m), times((jnp.tril if lower else jnp.triu)(m), 2.0))
        ones = jnp.ones((*m.shape[:-1], 1), m.dtype)
        return lax.abs(lapack.triangular_solve(matrix, ones, left_side=True, lower=lower))

    return weights


def triangular_inverse_size(a: Enclosure, lower: bool) -> Any:
    """An upper bound of |a*^-1|."""
    return inverse_size(a, triangular_inverse(a.mid, lower), triangular_weights(lower))


@rule("custom_linear_solve")
def custom_linear_solve(
    model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, const_lengths: Any, jaxprs: Any
) -> list[Any] | None:
    """The system is known as a map; None where that map is no product with a matrix."""
    consts, right = operands[: const_lengths.matvec], operands[sum(const_lengths) :]
    if len(outs) != 1:
        return None
    system = as_matrix(model, jaxprs.matvec, consts, outs[0].shape)
    if system is None:
        return None
    dtype = error_dtype(outs[0].dtype)
    a = enclosed(model, system.matrix, dtype).map(system.arrange)
    b = enclosed(model, right[0], dtype).map(system.right)
    x = system.unknown(middle(outs[0]))
    error = solution_error(a, b, x, lapack.inv(a.mid))
    return [system.place(error, outs[0].shape)]


@rule("tridiagonal_solve")
def tridiagonal_solve(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """As a dense system; the first element below and the last one above the diagonal are not read."""
    dtype = error_dtype(outs[0].dtype)
    *bands, b = (enclosed(model, x, dtype) for x in operands)
    a = _summed([band.map(functools.partial(_on_band, k=k)) for k, band in zip((-1, 0, 1), bands, strict=True)])
    x = middle(outs[0])
    return [solution_error(a, b, x, lapack.inv(a.mid))]


def _on_band(x: Any, k: int) -> Any:
    """A matrix with these elements, one per row, on its k-th diagonal."""
    return times(jnp.eye(x.shape[-1], k=k, dtype=x.dtype), x[..., :, None])


def _summed(parts: Sequence[Enclosure]) -> Enclosure:
    """A sum of matrices that share no element: nothing is rounded."""
    return Enclosure(plus(*(x.mid for x in parts)), plus(*(x.rad for x in parts)))


@rule("symmetric_product")
def symmetric_product(
    model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, alpha: float, beta: float
) -> list[Any]:
    """alpha A A^T + beta C, computed again with its rounding counted."""
    dtype = error_dtype(outs[0].dtype)
    a, c = (enclosed(model, x, dtype) for x in operands)
    parts = _scaled(product(a, a.t), alpha), _scaled(c, beta)
    negated = parts[1]._replace(mid=lax.neg(parts[1].mid))
    return [size(difference(Enclosure(outs[0].astype(dtype)), difference(parts[0], negated)))]


def _scaled(x: Enclosure, factor: float) -> Enclosure:
    mid = times(x.mid, float(factor))
    radius = plus(times(x.rad, abs(factor)), times(lax.abs(mid), 2 * format_of(mid.dtype).unit_roundoff))
    return Enclosure(mid, enlarged(radius, 4, mid.dtype, flushed=2))


same_for_complex("triangular_solve", "custom_linear_solve")
