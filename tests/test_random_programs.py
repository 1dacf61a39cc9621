"""Whole random programs against exact arithmetic. More of them: PRECJAX_PROGRAMS=5000 PRECJAX_SEED=7 pytest -m long."""

import collections
import contextlib
import os

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import programs
import pytest
from hypothesis import strategies as st

import precjax
from precjax.testing import Undecidable, check_rule

SHAPES = ((), (3,), (2, 3))
DTYPES = ("float32",) * 5 + ("float64", "bfloat16", "float16")
ERRORS = (None, 0.0, 1e-7, 1e-5, 1e-3, 0.05)  # None: an exact input
DEFAULT, PARTS, MANY = 40, 4, int(os.environ.get("PRECJAX_PROGRAMS", "2000"))
MODEL = precjax.WorstCase(granularity=os.environ.get("PRECJAX_GRANULARITY", "element"))
SEED = int(os.environ.get("PRECJAX_SEED", "0"))

picks = st.integers(0, programs.RECENT - 1)
instructions = st.builds(programs.Instruction, st.sampled_from(programs.step_names()), picks, picks, picks)


@st.composite
def inputs(draw):
    """(dtype, arrays, relative errors): one array per shape."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    return (
        draw(st.sampled_from(DTYPES)),
        [_array(random, shape) for shape in SHAPES],
        [draw(st.sampled_from(ERRORS)) for _ in SHAPES],
    )


def _array(random, shape):
    """Mostly of size 1, with zeros, ties, powers of two and subnormals among them."""
    x = random.normal(size=shape)
    special = random.choice([0.0, 1.0, -0.5, 2.0, 1e-40, 30.0, 1e-6], size=shape)
    return np.where(random.random(shape) < 0.2, special, x)


def judge(program, drawn, seen):
    dtype, arrays, errors = drawn
    with jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext():
        args = [argument(jnp.asarray(x, dtype), error) for x, error in zip(arrays, errors, strict=True)]

        def f(*arrays):
            return tuple(programs.run(program, arrays, dtype)[-4:])

        try:
            checked = check_rule(f, *args, model=MODEL, modes=("plain",), points=1)
        except Undecidable:
            seen["undecidable"] += 1
            return
        except Exception:
            plain = [x.value if isinstance(x, precjax.Tracked) else x for x in args]
            hypothesis.note(f"{jax.make_jaxpr(f)(*plain)}\n{args}")
            raise
        relative = _relative(checked.tracked)
    finite = np.concatenate([np.isfinite(np.ravel(e)) for e in jax.tree.leaves(checked.tracked.error)])
    seen["programs"] += 1
    seen["outputs"] += finite.size
    seen["infinite"] += finite.size - int(finite.sum())
    seen["with infinite"] += not finite.all()
    seen["useless"] += int((~(relative < 1)).sum())


def argument(x, error):
    if error is None:
        return x
    dtype = np.float64 if x.dtype == np.float64 else np.float32
    return precjax.Tracked(x, jnp.asarray(np.abs(np.asarray(x, dtype)) * dtype(error)))


def _relative(tracked):
    """As `tracked.relative_error`, in NumPy: JAX would compile for every shape."""
    values, errors = ([np.ravel(np.asarray(x, float)) for x in jax.tree.leaves(part)] for part in tracked)
    with np.errstate(all="ignore"):
        relative = np.concatenate(errors) / np.abs(np.concatenate(values))
    return np.where(np.concatenate(errors) == 0, 0.0, relative)


def run_programs(count, seed, record_property):
    seen = collections.Counter()

    @hypothesis.seed(seed)
    @hypothesis.settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(program=st.lists(instructions, min_size=6, max_size=18), drawn=inputs())
    def every_program(program, drawn):
        judge(program, drawn, seen)

    every_program()
    share = seen["infinite"] / max(seen["outputs"], 1)
    useless = seen["useless"] / max(seen["outputs"], 1)
    record_property(
        "summary",
        f"{seen['programs']} programs judged, {seen['undecidable']} undecidable; {share:.1%} of {seen['outputs']} bounds are infinite "
        f"(in {seen['with infinite']} programs), {useless:.1%} infinite or above the value",
    )
    assert share < 0.25


@pytest.mark.parametrize("part", [pytest.param(n, marks=[pytest.mark.slow] * (n > 0)) for n in range(PARTS)])
def test_programs(part, record_property):
    run_programs(DEFAULT // PARTS, part, record_property)


@pytest.mark.long
def test_many_programs(record_property):
    run_programs(MANY, SEED, record_property)
