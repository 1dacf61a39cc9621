"""Incomplete gamma and beta functions of pairs against their stated bounds, and as references of float64 programs."""

import flint
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flint import arb
from jax import lax
from test_doubledouble import arrays, exactly, full, reachable, spread, worst
from test_pairs import assert_certified, assert_observed

from precjax import doubledouble as dd
from precjax import track
from precjax._judge import elementary as judge
from precjax._judge.number import Undecidable, lift
from precjax.doubledouble import BOUNDS, DD, _beta, _incomplete, _incomplete_slope
from precjax.testing import exact


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True), flint.ctx.workprec(3000):  # what cancels in arb's functions, and more
        yield


def positive(low, high, n, seed=0):
    return spread(low, high, n, seed, signs=(1,))


A, B = positive(-10, 10, 200), positive(-10, 10, 200, 1)
GAMMA = (
    full([A, positive(-10, 10, 100), positive(-99, -10, 20), [1.0, 2, 5, 1e5, 4e6]]),
    full([A * (1 + spread(-7, 0, 200, seed=2)), positive(-12, 12, 100, 5), positive(-9, 5, 20), [1.0, 3, 2, 1.001e5, 4e6]], 1),
)
SLOPE = tuple(DD(*(v[(GAMMA[0].hi < 300) & (GAMMA[1].hi < 300)][:230:3] for v in x)) for x in GAMMA)  # arb's take long
MIDDLE = np.random.default_rng(2).beta(A, B).clip(1e-290, 1 - 2.0**-53)
BETA = (
    full([A, A[:100], [4e3, 4e3, 1.0, 2.0**-30]]),
    full([B, B[:100], [3.9e3, 1e-3, 1.0, 0.5]], 1),
    full([MIDDLE, 2.0 ** -positive(-9, 6, 50), 1 - 2.0 ** -positive(-5, 5.7, 50), [0.5, 0.99, 0.3, 0.7]], 2),
)
ROWS = {"igamma": GAMMA, "igammac": GAMMA, "igamma_grad_a": SLOPE, "regularized_incomplete_beta": BETA}


# What the rules allow, over `units` of the table: the terms of an exponent, as far as pairs of them err, and what is
# iterated, of the function that is not subtracted from 1; and that subtraction.


def of_gamma(name, size, units, a, x):
    beyond = x > a.max(1)
    direct = size if beyond == (name == "igammac") else 1 - size
    exponent = 72 * a * abs(x.log()) + 7 * x + 6310 * (abs(a.lgamma()) + 1)
    return direct * (a.sqrt() + 1 + (24 / x if beyond else 0) + exponent / units) + 4 * size / units


def of_slope(name, size, units, a, x):
    tail = ((a * x.log() - x - a.lgamma()).exp() * (1 + 1 / a) / (1 + abs(x - a))).min(arb(1))
    exponent = a * abs(x.log()) + x + a * (1 + a).log() + abs(a.log()) + 9
    return tail * (exponent * (abs(x.log() - a.digamma()) + (1 + a).rsqrt()) + abs(x.log()) + abs(a.log()) + 1 / a)


def of_beta(name, size, units, a, b, x):
    direct = size if x < (a + 1) / (a + b + 2) else 1 - size
    gammas = sum(abs(t.lgamma()) + 1 for t in (a, b, a + b)) * 5820
    powers = 75 * (a * abs(x.log()) + b * abs((1 - x).log())) + 8 * (a + b) * (1 + a + b).log() + 100
    return direct * (1 + (gammas + powers) / units) + 4 * size / units


SCALES = {"igamma_grad_a": of_slope, "regularized_incomplete_beta": of_beta}


def truth(name, numbers):
    """What the judge knows: nothing at a point where arb's beta function has no digits."""
    try:
        return getattr(judge, name)(*numbers)
    except Undecidable:
        assert name == "regularized_incomplete_beta"
        return arb(0, 1e9)


def ratio_to_bound(name, f):
    """The largest error over its bound."""
    bound, inputs = BOUNDS[name], ROWS[name]
    operands = list(zip(*map(exactly, inputs), strict=True))
    truths = [truth(name, reachable(numbers, bound)) for numbers in operands]
    scale = SCALES.get(name, of_gamma)
    scales = [scale(name, abs(t), bound.units, *x) for x, t in zip(operands, truths, strict=True)]
    return worst(f(*map(arrays, inputs)), truths, bound.units, scales)[0]


def mostly_long(names, short):
    return [pytest.param(name, marks=[pytest.mark.long] * (name not in short)) for name in names]


@pytest.mark.parametrize("name", mostly_long(ROWS, ("igammac",)))
def test_bounds(name, record_property):
    """They hold, and what is computed of them is never too large."""
    assert np.all(np.isfinite(np.asarray(getattr(dd, name)(*map(arrays, ROWS[name])).hi)))
    ratio = ratio_to_bound(name, getattr(dd, name))
    record_property("summary", f"error / bound {ratio:.2f}")
    assert ratio <= 1


def cut(summed):
    """Half of the terms, and no word of the rest."""

    def half(step, start, counts):
        term, *others = summed(step, start, lax.floor(counts / 2))
        return jax.tree.unflatten(jax.tree.structure(start), jax.tree.leaves([jax.tree.map(jnp.zeros_like, term), *others]))

    return half


def rough(level):
    """Coefficients with high parts alone."""

    def without(*args):
        found = level(*args)
        return found._replace(b=dd.from_float(found.b.hi))

    return without


def rough_legendre(*args, legendre=_incomplete.legendre):
    level, start = legendre(*args)
    return rough(level), start


FAULTS = {
    "igamma": (_incomplete, "summed", cut(_incomplete.summed)),
    "igammac": (_incomplete, "legendre", rough_legendre),
    "igamma_grad_a": (_incomplete_slope, "summed", cut(_incomplete.summed)),
    "igamma_grad_a far out": (_incomplete_slope, "legendre", rough_legendre),
    "regularized_incomplete_beta": (_beta, "_level", rough(_beta._level)),
}


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen(fault, monkeypatch):
    name, (module, attribute, by) = fault.split()[0], FAULTS[fault]
    monkeypatch.setattr(module, attribute, by)
    f = jax.jit(lambda *args: getattr(dd, name).__wrapped__(*args))
    try:
        assert ratio_to_bound(name, f) > 1
    finally:
        jax.clear_caches()


EDGES = [0.0, 1.0, -1.0, 0.5, np.inf, -np.inf, np.nan]


@pytest.mark.long
@pytest.mark.parametrize("name", ROWS)
def test_edges(name):
    """As the judge says: values at 0 and at infinity, NaN outside."""
    points = [np.ravel(v) for v in np.meshgrid(*[EDGES] * len(ROWS[name]))]
    out = np.asarray(dd.to_float(getattr(dd, name)(*map(dd.from_float, points))))
    for value, *at in zip(out, *points, strict=True):
        expected = float(arb(getattr(judge, name)(*np.ravel(lift(np.array(at))))))
        np.testing.assert_allclose(value, expected, rtol=1e-15, err_msg=str(at))


FUNCTIONS = {
    "igamma": (lax.igamma, [3.3, 0.2, 900.0], [2.5, 4.0, 950.0]),
    "igammac": (lax.igammac, [3.3, 0.2, 900.0], [2.5, 4.0, 950.0]),
    "igamma_grad_a": (lax.igamma_grad_a, [3.3, 0.2, 200.0], [2.5, 4.0, 210.0]),
    "betainc": (lax.betainc, [3.3, 0.2, 900.0], [0.7, 4.0, 950.0], [0.8, 0.01, 0.49]),
}


@pytest.mark.long
@pytest.mark.parametrize("name", FUNCTIONS)
def test_references(name):
    """Under jit and vmap."""
    f, *args = FUNCTIONS[name]
    args = [jnp.array(x) for x in args]
    for transform in (jax.jit, lambda t: jax.vmap(t)):
        assert_observed(transform(track(f, model="shadow"))(*args), exact(f, *args), name)
        assert_certified(f, transform(track(f, model="certified"))(*args), *args)
