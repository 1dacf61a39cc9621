"""Collectives: sums, extremes and moves over devices, or over the lanes of a vmap with a named axis.

Theorem: what d devices compute together is what one would of their d arrays, side by side. So a sum over devices of n
terms each is a sum of all their terms, in any order: beyond what each device rounded, it errs by (d - 1) u sum |x|
(Jeannerod and Rump 2013, as in `reduction`). A maximum is nonexpansive, a move moves errors.

Each device states the error of its own value. Every term of a bound passes through the collective that its value passes
through, between the same devices, so where all of them hold the same value they hold the same error. What is known
statically (that an operand is exact, its range) is known of all devices, which run one program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jax import lax

from precjax import _jax_compat as compat
from precjax._annotated import Annotated
from precjax._devices import Axes, Groups, added
from precjax._registry import rule
from precjax._rounding import error_dtype, is_inexact
from precjax.rules.integer import combine_integers
from precjax.rules.reduction import extreme, summed
from precjax.rules.structural import defmove

# The devices that receive nothing in a ppermute hold an exact 0, which is what the error becomes there.
defmove("all_gather", "all_gather_invariant", "all_to_all", "pbroadcast", "ppermute")


@rule("psum", "psum_invariant")
def psum(
    model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, axes: Any, axis_index_groups: Groups = None
) -> list[Any]:
    """Any order, of devices too."""
    over = Axes.of(axes, axis_index_groups)
    terms = added(axes, axis_index_groups, operands[0].value.shape)
    return [_sum(model, operands[0], outs[0], terms, over.sum, over.names)]


@rule("reduce_scatter")
def reduce_scatter(
    model: Any,
    operands: Sequence[Annotated],
    outs: Sequence[Any],
    *,
    axis_name: Any,
    axis_size: int,
    scatter_dimension: int,
    axis_index_groups: Groups,
    tiled: bool,
) -> list[Any]:
    """A psum of which each device keeps a part."""

    def add(e: Any) -> Any:
        groups = axis_index_groups
        return lax.psum_scatter(
            e, axis_name, scatter_dimension=scatter_dimension, axis_index_groups=groups, tiled=tiled
        )

    names, _ = compat.named_axes(axis_name)
    return [_sum(model, operands[0], outs[0], axis_size, add, names)]


def _sum(
    model: Any, operand: Annotated, out: Any, terms: int, add: Callable[[Any], Any], names: tuple[Any, ...]
) -> Any:
    if terms == 1:
        return None if operand.error is None else add(operand.error)
    if not is_inexact(out.dtype):
        return combine_integers(model, [operand], out, add)
    return summed(model, model.ball(operand, error_dtype(out.dtype)), terms, add, out, names=names)


def _extreme(name: str, sign: float) -> None:
    @rule(name)
    def reduce_extreme(
        model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, axes: Any, axis_index_groups: Groups
    ) -> list[Any]:
        over = Axes.of(axes, axis_index_groups)
        return [extreme(operands[0], outs[0], sign, over.best, over.largest)]


_extreme("pmax", 1.0)
_extreme("pmin", -1.0)
