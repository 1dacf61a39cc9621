"""Determinants, which do not depend on the pivots of the elimination that computes them.

Theorem: let P A* = L D V + R, where L D V is the product L U of the computed factors for any pivots, V being U with its
last pivot s exchanged for some other number v, and D the unit matrix with d = s / v in its last place. With
G = (L V)^-1 R and w = v V^-1 e_n, whose last element is 1, (L V)^-1 P A* = I + (d - 1) w e_n^T + G, so that

    det P A* = det V det(I + G) (d + (d - 1) z),  |z| <= |e_n^T (I + G)^-1 G w|.

If |G| <= M, elementwise, with a spectral radius below 1, then |tr G^k| <= tr M^k, and as log det(I + G) is the sum of
(-1)^(k + 1) tr(G^k) / k, its modulus is at most t = tr M + tr(M^2 (I - M)^-1) / 2. For v = s this is how far the
logarithm of det A* is from that of det L U. Any other v will do where s may be 0, and costs nothing to first order.
Under real matrices det(I + G) is positive, as no det(I + c G), 0 <= c <= 1, is 0. Under complex ones this logarithm is
complex: det A* is det (L U) e^z with |z| as bounded, whose sign and size do not each move by as much.

References:
    Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 14.6.
    Rump, Verification methods, Acta Numerica 19 (2010), section 10.
    Horn and Johnson, Matrix Analysis, 2nd ed., section 5.6 (the series) and 8.1 (non-negative matrices).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _jax_compat as compat
from precjax import _lapack as lapack
from precjax._annotated import Annotated
from precjax._interpreter import interpret
from precjax._registry import rule, same_for_complex
from precjax._rounding import (
    divide,
    enlarged,
    equal,
    error_dtype,
    format_of,
    less,
    minimum,
    never_nan,
    plus,
    ratio,
    times,
    where,
)
from precjax.rules.elimination import permuted
from precjax.rules.enclosure import (
    Enclosure,
    amplified,
    defect,
    difference,
    dot_up,
    enclosed,
    identity,
    middle,
    product,
    size,
    transposed,
)
from precjax.rules.linalg import triangular_inverse


class Perturbed(NamedTuple):
    """What the theorem says of a determinant.

    Attributes:
        pivots: bounds of the diagonal of |V|, (..., n).
        t: bounds of |log det(I + G)|, (...).
        last: bounds of |d| + |(d - 1) z|, (...).
        relative: bounds of |(d - 1) z / d|, (...).
    """

    pivots: Any
    t: Any
    last: Any
    relative: Any

    def logarithm(self) -> Any:
        """How far log |det A*| is from log |det L U|: -log(1 - x) <= x + x**2 for x <= 1/2."""
        x = where(less(self.relative, 0.5), self.relative, np.inf)
        return never_nan(enlarged(plus(self.t, x, lax.square(x)), 8, x.dtype))

    def largest(self) -> Any:
        """A bound of |det A*|; logarithms are taken so that no partial product overflows or vanishes."""
        n, u = self.pivots.shape[-1], format_of(self.pivots.dtype).unit_roundoff
        logs = lax.log(jnp.concatenate([self.pivots, self.last[..., None]], -1))
        slack = times(jnp.sum(lax.abs(logs), axis=-1), (n + 16) * u)
        return times(lax.exp(plus(jnp.sum(logs, axis=-1), slack, self.t)), 1 + 64 * u)


def perturbed(a: Enclosure, factors: Sequence[Any]) -> Perturbed:
    """Bounds of what the residual of an elimination does to the determinant."""
    packed = middle(factors[0])
    n, dtype = packed.shape[-1], error_dtype(packed.dtype)
    a = a.map(lambda x: permuted(x, factors[2]))
    lower, upper = plus(jnp.tril(packed, -1), identity(n, packed)), jnp.triu(packed)
    rest = size(difference(a, product(Enclosure(lower), Enclosure(upper))))
    s = upper[..., -1:, -1:]
    v = _last_pivot(upper, rest)
    exchanged = where(_is_last(upper), v, upper)
    inverse = _inverse_size(lower, exchanged)
    m = dot_up(inverse, rest)
    following = amplified(m, m)
    sizes = enlarged(lax.abs(exchanged), 4, dtype)
    w = enlarged(times(inverse[..., -1:], sizes[..., -1:, -1:]), 4, dtype)
    z, apart = dot_up(following[..., -1:, :], w), enlarged(lax.abs(lax.sub(v, s)), 4, dtype)
    d, off = (enlarged(ratio(x, lax.abs(v)), 8, dtype) for x in (lax.abs(s), apart))
    last = enlarged(plus(d, where(lax.eq(v, s), 0.0, times(off, z))), 8, dtype)
    relative = where(lax.eq(v, s), 0.0, enlarged(ratio(times(apart, z), lax.abs(s)), 16, dtype))
    pivots = jnp.diagonal(sizes, axis1=-2, axis2=-1)
    return Perturbed(pivots, _series(m, following), last[..., 0, 0], relative[..., 0, 0])


def _is_last(x: Any) -> Any:
    """The last place of the diagonal."""
    last = jnp.arange(x.shape[-1]) == x.shape[-1] - 1
    return jnp.broadcast_to(lax.bitwise_and(last[:, None], last[None, :]), x.shape)


def _last_pivot(upper: Any, rest: Any) -> Any:
    """The last pivot itself, unless it is below all others and near its own error; never 0."""
    sizes = lax.abs(jnp.diagonal(upper, axis1=-2, axis2=-1))[..., None, :]
    others = jnp.min(sizes[..., :-1], axis=-1, keepdims=True, initial=np.inf)
    others = where(less(others, np.inf), others, 0.0)
    least = plus(
        others, times(jnp.sum(rest[..., -1:, :], axis=-1, keepdims=True), 4.0), format_of(rest.dtype).smallest_normal
    )
    s = upper[..., -1:, -1:]
    return where(less(sizes[..., -1:], least), least.astype(s.dtype), s)


def _inverse_size(lower: Any, upper: Any) -> Any:
    """An upper bound of |(L V)^-1|, from an approximate inverse of the product: tighter than |V^-1| |L^-1|."""
    of_lower = triangular_inverse(lower, lower=True)
    inverse = lapack.triangular_solve(upper, of_lower, left_side=True, lower=False)
    m = defect(Enclosure(inverse), product(Enclosure(lower), Enclosure(upper)))
    return amplified(m, enlarged(lax.abs(inverse), 4, m.dtype))


def _series(m: Any, following: Any) -> Any:
    """tr m + tr(m f) / 2 for f = m (I - m)^-1."""
    n = m.shape[-1]
    second = times(jnp.sum(times(m, transposed(following)), axis=(-2, -1)), 0.5)
    first = jnp.trace(m, axis1=-2, axis2=-1)
    return enlarged(plus(first, second), n * n + n + 4, m.dtype, flushed=n * n + 1)


@rule("slogdet")
def slogdet(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, jaxpr: Any) -> list[Any] | None:
    """The rounding of the steps after the elimination, and what its residual changes."""
    rest = compat.without_first(jaxpr, "lu")
    if rest is None:
        return None
    factors = lapack.lu(operands[0].value)
    again = interpret(model, rest, list(map(Annotated, factors)))
    again = [plus(model.error(x), lax.abs(lax.sub(out, x.value))) for out, x in zip(outs, again, strict=True)]
    a = enclosed(model, operands[0], error_dtype(outs[0].dtype))
    moved = perturbed(a, factors).logarithm()
    known = jnp.all(less(size(a), np.inf), axis=(-2, -1))
    of_sign = again[0]
    if jnp.iscomplexobj(outs[0]):
        of_sign = minimum(_sign_rounding(outs[0], factors), never_nan(of_sign))
    return [_of_sign(outs[0], of_sign, moved, known), enlarged(plus(again[1], moved), 4, moved.dtype)]


def _of_sign(sign: Any, rounding: Any, moved: Any, known: Any) -> Any:
    """A number of modulus 1 or 0: a real one stays, a complex one turns by no more than the logarithm moves."""
    turned = moved if jnp.iscomplexobj(sign) else where(less(moved, np.inf), 0.0, moved)
    turned = where(equal(turned, 0.0), rounding, enlarged(plus(rounding, turned), 4, moved.dtype))
    return minimum(turned, where(known, enlarged(plus(lax.abs(sign), 1.0), 4, moved.dtype), np.inf))


@rule("det")
def det(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, steps: Sequence[Annotated]) -> list[Any]:
    """What its steps say, or how far it is from the product of the pivots, or |det*| + |det|: a pivot may be 0."""
    out = middle(outs[0])
    factors = lapack.lu(operands[0].value)
    moved = perturbed(enclosed(model, operands[0], error_dtype(outs[0].dtype)), factors)
    known = enlarged(plus(moved.largest(), lax.abs(out)), 8, moved.t.dtype)
    p, error = _product(factors)
    z = moved.logarithm()
    around = plus(lax.abs(lax.sub(out, p)), error, times(plus(lax.abs(p), error), plus(z, lax.square(z))))
    known = minimum(where(less(z, 1.0), enlarged(around, 16, z.dtype), np.inf), known)
    return [minimum(known, never_nan(model.explicit(steps[0]).error))]


def _product(factors: Sequence[Any]) -> tuple[Any, Any]:
    """The determinant of L U, and its error, inf where products of some of its factors may leave the range."""
    pivots = jnp.diagonal(middle(factors[0]), axis1=-2, axis2=-1)
    n, dtype = pivots.shape[-1], error_dtype(pivots.dtype)
    swaps = jnp.sum(factors[1] != jnp.arange(n), axis=-1)
    p = jnp.prod(pivots, axis=-1)
    logs = jnp.sum(lax.abs(lax.log(lax.abs(pivots))), axis=-1)
    usual = less(logs, -0.4 * np.log(format_of(dtype).smallest_normal))
    error = times(lax.abs(p), 4 * n * format_of(dtype).unit_roundoff)
    return where(swaps % 2 == 1, lax.neg(p), p), where(usual, error, np.inf)


def _sign_rounding(sign: Any, factors: Sequence[Any]) -> Any:
    """How far a number is from the sign of det(L U)."""
    p, error = _product(factors)
    size = lax.abs(p)
    exact = lax.complex(*(divide(part, size) for part in (lax.real(p), lax.imag(p))))
    relative = plus(times(ratio(error, size), 2.0), 16 * format_of(size.dtype).unit_roundoff)
    return enlarged(plus(lax.abs(lax.sub(sign, exact)), relative), 16, size.dtype)


same_for_complex("slogdet", "det")
