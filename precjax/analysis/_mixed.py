"""A program with some of its places in narrower formats, as if its author had cast there.

Where a place has a format, the operands of its equations are cast to it, the primitive itself runs in it, and its
results are cast back: between two equations of one place that changes nothing, and at its border it is the cast that a
Flax module with that ``dtype`` makes. XLA may leave out a cast to a narrow format and back; so every one is a
`reduce_precision` as well, which it may not leave out.

What stays in the program's own format: equations without real floats, those that read or make the bits of a format,
explicit casts, and what XLA does not run in 16 bits (decompositions of matrices, Fourier transforms).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _jax_compat as compat
from precjax._annotated import Annotated
from precjax._hooks import Site
from precjax._interpreter import forget_transformed, given, interpret
from precjax._nnx import named_modules
from precjax._rounding import dtype_of, format_of
from precjax._widen import FROZEN, is_cast, retyped
from precjax.analysis._placed import Placed

_WIDE = frozenset({
    "cholesky", "cholesky_update", "eig", "eigh", "fft", "geqp3", "geqrf", "hessenberg", "householder_product", "lu",
    "lu_solve", "qr", "schur", "svd", "triangular_solve", "tridiagonal", "tridiagonal_solve", "custom_linear_solve",
})  # fmt: skip


def in_formats(f: Callable[..., Any], formats: Mapping[str, Any], key: Callable[[Site], str]) -> Callable[..., Any]:
    """The function with some of its places in narrower formats.

    Args:
        f: the function.
        formats: the format of each place that has one.
        key: what a place is.

    Returns:
        A traceable function of the same arguments.
    """

    def mixed(*args: Any, **kwargs: Any) -> Any:
        with named_modules():
            closed, shape = jax.make_jaxpr(lambda a, k: f(*a, **k), return_shape=True)(args, kwargs)
        leaves = run_in_formats(closed, jax.tree.leaves((args, kwargs)), formats, key)
        return jax.tree.unflatten(jax.tree.structure(shape), leaves)

    return mixed


def run_in_formats(
    closed: Any, leaves: Sequence[Any], formats: Mapping[str, Any], key: Callable[[Site], str]
) -> list[Any]:
    """The results of a jaxpr some places of which are in narrower formats."""
    model = _Mixed(key=key, formats=formats)
    try:
        return [x.value for x in interpret(model, closed, [given(x) for x in leaves])]
    finally:
        forget_transformed(model)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Mixed(Placed):
    """The program in several formats.

    Attributes:
        formats: of the places that have one.
    """

    formats: Mapping[str, Any]

    def apply(self, eqn: Any, operands: Sequence[Annotated]) -> list[tuple[Any, Any]]:
        """The primitive, in the format of its place."""
        dtype = self.formats.get(self.place(eqn))
        if dtype is None or not runs_narrow(eqn):
            return super().apply(eqn, operands)
        narrow = lambda own: dtype if is_wider(own, dtype) else own  # noqa: E731
        inside = [x._replace(value=cast(x.value, narrow(dtype_of(x.value)))) for x in operands]
        results = super().apply(retyped(eqn, inside, narrow), inside)
        return [(cast(value, v.aval.dtype), None) for (value, _), v in zip(results, eqn.outvars, strict=True)]


def runs_narrow(eqn: Any) -> bool:
    """Whether an equation takes the format of its place."""
    name = eqn.primitive.name
    own = name in FROZEN or name in _WIDE or is_cast(eqn)
    opaque = compat.inner_jaxprs(eqn) and not name.startswith("scatter")
    return not own and not opaque and any(is_real(v.aval) for v in eqn.outvars)


def is_real(x: Any) -> bool:
    """Whether an array or its type holds real floats."""
    return jnp.issubdtype(getattr(x, "dtype", np.dtype(bool)), jnp.floating)


def is_wider(dtype: Any, other: Any) -> bool:
    """Whether a dtype is a real float of more digits than another one."""
    return jnp.issubdtype(dtype, jnp.floating) and format_of(dtype).digits > format_of(other).digits


def cast(value: Any, dtype: Any) -> Any:
    """A real number in another format, rounded for certain: to the narrower of the two formats."""
    own = dtype_of(value)
    if own == dtype or not jnp.issubdtype(own, jnp.floating):
        return value
    value = jnp.asarray(value)
    if is_wider(own, dtype):
        return lax.convert_element_type(_rounded(value, dtype), dtype)
    return _rounded(lax.convert_element_type(value, dtype), own)


def _rounded(value: Any, dtype: Any) -> Any:
    info = jnp.finfo(dtype)
    return lax.reduce_precision(value, info.nexp, info.nmant)
