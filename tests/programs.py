"""Random programs: instructions that pick their operands among recent values, so that any list of them is a program."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

RECENT = 5  # operands are among so many latest values of their kind
STEPS = {}


class Instruction(NamedTuple):
    """A step and which recent values it reads, counted from the latest."""

    step: str
    a: int
    b: int
    c: int


class Values:
    """The values of a program so far."""

    def __init__(self, arrays, dtype):
        self.arrays, self.dtype = list(arrays), dtype

    def _of(self, index, condition, default):
        found = [x for x in self.arrays if condition(x)][-RECENT:]
        return found[-1 - index % len(found)] if found else default

    def number(self, index):
        return self._of(index, lambda x: jnp.issubdtype(x.dtype, jnp.floating), None)

    def vector(self, index):
        """Three numbers, by reshaping what there is."""
        x = self.number(index)
        return x if x.shape == (3,) else jnp.broadcast_to(x, (3,)) if x.ndim == 0 else x[1]

    def matrix(self, index):
        return jnp.broadcast_to(self.number(index), (2, 3))

    def integers(self, index):
        """Three integers."""
        x = self._of(index, lambda x: jnp.issubdtype(x.dtype, jnp.integer), jnp.arange(3))
        return jnp.broadcast_to(x if x.ndim < 2 else x[0], (3,))

    def boolean(self, index):
        return self._of(index, lambda x: x.dtype == bool and x.ndim == 0, jnp.bool_(True))


def run(instructions, arrays, dtype):
    """Every value that the instructions compute from the arrays."""
    values = Values(arrays, dtype)
    for instruction in instructions:
        name, *picks = instruction
        result = STEPS[name](values, *picks)
        values.arrays.append(usual(result.astype(dtype) if jnp.issubdtype(result.dtype, jnp.floating) else result))
    return values.arrays


def usual(x):
    """The array in one of the shapes (), (3,), (2, 3)."""
    return x[jnp.array([0, 1, 0])] if x.shape == (2,) else x


def step(function):
    STEPS[function.__name__] = function
    return function


def defunary(name, function):
    STEPS[name] = lambda v, a, b, c: function(v.number(a))


def defbinary(name, function):
    STEPS[name] = lambda v, a, b, c: function(v.number(a), v.number(b))


def near_one(x):
    """A number between -0.9 and 0.9."""
    return 0.9 * jnp.tanh(x)


def positive(x):
    return jnp.abs(x) + 0.5


for _name, _function in {
    "neg": lambda x: -x, "abs": jnp.abs, "square": lambda x: near_one(x) ** 2, "cube": lambda x: near_one(x) ** 3, "tanh": jnp.tanh,
    "exp": lambda x: jnp.exp(near_one(x)), "exp2": lambda x: jnp.exp2(near_one(x)), "expm1": lambda x: jnp.expm1(near_one(x)),
    "log": lambda x: jnp.log(positive(x)), "log1p": lambda x: jnp.log1p(jnp.abs(x)), "log2": lambda x: jnp.log2(positive(x)),
    "sqrt": lambda x: jnp.sqrt(jnp.abs(x)), "rsqrt": lambda x: lax.rsqrt(positive(x)), "cbrt": lambda x: jnp.cbrt(positive(x)),
    "sin": jnp.sin, "cos": jnp.cos, "tan": lambda x: jnp.tan(near_one(x)), "atan": jnp.arctan, "sigmoid": jax.nn.sigmoid,
    "asin": lambda x: jnp.arcsin(near_one(x)), "acos": lambda x: jnp.arccos(near_one(x)), "sinh": lambda x: jnp.sinh(near_one(x)),
    "cosh": lambda x: jnp.cosh(near_one(x)), "asinh": jnp.arcsinh, "acosh": lambda x: jnp.arccosh(1 + positive(x)),
    "atanh": lambda x: jnp.arctanh(near_one(x)), "erf": lax.erf, "erfc": lax.erfc, "erf_inv": lambda x: lax.erf_inv(near_one(x)),
    "relu": jax.nn.relu, "gelu": jax.nn.gelu, "silu": jax.nn.silu, "softplus": jax.nn.softplus, "leaky": jax.nn.leaky_relu,
    "reciprocal": lambda x: 1 / positive(x), "third": lambda x: x / 3, "scaled": lambda x: 0.3 * x + 0.1, "halved": lambda x: x / 2,
    "floor": lambda x: jnp.floor(3 * x), "sign": jnp.sign, "round": lambda x: jnp.round(3 * x) / 4, "fraction": lambda x: x % 1.0,
    "clip": lambda x: jnp.clip(x, -0.7, 0.6), "to_bool": lambda x: x.sum() > 0.25, "to_int": lambda x: (4 * near_one(x)).astype(jnp.int32),
    "through_bfloat16": lambda x: x.astype(jnp.bfloat16) * 3, "through_float16": lambda x: jnp.tanh(x.astype(jnp.float16)),
    "through_float32": lambda x: x.astype(jnp.float32) + 1, "stop_gradient": lax.stop_gradient, "isnan": lambda x: jnp.isnan(x).any(),
}.items():  # fmt: skip
    defunary(_name, _function)

for _name, _function in {
    "add": jnp.add, "sub": jnp.subtract, "mul": lambda x, y: 0.7 * x * y, "div": lambda x, y: x / positive(y), "max": jnp.maximum,
    "min": jnp.minimum, "select": lambda x, y: jnp.where(x < y, 0.5 * x, y - 1), "select_eq": lambda x, y: jnp.where(x == y, 0.5, x),
    "atan2": lambda x, y: jnp.arctan2(x, positive(y)), "pow": lambda x, y: positive(x) ** near_one(y), "hypot": lambda x, y: jnp.hypot(x, 1 + y),
    "logaddexp": jnp.logaddexp, "rem": lambda x, y: jnp.mod(x, positive(y)), "less": lambda x, y: (x < y).any(), "fma": lambda x, y: x * y + x,
}.items():  # fmt: skip
    defbinary(_name, _function)

for _name, _function in {
    "sum": lambda m, k: m.sum(k), "mean": lambda m, k: m.mean(), "reduce_max": lambda m, k: m.max(k), "reduce_min": lambda m, k: m.min(),
    "prod": lambda m, k: jnp.tanh(m).prod(k), "var": lambda m, k: m.var(k), "cumsum": lambda m, k: jnp.cumsum(m, k), "cummax": lax.cummax,
    "cumprod": lambda m, k: jnp.cumprod(jnp.tanh(m), k), "sort": lambda m, k: jnp.sort(m, axis=k), "rev": lambda m, k: jnp.flip(m, k),
    "logsumexp": lambda m, k: jax.nn.logsumexp(m, axis=k), "softmax": lambda m, k: jax.nn.softmax(m, axis=k), "argmax": lambda m, k: jnp.argmax(m, 1),
    "log_softmax": lambda m, k: jax.nn.log_softmax(m, axis=k), "argsort": lambda m, k: jnp.argsort(m[k]), "norm": lambda m, k: jnp.linalg.norm(m),
    "masked_softmax": lambda m, k: jax.nn.softmax(jnp.where(np.tri(2, 3, 1, dtype=bool), m, -1e9)), "roll": lambda m, k: jnp.roll(m, 1, k),
    "turned": lambda m, k: m.T.reshape(2, 3), "split": lambda m, k: jnp.concatenate([m[:, 1:], m[:, :1]], axis=1), "row": lambda m, k: m[k],
    "padded": lambda m, k: lax.pad(m, m[0, 0], ((1, -1, 0), (-1, 0, 1)))[:, :3].sum(0), "any": lambda m, k: (m > 0.3).all(),
    "dot": lambda m, k: (m @ (0.3 * m.T)).sum(k), "window": lambda m, k: lax.reduce_window(m, 0.0, lax.add, (1, 2), (1, 1), "SAME"),
    "max_window": lambda m, k: lax.reduce_window(m, -jnp.inf, lax.max, (2, 2), (1, 1), "SAME"),
}.items():  # fmt: skip
    STEPS[_name] = lambda v, a, b, c, function=_function: function(v.matrix(a), c % 2)


@step
def layer_norm(v, a, b, c):
    x = v.matrix(a)
    return (x - x.mean(-1, keepdims=True)) * lax.rsqrt(x.var(-1, keepdims=True) + 1e-3)


@step
def rms_norm(v, a, b, c):
    x = v.vector(a)
    return x * lax.rsqrt(jnp.mean(x * x) + 1e-3)


@step
def attention(v, a, b, c):
    q, k = v.matrix(a), v.matrix(b)
    return jax.nn.softmax(q @ k.T / 2) @ k


@step
def matrix_vector(v, a, b, c):
    return v.matrix(a) @ v.vector(b)


@step
def gather(v, a, b, c):
    return v.vector(a)[v.integers(b) % 3]


@step
def scatter_add(v, a, b, c):
    return v.vector(a).at[v.integers(b) % 3].add(v.vector(c))


@step
def dynamic_slice(v, a, b, c):
    return lax.dynamic_slice(v.matrix(a), (v.integers(b)[0], c), (2, 2)).sum(1)[0]


@step
def integers(v, a, b, c):
    return v.integers(a) * 2 - v.integers(b) // 3


@step
def index(v, a, b, c):
    return (v.integers(a) + jnp.arange(3)) % 3


@step
def from_integers(v, a, b, c):
    return v.integers(a).astype(v.dtype) / 7


@step
def count(v, a, b, c):
    return (v.vector(a) > 0.1).sum() + jnp.arange(3)


@step
def cond(v, a, b, c):
    return lax.cond(v.boolean(a), lambda x: jnp.sin(x) * 2, lambda x: x - 0.5, v.number(b))


@step
def cond_on_data(v, a, b, c):
    x = v.vector(a)
    return lax.cond(x[0] > x[1], lambda: x[2], lambda: x[0] * x[1])


@step
def switch(v, a, b, c):
    return lax.switch(v.integers(a)[0] % 3, [jnp.tanh, jnp.cos, lambda x: x * 0.5], v.vector(b))


@step
def scan(v, a, b, c):
    def cell(h, row):
        h = jnp.tanh(0.5 * h + row)
        return h, h.sum()

    h, sums = lax.scan(cell, v.vector(a), v.matrix(b), reverse=c % 2 == 1)
    return h + sums.sum()


@step
def scan_of_exact(v, a, b, c):
    return lax.scan(lambda h, row: (h * 0.5 + row, h), jnp.zeros(3, v.dtype), v.matrix(a))[1]


@step
def fori_loop(v, a, b, c):
    return lax.fori_loop(0, 3, lambda i, x: 0.5 * jnp.sin(x) + i, v.number(a))


@step
def counted_while(v, a, b, c):
    return lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, (s[1] + positive(v.number(a)) / s[1]) / 2), (0, positive(v.number(a))))[1]


@step
def while_on_data(v, a, b, c):
    return lax.while_loop(lambda x: x > 1, lambda x: x / 2, jnp.abs(v.vector(a)[0]))


@step
def inner_jit(v, a, b, c):
    return jitted(v.number(a), v.number(b))


@jax.jit
def jitted(x, y):
    return jnp.tanh(x + 0.5 * y) - x


@step
def inner_vmap(v, a, b, c):
    return jax.vmap(lambda row: jnp.where(row[0] > 0, row.sum(), row.max()))(v.matrix(a))[c % 2]


@jax.custom_jvp
def custom(x):
    return jnp.log1p(jnp.exp(near_one(x)))


custom.defjvps(lambda t, out, x: t * jax.nn.sigmoid(x))


@step
def custom_jvp(v, a, b, c):
    return custom(v.number(a))


def energy(x, y):
    return (jnp.tanh(x) * y + 0.1 * custom(x) + jax.nn.silu(x)).sum()


@step
def gradient(v, a, b, c):
    return jax.grad(energy)(v.vector(a), v.vector(b))


@step
def gradient_of_remat(v, a, b, c):
    return jax.grad(jax.checkpoint(energy))(v.vector(a), v.vector(b))


@step
def gradient_of_softmax(v, a, b, c):
    return jax.grad(lambda x: jax.nn.log_softmax(x)[:, c % 3].mean())(v.matrix(a))


@step
def gradient_of_scan(v, a, b, c):
    weights = v.matrix(b)

    def loss(x):
        return lax.scan(lambda h, row: (jnp.tanh(h * row), None), x, weights)[0].sum()

    return jax.grad(loss)(v.vector(a))


# Steps whose outcome is often in doubt, which makes errors infinite or useless: one in so many programs' steps is enough.
SELDOM = {"floor", "round", "fraction", "rem", "to_int", "argmax", "argsort", "while_on_data", "count", "sign", "select_eq"}


@functools.cache
def step_names():
    """Ordinary steps four times, those of doubtful outcome once."""
    return [name for name in STEPS for _ in range(1 if name in SELDOM else 4)]
