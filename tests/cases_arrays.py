"""Rows of primitives on arrays: reductions, scans, sorting, indexing, contractions, windows, moves."""

import jax
import jax.numpy as jnp
import numpy as np
from cases import FLOATS, FLOATS_AND_X64, FULL, Case
from jax import lax

from precjax import WorstCase

NORMWISE = (WorstCase(contraction="normwise"),)


def numbers(*shapes, wide=True, **options):
    """One argument per shape."""
    return lambda draw: tuple(draw.numbers(*shape, wide=wide, **options) for shape in shapes)


REDUCTIONS = {
    "reduce_sum": lambda x: lax.reduce_sum(x, (1,)),
    "reduce_sum of all": lambda x: lax.reduce_sum(x, (0, 1)),
    "reduce_sum of two": lambda x: lax.reduce_sum(x[:, :2], (1,)),
    "reduce_sum of none": lambda x: lax.reduce_sum(x[:, :1], (1,)),
    "reduce_sum of nothing": lambda x: lax.reduce_sum(x[:, :0], (1,)),
    "jnp.sum": lambda x: jnp.sum(x, axis=0),
    "mean": lambda x: jnp.mean(x, axis=1),
    "reduce_max": lambda x: lax.reduce_max(x, (1,)),
    "reduce_min": lambda x: lax.reduce_min(x, (0,)),
    "argmax": lambda x: jnp.argmax(x, axis=1),
    "argmin": lambda x: lax.argmin(x, 0, jnp.int32),
    "any all": lambda x: (jnp.any(x > 1, axis=0), jnp.all(x > 0, axis=1)),
    "cumsum": lambda x: lax.cumsum(x, 1),
    "cumsum reversed": lambda x: lax.cumsum(x, 0, reverse=True),
    "cummax": lambda x: lax.cummax(x, 1),
    "cummin": lambda x: lax.cummin(x, 0, reverse=True),
    "sort": lambda x: jnp.sort(x, axis=1),
    "sort descending": lambda x: jnp.sort(x, axis=0, descending=True),
    "argsort": lambda x: jnp.argsort(x, axis=1),
    "sort with payload": lambda x: lax.sort((x, x * 2, 1 - x), dimension=1, num_keys=1),
    "top_k": lambda x: lax.top_k(x, 2),
    "approx_max_k": lambda x: lax.approx_max_k(x, 2, reduction_dimension=0),
    "approx_min_k": lambda x: lax.approx_min_k(x, 2),
    "three reductions": lambda x: lax.reduce((x, x, x), (np.asarray(-np.inf, x.dtype), np.asarray(0, x.dtype), np.asarray(np.inf, x.dtype)), lambda a, b: (lax.max(a[0], b[0]), a[1] + b[1], lax.min(b[2], a[2])), (0,)),
    "parity": lambda x: lax.reduce_xor(x > 0.5, (0,)),
    "median": lambda x: jnp.median(x, axis=1),
    "norm": lambda x: jnp.sqrt(jnp.sum(x * x, axis=1)),
    "max minus min": lambda x: jnp.max(x, axis=1) - jnp.min(x, axis=1),
    "associative_scan": lambda x: lax.associative_scan(jnp.add, x, axis=1),
}
PRODUCTS = {
    "reduce_prod": lambda x: lax.reduce_prod(x, (1,)) if hasattr(lax, "reduce_prod") else jnp.prod(x, axis=1),
    "cumprod": lambda x: lax.cumprod(x, 1),
    "cumlogsumexp": lambda x: lax.cumlogsumexp(x, 1),
    "var": lambda x: jnp.var(x, axis=1),
}


def reductions():
    for name, f in REDUCTIONS.items():
        yield Case(name, f, numbers((4, 7)), FLOATS_AND_X64 if name in ("reduce_sum", "sort") else FLOATS)
    for name, f in PRODUCTS.items():
        yield Case(name, f, numbers((4, 6), wide=False))


STRUCTURAL = {
    "reshape": lambda x: lax.reshape(x, (3, 8)),
    "transpose": lambda x: x.T,
    "broadcast": lambda x: lax.broadcast_in_dim(x, (2, 4, 6), (1, 2)),
    "squeeze": lambda x: jnp.squeeze(x[:, None]),
    "slice": lambda x: lax.slice(x, (1, 0), (4, 6), (2, 3)),
    "rev": lambda x: lax.rev(x, (0, 1)),
    "pad": lambda x: lax.pad(x, x[0, 0], ((1, 2, 1), (-1, 3, 2))),
    "concatenate": lambda x: jnp.concatenate([x, 2 * x, jnp.ones((1, 6), x.dtype)], axis=0),
    "stack": lambda x: jnp.stack([x, -x], axis=1),
    "split": lambda x: jnp.split(x, [1, 3], axis=0),
    "tile": lambda x: jnp.tile(x, (2, 1)),
    "iota": lambda x: x * lax.broadcasted_iota(x.dtype, x.shape, 1),
    "roll": lambda x: jnp.roll(x, 2, axis=1),
    "triangle": lambda x: jnp.tril(x),
    "diagonal": lambda x: jnp.diagonal(x),
    "flatten outer": lambda x: x[:, :, None] - x[:, None, :],
}



def rows():
    """Made anew at each trace: JAX keeps a constant's dtype from before x64 was switched on."""
    return jnp.array([2, 0, 3, -1, 2])


INDEXING = {
    "take clipped": lambda x: jnp.take(x, rows(), axis=0, mode="clip"),
    "take wrapped": lambda x: jnp.take(x, rows(), axis=0, mode="wrap"),
    "take filled": lambda x: jnp.take(x, jnp.array([1, 7]), axis=0, mode="fill", fill_value=2.0),
    "take_along_axis": lambda x: jnp.take_along_axis(x, jnp.array([[0, 5], [3, 2], [1, 1], [4, 0]]), axis=1),
    "gather": lambda x: x[rows(), jnp.arange(5)],
    "scatter": lambda x: x.at[:, jnp.array([0, 3])].set(x[:, 1:3] * 3),
    "scatter dropped": lambda x: x.at[jnp.array([1, 9])].set(0.1, mode="drop"),
    "scatter-add": lambda x: x.at[jnp.array([0, 2, 0, 0])].add(x),
    "scatter-add of many": lambda x: jnp.zeros(2, x.dtype).at[jnp.arange(24) % 2].add(x.ravel()),
    "scatter-mul": lambda x: x.at[jnp.array([0, 2, 0, 0])].mul(x * 0.7),
    "scatter-max": lambda x: x.at[jnp.array([0, 2, 0, 0])].max(x * 0.9),
    "scatter-min dropped": lambda x: x.at[jnp.array([0, 9, 0, 2])].min(x * 0.9, mode="drop"),
    "segment_sum": lambda x: jax.ops.segment_sum(x, jnp.array([0, 1, 0, 2]), num_segments=3),
    "dynamic_slice": lambda x: lax.dynamic_slice(x, (2, 1), (2, 3)),
    "dynamic_update_slice": lambda x: lax.dynamic_update_slice(x, -x[:2, :2] * 3, (2, 1)),
    "gradient of gather": jax.grad(lambda x: (x[rows()] ** 2).sum()),
    "gradient of sort": jax.grad(lambda x: (jnp.sort(x, axis=1) * jnp.arange(6)).sum()),
    "gradient of cumsum": jax.grad(lambda x: (jnp.cumsum(x, axis=1) ** 2).sum()),
}


# Of x (5, 3) and integers i (4,) that may have errors.
AT_INTEGERS = {
    "gather in doubt": lambda x, i: x[i],
    "gather in doubt, clipped": lambda x, i: jnp.take(x, i, axis=0, mode="clip"),
    "gather in doubt, filled": lambda x, i: jnp.take(x, i, axis=0, mode="fill", fill_value=2.0),
    "gather in doubt of each row": lambda x, i: jax.vmap(lambda r, j: r[j])(x[:4], i),
    "gather in doubt of two indices": lambda x, i: x[i, i[::-1]],
    "scatter in doubt": lambda x, i: x.at[i].set(x[1:] * 3),
    "scatter-add in doubt": lambda x, i: x.at[i].add(x[1:] * 3),
    "scatter-add in doubt of numbers": lambda x, i: x.at[i, i[::-1]].add(x[1:, 0] * 3),
    "scatter-max in doubt": lambda x, i: x.at[i].max(x[1:] * 0.9),
    "scatter-mul in doubt": lambda x, i: x.at[i].mul(x[1:] * 0.7),
    "count in doubt": lambda x, i: jnp.zeros(6, jnp.int32).at[i].add(2),
    "segment_sum in doubt": lambda x, i: jax.ops.segment_sum(x[1:], i, num_segments=3),
    "gradient of gather in doubt": lambda x, i: jax.grad(lambda x: (x[i] ** 2).sum())(x),
}


def knots(x):
    return jnp.arange(6).astype(x.dtype)


def near_knots(draw):
    """Numbers, some of them at knots or next to them; and values, one for each knot."""
    x, f = draw.numbers(8, scale=3.0, edges=(1.0, 3.0), wide=False), draw.numbers(6, wide=False)
    return x._replace(value=np.where(draw.random.random(8) < 0.4, np.round(x.value.astype(float)), x.value).astype(x.value.dtype)), f


AMONG_KNOTS = {
    "searchsorted": lambda x, f: jnp.searchsorted(knots(x), x),
    "searchsorted from the right": lambda x, f: jnp.searchsorted(knots(x), x, side="right"),
    "searchsorted among inexact numbers": lambda x, f: jnp.searchsorted(jnp.sort(f), x[:3]),
    "digitize": lambda x, f: jnp.digitize(x, knots(x)),
    "interp": lambda x, f: jnp.interp(x, knots(x), f),
    "interp in tables of their own": lambda x, f: jax.vmap(jnp.interp)(x.reshape(2, 2, 2), jnp.asarray(np.arange(6) + [[0], [0.5]], x.dtype), jnp.stack([f, f]) * 100),
    "interp of scalars": lambda x, f: jnp.interp(x[0] * 2, knots(x), f),
}


def rivals(draw):
    """Lines in which some neighbours are nearly equal, and something of each number."""
    x, y = draw.numbers(4, 6, wide=False), draw.numbers(4, 6, wide=False)
    near = x.value[:, ::-1].astype(float) * (1 + 2.0**-12 * draw.random.integers(-2, 3, x.value.shape))
    return x._replace(value=np.where(draw.random.random(x.value.shape) < 0.3, near, x.value).astype(x.value.dtype)), y


AMONG_RIVALS = {
    "top_k of rivals": lambda x, y: lax.top_k(x, 3),
    "all of top_k": lambda x, y: lax.top_k(x, 6),
    "argsort of rivals": lambda x, y: jnp.argsort(x, axis=1),
    "sort of rivals with payload": lambda x, y: lax.sort((x, y), dimension=1, num_keys=1),
    "routing": lambda x, y: jnp.take_along_axis(y, lax.top_k(x, 2)[1], axis=1),
}


FORMATS = dict.fromkeys(("concatenate", "scatter-add", "scatter-add of many", "gradient of cumsum"), FLOATS)


def moves():
    for name, f in {**STRUCTURAL, **INDEXING}.items():
        yield Case(name, f, numbers((4, 6), wide=name in STRUCTURAL), FORMATS.get(name, FULL), unbounded=name == "gradient of sort")
    index = lambda d: (d.numbers(5, 3), d.integers(4, low=0, high=4).value)  # noqa: E731
    yield Case("gather at run time", lambda x, i: x[i], index, FULL)
    yield Case("scatter-add at run time", lambda x, i: x.at[i].add(x[:4] * 3), index, FULL)
    beyond = lambda d: (d.numbers(5, 3), d.integers(2, low=-1, high=6))  # noqa: E731
    yield Case("slices by integers", lambda x, i: (lax.dynamic_slice(x, (i[0], i[1]), (2, 3)), lax.dynamic_update_slice(x, x[:1] * 3, (i[1], i[0]))), beyond, ("float32",), unbounded=True)
    yield Case("index from an argmax", lambda x: x[jnp.argmax(x, axis=0)[0]], numbers((4, 6)), FULL)
    unsure = lambda d: (d.numbers(5, 3), d.integers(4, low=0, high=4))  # noqa: E731
    for name, f in AT_INTEGERS.items():
        yield Case(name, f, unsure, ("float32",), unbounded=name in ("gather in doubt, filled", "scatter-mul in doubt"))
    for name, f in AMONG_KNOTS.items():
        formats = ("float32",) if "interp" in name else ("float32", "bfloat16")  # of jnp.interp
        yield Case(name, f, near_knots, formats, unbounded="their own" in name)
    for name, f in AMONG_RIVALS.items():
        yield Case(name, f, rivals, ("float32", "bfloat16"))
    ties = lambda d: (d.numbers(2, 6, edges=(1.0,), wide=False), d.numbers(2, 6, wide=False))  # noqa: E731
    yield Case("numbers in the order of others", lambda x, y: jnp.take_along_axis(y, jnp.argsort(x, axis=1), axis=1), ties, ("float32", "bfloat16"))


DOTS = {
    "dot": (lambda a, b: a @ b, (3, 8), (8, 4)),
    "dot of one term": (lambda a, b: a[:, :1] @ b[:1], (4, 2), (2, 4)),
    "vector dot": (jnp.dot, (16,), (16,)),
    "matrix vector": (lambda a, b: a @ b, (4, 8), (8,)),
    "batched dot": (lambda a, b: jnp.einsum("bik,bkj->bij", a, b), (2, 3, 5), (2, 5, 2)),
    "batch in the middle": (lambda a, b: jnp.einsum("ikbl,lbj->bij", a, b), (2, 2, 3, 4), (4, 3, 2)),
    "two contracted": (lambda a, b: jnp.einsum("abc,cbd->ad", a, b), (2, 3, 4), (4, 3, 2)),
    "outer": (jnp.outer, (4,), (5,)),
    "empty dot": (lambda a, b: a[:, :0] @ b[:0], (2, 3), (3, 2)),
    "dot by itself": (lambda a, b: a @ a.T + b, (3, 5), (3, 3)),
    "dot and bias": (lambda a, b: jnp.maximum(a @ b + 1, 0), (3, 5), (5, 2)),
    "highest precision": (lambda a, b: jnp.dot(a, b, precision="highest"), (3, 5), (5, 2)),
    "gradient of dot": (jax.grad(lambda a, b: (a @ b).sum()), (3, 5), (5, 2)),
}
ACCUMULATED = {
    "dot into float32": (lambda a, b: jnp.dot(a, b, preferred_element_type=jnp.float32), (3, 8), (8, 4)),
}


def by_presets(*names):
    """Products whose operands, sums and results pass through other formats."""
    return lambda a, b: tuple(lax.dot(a, b, precision=lax.DotAlgorithmPreset[name]) for name in names)


PRESETS = {
    "presets": (by_presets("F16_F16_F16", "BF16_BF16_F32"), "float32", {"edges": (2.0**-15, 2.0**-26)}),
    "presets from float64": (by_presets("F32_F32_F32", "BF16_BF16_F32_X6"), "float64", {"edges": (1e-40, 1e30)}),
}


# Formats of 8 and 4 bits: storage, sums and products in them, and products accumulated in float32.
NARROW = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3b11fnuz", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e3m4", "float8_e4m3", "float8_e8m0fnu", "float4_e2m1fn")


def stored(dtype):
    def f(x, y):
        a, b = jnp.abs(x).astype(dtype), jnp.abs(y).astype(dtype)
        rest = {"dot": lax.dot(a, b, preferred_element_type=jnp.float32), "sum": (a + a[::-1]).astype(jnp.float32)} if dtype.startswith("float8_e4m3f") else {}
        return {"back": a.astype(jnp.float32) * 3, **rest}

    return f


def presets():
    for name, (f, dtype, options) in PRESETS.items():
        yield Case(name, f, numbers((3, 8), (8, 2), wide=False, **options), (dtype,))


def narrow_formats():
    for dtype in NARROW:
        yield Case(dtype, stored(dtype), numbers((3, 4), (4, 3), wide=False), ("float32",), unbounded=True, rare=() if dtype == "float8_e4m3fn" else ("float32",))


def convolution(strides=(1, 1), padding="SAME", lhs=(1, 1), rhs=(1, 1), **groups):
    return lambda x, k: lax.conv_general_dilated(x, k, strides, padding, lhs, rhs, **groups)


LAST = ("NHWC", "HWIO", "NHWC")
CONVOLUTIONS = {
    "conv": (convolution(), (1, 2, 4, 5), (3, 2, 3, 3)),
    "conv strided": (convolution((2, 1), "VALID"), (2, 2, 5, 4), (2, 2, 3, 2)),
    "conv dilated": (convolution((1, 1), ((1, 0), (-1, 2)), (2, 1), (1, 2)), (1, 2, 4, 4), (2, 2, 2, 2)),
    "conv grouped": (convolution(feature_group_count=2), (1, 4, 3, 3), (4, 2, 2, 2)),
    "conv depthwise": (convolution(feature_group_count=3), (1, 3, 4, 4), (6, 1, 2, 2)),
    "conv batch groups": (convolution(batch_group_count=2), (2, 3, 3, 3), (4, 3, 2, 2)),
    "conv channels last": (convolution(dimension_numbers=LAST), (1, 4, 4, 2), (2, 2, 2, 3)),
    "conv gradient": (jax.grad(lambda x, k: convolution((2, 2))(x, k).sum(), (0, 1)), (1, 2, 4, 4), (2, 2, 3, 3)),
    "conv one dimension": (lambda x, k: jnp.convolve(x, k, mode="same"), (9,), (4,)),
}


def ragged(dense, axis, groups, sizes):
    """A product of groups along an axis of the left operand; the right one may have an axis of groups."""
    dimensions = lax.RaggedDotDimensionNumbers(dense, [axis], groups)
    return lambda a, b: lax.ragged_dot_general(a, b, jnp.array(sizes, jnp.int32), dimensions)


ROWS_OF_A_BATCH = ((([2], [1]), ([0], [2])), 1, [0], [[2, 0, 2], [1, 1, 0]])
RAGGED = {
    "ragged dot": (lambda a, b: lax.ragged_dot(a, b, jnp.array([2, 0, 3], jnp.int32)), (6, 3), (3, 3, 2)),
    "ragged rows of a batch": (ragged(*ROWS_OF_A_BATCH), (2, 4, 3), (3, 3, 2, 2)),
    "ragged terms": (ragged((([1, 2], [1, 0]), ([0], [2])), 2, [], [[[1, 3], [2, 1]]] * 2), (2, 2, 4, 3), (4, 2, 2, 3)),
    "ragged batch": (ragged((([2], [1]), ([0], [0])), 0, [], [1, 2]), (3, 2, 3), (3, 3, 2)),
    "gradient of ragged dot": (jax.grad(lambda a, b: (lax.ragged_dot(a, b, jnp.array([2, 2], jnp.int32)) ** 2).sum(), (0, 1)), (5, 3), (2, 3, 2)),
}  # fmt: skip


PLAIN_FORMATS = {
    "dot of one term", "batch in the middle", "two contracted", "empty dot", "highest precision", "conv strided", "conv dilated", "conv batch groups",
    "conv channels last", "conv one dimension",
}  # fmt: skip


def contractions():
    for name, (f, *shapes) in {**DOTS, **CONVOLUTIONS}.items():
        formats = FLOATS_AND_X64 if name in ("dot", "conv") else FULL if name in PLAIN_FORMATS else FLOATS[:-1]
        yield Case(name, f, numbers(*shapes, wide=False), formats, NORMWISE)
    for name, (f, *shapes) in RAGGED.items():
        # JAX cannot vmap it over both operands yet, so it stays out of float32, which is vmapped.
        rare = () if name == "ragged dot" else ("bfloat16",)
        yield Case(name, f, numbers(*shapes, wide=False), ("float64", "bfloat16"), rare=rare)
    for name, (f, *shapes) in ACCUMULATED.items():
        yield Case(name, f, numbers(*shapes, wide=False), ("bfloat16", "float16"), NORMWISE)


def pool(operation, start, window=(1, 2, 3), strides=(1, 2, 1), padding="VALID"):
    return lambda x: lax.reduce_window(x, start, operation, window, strides, padding)


def gradient_of_pool(operation, start, **options):
    weights = np.arange(1, 200)

    def loss(x):
        pooled = pool(operation, start, **options)(x)
        return (pooled * weights[: pooled.size].reshape(pooled.shape)).sum()

    return jax.grad(loss)


def tangent_of_pool(operation, start, **options):
    return lambda x: jax.jvp(pool(operation, start, **options), (x,), (jnp.flip(x) * 3,))[1]


WINDOWS = {
    "sum pool": pool(lax.add, 0.0),
    "sum pool padded": pool(lax.add, 0.0, padding="SAME"),
    "average pool": lambda x: pool(lax.add, 0.0)(x) / 6,
    "max pool": pool(lax.max, -np.inf),
    "max pool padded": pool(lax.max, -np.inf, padding="SAME"),
    "min pool": pool(lax.min, np.inf),
    "gradient of max pool": gradient_of_pool(lax.max, -np.inf),
    "gradient of overlapping max pool": gradient_of_pool(lax.max, -np.inf, strides=(1, 1, 1), padding="SAME"),
    "gradient of min pool": gradient_of_pool(lax.min, np.inf, window=(1, 2, 2)),
    "product pool": pool(lax.mul, 1.0, padding="SAME"),
    "tangent of max pool": tangent_of_pool(lax.max, -np.inf, padding="SAME"),
    "tangent of min pool": tangent_of_pool(lax.min, np.inf),
    "gradient of sum pool": gradient_of_pool(lax.add, 0.0),
}


def pools():
    for name, f in WINDOWS.items():
        formats = FULL if name == "product pool" else FLOATS
        yield Case(name, f, numbers((2, 4, 5), wide=name != "gradient of max pool"), formats)


CASES = [*reductions(), *moves(), *contractions(), *presets(), *narrow_formats(), *pools()]
