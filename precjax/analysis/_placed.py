"""Models of an analysis, for which it matters where an equation stands."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax.numpy as jnp

from precjax._annotated import Annotated
from precjax._hooks import Site, site_of
from precjax.models._bare import Bare


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Placed(Bare):
    """The plain program, whose equations have places. Lives as long as one analysis.

    Its derivatives say what becomes of errors: those of the steps that it takes, not those that a program asks for by
    `stop_gradient` and `custom_vjp`.

    Attributes:
        key: what tells places apart.
    """

    key: Callable[[Site], str]

    differentiable: ClassVar[bool] = False

    def apply(self, eqn: Any, operands: Sequence[Annotated]) -> list[tuple[Any, Any]]:
        """The primitive itself; behind a `stop_gradient` a number is as wrong as before it."""
        if eqn.primitive.name == "stop_gradient":
            return [(jnp.asarray(operands[0].value), None)]
        return super().apply(eqn, operands)

    @property
    def placed(self) -> bool:
        """A block that two modules call belongs to both."""
        return True

    def place(self, eqn: Any) -> str:
        """Where an equation stands; inside the context of its source."""
        return self.key(site_of(eqn))
