"""Shadow and Certified in float64, whose reference is in pairs of float64 numbers: judged by exact arithmetic."""

import cases_arrays
import cases_elementwise
import flint
import jax
import jax.numpy as jnp
import numpy as np
import precjax
import pytest
from cases import Draw, Drawn
from flint import arb
from jax import lax
from precjax import Shadow, Tracked, track
from precjax.testing import exact

RANDOM = np.random.default_rng(1)
X = np.array([1.0, -2.0, 0.3])


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def assert_observed(tracked, truths, name=""):
    """Errors are the exact ones to a hundredth, or to the reach of pairs."""
    with flint.ctx.workprec(2000):
        for value, error, truth in zip(*map(jax.tree.leaves, (*tracked, truths)), strict=True):
            assert np.shape(error) == np.shape(value) == np.shape(truth)
            for v, e, t in zip(np.ravel(value), np.ravel(error), np.ravel(truth), strict=True):
                v, e, t = arb(float(v)), arb(float(e)), arb(t).mid()
                if v.is_finite() and t.is_finite():
                    assert abs(e - (v - t)) <= abs(v - t) / 100 + abs(t) * 2.0**-95 + 2.0**-1000, name


def arguments(case, hardness):
    draw = Draw("float64", 0, hardness)
    return [jnp.asarray(x.value if isinstance(x, Drawn) else x) for x in case.inputs(draw)]


def groups(cases, size):
    return [cases[i : i + size] for i in range(0, len(cases), size)]


# ------------------------------------------------------------------------------------------------------------- observed

WITHOUT_PAIRS = {"erf", "erfc", "erf_inv", "nextafter"}
SCALARS = [c for c in cases_elementwise.CASES if c.scalar and c.name not in WITHOUT_PAIRS]
ARRAYS = [
    c for c in cases_arrays.CASES
    if c.name in (
        "reduce_sum", "argmax", "sort with payload", "top_k", "cumsum reversed", "cumlogsumexp", "reduce_prod", "pad", "take filled",
        "scatter-add", "gradient of gather", "dynamic_update_slice", "batched dot", "conv gradient", "average pool", "max pool padded",
        "gradient of overlapping max pool", "gradient of min pool",
    )
]  # fmt: skip


@pytest.mark.parametrize("cases", [SCALARS[::4], ARRAYS], ids=["scalars", "arrays"])
def test_shadow_of_rows(cases):
    inputs = [arguments(case, 0.0) for case in cases]
    f = lambda inputs: [case.f(*args) for case, args in zip(cases, inputs, strict=True)]  # noqa: E731
    value, error = track(f, model="shadow")(inputs)
    for case, args, v, e in zip(cases, inputs, value, error, strict=True):
        assert_observed((v, e), exact(case.f, *args), case.name)
