"""Matrix products and convolutions: sums of products of exact numbers."""

import numpy as np

from precjax._judge.number import ZERO, lift
from precjax._judge.table import rule
from precjax._judge.window import windows


@rule("dot_general")
def dot_general(a, b, *, dimension_numbers, **params):
    (contract_a, contract_b), (batch_a, batch_b) = dimension_numbers
    left, shape_a = _matrices(lift(a), batch_a, contract_a, contracted_last=True)
    right, shape_b = _matrices(lift(b), batch_b, contract_b, contracted_last=False)
    batch = [a.shape[axis] for axis in batch_a]
    return _product(left, right).reshape([*batch, *shape_a, *shape_b])


def _matrices(x, batch, contract, contracted_last):
    """The operand as a stack of matrices, and the shape of its free axes."""
    free = [axis for axis in range(x.ndim) if axis not in (*batch, *contract)]
    order = [*batch, *free, *contract] if contracted_last else [*batch, *contract, *free]
    sizes = [int(np.prod([x.shape[axis] for axis in axes])) for axes in (batch, free, contract)]
    rows, columns = sizes[1:] if contracted_last else sizes[:0:-1]
    return np.transpose(x, order).reshape(sizes[0], rows, columns), [x.shape[axis] for axis in free]


def _product(left, right):
    if left.shape[2] == 0:
        return np.full((left.shape[0], left.shape[1], right.shape[2]), ZERO, dtype=object)
    return np.matmul(left, right)


@rule("ragged_dot_general")
def ragged_dot_general(a, b, sizes, *, ragged_dot_dimension_numbers, **params):
    """Of the rows of a group with its matrix, the sum over groups; of a group of terms, one product each."""
    numbers, (axis,) = ragged_dot_dimension_numbers, ragged_dot_dimension_numbers.lhs_ragged_dimensions
    (left, right), (batch, other_batch) = dense = numbers.dot_dimension_numbers
    if axis in batch:
        return dot_general(a, b, dimension_numbers=dense)
    if axis in left:
        place = left.index(axis)
        rows = _members(lift(a), sizes, axis, [*batch, *left[:place]])
        columns = _members(lift(b), sizes, right[place], [*other_batch, *right[:place]])
        return np.stack([dot_general(x, y, dimension_numbers=dense) for x, y in zip(rows, columns, strict=True)])
    free = [i for i in range(a.ndim) if i not in (*left, *batch)]
    (group,) = numbers.rhs_group_dimensions
    shifted = tuple(tuple(i - (i > group) for i in axes) for axes in (right, other_batch))
    dense = (left, shifted[0]), (batch, shifted[1])
    rows = _members(lift(a), sizes, axis, [*batch, *free[: free.index(axis)]])
    return sum(dot_general(x, b.take(i, group), dimension_numbers=dense) for i, x in enumerate(rows))


def _members(x, sizes, axis, before):
    """For each group the array with zeros where others' elements are; sizes may differ along the axes before."""
    sizes = np.broadcast_to(sizes, (*(x.shape[i] for i in before), np.shape(sizes)[-1])).astype(int)
    ends = np.cumsum(sizes, axis=-1)
    groups = [np.full(x.shape, ZERO, dtype=object) for _ in range(sizes.shape[-1])]
    for place in np.ndindex(x.shape):
        end = ends[tuple(place[i] for i in before)]
        group = int(np.searchsorted(end, place[axis], side="right"))
        if group < len(end):
            groups[group][place] = x[place]
    return groups


@rule("conv_general_dilated")
def conv_general_dilated(
    x, kernel, *, window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers,
    feature_group_count, batch_group_count, **params,
):  # fmt: skip
    x = np.transpose(lift(x), dimension_numbers.lhs_spec)  # batch, feature, space...
    kernel = np.transpose(lift(kernel), dimension_numbers.rhs_spec)  # out feature, in feature, space...
    patches = windows(
        x,
        ZERO,
        window_dimensions=(1, 1, *kernel.shape[2:]),
        window_strides=(1, 1, *window_strides),
        padding=((0, 0), (0, 0), *padding),
        base_dilation=(1, 1, *(lhs_dilation or ())),
        window_dilation=(1, 1, *(rhs_dilation or ())),
    )
    result = _grouped(patches, kernel, feature_group_count, batch_group_count)
    return np.transpose(result, np.argsort(dimension_numbers.out_spec))


def _grouped(patches, kernel, feature_groups, batch_groups):
    """Contract each group of input features, or of the batch, with its share of the kernels."""
    groups = max(feature_groups, batch_groups)
    parts = np.split(patches, groups, axis=1 if feature_groups > 1 else 0)
    return np.concatenate([_correlate(p, k) for p, k in zip(parts, np.split(kernel, groups), strict=True)], axis=1)


def _correlate(patches, kernel):
    """(batch, in, out space..., window) with (out, in, window space...) to (batch, out, out space...)."""
    numbers = (((1, patches.ndim - 1), (1, 2)), ((), ()))
    flat = kernel.reshape(*kernel.shape[:2], -1)
    return np.moveaxis(dot_general(patches, flat, dimension_numbers=numbers), -1, 1)
