"""Matrix products and convolutions.

Theorem (Higham section 3.5; Jeannerod and Rump 2013: n u for any order, with or without FMA): for y = sum_k a_k b_k
    over n terms,
    |computed - exact| <= sum_k (|a*| e_b + |b'| e_a) + n u sum_k |a'| |b'|,   |a*| <= |a| + e_a,  |a'| <= |a| + r_a,
r the reach. With A = |a| + r_a, B = |b| + r_b this is at most
    both inexact:  A (e_b + n u B) + e_a B + ...: two products, A * (e_b + n u B) + e_a * B,
    one exact:     (e_a + n u A) * |b|: one product.
Normwise, each product of non-negative matrices is bounded by Cauchy-Schwarz: sum_k x_k y_k <= |x|_2 |y|_2, so that
norms of rows and columns, or of patches, are all that is computed.

Complex numbers: both parts of y are sums of 2 n real products, so that, with hypot(|ac| + |bd|, |ad| + |bc|) <= sqrt(2)
|x| |y|, the modulus of the error is at most 2 sqrt(2) n u sum_k |a'| |b'|. A convolution may be three real ones (Gauss;
Higham section 23.2.4), of sums of parts: their roundings add up to 4 (n + 1) u sum_k |a'| |b'|, and one u more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from precjax import _jax_compat as compat
from precjax import platforms
from precjax._annotated import Annotated
from precjax._ball import Ball
from precjax._registry import complex_rule, refusal, rule
from precjax._rounding import dtype_of, error_dtype, format_of, is_inexact, magnitude, plus, stored, times, where
from precjax._row_norms import root
from precjax.rules.integer import combine_integers


class Bilinear(NamedTuple):
    """A contraction of non-negative arrays.

    Attributes:
        product: the contraction itself.
        norms: (2-norms of a over what is summed, laid out to broadcast against the result; the same for b); None where
            there are none, and the contraction itself must do.
        terms: how many products are summed.
        roundings: how many roundings a product meets until it is part of the sum: as many as there are terms, if the
            numbers are real.
        inputs: unit roundoff of a format that the operands are rounded to before.
    """

    product: Callable[[Any, Any], Any]
    norms: tuple[Callable[[Any], Any], Callable[[Any], Any]] | None
    terms: int
    roundings: int
    inputs: float = 0.0


def componentwise(a: Any, b: Any, bilinear: Bilinear) -> Any:
    """a * b itself; the caller makes up for its rounding."""
    return bilinear.product(a, b)


def normwise(a: Any, b: Any, bilinear: Bilinear) -> Any:
    """|a|_2 |b|_2; the caller makes up for its rounding."""
    left, right = (norm(stored(x)) for norm, x in zip(bilinear.norms, (a, b), strict=True))
    return lax.mul(*jnp.broadcast_arrays(left, right))


def bilinear_error(model: Any, operands: Sequence[Annotated], out: Any, bilinear: Bilinear) -> Any:
    """The theorem above, for any model's way to join errors and to round sums."""
    dtype = error_dtype(out.dtype)
    rounding, of_result, once_more = _roundings(model, bilinear, out.dtype)
    a, b = (model.ball(x, dtype) for x in operands)
    lost = max(platforms.current().read_loss(out.dtype), format_of(dtype).smallest_normal)
    big_a, big_b = (_size(x, lost / rounding) for x in (a, b))
    contract = lambda x, y: model.contract(x, y, bilinear)  # noqa: E731
    if a.exact:
        bound = contract(big_a, model.join(b.error, times(big_b, rounding)))
    elif b.exact:
        bound = contract(model.join(a.error, times(big_a, rounding)), big_b)
    else:
        bound = model.join(contract(big_a, model.join(b.error, times(big_b, rounding))), contract(a.error, big_b))
    final = times(magnitude(out, dtype), of_result) if of_result else None
    return model.total(out, bound, final, ulps=once_more, steps=bilinear.terms + 16, flushed=4 * bilinear.terms)


def _roundings(model: Any, bilinear: Bilinear, dtype: Any) -> tuple[float, float, float]:
    """Per unit of every product's size, per unit of the result's, and ulps of the result once it is summed."""
    accumulator = _accumulator(dtype)
    rounding, of_result = model.sum_rounding(bilinear.roundings + 1, accumulator)
    if bilinear.inputs:
        first = model.rounding(1.0) * bilinear.inputs
        rounding = model.join(rounding, first, first) + bilinear.inputs**2
    return rounding, of_result, 1.0 if accumulator != dtype else 0.0


def roundings_of_products(
    model: Any, operands: Sequence[Annotated], dtype: Any, terms: int, precision: Any
) -> tuple[float, float]:
    """Of a sum of so many products in the worst case: per unit of their sizes, and ulps once it is summed."""
    rounding, _, once_more = _roundings(model, _bilinear(None, None, terms, terms, precision, operands), dtype)
    return rounding, once_more


def _size(x: Ball, read: float) -> Any:
    """|x| over its reach; times the rounding of the sum, `read` is what reading a subnormal as 0 may lose."""
    return plus(x.size, read if x.exact else x.reach)


def _accumulator(dtype: Any) -> Any:
    """Narrow formats are accumulated in float32, and rounded once (measured on CPU)."""
    return dtype if format_of(dtype).digits >= 24 else jnp.dtype(jnp.float32)


# Presets that round the operands first, by how much: to bfloat16, whose second and third parts make up for it.
_ROUNDED = {"BF16_BF16_F32": 2.0**-8, "BF16_BF16_F32_X3": 2.0**-15, "BF16_BF16_F32_X6": 2.0**-22}
_FULL_PRECISION = ("DEFAULT", "F32_F32_F32", "F64_F64_F64")


def _preset(precision: Any) -> str | None:
    """The name of an algorithm; None for a precision, which means nothing on a CPU."""
    name = getattr(precision, "name", precision)
    return None if isinstance(precision, (type(None), tuple, lax.Precision)) or name in _FULL_PRECISION else str(name)


def _arithmetic(precision: Any, *dtypes: Any) -> platforms.Product:
    """What a preset, or else the platform, does to operands (which a CPU may leave alone all the same) and to sums."""
    name = _preset(precision)
    if name is None:
        named = "HIGHEST" if str(getattr(precision, "name", precision)) in _FULL_PRECISION[1:] else precision
        return platforms.current().product(named, *dtypes)
    return platforms.current().product("HIGHEST", *dtypes)._replace(operand=_ROUNDED[name])


def _bilinear(
    product: Any, norms: Any, terms: int, roundings: int, precision: Any, operands: Sequence[Annotated]
) -> Bilinear:
    """With the arithmetic of the platform, which goes by the format of the operands."""
    arithmetic = _arithmetic(precision, *(dtype_of(x.value) for x in operands[:2]))
    return Bilinear(product, norms, terms, math.ceil(roundings * arithmetic.sums), arithmetic.operand)


@refusal("dot_general", "conv_general_dilated", "ragged_dot_general")
def _unknown_algorithm(eqn: Any) -> str | None:
    name = _preset(eqn.params["precision"])
    known = ", ".join((*_FULL_PRECISION, *_ROUNDED))
    if name is not None and name not in _ROUNDED:
        return f"algorithm {name} is none of {known}"
    convolution = eqn.primitive.name == "conv_general_dilated"
    if convolution and not _arithmetic(eqn.params["precision"], eqn.invars[0].aval.dtype).componentwise:
        return "the platform may compute it by Winograd's algorithm or by FFT, which obey no bound number by number"
    return None


@rule("dot_general")
def dot_general(
    model: Any,
    operands: Sequence[Annotated],
    outs: Sequence[Any],
    *,
    dimension_numbers: Any,
    precision: Any,
    out_sharding: Any,
) -> list[Any]:
    """Any batch and contracting dimensions."""
    return [_dot(model, operands, outs[0], dimension_numbers, precision, out_sharding, lambda terms: terms)]


@complex_rule("dot_general")
def complex_dot_general(
    model: Any,
    operands: Sequence[Annotated],
    outs: Sequence[Any],
    *,
    dimension_numbers: Any,
    precision: Any,
    out_sharding: Any,
) -> list[Any]:
    """As of real numbers, with more roundings."""
    roundings = lambda terms: math.ceil(2 * math.sqrt(2) * terms)  # noqa: E731
    return [_dot(model, operands, outs[0], dimension_numbers, precision, out_sharding, roundings)]


def _dot(
    model: Any,
    operands: Sequence[Annotated],
    out: Any,
    dimension_numbers: Any,
    precision: Any,
    out_sharding: Any,
    roundings: Callable[[int], int],
) -> Any:
    (contract_a, contract_b), (batch_a, batch_b) = dimension_numbers
    dtype, out_sharding = error_dtype(out.dtype), compat.reduced(out_sharding)
    shape_a = operands[0].value.shape
    terms = max(math.prod(shape_a[i] for i in contract_a), 1)

    def product(x: Any, y: Any) -> Any:
        return lax.dot_general(
            x, y, dimension_numbers, precision=lax.Precision.HIGHEST, preferred_element_type=dtype,
            out_sharding=out_sharding,
        )  # fmt: skip

    if not is_inexact(out.dtype):
        return _integer_dot(model, operands, out, product)
    free = [
        len(o.value.shape) - len(c) - len(n)
        for o, (c, n) in zip(operands, zip(*dimension_numbers, strict=True), strict=True)
    ]
    batch = len(batch_a)

    def norm_a(x: Any) -> Any:
        rows = lax.reduce_sum(_batch_first(lax.mul(x, x), batch_a), _after(batch, contract_a, batch_a))
        return root(rows, terms).reshape(*rows.shape, *([1] * free[1]))

    def norm_b(x: Any) -> Any:
        columns = lax.reduce_sum(_batch_first(lax.mul(x, x), batch_b), _after(batch, contract_b, batch_b))
        return root(columns, terms).reshape(*columns.shape[:batch], *([1] * free[0]), *columns.shape[batch:])

    return bilinear_error(
        model, operands, out, _bilinear(product, (norm_a, norm_b), terms, roundings(terms), precision, operands)
    )


def _batch_first(x: Any, batch: Sequence[int]) -> Any:
    return lax.transpose(x, [*batch, *(i for i in range(x.ndim) if i not in batch)])


def _after(count: int, contracting: Sequence[int], batch: Sequence[int]) -> tuple[int, ...]:
    """Where contracting dimensions are once the batch dimensions come first."""
    return tuple(count + c - sum(b < c for b in batch) for c in contracting)


def _integer_dot(model: Any, operands: Sequence[Annotated], out: Any, product: Callable[[Any, Any], Any]) -> Any:
    def combine(ea: Any, eb: Any) -> Any:
        a, b = (lax.abs(x.value).astype(jnp.float32) for x in operands)
        return plus(
            None if eb is None else product(a, eb),
            None if ea is None else product(ea, b),
            None if ea is None or eb is None else product(ea, eb),
        )

    return combine_integers(model, operands, out, combine)


@rule("conv_general_dilated")
def conv_general_dilated(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], **params: Any) -> list[Any]:
    """An element is an inner product of a patch and a kernel; XLA:CPU uses no Winograd or FFT algorithm (measured)."""
    return [_convolution(model, operands, outs[0], lambda terms: terms, **params)]


@complex_rule("conv_general_dilated")
def complex_conv_general_dilated(
    model: Any, operands: Sequence[Annotated], outs: Sequence[Any], **params: Any
) -> list[Any]:
    """As of real numbers, with more roundings."""
    return [_convolution(model, operands, outs[0], lambda terms: 4 * terms + 5, **params)]


def _convolution(
    model: Any,
    operands: Sequence[Annotated],
    out: Any,
    roundings: Callable[[int], int],
    *,
    window_strides: Any,
    padding: Any,
    lhs_dilation: Any,
    rhs_dilation: Any,
    dimension_numbers: Any,
    feature_group_count: int,
    batch_group_count: int,
    precision: Any,
    **_: Any,
) -> Any:
    dtype = error_dtype(out.dtype)
    kernel = operands[1].value.shape
    spec = dimension_numbers.rhs_spec
    terms = max(math.prod(kernel[d] for d in spec[1:]), 1)

    def product(x: Any, y: Any, groups: int = feature_group_count) -> Any:
        return lax.conv_general_dilated(
            x, y, window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, groups, batch_group_count,
            precision=lax.Precision.HIGHEST, preferred_element_type=dtype,
        )  # fmt: skip

    def norm_a(x: Any) -> Any:
        """Norms of patches: a convolution of squares with ones, one output feature per group."""
        groups = feature_group_count * batch_group_count
        ones = jnp.ones([groups if d == spec[0] else n for d, n in enumerate(kernel)], dtype)
        patches = root(product(lax.mul(x, x), ones), terms)
        feature = dimension_numbers.out_spec[1]
        return patches if groups == 1 else jnp.repeat(patches, out.shape[feature] // groups, axis=feature)

    def norm_b(y: Any) -> Any:
        kernels = root(lax.reduce_sum(lax.mul(y, y), tuple(spec[1:])), terms)
        return lax.broadcast_in_dim(kernels, out.shape, (dimension_numbers.out_spec[1],))

    return bilinear_error(
        model, operands, out, _bilinear(product, (norm_a, norm_b), terms, roundings(terms), precision, operands)
    )


@rule("ragged_dot_general")
def ragged_dot_general(
    model: Any,
    operands: Sequence[Annotated],
    outs: Sequence[Any],
    *,
    ragged_dot_dimension_numbers: Any,
    precision: Any,
    group_offset: Any,
) -> list[Any]:
    """Products of groups of rows with a matrix each; the sizes of the groups must be certain."""
    left, right, sizes = operands
    out, dtype = outs[0], error_dtype(outs[0].dtype)
    (contracted, _), _ = ragged_dot_dimension_numbers.dot_dimension_numbers
    terms = max(math.prod(left.value.shape[i] for i in contracted), 1)

    def product(x: Any, y: Any) -> Any:
        return lax.ragged_dot_general(
            x, y, sizes.value, ragged_dot_dimension_numbers, precision=lax.Precision.HIGHEST,
            preferred_element_type=dtype, group_offset=group_offset,
        )  # fmt: skip

    error = bilinear_error(model, [left, right], out, _bilinear(product, None, terms, terms, precision, [left, right]))
    doubt = model.doubt(sizes)
    return [error if doubt is None else where(jnp.broadcast_to(jnp.any(doubt), out.shape), jnp.inf, error)]
