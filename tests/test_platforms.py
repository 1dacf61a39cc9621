"""What is documented of other platforms, tried on the CPU: what they may compute, by hand, lies within their bounds."""

import jax
import jax.numpy as jnp
import measure_ulps
import numpy as np
import pytest
from jax import lax
from jax.extend import core as jex

import precjax
from precjax import platforms
from precjax.rules import arithmetic, softmax
from precjax.testing import assert_encloses, exact


@pytest.fixture
def gpu():
    with platforms.assumed("gpu"):
        yield


def product(precision):
    return lambda x, w: jnp.dot(x, w, precision=precision)


def operands():
    draw = np.random.default_rng(0)
    return [jnp.asarray(draw.standard_normal(shape), jnp.float32) for shape in ((4, 16), (16, 3))]


def in_tf32(x, w):
    return product("highest")(*(lax.reduce_precision(v, 8, 10) for v in (x, w)))


@pytest.mark.parametrize(("precision", "enclosed"), [(None, True), ("high", True), ("highest", False)])
def test_tf32(precision, enclosed, gpu):
    x, w = operands()
    error = precjax.track(product(precision))(x, w).error
    truth = exact(product(precision), x, w)
    if enclosed:
        assert np.median(assert_encloses((in_tf32(x, w), error), truth)) < 100
    else:
        with pytest.raises(AssertionError, match="times the error"):
            assert_encloses((in_tf32(x, w), error), truth)


def test_the_cpu_keeps_operands():
    x, w = operands()
    assert float(jnp.max(precjax.track(product(None))(x, w).error)) < 1e-4


def test_convolutions_of_a_gpu_are_refused(gpu):
    with pytest.raises(precjax.MissingRuleError, match="Winograd"):
        precjax.track(lambda x: lax.conv(x, x, (1, 1), "SAME"))(jnp.ones((1, 1, 4, 4)))


# Units in the last place as published (docs.jax.dev, Numerical accuracy): the bound must leave room for them.
PUBLISHED = [
    ("gpu", jnp.exp, 2.0), ("gpu", jnp.tanh, 5.5), ("gpu", lax.logistic, 4.0), ("gpu", lax.erf, 6.5), ("gpu", jnp.sqrt, 1.0),
    ("tpu v6e", jnp.exp, 64.5), ("tpu v2-v5e", jnp.log, 4030.5), ("tpu", jnp.log, 4030.5), ("tpu 7x", jnp.sin, 3.5),
]  # fmt: skip


@pytest.mark.parametrize(("name", "function", "ulps"), PUBLISHED)
def test_results_may_be_as_far_off_as_published(name, function, ulps):
    x = jnp.asarray(np.random.default_rng(0).uniform(0.3, 3, 40), jnp.float32)
    with platforms.assumed(name):
        error = np.asarray(precjax.track(function)(x).error, np.float64)
    right = np.asarray(function(x))
    for side in (-1, 1):
        off = np.float32(right + side * ulps * np.spacing(right).astype(np.float64))
        tightness = assert_encloses((off, error), exact(function, x))
        assert np.median(tightness) < 4


def test_quotients_of_a_gpu():
    """To within two units in the last place, by a power of two as well."""
    x = jnp.asarray(np.random.default_rng(1).uniform(0.3, 3, 40), jnp.float32)
    for f in (lambda x: 1.7 / x, lambda x: x / 3, lambda x: x / 2, lambda x: x**-1, lambda x: x / jnp.sqrt(x + 1)):
        with platforms.assumed("gpu"):
            right, error = precjax.track(f)(x)
        off = np.float32(right + 2 * np.spacing(np.asarray(right)).astype(np.float64))
        assert_encloses((off, error), exact(f, x))


def test_a_softmax_of_a_tpu():
    """Exponentials that are off by 64 units, each its own way."""
    draw = np.random.default_rng(2)
    x = jnp.asarray(draw.standard_normal((20, 8)), jnp.float32)
    with platforms.assumed("tpu v6e", ulps={"div": 2}):
        error = precjax.track(lambda x: jax.nn.softmax(x, -1))(x).error
    e = np.exp(np.asarray(x, np.float64) - np.asarray(x, np.float64).max(-1, keepdims=True))
    e *= 1 + 64.5 * 2.0**-23 * draw.choice([-1, 1], e.shape)
    off = np.float32(e / e.sum(-1, keepdims=True))
    assert 1 <= np.median(assert_encloses((off, error), exact(lambda x: jax.nn.softmax(x, -1), x))) < 20


def terms_of_the_cpu(model, *arguments):
    with platforms.where_measured("cpu"):
        return TERMS_OF(model, *arguments)


TERMS_OF = softmax.terms_of
FAULTS = {
    "units taken for roundoffs": (platforms, "UNITS", 1.0, lambda: test_results_may_be_as_far_off_as_published("tpu 7x", jnp.sin, 3.5)),
    "quotients rounded once": (arithmetic, "quotient_rounding", lambda model, dtype: 1.0, test_quotients_of_a_gpu),
    "exponentials of a softmax as of a CPU": (softmax, "terms_of", terms_of_the_cpu, test_a_softmax_of_a_tpu),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_seen(fault, monkeypatch):
    module, name, by, test = FAULTS[fault]
    monkeypatch.setattr(module, name, by)
    platforms._documented.cache_clear()
    try:
        with pytest.raises(AssertionError, match="times the error"):
            test()
    finally:
        platforms._documented.cache_clear()


REFUSED = {
    "a quotient of a TPU": ("tpu", lambda x: x / 3, r"ulps=\{'div': \.\.\.\}"),
    "a negative power of a TPU": ("tpu", lambda x: x**-2, r"ulps=\{'div': \.\.\.\}"),
    "a power": ("gpu", lambda x: x**1.5, r"ulps=\{'pow': \.\.\.\}"),
    "a factorization": ("gpu", lambda x: jnp.linalg.cholesky(jnp.diag(x)), "other libraries"),
    "a complex number": ("gpu", lambda x: lax.complex(x, x), "complex"),
    "a special function": ("gpu", lax.lgamma, "on CPUs only"),
    "eight bits": ("gpu", lambda x: jnp.dot(x.astype(jnp.float8_e4m3fn), x.astype(jnp.float8_e4m3fn)), "8 bits"),
    "approximate maxima": ("tpu", lambda x: lax.approx_max_k(x, 2), "approximate"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_documented_is_refused(case):
    name, function, reason = REFUSED[case]
    x = jnp.asarray([0.5, 1.5, 2.5], jnp.float32)
    with platforms.assumed(name):
        with pytest.raises(precjax.MissingRuleError, match=reason):
            precjax.track(function)(x)
        assert np.isinf(jax.tree.leaves(precjax.track(function, missing="inf")(x).error)[0].ravel()[0])
    assert np.isfinite(jax.tree.leaves(precjax.track(function)(x).error)[0]).all()


def test_float64_of_a_tpu_is_refused():
    with jax.enable_x64(True), platforms.assumed("tpu", ulps={"div": 2}):
        for model in ("worst_case", "certified"):
            with pytest.raises(precjax.MissingRuleError, match="emulates float64"):
                precjax.track(lambda x: x * 3 + 1, model=model)(np.float64(0.3))


def test_bounds_make_up_for_the_arithmetic_that_computes_them():
    """A reciprocal of the first TPUs errs by 198 units, so bounds that divide by several may be as much too small."""
    for name, least in (("tpu", 198), ("tpu v6e", 2), ("gpu", 2)):
        with platforms.assumed(name):
            assert platforms.current().slack > 16 * least * 2.0**-23
            assert platforms.current().slack < 1e-3
    assert platforms.current().slack == 0


def test_figures_of_the_user():
    """Are taken as they are, and count where rules divide."""
    errors = []
    for ulps in (2, 20):
        with platforms.assumed("tpu", ulps={"div": ulps}):
            errors.append(float(precjax.track(lambda x: x / 3)(jnp.float32(1)).error))
    assert 20 * 2.0**-24 / 3 * 2 < errors[1] < 12 * errors[0]
    for ulps, complaint in (({"div": 0.1}, "at least 0.5"), ({"divide": 2}, "none of .* div, ")):
        with pytest.raises(ValueError, match=complaint):
            platforms.assumed("tpu", ulps=ulps)


def test_an_assumption_ends_with_its_block():
    """What was made inside does not serve outside, nor in an inner jit; a reference on the CPU is the CPU's."""
    inner = jax.jit(lambda x: jnp.exp(x) * 3)
    again = jex.jaxpr_as_fun(jax.make_jaxpr(inner)(1.0))  # the same inner jaxpr each time
    tracked = precjax.track(inner)
    compiled, certified = jax.jit(tracked), precjax.track(inner, model=precjax.Certified(device="cpu"))
    before, proved = float(tracked(1.0).error), float(certified(1.0).radius)
    assert float(precjax.track(again)(1.0).error[0]) == before
    with platforms.assumed("gpu"):
        assert float(compiled(1.0).error) > 1.5 * before and float(tracked(1.0).error) > 1.5 * before
        assert float(precjax.track(again)(1.0).error[0]) > 1.5 * before
        assert float(certified(1.0).radius) == proved
        assert float(precjax.mean_value(inner)(1.0).error) == float(precjax.track(inner)(1.0).error)
    assert float(compiled(1.0).error) == before and platforms.current().name == "cpu"


def test_platforms_without_a_table_are_refused():
    """And told how to go on, as documented or measured; what was measured needs no assumption."""
    for name in ("gpu", "tpu"):
        for way in (f"platforms.assumed\\('{name}'\\)", "measure_ulps.py --write"):
            with pytest.raises(precjax.UnknownPlatformError, match=way):
                platforms.platform(name)
    for name, why in (("cpu", "was measured"), ("metal", "has no documents")):
        with pytest.raises(precjax.UnknownPlatformError, match=why):
            platforms.assumed(name)


def test_a_table_that_was_written_is_read(tmp_path, monkeypatch):
    """In place of the CPU's own."""
    monkeypatch.setattr(platforms, "__file__", str(tmp_path / "__init__.py"))
    measure_ulps.write({"exp": ("value", {"float32": 1.2, "float16": 0.8})})
    rows = platforms._rows(tmp_path / f"{jax.default_backend()}.csv")
    assert rows == {("exp", "float32"): (1.8, "value"), ("exp", "float16"): (1.2, "value")}
    assert not platforms._rows(tmp_path / f"{jax.default_backend()}_complex.csv")
    with pytest.raises(FileExistsError):
        measure_ulps.write({})


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_every_number_of_16_bits_is_within_the_table(dtype):
    x = np.arange(2**16, dtype=np.uint16).view(dtype)
    names = sorted(measure_ulps.FUNCTIONS.keys() - measure_ulps.OF_TWO)
    functions = [getattr(lax, name, None) or getattr(jnp, name) for name in names]
    for name, got in zip(names, jax.jit(lambda x: [f(x) for f in functions])(x), strict=True):
        accuracy = platforms.platform("cpu").accuracy(name, dtype)
        largest, place = measure_ulps.worst(name, dtype, (x,), np.asarray(got), accuracy)
        assert largest <= accuracy.factor, (name, largest, place)
