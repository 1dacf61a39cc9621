"""Mutable arrays, kept as JAX describes them: a cell that equations read, write and add to, in order.

The library rewrites such programs into pure ones; the judge does not, so that it also judges the rewriting.
"""

import jax
import numpy as np

from precjax._judge.arithmetic import add
from precjax._judge.control_flow import control_flow


class Cell:
    """A mutable array: the point that it holds now."""

    def __init__(self, point):
        self.point = point


@control_flow("new_ref")
def new_ref(eqn, points, run):
    return [Cell(points[0])]


@control_flow("freeze")
def freeze(eqn, points, run):
    return [points[0].point]


@control_flow("run_state")
def run_state(eqn, points, run):
    """Cells for its operands; their last contents are the results."""
    cells = list(map(Cell, points))
    run(eqn.params["jaxpr"], cells)
    return [cell.point for cell in cells]


@control_flow("get")
def get(eqn, points, run):
    cell, *indices = points
    places = _places(eqn, indices)
    return [cell.point.map(lambda array: array[places])]


@control_flow("swap")
def swap(eqn, points, run):
    cell, new, *indices = points
    places = _places(eqn, indices)
    old = cell.point.map(lambda array: array[places])
    cell.point = cell.point.zip(new, lambda array, update: _written(array, places, update))
    return [old]


@control_flow("addupdate")
def addupdate(eqn, points, run):
    cell, more, *indices = points
    places = _places(eqn, indices)
    sums = cell.point.zip(more, lambda array, update: add(np.asarray(array)[places], np.asarray(update)))
    cell.point = cell.point.zip(sums, lambda array, update: _written(array, places, update))
    return []


def _written(array, places, update):
    result = np.array(array)
    result[places] = update
    return result


def _places(eqn, points):
    """The index arrays of the elements that an equation reaches: axes of integers come first, then those of slices."""
    transforms = jax.tree.unflatten(eqn.params["tree"], [point.exact for point in points])
    if not transforms:
        return (...,)
    (indexer,) = transforms
    slices = [axis for axis, index in enumerate(indexer.indices) if hasattr(index, "stride")]
    places = [
        _of_slice(index, slices.index(axis), len(slices))
        if axis in slices
        else np.asarray(index).reshape(np.shape(index) + (1,) * len(slices))
        for axis, index in enumerate(indexer.indices)
    ]
    for place, size in zip(places, indexer.shape, strict=True):
        if np.any(place < 0) or np.any(place >= size):
            raise NotImplementedError("the judge has no exact semantics for an index of a ref that is out of bounds")
    return (*np.broadcast_arrays(*places), ...)  # the dots keep an array, even of one element


def _of_slice(index, position, count):
    places = int(index.start) + index.stride * np.arange(index.size)
    return places.reshape([-1 if axis == position else 1 for axis in range(count)])
