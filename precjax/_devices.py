"""Errors on many devices: typed and placed as their values, and branches that devices must take together.

Inside of a shard_map that checks it, the type of an array says along which axes of devices it may vary; outside, a
sharding says how it is laid out. An error must have the type and the sharding of its value, or it could not go where
the value goes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _jax_compat as compat
from precjax._annotated import Annotated
from precjax._rounding import never_nan

Groups = Sequence[Sequence[int]] | None

_COMMUNICATE = frozenset({
    "psum", "psum_invariant", "pmax", "pmin", "reduce_scatter", "all_gather", "all_gather_invariant", "all_to_all",
    "pbroadcast", "ppermute",
})  # fmt: skip


def same_type(error: Any, value: Any) -> Any:
    """The error, varying along the axes of devices along which its value does, and sharded as it is.

    The error of a value that has yet to be summed over devices is that of the sum.
    Along an axis along which the value is the same for all devices, an error that is not is replaced by the largest.
    """
    of_error, of_value = compat.varying(error), compat.varying(value)
    if more := of_error - of_value:
        error = lax.pmax(never_nan(error), tuple(sorted(more)))
    if fewer := of_value - of_error:
        error = lax.pcast(error, tuple(sorted(fewer)), to="varying")
    explicit = compat.reduced(compat.explicit_sharding(value))
    return error if explicit in (None, compat.explicit_sharding(error)) else jax.sharding.reshard(error, explicit)


def whole(value: Any) -> Any:
    """The array itself, or the sum over devices that it has yet to be."""
    explicit = compat.explicit_sharding(value) if compat.unreduced(jax.typeof(value)) else None
    return value if explicit is None else jax.sharding.reshard(value, compat.reduced(explicit))


def placed(xs: Sequence[Annotated], shardings: Sequence[Any]) -> list[Annotated]:
    """The arrays with the shardings that a jit asks for; errors get those of their values."""
    return [x if compat.is_unspecified(s) else _placed(x, s) for x, s in zip(xs, shardings, strict=True)]


def _placed(x: Annotated, sharding: Any) -> Annotated:
    def place(leaf: Any) -> Any:
        return lax.with_sharding_constraint(leaf, sharding) if np.shape(leaf) == np.shape(x.value) else leaf

    return x._replace(value=place(x.value), error=jax.tree.map(place, x.error))


class Axes(NamedTuple):
    """What a reducing collective reduces over.

    Attributes:
        names: axes of devices.
        positions: axes of the array: what vmap makes of a named axis.
        groups: which devices along the named axes belong together; None for all.
    """

    names: tuple[Any, ...]
    positions: tuple[int, ...]
    groups: Groups

    @classmethod
    def of(cls, axes: Any, groups: Groups) -> Axes:
        """The axes of an equation, one or many."""
        return cls(*compat.named_axes(axes), groups)

    def sum(self, x: Any) -> Any:
        """As the primitive sums values."""
        x = lax.reduce_sum(x, self.positions)
        return lax.psum(x, self.names, axis_index_groups=self.groups) if self.names else x

    def largest(self, x: Any) -> Any:
        """The maximum, in the same way."""
        x = lax.reduce_max(x, self.positions)
        return lax.pmax(x, self.names, axis_index_groups=self.groups) if self.names else x

    def best(self, x: Any) -> Any:
        """The maximum, in the place of each of the numbers compared."""
        kept = [i for i in range(x.ndim) if i not in self.positions]
        return lax.broadcast_in_dim(self.largest(x), x.shape, kept)


def added(axes: Any, groups: Any, shape: Sequence[int]) -> int:
    """How many numbers a reducing collective makes one of: along axes of devices, and of the array."""
    names, positions = compat.named_axes(axes)
    together = len(groups[0]) if groups else math.prod(map(lax.axis_size, names))
    return together * math.prod(shape[i] for i in positions)


def agreed(doubt: Any, jaxprs: Sequence[Any]) -> Any:
    """The doubt of any of the devices that communicate within these jaxprs: they must take the same branch."""
    names = {name for jaxpr in jaxprs for eqn in compat.equations(jaxpr) for name in _communicates(eqn)}
    bound = tuple(sorted(filter(compat.is_axis, names)))
    return lax.ne(lax.pmax(doubt.astype(jnp.int32), bound), jnp.int32(0)) if bound else doubt


def _communicates(eqn: Any) -> tuple[Any, ...]:
    """The names of the axes along which an equation sends or sums."""
    if eqn.primitive.name not in _COMMUNICATE:
        return ()
    names, _ = compat.named_axes(eqn.params.get("axes", eqn.params.get("axis_name")))
    return names
