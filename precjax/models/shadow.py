"""The error that is observed: a program minus the same program in a wider format."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._annotated import Annotated
from precjax._binding import graft
from precjax._rounding import dtype_of, error_dtype, is_inexact, is_plain, where
from precjax._tracked import Tracked
from precjax._widen import FROZEN, is_cast, narrow, widen
from precjax.doubledouble import _complex_primitives as primitives
from precjax.models._bare import Bare
from precjax.models._compositions import COMPOSITIONS
from precjax.models._paired import Paired, of_floats, paired_difference
from precjax.models._widened import Widened


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shadow(Widened, Bare):
    """Observed signed error: value - reference, the reference being the same program in a wider format.

    The program runs as it is; beside it runs its reference, with its own branches and iteration counts: in float64, or,
    if anything in the program is float64, in pairs of float64 numbers (106 bits). Nothing is proved, but the error is
    accurate to the rounding of the reference, and no rule is needed.

    Args:
        reference: "wider": float64 for programs of formats up to float32, pairs for programs with float64. "pairs":
            pairs for every program, some ten times as slow: where so much cancels that float64 loses the error, too.
        correct: return the corrected value, value - error rounded to the value's format, in place of the value (the
            CENA method); the error is then what is left.
        device: where the reference runs: None for where the program does, a platform ("cpu") or a ``jax.Device``. Such
            a call cannot be part of another program.
        missing: of no effect: a shadow needs no rules.
        strict: must be False: an observation has no error inf.

    Guarantee:
        None. Errors are signed; 0 where both are NaN or the same infinity, inf where only one is. An argument
        ``Tracked(value, error)`` enters the reference as value - error, so errors carry through training loops. The
        errors of integers and bools are differences; those of complex values are moduli. Derivatives of an error are 0.
        Pairs know no sines of arguments beyond 2**30, and incomplete gamma and beta functions of parameters from
        2**-100 to 2**22: inf elsewhere.

    Raises:
        ValueError: if strict is set; when called, if an argument with an error is complex.
        MissingRuleError: when called, if the reference is in pairs and a primitive has no arithmetic of pairs
            (``schur``, ``hessenberg``).

    Example:
        >>> import jax.numpy as jnp, precjax
        >>> x = jnp.float32(1e-4)
        >>> value, error = precjax.track(lambda x: 1 - jnp.cos(x), model=precjax.Shadow())(x)
        >>> f"{value:.1e} {error:.1e} {value - error:.1e}"
        '0.0e+00 -5.0e-09 5.0e-09'
    """

    correct: bool = False

    signed: ClassVar[bool] = True
    fields: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Checks the options."""
        super().__post_init__()
        if self.strict:
            raise ValueError("Shadow(strict=True): an observed error is never inf for want of proof; use Certified")

    def paired(self) -> _PairedShadow:
        """The model whose references are pairs."""
        return _PairedShadow(**vars(self))

    def enter(self, argument: Tracked) -> Annotated:
        """value - error."""
        value, error = argument
        if np.iscomplexobj(value):
            raise ValueError("Shadow: the error of a complex argument is a modulus, which does not say where the exact"
                             " number lies; pass the value alone")  # fmt: skip
        return Annotated(moved_back(value, jnp.broadcast_to(error, np.shape(value))))

    def compare(self, value: Any, reference: Annotated) -> tuple[Any, Any]:
        """(error, the reference in the value's format)."""
        best = jnp.asarray(reference.value)
        rounded = narrow(best, value.dtype) if is_inexact(value.dtype) else best.astype(value.dtype)
        missed = difference(rounded if self.correct else value, best, self.rest(reference))
        return missed.astype(error_dtype(value.dtype)), rounded

    def result(self, value: Any, error: Any, corrected: Any) -> Tracked:
        """The value, or the corrected one with the derivative of the value."""
        return Tracked(jax.tree.map(_corrected, corrected, value) if self.correct else value, error)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _PairedShadow(Paired, Shadow):
    """A shadow whose reference is in pairs."""

    def enter(self, argument: Tracked) -> Annotated:
        """value - error, without rounding."""
        entered = super().enter(argument)
        return entered if not is_inexact(dtype_of(argument.value)) else paired_difference(*argument)

    def supports(self, eqn: Any) -> bool:
        """What has arithmetic of pairs, and what needs none."""
        name = eqn.primitive.name
        of_pairs = primitives.supports(eqn) or name in COMPOSITIONS
        return is_cast(eqn) or name in FROZEN or not of_floats(eqn) or of_pairs

    def _rounded(self, x: Annotated, dtype: Any) -> Annotated:
        return super()._rounded(x._replace(error=None), dtype)


def _corrected(corrected: Any, value: Any) -> Any:
    return graft(corrected, value) if is_inexact(value.dtype) else corrected


def moved_back(value: Any, error: Any) -> Any:
    """value - error, widened: where the reference of an argument lies; of a random key, the key itself."""
    dtype = dtype_of(value)
    if not is_plain(value):
        return value
    if dtype == jnp.bool_:
        return lax.ne(value, lax.ne(error, jnp.zeros_like(error)))
    if not is_inexact(dtype):
        return lax.sub(jnp.asarray(value), lax.convert_element_type(error, dtype))
    value = jnp.asarray(widen(value))
    return lax.sub(value, jnp.asarray(widen(error)).astype(value.dtype))


def difference(value: Any, reference: Any, rest: Any = None) -> Any:
    """value - reference (- rest) in float64: 0 where both are the same infinity or NaN, inf where only one is NaN."""
    if not is_plain(value):  # random keys: the same, or not
        return jnp.where(lax.eq(value, reference), 0.0, np.inf)
    value, reference = (jnp.asarray(widen(x)) for x in (value, reference))
    if np.issubdtype(value.dtype, np.complexfloating):
        low = jnp.zeros_like(reference) if rest is None else rest
        parts = [difference(*map(part, (value, reference, low))) for part in (lax.real, lax.imag)]
        return lax.abs(lax.complex(*parts))
    if not is_inexact(value.dtype):
        value, reference = (x.astype(np.float64) for x in (value, reference))
    nans = [lax.ne(x, x) for x in (value, reference)]
    same = lax.bitwise_or(lax.eq(value, reference), lax.bitwise_and(*nans))
    distance = where(same, 0.0, where(lax.bitwise_or(*nans), np.inf, lax.sub(value, reference)))
    return distance if rest is None else lax.sub(distance, rest)
