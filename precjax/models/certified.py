"""Proved bounds that need no model of how the value was computed: the distance to a reference, and its worst case."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._annotated import Annotated
from precjax._rounding import (
    as_error,
    dtype_of,
    enlarged,
    error_dtype,
    format_of,
    is_inexact,
    never_nan,
    plus,
    times,
    where,
)
from precjax._tracked import Tracked
from precjax._widen import widen
from precjax.models._widened import Widened
from precjax.models.by_row import ByRow
from precjax.models.shadow import difference, moved_back
from precjax.models.worst_case import WorstCase

_WIDE = np.dtype(np.float64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Certified(Widened, WorstCase):
    """Upper bound of the absolute error, tight to a few percent: |value - reference| + worst case of the reference.

    The program runs as it is, whatever computes it. Beside it the same program runs in a wider format under the rules
    of `WorstCase`, with its own branches and iteration counts: in float64, or, if anything in the program is float64,
    in pairs of float64 numbers (106 bits). Only the reference's arithmetic is modelled.

    Args:
        reference: "wider": float64 for programs of formats up to float32, pairs for programs with float64. "pairs":
            pairs for every program. Their worst case has 53 bits more to grow before it reaches the error itself: so
            many more layers, and gradients through them, are certified to a few percent, at some ten times the price.
        device: where the reference runs: None for where the program does; "cpu", another platform or a ``jax.Device``
            to certify results of a device that has no table of ulps, or no fast float64. Such a call cannot be part of
            another program.
        contraction: how errors of the reference pass through matrix products: "componentwise", or "normwise", which is
            faster and a little looser. Either is far below the error that it certifies until some twenty layers deep.
        granularity: "element" or "row", as of `WorstCase`, for the reference's own errors: with "row", certificates
            reach deeper. Pairs keep errors of elements.
        missing: "raise" or "inf": what a primitive without a rule does.
        strict: give inf instead of freezing the bits of an inexact float that are read as an integer.

    Guarantee:
        |value - exact| <= error for every exact input within its own error, on a platform with a table of ulps for
        float64. Called with arrays, the value is that of ``jax.jit(f)``, bit for bit. NaN has error inf. Frozen bits
        are those of the reference, rounded to the program's format. In pairs, what has no arithmetic of pairs
        (elementary functions and the order of complex numbers, sines beyond 2**30, eigenvectors whose eigenvalues are
        one to float64) is done in float64: still a bound, but as large as there. Incomplete gamma and beta functions
        have a bound for the parameters for which they have one in float64.

    Raises:
        ValueError: if an option is unknown; when called, if a device is given and the call is traced.

    Example:
        >>> import jax.numpy as jnp, precjax
        >>> value, error = precjax.track(jnp.sin, model=precjax.Certified())(1.0)
        >>> bool(abs(float(value) - 0.8414709848078965) <= error < 2.0**-24)
        True
    """

    fields: ClassVar[int] = 3
    granularities: ClassVar[tuple[str, ...]] = ("element", "row")

    def paired(self) -> Certified:
        """The model whose references are pairs."""
        from precjax.models._certified_pairs import CertifiedPairs  # noqa: PLC0415  (it derives from this class)

        return CertifiedPairs(**vars(self))

    def fit(self, jaxpr: Any) -> Certified:
        """Pairs for a program with float64 in it; otherwise, norms of rows if the model asks for them."""
        fitted = super().fit(jaxpr)
        return fitted if fitted is not self or self.granularity == "element" else _CertifiedByRow(**vars(self))

    def enter(self, argument: Tracked) -> Annotated:
        """A ball around the value; or, tighter, around the reference that an earlier step left."""
        value, error = argument
        if not isinstance(argument, CertifiedTracked):
            return self.lift(widen(value), _widened_error(error, value))
        offset, radius = argument.offset, argument.radius
        known = lax.is_finite(offset)
        reference = moved_back(value, where(known, offset, 0.0))
        radius = where(known, widen(radius), np.inf)
        if not is_inexact(dtype_of(value)):
            return self.lift(reference, radius.astype(np.float32))
        moved = times(lax.abs(reference), format_of(_WIDE).unit_roundoff)
        radius = where(lax.eq(offset, lax.full_like(offset, 0)), radius, enlarged(plus(radius, moved), 3, _WIDE))
        return self.lift(reference, radius)

    def compare(self, value: Any, reference: Annotated) -> tuple[Any, Any, Any]:
        """(error, offset = value - reference rounded to the dtype of errors, radius: |value - offset - exact|)."""
        dtype = error_dtype(value.dtype)
        distance = difference(value, reference.value, self.rest(reference))
        if is_inexact(value.dtype):
            distance = where(lax.eq(value, value), distance, np.inf)
        bound = as_error(never_nan(self.error(reference)), _WIDE)
        error = _rounded_up(plus(lax.abs(distance), bound), 4, dtype)
        # A modulus does not say where the reference of a complex number lies.
        offset = distance.astype(dtype) if not np.iscomplexobj(value) else jnp.zeros(value.shape, dtype)
        lost = lax.abs(lax.sub(distance, widen(offset)))
        lost = plus(lost, times(lax.abs(distance), 4 * format_of(_WIDE).unit_roundoff))
        radius = where(lax.is_finite(offset), _rounded_up(plus(bound, lost), 4, dtype), np.inf)
        return error, offset, radius

    def result(self, value: Any, error: Any, offset: Any, radius: Any) -> CertifiedTracked:
        """The value and its bound, with the reference, so that the next step begins where this one ended."""
        return CertifiedTracked(value, error, offset, radius)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _CertifiedByRow(Certified, ByRow):
    """Certificates whose references carry norms of rows."""

    fit = ByRow.fit


def _widened_error(error: Any, value: Any) -> Any:
    error = jnp.asarray(error)
    return error if not is_inexact(dtype_of(value)) else widen(error if is_inexact(error.dtype) else error * 1.0)


def _rounded_up(bound: Any, steps: int, dtype: Any) -> Any:
    """A bound of so many operations, in another dtype; zero stays zero, for it has no rounding."""
    zero = lax.eq(bound, lax.full_like(bound, 0))
    return as_error(where(zero, 0.0, never_nan(enlarged(bound, steps, _WIDE))), dtype)


@jax.tree_util.register_pytree_with_keys_class
class CertifiedTracked(Tracked):
    """A `Tracked` that remembers its reference: exact = value - offset, within radius.

    It unpacks into value and error as any `Tracked`, and can be passed to the next step of a loop: the reference goes
    on from where it was, instead of from a ball around the value, so that bounds stay tight over many steps.

    Attributes:
        offset: tree of value - reference, arrays ``(*s)`` in the dtype of errors.
        radius: tree of bounds of |value - offset - exact|, arrays ``(*s)`` in the dtype of errors.

    Example:
        >>> import precjax, jax
        >>> step = precjax.track(lambda x: x * 0.9 + 0.1, model="certified")
        >>> state = step(step(0.7))
        >>> value, error = state
        >>> float(state.radius) < 1e-6 * float(error)
        True
    """

    offset: Any
    radius: Any

    def __new__(cls, value: Any, error: Any, offset: Any, radius: Any) -> CertifiedTracked:
        """A tuple of two, with two attributes."""
        self = super().__new__(cls, value, error)
        self.offset, self.radius = offset, radius
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:
        """How copies and pickles are made."""
        return (*self, self.offset, self.radius)

    def _replace(self, **changes: Any) -> Tracked:
        """Without the reference, which another value or error would contradict."""
        return Tracked(*self)._replace(**changes)

    def tree_flatten_with_keys(self) -> Any:
        """Four subtrees."""
        names = ("value", "error", "offset", "radius")
        return [(jax.tree_util.GetAttrKey(name), getattr(self, name)) for name in names], None

    @classmethod
    def tree_unflatten(cls, _: None, children: Any) -> CertifiedTracked:
        """From four subtrees."""
        return cls(*children)
