"""Double-double arithmetic against its stated bounds, judged by ball arithmetic at 400 bits."""

import math
import operator
from fractions import Fraction

import flint
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flint import arb
from jax import lax

from precjax import doubledouble as dd
from precjax.doubledouble import BOUNDS, DD, _arithmetic, _bessel, _error_functions, _gamma, _zeta
from precjax.doubledouble._pairs import FLOOR

UNIT = 2.0**-106


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True), flint.ctx.workprec(400):
        yield


def arrays(x):
    return DD(jnp.asarray(x.hi), jnp.asarray(x.lo))


def normalized(hi, lo):
    s = hi + lo
    with np.errstate(invalid="ignore"):
        return DD(s, np.where(np.isfinite(s), lo - (s - hi), 0.0))


def random_pairs(n, binades, seed, sign=True):
    """Pairs of magnitudes 2**-binades to 2**binades: full, short and gappy low parts, neighbours of powers of two."""
    rng = np.random.default_rng(seed)
    hi = rng.uniform(1, 2, n) * 2.0 ** rng.uniform(-binades, binades, n).round()
    hi = np.where(rng.uniform(size=n) < 0.1, 2.0 ** np.floor(np.log2(hi)), hi)
    hi = np.where(rng.uniform(size=n) < 0.1, np.float32(hi).astype(float), hi) if binades < 100 else hi
    hi *= rng.choice([-1, 1], n) if sign else 1
    lo = hi * 2.0**-53 * rng.uniform(-1, 1, n) * rng.choice([0, 1, 1, 1, 2.0**-20, 2.0**-60], n)
    return normalized(hi, lo)


def exactly(x):
    return [arb(float(hi)) + arb(float(lo)) for hi, lo in zip(np.ravel(x.hi), np.ravel(x.lo), strict=True)]


def magnitude(x):
    return float(abs(x).mid())


def worst(out, truths, units, scales=None):
    """The largest error over its bound; also that pairs are normalised, and that unknown numbers are not finite."""
    out = jax.tree.map(np.ravel, out)
    s = out.hi + out.lo
    assert np.all((s == out.hi) | ~np.isfinite(s))
    largest, measured = 0.0, 0.0
    for i, (number, truth) in enumerate(zip(exactly(out), truths, strict=True)):
        if not math.isfinite(out.hi[i]):
            continue
        assert truth.is_finite(), (i, out.hi[i], truth)
        error, size = magnitude(number - truth.mid()), magnitude(truth if scales is None else scales[i])
        slack = FLOOR + float(truth.rad())
        largest = max(largest, error / (units * UNIT * size + slack))
        measured = max(measured, (error - slack) / size / UNIT if error > slack else 0.0)
    return largest, measured


def reachable(numbers, bound):
    """The arguments that the bound allows in place of the given ones."""
    widths = [FLOOR] * (len(numbers) - 1) + [FLOOR + float(abs(numbers[-1]).upper()) * bound.argument]
    return [x + arb(0, width) for x, width in zip(numbers, widths, strict=True)]


# ------------------------------------------------------------------------------------------------ arithmetic

N = 1500
NEAR, ALSO = random_pairs(N, 40, 1), random_pairs(N, 40, 2)
WIDE, SPREAD = random_pairs(N, 480, 3), random_pairs(N, 480, 4)
TINY, SMALL = random_pairs(N, 1000, 5), random_pairs(N, 1000, 6)
RATIO = random_pairs(N, 3, 7)


def close_to(x, seed):
    """Pairs that agree with x in all but the last few bits: the differences are tiny."""
    rng = np.random.default_rng(seed)
    relative = 2.0 ** rng.integers(-106, -1, x.hi.size) * rng.choice([-1, 0, 1], x.hi.size)
    return normalized(np.where(np.abs(relative) > 2.0**-53, x.hi * (1 + relative), x.hi), x.lo + x.hi * relative)


def absolute(x):
    return DD(np.abs(x.hi), x.lo * np.sign(x.hi))


ARITHMETIC = [
    ("add", dd.add, lambda a, b: a + b, [(NEAR, ALSO), (TINY, SMALL), (NEAR, close_to(NEAR, 8))]),
    ("sub", dd.sub, lambda a, b: a - b, [(NEAR, ALSO), (TINY, SMALL), (NEAR, close_to(NEAR, 9))]),
    ("mul", dd.mul, lambda a, b: a * b, [(NEAR, ALSO), (WIDE, SPREAD), (TINY, SMALL)]),
    ("square", dd.square, lambda a: a * a, [(NEAR,), (WIDE,), (TINY,)]),
    ("div", dd.div, lambda a, b: a / b, [(NEAR, ALSO), (WIDE, SPREAD), (TINY, SMALL), (TINY, close_to(TINY, 3))]),
    ("sqrt", dd.sqrt, lambda a: a.sqrt(), [(absolute(NEAR),), (absolute(TINY),)]),
    ("rsqrt", dd.rsqrt, lambda a: a.rsqrt(), [(absolute(NEAR),), (absolute(TINY),)]),
]


@pytest.mark.parametrize(("name", "f", "truth", "inputs"), ARITHMETIC, ids=[row[0] for row in ARITHMETIC])
def test_arithmetic(name, f, truth, inputs, record_property):
    judge(name, f, truth, inputs, record_property)


def reflected(function):
    """Beside 1, what is cancelled left of 0."""
    return lambda size, x: 1 + (function(-x) if x < 0 else 0)


SCALES = {
    "value": lambda *_: 0,
    "lgamma": reflected(lambda x: x * (1 + x).log()),
    "digamma": reflected(lambda x: (1 + x).log()),
    "zeta": lambda size, s, q: size * s * (1 + abs(q.log())),
    "polygamma": lambda size, m, x: size * (m + 1) * (1 + abs(x.log())),
}


def judge(name, f, truth, inputs, record_property):
    bound = BOUNDS[name]
    joined = [DD(*map(np.concatenate, zip(*part, strict=True))) for part in zip(*inputs, strict=True)]
    out = f(*map(arrays, joined))
    operands = list(zip(*map(exactly, joined), strict=True))
    truths = [truth(*reachable(numbers, bound)) for numbers in operands]
    scales = [abs(t) + SCALES.get(name, SCALES[bound.scale])(abs(t), *x) for x, t in zip(operands, truths, strict=True)]
    ratio, measured = worst(out, truths, bound.units, scales)
    record_property("summary", f"error / bound {ratio:.2f}; {measured:.2f} of {bound.units:g} units of 2**-106")
    assert ratio <= 1


def test_a_product_without_its_cross_terms_is_seen(monkeypatch):
    monkeypatch.setattr(_arithmetic, "opaque", jnp.zeros_like)
    out = _arithmetic.mul.__wrapped__(arrays(NEAR), arrays(ALSO))
    truths = [a * b for a, b in zip(exactly(NEAR), exactly(ALSO), strict=True)]
    assert worst(out, truths, BOUNDS["mul"].units)[0] > 1e10


# What XLA might merge, contract or compute twice: constants, broadcasts, products that end in sums and differences.
# Each with its truth and the sum of the magnitudes that its roundings are relative to.
C, D, HUGE = 0.1, 3.7, 1.7e308
PROGRAMS = {
    "(x + c) - c": (lambda x, y: dd.sub(dd.add(x, C), C), lambda x, y: (x, abs(x) + 2 * C)),
    "(c - x) - c": (lambda x, y: dd.sub(dd.sub(C, x), C), lambda x, y: (-x, abs(x) + 2 * C)),
    "(x * c) * d": (lambda x, y: dd.mul(dd.mul(x, C), D), lambda x, y: (x * C * D, abs(x * C * D))),
    "(x / c) / d": (lambda x, y: dd.div(dd.div(x, C), D), lambda x, y: (x / C / D, abs(x / C / D))),
    "x * c + y * c": (
        lambda x, y: dd.add(dd.mul(x, 0.5), dd.mul(y, 0.5)),
        lambda x, y: ((x + y) / 2, abs(x) + abs(y)),
    ),
    "x * y - y * x": (lambda x, y: dd.sub(dd.mul(x, y), dd.mul(y, x)), lambda x, y: (x * 0, abs(x * y))),
    "x * x - y * y": (
        lambda x, y: dd.sub(dd.mul(x, x), dd.mul(y, y)),
        lambda x, y: (x * x - y * y, x * x + y * y),
    ),
    "x / sqrt(y * y)": (lambda x, y: dd.div(x, dd.sqrt(dd.mul(y, y))), lambda x, y: (x / abs(y), abs(x / y))),
    "1 / (1 / x)": (lambda x, y: dd.div(1.0, dd.div(1.0, x)), lambda x, y: (x, abs(x))),
    "x / huge": (lambda x, y: dd.div(x, HUGE), lambda x, y: (x / HUGE, abs(x / HUGE))),
    "plain product - x * y": (
        lambda x, y: dd.sub(dd.from_float(x.hi * y.hi), dd.mul(x, y)),
        lambda x, y: (arb(float(x) * float(y)) - x * y, abs(x * y)),
    ),
}


def scanned(f):
    def program(x, y):
        rows = DD(*(v.reshape(-1, 50) for v in x)), DD(*(v.reshape(-1, 50) for v in y))
        return jax.tree.map(jnp.ravel, lax.scan(lambda _, xy: (None, f(*xy)), None, rows)[1])

    return program


def one_by_one(f):
    return lambda x, y: lax.map(lambda xy: f(*xy), (x, y))


CONTEXTS = {"eager": lambda f: f, "jit": jax.jit, "vmap": jax.vmap, "scan": scanned, "loop of scalars": one_by_one}
NEAR_Y = close_to(NEAR, 11)


@pytest.mark.parametrize("context", CONTEXTS)
def test_programs(context):
    """Whole programs in one compilation: what XLA does with one operation's neighbours must not show."""
    pick = slice(0, 1000 if context != "loop of scalars" else 200)
    x, y = DD(NEAR.hi[pick], NEAR.lo[pick]), DD(NEAR_Y.hi[pick], NEAR_Y.lo[pick])
    outs = CONTEXTS[context](lambda x, y: DD(*zip(*(f(x, y) for f, _ in PROGRAMS.values()), strict=True)))(x, y)
    for (name, (_, truth)), out in zip(PROGRAMS.items(), zip(*outs, strict=True), strict=True):
        out = DD(*map(np.asarray, out))
        truths, scales = zip(*(truth(a, b) for a, b in zip(exactly(x), exactly(y), strict=True)), strict=True)
        ratio, _ = worst(out, truths, 45, scales)
        assert ratio <= 1, name


# ------------------------------------------------------------------------------------------------ without rounding


def fractions(x):
    return [Fraction(float(hi)) + Fraction(float(lo)) for hi, lo in zip(np.ravel(x.hi), np.ravel(x.lo), strict=True)]


def edges():
    """Integers and halves with and without a tiny part, in pairs that are often equal."""
    hi = np.concatenate([np.arange(-6, 7) / 2, [2.0**52 + 1, -(2.0**53), 2.0**60, 0.3, -1e300]])
    return normalized(np.repeat(hi, 3), np.tile([0.0, 2.0**-70, -(2.0**-70)], hi.size))


def integers():
    """Integers and halves beyond 2**53, where lo holds the fraction."""
    hi = np.repeat([2.0**53, 2.0**54, 2.0**52 + 1, -(2.0**53), -(2.0**55)], 7)
    return normalized(hi, np.tile([0.0, 0.5, -0.5, 0.25, -1.0, 1.5, 0.75], 5))


def away(x):
    return math.floor(abs(x) + Fraction(1, 2)) * (1 if x > 0 else -1)


EXACT = {
    "abs": (dd.abs, abs),
    "neg": (dd.neg, lambda x: -x),
    "sign": (dd.sign, lambda x: (x > 0) - (x < 0)),
    "floor": (dd.floor, math.floor),
    "ceil": (dd.ceil, math.ceil),
    "round": (dd.round, away),
    "round to even": (lambda x: dd.round(x, lax.RoundingMethod.TO_NEAREST_EVEN), round),
    "max": (lambda x: dd.max(x, dd.from_float(0.5)), lambda x: max(x, Fraction(1, 2))),
    "min": (lambda x: dd.min(x, dd.from_float(0.5)), lambda x: min(x, Fraction(1, 2))),
}


@pytest.mark.parametrize("name", EXACT)
def test_exact_functions(name):
    f, truth = EXACT[name]
    for x in (edges(), integers(), NEAR):
        assert fractions(f(arrays(x))) == [truth(v) for v in fractions(x)]


def test_comparisons():
    x = edges()
    left = DD(np.repeat(x.hi, x.hi.size), np.repeat(x.lo, x.hi.size))
    right = DD(np.tile(x.hi, x.hi.size), np.tile(x.lo, x.hi.size))
    for name in ("lt", "le", "gt", "ge", "eq", "ne"):
        truths = [getattr(operator, name)(a, b) for a, b in zip(fractions(left), fractions(right), strict=True)]
        assert np.asarray(getattr(dd, name)(arrays(left), arrays(right))).tolist() == truths


# ------------------------------------------------------------------------------------------------ reductions


def rows(shape, binades, seed):
    x = random_pairs(math.prod(shape), binades, seed)
    return DD(x.hi.reshape(shape), x.lo.reshape(shape))


def object_array(x):
    return np.array(exactly(x), dtype=object).reshape(x.hi.shape)


@pytest.mark.parametrize("shape, axes", [((2000,), (0,)), ((7, 300), (1,)), ((300, 7), (0,)), ((9, 8, 7), (0, 2))])
def test_sums(shape, axes):
    x = rows(shape, 30, 5)
    terms = math.prod(shape[a] for a in axes)
    numbers = object_array(x)
    out = dd.reduce_sum(arrays(x), axes=axes)
    ratio, _ = worst(out, np.ravel(numbers.sum(axis=axes)), 3.01 * terms, np.ravel(abs(numbers).sum(axis=axes)))
    assert ratio <= 1


@pytest.mark.parametrize("name, reverse", [("cumsum", False), ("cumsum", True), ("cumprod", False), ("cummax", True)])
def test_running(name, reverse):
    x = rows((150, 4), 1, 6)
    numbers = object_array(x)[::-1] if reverse else object_array(x)
    fold = {"cumsum": np.add, "cumprod": np.multiply, "cummax": np.maximum}[name].accumulate
    truths, scales = fold(numbers), np.add.accumulate(abs(numbers)) if name == "cumsum" else abs(fold(numbers))
    if reverse:
        truths, scales = truths[::-1], scales[::-1]
    units = {"cumsum": 3.01 * (2 * math.sqrt(150) + 2), "cumprod": 11 * 150, "cummax": 1e-9}[name]
    ratio, _ = worst(getattr(dd, name)(arrays(x), axis=0, reverse=reverse), np.ravel(truths), units, np.ravel(scales))
    assert ratio <= 1


def test_products_and_extrema():
    x = rows((6, 50), 1, 8)
    numbers = object_array(x)
    ratio, _ = worst(dd.reduce_prod(arrays(x), axes=(1,)), numbers.prod(axis=1), 11 * 50)
    assert ratio <= 1
    twin = DD(np.tile(x.hi[:, :2], 25), x.lo)  # equal high parts: the low parts decide
    for y in (x, twin):
        order = [fractions(DD(h, lo)) for h, lo in zip(y.hi, y.lo, strict=True)]
        assert fractions(dd.reduce_max(arrays(y), axes=(1,))) == [max(row) for row in order]
        assert fractions(dd.reduce_min(arrays(y), axes=(1,))) == [min(row) for row in order]
        assert dd.argmax(arrays(y), 1).tolist() == [row.index(max(row)) for row in order]
        assert dd.argmin(arrays(y), 1).tolist() == [row.index(min(row)) for row in order]


DOTS = [
    ((20, 30), (30, 10), (((1,), (0,)), ((), ())), 20),
    ((3, 5, 40), (3, 40, 6), (((2,), (1,)), ((0,), (0,))), 5),
    ((700,), (700,), (((0,), (0,)), ((), ())), 5),
    ((4, 5, 6), (6, 5, 3), (((1, 2), (1, 0)), ((), ())), 300),
    ((4,), (5,), (((), ()), ((), ())), 40),
    ((2, 3000), (3000, 2), (((1,), (0,)), ((), ())), 1),
]


@pytest.mark.parametrize("x_shape, y_shape, numbers, binades", DOTS)
def test_dots(x_shape, y_shape, numbers, binades, record_property):
    x, y = rows(x_shape, binades, 1), rows(y_shape, binades, 2)
    out = dd.dot_general(arrays(x), arrays(y), numbers)
    (left, _), (batch, _) = numbers
    terms = math.prod(x_shape[a] for a in left)

    def contracted(x, y, product=operator.mul, total=sum):
        free = [a for a in range(x.ndim) if a not in (*batch, *left)]
        x = np.transpose(x, (*batch, *free, *left)).reshape(*(x.shape[a] for a in batch), -1, terms)
        right, right_batch = numbers[0][1], numbers[1][1]
        others = [a for a in range(y.ndim) if a not in (*right_batch, *right)]
        y = np.transpose(y, (*right_batch, *others, *right)).reshape(*(y.shape[a] for a in right_batch), -1, terms)
        return np.ravel(total(product(x[..., :, None, :], y[..., None, :, :])))

    numbers_x, numbers_y = object_array(x), object_array(y)
    truths = contracted(numbers_x, numbers_y, total=lambda v: v.sum(axis=-1))
    sizes = contracted(abs(numbers_x), abs(numbers_y), total=lambda v: v.sum(axis=-1))
    highest = contracted(np.abs(x.hi), np.abs(y.hi), lambda x, y: x.max(-1) * y.max(-1), lambda v: v)
    limit = dd.product_cut(terms).truncation * terms
    scales = [3.01 * abs(t) + arb(float(h)) * (limit / UNIT) for t, h in zip(truths, highest, strict=True)]
    ratio, _ = worst(out, truths, 1.0, scales)
    record_property("summary", f"error / bound {ratio:.2f}; {worst(out, truths, 1.0, sizes)[1]:.2f} u**2 |x| |y|")
    assert ratio <= 1


# ------------------------------------------------------------------------------------------------ elementary functions


def lgamma(x):
    return x.lgamma() if x > 0 else (arb.pi() / abs(x.sin_pi())).log() - (1 - x).lgamma()


def full(hi, seed=0):
    """Pairs with given high parts and random low parts, often zero or far below."""
    hi = np.concatenate([np.ravel(h) for h in hi])
    rng = np.random.default_rng(seed)
    return normalized(hi, hi * 2.0**-53 * rng.uniform(-1, 1, hi.size) * rng.choice([0, 1, 1, 2.0**-30], hi.size))


def spread(low, high, n=250, seed=0, signs=(-1, 1)):
    """Magnitudes from 2**low to 2**high."""
    rng = np.random.default_rng(seed)
    return 2.0 ** rng.uniform(low, high, n) * rng.choice(signs, n)


def steps(step, first, last):
    """Multiples of a step, and their midpoints: where a reduction changes."""
    k = np.arange(first, last) * (step / 2)
    return np.concatenate([k, np.nextafter(k, np.inf)])


LINE = full(
    [spread(-60, 9), spread(-8, 2), spread(-1000, -60, 50), steps(math.log(2) / 256, -40, 40), [0.0, 700, -700]]
)
ABOVE = [spread(-1000, 1000, signs=(1,)), 1 + spread(-50, -1), 2.0 ** np.arange(-60, 60)]
INSIDE = [spread(-60, 0), (1 - spread(-50, -1, signs=(1,))), spread(-1000, -60, 50), np.linspace(-0.75, 0.75, 201)]
ANGLES = full([
    spread(-60, 30), spread(-4, 4), spread(-1000, -60, 50), steps(math.pi / 256, -520, 520), steps(math.pi, -40, 40),
    np.pi / 2 * np.array([1e5, 12345, 2**20, 2**28]), [6381956970095103 * 2.0**-31, 2.0**29],
])  # fmt: skip
POWERS = (
    full([spread(-10, 10, signs=(1,)), 1 + spread(-50, -20)]),
    full([spread(-5, 5), spread(0, 25)], 1),
)
PLANE = (
    full([spread(-500, 500), spread(-3, 3), [0.0, 1, -1, 3]]),
    full([spread(-500, 500, seed=1), spread(-3, 3, seed=2), [-2.0, 1, 0, -4]], 1),
)
GAUSS = full([spread(-60, 4.7), spread(-4, 4.7), spread(-1000, -60, 50), steps(1 / 8, -80, 80), np.linspace(24, 27, 31)])
POLES = full([
    spread(-60, 10), spread(-3, 6), spread(-900, 900, 150, signs=(1,)), np.arange(1.0, 40), [1.4616321449683622, -0.5, -2.457024],
    -np.arange(1, 40) + spread(-50, -2, 39),
])  # fmt: skip
BOTH = full([spread(-60, 10), spread(-3, 6), spread(-900, 1000, 60), np.linspace(46, 50, 41)])
HURWITZ = (
    full([1 + spread(-60, 3, 200, signs=(1,)), 1 + spread(-3, 9, 200, signs=(1,)), np.arange(2.0, 12)]),
    full([spread(-40, 40, 200, signs=(1,), seed=3), spread(-5, 12, 200, signs=(1,), seed=4), np.ones(10)], 1),
)
ORDERS = (
    dd.DD(np.repeat(np.array([1.0, 2, 3, 5, 20, 100, 170]), 40), np.zeros(280)),
    full([spread(-40, 40, 140, signs=(1,)), spread(-1, 9, 140, signs=(1,))], 1),
)
SHARES = full([*INSIDE[:3], np.linspace(-0.99, 0.99, 199), 1 - 2.0 ** -np.arange(1, 54)])
ELEMENTARY = {
    "cbrt": (lambda x: abs(x).root(3) * (1 if x > 0 else -1), full([spread(-1000, 1000), np.arange(1.0, 30) ** 3])),
    "exp": (arb.exp, LINE),
    "exp2": (lambda x: (x * arb.const_log2()).exp(), full([spread(-60, 9.9), np.arange(-20, 20) / 512, [0.0, 1000]])),
    "expm1": (arb.expm1, LINE),
    "log": (arb.log, full(ABOVE)),
    "log1p": (arb.log1p, full([*ABOVE, *INSIDE])),
    "sinh": (arb.sinh, LINE),
    "cosh": (arb.cosh, LINE),
    "tanh": (arb.tanh, LINE),
    "asinh": (arb.asinh, full([*ABOVE, *INSIDE])),
    "acosh": (arb.acosh, full([1 + spread(-50, 1000, signs=(1,)), 1 + spread(-3, 3, signs=(1,))])),
    "atanh": (arb.atanh, full(INSIDE)),
    "logistic": (lambda x: 1 / (1 + (-x).exp()), LINE),
    "sin": (arb.sin, ANGLES),
    "cos": (arb.cos, ANGLES),
    "tan": (arb.tan, ANGLES),
    "asin": (arb.asin, full(INSIDE)),
    "acos": (arb.acos, full(INSIDE)),
    "atan": (arb.atan, full([*ABOVE, *INSIDE])),
    "pow": (lambda x, y: (y * x.log()).exp(), *POWERS),
    "atan2": (arb.atan2, *PLANE),
    "lgamma": (lgamma, POLES),
    "digamma": (arb.digamma, POLES),
    "bessel_i0e": (lambda x: abs(x).bessel_i(0, scaled=True), BOTH),
    "bessel_i1e": (lambda x: abs(x).bessel_i(1, scaled=True) * (1 if x > 0 else -1), BOTH),
    "zeta": (arb.zeta, *HURWITZ),
    "polygamma": (lambda m, x: (m + 1).gamma() * arb.zeta(m + 1, x) * (-1) ** round(float(m) + 1), *ORDERS),
    "erf": (arb.erf, GAUSS),
    "erfc": (arb.erfc, GAUSS),
    "erf_inv": (arb.erfinv, SHARES),
}


LONG = ("digamma", "polygamma", "bessel_i1e", "erf_inv")  # what they are made of runs in other rows, too


def rows_of(names):
    return [pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in names]


@pytest.mark.parametrize("name", rows_of(ELEMENTARY))
def test_elementary(name, record_property):
    truth, *inputs = ELEMENTARY[name]
    judge(name, getattr(dd, name), truth, [tuple(inputs)], record_property)


def shorter(function, by):
    """A table without its last rows."""
    return lambda *args: jax.tree.map(lambda column: column[:-by], function(*args))


FAULTS = {
    "erf": (_error_functions, "erf_table", shorter(_error_functions.erf_table, 3)),
    "erfc": (_error_functions, "scaled_complement_table", shorter(_error_functions.scaled_complement_table, 6)),
    "erfc far out": (_error_functions, "LEVELS", 24),
    "erf_inv": (_error_functions, "ROUNDS", 2),
    "lgamma": (_gamma, "stirling_table", shorter(_gamma.stirling_table, 14)),
    "digamma": (_gamma, "digamma_table", shorter(_gamma.digamma_table, 8)),
    "bessel_i0e": (_bessel, "series_table", shorter(_bessel.series_table, 14)),
    "bessel_i1e far out": (_bessel, "asymptotic_table", shorter(_bessel.asymptotic_table, 35)),
    "zeta": (_zeta, "SUMMED", 8),
    "polygamma": (_zeta, "log_factorial_table", lambda table=_zeta.log_factorial_table: DD(table().hi, 0 * table().lo)),
}


@pytest.mark.parametrize("fault", [pytest.param(f, marks=[pytest.mark.long] * (f != "erfc far out")) for f in FAULTS])
def test_a_fault_is_seen(fault, monkeypatch):
    """Terms too few: the bound must not hold."""
    name, (module, attribute, by) = fault.split()[0], FAULTS[fault]
    truth, *inputs = ELEMENTARY[name]
    monkeypatch.setattr(module, attribute, by)
    f = jax.jit(lambda *args: getattr(dd, name).__wrapped__(*args))
    with pytest.raises(AssertionError):
        judge(name, f, truth, [tuple(inputs)], lambda *_: None)


# ------------------------------------------------------------------------------------------------ what is not a number

INF, NAN = math.inf, math.nan
SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, INF, -INF, NAN, 1e308, -1e308, 1e-300]
UNARY = [name for name in ELEMENTARY if len(ELEMENTARY[name]) == 2] + ["sqrt", "rsqrt", "abs", "neg", "sign", "floor"]


def same_kind(out, plain):
    """inf, NaN and finite numbers where float64 has them."""
    number, plain = np.asarray(dd.to_float(out)), np.asarray(plain)
    np.testing.assert_array_equal(np.where(np.isfinite(number), 0.0, number), np.where(np.isfinite(plain), 0.0, plain))
    finite = np.isfinite(plain)
    np.testing.assert_allclose(number[finite], plain[finite], rtol=1e-13, atol=0)


@pytest.mark.parametrize("name", rows_of(UNARY))
def test_special_arguments(name):
    x = np.array([v for v in SPECIAL if name not in ("sin", "cos", "tan") or abs(v) != 1e308])
    x = np.resize(
        x, ELEMENTARY[name][1].hi.shape if name in ELEMENTARY else x.shape
    )  # compiled already
    same_kind(getattr(dd, name)(dd.from_float(x)), getattr(lax, name)(x))


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "max", "min", "pow", "atan2"])
def test_special_pairs_of_arguments(name):
    x, y = (np.ravel(v) for v in np.meshgrid(SPECIAL, SPECIAL))
    same_kind(getattr(dd, name)(dd.from_float(x), dd.from_float(y)), getattr(lax, name)(x, y))


def test_unknown_low_parts_stay_unknown():
    unknown = DD(jnp.ones(1), jnp.full(1, NAN))
    for name in ("add", "mul", "div"):
        assert np.isnan(dd.to_float(getattr(dd, name)(unknown, dd.from_float(2.0))))


# ------------------------------------------------------------------------------------------------ classic cases


def test_rump():
    def f(a, b):
        a2, b2 = dd.square(a), dd.square(b)
        b4, b6, b8 = (dd.integer_pow(b, n) for n in (4, 6, 8))
        inner = dd.sub(dd.sub(dd.sub(dd.mul(dd.mul(11.0, a2), b2), b6), dd.mul(121.0, b4)), 2.0)
        return dd.add(dd.add(dd.add(dd.mul(333.75, b6), dd.mul(a2, inner)), dd.mul(5.5, b8)), dd.div(a, dd.mul(2.0, b)))

    out = jax.jit(f)(dd.from_float(77617.0), dd.from_float(33096.0))
    # Intermediates of 7.9e36 cancel to -0.827: 123 bits, more than a pair has; the error stays within 2**-106 of them.
    truth = arb("-0.82739605994682136814116509547981629199903311578438481991781")
    assert worst(out, [truth], 20, [arb(7.9e36)])[0] <= 1


@pytest.mark.parametrize("n, digits", [(10, 17), (20, 5)])
def test_muller(n, digits):
    def step(pair, _):
        before, now = pair
        after = dd.sub(111.0, dd.div(dd.sub(1130.0, dd.div(3000.0, before)), now))
        return (now, after), None

    start = dd.from_float(5.5), dd.div(dd.from_float(61.0), dd.from_float(11.0))
    (_, out), _ = jax.jit(lambda s: lax.scan(step, s, None, length=n - 1))(start)
    five, six = arb(5), arb(6)
    truth = (six ** (n + 1) + five ** (n + 1)) / (six**n + five**n)
    assert magnitude(exactly(out)[0] - truth) < 10.0**-digits
