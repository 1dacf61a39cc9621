"""Pairs of real or of complex arrays in one vocabulary, for what is written once for both: linear algebra.

Operands of either kind may meet: then the real one has no imaginary part. Of real arrays each function is that of
`_arithmetic`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from precjax.doubledouble import _arithmetic as arithmetic
from precjax.doubledouble import _complex as complexes
from precjax.doubledouble._complex import Parts, is_complex, joined, parts
from precjax.doubledouble._contractions import dot_general
from precjax.doubledouble._pairs import DD, exponent, from_float
from precjax.doubledouble._pairs import scaled as _scaled
from precjax.doubledouble._reductions import reduce_sum as _reduce_sum


def mapped(f: Callable[[Any], Any], x: DD) -> DD:
    """A move of elements, or what is linear without rounding."""
    return DD(f(x.hi), f(x.lo))


def by_part(f: Callable[[DD], DD], x: DD) -> DD:
    """A function of real numbers, of each part."""
    return joined(Parts(*map(f, parts(x)))) if is_complex(x) else f(x)


def lifted(x: Any) -> DD:
    """An array of float64 or complex128 as a pair; see `from_float`."""
    if not jnp.iscomplexobj(x):
        return from_float(x)
    return joined(Parts(from_float(jnp.real(x)), from_float(jnp.imag(x))))


def add(x: DD, y: DD) -> DD:
    """x + y, part by part."""
    if is_complex(x) or is_complex(y):
        return joined(complexes.add(parts(x), parts(y)))
    return arithmetic.add(x, y)


def sub(x: DD, y: DD) -> DD:
    """x - y, part by part."""
    return add(x, arithmetic.neg(y))


def mul(x: DD, y: DD) -> DD:
    """x y; part by part if one of them is real."""
    if is_complex(x) and is_complex(y):
        return joined(complexes.mul(parts(x), parts(y)))
    if is_complex(y):
        x, y = y, x
    return by_part(lambda part: arithmetic.mul(part, y), x)


def div(x: DD, y: DD) -> DD:
    """x / y; part by part if y is real."""
    if is_complex(y):
        return joined(complexes.div(parts(x), parts(y)))
    return by_part(lambda part: arithmetic.div(part, y), x)


def scaled(x: DD, n: Any) -> DD:
    """x 2**n."""
    return by_part(lambda part: _scaled(part, n), x)


def real(x: DD) -> DD:
    """The real part."""
    return mapped(jnp.real, x)


def conj(x: DD) -> DD:
    """The conjugate."""
    return mapped(jnp.conj, x)


def absolute(x: DD) -> DD:
    """The modulus."""
    return complexes.cabs(parts(x)) if is_complex(x) else arithmetic.abs(x)


def direction(x: DD) -> DD:
    """x / |x|; 1 of 0."""
    if not is_complex(x):
        return from_float(jnp.where(x.hi < 0, -1.0, 1.0))
    return arithmetic.select(x.hi == 0, from_float(1.0), joined(complexes.csign(parts(x))))


def unit(x: DD, axes: Sequence[int]) -> Any:
    """The exponent of the largest number along axes, which stay."""
    return exponent(jnp.max(jnp.abs(x.hi), axis=tuple(axes), keepdims=True, initial=0.0))


def reduce_sum(x: DD, axes: tuple[int, ...]) -> DD:
    """The sum over axes."""
    return by_part(lambda part: _reduce_sum(part, axes), x)


def transposed(x: DD) -> DD:
    """Rows and columns exchanged."""
    return mapped(lambda v: jnp.swapaxes(v, -1, -2), x)


def adjoint(x: DD) -> DD:
    """The transpose, conjugate."""
    return conj(transposed(x))


def dot(a: DD, b: DD) -> DD:
    """The product of stacks of matrices; of complex ones, all parts of one with all parts of the other at once."""
    batch = tuple(range(a.hi.ndim - 2))
    numbers = (((a.hi.ndim - 1,), (b.hi.ndim - 2,)), (batch, batch))
    if not (is_complex(a) or is_complex(b)):
        return dot_general(a, b, numbers)
    m, n = a.hi.shape[-2], b.hi.shape[-1]
    rows, columns = (
        DD(*(jnp.concatenate(both, axis) for both in zip(*parts(x), strict=True))) for x, axis in ((a, -2), (b, -1))
    )
    product = dot_general(rows, columns, numbers)
    re, im = (mapped(lambda v, rows=rows: v[..., rows, :], product) for rows in (slice(None, m), slice(m, None)))
    first, second = (lambda v: v[..., :n]), (lambda v: v[..., n:])
    return joined(
        Parts(
            arithmetic.sub(mapped(first, re), mapped(second, im)), arithmetic.add(mapped(second, re), mapped(first, im))
        )
    )
