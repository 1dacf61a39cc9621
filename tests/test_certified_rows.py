"""Certified: rows of the table and random programs, judged by exact arithmetic, with references of both kinds."""

import itertools

import cases_elementwise
import jax
import jax.numpy as jnp
import numpy as np
import programs
import pytest
from cases import Draw, Drawn, errors_of
from test_certified import PAIRS, assert_is_plain

import precjax
from precjax import Tracked, track
from precjax.testing import Undecidable, assert_encloses, exact

ROWS = [case for case in cases_elementwise.CASES if case.scalar]
TOGETHER = 6  # rows in one program: compiling takes the time
GROUPS = [ROWS[i : i + TOGETHER] for i in range(0, len(ROWS), TOGETHER)]
# (hardness, pattern of errors): benign roundings, wild roundings, wild balls
DRAWS = [(0.0, "zero"), (0.9, "zero"), (0.5, "relative")]


def turns():
    """Outside the long run, formats take turns, float32 every second time."""
    for number, dtype in itertools.product(range(len(GROUPS)), ("float32", "bfloat16", "float16")):
        skipped = dtype != ("float32", "bfloat16", "float32", "float16")[number % 4]
        yield pytest.param(number, dtype, marks=[pytest.mark.long] * skipped)


@pytest.mark.parametrize(("number", "dtype"), list(turns()))
def test_rows(number, dtype, record_property):
    assert_certified(GROUPS[number], dtype, "certified", record_property)


@pytest.mark.parametrize(
    ("number", "dtype"),
    [(2, "float32"), (5, "bfloat16"), *(pytest.param(n, "float32", marks=pytest.mark.long) for n in range(len(GROUPS)) if n != 2)],
)
def test_rows_in_pairs(number, dtype, record_property):
    assert_certified(GROUPS[number], dtype, PAIRS, record_property)


def assert_certified(cases, dtype, model, record_property):
    def f(arguments):
        return [case.f(*args) for case, args in zip(cases, arguments, strict=True)]

    tracked = track(f, model=model)
    for draw, (hardness, pattern) in enumerate(DRAWS):
        arguments = [drawn(case, dtype, hardness, pattern, draw) for case in cases]
        values = jax.tree.map(value_of, arguments, is_leaf=is_ball)
        out = tracked(arguments)
        assert_is_plain(f, out, values)
        for case, args, value, error in zip(cases, arguments, *out, strict=True):
            tightness = judge(case, args, (value, error), draw)
            if draw == 0 and case.name != "inputs with NaN":
                record_property("certified", float(np.median(tightness)))
                assert np.median(tightness) < 1.05, case.name


def is_ball(x):
    return isinstance(x, Tracked)


def value_of(x):
    return x.value if is_ball(x) else x


def drawn(case, dtype, hardness, pattern, seed):
    draw = Draw(dtype, seed, hardness)
    return tuple(
        Tracked(jnp.asarray(x.value), jnp.asarray(errors_of(x, draw.random, pattern))) if isinstance(x, Drawn) else jnp.asarray(x)
        for x in case.inputs(draw)
    )


def judge(case, args, out, seed):
    """At the centre of the input balls, and at a random corner; the tightness where there is an error and a deviation."""
    values = jax.tree.map(value_of, args, is_leaf=is_ball)
    points = [None, [corner(x, np.random.default_rng(seed)) for x in args]]
    tightness = [assert_encloses(out, exact(case.f, *values, at=at), case.name) for at in points][0]
    counted = tightness[np.isfinite(tightness) & (np.ravel(out[1]) > 0)]
    return counted if counted.size else np.ones(1)


def corner(x, random):
    if not is_ball(x):
        return None
    wide = [np.asarray(part).astype(object) for part in x]
    ends = random.choice([-1, 1], wide[0].shape)
    return np.frompyfunc(lambda v, e, end: v if not np.isfinite(v) else precjax.testing.fmpq(*float(v).as_integer_ratio())
                         + int(end) * precjax.testing.fmpq(*float(e).as_integer_ratio()), 3, 1)(*wide, ends)  # fmt: skip


@pytest.mark.parametrize(
    ("seed", "dtype", "model"),
    [(0, "float32", "certified"), (1, "bfloat16", "certified"), (2, "float16", "certified"), (3, "float32", "certified"),
     (4, "float32", PAIRS), pytest.param(5, "bfloat16", PAIRS, marks=pytest.mark.long)],
)  # fmt: skip
def test_random_programs(seed, dtype, model):
    """Eager, and as one program with the plain one."""
    random = np.random.default_rng(seed)
    names = programs.step_names()
    steps = [programs.Instruction(names[random.integers(len(names))], *random.integers(0, programs.RECENT, 3)) for _ in range(12)]
    arrays = [jnp.asarray(random.normal(size=shape), dtype) for shape in ((), (3,), (2, 3))]

    def f(*arrays):
        return tuple(programs.run(steps, arrays, dtype)[-4:])

    tracked = track(f, model=model)
    out = tracked(*arrays)
    assert_is_plain(f, out, *arrays)
    try:
        truth = exact(f, *arrays)
    except Undecidable:
        return
    assert_encloses(tuple(out), truth)
    assert_encloses(tuple(jax.jit(tracked)(*arrays)), truth)
