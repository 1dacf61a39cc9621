"""The references of float64 programs against their own bounds: nothing of float64 hides what pairs get wrong."""

import cases_elementwise
import flint
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flint import arb
from test_pairs import ARRAYS, DRAWS, SCALARS, corner, drawn, groups, is_ball, mostly_long, together, values_of

from precjax import Certified
from precjax._interpreter import interpret
from precjax.doubledouble import DD
from precjax.models import _pair_rules
from precjax.models._paired import pair
from precjax.testing import exact


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True), flint.ctx.workprec(4096):
        yield


def reference(f, args):
    """A compiled function of flat arguments that gives pairs and bounds."""
    model, closed = Certified().paired(), jax.make_jaxpr(f)(*values_of(args))

    def run(flat):
        results = interpret(model, closed, [model.enter(x) if is_ball(x) else model.given(x) for x in flat])
        return [(pair(x), model.error(x)) for x in results]

    return jax.jit(run)


def assert_bounded(results, truths):
    for (x, bounds), truth in zip(results, jax.tree.leaves(truths), strict=True):
        high, low = x if isinstance(x, DD) else (x, np.zeros(np.shape(x)))
        for h, l, b, t in zip(*map(np.ravel, (high, low, bounds, truth)), strict=True):  # noqa: E741
            if b < np.inf:
                distance = abs(arb(h.item()) + arb(float(l)) - arb(t)) if np.isfinite(h) else arb(float(h) != t)
                assert not distance > arb(float(b)), (h, l, b, t)


ROWS = groups(
    [
        *SCALARS,
        *ARRAYS,
        *(c for c in cases_elementwise.CASES if c.name in ("rem", "pow of integers", "int32 to float64")),
    ],
    8,
)


@pytest.mark.parametrize("cases", mostly_long(ROWS, 5))
def test_rows(cases):
    f = lambda *inputs: together(cases)(inputs)  # noqa: E731
    flat = lambda inputs: jax.tree.leaves(inputs, is_leaf=is_ball)  # noqa: E731
    run = None
    for draw, (hardness, pattern) in enumerate(DRAWS):
        inputs = [drawn(case, hardness, "small" if pattern == "relative" else pattern, draw) for case in cases]
        run = run or reference(f, inputs)
        values = values_of(inputs)
        ends = [e for balls in inputs for e in corner(balls, np.random.default_rng(draw))]
        for at in [None] if pattern == "zero" else [None, ends]:
            assert_bounded(run(flat(inputs)), exact(f, *values, at=at))


def test_too_small_a_unit_roundoff_is_seen(monkeypatch):
    monkeypatch.setattr(_pair_rules, "UNIT", 2.0**-109)
    x = jnp.asarray(np.random.default_rng(0).normal(size=300))
    f = lambda x: x / 3 * x / 7  # noqa: E731
    with pytest.raises(AssertionError):
        assert_bounded(reference(f, [x])([x]), exact(f, x))
