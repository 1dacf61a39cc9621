"""Complex numbers in jax.numpy: what is tracked, what is refused and why; Fourier transforms of every kind; every model."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import precjax
from precjax import Tracked
from precjax.testing import assert_encloses, check_rule, exact

RANDOM = np.random.default_rng(0)
Z = jnp.asarray(RANDOM.normal(size=(3, 3)) + 1j * RANDOM.normal(size=(3, 3)), jnp.complex64)
ARGUMENTS = ((Z,), (Z, Z), (Z[0],), (Z[0], Z[0]))

ORDER = "complex numbers are compared by their real parts first, a decision that has no rule"
REFUSED = {
    **dict.fromkeys(
        "amax amin argmax argmin argsort histogram histogram2d histogram_bin_edges histogramdd digitize lexsort max maximum min minimum "
        "nanargmax nanargmin nanmax nanmin ptp searchsorted sort sort_complex logaddexp logaddexp2 minmax polyint".split(),
        ORDER,
    ),
    "i0": "a Bessel function, of real numbers only",
    "arctan2": "of real numbers only",
    "atan2": "of real numbers only",
}


def functions():
    for module, prefix in ((jnp, ""), (jnp.linalg, "linalg."), (jnp.fft, "fft.")):
        for name in sorted(dir(module)):
            f = getattr(module, name)
            if not name.startswith("_") and callable(f) and not isinstance(f, type):
                yield prefix + name, f


def traceable(f):
    """The first arguments that the function takes, or None."""
    for args in ARGUMENTS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                jax.make_jaxpr(f)(*args)
        except Exception:
            continue
        return args
    return None


def test_every_function_of_complex_numbers_is_tracked_or_listed():
    refused = {}
    for name, f in functions():
        args = traceable(f)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            missing = [] if args is None else precjax.missing_rules(f)(*args)
        missing = [place for place in missing if not place.startswith("platform_index")]  # a constant, which is exact
        if missing:
            refused[name] = missing
    unlisted = {name: missing for name, missing in refused.items() if name not in REFUSED}
    assert not unlisted


OF_REAL = ("rfft", "rfft2", "rfftn", "ihfft")
TRANSFORMS = {name: f for name, f in functions() if name.startswith("fft.") and "freq" not in name}


def every_transform(z):
    return {name: f(z.real if name.removeprefix("fft.") in OF_REAL else z) for name, f in TRANSFORMS.items()}


def test_every_transform_is_enclosed():
    tracked = jax.jit(precjax.track(every_transform))(Z)
    assert len(tracked.value) >= 16
    assert all(e.dtype == np.float32 and np.isfinite(e).all() for e in jax.tree.leaves(tracked.error))
    assert_encloses(tracked, exact(every_transform, Z))


GRADIENTS = {
    "abs": lambda z: jnp.abs(z).sum(),
    "norm": jnp.linalg.norm,
    "spectrum": lambda z: (jnp.abs(jnp.fft.fft(z)) ** 2).sum(),
    "real spectrum": lambda z: jnp.abs(jnp.fft.rfft(z.real)).sum() + jnp.fft.irfft(z)[0, 1],
    "phase": lambda z: jnp.angle(jnp.exp(z)).sum() + jnp.log(z * z).real.sum(),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name):
    gradient = jax.grad(GRADIENTS[name])
    value, error = precjax.track(gradient)(Z)
    np.testing.assert_allclose(value, gradient(Z), rtol=1e-5)
    assert np.all(error < 1e-3)


def filtered(z):
    return jnp.fft.ifft(jnp.fft.fft(z) * jnp.exp(-jnp.abs(z))) + jnp.sqrt(z)


@pytest.mark.parametrize("model", ["certified", "probabilistic"])
def test_models(model):
    run = precjax.track(filtered, model=model)
    observed = np.vectorize(lambda v, x: float(abs(v - complex(x))))(np.asarray(filtered(Z)), exact(filtered, Z))
    error = np.asarray(run(Z).error)
    assert np.median(error) < 60 * np.median(observed)
    assert np.all(run(Tracked(Z, 1e-3)).error > error)


def test_certified():
    ball = Tracked(Z[0] + 3, jnp.full(3, 1e-5, jnp.float32))
    assert np.median(check_rule(filtered, Z[0] + 3, model="certified", modes=("jit",)).tightness) < 1.001
    check_rule(filtered, ball, model="certified", modes=("plain",))


def test_a_certificate_is_carried_from_step_to_step():
    def step(z):
        return z * z * 0.5 + 0.1j

    run, state = precjax.track(step, model="certified"), Z[0]
    for _ in range(3):
        state = run(state)
    assert_encloses(tuple(state), exact(lambda z: step(step(step(z))), Z[0]))
    assert not np.any(state.offset)


CUTS = {
    "log": (jnp.log, [-1.0, -2.0], 7.0),
    "sqrt": (jnp.sqrt, [-1.0, -4.0], 4.1),
    "angle": (jnp.angle, [-1.0, -2.0], 7.0),
}


@pytest.mark.parametrize("name", CUTS)
def test_numbers_on_a_cut(name):
    """Exact numbers above it are certain; those below it, or in a disc that meets it, are not."""
    f, x, jump = CUTS[name]
    above = precjax.track(f)(jnp.asarray(x) + 0j)
    below = precjax.track(f)(jnp.conj(jnp.asarray(x) + 0j))
    near = precjax.track(f)(Tracked(jnp.asarray(x) + 0j, 1e-6))
    assert np.all(above.error < 1e-6)
    for run in (below, near):
        assert np.all((run.error > 1.9) & (run.error < jump))
    off = precjax.track(f)(Tracked(jnp.asarray(x) + 1e-3j, 1e-6))
    assert np.all(off.error < 1e-5)


def of_all(z):
    functions = (lax.sign, jnp.sqrt, jnp.arccos, jnp.arccosh, jnp.arcsinh, jnp.angle, lambda z: 1 / z)
    return [f(z) for f in functions]


@pytest.mark.parametrize("relative", [0.0, 1e-5])
def test_ends_of_the_format(relative):
    """Moduli that overflow although the parts do not, parts that underflow under a root, zeros and subnormals on a cut."""
    info = np.finfo(np.float32)
    largest, tiny = float(info.max), float(info.tiny)
    points = [largest * (0.9 - 0.8j), -largest + 1j, 1 + 3j * tiny, 1 - 1j * tiny, 3 * tiny - 2j * tiny, -1.8 + 0.25j * tiny, tiny * 1j - 5]
    z = jnp.asarray(points, jnp.complex64)
    error = np.minimum(relative * np.abs(np.asarray(points)), 1e38)
    check_rule(of_all, Tracked(z, error.astype(np.float32)), modes=("plain",))
