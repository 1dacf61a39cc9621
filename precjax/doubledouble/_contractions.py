"""Matrix products and convolutions of pairs by slices whose float64 sums are exact (the scheme of Ozaki et al.).

An array is scaled by a power of two to magnitudes below 1/2 and cut into slices: slice p holds integers up to
2**(bits - 1) in units of 2**(-bits (p + 1)). Sums of products of two slices that stay below 2**53 units are then exact
in float64, in any order, blocking and contraction, on any hardware: `lax.dot_general` and `lax.conv_general_dilated` do
the work at their own speed. The slice products of one order p + q form a single product of arrays that are concatenated
along the contracted dimension.

What is lost: the parts below the last slice, relative to the largest elements, and the addition of a few exact sums.

References:
    Ozaki, Ogita, Oishi, Rump, Error-free transformations of matrix multiplication by using fast routines of matrix
    multiplication and its applications, Numer. Algorithms 59 (2012).
    Rump, Ogita, Oishi, Accurate floating-point summation I, SIAM J. Sci. Comput. 31 (2008): how slices are cut.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from precjax._rounding import opaque
from precjax.doubledouble._arithmetic import add
from precjax.doubledouble._pairs import DD, exponent, scaled, settle, two_sum

LOWEST = 120  # a product keeps at least so many bits below the largest elements


class Cut(NamedTuple):
    """How arrays are sliced: bits of a slice, number of slices."""

    bits: int
    slices: int

    @property
    def truncation(self) -> float:
        """What a product of K terms loses, over K max|x| max|y|.

        Scaled magnitudes lie below 1/2, their maxima above 1/4. The rests lie below 2**(-bits slices - 1): with an
        operand, twice 2**(-bits slices - 2). Each of the slices - 1 pairs of slices of order p + q = slices adds as
        much, all higher orders less than a hundredth of that.
        """
        return 16 * (self.slices + 1) * 2.0 ** (-self.bits * self.slices - 2) * 1.01


def product_cut(terms: int) -> Cut:
    """The slices for products of `terms` terms: slices * terms * 2**(2 bits - 2) <= 2**53, bits * slices >= LOWEST."""
    for slices in range(5, 64):
        bits = (55 - math.ceil(math.log2(slices * terms))) // 2
        if bits * slices >= LOWEST:
            return Cut(bits, slices)
    raise ValueError(f"a contraction of {terms} terms is too long for exact slices; contract it in blocks")


@functools.partial(jax.jit, static_argnames="dimension_numbers")
def dot_general(x: DD, y: DD, dimension_numbers: Any) -> DD:
    """Generalised matrix product, to 3.01 u**2 |x y| + product_cut(K).truncation K max|x| max|y|.

    The maxima are over the K contracted terms, of a row of x and of a column of y.

    Args:
        x: left operand, as in `lax.dot_general`.
        y: right operand.
        dimension_numbers: as in `lax.dot_general`, in tuples.

    Returns:
        The product. Where float64 gives inf or NaN, so does this.
    """
    (left, right), (left_batch, right_batch) = dimension_numbers
    x, batch, rows = _as_matrices(x, left_batch, left)
    y, _, columns = _as_matrices(y, right_batch, right)
    plain = _matmul(x.hi, y.hi)
    shape = (*batch, *rows, *columns)
    terms = x.hi.shape[2]
    if terms == 0 or plain.size == 0:
        return DD(plain.reshape(shape), plain.reshape(shape))
    cut = product_cut(terms)
    x_size, x_units = _below_half(x, (2,))
    y_size, y_units = _below_half(y, (2,))
    sums = _by_order(_matmul, slices(x_units, cut), slices(y_units, cut), _along(2), _along(2))
    total = scaled(collected(sums, cut.bits, 2), x_size + jnp.swapaxes(y_size, 1, 2))
    total = settle(lax.is_finite(plain), plain, *total)
    return DD(total.hi.reshape(shape), total.lo.reshape(shape))


def ragged_dot_general(x: DD, y: DD, sizes: Any, numbers: Any) -> DD:
    """Products of groups, as JAX makes them of dense ones: to the bound of `dot_general`, over all groups.

    Args:
        x: left operand, as in `lax.ragged_dot_general`.
        y: right operand.
        sizes: integers, the sizes of the groups ``(g,)``, or ``(*s, g)`` for each place along the axes before.
        numbers: a `lax.RaggedDotDimensionNumbers`.

    Returns:
        The products: where rows are in groups, of each with its own matrix, 0 beyond the last group; where what is
        contracted is in groups, one for each group; where a batch is in groups, the dense product.
    """
    ((left, right), (left_batch, right_batch)), (axis,) = numbers.dot_dimension_numbers, numbers.lhs_ragged_dimensions
    left, right, left_batch, right_batch = (tuple(axes) for axes in (left, right, left_batch, right_batch))
    if axis in left_batch:
        return dot_general(x, y, ((left, right), (left_batch, right_batch)))
    behind = lambda axes: tuple(a + 1 for a in axes)  # noqa: E731
    if axis in left:
        place = left.index(axis)
        x = _grouped(x, sizes, axis, (*left_batch, *left[:place]))
        y = _grouped(y, sizes, right[place], (*right_batch, *right[:place]))
        batches = ((0, *behind(left_batch)), (0, *behind(right_batch)))
        return dot_general(x, y, ((behind(left), behind(right)), batches))
    before = [a for a in range(axis) if a not in (*left, *left_batch)]
    x = _grouped(x, sizes, axis, (*left_batch, *before))
    contracted = (0, *behind(left)), (*numbers.rhs_group_dimensions, *right)
    return dot_general(x, y, (contracted, (behind(left_batch), right_batch)))


def _grouped(x: DD, sizes: Any, axis: int, before: Sequence[int]) -> DD:
    """One copy for each group, in a new first axis: its members along an axis, and zeros beside them."""
    before = before if sizes.ndim > 1 else ()
    order = sorted(range(len(before)), key=before.__getitem__)
    shape, places = (sizes.shape[-1], *x.hi.shape), (0, *(before[i] + 1 for i in order))

    def placed(v: Any) -> Any:
        return lax.broadcast_in_dim(jnp.transpose(v, (len(before), *order)), shape, places)

    ends = jnp.cumsum(sizes, axis=-1, dtype=sizes.dtype)
    member = lax.broadcasted_iota(sizes.dtype, shape, axis + 1)
    inside = (placed(ends - sizes) <= member) & (member < placed(ends))
    return DD(*(jnp.where(inside, v, jnp.zeros_like(v)) for v in x))


@functools.partial(jax.jit, static_argnames=("parameters",))
def _convolution(x: DD, y: DD, parameters: Any) -> DD:
    options = dict(parameters)
    dims, groups = options["dimension_numbers"], options["feature_group_count"]
    convolve = functools.partial(lax.conv_general_dilated, precision=lax.Precision.HIGHEST, **options)
    plain = convolve(x.hi, y.hi)
    terms = math.prod(y.hi.shape) // y.hi.shape[dims.rhs_spec[0]] if y.hi.size else 0
    if terms == 0 or plain.size == 0 or x.hi.size == 0:
        return DD(plain, jnp.zeros_like(plain))
    cut = product_cut(terms)
    x_size, x_units = _below_half(x, tuple(range(x.hi.ndim)))
    y_size, y_units = _below_half(y, tuple(range(y.hi.ndim)))
    joins = _along(dims.lhs_spec[1], groups), _along(dims.rhs_spec[1])
    sums = _by_order(convolve, slices(x_units, cut), slices(y_units, cut), *joins)
    total = scaled(collected(sums, cut.bits, 2), jnp.reshape(x_size + y_size, ()))
    return settle(lax.is_finite(plain), plain, *total)


def conv_general_dilated(x: DD, y: DD, dimension_numbers: Any, **options: Any) -> DD:
    """Convolution, to 3.01 u**2 |x * y| + product_cut(K).truncation K max|x| max|y|.

    K is the size of the kernel times its input features; the maxima are over the arrays. Where float64 convolution is
    done by fast transforms (no XLA backend does so for float64), slices would not be exact.

    Args:
        x: the image, as in `lax.conv_general_dilated`.
        y: the kernel.
        dimension_numbers: a `lax.ConvDimensionNumbers`.
        options: window_strides, padding, lhs_dilation, rhs_dilation, feature_group_count, batch_group_count.

    Returns:
        The convolution. Where float64 gives inf or NaN, so does this.
    """
    options = {"feature_group_count": 1, **options, "dimension_numbers": dimension_numbers}
    fixed = {
        k: tuple(map(_fixed, v)) if isinstance(v, (list, tuple)) and k != "dimension_numbers" else v
        for k, v in options.items()
    }
    return _convolution(x, y, tuple(sorted(fixed.items())))


def _fixed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _below_half(x: DD, axes: Sequence[int]) -> tuple[Any, DD]:
    """The exponent that scales the largest magnitude along axes to [1/4, 1/2), and the scaled array."""
    size = exponent(jnp.max(lax.abs(x.hi), axis=axes, keepdims=True)) + 1
    return size, scaled(x, -size)


def slices(x: DD, cut: Cut) -> Any:
    """Slices (slices, *s): integers up to 2**(bits - 1), slice p in units of 2**(-bits (p + 1))."""
    # Adding 1.5 * 2**52 rounds to integers; the rest is exact, at most a half. With lo added to it, it may exceed that
    # by 2**-53 of itself, which is less than half a unit of the next slice and is rounded away there.
    anchor, unit = 1.5 * 2.0**52, 2.0**cut.bits

    def cut_one(rest: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], Any]:
        hi, lo = rest[0] * unit, rest[1] * unit
        whole = opaque(hi + anchor) - anchor
        return two_sum(hi - whole, lo), whole

    return lax.scan(cut_one, tuple(x), None, length=cut.slices)[1]


def _by_order(product: Callable, xs: Any, ys: Any, join_x: Callable, join_y: Callable) -> list[Any]:
    """For each order t the sum of the products x_p y_(t - p), exact in float64."""
    return [product(join_x(xs[: t + 1]), join_y(ys[t::-1])) for t in range(len(xs))]


def _along(axis: int, groups: int = 1) -> Callable:
    """Joins slices along an axis, within each of its groups."""

    def join(parts: Any) -> Any:
        count, *shape = parts.shape
        grouped = jnp.reshape(parts, (count, *shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :]))
        shape[axis] *= count
        return jnp.reshape(jnp.moveaxis(grouped, 0, axis + 1), shape)

    return join


def collected(sums: Any, bits: int, order: int) -> DD:
    """The sum of exact sums in units of 2**(-bits (p + order)), from the smallest."""
    units = [part * 2.0 ** (-bits * (p + order)) for p, part in enumerate(sums)]
    return functools.reduce(add, [DD(part, jnp.zeros_like(part)) for part in reversed(units)])


def _as_matrices(x: DD, batch: Sequence[int], contracted: Sequence[int]) -> tuple[DD, tuple, tuple]:
    """The array as (batch, free, contracted), and the shapes of the first two."""
    free = [a for a in range(x.hi.ndim) if a not in batch and a not in contracted]
    order = (*batch, *free, *contracted)
    shapes = [tuple(x.hi.shape[a] for a in axes) for axes in (batch, free, contracted)]
    return DD(*(jnp.transpose(v, order).reshape([math.prod(s) for s in shapes]) for v in x)), *shapes[:2]


def _matmul(x: Any, y: Any) -> Any:
    """Products of the rows of x with the rows of y, for each batch."""
    return lax.dot_general(x, y, (((2,), (2,)), ((0,), (0,))), precision=lax.Precision.HIGHEST)
