"""Every public function of jax.scipy.special and jax.scipy.stats, and its gradient: is there a rule for all of it?"""

import inspect
import itertools

import jax
import jax.numpy as jnp
import jax.scipy.special as special
import jax.scipy.stats as stats
import numpy as np
import pytest

import precjax
from precjax.testing import check_rule

X = np.array([0.3, 0.8, 1.7, 2.5], np.float32)
SHARES = np.array([0.2, 0.45, 0.6, 0.85], np.float32)
COUNTS = np.array([0, 1, 2, 3], np.int32)

# What parameters of these names usually are; anything else is X.
USUAL = {
    "p": SHARES, "q": SHARES, "k": COUNTS, "n": np.array([4, 5, 6, 7], np.int32), "m": COUNTS, "c": SHARES,
    "lmbda": SHARES, "N": X + 5,
}  # fmt: skip

# (positional arguments, keyword arguments) where names do not say it.
SPECIAL = {
    "special.bernoulli": ((5,), {}),
    "special.bessel_jn": ((X,), {"v": 2}),
    "special.betainc": ((X, X + 1, SHARES), {}),
    "special.erfcinv": ((SHARES,), {}),
    "special.erf_inv": ((SHARES,), {}),
    "special.erfinv": ((SHARES,), {}),
    "special.expit": ((X,), {}),
    "special.expn": ((COUNTS + 1, X), {}),
    "special.factorial": ((X,), {}),
    "special.hyp2f1": ((X, X + 1, X + 2, SHARES), {}),
    "special.kl_div": ((X, X + 1), {}),
    "special.logit": ((SHARES,), {}),
    "special.multigammaln": ((X + 2, 3), {}),
    "special.poch": ((X, X + 1), {}),
    "special.polygamma": ((COUNTS, X), {}),
    "special.rel_entr": ((X, X + 1), {}),
    "special.sph_harm_y": ((np.array([2]), np.array([1]), X[:1], X[:1]), {"n_max": 2}),
    "special.zeta": ((X + 1.5, X), {}),
    "stats.dirichlet.logpdf": ((SHARES / SHARES.sum(), X), {}),
    "stats.dirichlet.pdf": ((SHARES / SHARES.sum(), X), {}),
    "stats.multinomial.logpmf": ((COUNTS, np.int32(6), SHARES / SHARES.sum()), {}),
    "stats.multinomial.pmf": ((COUNTS, np.int32(6), SHARES / SHARES.sum()), {}),
    "stats.multivariate_normal.logpdf": ((X, X, np.eye(4, dtype=np.float32) + 0.1), {}),
    "stats.multivariate_normal.pdf": ((X, X, np.eye(4, dtype=np.float32) + 0.1), {}),
    "stats.beta": ((SHARES, X, X + 1), {}),
    "stats.logistic.isf": ((SHARES,), {}),
    "stats.logistic.ppf": ((SHARES,), {}),
    "stats.pareto": ((X + 1, X), {}),
    "stats.pareto.ppf": ((SHARES, X), {}),
    "stats.truncnorm": ((X, X - 1, X + 1), {}),
    "stats.mode": ((X,), {}),
    "stats.rankdata": ((X,), {}),
}

LEFT_OUT = {"stats.gaussian_kde": "a class", "special.wofz": "its argument is complex"}

# Judged by ball arithmetic, forward and in the gradient, on arguments with errors.
JUDGED = (
    "special.beta", "special.gammaln", "special.i0", "special.i1", "special.gammainc", "special.betainc", "special.expi",
    "special.zeta", "special.polygamma", "special.log_ndtr", "stats.gamma.logpdf", "stats.beta.logpdf", "stats.chi2.sf",
    "stats.poisson.logpmf", "stats.t.logpdf", "stats.vonmises.pdf",
)  # fmt: skip

LONG = {"special.beta", "special.expi", "special.zeta", "stats.beta.logpdf", "stats.chi2.sf"}


def functions():
    """(name, function) of everything that is public."""
    for name, function in vars(special).items():
        if not name.startswith("_") and callable(function):
            yield f"special.{name}", function
    for name, family in vars(stats).items():
        if name.startswith("_"):
            continue
        members = vars(family) if inspect.ismodule(family) else {"": family}
        for member, function in members.items():
            if not member.startswith("_") and callable(function):
                yield f"stats.{name}.{member}".rstrip("."), function


def arguments(name, function):
    """Ordinary arguments, a Python number for what must be static."""
    for key in (name, name.rpartition(".")[0]):
        if key in SPECIAL:
            return SPECIAL[key]
    required = [n for n, p in inspect.signature(function).parameters.items() if p.default is p.empty]
    return tuple(USUAL.get(n, X) for n in required), {}


def traced(name, function):
    """(function of its arrays, these arrays)."""
    positional, keywords = arguments(name, function)
    places = [i for i, x in enumerate(positional) if isinstance(x, np.ndarray | np.generic)]

    def of_arrays(*arrays):
        filled = dict(zip(places, arrays, strict=True))
        return function(*(filled.get(i, x) for i, x in enumerate(positional)), **keywords)

    return of_arrays, [jnp.asarray(positional[i]) for i in places]


def gradient(function, arrays):
    """The gradient in all floating arguments in which JAX has one; None if there are none."""
    inexact = [i for i, x in enumerate(arrays) if jnp.issubdtype(x.dtype, jnp.inexact)]

    def total(*arrays):
        leaves = [x for x in jax.tree.leaves(function(*arrays)) if jnp.issubdtype(x.dtype, jnp.inexact)]
        return sum(jnp.real(x).sum() for x in leaves)

    for count in range(len(inexact), 0, -1):
        for some in itertools.combinations(reversed(inexact), count):
            candidate = jax.grad(total, tuple(sorted(some)))
            try:
                jax.make_jaxpr(candidate)(*arrays)
            except (ValueError, TypeError, NotImplementedError):
                continue
            return candidate
    return None


@pytest.mark.slow
def test_rules_are_complete(record_property):
    """Forward, and in the gradient."""
    rows = {name: traced(name, f) for name, f in functions() if name not in LEFT_OUT}
    derivatives = {name: gradient(*row) for name, row in rows.items()}
    missing = {name: precjax.missing_rules(f)(*arrays) for name, (f, arrays) in rows.items()}
    for name, derivative in derivatives.items():
        if derivative is not None:
            missing[name] += precjax.missing_rules(derivative)(*rows[name][1])
    with_gradient = sum(derivative is not None for derivative in derivatives.values())
    record_property("summary", f"{len(rows)} functions, {with_gradient} with their gradient")
    assert not {name: lines for name, lines in missing.items() if lines}


def with_errors(x):
    return precjax.Tracked(x, jnp.abs(x) * 1e-5) if jnp.issubdtype(x.dtype, jnp.inexact) else x


def parameters():
    """Long ones compile for ten seconds each."""
    for name in JUDGED:
        yield pytest.param(name, marks=[pytest.mark.long] if name in LONG else [])


@pytest.mark.parametrize("name", list(parameters()))
def test_errors_enclose(name):
    f, arrays = traced(name, dict(functions())[name])
    derivative = gradient(f, arrays)
    run = check_rule(lambda *arrays: (f(*arrays), derivative(*arrays)), *map(with_errors, arrays), modes=("jit",), points=1)
    assert np.isfinite(np.concatenate([np.ravel(e) for e in jax.tree.leaves(run.tracked.error[0])])).all()


def test_decisions_near_zero_are_certain():
    """0 + 1, 0 - 0 and an even number's rest are exact, so that what is decided by them is certain."""
    zero = np.zeros(2, np.float32)
    steps = precjax.track(lambda x: (1 - x, x - 0.0, jnp.floor(x - 3) % 2, jnp.floor(x - 4) % 2))(zero)
    assert [e.max() for e in steps.error[:2]] == [0, 0] and steps.error[3].max() == 0
    counts = precjax.track(stats.bernoulli.logpmf)(np.float32([0, 1]), SHARES[:2])
    assert (counts.error < 1e-6).all()
    gamma = precjax.track(special.gamma)(np.float32([-0.5, -1.1, -1.7, -3.5, -4.5]))
    assert (gamma.error < 1e-4 * np.abs(gamma.value)).all()


def test_rests_of_divisions_that_may_underflow():
    """Flushed, or of a subnormal that is read as 0."""
    tiny = np.finfo(np.float32).tiny
    x = np.float32([1.5 * tiny, tiny / 2, 3.0, 2**25 * tiny, 0, 5.5])
    check_rule(jax.lax.rem, x, np.float32([tiny, 2.0, 2 * tiny, 3 * tiny, tiny / 4, 2.0]))
