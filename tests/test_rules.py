"""Every rule against exact arithmetic: one row per primitive, in every format, plain, jitted and vmapped."""

import contextlib
import csv
import functools
import os
import pathlib
import zlib

import cases_arrays
import cases_complex
import cases_division
import cases_elementwise
import cases_kernels
import cases_linalg
import cases_order
import cases_patterns
import cases_shifts
import cases_sparse
import cases_special
import cases_state
import cases_whole
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import FLOATS, Draw, Drawn, errors_of

import precjax
from precjax._rounding import error_dtype, is_inexact
from precjax.testing import check_rule

TABLES = (cases_elementwise, cases_arrays, cases_patterns, cases_complex, cases_division, cases_kernels, cases_linalg, cases_order, cases_shifts, cases_special, cases_sparse, cases_state, cases_whole)
CASES = [case for table in TABLES for case in table.CASES]
CEILINGS = pathlib.Path(__file__).with_name("tightness.csv")
RECORDING = os.environ.get("PRECJAX_RECORD_TIGHTNESS")
# Propagation is nearly the same everywhere; roundings differ between processors and versions, as the table of ulps does.
SLACK = {"rounding": 8.0, "propagation": 2.5}
# By hand: PRECJAX_GRANULARITY=row pytest tests/test_rules.py tests/test_random_programs.py
DEFAULT = precjax.WorstCase(granularity=os.environ.get("PRECJAX_GRANULARITY", "element"))
EVERYTHING = os.environ.get("PRECJAX_ALL_MODES") == "1"
ALL_MODES = ("plain", "jit", "vmap")
# Not the pool whose start is a Python number, which JAX refuses beside float32.
WITH_X64 = [
    case for case in CASES
    if (case.scalar or case in cases_arrays.CASES or "integers" in case.name) and case.name != "product pool"
]  # fmt: skip
# (hardness, pattern of errors) of each draw
DRAWS = [
    (0.4, "zero"), (0.5, "relative"), (0.9, "zero"), (0.9, "relative"), (0.5, "absolute"), (0.0, "relative"), (0.5, "uneven"),
    (-1.0, "uneven"), (-1.0, "relative"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch):
    """check_rule tracks the same function again for every draw: hand it the same compiled one."""
    monkeypatch.setattr(precjax, "track", functools.cache(precjax.track))


def arguments(case, dtype, hardness, pattern, seed):
    """Drawn arguments; `pattern` None leaves them exact."""
    draw = Draw(dtype.partition("+")[0], seed, hardness)
    return tuple(_argument(x, draw.random, pattern) for x in case.inputs(draw))


def _argument(x, random, pattern):
    if not isinstance(x, Drawn):
        return jnp.asarray(x)
    if pattern is None:
        return jnp.asarray(x.value)
    return precjax.Tracked(jnp.asarray(x.value), jnp.asarray(errors_of(x, random, pattern)))


def checked(case, dtype, model, modes, hardness, pattern, seed):
    with precision(dtype):
        return check_rule(case.f, *arguments(case, dtype, hardness, pattern, seed), model=model, modes=modes, points=2)


def precision(dtype):
    return jax.enable_x64(True) if "64" in dtype else contextlib.nullcontext()


def parameters():
    for case in CASES:
        for dtype in case.formats:
            yield pytest.param(case, dtype, DEFAULT, id=f"{case.name}-{dtype}", marks=marks(case, dtype))
        for model in case.models:
            yield pytest.param(case, "float32", model, id=f"{case.name}-float32-{model.contraction}")


def marks(case, dtype):
    """Compiling takes the time: outside the long run, rows take turns between the other formats, every second one of arrays.

    The second run of .ci/run has half of the rows.
    """
    if dtype in case.rare:
        return [pytest.mark.long]
    turns = [other for other in case.formats if other in FLOATS[1:]]
    if not case.scalar and len(case.formats) > 1:
        turns += [None] * len(turns)
    turn = zlib.crc32(case.name.encode())
    if dtype == "float32":
        return [pytest.mark.slow] * (turn // 8 % 2)
    return [pytest.mark.long] if dtype in turns and dtype != turns[turn % len(turns)] else []


def modes_of(case, dtype, seed):
    """(ways to run balls, ways to run exact inputs): each is compiled anew, so in float32 rows take turns."""
    if EVERYTHING:
        return ALL_MODES, ("plain",)
    if not dtype.startswith("float32"):
        return ("plain",), ()
    modes = {0: ALL_MODES, 2: ("plain", "vmap"), 4: ("plain", "vmap")}.get(seed % 8, ("plain",))
    return modes, ("plain",) if seed % 8 in (1, 3) or case.scalar and seed % 8 in (0, 6) else ()


@pytest.mark.parametrize(("case", "dtype", "model"), list(parameters()))
def test_row(case, dtype, model, record_property):
    judge(case, dtype, model)
    judge_tightness(case, dtype, model, record_property)


@pytest.mark.parametrize("case", WITH_X64, ids=lambda case: case.name)
def test_rule_is_traced_with_x64_on(case):
    """Then Python's numbers are float64, and may meet a bound in float32."""
    with precision("float32+x64"):
        jax.eval_shape(precjax.track(case.f), *arguments(case, "float32+x64", 0.0, "relative", 0))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["probabilistic", precjax.Stochastic(samples=2)], ids=["probabilistic", "stochastic"])
@pytest.mark.parametrize("case", [c for c in CASES if "float64" in c.formats + c.rare], ids=lambda case: case.name)
def test_statistical_models_are_traced_in_float64(case, model):
    """What is joined, compared and moved there is float64, but errors of decisions are float32."""
    with precision("float64"):
        out = jax.eval_shape(precjax.track(case.f, model=model), *arguments(case, "float64", 0.0, "relative", 0))
        for value, error in zip(jax.tree.leaves(out.value), jax.tree.leaves(out.error), strict=True):
            assert error.dtype == (error_dtype(value.dtype) if is_inexact(value.dtype) else np.float32)


def judge(case, dtype, model, ways=modes_of):
    """Soundness, over draws from mild to wild."""
    seed = zlib.crc32(f"{case.name}{dtype}".encode())
    modes, modes_of_exact = ways(case, dtype, seed)
    for number, (hardness, pattern) in enumerate(DRAWS):
        checked(case, dtype, model, modes, hardness, pattern, seed + number)
        if modes_of_exact and pattern == "zero":
            checked(case, dtype, model, modes_of_exact, hardness, None, seed + number)


def judge_tightness(case, dtype, model, record_property):
    """Usefulness, on benign inputs."""
    rounded = checked(case, dtype, model, ("plain",), 0.0, "zero", 10)
    moved = checked(case, dtype, model, ("plain",), 0.0, "small", 11)
    if not case.unbounded:
        for run in (rounded, moved):
            assert all(np.isfinite(e).all() for e in jax.tree.leaves(run.tracked.error)), "infinite on benign inputs"
    medians = [median_tightness(run) for run in (rounded, moved)]
    if case.scalar:
        record_property("tightness", medians)
    compare_with_ceilings(f"{case.name}-{dtype}" + ("" if model == DEFAULT else f"-{model.contraction}"), medians)


def compare_with_ceilings(row, medians):
    """tightness.csv holds the medians that were measured; PRECJAX_RECORD_TIGHTNESS=file appends new ones there."""
    if RECORDING:
        with open(RECORDING, "a") as file:
            csv.writer(file).writerow([row, *(f"{m:.4g}" for m in medians)])
        return
    for kind, median, ceiling in zip(("rounding", "propagation"), medians, ceilings()[row], strict=True):
        assert median <= SLACK[kind] * ceiling, f"{kind}: median tightness {median:.3g}, was {ceiling}"


@functools.cache
def ceilings():
    with CEILINGS.open() as file:
        return {row: (float(rounded), float(moved)) for row, rounded, moved in csv.reader(file)}


def median_tightness(run):
    """Over the elements that have an error and a deviation."""
    error = np.concatenate([np.ravel(np.asarray(e, np.float64)) for e in jax.tree.leaves(run.tracked.error)])
    counted = run.tightness[(error > 0) & np.isfinite(run.tightness)]
    return float(np.median(counted)) if counted.size else 1.0
