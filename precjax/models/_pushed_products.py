"""How deviations pass through matrix products and convolutions of which both operands deviate.

Theorem: with a scale s, ((a + s d) (b + s e) - a b) / s = d b + a e + s d e: one product for each probe, where the
derivative takes two. What the two products round is at most 2 / s times what the rounding of a b itself is taken for,
and does not depend on it; s d e is beside d b + a e as s d beside a. So a small power of two will do for s, and 1,
which is exact, where the products of wider numbers round far less than that of the program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from precjax import _jax_compat as compat
from precjax._annotated import Annotated
from precjax._rounding import computed_once, dtype_of, error_dtype, is_inexact
from precjax._widen import retyped

PRODUCTS = frozenset({"dot_general", "conv_general_dilated"})
_SCALE = 4


def moved_product(eqn: Any, a: Annotated, b: Annotated, out: Any) -> Any:
    """The deviations ``(k, *s)`` of a product, its own roundings left out; its operands have deviations ``(k, *s)``."""
    wide = [x._replace(value=in_wide(x.value)) for x in (a, b)]
    product = _product(retyped(eqn, wide, wide_dtype))
    is_narrow = error_dtype(out.dtype) != out.dtype
    scale = 1 if is_narrow else _SCALE
    still = product(*(x.value for x in wide)) if is_narrow else out
    # Of images, the gradient of a kernel reads transposed copies, which would repeat the sum number by number.
    moved = (computed_once(x.value + scale * x.error) for x in wide)
    return (for_each(eqn, product)(*moved) - still).astype(error_dtype(out.dtype)) / scale


def for_each(eqn: Any, f: Callable[..., Any]) -> Callable[..., Any]:
    """f for each probe: vectorised, but for convolutions, of which the gradient of a kernel would transpose them."""
    if eqn.primitive.name != "conv_general_dilated":
        return jax.vmap(f)
    each = lambda *xs: [f(*x) for x in zip(*xs, strict=True)]  # noqa: E731
    return lambda *xs: jax.tree.map(lambda *made: jnp.stack(made), *each(*xs))


def in_wide(value: Any) -> Any:
    """A float in its dtype of errors."""
    dtype = dtype_of(value)
    return jnp.asarray(value).astype(error_dtype(dtype)) if is_inexact(dtype) else value


def wide_dtype(dtype: Any) -> Any:
    """The dtype of errors of floats."""
    return error_dtype(dtype) if is_inexact(dtype) else dtype


def _product(eqn: Any) -> Callable[[Any, Any], Any]:
    """Of two arrays, summed over one axis in place of neighbours: XLA:CPU transposes what is summed over several."""

    def run(a: Any, b: Any) -> Any:
        return compat.bind(eqn, [a, b])[0]

    if eqn.primitive.name != "dot_general":
        return run
    contracted, batch = eqn.params["dimension_numbers"]
    if batch[0] or not all(axes and tuple(axes) == tuple(range(axes[0], axes[-1] + 1)) for axes in contracted):
        return run
    merged = compat.with_params(eqn, dimension_numbers=(tuple((axes[0],) for axes in contracted), batch))
    return lambda a, b: compat.bind(merged, list(map(_merged, (a, b), contracted)))[0]


def _merged(x: Any, axes: tuple[int, ...]) -> Any:
    return lax.collapse(x, axes[0], axes[-1] + 1)
