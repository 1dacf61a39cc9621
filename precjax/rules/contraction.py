"""Matrix products and convolutions: how their operands' sizes and errors are laid out for `rules.bilinear`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax import _jax_compat as compat
from precjax._annotated import Annotated
from precjax._registry import complex_rule, refusal, rule
from precjax._rounding import computed_once, error_dtype, is_inexact, plus, where
from precjax._row_norms import root
from precjax.rules.algorithms import arithmetic, reason_against_algorithm
from precjax.rules.bilinear import bilinear_error, on_platform
from precjax.rules.integer import combine_integers


@refusal("dot_general", "conv_general_dilated", "ragged_dot_general")
def _unknown_algorithm(eqn: Any) -> str | None:
    precision = eqn.params["precision"]
    reason = reason_against_algorithm(precision)
    if reason is not None or eqn.primitive.name != "conv_general_dilated":
        return reason
    if not is_inexact(eqn.outvars[0].aval.dtype):
        return None
    if not arithmetic(precision, eqn.outvars[0].aval.dtype, eqn.invars[0].aval.dtype).componentwise:
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
    return [_dot(model, operands, outs[0], dimension_numbers, precision, out_sharding, _of_complex_products)]


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
        rows = _norms(x, contract_a, batch_a, terms)
        return rows.reshape(*rows.shape, *([1] * free[1]))

    def norm_b(x: Any) -> Any:
        columns = _norms(x, contract_b, batch_b, terms)
        return columns.reshape(*columns.shape[:batch], *([1] * free[0]), *columns.shape[batch:])

    return bilinear_error(
        model,
        operands,
        out,
        on_platform(product, (norm_a, norm_b), terms, roundings(terms), precision, operands, out.dtype),
    )


def _norms(x: Any, contracting: Sequence[int], batch: Sequence[int], terms: int) -> Any:
    """Over contracting dimensions, batch dimensions first; with such, in memory as they are, not as those of x are."""
    norms = root(lax.reduce_sum(_batch_first(lax.mul(x, x), batch), _after(len(batch), contracting, batch)), terms)
    return computed_once(norms) if batch else norms


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
        model,
        operands,
        out,
        on_platform(product, (norm_a, norm_b), terms, roundings(terms), precision, operands, out.dtype),
    )


@rule("ragged_dot_general")
def ragged_dot_general(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], **params: Any) -> list[Any]:
    """Products of groups of rows with a matrix each; the sizes of the groups must be certain."""
    return [_ragged_dot(model, operands, outs[0], lambda terms: terms, **params)]


@complex_rule("ragged_dot_general")
def complex_ragged_dot_general(
    model: Any, operands: Sequence[Annotated], outs: Sequence[Any], **params: Any
) -> list[Any]:
    """As of real numbers, with more roundings."""
    return [_ragged_dot(model, operands, outs[0], _of_complex_products, **params)]


def _of_complex_products(terms: int) -> int:
    return math.ceil(2 * math.sqrt(2) * terms)


def _ragged_dot(
    model: Any,
    operands: Sequence[Annotated],
    out: Any,
    roundings: Callable[[int], int],
    *,
    ragged_dot_dimension_numbers: Any,
    precision: Any,
    group_offset: Any,
    **_: Any,
) -> Any:
    left, right, sizes = operands
    dtype = error_dtype(out.dtype)
    contracted = ragged_dot_dimension_numbers.dot_dimension_numbers[0][0]
    terms = max(math.prod(left.value.shape[i] for i in contracted), 1)

    def product(x: Any, y: Any) -> Any:
        return lax.ragged_dot_general(
            x, y, sizes.value, ragged_dot_dimension_numbers, precision=lax.Precision.HIGHEST,
            preferred_element_type=dtype, group_offset=group_offset,
        )  # fmt: skip

    error = bilinear_error(
        model,
        [left, right],
        out,
        on_platform(product, None, terms, roundings(terms), precision, [left, right], out.dtype),
    )
    doubt = model.doubt(sizes)
    return error if doubt is None else where(jnp.broadcast_to(jnp.any(doubt), out.shape), jnp.inf, error)
