"""References in pairs of float64 numbers.

The value that the interpreter carries is the high part; the annotation holds the low one, None where it is zero and
nothing else is to be said. So control flow, which passes annotations on, need not know of pairs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _jax_compat as compat
from precjax import doubledouble as dd
from precjax._annotated import Annotated
from precjax._facts import folded
from precjax._places import line_of
from precjax._registry import MissingRuleError
from precjax._rounding import dtype_of, is_inexact
from precjax._widen import widen, widened, wider
from precjax.doubledouble import DD
from precjax.doubledouble import _complex_primitives as primitives
from precjax.doubledouble._primitives import MOVES
from precjax.models._compositions import COMPOSITIONS, composed
from precjax.models._widened import Widened


class Rest(NamedTuple):
    """The annotation: the low part of a float (None for other dtypes), and what a model adds about its error."""

    low: Any = None
    error: Any = None


def pair(x: Annotated) -> Any:
    """A float as a pair; other arrays as they are."""
    if not is_inexact(dtype_of(x.value)):
        return x.value
    high = jnp.asarray(x.value, wider(dtype_of(x.value)))
    return DD(high, jnp.zeros_like(high) if x.error is None else x.error.low)


def paired_difference(value: Any, offset: Any) -> Annotated:
    """value - offset as a pair: exact for two float64 numbers."""
    exact = dd.sub(*(dd.from_float(jnp.asarray(widen(x))) for x in (value, jnp.broadcast_to(offset, np.shape(value)))))
    return Annotated(exact.hi, Rest(exact.lo))


def of_floats(eqn: Any) -> bool:
    """Whether floats are among the operands, or made of integers: otherwise, an equation runs as it is."""
    cast = eqn.primitive.name == "convert_element_type"
    return any(is_inexact(getattr(v.aval, "dtype", bool)) for v in (*eqn.invars, *(eqn.outvars if cast else ())))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paired(Widened):
    """Mixed into a model of wider references, it carries pairs."""

    def judged(
        self, name: str, params: dict[str, Any], operands: Sequence[Annotated], results: list[Annotated]
    ) -> list[Annotated]:
        """As the steps gave them: residuals are not computed in pairs."""
        return results

    def given(self, value: Any) -> Annotated:
        """An argument, of which every copy has the same bits."""
        wide = super().given(value)
        if not is_inexact(dtype_of(wide.value)):
            return wide
        if np.issubdtype(dtype_of(wide.value), np.complexfloating):
            held = [dd.from_float(part(jnp.asarray(wide.value))).hi for part in (lax.real, lax.imag)]
            return wide._replace(value=lax.complex(*held))
        return wide._replace(value=dd.from_float(wide.value).hi)

    def rest(self, x: Annotated) -> Any:
        """The low part."""
        return None if x.error is None else x.error.low

    def explicit(self, x: Annotated) -> Annotated:
        """A low part of zero."""
        if x.error is not None or not is_inexact(dtype_of(x.value)):
            return x
        return x._replace(error=Rest(lax.full_like(jnp.asarray(x.value), 0)))

    def shared(self, x: Annotated, names: tuple[Any, ...]) -> Annotated:
        """The copy of the first device: the high part of one and the low part of another are no pair."""
        first = lambda leaf: lax.all_gather(leaf, names)[0]  # noqa: E731
        return x if x.error is None else x._replace(value=first(x.value), error=jax.tree.map(first, x.error))

    def _casted(self, x: Annotated, eqn: Any) -> tuple[Any, Any]:
        """The low part as the high one."""
        value, rest = super()._casted(x, eqn)
        low = None if rest is None else rest.low
        return value, rest if low is None else rest._replace(low=self._cast(low, eqn))

    def _evaluated(self, eqn: Any, operands: Sequence[Annotated]) -> list[tuple[Any, Any]]:
        if not of_floats(eqn):
            return self._as_it_is(widened(eqn, operands), operands)
        if folded(eqn, operands) is not None:
            return [(value, None) for value in compat.bind(widened(eqn, operands), [x.value for x in operands])]
        return self._in_pairs(eqn, operands)

    def _as_it_is(self, eqn: Any, operands: Sequence[Annotated]) -> list[tuple[Any, Any]]:
        """An equation without floats."""
        return super()._evaluated(eqn, operands)

    def _in_pairs(self, eqn: Any, operands: Sequence[Annotated]) -> list[tuple[Any, Any]]:
        """An equation with floats, on pairs."""
        name = eqn.primitive.name
        if name in COMPOSITIONS:
            return composed(eqn, operands, self.apply)
        if not primitives.supports(eqn):
            raise MissingRuleError(
                f"no arithmetic of pairs for {name!r}, used at {line_of(eqn)}: no reference in pairs, which "
                f"a program of float64 needs. Pass float32 arguments, with reference='wider', or use "
                f"model='certified' or model='worst_case'"
            )
        if name in MOVES and all(x.error is None for x in operands):
            return super()._evaluated(eqn, operands)
        results = primitives.run(eqn, list(map(pair, operands)))
        return [(x.hi, Rest(x.lo)) if isinstance(x, DD) else (x, None) for x in results]
