"""Proved upper bounds of the absolute error."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from precjax._annotated import Annotated, Coarse
from precjax._ball import Ball
from precjax._binding import graft
from precjax._interpreter import given
from precjax._rounding import dtype_of, is_inexact, largest, maximum, minus, plus
from precjax.models._rules import RuleModel, admitted, read
from precjax.rules.bilinear import Bilinear, Factor, componentwise, normwise


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorstCase(RuleModel):
    """Upper bound of the absolute error.

    Args:
        contraction: how errors pass through matrix products and convolutions. "componentwise" multiplies absolute
            values, |A||B|: one more product, two if both operands are inexact. "normwise" uses the Cauchy-Schwarz
            inequality with norms of rows and
            columns: no more products, about pi/2 looser on Gaussian data.
        granularity: "element" bounds every number by itself. "row" also bounds the 2-norm of each row's errors (along
            the last axis), which a matrix product multiplies by its spectral norm at most: bounds then survive more
            layers, at the price of products of the matrices with themselves. "tensor" returns one error per result,
            of shape ``(1, ..., 1)``: the largest of its numbers' errors. State that is carried from call to call then
            needs no memory for its errors; within a call, every number still has its own, but for what waits: what a
            `scan` stacks has one error for each turn, and large arrays that a backward pass reads of the forward pass
            have one.
        missing: "raise" or "inf": what a primitive without a rule does.
        strict: give inf instead of freezing the bits of an inexact float that are read as an integer.

    Guarantee:
        |value - exact| <= error for every exact input within its own error, under the measured arithmetic of the
        platform: any order of summation, with or without FMA, subnormals flushed or not, intermediates of narrow
        formats rounded or kept wider. The same bound holds for the plain program, eager or jitted, outside the hazards
        that the documentation names.

    Raises:
        ValueError: if an option is unknown.

    Example:
        >>> import jax.numpy as jnp, precjax
        >>> precjax.track(jnp.sin, model=precjax.WorstCase())(1.0).error < 1.2e-7
        Array(True, dtype=bool)

    References:
        Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., chapter 3.
    """

    granularity: str = "element"

    granularities: ClassVar[tuple[str, ...]] = ("element", "row", "tensor")

    def __post_init__(self) -> None:
        """Checks the options."""
        super().__post_init__()
        if self.granularity not in self.granularities:
            expected = " or ".join(map(repr, self.granularities))
            raise ValueError(f"granularity={self.granularity!r}: expected {expected}")

    def fit(self, jaxpr: Any) -> WorstCase:
        """The same model, with norms of rows if it asks for them."""
        if self.granularity != "row":
            return self
        from precjax.models.by_row import ByRow  # noqa: PLC0415  (it derives from this class)

        return ByRow(**vars(self))

    def lift(self, value: Any, error: Any) -> Annotated:
        """The argument's ball; one error for all numbers is kept as that."""
        one = np.size(error) == 1 and np.ndim(value) and dtype_of(value) != jnp.bool_
        if self.granularity != "tensor" or not one:
            return super().lift(value, error)
        return given(value)._replace(error=Coarse(jnp.reshape(jnp.asarray(error), (1,) * np.ndim(value))))

    @property
    def sparing(self) -> bool:
        """By tensor: activations wait for the backward pass, most of them as long as the step takes."""
        return self.granularity == "tensor"

    def stacked(self, x: Annotated) -> Annotated:
        """With the largest error; of a decision, whether it is in doubt: not all are because one is."""
        x = self.spread(x)
        if self.granularity != "tensor" or x.error is None or not np.ndim(x.value):
            return x
        return x._replace(error=Coarse(self.doubt(x) if dtype_of(x.value) == jnp.bool_ else self.shown(x)))

    def spread(self, x: Annotated) -> Annotated:
        """The same error for each, as that of an argument."""
        if not isinstance(x.error, Coarse):
            return x
        dtype, error = dtype_of(x.value), jnp.asarray(x.error.error)
        one = read(admitted(error.reshape(()), dtype), dtype) if error.size == 1 and is_inexact(dtype) else None
        return x._replace(error=super().lift(x.value, error).error, largest=one)

    def shown(self, x: Annotated) -> Any:
        """The error, or the largest of an array, which has the derivative of that one."""
        error = self.error(x)
        if self.granularity != "tensor":
            return error
        return graft(largest(error), jnp.max(error, keepdims=True, initial=0))

    def join(self, *terms: Any) -> Any:
        """Their sum."""
        return plus(*terms)

    def accumulate(self, add: Callable[[Any], Any], errors: Any, names: tuple[Any, ...] = ()) -> Any:
        """Their sum."""
        return add(errors)

    def without(self, total: Any, part: Any, add: Callable[[Any], Any]) -> Any:
        """The difference."""
        return maximum(minus(total, part), 0.0)

    def rounding(self, ulps: float) -> float:
        """All of it."""
        return ulps

    def sum_rounding(
        self, terms: int, dtype: Any, pairwise: bool = False, one_sign: bool = False
    ) -> tuple[float, float]:
        """In any order, r = (n - 1) u times the sum of magnitudes S (Jeannerod and Rump 2013).

        For terms of one sign S is the exact sum of the computed terms: at most |result| / (1 - r).

        Returns:
            r for every term, or r / (1 - r), enlarged, for the result.
        """
        r = max(terms - 1, 0) * self.unit(dtype)
        return (0.0, r * (1 + 2 * r)) if one_sign and r < 0.25 else (r, 0.0)

    def contract(self, a: Factor, b: Factor, bilinear: Bilinear) -> Any:
        """Products of magnitudes, or of norms."""
        if self.contraction == "componentwise" or bilinear.norms is None:
            return componentwise(*(self.join(*x.terms()) for x in (a, b)), bilinear)
        return normwise(self, a, b, bilinear)

    def doubtful(self, a: Ball, b: Ball, shape: tuple[int, ...]) -> Any:
        """It may be either."""
        return 1.0

    def add(self, out: Any, a: Ball, b: Ball) -> Any:
        """Errors add up."""
        return self.total(out, a.absorbed, b.absorbed)
