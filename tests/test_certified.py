"""Certified: judged by exact arithmetic, bit for bit the plain program, composed, and carried through training."""

import copy
import itertools
import pickle
import subprocess
import sys

import cases_elementwise
import jax
import jax.numpy as jnp
import numpy as np
import optax
import programs
import pytest
import zoo
from cases import Draw, Drawn, errors_of
from jax import lax

import precjax
from precjax import Certified, Tracked, track
from precjax.testing import Undecidable, assert_encloses, exact

RANDOM = np.random.default_rng(0)
X = np.float32([1.0, -2.0, 0.3])
PAIRS = Certified(reference="pairs")


def normal(*shape, dtype=np.float32):
    return jnp.asarray(RANDOM.normal(size=shape), dtype)


def same(left, right):
    """Bit for bit."""
    words = [np.asarray(x).view(f"u{np.asarray(x).itemsize}") for x in (left, right)]
    np.testing.assert_array_equal(*words)


def assert_is_plain(f, tracked, *args):
    for left, right in zip(jax.tree.leaves(tracked.value), jax.tree.leaves(jax.jit(f)(*args)), strict=True):
        same(left, right)
    assert not jax.config.jax_enable_x64
    assert all(e.dtype == np.float32 and not np.isnan(e).any() for e in jax.tree.leaves(tracked.error))


# ------------------------------------------------------------------------------------------------------------ the judge

ROWS = [case for case in cases_elementwise.CASES if case.scalar]
TOGETHER = 6  # rows in one program: compiling takes the time
GROUPS = [ROWS[i : i + TOGETHER] for i in range(0, len(ROWS), TOGETHER)]
# (hardness, pattern of errors): benign roundings, wild roundings, wild balls
DRAWS = [(0.0, "zero"), (0.9, "zero"), (0.5, "relative")]


def turns():
    """Outside the long run, formats take turns, float32 every second time."""
    for number, dtype in itertools.product(range(len(GROUPS)), ("float32", "bfloat16", "float16")):
        skipped = dtype != ("float32", "bfloat16", "float32", "float16")[number % 4]
        yield pytest.param(number, dtype, marks=[pytest.mark.long] * skipped)


@pytest.mark.parametrize(("number", "dtype"), list(turns()))
def test_rows(number, dtype, record_property):
    assert_certified(GROUPS[number], dtype, "certified", record_property)


@pytest.mark.parametrize(
    ("number", "dtype"),
    [(2, "float32"), (5, "bfloat16"), *(pytest.param(n, "float32", marks=pytest.mark.long) for n in range(len(GROUPS)) if n != 2)],
)
def test_rows_in_pairs(number, dtype, record_property):
    assert_certified(GROUPS[number], dtype, PAIRS, record_property)


def assert_certified(cases, dtype, model, record_property):
    def f(arguments):
        return [case.f(*args) for case, args in zip(cases, arguments, strict=True)]

    tracked = track(f, model=model)
    for draw, (hardness, pattern) in enumerate(DRAWS):
        arguments = [drawn(case, dtype, hardness, pattern, draw) for case in cases]
        values = jax.tree.map(value_of, arguments, is_leaf=is_ball)
        out = tracked(arguments)
        assert_is_plain(f, out, values)
        for case, args, value, error in zip(cases, arguments, *out, strict=True):
            tightness = judge(case, args, (value, error), draw)
            if draw == 0 and case.name != "inputs with NaN":
                record_property("certified", float(np.median(tightness)))
                assert np.median(tightness) < 1.05, case.name


def is_ball(x):
    return isinstance(x, Tracked)


def value_of(x):
    return x.value if is_ball(x) else x


def drawn(case, dtype, hardness, pattern, seed):
    draw = Draw(dtype, seed, hardness)
    return tuple(
        Tracked(jnp.asarray(x.value), jnp.asarray(errors_of(x, draw.random, pattern))) if isinstance(x, Drawn) else jnp.asarray(x)
        for x in case.inputs(draw)
    )


def judge(case, args, out, seed):
    """At the centre of the input balls, and at a random corner; the tightness where there is an error and a deviation."""
    values = jax.tree.map(value_of, args, is_leaf=is_ball)
    points = [None, [corner(x, np.random.default_rng(seed)) for x in args]]
    tightness = [assert_encloses(out, exact(case.f, *values, at=at), case.name) for at in points][0]
    counted = tightness[np.isfinite(tightness) & (np.ravel(out[1]) > 0)]
    return counted if counted.size else np.ones(1)


def corner(x, random):
    if not is_ball(x):
        return None
    wide = [np.asarray(part).astype(object) for part in x]
    ends = random.choice([-1, 1], wide[0].shape)
    return np.frompyfunc(lambda v, e, end: v if not np.isfinite(v) else precjax.testing.fmpq(*float(v).as_integer_ratio())
                         + int(end) * precjax.testing.fmpq(*float(e).as_integer_ratio()), 3, 1)(*wide, ends)  # fmt: skip


@pytest.mark.parametrize(
    ("seed", "dtype", "model"),
    [(0, "float32", "certified"), (1, "bfloat16", "certified"), (2, "float16", "certified"), (3, "float32", "certified"),
     (4, "float32", PAIRS), pytest.param(5, "bfloat16", PAIRS, marks=pytest.mark.long)],
)  # fmt: skip
def test_random_programs(seed, dtype, model):
    """Eager, and as one program with the plain one."""
    random = np.random.default_rng(seed)
    names = programs.step_names()
    steps = [programs.Instruction(names[random.integers(len(names))], *random.integers(0, programs.RECENT, 3)) for _ in range(12)]
    arrays = [jnp.asarray(random.normal(size=shape), dtype) for shape in ((), (3,), (2, 3))]

    def f(*arrays):
        return tuple(programs.run(steps, arrays, dtype)[-4:])

    tracked = track(f, model=model)
    out = tracked(*arrays)
    assert_is_plain(f, out, *arrays)
    try:
        truth = exact(f, *arrays)
    except Undecidable:
        return
    assert_encloses(tuple(out), truth)
    assert_encloses(tuple(jax.jit(tracked)(*arrays)), truth)


# ---------------------------------------------------------------------------------------------------------- compositions


def mlp(w, x):
    for layer in w[:-1]:
        x = jax.nn.gelu(x @ layer)
    return (jax.nn.log_softmax(x @ w[-1]) ** 2).mean()


MLP = [normal(4, 5), normal(5, 5), normal(5, 3)]
BATCH = normal(2, 4)


def controlled(x, y):
    """scan, while and cond."""
    h, sums = lax.scan(lambda h, row: (jnp.tanh(h * 0.5 + row), h.sum()), x, y)
    n, h = lax.while_loop(lambda s: s[1].sum() > -3, lambda s: (s[0] + 1, s[1] * 0.9 - 0.3), (0, h))
    return lax.cond(sums.sum() > 0, lambda h: h.sum() ** 2, lambda h: (h * n).max(), h), n


WAYS = {
    "track": lambda f, a, b: track(f, model="certified")(a, b),
    "jit of track": lambda f, a, b: jax.jit(track(f, model="certified"))(a, b),
    "track of jit": lambda f, a, b: track(jax.jit(f), model="certified")(a, b),
    "track of checkpoint": lambda f, a, b: track(jax.checkpoint(f), model="certified")(a, b),
    "in a scan": lambda f, a, b: first(lax.scan(lambda c, _: (c, track(f, model="certified")(a, b)), 0, None, length=2)[1]),
    "vmap of track": lambda f, a, b: first(jax.vmap(track(f, model="certified"), (None, 0))(a, doubled(b))),
    "vmap of jit of track": lambda f, a, b: first(jax.vmap(jax.jit(track(f, model="certified")), (None, 0))(a, doubled(b))),
    "track of vmap": lambda f, a, b: first(track(jax.vmap(f, (None, 0)), model="certified")(a, doubled(b))),
    "normwise": lambda f, a, b: track(f, model=Certified(contraction="normwise"))(a, b),
    "in pairs": lambda f, a, b: track(f, model=PAIRS)(a, b),
    "vmap of track in pairs": lambda f, a, b: first(jax.vmap(track(f, model=PAIRS), (None, 0))(a, doubled(b))),
}


def doubled(tree):
    return jax.tree.map(lambda x: jnp.stack([x, 2 * x]), tree)


def first(tree):
    return jax.tree.map(lambda x: x[0], tree)


def in_every_way():
    """Control flow in every way; the short run has a network in two of them."""
    for name, *arguments in (("mlp", mlp, MLP, BATCH), ("controlled", controlled, X, normal(4, 3))):
        for way in WAYS:
            short = name == "controlled" or way in ("jit of track", "vmap of track")
            yield pytest.param(*arguments, way, id=f"{name}-{way}", marks=[pytest.mark.long] * (not short))


@pytest.mark.parametrize(("f", "a", "b", "way"), list(in_every_way()))
def test_compositions(f, a, b, way):
    out = WAYS[way](f, a, b)
    tightness = assert_encloses(tuple(out), exact(f, a, b))
    assert np.nanmedian(tightness) < 1.01
    assert not jax.config.jax_enable_x64


def test_gradients():
    gradient = jax.jit(jax.grad(mlp))
    out = track(gradient, model="certified")(MLP, BATCH)
    assert_is_plain(gradient, out, MLP, BATCH)
    assert np.median(assert_encloses(tuple(out), exact(gradient, MLP, BATCH))) < 1.01
    through = jax.jit(jax.grad(lambda w: track(mlp, model="certified")(w, BATCH).value))(MLP)
    for left, right in zip(through, gradient(MLP, BATCH), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-6)


def test_gradients_through_many_layers():
    """Bounded in float64, the reference is worth nothing; in pairs it certifies every parameter's gradient."""
    network = zoo.mlp(9, width=64, batch=1)
    f, args = network.gradients, (network.parameters, network.inputs)
    wider, out = (track(f, model=m)(*args) for m in ("certified", PAIRS))
    assert_is_plain(f, out, *args)
    assert max(np.max(a / b) for a, b in zip(wider.error, out.error, strict=True)) > 100
    tightness = assert_encloses(tuple(out), exact(f, *args))
    assert np.median(tightness[np.isfinite(tightness)]) < 1.01


def test_each_run_takes_its_own_branch():
    """Rounded, 1 + x - 1 is 0; the exact program goes the other way, and the certificate says so."""

    def f(x, one):
        return lax.cond(one + x - one > 0, lambda: 10.0, lambda: 20.0), lax.while_loop(
            lambda n: (one + n * x - one <= 0) & (n < 9), lambda n: n + 1, one
        )

    value, error = track(f, model="certified")(jnp.float32(1e-9), jnp.float32(1))
    np.testing.assert_array_equal(value, [20, 9])
    np.testing.assert_allclose(error, [10, 8], rtol=1e-5)


def test_bits_are_frozen():
    def exponent(x):
        return lax.bitcast_convert_type(x * 3, jnp.int32) >> 23

    def split(x):
        """What library code does: a high part by its bits, and the rest."""
        y = jnp.exp(x)
        high = lax.bitcast_convert_type(lax.bitcast_convert_type(y, jnp.int32) & -4096, jnp.float32)
        return high * high + (y - high) * (y + high)

    out = track(split, model="certified")(X)
    assert_encloses(tuple(out), exact(split, X))
    assert np.all(out.error < 1e-6 * out.value)
    assert not np.any(track(exponent, model="certified")(X).error)
    assert np.all(np.isinf(track(exponent, model="certified", strict=True)(np.float32([0.1, 0.3])).error))
    bits = track(lambda x: lax.bitcast_convert_type(x, jnp.int32), model="certified", strict=True)(np.float32([0.1, 1e-40, -0.0]))
    assert not np.any(bits.error)


def test_infinities_and_nan():
    x = np.float32([0, np.inf, -np.inf, np.nan, 2, 1e-40])
    (moved, exp, large), (of_moved, of_exp, of_large) = track(lambda x: (x, jnp.exp(x), x * 1e30 * 1e30), model="certified")(x)
    np.testing.assert_array_equal(of_moved, [0, 0, 0, np.inf, 0, 0])
    assert np.isinf(of_exp[3]) and of_exp[4] < 1e-6 and moved[5] == x[5]
    assert np.isinf(of_large[4]) and np.isinf(large[4]) and np.isinf(exp[1])


def test_random_numbers():
    def f(key):
        a, b = jax.random.split(key)
        return a, jax.random.normal(a, (50,)), jax.random.randint(b, (9,), 0, 100), jax.random.bernoulli(b, 0.3, (9,))

    out = track(f, model="certified")(jax.random.key(3))
    assert [np.any(e) for e in out.error] == [False, True, False, False]
    np.testing.assert_array_less(out.error[1], 1e-5)


# -------------------------------------------------------------------------------------------------------- state of loops


def training(optimizer):
    random = np.random.default_rng(0)

    def loss(p, x):
        return jnp.mean((jnp.tanh(x @ p["w"]) @ p["v"] - 1) ** 2)

    def step(state, x):
        parameters, rest = state
        updates, rest = optimizer.update(jax.grad(loss)(parameters, x), rest, parameters)
        return optax.apply_updates(parameters, updates), rest

    parameters = {"w": random.normal(size=(4, 6)).astype(np.float32), "v": random.normal(size=6).astype(np.float32)}
    return step, (parameters, optimizer.init(parameters)), random.normal(size=(8, 4)).astype(np.float32)


# Constants that float32 holds, so that the same code is the reference in float64.
OPTIMIZERS = {
    "sgd": lambda: optax.sgd(2.0**-6, momentum=0.875),
    "adam": lambda: optax.adam(2.0**-6, b1=0.875, b2=0.96875, eps=2.0**-20),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_bounds_stay_tight_over_training(name):
    step, state, x = training(OPTIMIZERS[name]())
    start = state
    tracked = jax.jit(track(step, model="certified"))
    for _ in range(20):
        state = tracked(state, x)
    with jax.enable_x64(True):
        (truth, wide_x), compiled = jax.tree.map(widened, (start, x)), jax.jit(step)
        for _ in range(20):
            truth = compiled(truth, wide_x)
    for v, e, t in zip(*map(jax.tree.leaves, (state.value[0], state.error[0], truth[0])), strict=True):
        deviation = np.abs(np.asarray(v, np.float64) - np.asarray(t))
        assert np.all(deviation <= e) and np.median(e / deviation) < 1.05


def widened(x):
    return jnp.asarray(x, np.float64) if x.dtype == np.float32 else x


def test_the_returned_value_is_the_compared_one():
    """XLA would compute the moments of Adam twice, in two fusions, and round them differently."""
    step, state, x = training(OPTIMIZERS["adam"]())
    tracked = jax.jit(track(step, model="certified"))
    for _ in range(2):
        state = tracked(state, x)
    again = jax.tree.map(lambda v, o: np.asarray(v, np.float64) - np.asarray(o), state.value, state.offset)
    truth = exact(lambda s: step(step(s, x), x), training(OPTIMIZERS["adam"]())[1])
    assert_encloses((again, state.radius), truth)


def test_state_is_a_tree():
    step = track(lambda x: (x * 1.1, jnp.round(x).astype(jnp.int32)), model="certified")
    state = step(X)
    copies = [pickle.loads(pickle.dumps(state)), copy.deepcopy(state), jax.tree.map(lambda a: a, state), jax.jit(lambda a: a)(state)]
    for other in copies:
        value, error = other
        assert type(other) is type(state) and len(other) == 2
        np.testing.assert_array_equal(error[0], state.error[0])
        np.testing.assert_array_equal(other.offset[0], state.offset[0])
    assert type(state._replace(error=state.error)) is Tracked
    assert all(x.dtype != np.float64 for x in jax.tree.leaves(state))
    assert "?" in repr(state) and state.exact_bits[0].shape == (3,)


def test_state_in_a_scan():
    step = track(lambda x: jnp.sin(x * 1.1), model="certified")
    state = step(X)
    looped, _ = lax.scan(lambda s, _: (step(s), None), state, None, length=5)
    for _ in range(5):
        state = step(state)
    np.testing.assert_allclose(looped.error, state.error, rtol=1e-3)


def test_integers_and_bools_in_state():
    def step(s):
        i, b, x = s
        return jnp.where(x * 3 > 1, i + 2, i), x * 3 < 1, x

    state = Tracked((np.int32([5, 7]), np.array([True, False]), np.float32([0.4, 1 / 3])), (np.float32([0, 1]), np.zeros(2), np.float32([0, 1e-6])))
    for _ in range(3):
        state = track(step, model="certified")(state)
    np.testing.assert_array_equal(state.error[0][0], 0)
    assert state.error[0][1] >= 2 and state.error[1][0] == 0 and state.error[1][1] >= 1


# --------------------------------------------------------------------------------------------------------------- refusals

BAD = {
    "reference": (lambda: Certified(reference="longdouble"), ValueError, "reference='longdouble'.*'wider'"),
    "contraction": (lambda: Certified(contraction="x"), ValueError, "normwise"),
    "negative error": (lambda: track(jnp.sin, model="certified")(Tracked(X, -X)), ValueError, "argument.*non-negative"),
    "NaN error": (lambda: track(jnp.sin, model="certified")(Tracked(X, X * np.nan)), ValueError, "NaN"),
    "no rule": (lambda: track(jax.scipy.linalg.schur, model="certified")(np.eye(2, dtype=np.float32)), precjax.MissingRuleError, "schur.*missing='inf'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()


ELSEWHERE = """
import jax, jax.numpy as jnp, numpy as np, precjax
jax.config.update("jax_num_cpu_devices", 2)
here, there = jax.devices()
w = jax.device_put(jnp.linspace(-1, 1, 400).reshape(20, 20), here)
f = lambda x, scale: {"y": jnp.tanh(x @ w) * scale, "n": x.size}
x = precjax.Tracked(jax.device_put(jnp.ones((3, 20)), here), jnp.float32(1e-6))
for model in (precjax.Certified, precjax.Shadow):
    near, far = (precjax.track(f, model=model(device=device))(x, 2.0) for device in (None, there))
    assert all(leaf.devices() == {here} for leaf in jax.tree.leaves(far)), jax.tree.map(lambda leaf: leaf.devices(), far)
    jax.tree.map(np.testing.assert_array_equal, near, far)
state = precjax.track(f, model=precjax.Certified(device="cpu"))(x, 2.0)
again = precjax.track(jnp.sin, model=precjax.Certified(device=there))(precjax.Tracked(state.value["y"], state.error["y"]))
assert np.isfinite(again.error).all()
"""


def test_the_reference_runs_on_another_device():
    subprocess.run([sys.executable, "-c", ELSEWHERE], check=True)


def test_another_device_is_no_part_of_a_program():
    with pytest.raises(ValueError, match="outside jit"):
        jax.jit(track(jnp.sin, model=precjax.Certified(device="cpu")))(1.0)
    with pytest.raises(ValueError, match="device=3"):
        precjax.Certified(device=3)


def test_missing_rules():
    assert precjax.missing_rules(mlp, model="certified")(MLP, BATCH) == []
    schur = jax.scipy.linalg.schur
    assert "schur" in precjax.missing_rules(schur, model="certified")(np.eye(2, dtype=np.float32))[0]
    assert np.all(np.isinf(track(schur, model="certified", missing="inf")(np.eye(2, dtype=np.float32)).error[0]))
