"""Everything that JAX offers on floats is tracked, or refused for a reason that is written down.

(`test_linalg`, `test_fft` and `test_special_functions` do the same for their modules.)
"""

import importlib
import inspect
import os
import pkgutil
import sys
import zlib

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
import write_coverage
from jax import lax

import precjax
from precjax._interpreter import is_control
from precjax._refusals import REFUSED
from precjax._registry import find
from precjax.testing import Undecidable, check_rule

X = np.float32(np.random.default_rng(0).uniform(0.1, 0.9, (4, 4)))
V = X[0]
KEY = jax.random.key(0)
IDS = np.arange(4)

# What functions are tried on, in turn: the first arguments that they take, and that lead to arithmetic on floats, count.
ARGUMENTS = [
    (X,), (X, X), (X, X, X), (V,), (V, V), (V, V, V), (X, 1), (X, 0, 1), (X, (0, 1)), (X, (2, 8)), (X, (8, 2)), (X, IDS), (V, IDS), (X, IDS, V), (X, 2, 0),
    (IDS, V), (X > 0.5, X), (X > 0.5, X, X), ([V, V],), ([X, X],), (X[0, 0], X, 1.0), (0.0, 1.0), (0.0, 1.0, 5), (1.0, 5.0, 5), ((4, 4), 1.5), (X, np.float32), (V, 3, 1),
    ([V > 0.5, V > 0.2], [V, V]), (lambda x: x * 2, V), (lambda x: x * 2, 0, X), (lambda i, j: i * 1.5 + j, (2, 2)), ("ij,jk->ik", X, X), (V, V, 1), (V, (2,)), (V, 2), (X, 0, X), (X, IDS, IDS, V),
]  # fmt: skip
RANDOM = [(KEY,), (KEY, X), (KEY, V), (KEY, 0.5), (KEY, 0.5, 0.5), (KEY, 3.0), (KEY, V, V), (KEY, V, X @ X.T + np.eye(4, dtype=np.float32)), (KEY, -1.0, 1.0), (KEY, 4, V), (KEY, 5.0, 0.5), (KEY, (3,)), (KEY, 2, (3,))]
MODULES = {"jax.numpy": jnp, "jax.nn": jax.nn, "jax.lax": lax, "jax.random": jax.random, "jax.nn.initializers": jax.nn.initializers}


def functions(module):
    """Public functions by name."""
    for name in sorted(dir(module)):
        f = getattr(module, name)
        if not name.startswith("_") and callable(f) and not inspect.isclass(f) and not isinstance(f, np.dtype):
            yield name, f


def traced(f, attempts):
    """The first arguments that lead to a program with floats in it; None if none do."""
    for args in attempts:
        arrays = [i for i, a in enumerate(args) if not callable(a) and isinstance(a, (np.ndarray, list, jax.Array))]

        def of_arrays(*given, args=args, arrays=arrays):
            every = list(args)
            for i, a in zip(arrays, given, strict=True):
                every[i] = a
            return f(*every)

        given = [args[i] for i in arrays]
        try:
            jaxpr = jax.make_jaxpr(of_arrays)(*given)
        except Exception:  # not a function of these
            continue
        if any(jnp.issubdtype(a.dtype, jnp.inexact) for a in jaxpr.out_avals if hasattr(a, "dtype")):
            return of_arrays, given
    return None


def odd(x):
    return lax.reduce(x, np.float32(0), lambda a, b: a * b + a + b, (0,))


# What needs arguments of its own.
COMPLETED = {
    "jax.numpy": {
        "einsum": lambda: jnp.einsum("ij,jk->ik", X, X), "choose": lambda: jnp.choose(IDS % 2, [V, V]), "compress": lambda: jnp.compress(V > 0.5, X, 0, size=2),
        "cross": lambda: jnp.cross(X[:, :3], X[:, 1:]), "extract": lambda: jnp.extract(X > 0.5, X, size=3, fill_value=0), "fill_diagonal": lambda: jnp.fill_diagonal(X, 1.5, inplace=False),
        "roots": lambda: jnp.roots(V, strip_zeros=False), "searchsorted": lambda: jnp.searchsorted(V, V) * V, "unique": lambda: jnp.unique(V, size=4), "put": lambda: jnp.put(V, IDS, V, inplace=False),
        "put_along_axis": lambda: jnp.put_along_axis(X, X[:, :1].argsort(1), 9.0, 1, inplace=False), "union1d": lambda: jnp.union1d(V, V, size=8), "place": lambda: jnp.place(X, X > 0.5, V, inplace=False),
        "vectorize": lambda: jnp.vectorize(jnp.sin)(X), "digitize": lambda: jnp.digitize(V, V) * V, "broadcast_to": lambda: jnp.broadcast_to(V, (2, 4)), "apply_over_axes": lambda: jnp.apply_over_axes(jnp.sum, X, (0, 1)),
    },
    "jax.lax": {
        "associative_scan": lambda: lax.associative_scan(lambda a, b: a * b, X), "broadcast_in_dim": lambda: lax.broadcast_in_dim(V, (2, 4), (1,)), "concatenate": lambda: lax.concatenate([X, X], 0),
        "cond": lambda: lax.cond(X[0, 0] > 0.5, jnp.sin, jnp.cos, X), "conv": lambda: lax.conv(X[None, None], X[None, None], (1, 1), "SAME"), "conv_general_dilated_patches": lambda: lax.conv_general_dilated_patches(X[None, None], (2, 2), (1, 1), "VALID"),
        "conv_general_dilated": lambda: lax.conv_general_dilated(X[None, None], X[None, None], (1, 1), ((3, 3), (3, 3)), (2, 1), (1, 2)), "conv_transpose": lambda: lax.conv_transpose(X[None, :, :, None], X[:, :, None, None], (2, 2), "VALID"),
        "conv_general_dilated_local": lambda: lax.conv_general_dilated_local(X[None, None], np.ones((2, 4, 3, 3), np.float32), (1, 1), "VALID", (2, 2)), "fori_loop": lambda: lax.fori_loop(0, 3, lambda i, c: c * X, X),
        "conv_with_general_padding": lambda: lax.conv_with_general_padding(X[None, None], X[None, None], (1, 1), ((3, 3), (3, 3)), (1, 1), (1, 1)), "custom_linear_solve": lambda: lax.custom_linear_solve(lambda v: X @ v, V, lambda mv, b: jnp.linalg.solve(X, b)),
        "custom_root": lambda: lax.custom_root(lambda x: x * x - V, V, lambda f, x: lax.fori_loop(0, 3, lambda i, c: (c + V / c) / 2, x), lambda g, y: y / g(jnp.ones_like(y))), "dot_general": lambda: lax.dot_general(X, X, (((1,), (0,)), ((), ()))),
        "dynamic_slice": lambda: lax.dynamic_slice(X, (1, 1), (2, 2)), "dynamic_update_slice": lambda: lax.dynamic_update_slice(X, X[:2], (1, 0)), "dynamic_update_index_in_dim": lambda: lax.dynamic_update_index_in_dim(X, V, 1, 0),
        "dynamic_update_slice_in_dim": lambda: lax.dynamic_update_slice_in_dim(X, X[:2], 1, 0), "fft": lambda: lax.fft(X, "RFFT", (4,)), "gather": lambda: X[IDS, IDS], "index_take": lambda: lax.index_take(X, (IDS,), (0,)), "map": lambda: lax.map(jnp.sin, X),
        "pad": lambda: lax.pad(X, np.float32(0), ((1, 1, 1), (0, 0, 0))), "platform_dependent": lambda: lax.platform_dependent(X, cpu=jnp.sin, default=jnp.cos), "ragged_dot": lambda: lax.ragged_dot(X, X[None], jnp.array([4], jnp.int32)),
        "reduce": lambda: odd(X), "reduce_window": lambda: lax.reduce_window(X, np.float32(1), lax.mul, (2, 2), (1, 1), "SAME"), "rng_uniform": lambda: lax.rng_uniform(np.float32(0), np.float32(1), (3,)), "scan": lambda: lax.scan(lambda c, x: (c * x, c), V, X),
        "scatter": lambda: X.at[IDS].set(X), "scatter_add": lambda: X.at[IDS].add(X), "scatter_sub": lambda: X.at[IDS].subtract(X), "scatter_mul": lambda: X.at[IDS].mul(X), "scatter_min": lambda: X.at[IDS].min(X), "scatter_max": lambda: X.at[IDS].max(X),
        "scatter_apply": lambda: X.at[IDS].apply(jnp.sin), "slice": lambda: lax.slice(X, (1, 1), (3, 3)), "split": lambda: lax.split(X, (2, 2)), "squeeze": lambda: lax.squeeze(X[None], (0,)), "switch": lambda: lax.switch(1, [jnp.sin, jnp.cos], X),
        "while_loop": lambda: lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * X), (0, X)), "complex": lambda: lax.complex(X, X), "real": lambda: lax.real(X + 1j), "imag": lambda: lax.imag(X + 1j),
    },
    "jax.random": {
        "triangular": lambda: jax.random.triangular(KEY, 0.0, 0.5, 1.0), "categorical": lambda: jax.random.categorical(KEY, V) * V[0], "bernoulli": lambda: jax.random.bernoulli(KEY, V) * V, "poisson": lambda: jax.random.poisson(KEY, V) * V,
        "geometric": lambda: jax.random.geometric(KEY, V) * V, "binomial": lambda: jax.random.binomial(KEY, 5.0, V), "multinomial": lambda: jax.random.multinomial(KEY, 5.0, V / V.sum()),
    },
    "jax.nn.initializers": {
        name: lambda name=name: getattr(jax.nn.initializers, name)()(KEY, (4, 4), jnp.float32) for name in (
            "glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "lecun_normal", "lecun_uniform", "normal", "orthogonal", "truncated_normal", "uniform",
        )
    },
}  # fmt: skip
# Refused, as `REFUSED` says why, or by the function's own parameters.
REASONS = {
    "jax.lax": {"pmax", "pmin", "psum", "pmean", "reduce", "scatter_apply", "scaled_dot"},
}


@pytest.mark.parametrize("module", MODULES)
def test_public_functions(module, record_property, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # jax.numpy.save is tried too
    tried, missing = 0, {}
    for name, f in functions(MODULES[module]):
        completed = COMPLETED.get(module, {}).get(name)
        found = (completed, ()) if completed else traced(f, RANDOM if module == "jax.random" else ARGUMENTS)
        if found is None or (completed and not runs(completed)):
            continue
        run, args = found
        tried += 1
        lines = precjax.missing_rules(run)(*args)
        if lines:
            missing[name] = lines
    record_property("summary", f"{module}: {tried - len(missing)} of {tried} public functions on floats are tracked")
    unexplained = {name: lines for name, lines in missing.items() if name not in REASONS.get(module, ())}
    assert not unexplained


MODULES_JUDGED = {**MODULES, "jax.numpy.linalg": jnp.linalg, "jax.numpy.fft": jnp.fft, "jax.scipy.special": jax.scipy.special}
# No exact semantics: bits and eigenvalues of general matrices; signs of eigenvectors are free; decisions on exact zeros.
NOT_JUDGED = {"rng_bit_generator", "scaled_dot", "poly", "polyfit", "roots", "eig", "eigvals", "eigh"}
RELATIVE = (0, 1e-7, 1e-4, 1e-2, 0.2)


def inexact(random, x, dtype):
    """Floats of a format, with a relative error that is drawn for the whole array; anything else as it is."""
    if isinstance(x, list):
        return [inexact(random, y, dtype) for y in x]
    if not jnp.issubdtype(np.result_type(x) if isinstance(x, (float, np.ndarray)) else getattr(x, "dtype", int), np.floating):
        return x
    value, relative = jnp.asarray(x, dtype), random.choice(RELATIVE)
    return precjax.Tracked(value, jnp.abs(value).astype(jnp.float32) * np.float32(relative)) if relative else value


def gradient_of(f):
    """The gradient of a sum of all numbers of the result, by all arguments that are arrays of floats."""

    def gradient(*args):
        places = [i for i, x in enumerate(args) if jnp.issubdtype(getattr(x, "dtype", int), np.floating)]
        leaves = lambda *a: [y for y in jax.tree.leaves(f(*a)) if jnp.issubdtype(jnp.result_type(y), jnp.inexact)]  # noqa: E731
        weights = lambda y: jnp.cos(1.0 + jnp.arange(y.size)).reshape(y.shape)  # noqa: E731
        total = lambda *a: sum(jnp.sum(jnp.real(y).astype(jnp.float32) * weights(y)) for y in leaves(*a))  # noqa: E731
        return jax.grad(total, places)(*args) if places else f(*args)

    return gradient


@pytest.mark.long
@pytest.mark.parametrize("gradient", [False, True], ids=["", "gradient"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("module", MODULES_JUDGED)
def test_public_functions_are_judged(module, dtype, gradient, request, record_property, monkeypatch, tmp_path):
    """Bounds of each function, or of its gradient, enclose the exact results, whatever the errors of the arguments."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(zlib.crc32(request.node.name.encode()) + int(os.environ.get("PRECJAX_SEED", "0")))
    judged, violated, unknown = 0, {}, {}
    for name, f in functions(MODULES_JUDGED[module]):
        found = traced(f, RANDOM if module == "jax.random" else ARGUMENTS)
        if found is None or name in NOT_JUDGED:
            continue
        run, args = found
        args = [inexact(random, x, dtype) for x in args]
        try:
            check_rule(gradient_of(run) if gradient else run, *args, modes=("plain",), points=2)
            judged += 1
        except AssertionError as error:
            violated[name] = error
        except (Undecidable, NotImplementedError, TypeError, ValueError, RuntimeWarning) as error:  # no derivative, no such format, or a constant too large for it
            unknown[name] = f"{type(error).__name__}: {str(error)[:80]}"
    record_property("summary", f"{module}, {dtype}: {judged} functions judged, {len(unknown)} not: {unknown}")
    assert judged and not violated, violated


def runs(f):
    """Whether this JAX has the function."""
    try:
        jax.make_jaxpr(f)()
    except (AttributeError, TypeError):
        return False
    return True


def primitives():
    """Names of every primitive that the installed JAX makes."""
    for module in pkgutil.walk_packages(jax.__path__, "jax."):
        if any(part in module.name for part in ("test", "tools", "collect_profile", "jaxlib", "cloud_tpu", "tpu_custom")):
            continue
        try:
            importlib.import_module(module.name)
        except Exception:  # parts for other machines
            continue
    modules = [module for name, module in sys.modules.items() if name.split(".")[0] == "jax" and module is not None]
    return {x.name for module in modules for x in vars(module).values() if isinstance(x, jax.extend.core.Primitive)}


@pytest.mark.filterwarnings("ignore")
def test_no_primitive_is_in_no_list():
    unknown = {n for n in primitives() if find(n) is None and find(n, True) is None and not is_control(n) and n not in REFUSED}
    assert not sorted(unknown)


def test_the_table_in_the_documentation_is_current():
    """Otherwise: python tests/write_coverage.py."""
    assert (write_coverage.ROOT / "docs" / "coverage.md").read_text() == write_coverage.page()
