"""Models of an analysis, for which it matters where an equation stands."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from precjax._hooks import Site, site_of
from precjax.models._bare import Bare


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Placed(Bare):
    """The plain program, whose equations have places. Lives as long as one analysis.

    Attributes:
        key: what tells places apart.
    """

    key: Callable[[Site], str]

    @property
    def placed(self) -> bool:
        """A block that two modules call belongs to both."""
        return True

    def place(self, eqn: Any) -> str:
        """Where an equation stands; inside the context of its source."""
        return self.key(site_of(eqn))
