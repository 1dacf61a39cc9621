"""What the interpreter carries in place of an array: its value, its error, and what is known of it while tracing."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from precjax._rounding import held, is_constant

RANGE_SLACK = 0.125  # how far from it, relatively, floats that are computed may be outside a static range


class Added(NamedTuple):
    """Constants that were added last.

    Attributes:
        size: an upper bound of the sum of their sizes, as far as they are known.
        number: the constant, where it is one, and a number.
        whole: all are whole numbers.
    """

    size: float
    number: float | None = None
    whole: bool = False

    def join(self, other: Added) -> Added:
        """What holds for a sum with the one or the other."""
        return self if self == other else Added(max(self.size, other.size), None, self.whole and other.whole)


class Known(NamedTuple):
    """Static facts about an array.

    Attributes:
        low: the exact value is at least this; so is every computed one, a float but for an eighth of it (rounding is
            monotone).
        high: the exact value is at most this; so is every computed one, a float but for an eighth of it.
        settled: every admissible execution computes the same value here (inputs, and inputs that were only moved).
        masked: it may hold infinities that are exact: inputs, infinite constants, and what is made of them by moving
            and adding.
        fixed: it is made of constants alone.
        added: XLA may take it for x + c of such constants (see `_merging`); None if there are none.
        scaled: XLA may take it for x c.
        exponential: XLA may take it for exp(x).
    """

    low: float = -math.inf
    high: float = math.inf
    settled: bool = False
    masked: bool = False
    fixed: bool = False
    added: Added | None = None
    scaled: bool = False
    exponential: bool = False

    def join(self, other: Known) -> Known:
        """What holds for an array that is the one or the other."""
        low, high = min(self.low, other.low), max(self.high, other.high)
        return Known(low, high, *self._common(other))

    def _common(self, other: Known) -> tuple[Any, ...]:
        added = self.added.join(other.added) if self.added and other.added else self.added or other.added
        both = self.settled and other.settled, self.masked or other.masked, self.fixed and other.fixed
        return *both, added, self.scaled or other.scaled, self.exponential or other.exponential

    def widen(self, other: Known) -> Known:
        """The part of these facts that `other` keeps: one step of a loop's invariant, but for `added`."""
        low = self.low if other.low >= self.low else -math.inf
        high = self.high if other.high <= self.high else math.inf
        return Known(low, high, *self._common(other))._replace(added=self.added)

    def after_turns(self, following: Known, turns: int) -> Known:
        """With the constants that are added in all turns of a loop, given the facts after one of them."""
        if following.added is None:
            return self
        start = self.added.size if self.added else 0.0
        total = start + turns * max(following.added.size - start, 0.0)
        return self._replace(added=Added(total, None, following.added.whole))


class Origin(NamedTuple):
    """The equation that made an array, its annotated operands, and which result it is: what patterns are matched on."""

    eqn: Any
    operands: tuple[Annotated, ...]
    index: int = 0


class Coarse(NamedTuple):
    """An error in less memory: an array of the value's rank that broadcasts against it, of floats or of bools (1)."""

    error: Any


class Annotated(NamedTuple):
    """An array in the interpreter.

    Attributes:
        value: what the program computed.
        error: the model's annotation, any fixed tree of arrays; None where the value is exact (static knowledge).
        known: static facts.
        origin: where it came from, within the same jaxpr.
        norm: what a model may know besides of an inexact array ``(*s, n)``: a bound of the 2-norm of each row of its
            error, ``(*s, 1)``; None where nothing is.
        largest: a number that bounds all of the error, ``()``, where it came from one number; None where it did not.
    """

    value: Any
    error: Any = None
    known: Known = Known()
    origin: Origin | None = None
    norm: Any = None
    largest: Any = None

    @property
    def annotation(self) -> tuple[Any, Any]:
        """What stands beside the value, as a tree of arrays."""
        return self.error, self.norm


def constant(value: Any) -> Annotated:
    """A literal: exact, settled, its range a point."""
    if not is_constant(value) or np.iscomplexobj(value):
        return Annotated(value, known=Known(settled=True, fixed=True))
    number = float(held(value))
    return Annotated(value, known=Known(number, number, True, math.isinf(number), True))
