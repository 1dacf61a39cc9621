"""Rows of elementwise primitives: elementary functions, arithmetic, decisions, conversions, integers."""

import jax
import jax.numpy as jnp
import numpy as np
from cases import Case
from jax import lax

N = 30

# name: (low, high, edges)
ELEMENTARY = {
    "exp": (-np.inf, np.inf, (88.0, -87.0, 11.0)),
    "exp2": (-np.inf, np.inf, (127.0, -126.0)),
    "expm1": (-np.inf, np.inf, (88.0,)),
    "log": (0.0, np.inf, (1.0,)),
    "log1p": (-1.0, np.inf, (-1.0,)),
    "log2": (0.0, np.inf, (1.0, 2.0)),
    "sqrt": (0.0, np.inf, ()),
    "rsqrt": (0.0, np.inf, ()),
    "cbrt": (-np.inf, np.inf, ()),
    "logistic": (-np.inf, np.inf, (-87.0, 17.0)),
    "tanh": (-np.inf, np.inf, (9.0,)),
    "sin": (-np.inf, np.inf, (np.pi, np.pi / 2, 1e4)),
    "cos": (-np.inf, np.inf, (np.pi, np.pi / 2, 1e4)),
    "tan": (-np.inf, np.inf, (np.pi / 2, np.pi)),
    "asin": (-1.0, 1.0, (1.0, -1.0)),
    "acos": (-1.0, 1.0, (1.0, -1.0)),
    "atan": (-np.inf, np.inf, (1.0,)),
    "sinh": (-np.inf, np.inf, (88.0,)),
    "cosh": (-np.inf, np.inf, (88.0,)),
    "asinh": (-np.inf, np.inf, ()),
    "acosh": (1.0, np.inf, (1.0,)),
    "atanh": (-1.0, 1.0, (1.0, -1.0)),
    "erf": (-np.inf, np.inf, (3.9,)),
    "erfc": (-np.inf, np.inf, (9.0, 3.0)),
    "erf_inv": (-1.0, 1.0, (1.0, -1.0)),
}


def one(low=-np.inf, high=np.inf, edges=(), **options):
    return lambda draw: (draw.numbers(N, low=low, high=high, edges=edges, **options),)


def two(**options):
    """Pairs, some equal, opposite, or nearly so."""

    def inputs(draw):
        x, y = draw.numbers(N, **options), draw.numbers(N, **options)
        if draw.hardness:
            eps = float(draw.info.eps)
            factors = draw.random.choice([1, -1, 1 + eps, -1 - 2 * eps], len(x.value[::4]))
            largest = float(draw.info.max)
            with np.errstate(over="ignore"):
                near = np.clip(x.value[::4].astype(np.float64) * factors, -largest, largest)
            y.value[::4] = near.astype(y.value.dtype)
        return x, y

    return inputs


def elementary():
    for name, (low, high, edges) in ELEMENTARY.items():
        function = getattr(lax, name, None) or getattr(jnp, name)
        yield Case(name, function, one(low, high, edges), scalar=True)
    yield Case("pow", lax.pow, lambda d: (d.numbers(N, low=0.0, edges=(1.0,)), d.numbers(N)), scalar=True)
    yield Case("pow of integers", lax.pow, lambda d: (d.numbers(N), d.integers(N, low=-4, high=6).value))
    yield Case("atan2", lax.atan2, two(), scalar=True)


UNARY = {
    "neg": lax.neg,
    "abs": lax.abs,
    "square": lax.square,
    "x*x": lambda x: x * x,
    "x+1": lambda x: x + 1,
    "1-x": lambda x: 1 - x,
    "3*x": lambda x: 3 * x,
    "x/4": lambda x: x / 4,
    "0.5*x": lambda x: 0.5 * x,
    "x/3": lambda x: x / 3,
    "x-x": lambda x: x - x,
    "x*0": lambda x: x * 0,
    "1-x*x": lambda x: 1 - x * x,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "gelu": lambda x: jax.nn.gelu(x, approximate=True),
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "x**3": lambda x: lax.integer_pow(x, 3),
    "x**7": lambda x: lax.integer_pow(x, 7),
    "sign": lax.sign,
    "floor": lax.floor,
    "ceil": lax.ceil,
    "round away": lax.round,
    "round even": lambda x: lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN),
    "floor difference": lambda x: x - jnp.floor(x),
    "clip": lambda x: jnp.clip(x, -0.5, 0.75),
    "is_finite": lax.is_finite,
    "isnan": jnp.isnan,
    "x>0": lambda x: x > 0,
    "where x>0.5": lambda x: jnp.where(x > 0.5, x * x, 2 - x),
    "sign by where": lambda x: jnp.where(x == 0, jnp.zeros_like(x), x / jnp.abs(x)),
    "stop_gradient": lax.stop_gradient,
    "reduce_precision": lambda x: lax.reduce_precision(x, 5, 4),
    "barrier": lambda x: lax.optimization_barrier((x + 1, x))[0],
    "fma": lambda x: x * 1.1 + x,
    "double cast": lambda x: (x * 3).astype(jnp.float32) + 1,
}

BINARY = {
    "add": lax.add,
    "sub": lax.sub,
    "mul": lax.mul,
    "div": lax.div,
    "max": lax.max,
    "min": lax.min,
    "maximum of products": lambda x, y: jnp.maximum(x * y, x + y),
    "lt": lax.lt,
    "le": lax.le,
    "gt": lax.gt,
    "ge": lax.ge,
    "eq": lax.eq,
    "ne": lax.ne,
    "select": lambda x, y: jnp.where(x < y, x, 2 * y),
    "power of a literal": lambda x, y: jnp.power(0.999, x) * jnp.power(0.3, jnp.int32(3)) + y * 0.7,
    "select_n": lambda x, y: lax.select_n((x > y).astype(jnp.int32) + (x > 2 * y), x, y, x * y),
    "and": lambda x, y: (x > 0) & (y > x),
    "or": lambda x, y: (x > 0) | (y > x),
    "xor not": lambda x, y: ~((x > 0) ^ (y > x)),
    "clamp": lambda x, y: lax.clamp(jnp.minimum(x, y), y * 2, jnp.maximum(x, y)),
    "hypot": jnp.hypot,
    "logaddexp": jnp.logaddexp,
    "nan replaced": lambda x, y: jnp.where(jnp.isnan((x / y) * 0), 1, x),
    "difference of squares": lambda x, y: x * x - y * y,
    "fma of two": lambda x, y: x * y + x,
    "lerp": lambda x, y: x + 0.25 * (y - x),
    "copysign": lambda x, y: jnp.where(y < 0, -jnp.abs(x), jnp.abs(x)),
}


def arithmetic():
    for name, f in UNARY.items():
        yield Case(name, f, one(edges=(0.5, 1.0, 2.5)), scalar=True)
    for name, f in BINARY.items():
        yield Case(name, f, two(), scalar=True)
    for y in (-1, -2, -3):
        away = lambda d: (d.numbers(N, low=1e-3, wide=False),)  # noqa: E731
        yield Case(f"x**{y}", lambda x, y=y: lax.integer_pow(x, y), away, scalar=True)
    yield Case("nextafter", lax.nextafter, lambda d: (d.numbers(N), d.exact(N)))
    yield Case("reciprocal", lambda x: 1 / x, one(), scalar=True)
    yield Case("rem", lax.rem, lambda d: (d.numbers(N, scale=9.0, wide=False), d.numbers(N, low=0.5, wide=False)))
    yield Case("mod", jnp.mod, lambda d: (d.numbers(N, scale=9.0, wide=False), d.numbers(N, low=0.5, wide=False)))
    yield Case("scalar operands", lambda x, y: x * y + 1, lambda d: (d.numbers(N), d.numbers()))
    yield Case("literal zero", lambda x: jnp.maximum(x, 0) + jnp.minimum(0, x), one())
    yield Case("inputs with infinities", lambda x, m: jnp.exp(x + m), _masked)
    yield Case("inputs with NaN", lambda x, m: jnp.maximum(x, m) + x, _with_nan, unbounded=True)


def _masked(draw):
    mask = np.where(draw.bools(N), 0, -np.inf).astype(draw.dtype)
    return draw.numbers(N, wide=False), mask


def _with_nan(draw):
    return draw.numbers(N), np.where(draw.random.random(N) < 0.2, np.nan, 1).astype(draw.dtype)


FLOAT_TARGETS = ("float64", "float32", "float16", "bfloat16")
WIDE = ("float32+x64", "float64", "bfloat16+x64", "float16+x64")
INTEGER_TARGETS = ("int8", "int32", "uint8", "bool", "int64")


def conversions():
    for target in (*FLOAT_TARGETS, *INTEGER_TARGETS):
        moderate = dict(scale=20.0, wide=True) if target in FLOAT_TARGETS else dict(scale=9.0, edges=(0.5, 127.0, 1.0))
        if target == "uint8":
            moderate |= dict(low=0.0, high=255.0)  # beyond, casts saturate: error inf
        yield Case(f"to {target}", lambda x, t=target: x.astype(t), one(**moderate), WIDE)
    for source in ("int8", "int32", "uint8", "int64"):
        limits = np.iinfo(source)
        for target in FLOAT_TARGETS:
            whole = lambda d, s=source, i=limits: (_integers(d, s, i),)  # noqa: E731
            yield Case(f"{source} to {target}", lambda x, t=target: x.astype(t), whole, ("float64",))
    yield Case("bool to float", lambda x: x.astype(jnp.float32), lambda d: (d.bools(N),), ("float32",))
    yield Case("there and back", lambda x: x.astype(jnp.bfloat16).astype(x.dtype) * 3, one(), WIDE)
    yield Case("float16 and back", lambda x: x.astype(jnp.float16).astype(x.dtype) - x, one(), WIDE)


def _integers(draw, dtype, limits):
    if not draw.hardness:
        return draw.integers(N, low=max(int(limits.min) // 2, -30000), high=min(int(limits.max) // 2, 30000), dtype=dtype)
    ends = np.array([limits.min, limits.max, limits.max // 2, 0, 1, min(limits.max, 2**24 + 1), min(limits.max, 2**11 + 1)])
    numbers = draw.integers(N, low=int(limits.min), high=int(limits.max), dtype=dtype)
    numbers.value[::3] = draw.random.choice(ends, len(numbers.value[::3]))
    return numbers


INTEGERS = {
    "integer add": lambda i, j: i + j,
    "integer mul": lambda i, j: i * j,
    "integer sub": lambda i, j: i - j * 2,
    "integer compare": lambda i, j: i < j,
    "integer select": lambda i, j: jnp.where(i < j, i, j * 3),
    "integer max": lambda i, j: jnp.maximum(i, j) - jnp.minimum(i, j),
    "integer division": lambda i, j: i // (jnp.abs(j) + 1),
    "integer remainder": lambda i, j: i % (jnp.abs(j) + 1),
    "integer power": lambda i, j: i**3 + j,
    "integer bits": lambda i, j: (i & j) + (i | 3) + (j ^ i) + (i << 2) + (j >> 1),
    "integer sum": lambda i, j: jnp.sum(i * j),
    "integer dot": lambda i, j: i @ j,
    "integer narrow": lambda i, j: (i * 20).astype(jnp.int8),
    "integer to bool": lambda i, j: i.astype(bool),
    "integer abs": lambda i, j: jnp.abs(i) * jnp.sign(j),
    "integer cumsum": lambda i, j: jnp.cumsum(i),
    "integer sort": lambda i, j: jnp.sort(i),
    "integer argmax": lambda i, j: jnp.argmax(i),
    "integer clamp": lambda i, j: jnp.clip(i, -3, j),
}


def integers():
    for name, f in INTEGERS.items():
        yield Case(name, f, lambda d: (d.integers(N), d.integers(N)), ("float32",), unbounded=True)


CASES = [*elementary(), *arithmetic(), *conversions(), *integers()]
