"""The plain program, every rounded number of which is probed: what each rounding makes of the result, to first order.

To first order, the error of a result is the sum, over all intermediate numbers, of the derivative of the result by the
number times the local error of the number: its distance from what the operation gives exactly on the operands as they
were computed (Higham, section 1.5; the derivatives of all numbers are one reverse pass, Linnainmaa 1976). A model of
error says what the local errors are: their bounds, their deviations, or the signed ones that occurred.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._annotated import Annotated
from precjax._beside import in_float64
from precjax._interpreter import given
from precjax._rounding import dtype_of, error_dtype, is_inexact, is_plain, opaque
from precjax.analysis._placed import Placed
from precjax.models import Probabilistic
from precjax.models._rules import RuleModel
from precjax.models._widened import Widened


class Local(abc.ABC):
    """What one operation rounds.

    Attributes:
        part: of the derivative times the local error, what is summed up over numbers.
    """

    part: Callable[[Any], Any] = staticmethod(jnp.abs)

    def seen(self, value: Any) -> Any:
        """A result as the operations after it read it."""
        return value

    @abc.abstractmethod
    def errors(self, eqn: Any, operands: Sequence[Annotated], values: Sequence[Any]) -> list[Any]:
        """Of the results of an equation, given its operands as computed: arrays, or None for exactly none."""


class Bounds(Local):
    """At most so much, by the rules of a model; deviations, whose squares are summed up, if it is `Probabilistic`."""

    def __init__(self, rules: RuleModel) -> None:
        """Rules that take operands for exact."""
        self.rules = rules
        if isinstance(rules, Probabilistic):
            self.part = jnp.square

    def errors(self, eqn: Any, operands: Sequence[Annotated], values: Sequence[Any]) -> list[Any]:
        """What the rule says of exact operands."""
        exact = [Annotated(lax.stop_gradient(x.value), known=x.known) for x in operands]
        return [error for _, error in self.rules.apply(eqn, exact)]


class Observed(Local):
    """What was rounded, with its sign: the result minus that of the same operation in a wider format."""

    part = staticmethod(jnp.asarray)

    def __init__(self, shadow: Widened) -> None:
        """A shadow of single operations."""
        self.shadow = shadow

    def seen(self, value: Any) -> Any:
        """The number that was compared: never contracted with what follows, nor kept unrounded."""
        return opaque(value) if is_inexact(dtype_of(value)) else value

    def errors(self, eqn: Any, operands: Sequence[Annotated], values: Sequence[Any]) -> list[Any]:
        """Value minus reference, for real results; nothing is lost where no result is real."""
        if not any(is_real(v) for v in values):
            return [None] * len(values)

        def compared(*arrays: Any) -> list[Any]:
            values, operands = arrays[: len(eqn.outvars)], arrays[len(eqn.outvars) :]
            references = self.shadow.apply(eqn, [self.shadow.given(x) if is_plain(x) else given(x) for x in operands])
            return [
                self.shadow.compare(v, Annotated(*r))[0] if is_real(v) else jnp.zeros(v.shape, jnp.float32)
                for v, r in zip(values, references, strict=True)
            ]

        arrays = (*values, *(jnp.asarray(x.value) if is_plain(x.value) else x.value for x in operands))
        return in_float64(compared)(*map(lax.stop_gradient, arrays))


def is_real(value: Any) -> bool:
    """Whether a number is real and of floating point."""
    return jnp.issubdtype(dtype_of(value), jnp.floating)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Adjoint(Placed):
    """Runs the program; the derivatives by `slots` are the parts that places have in its result.

    Attributes:
        local: says what an operation rounds.
        places: those found so far; each has a slot.
        slots: numbers, 0, whose derivatives are wanted.
    """

    local: Local
    places: list[str]
    slots: Any

    def argument(self, index: int, value: Any, error: Any) -> Annotated:
        """An argument, probed if it has an error."""
        if error is None or not is_inexact(dtype_of(value)):
            return given(value)
        return given(self._probed(f"argument [{index}]", jnp.asarray(value), jnp.broadcast_to(error, np.shape(value))))

    def apply(self, eqn: Any, operands: Sequence[Annotated]) -> list[tuple[Any, Any]]:
        """The primitive, and probes of what it rounds."""
        results = [(self.local.seen(value), rest) for value, rest in super().apply(eqn, operands)]
        errors = self.local.errors(eqn, operands, [value for value, _ in results])
        return [(self._at(eqn, value, e), rest) for (value, rest), e in zip(results, errors, strict=True)]

    def _at(self, eqn: Any, value: Any, error: Any) -> Any:
        """A result, probed if it is a rounded real number."""
        return value if error is None or not is_real(value) else self._probed(self.place(eqn), value, error)

    def _probed(self, place: str, value: Any, error: Any) -> Any:
        if place not in self.places:
            self.places.append(place)
        slot = self.slots[self.places.index(place)]
        return _probe(value, lax.stop_gradient(error).astype(error_dtype(value.dtype)), slot, self.local.part)


def backwards(name: str, derivatives: Callable[..., Any], *args: Any) -> Any:
    """What a function makes of these, which takes derivatives, for the analysis of that name.

    Returns:
        Its results, compiled.

    Raises:
        NotImplementedError: if JAX has none for a part of it.
    """
    try:
        return jax.jit(derivatives)(*args)
    except (NotImplementedError, ValueError) as error:
        raise NotImplementedError(
            f"{name} follows derivatives backwards through the whole function, and JAX has none for a part of it: "
            f"{str(error).rstrip('.')}. Leave that part out, or use precjax.report, which needs no derivatives"
        ) from error


def without_nan(x: Any) -> Any:
    """0 in place of NaN: what is made of 0 and infinity, where a slope is steep and nobody reads the number."""
    return jnp.where(x == x, x, 0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _probe(value: Any, error: Any, slot: Any, part: Callable[[Any], Any]) -> Any:
    """The value; the derivative by the slot is what the error makes of the cotangent."""
    return value


def _probe_forward(value: Any, error: Any, slot: Any, part: Callable[[Any], Any]) -> Any:
    return value, error


def _probe_backward(part: Callable[[Any], Any], error: Any, cotangent: Any) -> Any:
    cotangent = without_nan(cotangent)
    parts = without_nan(part(cotangent.astype(error.dtype) * error))
    return cotangent, jnp.zeros_like(error), jnp.sum(parts).astype(jnp.result_type(float))


_probe.defvjp(_probe_forward, _probe_backward)
