"""Random programs over the whole table of rows, against exact arithmetic.

More of them: PRECJAX_PROGRAMS=5000 PRECJAX_SEED=7 pytest -m long. A cache of compiled programs (JAX_COMPILATION_CACHE_DIR) makes
further runs many times faster.
"""

import collections
import functools
import os

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import table_programs
import test_rules
from flint import acb, arb
from hypothesis import strategies as st

import precjax
from precjax.testing import Undecidable, _sample, assert_encloses, exact

MANY, WHOLE = int(os.environ.get("PRECJAX_PROGRAMS", "10000")), int(os.environ.get("PRECJAX_WHOLE_PROGRAMS", "1000"))
SEED = int(os.environ.get("PRECJAX_SEED", "0"))
DEFAULT, SOME = 12, 10  # programs of the default run, and the rows that they share
# What only runs without x64 (the identity of its reduction is a Python number).
IMPOSSIBLE = {"product pool"}
ROWS = [(table.__name__[6:], case) for table in test_rules.TABLES for case in table.CASES if case.name not in IMPOSSIBLE]


def programs(rows, longest):
    steps = st.lists(st.tuples(st.sampled_from(rows), st.integers(0, 2**31 - 1)), min_size=3, max_size=longest)
    return st.tuples(steps, st.sampled_from(table_programs.FORMATS), st.sampled_from(table_programs.PATTERNS), st.integers(0, 2**31 - 1))


def judge(program, way, seen):
    """Every result of every step, at one random corner of the balls of the arguments."""
    chosen, dtype, pattern, seed = program
    with jax.enable_x64(True):
        drawn = [table_programs.draw_step(*row, dtype, pattern, number) for row, number in chosen]
        steps, arguments = zip(*drawn, strict=True)
        tracked = way(steps, arguments)
        try:
            truths = exact(lambda *args: table_programs.results(steps, args), *_values(arguments), at=_corner(arguments, seed))
        except Undecidable:
            seen["undecidable"] += 1
            return
        for step, result, truth in zip(steps, tracked, truths, strict=True):
            try:
                assert_encloses(result, truth, step.case.name)
            except Undecidable:
                seen["undecidable"] += 1
                return
            if undefined(truth):
                break  # outside of the step's domain, where the error is infinite: there are no numbers to go on with
    seen["programs"] += 1
    count_infinite(steps, tracked, seen)


def undefined(truth):
    """Whether some exact result is no number."""
    numbers = [x for leaf in jax.tree.leaves(truth) if leaf.dtype == object for x in leaf.flat if isinstance(x, arb | acb)]
    return any(x.is_nan() if isinstance(x, arb) else x.real.is_nan() or x.imag.is_nan() for x in numbers)


def _values(arguments):
    return jax.tree.map(table_programs.value, arguments, is_leaf=table_programs.is_ball)


def _corner(arguments, seed):
    def error(x):
        return x.error if table_programs.is_ball(x) else np.zeros(np.shape(x))

    errors = jax.tree.map(error, arguments, is_leaf=table_programs.is_ball)
    return _sample(_values(arguments), errors, 1, np.random.default_rng(seed))[:2][-1]


def count_infinite(steps, tracked, seen):
    """Of the steps whose predecessors' bounds are all finite, those with an infinite one beside a finite value."""
    for step, result in zip(steps, tracked, strict=True):
        balls = [x for x in table_programs.leaves(result) if jnp.issubdtype(x.value.dtype, jnp.number)]
        seen["steps"] += 1
        if any(not np.isfinite(np.asarray(x.error)).all() for x in balls):
            if all(np.isfinite(np.asarray(x.value)).all() for x in balls):
                seen["infinite"] += 1
                seen[step.case.name] += 1
            return


def run_programs(count, strategy, way, record_property):
    seen = collections.Counter()

    @hypothesis.seed(SEED)
    @hypothesis.settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(program=strategy)
    def every_program(program):
        judge(program, way, seen)

    every_program()
    record_property("summary", f"{seen['programs']} programs judged, {seen['undecidable']} undecidable; {seen['infinite']} of {seen['steps']} steps make a bound infinite")
    assert seen["infinite"] < 0.25 * seen["steps"]


def test_some_programs(record_property):
    """Few rows, so that programs share what is compiled."""
    rows = [ROWS[i] for i in np.random.default_rng(SEED).choice(len(ROWS), SOME, replace=False)]
    run_programs(DEFAULT, programs(rows, 4), table_programs.chained, record_property)


@pytest.mark.long
def test_many_programs(record_property):
    run_programs(MANY, programs(ROWS, 8), table_programs.chained, record_property)


@pytest.mark.long
@pytest.mark.parametrize("reference", ["wider", "pairs"])
def test_certified_programs(reference, record_property):
    way = functools.partial(table_programs.chained, model=precjax.Certified(reference=reference))
    run_programs(WHOLE, programs(ROWS, 5), way, record_property)


@pytest.mark.long
def test_whole_programs(record_property):
    run_programs(WHOLE, programs(ROWS, 5), table_programs.whole, record_property)
