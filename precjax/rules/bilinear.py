"""What matrix products and convolutions have in common: sums of products of two operands' numbers.

Theorem (Higham section 3.5; Jeannerod and Rump 2013: n u for any order, with or without FMA): for y = sum_k a_k b_k
    over n terms,
    |computed - exact| <= sum_k (|a*| e_b + |b'| e_a) + n u sum_k |a'| |b'|,   |a*| <= |a| + e_a,  |a'| <= |a| + r_a,
r the reach, a multiple s e of the error. With B = |b| + r_b this is at most
    both inexact:  |a| * (e_b + n u B) + e_a * (e_b + |b'| + s_a n u B): two products, |b'| = |b| where it is settled,
    a exact:       |a| * (e_b + n u B): one product.
Of a only |a| and e_a are read, arrays that are there already where a is not negative: a is such an operand (as the
probabilities of a softmax), or else the larger one.
Normwise, each product of non-negative matrices is bounded by Cauchy-Schwarz: sum_k x_k y_k <= |x|_2 |y|_2, so that
norms of rows and columns, or of patches, are all that is computed: of sizes and of errors apart, since |x + y|_2 <=
|x|_2 + |y|_2. So each is computed once, however many products read it, from arrays that are stored anyway.

Complex numbers: both parts of y are sums of 2 n real products, so that, with hypot(|ac| + |bd|, |ad| + |bc|) <= sqrt(2)
|x| |y|, the modulus of the error is at most 2 sqrt(2) n u sum_k |a'| |b'|. A convolution may be three real ones (Gauss;
Higham section 23.2.4), of sums of parts: their roundings add up to 4 (n + 1) u sum_k |a'| |b'|, and one u more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import platforms
from precjax._annotated import Annotated
from precjax._ball import Ball
from precjax._rounding import (
    as_error,
    computed_once,
    dtype_of,
    error_dtype,
    format_of,
    is_constant,
    magnitude,
    plus,
    stored,
    times,
)
from precjax.rules.algorithms import Arithmetic, arithmetic


class Bilinear(NamedTuple):
    """A contraction of non-negative arrays.

    Attributes:
        product: the contraction itself.
        norms: (2-norms of a over what is summed, laid out to broadcast against the result; the same for b); None where
            there are none, and the contraction itself must do.
        terms: how many products are summed.
        roundings: how many roundings a product meets until it is part of the sum: as many as there are terms, if the
            numbers are real.
        arithmetic: in which formats; operands may be rounded before, and the sum more than once.
    """

    product: Callable[[Any, Any], Any]
    norms: tuple[Callable[[Any], Any], Callable[[Any], Any]] | None
    terms: int
    roundings: int
    arithmetic: Arithmetic


class Factor(NamedTuple):
    """What is contracted for an operand x with error e: `of_error` e + `of_size` |x| + `floor`.

    Attributes:
        ball: the operand.
        of_error: 0 if it is exact.
        of_size: 0 for the error alone.
        floor: what subnormal operands may lose, where they are read as 0 or cast.
    """

    ball: Ball
    of_error: float
    of_size: float = 0.0
    floor: float = 0.0

    def terms(self) -> list[Any]:
        """What errors and sizes give, arrays of non-negative numbers; how they join is for the model to say."""
        parts = (
            times(self.ball.error, self.of_error) if self.of_error else None,
            plus(jnp.asarray(times(self._size, self.of_size), self.ball.dtype), self.floor) if self.of_size else None,
        )
        return [part for part in parts if part is not None]

    @property
    def _size(self) -> Any:
        """|x|: where it is not negative, x itself (or -0), which is stored already."""
        x = self.ball.operand
        signless = x.known.low >= 0 and not is_constant(x.value)
        return as_error(x.value, self.ball.dtype) if signless else self.ball.size

    def norm(self, model: Any, of: Callable[[Any], Any], terms: int, unit: float = 1.0) -> Any:
        """Upper bound of its 2-norm, but for rounding, from that of so many terms of an array.

        Args:
            model: how errors and sizes join.
            of: the norm of an array.
            terms: how many numbers have one norm.
            unit: a power of two in which errors are measured, so that their squares do not vanish.
        """
        x, largest = self.ball, self.ball.operand.largest
        parts = []
        if self.of_error and largest is not None:
            parts.append(times(largest, self.of_error * math.sqrt(terms)))
        elif self.of_error:
            parts.append(times(of(stored(times(x.error, 1 / unit))), self.of_error * unit))
        if self.of_size:
            size = x.size if x.is_complex else jnp.asarray(x.value, x.dtype)
            parts.append(times(of(size), self.of_size))
        return model.join(*jnp.broadcast_arrays(*parts), self.floor * math.sqrt(terms) or None)


def componentwise(a: Any, b: Any, bilinear: Bilinear) -> Any:
    """a * b itself; the caller makes up for its rounding."""
    return bilinear.product(a, b)


def normwise(model: Any, a: Factor, b: Factor, bilinear: Bilinear, unit: float = 1.0) -> Any:
    """|a|_2 |b|_2; the caller makes up for its rounding.

    Args:
        model: how errors and sizes join.
        a: one factor.
        b: the other.
        bilinear: with norms.
        unit: as in `Factor.norm`.
    """
    norms = [x.norm(model, of, bilinear.terms, unit) for x, of in zip((a, b), bilinear.norms, strict=True)]
    # Where one operand is exact, nothing else reads the roots that the other's norm is a sum of.
    norms = list(map(computed_once, norms)) if a.ball.exact or b.ball.exact else norms
    return lax.mul(*jnp.broadcast_arrays(*norms))


def bilinear_error(model: Any, operands: Sequence[Annotated], out: Any, bilinear: Bilinear) -> Any:
    """The theorem above, for any model's way to join errors and to round sums."""
    dtype = error_dtype(out.dtype)
    rounding, of_result, once_more = _roundings(model, bilinear, out.dtype)
    a, b = (model.ball(x, dtype) for x in operands)
    lost = max(platforms.current().read_loss(out.dtype), format_of(dtype).smallest_normal)
    exact, cast = lost / rounding, bilinear.arithmetic.lost / rounding
    whole_a, whole_b = (Factor(x, x.spread, 1.0, cast + (exact if x.exact else 0.0)) for x in (a, b))
    if _comes_first(a, b):
        products = _products(whole_a, whole_b, rounding)
    else:
        products = [(of_a, of_b) for of_b, of_a in _products(whole_b, whole_a, rounding)]
    bound = model.join(*(model.contract(*factors, bilinear) for factors in products))
    final = times(magnitude(out, dtype), of_result) if of_result else None
    kept = bilinear.arithmetic.result
    vanished = None if kept is None else model.underflow(kept)
    return model.total(
        out, bound, final, vanished, ulps=once_more, steps=bilinear.terms + 16, flushed=4 * bilinear.terms
    )


def _roundings(model: Any, bilinear: Bilinear, dtype: Any) -> tuple[float, float, float]:
    """Per unit of every product's size, per unit of the result's, and ulps of the result once it is summed."""
    how = bilinear.arithmetic
    rounding, of_result = model.sum_rounding(bilinear.roundings + 1, how.sums)
    if how.operand:
        first = model.rounding(1.0) * how.operand
        rounding = model.join(rounding, first, first) + how.operand**2
    before = 0.0 if how.result is None else model.unit(how.result) / model.unit(dtype)
    return rounding, of_result, before + (1.0 if how.sums != dtype else 0.0)


def roundings_of_products(
    model: Any, operands: Sequence[Annotated], dtype: Any, terms: int, precision: Any
) -> tuple[float, float]:
    """Of a sum of so many products in the worst case: per unit of their sizes, and ulps once it is summed."""
    rounding, _, once_more = _roundings(model, on_platform(None, None, terms, terms, precision, operands, dtype), dtype)
    return rounding, once_more


def _comes_first(a: Ball, b: Ball) -> bool:
    """Whether a is the theorem's a: an exact one, or one that is not negative, or the larger one."""
    rank = [(x.exact, x.operand.known.low >= 0, np.size(x.operand.value)) for x in (a, b)]
    return rank[0] >= rank[1]


def _products(a: Factor, b: Factor, rounding: float) -> list[tuple[Factor, Factor]]:
    """The factors of |a| (e_b + r B) and, for an inexact a, of e_a (e_b + |b'| + s_a r B)."""
    of_error = 0.0 if b.ball.exact else 1.0 + rounding * b.of_error
    products = [(a._replace(of_error=0.0), Factor(b.ball, of_error, rounding, rounding * b.floor))]
    if a.ball.exact:
        return products
    rounded = rounding * a.of_error
    of_error = rounded * b.of_error + (0.0 if b.ball.linear else 1.0 + b.ball.moved)
    return [*products, (Factor(a.ball, 1.0), Factor(b.ball, of_error, 1.0 + rounded, (1.0 + rounded) * b.floor))]


def on_platform(
    product: Any, norms: Any, terms: int, roundings: int, precision: Any, operands: Sequence[Annotated], out: Any
) -> Bilinear:
    """With the arithmetic of the platform, which goes by the formats of the operands and of the result."""
    found = arithmetic(precision, out, *(dtype_of(x.value) for x in operands[:2]))
    return Bilinear(product, norms, terms, math.ceil(roundings * found.units), found)
