"""Decisions: comparisons, selections, roundings to integers, casts, sorting. All are taken on exact values."""

import functools

import jax.numpy as jnp
import numpy as np
from flint import fmpq
from jax import lax

from precjax._judge.number import HALF, ONE, compare, floor, is_finite, is_nan, lift, sign, truncate
from precjax._judge.table import defelementwise, rule


def total_order(a, b):
    """-1, 0 or 1, where NaN counts as the largest number."""
    outcome = compare(a, b)
    return is_nan(a) - is_nan(b) if outcome is None else outcome


# NaN compares as None: unequal to everything, also to itself.
for _name, _order, _outcomes in [
    ("eq", compare, (0,)),
    ("ne", compare, (-1, 1, None)),
    ("lt", compare, (-1,)),
    ("le", compare, (-1, 0)),
    ("gt", compare, (1,)),
    ("ge", compare, (0, 1)),
    ("eq_to", total_order, (0,)),
    ("lt_to", total_order, (-1,)),
    ("le_to", total_order, (-1, 0)),
]:
    defelementwise(_name, lambda a, b, order=_order, outcomes=_outcomes: order(a, b) in outcomes, operands=2)

defelementwise("is_finite", is_finite)
defelementwise("floor", floor)
defelementwise("ceil", lambda x: -floor(-x))


@rule("round")
def round(x, *, rounding_method, **params):
    to_even = rounding_method == lax.RoundingMethod.TO_NEAREST_EVEN
    return np.frompyfunc(_round_half_to_even if to_even else _round_half_away, 1, 1)(x)


def _round_half_away(x):
    return -floor(HALF - x) if is_finite(x) and sign(x) < 0 else floor(x + HALF)


def _round_half_to_even(x):
    up = floor(x + HALF)
    if is_finite(x) and compare(up, x + HALF) == 0 and floor(up * HALF) * 2 != up:
        return up - ONE
    return up


@rule("select_n")
def select_n(which, *cases, **params):
    chosen = cases[0]
    for number, case in enumerate(cases[1:], start=1):
        chosen = np.where(np.asarray(which).astype(int) == number, case, chosen)
    return chosen


@rule("convert_element_type")
def convert_element_type(x, *, new_dtype, **params):
    if jnp.issubdtype(new_dtype, jnp.inexact):
        return lift(x)
    if jnp.issubdtype(new_dtype, jnp.bool_):
        return np.frompyfunc(lambda number: sign(number) != 0, 1, 1)(x)
    bounds = jnp.iinfo(new_dtype)
    return np.frompyfunc(lambda number: _to_integer(number, int(bounds.min), int(bounds.max)), 1, 1)(x)


def _to_integer(x, low, high):
    """Truncate and saturate, as XLA does; NaN gives 0."""
    if is_nan(x):
        return 0
    if not is_finite(x):
        return high if sign(x) > 0 else low
    integer = truncate(x)
    return min(max(int(integer.p if type(integer) is fmpq else integer.unique_fmpz()), low), high)


@rule("sort")
def sort(*operands, dimension, num_keys, **params):
    rows = [np.moveaxis(operand, dimension, -1) for operand in operands]
    results = [row.copy() for row in rows]
    for place in np.ndindex(rows[0].shape[:-1]):
        order = _sorted_indices([lift(row[place]) for row in rows[:num_keys]])
        for row, result in zip(rows, results, strict=True):
            result[place] = row[place][order]
    return [np.moveaxis(result, -1, dimension) for result in results]


@rule("top_k")
def top_k(x, *, k, axis=-1, **params):
    rows = np.moveaxis(x, axis, -1)
    indices = np.empty((*rows.shape[:-1], k), dtype=int)
    for place in np.ndindex(rows.shape[:-1]):
        indices[place] = _sorted_indices([lift(rows[place])], descending=True)[:k]
    values = np.take_along_axis(rows, indices, -1)
    return np.moveaxis(values, -1, axis), np.moveaxis(indices, -1, axis)


@rule("approx_top_k")
def approx_top_k(x, *, k, reduction_dimension, is_max_k, **params):
    """The exact ones: what is approximate elsewhere is not on a CPU."""
    values, indices = top_k(x if is_max_k else -lift(x), k=k, axis=reduction_dimension)
    return (values if is_max_k else -values), indices


def _sorted_indices(keys, descending=False):
    """The stable order of the places of a row; NaN counts as the largest number."""

    def order(i, j):
        for key in keys:
            outcome = total_order(key[i], key[j])
            if outcome:
                return -outcome if descending else outcome
        return 0

    return sorted(range(len(keys[0])), key=functools.cmp_to_key(order))


@rule("argmax")
def argmax(x, *, axes, **params):
    return _first_best(x, axes[0], 1)


@rule("argmin")
def argmin(x, *, axes, **params):
    return _first_best(x, axes[0], -1)


def _first_best(x, axis, direction):
    rows = np.moveaxis(x, axis, -1)
    best = np.empty(rows.shape[:-1], dtype=object)
    for place in np.ndindex(best.shape):
        best[place] = first_best(rows[place], direction)
    return best


def first_best(row, direction):
    """The first index of the largest (direction 1) or smallest (-1) number; NaN beats every number."""
    best = 0
    for i in range(1, len(row)):
        if is_nan(row[best]):
            break
        if is_nan(row[i]) or compare(row[i], row[best]) == direction:
            best = i
    return best
