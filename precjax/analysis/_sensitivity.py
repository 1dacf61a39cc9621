"""What each place of a program would add to the error of its results, were it in another format: one reverse pass.

To first order an error d of an intermediate number moves the results y by J d. Roundings are taken for independent, so
the expected square of the sum is the sum of the squares |J d|^2 over all numbers; and with random signs g, one per
result, the expectation of (g . J d)^2 is |J d|^2, so that one reverse pass from g . y gives all of them. (Hutchinson's
estimate, J. Comput. Graph. Stat. 1990; good to a few percent where a place holds many numbers.)

A rounding to a format of unit roundoff u moves a number by at most u of it, and in the mean square by u / sqrt(3); a
number below the smallest normal one of the format is taken for lost. A number is rounded where an equation makes it,
and where it enters a place.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from precjax._annotated import Annotated
from precjax._facts import MOVES
from precjax._hooks import Site
from precjax._interpreter import forget_transformed, given, interpret
from precjax._rounding import dtype_of, format_of
from precjax.analysis._adjoint import backwards, without_nan
from precjax.analysis._mixed import is_real, is_wider, runs_narrow
from precjax.analysis._placed import Placed

_MANY = 1 << 16  # places while they are counted; nothing is computed then


class Sensitivity(NamedTuple):
    """By place (P of them) and format (F).

    Attributes:
        places: their names.
        variances: what the place adds to the square of the relative error, array ``(P, F)``.
        beyond: how many numbers the format cannot hold, or only just, array ``(P, F)``.
        work: floating-point operations, array ``(P,)``.
    """

    places: list[str]
    variances: np.ndarray
    beyond: np.ndarray
    work: np.ndarray


def sensitivity(
    closed: Any, leaves: Sequence[Any], sizes: Sequence[float], formats: Sequence[Any], key: Callable[[Site], str]
) -> Sensitivity:
    """Runs a program once forward and once in reverse.

    Args:
        closed: its jaxpr.
        leaves: its arguments.
        sizes: root mean square of each result; 0 for those that do not count.
        formats: dtypes.
        key: what a place is.

    Returns:
        The sensitivities.
    """
    places: list[str] = []
    random = np.random.default_rng(0)
    weights = [
        None if not size else random.choice([-1.0, 1.0], aval.shape) / (size * math.sqrt(max(math.prod(aval.shape), 1)))
        for size, aval in zip(sizes, closed.out_avals, strict=True)
    ]

    def projected(slots: Any, leaves: Sequence[Any]) -> Any:
        model = _Probed(key=key, formats=tuple(formats), places=places, slots=slots)
        try:
            results = interpret(model, closed, [given(x) for x in leaves])
        finally:
            forget_transformed(model)
        wide = [jnp.asarray(x.value, jnp.promote_types(dtype_of(x.value), jnp.float32)) for x in results]
        return sum(jnp.sum(y * w) for y, w in zip(wide, weights, strict=True) if w is not None)

    columns = 2 * len(formats) + 1
    jax.eval_shape(lambda: projected([jnp.zeros(columns)] * _MANY, leaves))
    parts = backwards("advise", jax.grad(projected), [jnp.zeros(columns)] * len(places), leaves)
    parts = np.asarray(parts, np.float64).reshape(len(places), columns)
    variances, beyond = parts[:, : len(formats)], parts[:, len(formats) : -1]
    return Sensitivity(places, np.where(np.isnan(variances), np.inf, variances), beyond, parts[:, -1])


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Probed(Placed):
    """The plain program, every number of which that a format would round is probed.

    Attributes:
        formats: to try.
        places: those found so far; each has a slot.
        slots: P arrays of zeros ``(2 F + 1,)``, whose derivatives are variances, numbers out of range, and work.
    """

    formats: tuple[Any, ...]
    places: list[str]
    slots: Sequence[Any]

    def apply(self, eqn: Any, operands: Sequence[Annotated]) -> list[tuple[Any, Any]]:
        """The primitive, between probes of what enters its place and of what it rounds."""
        if not runs_narrow(eqn):
            return super().apply(eqn, operands)
        place = self.place(eqn)
        inside = [x._replace(value=self._entering(place, x)) for x in operands]
        work = _work(eqn)
        results = super().apply(eqn, inside)
        return [(self._probe(place, value, work) if work else value, None) for value, _ in results]

    def _entering(self, place: str, x: Annotated) -> Any:
        """An operand; probed if another place made it."""
        inside = x.origin is not None and runs_narrow(x.origin.eqn) and self.place(x.origin.eqn) == place
        return x.value if inside else self._probe(place, x.value, 0)

    def _probe(self, place: str, value: Any, work: int) -> Any:
        if not is_real(jnp.asarray(value)):
            return value
        if place not in self.places:
            self.places.append(place)
        return _probe(self.formats, work, jnp.asarray(value), self.slots[self.places.index(place)])


def _work(eqn: Any) -> int:
    """Floating-point operations of an equation."""
    size = math.prod(eqn.outvars[0].aval.shape)
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return 2 * size * math.prod(eqn.invars[0].aval.shape[i] for i in contracted)
    if eqn.primitive.name == "conv_general_dilated":
        kernel, features = eqn.invars[1].aval.shape, eqn.params["dimension_numbers"].rhs_spec[0]
        return 2 * size * (math.prod(kernel) // max(kernel[features], 1))
    return 0 if eqn.primitive.name in MOVES else max(size, 1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _probe(formats: Any, work: int, value: Any, slot: Any) -> Any:
    """The value; the derivative by the slot is what the formats would make of the cotangent."""
    return value


def _forward(formats: Any, work: int, value: Any, slot: Any) -> Any:
    return value, value


def _backward(formats: Any, work: int, value: Any, cotangent: Any) -> Any:
    own, wide = format_of(value.dtype), jnp.promote_types(value.dtype, jnp.float32)
    size = jnp.abs(value).astype(wide)
    size = jnp.where(jnp.isfinite(size), size, 0)
    cotangent = without_nan(cotangent)
    moved = jnp.square(size * cotangent.astype(wide))
    every = jnp.sum(moved)
    variances, beyond = [], []
    for dtype in formats:
        fmt, rounds = format_of(dtype), is_wider(value.dtype, dtype)
        ends = rounds and fmt.smallest_normal > own.smallest_normal
        lost = jnp.sum(jnp.where(size < fmt.smallest_normal, moved, 0)) if ends else 0.0
        variances.append(every * (fmt.unit_roundoff**2 / 3) + lost if rounds else 0.0)
        beyond.append(jnp.sum(size > fmt.largest / 2) if rounds and 2 * fmt.largest < own.largest else 0.0)
    return cotangent, jnp.stack([jnp.asarray(x, jnp.float32) for x in (*variances, *beyond, float(work))])


_probe.defvjp(_forward, _backward)
