"""Constants that XLA merges, jaxlib 0.10.2 through everything that it takes for the identity."""

import functools
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import precjax
from precjax.testing import check_rule

C, D = np.float32(0.1), np.float32(0.2)
ROW, OTHER_ROW = np.float32([0.1, 0.7, 0.4]), np.float32([0.2, 0.3, 0.9])
# x + C and x + D are 0 here, so that their own roundings say nothing of C + D.
X = -np.float32([0.1, 0.2, 0.1 + 0.2])
EYE = np.eye(1, dtype=np.float32)


def turns(count, unroll=1):
    """x + C + C + ..."""
    return lambda x: lax.scan(lambda y, _: (y + C, None), x, None, length=count, unroll=unroll)[0]


BETWEEN = {
    "nothing": lambda x: x,
    "reshape": lambda x: x.reshape(3, 1),
    "broadcast": lambda x: jnp.broadcast_to(x[:, None], (3, 2)),
    "transpose": lambda x: x.reshape(3, 1).T,
    "rev": lambda x: x[::-1],
    "stack": lambda x: jnp.stack([x])[0],
    "concatenate": lambda x: jnp.concatenate([x]),
    "whole slice": lambda x: lax.dynamic_slice(x, (0,), (3,)),
    "gather": lambda x: x[jnp.array([0, 1, 2])],
    "barrier": lax.optimization_barrier,
    "zero": lambda x: x + np.float32(0),
    "zeros": lambda x: x - np.zeros(3, np.float32),
    "one": lambda x: x * np.float32(1),
    "ones": lambda x: x / np.ones(3, np.float32),
    "power": lambda x: lax.integer_pow(x, 1),
    "two signs": lambda x: lax.neg(lax.neg(x)),
    "sum of one": lambda x: x[:, None].sum(1),
    "product of one": lambda x: x[:, None].prod(1),
    "running sum of one": lambda x: jnp.cumsum(x[:, None], 1),
    "window of one": lambda x: lax.reduce_window(x, np.float32(0), lax.add, (1,), (1,), "SAME"),
    "sorted alone": lambda x: jnp.sort(x[:, None], 1),
    "product of matrices": lambda x: x[:, None] @ EYE,
    "maximum": lambda x: jnp.maximum(x, -jnp.inf),
    "clip": lambda x: jnp.clip(x, -jnp.inf, jnp.inf),
    "choice": lambda x: jnp.where(True, x, 0),
    "real part": lambda x: lax.real(lax.complex(x, x)),
    "logarithm": lambda x: jnp.log(jnp.exp(x)),
    "call": jax.jit(lambda x: x),
    "one turn": turns(1),
    "three turns": turns(3),
    "unrolled": turns(4, unroll=4),
    "branch": lambda x: lax.cond(True, lambda y: y + D, lambda y: y, x),
}

SUMS = {
    "numbers": lambda f: lambda x: f(x + C) + D,
    "differences": lambda f: lambda x: D - f(C + x),
    "calls": lambda f: lambda x: jax.jit(lambda y: y + D)(f(jax.checkpoint(lambda y: y + C)(x))),
    "arrays": lambda f: lambda x: _broadcasting(f(x + ROW)),
}


def _broadcasting(x):
    return x + np.broadcast_to(OTHER_ROW.reshape(x.shape if x.size == 3 else (3, 1)), x.shape)


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("sums", SUMS)
def test_merged_constants_are_counted(sums, between):
    f = SUMS[sums](BETWEEN[between])
    x = -ROW if sums == "arrays" else -X if sums == "differences" else X
    check_rule(f, x, modes=("plain", "jit"), points=2)


TINY = np.float32([[1e-30]])
LARGE = np.float32([1e30, 3e30, 7e29])
CHAINS = {
    "small factors": (lambda x: (x * np.float32(1e-30)) * np.float32(1e-30), LARGE),
    "large factors": (lambda x: (x * np.float32(1e25)) * np.float32(1e25), 1 / LARGE),
    "moved": (lambda x: (x * np.float32(1e-30)).reshape(3, 1) * np.float32(1e-30), LARGE),
    "of matrices": (lambda x: ((x[:, None] @ TINY) @ TINY)[:, 0], LARGE),
    "divisors": (lambda x: (x / np.float32(1e25)) / np.float32(1e25), LARGE),
    "both": (lambda x: (x * np.float32(1e-30)) / np.float32(1e25), LARGE),
    "quotients": (lambda x: (x / (x * np.float32(1e-10))) / x, LARGE),
    "quotient of quotients": (lambda x: x / (x / x), LARGE),
}


@pytest.mark.parametrize("name", CHAINS)
def test_tracked_products_are_not_merged(name):
    """The plain program's are, and it may be wrong by everything: what the README calls a hazard."""
    f, x = CHAINS[name]
    exact = f(np.asarray(x, np.float64))
    tracked = jax.jit(precjax.track(f))(x)
    assert np.all(np.abs(np.asarray(tracked.value, np.float64) - exact) <= np.float64(tracked.error) * (1 + 1e-6))
    assert np.all(np.float64(tracked.error) <= 1e-5 * np.abs(exact) + 1e-37)


EXPONENTIALS = {
    "product": lambda x, y: jnp.exp(x) * jnp.exp(y),
    "quotient": lambda x, y: jnp.exp(x) / jnp.exp(y),
    "power": lambda x, y: jnp.exp(x) ** np.float32(1.7),
    "moved": lambda x, y: jnp.exp(x)[::-1].reshape(8, 40) * jax.jit(jnp.exp)(y).reshape(8, 40),
    "by one": lambda x, y: (1 / jnp.exp(x)) * (jnp.exp(y) * np.ones((40, 8), np.float32) + np.float32(0)),
    "of two": lambda x, y: jnp.exp2(x) * jnp.exp(y),
    "of matrices": lambda x, y: jnp.exp(x)[..., None, None] @ jnp.exp(y)[..., None, None],
    "cube": lambda x, y: lax.integer_pow(jnp.exp(x / 4), 3),
    "whole power": lambda x, y: lax.integer_pow(jnp.exp(x / 8), -7),
    "three": lambda x, y: jnp.exp(x) * jnp.exp(y) / jnp.exp(x - 1),
    "gradient": lambda x, y: jax.grad(lambda x: jnp.sum(jnp.exp(jnp.exp(x / 10))))(x),
}


@pytest.mark.parametrize("granularity", ["element", "row"])
@pytest.mark.parametrize("name", EXPONENTIALS)
def test_merged_exponentials_are_counted(name, granularity):
    x, y = np.random.default_rng(7).uniform(-40, 40, (2, 40, 8)).astype(np.float32)
    check = check_rule(EXPONENTIALS[name], x, y, model=precjax.WorstCase(granularity=granularity), modes=("jit",))
    assert np.min(check.tightness) < 30


def test_constants_alone_and_those_that_cancel():
    """A grid is exact in places; 10000 - 10000 is merged without a rounding."""

    def grid(x):
        points = jnp.arange(64, dtype=np.float32) * np.float32(0.1)
        return x + ((points - np.float32(0.4)).reshape(8, 8) + D).T + (points.reshape(8, 8) + ROW[:1]) * D

    check_rule(grid, np.zeros((8, 8), np.float32), modes=("plain", "jit"))
    tracked = precjax.track(lambda x: (x + 1e4) - 1e4)(np.float32(0.1))
    assert tracked.error < 4.1e-4  # half a unit of 10000


NUMBERS = [np.float32(c) for c in (0.1, 0.2, 0.3, 0.7, 1 / 3, 1.7, 12.3)]
STEPS = {
    "plus": lambda x, c: x + c,
    "minus": lambda x, c: x - c,
    "from": lambda x, c: c - x,
    "times": lambda x, c: x * c,
    "over": lambda x, c: x / c,
    "row": lambda x, c: x + c * np.float32([1, 2, 1]),
    "grid": lambda x, c: x - c * jnp.arange(3, dtype=np.float32),
    "exp": lambda x, c: jnp.exp(jnp.tanh(x) * c),
    "square": lambda x, c: jnp.square(x),
    "choice of sums": lambda x, c: jnp.where(x > c, x + c, x - c),
    "product of exponentials": lambda x, c: jnp.exp(jnp.tanh(x)) * jnp.exp2(jnp.sin(x)),
} | {name: lambda x, c, f=f: f(x).reshape(-1)[:3] for name, f in BETWEEN.items() if name != "logarithm"}


def chain(draw):
    """A few steps, one after the other, some of them as calls."""
    picked = draw.choices(list(STEPS), k=draw.randrange(2, 6))
    steps = [functools.partial(STEPS[name], c=draw.choice(NUMBERS)) for name in picked]
    steps = [jax.jit(step) if draw.random() < 0.2 else step for step in steps]
    return picked, lambda x: functools.reduce(lambda y, step: step(y), steps, x)


TELLING = 17, 49, 59  # of sixty, those that fail where sums are not counted


@pytest.mark.parametrize("seed", [*TELLING, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(60, 200))])
def test_random_chains(seed):
    draw = random.Random(seed)
    chains = [chain(draw) for _ in range(12)]
    # Where sums of constants cancel, and elsewhere.
    x = np.float32([-draw.choice(NUMBERS), -draw.choice(NUMBERS) - draw.choice(NUMBERS), draw.gauss(0, 1)])
    try:
        check_rule(lambda x: [f(x) for _, f in chains], x, modes=("jit",))
    except AssertionError as error:
        raise AssertionError(str([picked for picked, _ in chains])) from error
