"""A model without errors: what Shadow runs in a wider format, and Stochastic with random roundings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from precjax._annotated import Annotated
from precjax._binding import bind
from precjax._rounding import dtype_of, error_dtype
from precjax.models._model import ErrorModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bare(ErrorModel):
    """No errors at all: runs the equations as they come."""

    def lift(self, value: Any, error: Any) -> Annotated:
        """The value."""
        return Annotated(value)

    def error(self, x: Annotated) -> Any:
        """Zeros."""
        return jnp.zeros(np.shape(x.value), error_dtype(dtype_of(x.value)))

    def apply(self, eqn: Any, operands: Sequence[Annotated]) -> list[tuple[Any, Any]]:
        """The primitive itself."""
        return [(value, None) for value in bind(eqn, operands)]

    def supports(self, eqn: Any) -> bool:
        """Every primitive that JAX can run."""
        return True

    def explicit(self, x: Annotated) -> Annotated:
        """There is nothing to make explicit."""
        return x

    def doubt(self, x: Annotated) -> Any:
        """Decisions of the reference are the right ones."""
        return None

    def forget(self, x: Annotated, where: Any) -> Annotated:
        """Nothing is in doubt."""
        return x
