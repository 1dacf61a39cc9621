"""Bounds that hold with a stated probability, and stay realistic in deep programs."""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._annotated import Annotated
from precjax._ball import Ball, Point
from precjax._rounding import (
    binade,
    computed_once,
    dtype_of,
    format_of,
    largest,
    less,
    maximum,
    minimum,
    opaque,
    plus,
    ratio,
    times,
    where,
)
from precjax.models import _backward as backward
from precjax.models._model import ErrorModel
from precjax.models._moderated import moderated_bound
from precjax.models._probes import STAGNANT, Probed, check_probes
from precjax.models._rules import RuleModel
from precjax.rules.bilinear import Bilinear, Factor, componentwise, normwise


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probabilistic(RuleModel):
    """Upper bound of the absolute error of each number that holds with a given probability.

    Roundings are taken as independent, and spread evenly over half a unit h in the last place, with variance h**2 / 3.
    A sum of them lies between a single one, which is uniform, and very many, which are Gaussian: the bound is the
    larger of the two quantiles. Errors of different sources join as the root of the sum of their squares; a sum of n
    terms in random order rounds like sqrt(n), not like n.

    Args:
        confidence: probability, for each number, that its error stays below the bound; in (0, 1).
        contraction: "componentwise" multiplies squares, one more product, two if both operands are inexact;
            "normwise" uses norms of rows and columns instead, as if errors did not prefer large factors.
        probes: None, or how many possible errors of every number to push through the program, 2 to 16: 4 is a good
            number, 2 will do for large arrays. They keep correlations: where errors meet again that have a common
            source, in a norm, a softmax, a residual stream, or a gradient that is zero for a reason, they cancel or
            add up as they really do. It costs about one run of the program per probe. A single number gets the bound
            of so few samples (9.9 deviations with 2 probes, 4.6 with 4, 2.9 with 16); numbers of an array say how
            large the others' errors are.
        missing: "raise" or "inf": what a primitive without a rule does.
        strict: give inf instead of freezing the bits of an inexact float that are read as an integer.

    Guarantee:
        Statistical, to first order: P(|value - exact| <= error) >= confidence if roundings are independent of each
        other and have mean zero. They are not where a computation repeats itself (the same increment added again and
        again, one inexact number used everywhere in a sum): additions that stagnate, and those of an exact number and
        an inexact one, are bounded by the worst case, long sums in a narrow format as if every partial sum were rounded
        to one side by as much as the result may be; errors of a number that is used twice combine as if they were
        independent, but in x + x, x * x and x (1 + x). With probes they combine as they are; the bound is then itself
        an estimate, enlarged by Student's quantile, so that the probability includes its uncertainty; it is a mean
        over the numbers of an array, of which those with the largest errors are covered less often than the others.
        So is, always, the bound of a factorization or a linear system, whose roundings move its matrix (8 probes).

    Raises:
        ValueError: if an option is unknown, the confidence no probability, or the number of probes out of range.

    Example:
        >>> import jax.numpy as jnp, precjax
        >>> x = jnp.full(1000, 0.1)
        >>> likely = precjax.track(jnp.sum, model="probabilistic")(x).error
        >>> bool(likely < 0.1 * precjax.track(jnp.sum)(x).error)
        True

    References:
        Higham and Mary, A new approach to probabilistic rounding error analysis, SIAM J. Sci. Comput. 41 (2019).
        Hutchinson, A stochastic estimator of the trace of the influence matrix, Commun. Stat. Simul. 19 (1990).
        Smyth, Linear models and empirical Bayes methods for assessing differential expression in microarray
        experiments, Stat. Appl. Genet. Mol. Biol. 3 (2004).
    """

    confidence: float = 0.99
    probes: int | None = None

    def __post_init__(self) -> None:
        """Checks the options."""
        super().__post_init__()
        check_probes(self.probes)
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence={self.confidence!r}: expected a probability between 0 and 1, such as 0.99")

    def fit(self, jaxpr: Any) -> ErrorModel:
        """Probes are another way to carry errors, with the same roundings."""
        return self if self.probes is None else self._with_probes(self.probes, self.hooks)

    def _with_probes(self, count: int, hooks: Any = ()) -> Probed:
        rules = dataclasses.replace(self, probes=None, hooks=())
        shared = {"missing": self.missing, "strict": self.strict, "hooks": hooks}
        return Probed(rules=rules, quantile=self._quantile, count=count, confidence=self.confidence, **shared)

    def apply(self, eqn: Any, operands: Sequence[Annotated]) -> list[tuple[Any, Any]]:
        """By the rule; of backward stable algorithms at most what a few probes say, see `_backward`."""
        made = self.by_rule(eqn, operands)
        if not backward.is_stable(self, eqn):
            return made
        (outs, errors), probed = zip(*made, strict=True), self._with_probes(_FEW)
        sampled = probed.of_stable(eqn, list(map(probed.carried, operands)), outs, errors)
        return [(v, self._lower(e, d)) for v, e, d in zip(outs, errors, sampled, strict=True)]

    def judged(
        self, name: str, params: dict[str, Any], operands: Sequence[Annotated], results: list[Annotated]
    ) -> list[Annotated]:
        """By the theorem on the whole; at most what probes say of a system, or the steps of what is made of factors."""
        judged = super().judged(name, params, operands, results)
        if backward.is_system(name, operands, results):
            (x,), probed = judged, self._with_probes(_FEW)
            sampled = backward.solved_again(probed, params, operands, probed.carried)
            return [x._replace(error=self._lower(x.error, sampled))]
        if name not in backward.OF_FACTORS:
            return judged
        pairs = zip(judged, results, strict=True)
        return [
            x if y.error is None or x.error is None else x._replace(error=minimum(x.error, y.error)) for x, y in pairs
        ]

    def _lower(self, error: Any, deviations: Any) -> Any:
        """The error, or the bound of deviations where that is less."""
        if error is None or deviations is None:
            return error
        return minimum(error, moderated_bound(jnp.moveaxis(deviations, -1, 0).astype(error.dtype), self.confidence))

    @property
    def _quantile(self) -> float:
        """How many deviations an error exceeds no more often than the confidence allows."""
        gaussian = -statistics.NormalDist().inv_cdf((1 - self.confidence) / 2)
        return max(gaussian, math.sqrt(3) * self.confidence)

    @property
    def _deviation(self) -> float:
        """What u |x| contributes to an error: so many times the deviation of a uniform rounding."""
        return self._quantile / math.sqrt(3)

    def ball(self, x: Annotated, dtype: Any) -> Ball:
        """To first order: a ball that takes in all that is unlikely would explode as the worst case does."""
        return Ball(x, dtype) if x.error is None else Point(x, dtype)

    def error(self, x: Annotated) -> Any:
        """Of a bool, at most 1."""
        bound = super().error(x)
        return minimum(bound, 1.0) if dtype_of(x.value) == jnp.bool_ else bound

    def join(self, *terms: Any) -> Any:
        """Root of the sum of squares."""
        constants = math.hypot(*(t for t in terms if isinstance(t, float)))
        present = [t for t in terms if t is not None and not isinstance(t, float)]
        if len(present) < 2:
            return plus(*present, constants)
        arrays = jnp.broadcast_arrays(*present)
        unit = _over_binade(*arrays)
        # XLA repeats products in every kernel that reads them, but no division. Where one factor is a constant, jaxlib
        # 0.10.2 would square each by itself, to 0 and infinity, if it knew that this is a product.
        root = lax.div(lax.sqrt(plus(*(lax.square(opaque(lax.mul(t, unit))) for t in arrays))), unit)
        return plus(root, constants)

    def accumulate(self, add: Callable[[Any], Any], errors: Any, names: tuple[Any, ...] = ()) -> Any:
        """Root of the sum of squares; all devices measure in one unit."""
        squares, scale = _squares(errors, names=names)
        return times(lax.sqrt(add(squares)), scale)

    def without(self, total: Any, part: Any, add: Callable[[Any], Any]) -> Any:
        """All of it; without a part that is more than half of the squares, of which there is one, the others' sum.

        A difference of squares would say little of the others where one part is most of them.

        Returns:
            An array of the parts' shape.
        """
        dominant = less(times(total, 0.72), part)
        return where(dominant, self.accumulate(add, where(dominant, 0.0, part)), total)

    def rounding(self, ulps: float) -> float:
        """One rounding is uniform; what a table of ulps allows beyond that is another error."""
        return self._deviation * (math.hypot(1.0, (ulps - 1) / 2) if ulps >= 1 else ulps)

    def rounded(self, out: Any, dtype: Any, ulps: float) -> Any:
        """Rounded to nearest, a number errs by u times its power of two; what a table allows goes by its size."""
        size = super().rounded(out, dtype, ulps)
        by_size = ulps > 1 or jnp.issubdtype(out.dtype, jnp.complexfloating)
        return size if by_size else binade(jnp.asarray(size, dtype))

    def sum_rounding(
        self, terms: int, dtype: Any, pairwise: bool = False, one_sign: bool = False
    ) -> tuple[float, float]:
        """The roundings of all `partial_sums`.

        Returns:
            Factors of the root of the sum of squares, and of the sum.
        """
        n, u = max(terms - 1, 0), self.unit(dtype)
        stagnant = n * u > 0.25
        in_tree = pairwise and not stagnant
        share = 1.0 if in_tree else min(1.0, HALF_ULPS + (1 - HALF_ULPS) * 3 / max(terms, 1))
        per_term, of_result = (share * factor for factor in partial_sums(terms, in_tree))
        # Partial sums that grow toward the result are all rounded by as much as that is, and perhaps to one side.
        of_result = n if stagnant else self._deviation * math.sqrt(of_result)
        return self._deviation * u * math.sqrt(per_term), of_result * u

    def contract(self, a: Factor, b: Factor, bilinear: Bilinear) -> Any:
        """Products of squares; normwise, as if the sizes of the operands had nothing to do with each other."""
        if self.contraction == "normwise" and bilinear.norms is not None:
            unit = format_of(a.ball.dtype).unit_roundoff
            return times(normwise(self, a, b, bilinear, unit), 1 / math.sqrt(bilinear.terms))
        (left, scale_left), (right, scale_right) = (_squares(*x.terms()) for x in (a, b))
        return times(lax.sqrt(componentwise(left, right, bilinear)), lax.mul(scale_left, scale_right))

    def doubtful(self, a: Ball, b: Ball, shape: tuple[int, ...]) -> Any:
        """The error of a bool that is wrong as often as a Gaussian error changes the sign of the difference."""
        radius = jnp.broadcast_to(jnp.asarray(self.join(a.error, b.error), a.dtype), shape)
        distance = jnp.broadcast_to(lax.abs(lax.sub(*jnp.broadcast_arrays(*_values(a, b)))), shape)
        t = times(ratio(distance, radius), self._quantile)
        likely = times(_root_of_tail(t), self._quantile)
        # An error of 1, with probability p, has the deviation root p, which sums of many go by; the bound of a single
        # one is 1 if p is more than the confidence allows. The larger serves both.
        likely = where(less(self._quantile * math.sqrt(1 - self.confidence), likely), maximum(likely, 1.0), likely)
        # Rarer errors than the confidence allows do not count: their size would drown all others.
        return lax.convert_element_type(where(less(self._quantile, t), 0.0, likely), jnp.float32)

    def add(self, out: Any, a: Ball, b: Ball) -> Any:
        """Root of the sum of squares; errors add up where an operand is nearly lost, or may be the same every time."""
        # A loop that adds one exact number again and again rounds the same way as long as the exponent stays.
        # The size of a constant is a Python float.
        sizes = jnp.broadcast_arrays(*(jnp.asarray(x.size, a.dtype) for x in (a, b)))
        smaller = jnp.broadcast_to(lax.min(*sizes), out.shape)
        rounding = times(lax.abs(out).astype(a.dtype), self.unit(out.dtype))
        largest = minimum(smaller, times(self.rounded(out, a.dtype, 1.0), self.unit(out.dtype)))
        systematic = plus(a.absorbed, b.absorbed, largest, format_of(a.dtype).smallest_normal)
        if a.exact != b.exact:
            return systematic
        lost = less(smaller, times(rounding, STAGNANT))
        # Else every kernel that reads the error would read all that it is made of.
        return computed_once(where(lost, systematic, self.total(out, a.absorbed, b.absorbed)))


_FEW = 8  # probes of a single algorithm


# The mean square of half a unit in the last place, over that of u |s|, of partial sums s spread over their binades:
# 0.54 if they are normally distributed, with any deviation; 0.43 to 0.60 if they grow evenly from 0 to any number. The
# last of them counts as a whole, and has 3 / n of the sum of squares.
HALF_ULPS = 0.6


def partial_sums(terms: int, pairwise: bool) -> tuple[float, float]:
    """The expected sum of squares of all partial sums, of terms with sum s and sum of squares q.

    It is n q / 6 + n s**2 / 3 in random order, log2(n) q + 2 s**2 in a tree. XLA's reductions on a CPU err by 0.4 to
    1.6 times what the tree gives, its products by 0.4 to 0.8 times what the random order gives (measured, n up to
    262144), where `HALF_ULPS` leaves 0.77.

    Args:
        terms: how many are summed.
        pairwise: whether in a tree.

    Returns:
        Factors of q and of s**2.
    """
    n = max(terms - 1, 0)
    return (math.log2(n + 1), 2.0) if pairwise else (n / 6, n / 3)


def _root_of_tail(t: Any) -> Any:
    """The root of the probability that a Gaussian number exceeds t deviations, at most 8% too large for t to 5."""
    # A logistic function of an odd polynomial, fitted so as to be no smaller; erfc has ten times the operations.
    square = lax.square(t)
    slope = plus(times(plus(times(square, -0.00064), 0.0715), square), 1.596)
    return lax.rsqrt(plus(lax.exp(times(t, slope)), 1.0))


def _values(*balls: Ball) -> list[Any]:
    return [jnp.asarray(x.value, x.dtype) for x in balls]


def _over_binade(*sizes: Any) -> Any:
    """The reciprocal of the largest `binade` of numbers that are not negative: normal, also for 0 and infinity."""
    # In integers: a maximum of floats, which must not drop a NaN, takes many instructions.
    dtype = sizes[0].dtype
    word = np.dtype(f"int{8 * dtype.itemsize}")
    powers = [lax.bitcast_convert_type(binade(size), word) for size in sizes]
    smallest = format_of(dtype).smallest_normal
    low, high = (np.asarray(limit, dtype).view(word) for limit in (smallest, 2.0**-6 / smallest))
    power = lax.clamp(low, functools.reduce(lax.max, powers), high)
    twice_the_bias = 2 * np.asarray(1, dtype).view(word)
    return lax.bitcast_convert_type(lax.sub(lax.full_like(power, twice_the_bias), power), dtype)


def _scaled(part: Any, unit: Any) -> Any:
    """In that unit; nothing may vanish: a small error is not zero."""
    # Of a constant 0 no product, of which jaxlib 0.10.2 would square both factors: that of the unit is infinite.
    scaled = lax.mul(part, jnp.broadcast_to(unit, part.shape))
    floor = 2.0 ** (math.floor(math.log2(format_of(unit.dtype).smallest_normal)) // 2 + 1)
    return where(lax.gt(part, jnp.zeros_like(part)), maximum(scaled, floor), part)


def _squares(*parts: Any, names: tuple[Any, ...] = ()) -> tuple[Any, Any]:
    """The sum of their squares over that of a number, the same on all devices, so that none overflows; that number."""
    largest_part = functools.reduce(lax.max, parts)
    scale = largest(where(less(largest_part, np.inf), largest_part, 0.0))
    unit = _over_binade(lax.pmax(scale, names) if names else scale)
    squares = plus(*(lax.square(_scaled(part, unit)) for part in parts))
    return squares, lax.reshape(lax.div(jnp.ones_like(unit), unit), ())
