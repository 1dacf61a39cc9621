"""`Certified` with references in pairs of float64 numbers, each with a low part and a bound."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._annotated import Annotated
from precjax._rounding import as_error, dtype_of, error_dtype, is_inexact, plus, where
from precjax._tracked import Tracked
from precjax._widen import widen, widened, wider
from precjax.doubledouble import DD
from precjax.doubledouble import _complex_primitives as primitives
from precjax.doubledouble._pairs import FLOOR
from precjax.doubledouble._trigonometric import LARGEST
from precjax.models import (  # noqa: F401  (fill the table)
    _pair_decisions,
    _pair_factorizations,
    _pair_reductions,
    _pair_reflections,
    _pair_special,
    _pair_spectral,
)
from precjax.models._compositions import COMPOSITIONS, composed
from precjax.models._pair_least_squares import THEOREMS
from precjax.models._pair_rules import PairRules, fat, has_rule, pair_errors, same, thin
from precjax.models._paired import Paired, Rest, pair, paired_difference
from precjax.models.certified import Certified, CertifiedTracked
from precjax.models.worst_case import WorstCase

_WIDE = np.dtype(np.float64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CertifiedPairs(Paired, Certified):
    """Certificates by pairs: every annotation holds a low part and a bound."""

    def enter(self, argument: Tracked) -> Annotated:
        """A ball around the value, or around the pair that an earlier step left."""
        entered = super().enter(argument)
        low = lax.full_like(entered.value, 0) if is_inexact(dtype_of(entered.value)) else None
        if low is None or np.iscomplexobj(low) or not isinstance(argument, CertifiedTracked):
            return entered._replace(error=Rest(low, entered.error))
        offset = where(lax.is_finite(argument.offset), argument.offset, 0.0)
        exact = paired_difference(argument.value, offset)
        radius = where(lax.is_finite(argument.offset), widen(argument.radius), np.inf)
        lost = where(lax.eq(offset, lax.full_like(offset, 0)), jnp.zeros((), _WIDE), FLOOR)
        return entered._replace(value=exact.value, error=Rest(exact.error.low, plus(radius, lost)))

    def compare(self, value: Any, reference: Annotated) -> tuple[Any, Any, Any]:
        """As of float64; a difference of two float64 numbers may be flushed."""
        if not is_inexact(value.dtype):
            return super().compare(value, reference)
        reference = self.explicit(reference)
        (low, bound), high = reference.error, reference.value
        bound = plus(bound, where(_same_bits(widen(value), high, low), jnp.zeros((), _WIDE), FLOOR))
        return super().compare(value, reference._replace(error=Rest(low, bound)))

    def error(self, x: Annotated) -> Any:
        """The bound of the pair."""
        return super().error(thin(x))

    def explicit(self, x: Annotated) -> Annotated:
        """A low part of zero, and the bound of `WorstCase`."""
        if x.error is not None:
            return x
        low = lax.full_like(jnp.asarray(x.value), 0) if is_inexact(dtype_of(x.value)) else None
        return x._replace(error=Rest(low, WorstCase.explicit(self, x).error))

    def doubt(self, x: Annotated) -> Any:
        """Where the bound is not zero."""
        return super().doubt(thin(x))

    def forget(self, x: Annotated, where_: Any) -> Annotated:
        """Bound inf there."""
        x = self.explicit(x)
        return x._replace(error=Rest(x.error.low, WorstCase.forget(self, thin(x), where_).error))

    def judged(
        self, name: str, params: dict[str, Any], operands: Sequence[Annotated], results: list[Annotated]
    ) -> list[Annotated]:
        """By the theorem of that name, with residuals in pairs, if there is one."""
        theorem = THEOREMS.get(name)
        explicit = [self.explicit(x) for x in results] if theorem else results
        errors = theorem(self._worst_case(PairRules), operands, explicit) if theorem else None
        if errors is None:
            return results
        judged = [x._replace(error=Rest(x.error.low, e)) for x, e in zip(explicit, errors, strict=False)]
        return [*judged, *results[len(errors) :]]

    def _worst_case(self, kind: type[WorstCase]) -> WorstCase:
        return kind(contraction=self.contraction, missing=self.missing, strict=self.strict)

    def _as_it_is(self, eqn: Any, operands: Sequence[Annotated]) -> list[tuple[Any, Any]]:
        """The primitive itself on high parts, by the rules of float64, with errors that cover the low parts."""
        results = self._worst_case(WorstCase).apply(eqn, same(operands, fat))
        return [_rest(value, error) for value, error in results]

    def _in_own_format(self, eqn: Any, operands: Sequence[Annotated]) -> list[tuple[Any, Any]]:
        rounded = [self._rounded(x, v.aval.dtype) for x, v in zip(same(operands, fat), eqn.invars, strict=True)]
        results = self._worst_case(WorstCase).apply(eqn, rounded)
        return [_rest(widen(x), as_error(error, error_dtype(wider(x.dtype)))) for x, error in results]

    def _in_pairs(self, eqn: Any, operands: Sequence[Annotated]) -> list[tuple[Any, Any]]:
        name = eqn.primitive.name
        if name in COMPOSITIONS:
            results = composed(eqn, operands, self.apply)
        elif has_rule(eqn):
            outs = primitives.run(eqn, list(map(pair, operands)))
            errors = pair_errors(self._worst_case(PairRules), widened(eqn, operands), operands, outs)
            results = [_rest(out, error) for out, error in zip(outs, errors, strict=True)]
        else:
            return self._as_it_is(widened(eqn, operands), operands)
        unknown = _UNKNOWN.get(name)
        if unknown is None:
            return results
        plain = self._as_it_is(widened(eqn, operands), operands)
        return [_unless(unknown(operands, near[1].error), near, far) for near, far in zip(results, plain, strict=True)]


def _same_bits(value: Any, high: Any, low: Any) -> Any:
    """Where nothing is left of value - high - low, part by part if complex."""
    if jnp.iscomplexobj(value):
        return lax.bitwise_and(*(_same_bits(*map(part, (value, high, low))) for part in (lax.real, lax.imag)))
    value, high, low = (lax.bitcast_convert_type(x, np.int64) for x in (value, high, low))
    return lax.bitwise_and(lax.eq(value, high), lax.eq(low, lax.full_like(low, 0)))


def _beyond_reduction(operands: Sequence[Annotated], error: Any) -> Any:
    x = jnp.asarray(operands[0].value)
    return lax.ge(lax.abs(x), lax.full_like(x, LARGEST, _WIDE))


def _unbounded(operands: Sequence[Annotated], error: Any) -> Any:
    return lax.bitwise_not(lax.is_finite(error))


# Where pairs may be at a loss, and float64 and its bounds are not: with arguments too large to reduce, vectors of
# eigenvalues that are one to float64, a composition of which one step has no bound.
_UNKNOWN = {
    **dict.fromkeys(("sin", "cos", "tan"), _beyond_reduction),
    **dict.fromkeys(("eig", *COMPOSITIONS), _unbounded),
}


def _unless(unknown: Any, near: tuple[Any, Rest], far: tuple[Any, Rest]) -> tuple[Any, Rest]:
    """The second result there."""
    return jax.tree.map(lambda a, b: where(unknown, b, a), near, far)


def _rest(out: Any, error: Any) -> tuple[Any, Any]:
    """A result and its annotation: None where nothing is to be said."""
    if isinstance(out, DD):
        return out.hi, Rest(out.lo, jnp.zeros(out.hi.shape) if error is None else error)
    if error is None:
        return out, None
    return out, Rest(lax.full_like(out, 0) if is_inexact(dtype_of(out)) else None, error)
