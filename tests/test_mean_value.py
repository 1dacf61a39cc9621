"""The mean value form: sound where the judge looks, tighter where errors have something in common, red where it is broken."""

import contextlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import programs
import pytest
from jax import lax

import precjax
from precjax import Tracked
from precjax._annotated import Annotated
from precjax._ball import Ball
from precjax.analysis import _local
from precjax.analysis._tapped import TappedProgram
from precjax.models import WorstCase
from precjax.testing import Undecidable, _sample, assert_encloses, exact


def scan(length):
    return lambda x, y, z: lax.scan(lambda c, _: (c - (c * c - jnp.abs(x)) / (c + 1), None), y, None, length=length)[0]


SEVENTH = jnp.float32(1) / 7  # an array, which XLA folds


@jax.custom_jvp
def twice(x):
    return x + x


twice.defjvps(lambda t, out, x: t * 100)  # not its derivative

FORMULAS = {
    "quotient": lambda x, y, z: x / (x + 1),
    "cancelled": lambda x, y, z: (x * y + z) - x * y,
    "product read twice": lambda x, y, z: (lambda p: (p - z) * p + jnp.sin(p))(x * y),
    "himmelblau": lambda x, y, z: (x * x + y - 11) ** 2 + (x + y * y - 7) ** 2,
    "cosine": lambda x, y, z: (1 - jnp.cos(x)) / (x * x + 1),
    "heron": lambda x, y, z: jnp.sqrt(jnp.abs((x + y + z) * (x + y - z) * (x - y + z) * (z + y - x)) + 1),
    "polynomial": lambda x, y, z: x - x**3 / 6 + x**5 / 120 + 1 / (x * x + 3) ** 2,
    "elementary": lambda x, y, z: jnp.tanh(x) * jnp.exp(-y * y) + jnp.log1p(jnp.exp(z)) - lax.logistic(x) + jnp.arctan(z),
    "powers": lambda x, y, z: (jnp.abs(x) + 1) ** y + lax.rsqrt(x * x + 2) - jnp.cbrt(x * x + 1),
    "extremes": lambda x, y, z: jnp.maximum(x * y, z) + jnp.minimum(x, y * z) * jnp.abs(x - y) + jnp.clip(x * z, -0.5, 0.7),
    "jumps": lambda x, y, z: jnp.where(x * 3 > y, x * 2, y - 1) + jnp.floor(x * 1.7) * z,
    "moves": lambda x, y, z: jnp.sum(jnp.stack([x, y, x * y]).reshape(1, 3).T[::-1] * jnp.arange(3.0)[:, None] * z),
    "dot": lambda x, y, z: jnp.dot(jnp.stack([x, y]), jnp.stack([y, x])) - 2 * x * y,
    "casts": lambda x, y, z: (x * y).astype(jnp.bfloat16).astype(x.dtype) * z - x.astype(jnp.float16).astype(x.dtype),
    "custom derivative": lambda x, y, z: twice(x * y) - lax.stop_gradient(x * z),
    "short loop": scan(3),
    "long loop": lambda x, y, z: scan(20)(x, y, z) * x - x,
    "log-sum-exp": lambda x, y, z: jax.nn.logsumexp(jnp.stack([x, y, z])) - x,
    "constants": lambda x, y, z: (x / SEVENTH + jnp.clip(x, y, y)) / (SEVENTH * 3 - 1) - x / 7,
    "integers": lambda x, y, z: x * (y * 3).astype(jnp.int32) / 7 + z,
}  # fmt: skip
POINTS = [(1.7, 1.6, 0.4), (-0.3, 2.5, -1.1), (1e-3, 3.0, 1e3)]


def judge(f, cases, points=2):
    """The bounded results, having asserted that their errors enclose what they, f and jit(f) are off by."""
    bound, compiled, found = precjax.mean_value(f), jax.jit(f), []
    for args in cases:
        values = [x.value if isinstance(x, Tracked) else x for x in args]
        errors = [x.error if isinstance(x, Tracked) else np.zeros(np.shape(x)) for x in args]
        found.append(bound(*args))
        for at in _sample(values, errors, points, np.random.default_rng(0)):
            truth = exact(f, *values, at=at)
            for value in (found[-1].value, f(*values), compiled(*values)):
                assert_encloses((value, found[-1].error), truth)
    return found


def arguments(point, dtype, error):
    """Two balls and an exact number, or three exact ones."""
    args = [jnp.asarray(x, dtype) for x in point]
    wide = "float64" if dtype == "float64" else "float32"
    return args if error is None else [Tracked(args[0], abs(args[0]).astype(wide) * error), args[1], Tracked(args[2], jnp.asarray(error, wide))]


KINDS = [("float32", 1e-3)] + [(d, e) for d in ("float32", "float64", "float16", "bfloat16") for e in (None, 1e-6, 0.1)]
DEAR = {"short loop", "long loop", "heron", "log-sum-exp"}
USUAL = {KINDS[0]: set(FORMULAS) - DEAR, KINDS[1]: set(list(FORMULAS)[::4])}
ROWS = [
    pytest.param(name, *kind, marks=[pytest.mark.long] * (name not in USUAL.get(kind, ())))
    for kind in KINDS for name in FORMULAS
]  # fmt: skip


@pytest.mark.parametrize(("name", "dtype", "error"), ROWS)
def test_formulas(name, dtype, error):
    with jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext():
        judge(FORMULAS[name], [arguments(point, dtype, error) for point in POINTS])


ELEMENTWISE = [
    "neg", "abs", "square", "cube", "tanh", "exp", "exp2", "expm1", "log", "log1p", "log2", "sqrt", "rsqrt", "cbrt", "sin", "cos", "tan", "atan",
    "sigmoid", "asin", "acos", "sinh", "cosh", "asinh", "acosh", "atanh", "erf", "erfc", "erf_inv", "relu", "gelu", "silu", "softplus", "leaky",
    "reciprocal", "third", "scaled", "halved", "floor", "sign", "round", "fraction", "clip", "through_bfloat16", "stop_gradient", "custom_jvp",
    *("add", "sub", "mul", "div", "max", "min", "select", "atan2", "pow", "hypot", "logaddexp", "fma", "inner_jit") * 2,
]  # fmt: skip


def random_program(seed):
    random = np.random.default_rng(seed)
    steps = [programs.Instruction(str(random.choice(ELEMENTWISE)), *map(int, random.integers(0, 5, 3))) for _ in range(random.integers(5, 12))]
    return lambda *numbers: programs.run(steps, numbers, numbers[0].dtype)[-1]


@pytest.mark.parametrize("seed", [pytest.param(n, marks=[pytest.mark.long] * (n >= 2)) for n in range(200)])
def test_random_formulas(seed):
    """Of a step in doubt nothing is claimed: the judge may find that a decision is too close to tell."""
    random = np.random.default_rng(seed)
    dtype, error = ("float32", "float64", "bfloat16", "float16")[seed // 3 % 4], (None, 1e-6, 1e-2)[seed % 3]
    with jax.enable_x64(dtype == "float64"), contextlib.suppress(Undecidable):
        judge(random_program(seed), [arguments(random.normal(size=3), dtype, error) for _ in range(4)], points=1)


def test_errors_with_something_in_common_cancel():
    x = Tracked(jnp.float32(3), jnp.float32(1e-3))
    for f, slope in ((lambda x: x / (x + 1), 1 / 16), (lambda x: (x * x + 1) - x * x, 0), (lambda x: x * x * (4.5 - x), 0)):
        assert float(precjax.mean_value(f)(x).error) <= slope * 1.01e-3 + 1e-4 < float(precjax.track(f)(x).error) / 1.5


def test_never_looser_and_the_same_value():
    """The forward bound counts where the mean value form has none."""
    for name in ("long loop", "jumps"):
        args = arguments(POINTS[1], "float32", 1e-3)
        bounded, tracked = precjax.mean_value(FORMULAS[name])(*args), precjax.track(FORMULAS[name])(*args)
        assert not float(bounded.error) > 1.0001 * float(tracked.error), name
        np.testing.assert_array_almost_equal_nulp(bounded.value, tracked.value, 4)


def test_trees_transformations_and_arrays():
    def f(tree, *, scale):
        return {"a": tree["x"] / (tree["x"] + scale), "n": jnp.arange(2), "b": [tree["x"][0] * 2, scale]}

    tree = {"x": Tracked(jnp.float32([1.0, 2.0, 5.0]), jnp.float32([1e-3, 0.0, 1e-2]))}
    bounded = jax.jit(precjax.mean_value(f))(tree, scale=jnp.float32(1.5))
    one = jax.vmap(precjax.mean_value(lambda x, scale: x / (x + scale)), in_axes=(0, None))(tree["x"], jnp.float32(1.5))
    np.testing.assert_allclose(bounded.error["a"], one.error, rtol=0.01, atol=5e-8)  # arrays may be divided by way of reciprocals
    assert not np.any(bounded.error["n"]) and float(bounded.error["b"][0]) == pytest.approx(2e-3, rel=1e-4) and bounded.error["b"][1] == 0


def test_constants_that_are_cast():
    """0.7 is no bfloat16: JAX would cast it while it traces, and what that rounds were lost."""
    judge(lambda x: 1000 + jnp.clip(x, -0.5, 0.7), [[jnp.bfloat16(3)]])


def test_too_many_results_and_bad_arguments():
    with pytest.raises(ValueError, match="outputs=100"):
        precjax.mean_value(jnp.exp)(jnp.ones(100))
    assert precjax.mean_value(jnp.exp, outputs=100)(jnp.ones(100)).error.shape == (100,)
    with pytest.raises(TypeError, match="must be a function"):
        precjax.mean_value(3)
    with pytest.raises(ValueError, match="non-negative"):
        precjax.mean_value(jnp.exp)(Tracked(jnp.float32(1), -1.0))


# ---------------------------------------------------------------------------------------------------- roundings and faults


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_half_an_ulp_of_the_binade(dtype):
    with jax.enable_x64(True):
        wide = jnp.float64 if dtype == "float64" else jnp.float32
        u = 2.0 ** -precjax._rounding.format_of(jnp.dtype(dtype)).digits
        far = jnp.asarray([1.0, 1.999, 2.0, 3.9, 0.49, 0.0, np.inf], wide)
        np.testing.assert_array_equal(_local.half_ulp(far, dtype), np.array([1, 1, 2, 2, 0.25, 0, np.inf]) * u)


def rounded_product(reach):
    """The local error that is granted to a product just below 2 with so much reach."""
    eqn = jax.make_jaxpr(lambda x, y: x * y)(np.float32(1), np.float32(1)).eqns[0]
    value = np.float32(1.9999)
    ball = lambda error: Ball(Annotated(jnp.asarray(value), jnp.float32(error)), np.dtype("float32"))  # noqa: E731
    return float(_local.local_error(WorstCase(), eqn, [_local.Operand(ball(0.1))] * 2, ball(reach)))


def test_the_binade_is_that_of_whatever_an_execution_may_compute():
    assert rounded_product(0.0) < 1.001 * 2.0**-24 < 2 * 2.0**-24 <= rounded_product(1e-4)


def no_rounding(name):
    local = _local._LOCAL[name]
    return lambda *args: 0.0 * jnp.asarray(local(*args))


def at_the_point(model, zero, radius):
    return model.lift(zero, radius * 0)


HALF_ULP, MODULE = _local.half_ulp, sys.modules[TappedProgram.__module__]
FAULTS = {
    "a product rounds nothing": (_local._LOCAL, "mul", no_rounding("mul"), lambda x: x * 1.1 * 1.3 * 0.7 * 1.9, None),
    "an exponential rounds nothing": (_local._LOCAL, "exp", no_rounding("exp"), lambda x: jnp.exp(x * 0.3) * 2, None),
    "a cast rounds nothing": (_local._LOCAL, "convert_element_type", no_rounding("convert_element_type"), lambda x: (x * 0.3).astype(jnp.bfloat16), None),
    "roundings halved": (_local, "half_ulp", lambda far, dtype: HALF_ULP(far, dtype) / 2, lambda x: x * 1.1 * 1.3, None),
    "derivatives at the point only": (MODULE, "_box", at_the_point, lambda x: 1 / x, 0.5),
    "an undecided select taken for smooth": (TappedProgram, "_choose", lambda *args: None, lambda x: jnp.where(x > 1.2, x, x + 10), 0.5),
    "a step taken for smooth": (_local._LOCAL, "floor", lambda *args: None, lambda x: jnp.floor(x * 3) + x, 0.5),
}  # fmt: skip





def one_number(f, error):
    numbers = np.float32(np.linspace(1.01, 1.9, 8))
    judge(f, [[x] if error is None else [Tracked(x, np.float32(error))] for x in numbers], points=3)


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_seen(fault, monkeypatch):
    where, name, by, f, error = FAULTS[fault]
    one_number(f, error)
    (monkeypatch.setitem if isinstance(where, dict) else monkeypatch.setattr)(where, name, by)
    with pytest.raises(AssertionError, match="times the error"):
        one_number(f, error)
