"""Windows that slide over an array: pooling, its gradients, and the patches of a convolution."""

import numpy as np

from precjax._judge.arithmetic import add
from precjax._judge.decision import first_best
from precjax._judge.number import INF, ONE, ZERO, as_objects, lift
from precjax._judge.reduction import MAXIMUM, MINIMUM, PRODUCT, SUM
from precjax._judge.structural import pad
from precjax._judge.table import rule


def windows(x, fill, *, window_dimensions, window_strides, padding, base_dilation=None, window_dilation=None, **params):
    """Every window of x, flattened, along a new last axis."""
    ones = (1,) * x.ndim
    interior = [dilation - 1 for dilation in base_dilation or ones]
    config = [(low, high, inner) for (low, high), inner in zip(padding, interior, strict=True)]
    padded = pad(x, as_objects(fill), padding_config=config)
    dilations = window_dilation or ones
    reaches = [(size - 1) * dilation + 1 for size, dilation in zip(window_dimensions, dilations, strict=True)]
    shape = [
        max((n - reach) // stride + 1, 0)
        for n, reach, stride in zip(padded.shape, reaches, window_strides, strict=True)
    ]

    def shifted(offset):
        begins = [place * dilation for place, dilation in zip(offset, dilations, strict=True)]
        steps = zip(begins, shape, window_strides, strict=True)
        return padded[tuple(slice(begin, begin + n * stride, stride) for begin, n, stride in steps)]

    return np.stack([shifted(offset) for offset in np.ndindex(*window_dimensions)], axis=-1)


for _name, _fold, _identity in [
    ("sum", SUM, ZERO),
    ("prod", PRODUCT, ONE),
    ("mul", PRODUCT, ONE),
    ("max", MAXIMUM, -INF),
    ("min", MINIMUM, INF),
]:
    rule(f"reduce_window_{_name}")(
        lambda x, fold=_fold, identity=_identity, **params: fold.reduce(windows(x, identity, **params), axis=-1)
    )


@rule("reduce_window")
def reduce_window(x, start, *, jaxpr, **geometry):
    """Of one primitive: that primitive, folded."""
    (eqn,) = jaxpr.eqns
    fold = {"mul": PRODUCT, "add": SUM, "max": MAXIMUM, "min": MINIMUM}[eqn.primitive.name]
    seen = windows(x, lift(start).item(), **geometry)
    return fold.reduce(seen, axis=-1)


def _selected(x, select_prim, **geometry):
    """The flat index of the element that each window selects: the first largest, or the first smallest."""
    direction = 1 if select_prim.name == "ge" else -1
    places = windows(np.arange(x.size, dtype=object).reshape(x.shape), -1, **geometry)
    chosen = np.empty(places.shape[:-1], dtype=int)
    for where in np.ndindex(chosen.shape):
        inside = places[where][places[where] >= 0].astype(int)
        chosen[where] = inside[first_best(x.ravel()[inside], direction)]
    return chosen


@rule("select_and_scatter_add")
def select_and_scatter_add(source, x, *, select_prim, **geometry):
    result = np.full(x.size, ZERO, dtype=object)
    for place, number in zip(_selected(x, select_prim, **geometry).ravel(), source.ravel(), strict=True):
        result[place] = add(result[place], number)
    return result.reshape(x.shape)


@rule("select_and_gather_add")
def select_and_gather_add(tangents, x, *, select_prim, **geometry):
    return tangents.ravel()[_selected(x, select_prim, **geometry)]
