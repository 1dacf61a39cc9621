"""The table of rules judged: faults made by hand, each of which must turn a row red.

A fault replaces one rule, or one function that rules share, by a version with a typical mistake. Whoever adds a rule adds its
row, and may try a fault of its own here.
"""

import functools
from typing import NamedTuple

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
import test_rules
from jax import lax

import precjax
from precjax import _jax_compat as compat
from precjax import _masks, _softmax_gradient_patterns, _softmax_patterns
from precjax._annotated import Annotated
from precjax._ball import Ball
from precjax._interpreter import _TRANSFORMED
from precjax._registry import _RULES
from precjax._rounding import as_error, error_dtype, format_of, times
from precjax.models.worst_case import WorstCase
from precjax.platforms import Platform
from precjax.rules import (
    accuracy,
    arithmetic,
    bilinear,
    cholesky,
    complex_arithmetic,
    complex_elementary,
    complex_ordering,
    decision,
    determinant,
    elimination,
    enclosure,
    fft,
    incomplete,
    indexing,
    integer_division,
    least_squares,
    loops,
    orthogonal,
    shifts,
    softmax,
    softmax_gradient,
    special,
    zeta,
)
from precjax.rules.whole import is_whole

pytestmark = pytest.mark.slow  # it tries the tests: once is enough

CASES = {case.name: case for case in test_rules.CASES}
ORIGINAL = {"total": WorstCase.total, "rules": dict(_RULES)}


class Fault(NamedTuple):
    """A mistake: what is replaced (an object's attribute, or a rule by its name), by what, and the rows that must fail."""

    replaced: tuple[object, str] | str
    by: object
    rows: tuple[str, ...]


def total(**changes):
    """`WorstCase.total` with other numbers of ulps or flushes."""

    def mutated(self, out, *terms, ulps=1.0, **options):
        return ORIGINAL["total"](self, out, *terms, ulps=changes["ulps"](ulps), **options)

    return mutated


def total_without_flushes(self, out, *terms, flushed=1, **options):
    tiny = format_of(error_dtype(out.dtype)).smallest_normal
    bound = ORIGINAL["total"](self, out, *terms, flushed=flushed, **options)
    return lax.max(lax.sub(bound, jnp.asarray(2 * (flushed + 1) * tiny, bound.dtype)), jnp.zeros_like(bound))


def product_without_cross_term(a, b, ea, eb):
    return times(a.size, eb), times(b.size, ea)


def nothing(model, operands, outs, **params):
    return [None] * len(outs)


def own_error(model, operands, outs, **params):
    return [as_error(operands[0].error, error_dtype(outs[0].dtype))]


def without_reach(x, of_error, of_size=0.0, floor=0.0, factor=bilinear.Factor):
    """Sizes at the value, not over the ball."""
    return factor(x, 0.0 if of_size == 1.0 else of_error, of_size, floor)


def error_of_the_winner(model, operands, outs, *, axes, **params):
    x = Ball(operands[0], error_dtype(outs[0].dtype))
    kept = [i for i in range(x.value.ndim) if i not in axes]
    best = lax.broadcast_in_dim(outs[0].astype(x.dtype), x.value.shape, kept)
    return [None if x.error is None else lax.reduce_max(jnp.where(x.value == best, x.error, 0), tuple(axes))]


def error_of_the_larger(model, operands, outs, **params):
    a, b = (model.explicit(x) for x in operands)
    return [jnp.where(a.value >= b.value, a.error, b.error)]


def own_case(model, which, cases, out, dtype):
    return lax.select_n(which.value.astype(bool), *(as_error(model.explicit(x).error, dtype) for x in cases))


def quotient_without_divisor(model, a, b, out):
    return model.total(out, a.absorbed, times(lax.abs(out).astype(b.dtype), b.error), ulps=2)


def first_order(model, operands, outs, **params):
    x = Ball(operands[0], error_dtype(outs[0].dtype))
    return [model.total(outs[0], times(lax.abs(outs[0]).astype(x.dtype), x.error), ulps=2.2)]


def no_other_terms(model, terms, p):
    return (jnp.zeros_like(p),) * 2


def no_mean(model, terms, p, dp, value, apart, dc):
    return [times(dp, apart), times(p, dc)]


def rounding_of_fewer(terms_left_out):
    return lambda self, n, d, pairwise=False, one_sign=False: (max(n - 1 - terms_left_out(n), 0) * format_of(d).unit_roundoff, 0.0)


def forgotten(model, results, carry):
    """The carry of a loop, exact again after every turn."""
    exact = [Annotated(x.value) if x.error is not None else x for x in results]
    return [model.explicit(x) if c.error is not None else x for x, c in zip(exact, carry, strict=True)]


def halved_rule(name):
    """A rule that claims half its propagated error and all of its rounding."""

    def mutated(model, operands, outs, **params):
        halved = [x if x.error is None else x._replace(error=x.error / 2) for x in operands]
        return ORIGINAL["rules"][name](model, halved, outs, **params)

    return mutated


def product_without_radius(x, y, original=enclosure.product):
    return original(x._replace(rad=None), y)


def without_error(model, operand, dtype, original=enclosure.enclosed):
    return original(model, operand, dtype)._replace(rad=None)


def halved(f):
    return lambda *args: jax.tree.map(lambda x: x / 2, f(*args))


def taken_for_granted(f):
    """All of what is decided."""
    return lambda *args: jnp.ones_like(f(*args))


def without_additions(jaxpr, original=compat.without_refs):
    """A ref that forgets what is added to it."""
    body = compat.open_jaxpr(jaxpr)
    body = body.replace(eqns=[eqn for eqn in body.eqns if eqn.primitive.name != "addupdate"])
    return original(jax.extend.core.ClosedJaxpr(body, compat.constants(jaxpr)))


FAULTS = {
    "rounding dropped": Fault((WorstCase, "total"), total(ulps=lambda ulps: 0.0), ("mul", "div", "sqrt", "add", "exp", "to bfloat16")),
    "u halved": Fault((WorstCase, "total"), total(ulps=lambda ulps: ulps / 2), ("mul", "add", "sqrt")),
    "flush dropped": Fault((WorstCase, "total"), total_without_flushes, ("mul",)),
    "subnormal operands trusted": Fault((Platform, "read_loss"), lambda self, dtype: 0.0, ("sqrt",)),
    "cross term dropped": Fault((arithmetic, "product_terms"), product_without_cross_term, ("mul",)),
    "gamma of n - 2": Fault((WorstCase, "sum_rounding"), rounding_of_fewer(lambda n: 1), ("reduce_sum of two",)),
    "sum of magnitudes in place of errors": Fault("reduce_sum", halved_rule("reduce_sum"), ("reduce_sum",)),
    "decided when undecided": Fault("lt", nothing, ("lt", "select")),
    "undecided case dropped": Fault((decision, "_either"), own_case, ("select", "where x>0.5")),
    "winner's error only": Fault("reduce_max", error_of_the_winner, ("reduce_max",)),
    "larger operand's error only": Fault("max", error_of_the_larger, ("max",)),
    "cast taken as exact": Fault("convert_element_type", own_error, ("to bfloat16", "there and back")),
    "quotient without 1/|y|": Fault((arithmetic, "_quotient_error"), quotient_without_divisor, ("div",)),
    "first order only": Fault("exp", first_order, ("exp",)),
    "slope halved": Fault("sin", halved_rule("sin"), ("sin",)),
    "accumulation of a dot dropped": Fault((WorstCase, "sum_rounding"), rounding_of_fewer(lambda n: n - 1.001), ("dot", "conv")),
    "cross term of a dot dropped": Fault((bilinear, "Factor"), without_reach, ("dot of one term",)),
    "carry of a loop forgotten": Fault((loops, "_carried"), forgotten, ("scan", "fori_loop")),
    "steps taken as smooth": Fault("floor", own_error, ("floor",)),
    "uncertain end of a loop ignored": Fault((WorstCase, "forget"), lambda self, x, where: x, ("while on data",)),
    "uncertain index ignored": Fault("argmax", nothing, ("argmax", "index from an argmax")),
    "payload of a sort taken as certain": Fault("sort", lambda m, o, outs, **p: [*ORIGINAL["rules"]["sort"](m, o, outs, **p)[:1], *[None] * (len(outs) - 1)], ("sort with payload",)),
    "a disc taken for its centre": Fault((complex_elementary, "_radius"), lambda z: jnp.zeros_like(z.size), ("complex log anywhere",)),
    "a spectrum's other half forgotten": Fault((fft, "_weights"), lambda n, dtype: np.ones(n // 2 + 1, dtype), ("irfft",)),
    "complex product rounded once": Fault((complex_arithmetic, "COMPLEX_PRODUCT"), 0.5, ("complex mul",)),
    "error of the matrix of a system ignored": Fault((enclosure, "product"), product_without_radius, ("inv of a stack",)),
    "half of what moves a Cholesky factor": Fault((cholesky, "factor_of_one_plus"), halved(cholesky.factor_of_one_plus), ("cholesky",)),
    "patterns: only its own term moves a softmax": Fault((softmax, "_parts"), no_other_terms, ("softmax", "logsumexp", "attention")),
    "slope of lgamma at the value": Fault((special, "digamma_slope"), lambda x: lax.abs(lax.digamma(x.value)), ("lgamma",)),
    "slope of a Bessel function halved": Fault("bessel_i0e", halved_rule("bessel_i0e"), ("bessel_i0e",)),
    "roots taken as benign": Fault((accuracy, "_SCALES"), accuracy._SCALES | {"digamma": lambda *_: None}, ("digamma",)),
    "parameter of a distribution ignored": Fault((incomplete, "trigamma_bound"), jnp.zeros_like, ("igamma",)),
    "terms of an exponent taken as exact": Fault((incomplete, "gamma_rounding"), lambda model, found, a, x: jnp.full_like(a.low, found.unit), ("igammac",)),
    "first term of zeta only": Fault((zeta, "_slope_in_q"), lambda x, q: zeta._power(q.low, x.low + 1, x.high + 1, x.high), ("zeta",)),
    "large whole numbers taken as exact": Fault((arithmetic, "exact_sum"), lambda a, b, out, error: error * 0 if is_whole(a.operand) else error, ("sum of counts",)),
    "patterns: masks taken for each other": Fault((_masks, "alike"), lambda x, y: True, ("exponentials of two masks",)),
    "patterns: terms of another mask": Fault((_softmax_patterns, "alike"), lambda x, y: True, ("log of a sum of two masks",)),
    "patterns: the mask of a gradient taken for one of its sum": Fault((_softmax_gradient_patterns, "_summands"), lambda terms, total, mask: [terms], ("exponentials of a mask and none",)),
    "patterns: the mean of cotangents does not move": Fault((softmax_gradient, "_moved"), no_mean, ("gradient of softmax", "gradient of softmax squared")),
    "pivots taken as certain": Fault((elimination, "_certain_pivots"), lambda smaller, exact: jnp.full(smaller.shape[:-2], smaller.shape[-1]), ("lu",)),
    "order of rows after a pivot in doubt taken as certain": Fault((elimination, "highest"), lambda x, axis: jnp.zeros_like(x[..., :1, :]), ("lu with a pivot in doubt",)),
    "growth of an elimination forgotten": Fault((elimination, "_grown"), lambda columns, growth: columns * jnp.ones_like(growth), ("lu of ties",)),
    "error of the matrix of a determinant ignored": Fault((determinant, "enclosed"), without_error, ("det of a stack",)),
    "half of what moves a determinant": Fault((determinant, "_series"), halved(determinant._series), ("det of a stack",)),
    "what an elimination leaves does not move the product of its pivots": Fault((determinant.Perturbed, "logarithm"), lambda self: 0 * self.t, ("complex determinants", "det of a stack")),
    "signs of determinants taken as certain": Fault((determinant, "_of_sign"), lambda sign, rounding, moved, known: rounding, ("complex determinants",)),
    "error of the matrix of least squares ignored": Fault((least_squares, "enclosed"), without_error, ("lstsq",)),
    "roundings of a transform dropped": Fault((fft, "_rounding"), lambda model, out, n, row: 0.0, ("irfft",)),
    "additions to a ref forgotten": Fault((compat, "without_refs"), without_additions, ("ref",)),
    "signs of reflections taken as certain": Fault((orthogonal, "signs_certain"), taken_for_granted(orthogonal.signs_certain), ("qr", "complex qr")),
    "a tenth of what moves a right factor": Fault((orthogonal, "_of_right_factor"), lambda *args, f=orthogonal._of_right_factor: f(*args) / 10, ("qr", "complex qr")),
    "complex pivots compared by their moduli": Fault((elimination, "less_in_parts"), elimination.less_than_pivot, ("complex lu",)),
    "order of complex numbers taken as certain": Fault((complex_ordering, "_diameter"), lambda x, joined, dimension, dtype: jnp.zeros(x.shape, dtype), ("complex sort", "complex payload")),
    "candidates only where real parts are equal": Fault((complex_ordering, "_REACH"), 0.0, ("complex extremes", "complex sort with payload")),
    "starts of slices taken as certain": Fault((indexing, "_starts_in_doubt"), lambda model, starts, limits: None, ("slices by integers",)),
    "tests for NaN taken as certain": Fault((decision, "doubtful_nan"), lambda x: None, ("nan replaced",)),
    "quotients taken at one corner": Fault((integer_division, "_extremes"), lambda a, b: (lax.div(a.low, lax.max(b.low, jnp.ones_like(b.low))),) * 2, ("division in 8 bits", "division of integers")),
    "rounding to a whole number forgotten": Fault((integer_division, "_quotient_moves"), lambda *_, f=integer_division._quotient_moves: f(*_) - 1, ("division of integers",)),
    "shifts taken at one corner": Fault((shifts, "ends"), lambda x, out, f=shifts.ends: (lambda e: e._replace(high=e.low))(f(x, out)), ("shifts without signs", "shifts")),
    "bits lost on the left forgotten": Fault((shifts, "_keeps_bits"), lambda x, n: jnp.ones(x.low.shape, bool), ("shifts of anything",)),
    "casts of operands and results forgotten": Fault((bilinear, "arithmetic"), lambda *names, f=bilinear.arithmetic: f(*names)._replace(operand=0.0, result=None), ("presets",)),
    "half of what moves a complex factor": Fault((cholesky, "factor_of_one_plus"), halved(cholesky.factor_of_one_plus), ("complex cholesky",)),
}


SLOW = ("complex qr", "complex determinants", "complex lu", "complex cholesky", "igammac", "exponentials of two masks", "division in 8 bits", "division of integers")


@pytest.fixture
def fresh(monkeypatch):
    """No transformed program survives a fault, before or after."""
    _TRANSFORMED.clear()
    monkeypatch.setattr(precjax, "track", functools.cache(precjax.track))
    yield monkeypatch
    _TRANSFORMED.clear()


def row_marks(row, rows):
    """One row per fault, but for those that take seconds to compile."""
    return [pytest.mark.long] * (row in SLOW or row != rows[0])


@pytest.mark.parametrize(
    ("fault", "row"),
    [pytest.param(fault, row, marks=row_marks(row, rows)) for fault, (_, _, rows) in FAULTS.items() for row in rows],
)
def test_fault_turns_the_row_red(fault, row, fresh):
    replaced, by, _ = FAULTS[fault]
    if isinstance(replaced, str):
        fresh.setitem(_RULES, replaced, by)
    else:
        fresh.setattr(*replaced, by)
    with pytest.raises(AssertionError, match="times the error"):
        test_rules.judge(CASES[row], "float32", "worst_case", plainly)


def plainly(case, dtype, seed):
    """Ways to run a row: exact inputs as the table does, nothing vmapped."""
    return ("plain",), test_rules.modes_of(case, dtype, seed)[1]


@pytest.mark.long  # the table of rules runs the same rows
@pytest.mark.parametrize("row", sorted({row for fault in FAULTS.values() for row in fault.rows}))
def test_row_is_green_without_faults(row, fresh):
    test_rules.judge(CASES[row], "float32", "worst_case")
