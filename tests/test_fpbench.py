"""The FPBench programs, in one compiled function per format: every bound holds, and certificates are as good as the truth."""

import contextlib
import re

import fpbench
import jax
import numpy as np
import print_fpbench
import pytest

import precjax
from precjax.testing import check_rule

pytestmark = pytest.mark.slow

POINTS = 6


def inputs(dtype, seed=0):
    """Random arguments of every program, arrays of a few points."""
    random = np.random.default_rng(seed)
    return {
        name: tuple(random.uniform(*limits, POINTS).astype(dtype) for limits in program.ranges)
        for name, program in fpbench.PROGRAMS.items()
    }


def suite(arguments):
    """All programs."""
    return {name: fpbench.PROGRAMS[name].f(*args) for name, args in arguments.items()}


# Certificates are within 5% of the deviation; a bound from one run in the same format may be so many times larger.
CEILINGS = {"certified": 1.05, "worst_case": 10.0}
# References take long to compile, pairs of float64 numbers most of all: the short run has every fifth or twentieth program.
RUNS = [
    ("float32", "worst_case", 1), ("float64", "worst_case", 5), ("float32", "certified", 5), ("float64", "certified", 20),
    *(pytest.param(*whole, 1, marks=pytest.mark.long) for whole in (("float64", "worst_case"), ("float32", "certified"), ("float64", "certified"))),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "model", "stride"), RUNS)
def test_bounds_hold_and_are_tight(dtype, model, stride, record_property):
    arguments = inputs(dtype)
    arguments = {name: arguments[name] for name in list(arguments)[::stride]}
    f = jax.jit(suite) if model == "certified" else suite  # certificates are for the compiled program, bit for bit
    with jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext():
        run = check_rule(f, arguments, model=model, modes=("plain",), points=1)
        assert all(np.isfinite(e).all() for e in jax.tree.leaves(run.tracked.error))
    seen = run.tightness[np.isfinite(run.tightness)]
    record_property("summary", f"{len(arguments)} programs, median tightness {np.median(seen):.4g}, 90% below {np.quantile(seen, 0.9):.4g}")
    assert np.median(seen) <= CEILINGS[model]


def test_shadow_sees_the_same_errors():
    """To first digits: the signed error of the shadow is the size that is certified."""
    arguments = {name: inputs("float32")[name] for name in list(fpbench.PROGRAMS)[::8]}
    shadow, certified = (precjax.track(suite, model=model)(arguments) for model in ("shadow", "certified"))
    for name in arguments:
        np.testing.assert_allclose(np.abs(shadow.error[name]), certified.error[name], rtol=1e-3, atol=1e-12, err_msg=name)


def test_published_bounds():
    """Every fifth program: no violation, tighter than published. Classic cases are enclosed."""
    with jax.enable_x64(True):
        records = print_fpbench.compare(200, names=list(print_fpbench.published())[3::5])
        cases = print_fpbench.classics()
    assert sum(ours <= bound for _, ours, _, _, bound, _ in records) >= 0.9 * len(records)
    assert np.median([ours / seen for _, ours, _, seen, _, _ in records]) < 3
    for name, tracked, true in cases:
        assert abs(float(true - tracked.value.item())) <= float(tracked.error), name


@pytest.mark.long
def test_table_of_published_bounds(capsys):
    """No violation, tighter than the best published bound on 9 of 10 programs, within 2.1 times of the largest error sampled."""
    with jax.enable_x64(True):
        print_fpbench.main()
    tighter, programs, middle = re.search(r"bound: (\d+) of (\d+) .*mean value ([\d.]+),", capsys.readouterr().out).groups()
    assert int(programs) == 25 and int(tighter) >= 0.9 * 25 and float(middle) < 2.1
