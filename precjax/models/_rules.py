"""Models whose errors come from the rules: what they share, and what they must say."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _jax_compat as compat
from precjax import platforms
from precjax._annotated import Annotated, Known
from precjax._ball import Ball, subnormal
from precjax._binding import bind
from precjax._devices import same_type, whole
from precjax._facts import folded
from precjax._merging import with_merged_exponentials
from precjax._places import line_of
from precjax._registry import PARTS, MissingRuleError, find, is_users, reason_against
from precjax._rounding import (
    as_error,
    dtype_of,
    error_dtype,
    format_of,
    is_inexact,
    magnitude,
    never_nan,
    plus,
    times,
    where,
)
from precjax.models._model import ErrorModel
from precjax.rules import constants

_TRACE = 2.0**-10  # of a rounding: enough to carry an infinity, too little to matter

CONTRACTIONS = ("componentwise", "normwise")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuleModel(ErrorModel):
    """A model that asks the rules for errors: each rule states how errors spread and what is rounded.

    The model says how large a rounding is, and how errors that have nothing to do with each other combine.

    Attributes:
        contraction: how errors pass through matrix products and convolutions, "componentwise" or "normwise".
    """

    contraction: str = "componentwise"

    rerolls: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Checks the options."""
        super().__post_init__()
        if self.contraction not in CONTRACTIONS:
            raise ValueError(f"contraction={self.contraction!r}: expected one of {', '.join(map(repr, CONTRACTIONS))}")

    @abc.abstractmethod
    def join(self, *terms: Any) -> Any:
        """The error that several errors from different sources make together; None stands for exactly zero."""

    @abc.abstractmethod
    def accumulate(self, add: Callable[[Any], Any], errors: Any, names: tuple[Any, ...] = ()) -> Any:
        """The same for an array of errors, which `add` would sum as the primitive sums values.

        Args:
            add: sums an array.
            errors: what is summed.
            names: of the axes of devices over which `add` sums besides.
        """

    @abc.abstractmethod
    def without(self, total: Any, part: Any, add: Callable[[Any], Any]) -> Any:
        """What the other errors of an accumulated total make together, for each of its parts, which `add` sums."""

    @abc.abstractmethod
    def rounding(self, ulps: float) -> float:
        """The error, in units of u `rounded`, of a result that is rounded with at most so many u |result|."""

    def rounded(self, out: Any, dtype: Any, ulps: float) -> Any:
        """The size of a result, in the dtype of errors, that a rounding with at most so many ulps goes by."""
        return magnitude(out, dtype)

    @abc.abstractmethod
    def sum_rounding(
        self, terms: int, dtype: Any, pairwise: bool = False, one_sign: bool = False
    ) -> tuple[float, float]:
        """The rounding of a sum of so many terms: (per unit of every term's size, per unit of the result's size).

        Args:
            terms: how many.
            dtype: of the partial sums.
            pairwise: whether platforms are known to add such terms in a tree; no promise.
            one_sign: whether no term has the other sign, so that sizes add up to the result's.

        Returns:
            Two factors, u included.
        """

    @abc.abstractmethod
    def contract(self, a: Any, b: Any, bilinear: Any) -> Any:
        """The error that a bilinear contraction makes of two factors of sizes and errors; see `rules.bilinear`."""

    @abc.abstractmethod
    def doubtful(self, a: Any, b: Any, shape: tuple[int, ...]) -> Any:
        """The error of a comparison of two balls that overlap: what a wrong result, whose error is 1, counts."""

    @abc.abstractmethod
    def add(self, out: Any, a: Any, b: Any) -> Any:
        """The error of a sum of two balls."""

    def ball(self, x: Annotated, dtype: Any) -> Ball:
        """An operand as rules see it, in arithmetic of `dtype`."""
        return Ball(x, dtype)

    def unit(self, dtype: Any) -> float:
        """The unit roundoff of arithmetic on values of a dtype."""
        return format_of(dtype).unit_roundoff

    def underflow(self, dtype: Any) -> float:
        """What one operation may lose in the subnormal range."""
        return platforms.current().underflow(dtype)

    def accuracy(self, name: str, dtype: Any) -> platforms.Accuracy | None:
        """How accurate an elementary function is, in multiples of `unit`."""
        return platforms.current().accuracy(name, dtype)

    def lift(self, value: Any, error: Any) -> Annotated:
        """The argument's ball."""
        error, dtype = jnp.broadcast_to(jnp.asarray(error), np.shape(value)), dtype_of(value)
        error = admitted(error, dtype)
        if is_inexact(dtype) and platforms.current().read_loss(dtype):
            error = where(subnormal(jnp.asarray(value)), read(error, dtype), error)
        return Annotated(value, error, Known(settled=True, masked=True))

    def error(self, x: Annotated) -> Any:
        """Upper bound of |value - exact|; inf where the value is NaN, even one that the program says."""
        bound = _no_error(x.value) if x.error is None else never_nan(x.error)
        if not is_inexact(dtype_of(x.value)):
            return bound
        value = whole(jnp.asarray(x.value))
        return where(lax.eq(value, value), bound, np.inf)

    def explicit(self, x: Annotated) -> Annotated:
        """Zero, but for subnormals: the error of an inexact operand covers that it may be read as 0."""
        if x.error is not None:
            return x
        error, dtype = _no_error(x.value), dtype_of(x.value)
        if is_inexact(dtype) and x.known.low != x.known.high and platforms.current().read_loss(dtype):
            error = where(subnormal(jnp.asarray(x.value)), platforms.current().read_loss(dtype), error)
        return x._replace(error=error)

    def shared(self, x: Annotated, names: tuple[Any, ...]) -> Annotated:
        """With the largest error of any copy."""
        return x if x.error is None else x._replace(error=lax.pmax(never_nan(x.error), names), norm=None)

    def doubt(self, x: Annotated) -> Any:
        """A decision is in doubt where its error is not zero."""
        return None if x.error is None else lax.ne(x.error, jnp.zeros((), x.error.dtype))

    def forget(self, x: Annotated, where_: Any) -> Annotated:
        """Error inf there."""
        x = self.explicit(x)
        condition = lax.broadcast_in_dim(where_, x.error.shape, tuple(range(np.ndim(where_))))
        return x._replace(error=where(condition, np.inf, x.error), norm=None)

    def apply(self, eqn: Any, operands: Sequence[Annotated]) -> list[tuple[Any, Any]]:
        """By the rule."""
        return self.by_rule(eqn, operands)

    def by_rule(self, eqn: Any, operands: Sequence[Annotated]) -> list[tuple[Any, Any]]:
        """The rule of the primitive gives the error; the primitive itself gives the value."""
        outs = bind(eqn, operands)
        if folded(eqn, operands) is not None:
            return [(outs[0], None)]
        wholes = list(map(whole, outs))
        parts = any(x.error is None and compat.unreduced(jax.typeof(x.value)) for x in operands)  # of an argument
        if parts or not self.supports(eqn):
            return list(zip(outs, self._unknown(eqn, operands, wholes, PARTS if parts else None), strict=True))
        rule = find(eqn.primitive.name, _is_complex(eqn))
        errors = rule(self, operands, wholes, **eqn.params)
        errors = constants.lowered(self, rule, eqn, operands, wholes, errors)
        errors = with_merged_exponentials(eqn, operands, wholes, errors)
        return [(v, None if e is None else same_type(_sure(e), v)) for v, e in zip(outs, errors, strict=True)]

    def judged(
        self, name: str, params: dict[str, Any], operands: Sequence[Annotated], results: list[Annotated]
    ) -> list[Annotated]:
        """By the rule of that name, if it has something to say; the errors of the steps are then not computed."""
        complex_ = any(jnp.issubdtype(dtype_of(x.value), jnp.complexfloating) for x in (*operands, *results))
        rule = find(name, complex_)
        errors = rule and rule(self, operands, [x.value for x in results], **params)
        return [x._replace(error=_sure(e)) for x, e in zip(results, errors, strict=True)] if errors else results

    def supports(self, eqn: Any) -> bool:
        """Whether there is a rule that holds for the equation: for complex numbers, if there are any."""
        rule = find(eqn.primitive.name, _is_complex(eqn))
        return rule is not None and (is_users(rule) or reason_against(eqn) is None)

    def _unknown(self, eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any], reason: str | None) -> list[Any]:
        """Without a rule: exact if there are no results, or only integers of exact operands; else there is no bound."""
        if not outs:
            return []  # a debugging print
        discrete = not any(is_inexact(dtype_of(v)) for v in [*outs, *(x.value for x in operands)])
        if discrete and all(x.error is None for x in operands):
            return [None] * len(outs)
        if self.missing == "raise":
            raise missing_rule(eqn, reason)
        return [lax.full_like(v, np.inf, dtype=error_dtype(dtype_of(v))) for v in outs]

    def total(self, out: Any, *terms: Any, ulps: float | None = 1.0, steps: int = 8, flushed: int = 1) -> Any:
        """The error of a result: propagated terms, and the rounding of the result.

        The result is a correctly named real function of the operands, rounded with relative error at most ulps u, or
        lost to underflow. With E the bound wanted, any execution's result z(1 + d) has |z| <= |exact| + sum(terms) and
        |exact| <= |out| + E, so E = (sum(terms) + ulps u |out| + underflow) (1 + ulps u) / (1 - ulps u) will do.

        Args:
            out: the computed value (dtype gives u).
            *terms: propagated errors, non-negative; None for zero.
            ulps: rounding in units of u |out|; None where a term counts it.
            steps: rounded operations spent on the terms so far.
            flushed: how many underflows may hide in value and terms.

        Returns:
            The error, rounded up; NaN, which stands for inf, where the result is NaN.
        """
        dtype, u = error_dtype(out.dtype), self.unit(out.dtype)
        own = format_of(dtype)
        growth = 1 + 3 * (ulps or 0.0) * u + (2 * steps + 8) * own.unit_roundoff
        growth = growth if steps * own.unit_roundoff <= 0.125 else np.inf
        rounding = None
        if ulps is not None:
            # Even where nothing is rounded, a result that is infinite or NaN must leave no finite error.
            rounding = times(self.rounded(out, dtype, ulps), max(self.rounding(ulps), _TRACE) * u)
        underflow = flushed * self.underflow(out.dtype) * growth + own.smallest_normal
        return plus(times(self.join(*(as_error(t, dtype) for t in terms), rounding), growth), underflow)


def _sure(error: Any) -> Any:
    """The bound, enlarged by what the platform may lose where it computes bounds themselves."""
    return times(error, 1.0 + platforms.current().slack)


def _is_complex(eqn: Any) -> bool:
    return any(jnp.issubdtype(dtype, jnp.complexfloating) for dtype in compat.dtypes(eqn))


def admitted(error: Any, of: Any) -> Any:
    """Errors of arguments; negative or NaN ones, which only traced code can bring here, become inf."""
    dtype = error_dtype(of)
    error = as_error(error if is_inexact(error.dtype) else error.astype(dtype), dtype)
    error = where(subnormal(error), format_of(dtype).smallest_normal, error)
    return where(lax.ge(error, jnp.zeros((), dtype)), error, np.inf)


def read(error: Any, of: Any) -> Any:
    """Errors of numbers that may be subnormal, and then be read as 0."""
    lost = platforms.current().read_loss(of)
    return plus(times(error, 1 + 4 * format_of(error.dtype).unit_roundoff), lost) if lost else error


def _no_error(value: Any) -> Any:
    return lax.full_like(whole(jnp.asarray(value)), 0, dtype=error_dtype(dtype_of(value)))


def missing_rule(eqn: Any, reason: str | None = None) -> MissingRuleError:
    """The exception for a primitive without a rule."""
    name, kind = eqn.primitive.name, " of complex numbers" if _is_complex(eqn) else ""
    reason = reason or reason_against(eqn)
    because = f": {reason}" if reason else ""
    return MissingRuleError(
        f"no error rule for primitive {name!r}{kind}, used at {line_of(eqn)}{because}. Supply one with "
        f"@precjax.defrule({name!r}), or accept an unbounded error there with track(f, missing='inf'); "
        f"precjax.missing_rules(f)(*args) lists every primitive of a program without a rule"
    )
