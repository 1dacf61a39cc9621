"""Worst cases with norms: `WorstCase` and `Certified` with ``granularity="row"``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from precjax import _row_norms as norms
from precjax._annotated import Annotated
from precjax._merging import merges_exponentials
from precjax._rounding import dtype_of, minimum, same_shape, times
from precjax.models.worst_case import WorstCase
from precjax.rules import row_products  # noqa: F401  (fills the table)
from precjax.rules.row_moves import KEPT
from precjax.rules.rows import MEETING, ROW_RULES, error_along_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class ByRow(WorstCase):
    """Beside every error ``(*s, n)``, a bound ``(*s, 1)`` of the 2-norm of each row's errors; each lowers the other."""

    def fit(self, jaxpr: Any) -> ByRow:
        """As it is."""
        return self

    def lift(self, value: Any, error: Any) -> Annotated:
        """The argument's ball, and its norms."""
        return _with_norm(super().lift(value, error))

    def explicit(self, x: Annotated) -> Annotated:
        """With norms: of zeros, zeros."""
        made = super().explicit(x)
        if x.error is not None or not _has_rows(made):
            return _with_norm(made)
        return made._replace(norm=times(norms.largest(made.error), 1.0001 * math.sqrt(made.value.shape[-1])))

    def refined(self, eqn: Any, operands: Sequence[Annotated], results: list[Annotated]) -> list[Annotated]:
        """With norms: what a rule says of them, or what the errors make, whichever is less."""
        rule = ROW_RULES.get(eqn.primitive.name)
        real = all(jnp.issubdtype(dtype_of(x.value), jnp.floating) and np.ndim(x.value) for x in results)
        inexact = [x for x in operands if x.error is not None]
        rows = eqn.primitive.name in MEETING or all(np.ndim(x.value) for x in inexact)
        rows = rows and not merges_exponentials(eqn, operands)
        if rule is None or not real or not inexact or not rows:
            return [_with_norm(x) for x in results]
        found = rule(self, eqn, operands, [x.value for x in results])
        return [self._smaller(eqn, operands, x, norm) for x, norm in zip(results, found, strict=True)]

    def _smaller(self, eqn: Any, operands: Sequence[Annotated], x: Annotated, norm: Any) -> Annotated:
        if x.error is None:
            return x
        if norm is None:
            along = error_along_rows(self, eqn, operands, x.value)
            return _with_norm(x if along is None else x._replace(error=minimum(x.error, along)))
        if eqn.primitive.name not in KEPT:
            norm = minimum(norm, norms.of_rows(x.error))
            x = x._replace(error=minimum(*same_shape(x.error, norm)))
        return x._replace(norm=norm)


def _has_rows(x: Annotated) -> bool:
    return x.error is not None and np.ndim(x.value) > 0


def _with_norm(x: Annotated) -> Annotated:
    """The norms of the errors themselves, where none are known."""
    return x._replace(norm=norms.of_rows(x.error)) if x.norm is None and _has_rows(x) else x
