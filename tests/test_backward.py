"""Linear algebra under Probabilistic: as realistic as elsewhere, where bounds for every direction are not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import precjax
from precjax import Probabilistic, Tracked, track

N, DRAWS = 10, 8


def general(random):
    return random.normal(size=(N, N)).astype(np.float32)


def graded(random):
    """Rows of very different sizes: factors are larger than the matrix."""
    return (random.normal(size=(N, N)) * np.logspace(0, -4, N)[:, None]).astype(np.float32)


def definite(random):
    q, _ = np.linalg.qr(random.normal(size=(N, N)))
    return ((q * np.logspace(0, -3, N)) @ q.T).astype(np.float32)


def lower_part(a):
    return jnp.tril(a) + 3 * jnp.eye(N)


FUNCTIONS = {
    "cholesky": (jnp.linalg.cholesky, [definite]),
    "cholesky and two systems": (lambda a: jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(a), True), a[0]), [definite]),
    "lu": (lambda a: jax.lax.linalg.lu(a)[0], [general, definite]),
    "solve": (lambda a: jnp.linalg.solve(a, jnp.ones(N)), [general, graded, definite]),
    "solve from the right": (lambda a: jnp.linalg.solve(a.T, jnp.eye(N)[:, :2]).T, [general]),
    "inv": (jnp.linalg.inv, [general, graded, definite]),
    "triangular": (lambda a: jax.scipy.linalg.solve_triangular(lower_part(a), jnp.eye(N), lower=True, trans=1), [general]),
    "qr": (lambda a: jnp.linalg.qr(a), [general, definite]),
    "eigvalsh": (jnp.linalg.eigvalsh, [general, definite]),
    "svd": (lambda a: jnp.linalg.svd(a, compute_uv=False), [general, graded]),
    "slogdet": (lambda a: jnp.linalg.slogdet(a)[1], [general, definite]),
}
ONE_NUMBER = ("slogdet", "solve", "cholesky and two systems")
# The short run has two with a solver and two without.
SHORT = ("cholesky", "inv", "qr", "eigvalsh")


def rms(x):
    return np.sqrt(np.mean(np.square(np.concatenate([np.ravel(np.asarray(y, np.float64)) for y in jax.tree.leaves(x)]))))


@pytest.mark.parametrize("probes", [None, 4], ids=["marginal", "probes"])
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.long] * (n not in SHORT)) for n in FUNCTIONS])
def test_realistic(name, probes):
    """The median of bound over observed error lies in [1, 12], and nearly every number is covered.

    What is one number, or as wrong as one number (all of a solution lies along one vector), has the bound of few samples.
    """
    f, kinds = FUNCTIONS[name]
    tracked, shadow = (jax.jit(track(f, model=m)) for m in (Probabilistic(probes=probes), "shadow"))
    for kind in kinds:
        random = np.random.default_rng(len(name))
        ratios, covered = [], []
        for _ in range(DRAWS):
            a = kind(random)
            bound, observed = tracked(a).error, jax.tree.map(np.abs, shadow(a).error)
            ratios.append(rms(bound) / rms(observed))
            covered.append(np.mean([np.mean(s <= e) for e, s in zip(*map(jax.tree.leaves, (bound, observed)), strict=True)]))
        assert 1 < np.median(ratios) < (40 if name in ONE_NUMBER else 12), (kind.__name__, ratios)
        assert np.mean(covered) >= 0.97, (kind.__name__, covered)


def test_errors_of_operands_move_results():
    """As larger draws of the same operands move them."""
    random = np.random.default_rng(0)
    a, b, size = definite(random) + np.eye(N, dtype=np.float32), random.normal(size=N).astype(np.float32), 1e-4
    for f in (lambda a, b: jnp.linalg.solve(a, b), lambda a, b: jax.scipy.linalg.solve_triangular(a, b, lower=True)):
        exact = f(a, b)
        moves = [size * random.uniform(-1, 1, (2, N, N)) for _ in range(200)]
        seen = rms([f(a + da, b + db[0]) - exact for da, db in moves])
        for model in (Probabilistic(), Probabilistic(probes=16)):
            error = track(f, model=model)(Tracked(a, np.float32(size)), Tracked(b, np.float32(size))).error
            assert seen < rms(error) < 12 * seen


def test_ties_between_pivots():
    """A column of ones: any pivot will do for a solution, but factors may be others."""
    x = np.linspace(-1, 1, 4, dtype=np.float32)
    a = np.stack([np.ones_like(x), x, x**2, np.exp(x)], axis=1)
    for model in (Probabilistic(), Probabilistic(probes=4)):
        assert track(jnp.linalg.solve, model=model)(a, x).error.max() < 1e-4
        factors, _, permutation = track(jax.lax.linalg.lu, model=model)(precjax.rounded(a)).error
        assert factors[1:].max() > 0.1 and permutation.max() > 0


def test_degenerate_and_singular_matrices():
    """Where derivatives are infinite, bounds are those of the rules, or infinite."""
    with jax.debug_nans(False):
        for model in (Probabilistic(), Probabilistic(probes=2)):
            values, vectors = track(jnp.linalg.eigh, model=model)(2 * np.eye(3, dtype=np.float32)).error
            assert np.all(values < 1e-5) and not np.any(np.isnan(vectors))
            assert np.all(track(jnp.linalg.inv, model=model)(np.ones((2, 2), np.float32)).error == np.inf)


def test_stacks_and_transformations():
    random = np.random.default_rng(1)
    stack = np.stack([definite(random) + np.eye(N, dtype=np.float32) for _ in range(3)])
    f = lambda a: jnp.linalg.solve(a, a[..., :1])[..., 0] + jnp.linalg.cholesky(a)[..., 0]  # noqa: E731
    for model in (Probabilistic(), Probabilistic(probes=2)):
        whole, mapped = jax.jit(track(f, model=model))(stack).error, jax.vmap(track(f, model=model))(stack).error
        assert whole.shape == mapped.shape == (3, N)
        assert 1 / 4 < rms(whole) / rms(mapped) < 4
    slope = jax.grad(lambda a: track(f, model="probabilistic")(a).value.sum())(stack[0])
    np.testing.assert_allclose(slope, jax.grad(lambda a: f(a).sum())(stack[0]), rtol=1e-3, atol=1e-4)
