"""What the interpreter asks of a model of error."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from precjax import _jax_compat as compat
from precjax._annotated import Annotated
from precjax._hooks import Hook
from precjax._places import line_of
from precjax._registry import MissingRuleError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ErrorModel(abc.ABC):
    """A meaning of `error`. Instances are immutable and hashable: transformed programs are cached by them.

    Attributes:
        missing: what a primitive without a rule does: "raise" MissingRuleError, or "inf".
        strict: whether bits of an inexact float that are read as an integer give error inf (otherwise they are frozen).
        hooks: what sees every equation; set by ``track(f, hooks=...)``.
    """

    missing: str = "raise"
    strict: bool = False
    hooks: tuple[Hook, ...] = dataclasses.field(default=(), repr=False)

    # Whether an argument's error may be negative, and whether derivatives pass through the values of the model.
    signed: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True
    # Whether arrays are typed by the axes of devices along which they vary, where the program has them typed.
    typed: ClassVar[bool] = True
    # Whether equal blocks may be interpreted as one loop: if the errors of a loop are those of its turns.
    rerolls: ClassVar[bool] = False
    # Where what runs beside the program runs; None for where the program does.
    device: ClassVar[Any] = None

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            ValueError: if `missing` is unknown.
        """
        if self.missing not in ("raise", "inf"):
            raise ValueError(f"missing={self.missing!r}: expected 'raise' or 'inf'")

    @property
    def placed(self) -> bool:
        """Whether equations are told apart by their places, so that callers do not share what is made of one jaxpr."""
        return bool(self.hooks)

    @property
    def sparing(self) -> bool:
        """Whether what a forward pass leaves for its gradient is kept as the results of turns are (`stacked`)."""
        return False

    @property
    def loops(self) -> bool:
        """Whether equal blocks are interpreted as one loop: not if something watches each equation."""
        return self.rerolls and not self.placed

    def fit(self, jaxpr: Any) -> ErrorModel:
        """The model as it runs a program: the formats in the program may decide how it carries values."""
        return self

    def admit(self, x: Annotated) -> Annotated:
        """A constant of the program, in the form in which the model carries values."""
        return x

    @abc.abstractmethod
    def lift(self, value: Any, error: Any) -> Annotated:
        """An argument with an error given by the user, shape and dtype as `error` returns."""

    @abc.abstractmethod
    def error(self, x: Annotated) -> Any:
        """The error to show: an array of the value's shape; zeros where exact."""

    def shown(self, x: Annotated) -> Any:
        """The error of a result of the program, as `track` returns it."""
        return self.error(x)

    @abc.abstractmethod
    def apply(self, eqn: Any, operands: Sequence[Annotated]) -> list[tuple[Any, Any]]:
        """Runs an ordinary equation: (value, annotation) per result."""

    def judged(
        self, name: str, params: dict[str, Any], operands: Sequence[Annotated], results: list[Annotated]
    ) -> list[Annotated]:
        """The results of a call, as its steps gave them, or with what a theorem on the whole says of their errors.

        Args:
            name: of the theorem: a primitive that carries jaxprs, or a library function.
            params: what the theorem needs.
            operands: of the call.
            results: of its steps.

        Returns:
            The same values.
        """
        return results

    def refined(self, eqn: Any, operands: Sequence[Annotated], results: list[Annotated]) -> list[Annotated]:
        """The results of an ordinary equation with what else the model knows of their errors."""
        return results

    def stacked(self, x: Annotated) -> Annotated:
        """A result of a turn of a scan, as it is stored beside those of the other turns; see also `sparing`."""
        return x

    def spread(self, x: Annotated) -> Annotated:
        """The array with an error for each of its numbers, if it was stored with fewer."""
        return x

    def packed(self, x: Annotated, axis: int = 0) -> Annotated:
        """The array as a scan carries it, or, with axis 1, what it reads and stacks: one turn's for each of axis 0."""
        return x

    def unpacked(self, x: Annotated, axis: int = 0) -> Annotated:
        """The inverse of `packed`."""
        return x

    @abc.abstractmethod
    def supports(self, eqn: Any) -> bool:
        """Whether `apply` has a rule for the equation."""

    @abc.abstractmethod
    def explicit(self, x: Annotated) -> Annotated:
        """The same array with the annotation it would have if it were not known to be exact."""

    def shared(self, x: Annotated, names: tuple[Any, ...]) -> Annotated:
        """The array as it stands for the copies of all devices along these axes, which need not be the same."""
        return x

    @abc.abstractmethod
    def doubt(self, x: Annotated) -> Any:
        """Where a decision taken on x might be another one in exact arithmetic: bool array, or None if never."""

    @abc.abstractmethod
    def forget(self, x: Annotated, where: Any) -> Annotated:
        """The array with nothing guaranteed where a bool array (broadcast against it) holds."""


def repeatable(eqn: Any) -> bool:
    """Whether a run beside the program repeats the equation: not a print, which the program itself does.

    Args:
        eqn: any equation.

    Returns:
        False if it has no results.

    Raises:
        MissingRuleError: if it has results and effects.
    """
    if eqn.outvars and compat.effects(eqn):
        raise MissingRuleError(
            f"{eqn.primitive.name} at {line_of(eqn)} has effects, which a second run would repeat. Track "
            f"the parts of the function before and after it, or use model='worst_case'"
        )
    return bool(eqn.outvars)
