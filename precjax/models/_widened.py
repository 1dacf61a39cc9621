"""Models that set a wider reference beside the program."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._annotated import Annotated, Known
from precjax._interpreter import given
from precjax._rounding import as_error, dtype_of, error_dtype, is_inexact, plus, where
from precjax._widen import FROZEN, is_cast, narrow, needs_pairs, widen, widened, wider
from precjax.models._model import ErrorModel, repeatable

_REFERENCES = ("wider", "pairs")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Widened(ErrorModel, abc.ABC):
    """A model that compares a program with its reference; mixed into the model of the reference's own errors.

    The values that it carries on the interpreter are float64, or pairs if these are asked for or the program itself
    computes in float64. `enter`, `compare` and `result` are what `precjax._beside` needs to set the reference beside
    the program.

    Attributes:
        reference: "wider" or "pairs".
        device: where the reference runs: None for where the program does, a platform ("cpu") or a ``jax.Device``.
        fields: how many arrays `compare` returns.
    """

    reference: str = "wider"
    device: Any = None

    differentiable: ClassVar[bool] = False
    fields: ClassVar[int]

    def __post_init__(self) -> None:
        """Checks the options."""
        super().__post_init__()
        if self.reference not in _REFERENCES:
            raise ValueError(f"reference={self.reference!r}: expected one of {', '.join(map(repr, _REFERENCES))}")
        if not (self.device is None or isinstance(self.device, (str, jax.Device))):
            raise ValueError(f"device={self.device!r}: expected None, the name of a platform ('cpu'), or a jax.Device")

    def fit(self, jaxpr: Any) -> Widened:
        """Pairs if they are asked for, and for a program with float64 in it."""
        return self.paired() if self.reference == "pairs" or needs_pairs(jaxpr) else self

    @abc.abstractmethod
    def paired(self) -> Widened:
        """The same model with references in pairs."""

    def given(self, value: Any) -> Annotated:
        """An exact argument, as the reference takes it."""
        return given(widen(value))

    def rest(self, x: Annotated) -> Any:
        """What the carried value lacks: the low part of a pair, None for float64 references."""
        return None

    @abc.abstractmethod
    def enter(self, argument: Any) -> Annotated:
        """A `Tracked` of one array, as the reference takes it; x64 is on."""

    @abc.abstractmethod
    def compare(self, value: Any, reference: Annotated) -> tuple[Any, ...]:
        """What `result` needs for one output of the program; x64 is on."""

    @abc.abstractmethod
    def result(self, value: Any, *fields: Any) -> Any:
        """The result from trees of values and of what `compare` returned."""

    def admit(self, x: Annotated) -> Annotated:
        """A constant of the program, widened."""
        dtype = dtype_of(x.value)
        return x if dtype == wider(dtype) else x._replace(value=widen(x.value))

    def apply(self, eqn: Any, operands: Sequence[Annotated]) -> list[tuple[Any, Any]]:
        """The equation on float64."""
        operands = [self.admit(x) for x in operands]
        if not repeatable(eqn):
            return []
        if is_cast(eqn):
            return [self._casted(operands[0], eqn)]
        if eqn.primitive.name in FROZEN:
            return self._in_own_format(eqn, operands)
        return self._evaluated(eqn, operands)

    def _evaluated(self, eqn: Any, operands: Sequence[Annotated]) -> list[tuple[Any, Any]]:
        return super().apply(widened(eqn, operands), operands)

    def _casted(self, x: Annotated, eqn: Any) -> tuple[Any, Any]:
        return self._cast(x.value, eqn), x.error

    def _cast(self, value: Any, eqn: Any) -> Any:
        """A real number may become complex, a complex one its real part."""
        dtype = wider(eqn.outvars[0].aval.dtype)
        part = value if np.issubdtype(dtype, np.complexfloating) or not np.iscomplexobj(value) else lax.real(value)
        return lax.convert_element_type(part, dtype)

    def _in_own_format(self, eqn: Any, operands: Sequence[Annotated]) -> list[tuple[Any, Any]]:
        rounded = [self._rounded(x, var.aval.dtype) for x, var in zip(operands, eqn.invars, strict=True)]
        return [
            (widen(value), error if error is None else as_error(error, error_dtype(wider(value.dtype))))
            for value, error in super().apply(eqn, rounded)
        ]

    def _rounded(self, x: Annotated, dtype: Any) -> Annotated:
        """Strictly, bits are known only of a reference that is one certain number of the format."""
        if not is_inexact(dtype) or np.issubdtype(dtype, np.complexfloating):
            return x
        value, error = narrow(x.value, dtype), as_error(x.error, error_dtype(dtype))
        if self.strict:
            moved = where(lax.eq(widen(value), x.value), 0.0, jnp.ones(value.shape, error_dtype(dtype)))
            error = plus(error, moved)
        return Annotated(value, error, Known())

    def supports(self, eqn: Any) -> bool:
        """Casts need no rule."""
        return is_cast(eqn) or super().supports(eqn)
