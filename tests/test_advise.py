"""Advice on formats: met when the program is really run in them, and narrow for most of the work."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import precjax
from precjax.analysis._mixed import in_formats
from precjax.demo._networks import CNN

NARROW = ("bfloat16", "float32")


def error_of(results, exact):
    """Root mean squares, error over size."""
    results, (value, error) = np.asarray(results, np.float64), exact
    exact = np.asarray(value, np.float64) - np.asarray(error, np.float64)
    return np.sqrt(np.mean((results - exact) ** 2) / np.mean(exact**2))


def with_dtypes(formats):
    """Flax's own dtype= of every module that has one."""

    def intercept(call, args, kwargs, context):
        module = context.module
        place = "/".join((formats["root"], *module.path))
        if hasattr(module, "dtype") and place in formats:
            object.__setattr__(module, "dtype", jnp.dtype(formats[place]))
        return call(*args, **kwargs)

    return nn.intercept_methods(intercept)


@pytest.mark.long
def test_digits():
    net, images = CNN(), np.float32(np.random.default_rng(0).integers(0, 17, (16, 8, 8, 1)) / 16)
    variables = net.init(jax.random.key(0), images)
    found = precjax.advise(net.apply, target=7.5, formats=NARROW)(variables, images)
    exact = precjax.track(net.apply, model="shadow")(variables, images)
    with with_dtypes(found.formats | {"root": "CNN"}):
        real = net.apply(variables, images)
    assert real.dtype == jnp.bfloat16 and error_of(real, exact) <= found.target == 2**-7.5
    assert found.share("bfloat16") > 0.9 and found.policy == "params=float32,compute=bfloat16,output=float32"
    assert found.error == pytest.approx(error_of(jax.jit(found.apply)(variables, images), exact))
    assert "CNN/2_conv" in str(found).splitlines()[1] and "asked for 0.00552" in str(found)


@pytest.mark.parametrize("blocks", [pytest.param(n, marks=pytest.mark.long) for n in (1, 4)])
def test_transformer(blocks):
    """Some modules stay wide; what is proposed meets the target in Flax's own formats."""
    module = zoo.Transformer(blocks)
    inputs = zoo.normal(1, 2, 8, 16)
    network = zoo.flax_network("Transformer", module, inputs)
    logits = lambda p, x: network.layers(p, x)[-1]  # noqa: E731
    found = precjax.advise(logits, target=7.2, formats=NARROW)(network.parameters, inputs)
    exact = precjax.track(logits, model="shadow")(network.parameters, inputs)
    with with_dtypes(found.formats | {"root": "Transformer"}):
        real = logits(network.parameters, inputs)
    assert 0.5 < found.share("bfloat16") < 1
    assert error_of(real, exact) <= found.target and found.error <= found.target


def two(x):
    with jax.named_scope("smooth"):
        y = jnp.tanh(x @ x)
    with jax.named_scope("cancelling"):
        return (y + 100) - 99.5


def test_simulation_is_what_narrow_programs_compute():
    """Bit for bit, inside a loop."""
    x = zoo.normal(0, 6, 6)
    f = lambda x: jax.lax.fori_loop(0, 3, lambda i, c: jnp.exp(-abs(c)) * c + 1, x)  # noqa: E731
    simulated = jax.jit(in_formats(f, dict.fromkeys(["exp", "neg", "abs", "mul", "add"], jnp.bfloat16), lambda site: site.primitive))(x)
    expected = x.astype(jnp.bfloat16)
    for _ in range(3):
        expected = np.exp(-abs(expected)) * expected + jnp.bfloat16(1)  # NumPy rounds every step
    assert simulated.dtype == np.float32 and np.any(simulated != f(x))
    np.testing.assert_array_equal(simulated, expected.astype(np.float32))


def test_ranges_are_respected():
    """float16 ends at 65504; bfloat16 does not."""
    f = lambda x: jnp.sum(jnp.sqrt(x * 1e3) * 1e-2)  # noqa: E731
    x = jnp.linspace(1, 300, 50)
    found = precjax.advise(f, target=5, formats=("float16", "float32"), by="primitive")(x)
    rows = {row["where"]: row for row in found.rows}
    assert rows["mul"]["reason"] == "range" and rows["mul"]["format"] == "float32" and found.formats["reduce_sum"] == "float16"
    wide = precjax.advise(f, target=5, formats=("float16", "bfloat16", "float32"), by="primitive")(x)
    assert wide.formats["mul"] == "bfloat16" and "its range" in str(wide)


def test_a_prediction_that_fails_is_repaired():
    """Equal numbers are rounded alike, so that their errors add up, as no sum of independent ones does."""
    f = lambda x: jnp.sum(jnp.sqrt(x), keepdims=True)  # noqa: E731
    x = jnp.full(1000, 0.11)
    found = precjax.advise(f, target=10, formats=NARROW, by="primitive")(x)
    assert found.error <= found.target and found.formats["sqrt"] == "float32" and found.share("bfloat16") == 0
    few = precjax.advise(f, target=10, formats=NARROW, by="primitive")(zoo.normal(0, 1000) ** 2)
    assert few.error <= few.target and few.formats["sqrt"] == "bfloat16"


def test_gradients_share_the_format_of_their_module():
    f = jax.grad(lambda x: jnp.sum(two(x) ** 2))
    found = precjax.advise(f, target=6, formats=NARROW)(jnp.eye(4))
    assert set(found.formats) <= {"smooth", "cancelling", "(no module)"}


def test_a_block_that_two_modules_share():
    block = jax.jit(lambda x: jnp.tanh(x) * 2)

    def f(x):
        with jax.named_scope("one"):
            y = block(x)
        with jax.named_scope("two"):
            z = block(x)
        return y * z

    assert set(precjax.advise(f, target=4)(1.0).formats) == {"one", "two", "(no module)"}
    assert {row["where"] for row in precjax.blame(f, by="module")(1.0).rows} == {"one", "two", "(no module)"}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: precjax.advise(3, target=5), TypeError, "must be a function"),
        (lambda: precjax.advise(two, target=0), ValueError, "target=0"),
        (lambda: precjax.advise(two, target=5, by="file"), ValueError, "by='file'"),
        (lambda: precjax.advise(two, target=5, formats="bfloat16"), ValueError, "formats='bfloat16'"),
        (lambda: precjax.advise(two, target=5, formats=("float32", "bfloat16")), ValueError, "widest last"),
        (lambda: precjax.advise(two, target=5, formats=("int8",)), ValueError, "floating"),
        (lambda: precjax.advise(two, target=23, formats=NARROW)(zoo.normal(0, 4, 4)), ValueError, "float32, the widest.*more than"),
        (lambda: precjax.advise(jnp.argmax, target=5)(zoo.normal(0, 4)), ValueError, "no result of f is real"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
