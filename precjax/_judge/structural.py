"""Moves, copies and casts that leave every number what it is."""

import numpy as np

from precjax._judge.number import NAN, lift
from precjax._judge.table import rule


@rule(
    "copy", "copy_p", "stop_gradient", "name", "checkpoint_name", "reduce_precision", "optimization_barrier",
    "sharding_constraint", "layout_constraint", "mesh_cast", "reshard", "relayout", "pvary", "device_put",
)  # fmt: skip
def identity(*operands, **params):
    return operands


@rule("empty", "empty2")
def empty(*, shape=(), **params):
    return np.full(shape, NAN, dtype=object)  # memory that nothing may read


@rule("iota")
def iota(*, dtype, shape, dimension, **params):
    line = np.arange(shape[dimension]).reshape([-1 if axis == dimension else 1 for axis in range(len(shape))])
    return lift(np.broadcast_to(line, shape))


@rule("reshape")
def reshape(x, *, new_sizes, dimensions=None, **params):
    return (x if dimensions is None else np.transpose(x, dimensions)).reshape(new_sizes)


@rule("broadcast_in_dim")
def broadcast_in_dim(x, *, shape, broadcast_dimensions, **params):
    sizes = dict(zip(broadcast_dimensions, x.shape, strict=True))
    return np.broadcast_to(x.reshape([sizes.get(axis, 1) for axis in range(len(shape))]), shape)


@rule("transpose")
def transpose(x, *, permutation, **params):
    return np.transpose(x, permutation)


@rule("squeeze")
def squeeze(x, *, dimensions, **params):
    return np.squeeze(x, dimensions)


@rule("expand_dims")
def expand_dims(x, *, dimensions, **params):
    return np.expand_dims(x, dimensions)


@rule("rev")
def rev(x, *, dimensions, **params):
    return np.flip(x, dimensions)


@rule("slice")
def slice_(x, *, start_indices, limit_indices, strides, **params):
    return x[tuple(map(slice, start_indices, limit_indices, strides or [1] * x.ndim))]


@rule("concatenate")
def concatenate(*operands, dimension, **params):
    return np.concatenate(operands, dimension)


@rule("split")
def split(x, *, sizes, axis, **params):
    return np.split(x, np.cumsum(sizes)[:-1], axis)


@rule("stack")
def stack(*operands, axis=0, **params):
    return np.stack(operands, axis)


@rule("unstack")
def unstack(x, *, axis=0, **params):
    return list(np.moveaxis(x, axis, 0))


@rule("tile")
def tile(x, *, reps, **params):
    return np.tile(x, reps)


@rule("pad")
def pad(x, fill, *, padding_config, **params):
    """Zeros between (interior), then zeros before and after, where negative counts cut off."""
    for axis, (low, high, interior) in enumerate(padding_config):
        x = _pad_axis(np.moveaxis(x, axis, 0), fill, low, high, interior)
        x = np.moveaxis(x, 0, axis)
    return x


def _pad_axis(x, fill, low, high, interior):
    length = len(x) + max(len(x) - 1, 0) * interior
    inner = np.full((length, *x.shape[1:]), fill[()], dtype=object)
    inner[:: interior + 1] = x
    sides = [np.full((max(count, 0), *x.shape[1:]), fill[()], dtype=object) for count in (low, high)]
    return np.concatenate([sides[0], inner[max(-low, 0) : length - max(-high, 0)], sides[1]])
