"""Gather, scatter and dynamic slices. JAX itself says which element goes where: it moves an array of flat indices."""

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._judge.arithmetic import add, multiply, subtract
from precjax._judge.number import NAN, larger, lift, smaller
from precjax._judge.table import rule

OUTSIDE = -1


def _flat_indices(x):
    return jnp.arange(x.size, dtype=np.int32).reshape(x.shape)


@rule("gather")
def gather(x, indices, *, dimension_numbers, slice_sizes, mode, fill_value=None, **params):
    source = np.asarray(
        lax.gather(_flat_indices(x), indices, dimension_numbers, slice_sizes, mode=mode, fill_value=OUTSIDE)
    )
    fill = NAN if fill_value is None else lift(fill_value)[()]
    return np.append(x.ravel(), [fill])[source]  # OUTSIDE is the last index


@rule("dynamic_slice")
def dynamic_slice(x, *starts, slice_sizes, **params):
    return x[_clamped(x.shape, starts, slice_sizes)]


@rule("dynamic_update_slice")
def dynamic_update_slice(x, update, *starts, **params):
    result = x.copy()
    result[_clamped(x.shape, starts, update.shape)] = update
    return result


def _clamped(shape, starts, sizes):
    begins = [min(max(int(start), 0), n - size) for n, start, size in zip(shape, starts, sizes, strict=True)]
    return tuple(slice(begin, begin + size) for begin, size in zip(begins, sizes, strict=True))


def _scatter(combine):
    def scatter(x, indices, updates, *, dimension_numbers, mode, **params):
        result = x.copy().ravel()
        for target, update in zip(_targets(x, indices, updates, dimension_numbers, mode), updates.ravel(), strict=True):
            if target != OUTSIDE:
                result[target] = combine(result[target], update)
        return result.reshape(x.shape)

    return scatter


def _targets(x, indices, updates, numbers, mode):
    """The flat index that each update goes to: those that the opposite gather would read."""
    whole = (*numbers.inserted_window_dims, *numbers.operand_batching_dims)
    window = iter(updates.shape[axis] for axis in numbers.update_window_dims)
    source = lax.gather(
        _flat_indices(x),
        indices,
        lax.GatherDimensionNumbers(
            offset_dims=numbers.update_window_dims,
            collapsed_slice_dims=numbers.inserted_window_dims,
            start_index_map=numbers.scatter_dims_to_operand_dims,
            operand_batching_dims=numbers.operand_batching_dims,
            start_indices_batching_dims=numbers.scatter_indices_batching_dims,
        ),
        slice_sizes=[1 if axis in whole else next(window) for axis in range(x.ndim)],
        mode=mode,
        fill_value=OUTSIDE,
    )
    return np.asarray(source).ravel()


rule("scatter")(_scatter(lambda old, new: new))
rule("scatter-add")(_scatter(add))
rule("scatter-sub")(_scatter(subtract))
rule("scatter-mul")(_scatter(multiply))
rule("scatter-min")(_scatter(smaller))
rule("scatter-max")(_scatter(larger))
