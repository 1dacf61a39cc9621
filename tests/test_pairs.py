"""Shadow and Certified in float64, whose reference is in pairs of float64 numbers: judged by exact arithmetic."""

import cases_arrays
import cases_elementwise
import cases_special
import flint
import jax
import jax.numpy as jnp
import numpy as np
import optax
import programs
import pytest
from cases import Draw, Drawn, errors_of
from flint import arb
from jax import lax

import precjax
from precjax import Certified, Tracked, track
from precjax.testing import Undecidable, assert_encloses, exact

RANDOM = np.random.default_rng(1)
X = np.array([1.0, -2.0, 0.3])


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def normal(*shape):
    return RANDOM.normal(size=shape)


def assert_observed(tracked, truths, name=""):
    """Errors are the exact ones to a hundredth, or to the reach of pairs."""
    with flint.ctx.workprec(2000):
        for value, error, truth in zip(*map(jax.tree.leaves, (*tracked, truths)), strict=True):
            assert np.shape(error) == np.shape(value) == np.shape(truth)
            for v, e, t in zip(np.ravel(value), np.ravel(error), np.ravel(truth), strict=True):
                v, e, t = arb(float(v)), arb(float(e)), arb(t).mid()
                if v.is_finite() and t.is_finite():
                    assert abs(e - (v - t)) <= abs(v - t) / 100 + abs(t) * 2.0**-95 + 2.0**-1000, name


def assert_certified(f, out, *args, tightness=1.05):
    """Encloses; on median, in every leaf, tight."""
    for value, error, truth in zip(*map(jax.tree.leaves, (*out, exact(f, *args))), strict=True):
        ratios = assert_encloses((value, error), truth)
        known = ratios[np.isfinite(ratios)]
        assert not known.size or np.median(known) <= tightness


def assert_is_plain(f, out, *args):
    jax.tree.map(np.testing.assert_array_equal, out.value, jax.jit(f)(*args))


def groups(cases, size):
    return [cases[i : i + size] for i in range(0, len(cases), size)]


def mostly_long(items, every):
    """One in so many belongs to the short run."""
    return [pytest.param(x, marks=[pytest.mark.long] * (i % every > 0)) for i, x in enumerate(items)]


# --------------------------------------------------------------------------------------------------- rows of primitives

SEVERAL = ("zeta", "polygamma", "igamma", "igammac", "igamma_grad_a", "betainc", "igamma of large numbers")
SCALARS = [c for c in [*cases_elementwise.CASES, *cases_special.CASES] if c.scalar or c.name in SEVERAL]
ARRAYS = [
    c for c in cases_arrays.CASES
    if c.name in (
        "reduce_sum", "argmax", "sort with payload", "top_k", "cumsum reversed", "cumlogsumexp", "reduce_prod", "pad", "take filled",
        "scatter-add", "gradient of gather", "dynamic_update_slice", "batched dot", "ragged dot", "ragged rows of a batch", "ragged terms",
        "ragged batch", "gradient of ragged dot", "conv gradient", "average pool", "max pool padded",
        "gradient of overlapping max pool", "gradient of min pool", "tangent of max pool", "tangent of min pool", "product pool",
        "three reductions", "approx_max_k", "approx_min_k", "scatter-mul", "scatter-max", "scatter-min dropped",
    )
]  # fmt: skip
DRAWS = [(0.0, "zero"), (0.9, "zero"), (0.5, "relative")]  # benign roundings, wild roundings, wild balls


def together(cases):
    return lambda inputs: [case.f(*args) for case, args in zip(cases, inputs, strict=True)]


def drawn(case, hardness, pattern, seed):
    draw = Draw("float64", seed, hardness)
    return tuple(
        Tracked(jnp.asarray(x.value), jnp.asarray(errors_of(x, draw.random, pattern)))
        if isinstance(x, Drawn)
        else jnp.asarray(x)
        for x in case.inputs(draw)
    )


def values_of(tree):
    return jax.tree.map(lambda x: x.value if is_ball(x) else x, tree, is_leaf=is_ball)


def is_ball(x):
    return isinstance(x, Tracked)


@pytest.mark.parametrize("cases", mostly_long(groups(SCALARS, 10), 24))
def test_shadow_of_scalars(cases):
    assert_rows_observed(cases)


@pytest.mark.parametrize("cases", mostly_long(groups(ARRAYS[::2] + ARRAYS[1::2], 9), 2))
def test_shadow_of_arrays(cases):
    assert_rows_observed(cases)


def assert_rows_observed(cases):
    inputs = [values_of(drawn(case, 0.0, "zero", 0)) for case in cases]
    value, error = track(together(cases), model="shadow")(inputs)
    for case, args, v, e in zip(cases, inputs, value, error, strict=True):
        assert_observed((v, e), exact(case.f, *args), case.name)


@pytest.mark.parametrize("cases", mostly_long(groups(SCALARS, 10), 12))
def test_certified_of_scalars(cases):
    assert_rows_certified(cases)


@pytest.mark.parametrize("cases", mostly_long(groups(ARRAYS[1::2] + ARRAYS[::2], 9), 2))
def test_certified_of_arrays(cases):
    assert_rows_certified(cases)


def assert_rows_certified(cases, ends=None, tight=lambda case: True):
    """`ends` finds corners of balls; `tight` says whether the reference of a case is bounded in pairs."""
    tracked = track(together(cases), model="certified")
    for draw, (hardness, pattern) in enumerate(DRAWS):
        inputs = [drawn(case, hardness, pattern, draw) for case in cases]
        values = values_of(inputs)
        out = tracked(inputs)
        assert_is_plain(together(cases), out, values)
        for case, ball, args, value, error in zip(cases, inputs, values, *out, strict=True):
            points = [None, (ends or corner)(ball, np.random.default_rng(draw))]
            tightness = [assert_encloses((value, error), exact(case.f, *args, at=at), case.name) for at in points][0]
            counted = tightness[np.isfinite(tightness)]
            assert draw or not tight(case) or not counted.size or np.median(counted) < 1.05, case.name


def corner(balls, random):
    """Ends of the balls."""
    fraction = lambda x: precjax.testing.fmpq(*float(x).as_integer_ratio())  # noqa: E731
    move = np.frompyfunc(lambda v, e, s: fraction(v) + int(s) * fraction(e) if np.isfinite(v) else v, 3, 1)
    return [move(*map(np.asarray, x), random.choice([-1, 1], x.value.shape)) if is_ball(x) else None for x in balls]


# -------------------------------------------------------------------------------------------------------- classic cases


def rump(a, b):
    return 333.75 * b**6 + a**2 * (11 * a**2 * b**2 - b**6 - 121 * b**4 - 2) + 5.5 * b**8 + a / (2 * b)


def muller(x, y):
    return lax.scan(lambda s, _: ((s[1], 111 - (1130 - 3000 / s[0]) / s[1]), None), (x, y), None, length=9)[0][1]


def heron(a, b, c):
    s = (a + b + c) / 2
    return jnp.sqrt(s * (s - a) * (s - b) * (s - c))


def root(a, b, c):
    return (-b + jnp.sqrt(b * b - 4 * a * c)) / (2 * a)


CLASSIC = {
    "Rump": (rump, 77617.0, 33096.0),
    "Muller": (muller, 5.5, 61 / 11),
    "Heron": (heron, 100000.0, 99999.99979, 0.00029),
    "quadratic": (root, 1.0, 1e8, 1.0),
    "1 - cos": (lambda x: (1 - jnp.cos(x)) / x**2, 1e-8),
    "4/3": (lambda x: (x / 3 - 1) * 3 - 1, 4.0),
    "logistic map": (lambda x: lax.fori_loop(0, 20, lambda _, x: 4 * x * (1 - x), x), 0.1),
    "Kahan": (lambda x: x**2 + 1 + jnp.log(jnp.abs(1 + 3 * (1 - x))) / 80, 4 / 3),
}


def test_classic_cases():
    f = lambda arguments: {name: CLASSIC[name][0](*args) for name, args in arguments.items()}  # noqa: E731
    arguments = {name: tuple(map(jnp.float64, args)) for name, (_, *args) in CLASSIC.items()}
    truth = exact(f, arguments)
    value, error = track(f, model="shadow")(arguments)
    assert_observed((value, error), truth)
    assert abs(value["Rump"]) > 1e20 and value["1 - cos"] == 0 and abs(value["Muller"] - error["Muller"] - 5.86) < 0.01
    assert_certified(f, track(f, model="certified")(arguments), arguments, tightness=2.0)


# --------------------------------------------------------------------------------------------------------- compositions


def controlled(x, y):
    """scan, while and cond."""
    h, sums = lax.scan(lambda h, row: (h * 0.5 + row / 3, h.sum()), x, y)
    n, h = lax.while_loop(lambda s: s[1].sum() > -3, lambda s: (s[0] + 1, s[1] * 0.9 - 0.3), (0, h))
    return lax.cond(sums.sum() > 0, lambda h: h.sum() ** 2, lambda h: (h * n).max(), h), n


def first(tree):
    return jax.tree.map(lambda x: x[0], tree)


ROWS = normal(4, 3)
WAYS = {
    "track": lambda t: t(X, ROWS),
    "jit": lambda t: jax.jit(t)(X, ROWS),
    "vmap": lambda t: first(jax.vmap(t, (None, 0))(X, jnp.stack([ROWS, 2 * ROWS]))),
    "in a scan": lambda t: first(lax.scan(lambda c, _: (c, t(X, ROWS)), 0, None, length=2)[1]),
}


@pytest.mark.parametrize("way", WAYS)
def test_compositions(way):
    assert_observed(WAYS[way](track(controlled, model="shadow")), exact(controlled, X, ROWS))
    assert_certified(controlled, WAYS[way](track(controlled, model="certified")), X, ROWS)


def test_each_run_takes_its_own_branch():
    f = lambda x, one: lax.cond(one + x - one > 0, lambda: 10.0, lambda: 20.0)  # noqa: E731
    for model in ("shadow", "certified"):
        np.testing.assert_allclose(track(f, model=model)(1e-25, 1.0), (20.0, 10.0), rtol=1e-14)
    assert track(f, model="certified")(1e-40, 1.0).error >= 10  # beyond the reach of pairs: either branch


def network(p, x):
    h = jnp.tanh(x @ p[0])
    h = (h - h.mean(-1, keepdims=True)) / jnp.sqrt(h.var(-1, keepdims=True) + 1e-6)
    return (jax.nn.softmax(jax.nn.relu(h) @ p[1])[:, 0] ** 2).mean()


@pytest.mark.parametrize("f", [network, pytest.param(jax.grad(network), marks=pytest.mark.long)], ids=["value", "gradient"])
def test_network(f):
    p, x = [normal(4, 5), normal(5, 3)], normal(2, 4)
    out = track(f, model="certified")(p, x)
    assert_is_plain(f, out, p, x)
    assert_certified(f, out, p, x)


@pytest.mark.parametrize("seed", mostly_long([2, 6, *range(20, 28)], 20))
def test_random_programs(seed):
    random, names = np.random.default_rng(seed), programs.step_names()
    steps = [
        programs.Instruction(names[random.integers(len(names))], *random.integers(0, programs.RECENT, 3))
        for _ in range(12)
    ]
    arrays = [jnp.asarray(random.normal(size=shape)) for shape in ((), (3,), (2, 3))]
    f = lambda *arrays: tuple(programs.run(steps, arrays, "float64")[3:])  # noqa: E731
    try:
        assert_certified(f, track(f, model=Certified(missing="inf"))(*arrays), *arrays, tightness=10.0)
    except Undecidable:
        return


OPTIMIZERS = {"sgd": optax.sgd(0.1, momentum=0.9), "adam": optax.adam(1e-2)}


@pytest.mark.parametrize("name", ["sgd", pytest.param("adam", marks=pytest.mark.long)])
def test_training(name):
    """State carries its reference as a pair."""
    optimizer, x = OPTIMIZERS[name], normal(8, 3)

    def step(state):
        gradient = jax.grad(lambda w: ((jnp.tanh(x * w) - 0.5) ** 2).mean())(state[0])
        updates, rest = optimizer.update(gradient, state[1], state[0])
        return optax.apply_updates(state[0], updates), rest

    def several(state):
        for _ in range(10):
            state = step(state)
        return state

    start = (X, optimizer.init(X))
    state, tracked = start, track(step, model="certified")
    for _ in range(10):
        state = tracked(state)
    assert_certified(several, state, start)
    assert np.all(state.radius[0] < 1e-20)


def test_observed_state_is_carried():
    """The reference starts from value - error, which is a pair."""
    step, state = track(lambda x: x * 1.25 - x**3 / 3, model="shadow"), X
    for _ in range(5):
        state = step(state)
    assert_observed(state, exact(lambda x: lax.fori_loop(0, 5, lambda _, x: x * 1.25 - x**3 / 3, x), X))


def test_mixed_formats_and_bits():
    def f(x, i):
        narrow = x.astype(jnp.float32)
        high = lax.bitcast_convert_type(lax.bitcast_convert_type(x, jnp.int64) & -(2**27), jnp.float64)
        return narrow * 3, high * high, x - high, i.astype(jnp.float64) * 3, (x * 7).astype(jnp.int32), jnp.floor(x)

    args = jnp.asarray(X), jnp.array([2**62 + 1, -3])
    out = track(f, model="certified")(*args)
    assert [e.dtype.name for e in out.error] == ["float32", "float64", "float64", "float64", "float32", "float64"]
    assert_certified(f, out, *args)
    assert_observed(track(f, model="shadow")(*args), exact(f, *args))


# ------------------------------------------------------------------------------------------------------------- refusals

BAD = {
    "complex input": (lambda: track(jnp.sin, model="shadow")(Tracked(1j, 0.1)), ValueError, "modulus"),
    "no pairs": (
        lambda: track(jax.scipy.linalg.hessenberg, model="shadow")(np.eye(2)),
        precjax.MissingRuleError,
        "pairs for 'hessenberg'.*float32",
    ),
    "no rule": (
        lambda: track(jax.scipy.linalg.schur, model="certified")(np.eye(2)),
        precjax.MissingRuleError,
        "schur.*missing='inf'",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()


def test_missing_rules():
    f = lambda x: jax.scipy.linalg.hessenberg(x) + jnp.sin(x)  # noqa: E731
    assert "hessenberg" in precjax.missing_rules(f, model="shadow")(np.eye(2))[0]
    assert precjax.missing_rules(jnp.linalg.eigvals, model="shadow")(np.eye(2)) == []


def test_windows_of_any_function_have_no_bound():
    f = lambda x: lax.reduce_window(x, 0.0, lambda a, b: jnp.hypot(a, b), (2,), (1,), "VALID")  # noqa: E731
    x = jnp.array([3.0, 4.0, 0.1])
    assert_observed(track(f, model="shadow")(x), exact(lambda x: jnp.hypot(x[1:], x[:-1]), x))
    with pytest.raises(precjax.MissingRuleError, match="any function in any order"):
        track(f, model="certified")(x)


def test_sines_of_large_numbers():
    x = jnp.array([1e10, -3e300, 2.0])
    assert_certified(jnp.sin, track(jnp.sin, model="certified")(x), x, tightness=30.0)
    np.testing.assert_array_equal(np.isinf(track(jnp.sin, model="shadow")(x).error), [True, True, False])


def test_functions_of_functions_are_computed_once():
    """With jaxlib 0.10.2 this took minutes: every kernel computed anew what it read."""
    f = jax.grad(lambda x: jax.scipy.special.betaln(x, 2 * x).sum())
    x = jnp.array([0.7, 3.3])
    assert_observed(track(f, model="shadow")(x), exact(f, x))
