"""Shadow and Certified of complex128 programs, whose references are pairs of complex numbers: judged by exact arithmetic."""

import itertools
from fractions import Fraction

import cases_complex
import cases_order
import flint
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flint import acb, arb
from jax import lax
from test_pairs import assert_rows_certified, drawn, groups, is_ball, mostly_long, together, values_of

import precjax
from precjax import track
from precjax.testing import _sample, exact

CASES = [c for c in [*cases_order.CASES, *cases_complex.CASES] if any(f.startswith("float64") for f in c.formats)]
FACTORIZATIONS = [c for c in CASES if c.name in cases_complex.FACTORIZATIONS]
# Linear algebra takes seconds to compile, each row.
ROWS = [
    *mostly_long(groups([c for c in CASES if c not in FACTORIZATIONS], 6), 16),
    *(pytest.param([c], marks=pytest.mark.long) for c in FACTORIZATIONS),
]
# Arithmetic whose references are bounded in pairs; the bounds of others are those of complex128.
BOUNDED = {
    *cases_complex.PARTS, *cases_complex.BINARY, "complex sums", "complex dot", "complex dot with real", "complex ragged dot",
    "complex conv", "complex moves", "complex loop", *cases_complex.FACTORIZATIONS,
} - {"complex angle", "complex z**3", "complex determinants"}  # fmt: skip


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def number(x):
    return acb(complex(x).real, complex(x).imag)


def assert_observed(value, error, truth, name):
    """The modulus of the error is the exact one to a hundredth, or to the reach of pairs."""
    with flint.ctx.workprec(2000):
        for v, e, t in zip(*map(np.ravel, (value, error, truth)), strict=True):
            if isinstance(t, arb | acb | flint.fmpq) and np.isfinite(v) and acb(t).is_finite():
                deviation = abs(number(v) - acb(t).mid())
                assert (
                    abs(abs(arb(float(e))) - deviation) <= deviation / 100 + abs(acb(t).mid()) * 2.0**-95 + 2.0**-1000
                ), name


@pytest.mark.parametrize("cases", ROWS)
def test_shadow(cases):
    inputs = [values_of(drawn(case, 0.0, "zero", 0)) for case in cases]
    value, error = track(together(cases), model="shadow")(inputs)
    for case, args, v, e in zip(cases, inputs, value, error, strict=True):
        for leaves in zip(*map(jax.tree.leaves, (v, e, exact(case.f, *args))), strict=True):
            assert_observed(*leaves, case.name)


def corner(balls, random):
    errors = jax.tree.map(lambda x: x.error if is_ball(x) else np.zeros(np.shape(x)), balls, is_leaf=is_ball)
    return _sample(values_of(balls), errors, 1, random)[:2][-1]


@pytest.mark.parametrize("cases", ROWS)
def test_certified(cases):
    assert_rows_certified(cases, corner, lambda case: case.name in BOUNDED)


def test_state_is_carried():
    """A certified complex state keeps its bound, step after step."""
    step = track(lambda z: z * (0.6 + 0.8j) + 0.1, model="certified")
    state, exact_state = step(1.0 + 0.5j), acb(1, 0.5)
    for _ in range(5):
        state = step(state)
    with flint.ctx.workprec(300):
        for _ in range(6):
            exact_state = exact_state * number(0.6 + 0.8j) + arb(0.1)
        assert abs(number(state.value) - exact_state) <= arb(float(state.error))
    assert float(state.error) < 1e-14


def test_what_lacks_pairs_is_named():
    with pytest.raises(precjax.MissingRuleError, match="no arithmetic of pairs for 'hessenberg'"):
        track(jax.scipy.linalg.hessenberg, model="shadow")(jnp.eye(2) * (1 + 0j))


def test_order_of_what_float64_cannot_tell_apart():
    """Real parts that differ by 1e-20: Python's order of tuples of fractions, against that of pairs."""
    z, w = jnp.array([1 + 2j, 1, 1 + 1j, 1 + 3j]), jnp.array([3e-20, 1e-20, 2e-20, 1e-20])

    def f(z, w):
        z = z + w
        windows = [lax.reduce_window(z, start + 0j, of, (2,), (1,), "VALID") for of, start in ((lax.max, -jnp.inf), (lax.min, jnp.inf))]
        at = jnp.array([1, 1, 0])
        return jnp.sort(z), lax.cummax(z), lax.cummin(z), *windows, lax.clamp(z[1], z, z[0]), z.at[at].max(z[1:]), z.at[at].mul(z[1:])

    e = [(Fraction(a.real) + Fraction(float(b)), Fraction(a.imag)) for a, b in zip(map(complex, z), w, strict=True)]
    times = lambda x, y: (x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0])  # noqa: E731
    expected = (
        sorted(e), list(itertools.accumulate(e, max)), list(itertools.accumulate(e, min)), list(map(max, e, e[1:])), list(map(min, e, e[1:])),
        [min(max(x, e[1]), e[0]) for x in e], [max(e[0], e[3]), max(e[1], e[1], e[2]), *e[2:]], [times(e[0], e[3]), times(times(e[1], e[1]), e[2]), *e[2:]],
    )  # fmt: skip
    value, error = track(f, model="shadow")(z, w)
    with flint.ctx.workprec(400):
        exactly = lambda x: acb(*(arb(flint.fmpq(y.numerator, y.denominator)) for y in x))  # noqa: E731
        for v, observed, numbers in zip(value, error, expected, strict=True):
            assert_observed(v, observed, list(map(exactly, numbers)), "order")


def test_order_of_what_is_not_finite():
    """As float64 has it."""
    z = jnp.array([1 + 1j, complex(jnp.nan, 1), 2, complex(1, jnp.nan), -jnp.inf, -0.0, 0.0])
    f = lambda z: (jnp.sort(z), jnp.max(z), jnp.min(z), jnp.maximum(z, z[::-1]), lax.cummin(z))  # noqa: E731
    assert all(np.all(error == 0) for error in track(f, model="shadow")(z).error)
