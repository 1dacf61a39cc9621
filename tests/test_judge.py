"""The judge judged: against closed forms, against fractions, and broadly against JAX's own float32 results."""

import fractions
import functools
from typing import NamedTuple

import flint
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flint import arb
from jax import lax

import precjax
from precjax.testing import Undecidable, assert_encloses, check_rule, exact

RANDOM = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RANDOM.normal(size=shape), jnp.float32)


def uniform(low, high, *shape):
    return jnp.asarray(RANDOM.uniform(low, high, size=shape), jnp.float32)


def as_floats(tree):
    return jax.tree.map(lambda leaf: np.vectorize(float, otypes=[float])(leaf), tree)


def agrees(f, *args, rtol=2e-5, atol=2e-6):
    """The judge and JAX's float32 agree coarsely, leaf by leaf."""
    truth, value = as_floats(exact(f, *args)), f(*args)
    assert jax.tree.structure(truth) == jax.tree.structure(value)
    for t, v in zip(jax.tree.leaves(truth), jax.tree.leaves(value), strict=True):
        np.testing.assert_allclose(t, np.asarray(v, dtype=float), rtol=rtol, atol=atol)


# ------------------------------------------------------------------------------------------- every primitive, coarsely

ANY, POSITIVE, UNIT, ABOVE_ONE = normal(7), uniform(0.1, 3, 7), uniform(-0.9, 0.9, 7), uniform(1.1, 4, 7)
UNARY = [
    (ANY, "exp exp2 expm1 logistic sin cos tan atan sinh cosh tanh asinh erf erfc neg abs sign square cbrt"),
    (ANY, "bessel_i0e bessel_i1e floor ceil is_finite stop_gradient lgamma digamma"),
    (POSITIVE, "log log1p sqrt rsqrt reciprocal"),
    (UNIT, "asin acos atanh erf_inv"),
    (ABOVE_ONE, "acosh"),
]


@pytest.mark.parametrize(("name", "x"), [(name, x) for x, names in UNARY for name in names.split()])
def test_unary(name, x):
    agrees(getattr(lax, name), x)


C, D = lax.complex(normal(5), normal(5)), lax.complex(normal(5), normal(5))
COMPLEX = (
    "exp expm1 exp2 log log1p sqrt rsqrt sin cos tan sinh cosh tanh asin acos atan asinh acosh atanh logistic square sign neg conj "
    "abs real imag"
)
COMPLEX_PROGRAMS = {
    "arithmetic": lambda: (C + D, C - D, C * D, C / D, C**-3, C == D, C != C, (C - C) * 2),
    "pow": lambda: (lax.pow(C, D), C ** jnp.arange(5) * 1j, lax.pow(C, D * 0 + 2)),
    "arrays": lambda: (jnp.vdot(C, D), jnp.convolve(C, D), jnp.cumprod(C), jnp.where(C.real > 0, C, D), C.astype(bool)),
    "casts": lambda: (lax.complex(C.real, C.imag), C.real.astype(C.dtype), C.imag.astype(bool)),
    "transforms": lambda: (jnp.fft.fft(C), jnp.fft.ifft(C), jnp.fft.rfft(C.real), jnp.fft.irfft(C), jnp.fft.hfft(C)),
    "transforms of two axes": lambda: (jnp.fft.fft2(PLANE), jnp.fft.irfft2(PLANE, (3, 5)), jnp.fft.rfft2(PLANE.imag)),
}
PLANE = lax.complex(normal(3, 4), normal(3, 4))


def agrees_in_the_plane(f):
    """As `agrees`, for programs that trace constants; of both parts."""
    for t, v in zip(jax.tree.leaves(exact(f)), jax.tree.leaves(f()), strict=True):
        t = np.vectorize(complex, otypes=[complex])(t)
        np.testing.assert_allclose(t, np.asarray(v, dtype=complex), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", COMPLEX.split())
def test_complex_function(name):
    agrees_in_the_plane(lambda: getattr(lax, name)(C) if hasattr(lax, name) else getattr(jnp, name)(C))


@pytest.mark.parametrize("name", COMPLEX_PROGRAMS)
def test_complex_program(name):
    agrees_in_the_plane(COMPLEX_PROGRAMS[name])


def test_infinities_of_complex_numbers_are_unknown():
    values = exact(lambda z: (z * 2, jnp.log(z - z), 1 / (z - z)), jnp.complex64(complex(np.inf, 1)))
    assert not any(value.item().is_finite() for value in values)
    with pytest.raises(AssertionError, match="times the error"):
        assert_encloses((jnp.complex64(1 + 1j), 0.5), exact(lambda z: z, jnp.complex64(1 + 2j)))


def test_zeros_on_a_cut_have_no_sign():
    below = jnp.conj(jnp.complex64(-1))
    assert abs(complex(exact(jnp.sqrt, below).item()) - 1j) < 1e-15
    assert_encloses(precjax.track(jnp.sqrt)(below), exact(jnp.sqrt, below))


A, B, P, Q = normal(5), normal(5), uniform(0.5, 3, 5), uniform(0.5, 3, 5)
BINARY = [
    (A, B, "add sub mul div rem max min atan2 eq ne lt le gt ge"),
    (P, Q, "pow igamma igammac"),
    (Q + 1, P, "zeta"),
]


@pytest.mark.parametrize(("name", "x", "y"), [(name, x, y) for x, y, names in BINARY for name in names.split()])
def test_binary(name, x, y):
    agrees(getattr(lax, name), x, y)


M, SQUARE, ROWS = normal(3, 4), normal(4, 4), jnp.array([2, 0, 7, -1])
IMAGE, KERNEL = normal(2, 4, 5, 6), normal(8, 2, 3, 2)
CLIP, FILL = lax.GatherScatterMode.CLIP, lax.GatherScatterMode.FILL_OR_DROP
GATHER = lax.GatherDimensionNumbers(offset_dims=(1,), collapsed_slice_dims=(0,), start_index_map=(0,))
PROGRAMS = {
    "clamp": lambda: lax.clamp(-0.5, M, 0.5),
    "integer_pow": lambda: lax.integer_pow(M, 3) + lax.integer_pow(M, -2),
    "pow by integers": lambda: lax.pow(M, jnp.arange(12, dtype=jnp.int32).reshape(3, 4) - 5),
    "round": lambda: lax.round(2 * M),
    "round to even": lambda: lax.round(jnp.array([0.5, 1.5, -0.5, -2.5, 2.6]), lax.RoundingMethod.TO_NEAREST_EVEN),
    "betainc": lambda: lax.betainc(P, Q, jnp.abs(UNIT[:5])),
    "polygamma": lambda: lax.polygamma(jnp.float32(2) + 0 * P, P),
    "polyval": lambda: jnp.polyval(jnp.array([1.0, -2.0, 3.0]), M),
    "nextafter": lambda: lax.nextafter(M, M + 1),
    "casts": lambda: (M * 3).astype(jnp.int32).astype(jnp.bfloat16) + M.astype(bool).astype(jnp.bfloat16),
    "saturating cast": lambda: (M * 1e3).astype(jnp.int8),
    "reduce_precision": lambda: lax.reduce_precision(jnp.round(M), 8, 7),
    "reshape": lambda: lax.reshape(M, (2, 6), dimensions=(1, 0)),
    "transpose": lambda: IMAGE.transpose(3, 0, 2, 1),
    "broadcast": lambda: lax.broadcast_in_dim(M, (3, 2, 4), (0, 2)),
    "squeeze": lambda: jnp.squeeze(M[None, :, None]),
    "slice": lambda: lax.slice(IMAGE, (0, 1, 0, 2), (2, 4, 5, 6), (1, 2, 2, 3)),
    "rev": lambda: lax.rev(IMAGE, (1, 3)),
    "pad": lambda: lax.pad(M, jnp.float32(7), ((1, 2, 1), (-1, 3, 2))),
    "negative pad": lambda: lax.pad(M, jnp.float32(7), ((-1, -1, 0), (-2, 0, 1))),
    "concatenate": lambda: jnp.concatenate([M, M + 1], axis=1),
    "split": lambda: jnp.split(M, [1, 3], axis=1),
    "stack": lambda: jnp.stack([M, -M], axis=1),
    "unstack": lambda: jnp.unstack(M, axis=1),
    "tile": lambda: jnp.tile(M, (2, 3)),
    "iota": lambda: lax.broadcasted_iota(jnp.float32, (3, 4), 1) * M,
    "select": lambda: jnp.where(M > 0, M, jnp.exp(M)),
    "select_n": lambda: lax.select_n(jnp.array([0, 2, 1]), A[:3], B[:3], P[:3]),
    "take clipped": lambda: jnp.take(M, ROWS, axis=0, mode="clip"),
    "take filled": lambda: jnp.take(M, jnp.array([2, 0, 9]), axis=0, mode="fill", fill_value=4.0),
    "take along": lambda: jnp.take_along_axis(M, jnp.array([[0, 1], [3, 2], [1, 1]]), axis=1),
    "gather": lambda: lax.gather(M, ROWS[:, None], GATHER, (1, 4), mode=CLIP),
    "batched gather": lambda: jax.vmap(lambda row, i: row[i])(M, jnp.array([3, 0, 1])),
    "dynamic_slice": lambda: lax.dynamic_slice(M, (2, 1), (2, 3)),
    "dynamic_update_slice": lambda: lax.dynamic_update_slice(M, -M[:2, :2], (2, 1)),
    "scatter": lambda: M.at[:, jnp.array([0, 3])].set(9.0),
    "scatter dropped": lambda: M.at[jnp.array([1, 5])].set(9.0, mode="drop"),
    "scatter_add": lambda: M.at[jnp.array([0, 2, 0])].add(M),
    "scatter_mul": lambda: M.at[jnp.array([0, 2, 0])].multiply(M),
    "scatter_min": lambda: M.at[jnp.array([0, 2, 0]), 1].min(M[:, 0]),
    "scatter_max": lambda: M.at[jnp.array([0, 2, 0]), 1].max(M[:, 0]),
    "batched scatter": lambda: jax.vmap(lambda row, i: row.at[i].add(1.0))(M, jnp.array([3, 0, 1])),
    "reductions": lambda: (M.sum(), M.prod(0), M.max(1), M.min((0, 1)), jnp.mean(M), jnp.var(M, 1)),
    "integer reductions": lambda: ((M > 0).any(0), (M > 0).all(1), (M > 0).sum(), ROWS.max()),
    "argmax": lambda: (jnp.argmax(M, 1), jnp.argmin(M), lax.argmax(M, 0, jnp.int32)),
    "cumulative": lambda: (lax.cumsum(M, 1), lax.cumprod(M, 0, True), lax.cummax(M, 1), lax.cummin(M, 0, True)),
    "cumlogsumexp": lambda: (lax.cumlogsumexp(M, 1), lax.cumlogsumexp(M, 0, reverse=True)),
    "logsumexp": lambda: jax.nn.logsumexp(M, axis=0),
    "sum pool": lambda: lax.reduce_window(IMAGE, 0.0, lax.add, (1, 2, 2, 3), (1, 1, 2, 1), "SAME"),
    "max pool": lambda: lax.reduce_window(IMAGE, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "SAME"),
    "min pool": lambda: lax.reduce_window(
        M, jnp.inf, lax.min, (2, 2), (1, 1), ((0, 1), (1, 0)), base_dilation=(2, 1), window_dilation=(1, 2)
    ),
    "generic pool": lambda: lax.reduce_window(M, 1.0, lambda a, b: a * b, (2, 2), (1, 1), "SAME"),
    "generic reduce": lambda: lax.reduce(M, 0.0, lambda a, b: a + 2 * b, (0,)),
    "reduce pairs": lambda: lax.reduce(
        (M, -M), (0.0, 1.0), lambda a, b: (lax.add(a[0], b[0]), lax.mul(a[1], b[1])), (1,)
    ),
    "dot": lambda: (M @ SQUARE, M[0] @ SQUARE[0], jnp.einsum("abcd,eafd->ebcf", IMAGE, IMAGE[:1].swapaxes(0, 1))),
    "batched dot": lambda: jnp.einsum("bik,bkj->bij", IMAGE[0], IMAGE[1].swapaxes(1, 2)),
    "empty dot": lambda: jnp.zeros((2, 0)) @ jnp.zeros((0, 3)),
    "integer dot": lambda: lax.dot(ROWS, ROWS, preferred_element_type=jnp.float32),
    "convolution": lambda: lax.conv_general_dilated(IMAGE, KERNEL.reshape(3, 4, 2, 4), (2, 1), "SAME"),
    "grouped convolution": lambda: lax.conv_general_dilated(
        IMAGE, KERNEL, (1, 2), ((1, 0), (-1, 2)), (2, 1), (1, 2), feature_group_count=2
    ),
    "batch-grouped convolution": lambda: lax.conv_general_dilated(
        IMAGE, KERNEL.reshape(6, 4, 2, 2), (1, 1), "VALID", batch_group_count=2
    ),
    "channels last": lambda: lax.conv_general_dilated(
        IMAGE, KERNEL.reshape(2, 2, 6, 4), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    ),
    "sort": lambda: (jnp.sort(M, axis=0), jnp.argsort(M, axis=1), jnp.median(M)),
    "sort pairs": lambda: lax.sort((jnp.round(A), B, P), num_keys=2),
    "top_k": lambda: lax.top_k(M, 2),
    "bits": lambda: lax.population_count(ROWS) + lax.clz(ROWS) + (ROWS >> 1) + (ROWS ^ 3) + (ROWS & 5) + ~ROWS,
    "wrap-around": lambda: jnp.uint8(200) + jnp.arange(60, 80, dtype=jnp.uint8),
    "random": lambda: jax.random.normal(jax.random.fold_in(jax.random.key(1), 3), (4,)) * 2,
    "random split": lambda: jax.vmap(jax.random.uniform)(jax.random.split(jax.random.key(1), 3)),
    "random scan": lambda: lax.scan(lambda c, k: (c, jax.random.uniform(k)), 0.0, jax.random.split(jax.random.key(0)))[
        1
    ],
    "cholesky": lambda: jnp.linalg.cholesky(SQUARE @ SQUARE.T + jnp.eye(4)),
    "triangular_solve": lambda: jax.scipy.linalg.solve_triangular(SQUARE + 4 * jnp.eye(4), M.T, trans=1),
    "solve": lambda: (jnp.linalg.solve(SQUARE, M.T), jnp.linalg.slogdet(SQUARE), jnp.linalg.inv(IMAGE[..., :4, :4])[0]),
    "spectra": lambda: (jnp.linalg.eigvalsh(SQUARE + SQUARE.T), jnp.linalg.svdvals(M), jnp.linalg.pinv(M)),
    "qr": lambda: (jnp.linalg.qr(SQUARE), jnp.linalg.qr(M.T), jax.scipy.linalg.qr_multiply(SQUARE, SQUARE)),
    "banded": lambda: lax.linalg.tridiagonal_solve(SQUARE[0], SQUARE[1] + 9, SQUARE[2], SQUARE[:, :2]),
    "cholesky_update": lambda: lax.linalg.cholesky_update(jnp.triu(SQUARE) + 9 * jnp.eye(4), SQUARE[0]),
    "searchsorted": lambda: jnp.searchsorted(jnp.sort(A), B),
    "platform": lambda: lax.platform_dependent(M, cpu=jnp.sin, default=jnp.cos),
    "barrier": lambda: lax.optimization_barrier((M, ROWS)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name):
    agrees(PROGRAMS[name])


# ----------------------------------------------------------------------------------------------- control flow, networks


def newton(x):
    def step(state):
        guess, count = state
        return (guess + x / guess) / 2, count + 1

    return lax.while_loop(lambda s: jnp.abs(s[0] * s[0] - x) > 1e-3, step, (x, 0))


def branch(x):
    return lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x)


def attention(x, w):
    q, k, v = jnp.split(x @ w, 3, axis=-1)
    mask = jnp.where(jnp.tril(jnp.ones((x.shape[0],) * 2)) > 0, 0.0, -jnp.inf)
    return jax.nn.softmax(q @ k.T / jnp.sqrt(2.0) + mask) @ v


def network(x, kernel, w):
    x = jax.nn.relu(lax.conv_general_dilated(x, kernel, (1, 1), "SAME"))
    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    x = jax.nn.gelu(x.reshape(x.shape[0], -1) @ w, approximate=False)
    x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return -jax.nn.log_softmax(x)[:, 0].mean()


def recurrent(x, w, checkpoint=False):
    def cell(h, xt):
        h = jnp.tanh(w @ h + xt)
        return h, h.sum()

    body = jax.checkpoint(cell) if checkpoint else cell
    h, sums = lax.scan(body, jnp.zeros(4), x, reverse=True)
    return h.sum() + (sums**2).sum()


@jax.custom_vjp
def clipped(x):
    return jnp.exp(x)


clipped.defvjp(lambda x: (jnp.exp(x), x), lambda x, g: (jnp.clip(g * x, -1, 1),))

NETWORK = (normal(2, 1, 4, 4), normal(2, 1, 3, 3), normal(8, 3))
NETWORKS = {
    "while": (newton, jnp.float32(2)),
    "batched while": (jax.vmap(newton), P),
    "fori": (lambda x: lax.fori_loop(0, 5, lambda i, c: c * x + i, x), P),
    "cond": (branch, A),
    "switch": (lambda x: lax.switch(5, [jnp.sin, jnp.cos, jnp.exp], x), A),
    "grad of cond": (jax.grad(lambda x: branch(x).sum()), A),
    "empty scan": (lambda x: lax.scan(lambda c, y: (c, y * 2), x, jnp.zeros((0, 3))), A),
    "attention": (attention, M, normal(4, 6)),
    "grad of attention": (jax.grad(lambda x, w: attention(x, w).sum()), M, normal(4, 6)),
    "network": (network, *NETWORK),
    "grad of network": (jax.jit(jax.grad(network, argnums=(0, 1, 2))), *NETWORK),
    "jvp of max pool": (lambda x: jax.jvp(lambda y: network(x, y, NETWORK[2]), NETWORK[1:2], NETWORK[1:2]), NETWORK[0]),
    "recurrent": (recurrent, M, SQUARE),
    "grad of recurrent": (jax.grad(recurrent, argnums=(0, 1)), M, SQUARE),
    "grad of remat": (jax.grad(functools.partial(recurrent, checkpoint=True), argnums=(0, 1)), M, SQUARE),
    "custom_vjp": (jax.vmap(jax.grad(clipped)), A),
    "custom_jvp": (jax.value_and_grad(lambda x: jax.nn.softplus(x).sum()), A),
    "grad of sort": (jax.grad(lambda x: (jnp.sort(x) * jnp.arange(5.0)).sum()), A),
    "grad of gather": (jax.grad(lambda x: (x[jnp.array([0, 2, 0])] ** 2).sum()), M),
    "grad of cumulative": (jax.grad(lambda x: (jnp.cumsum(x) * jnp.cumprod(x)).sum()), A),
    "grad of erf": (jax.vmap(jax.grad(lax.erf)), A),
    "hessian": (jax.hessian(lambda x: jnp.tanh(x).prod()), A),
    "numpy arguments": (lambda x: {"a": x["b"] + 1, "n": None, "s": x["s"] * 2}, {"b": np.ones(2), "s": 3}),
    "f16": (lambda x: x * x + 1, jnp.arange(4, dtype=jnp.float16)),
    "bf16": (lambda x: x @ x, jnp.arange(4, dtype=jnp.bfloat16)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name):
    f, *args = NETWORKS[name]
    agrees(f, *args, rtol=2e-4, atol=2e-5)


# --------------------------------------------------------------------------------------------------- known to the digit


def within(truth, expected, digits=100):
    return abs(arb(truth) - expected) < arb(10) ** -digits


def item(tree):
    return tree.item() if isinstance(tree, np.ndarray) else tree


@pytest.fixture(autouse=True)
def working_precision():
    with flint.ctx.workprec(400):
        yield


CLOSED_FORMS = {
    "e": (jnp.exp, 1.0, lambda: arb.const_e()),
    "stored, not meant": (lambda x: x * 3, 0.1, lambda: arb(float(np.float32(0.1))) * 3),
    "literals are as stored": (lambda x: x * 2.1, 1.0, lambda: arb(float(np.float32(2.1)))),
    "machin": (lambda x: 16 * jnp.arctan(x / 5) - 4 * jnp.arctan(x / 239), 1.0, lambda: arb.pi()),
    "gamma of a half": (lambda x: jnp.exp(lax.lgamma(x)), 0.5, lambda: arb.pi().sqrt()),
    "gamma left of zero": (lax.lgamma, -2.5, lambda: (arb.pi().sqrt() * 8 / 15).log()),
    "euler": (lax.digamma, 1.0, lambda: -arb.const_euler()),
    "log2 of a power": (jnp.log2, 0.125, lambda: arb(-3)),
    "exp2": (jnp.exp2, 0.5, lambda: arb(2).sqrt()),
    "basel": (lambda x: lax.zeta(x, jnp.float32(1)), 2.0, lambda: arb.pi() ** 2 / 6),
    "trigamma": (lambda x: lax.polygamma(jnp.float32(1), x), 1.0, lambda: arb.pi() ** 2 / 6),
    "erf and back": (lambda x: lax.erf_inv(lax.erf(x)), 0.75, lambda: arb(0.75)),
    "logistic": (jax.nn.sigmoid, -200.0, lambda: 1 / (1 + arb(200).exp())),
    "no overflow": (lambda x: jnp.log(jnp.exp(x)), 1e5, lambda: arb(1e5)),
    "bf16 is no cast": (
        lambda x: x.astype(jnp.bfloat16).astype(jnp.float32),
        1.01,
        lambda: arb(float(np.float32(1.01))),
    ),
    "pow": (lambda x: x**0.5, 2.0, lambda: arb(2).sqrt()),
    "negative to an integer": (lambda x: x ** jnp.float32(3), -2.0, lambda: arb(-8)),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_form(name):
    f, x, expected = CLOSED_FORMS[name]
    assert within(item(exact(f, jnp.float32(x))), expected())


def test_rational_programs_are_exact():
    x = np.array([0.1, 0.1, 0.1], np.float32)
    deviation = exact(lambda x: (x - x.mean()) / jnp.sqrt(x.var() + 1), x)
    assert all(d == 0 for d in deviation)
    a, b = normal(3, 5), normal(5, 2)
    product = [
        [
            sum(fractions.Fraction(float(p)) * fractions.Fraction(float(q)) for p, q in zip(row, col, strict=True))
            for col in b.T
        ]
        for row in a
    ]
    for place, truth in np.ndenumerate(exact(jnp.matmul, a, b)):
        row, column = place
        assert truth == arb(flint.fmpq(*product[row][column].as_integer_ratio()))


def test_results_are_balls_integers_and_bools():
    truth = exact(lambda x: (x, x > 1, jnp.argmax(x), x.astype(jnp.int8)), np.float32([1, 2]))
    assert [type(leaf.flat[0]) for leaf in truth] == [arb, bool, int, int]
    assert [leaf.dtype for leaf in truth] == [object] * 4


SPECIAL = {
    "mask": (lambda x: jax.nn.softmax(jnp.where(x > 0, x, -jnp.inf)), [1, -1, 1], [0.5, 0, 0.5]),
    "finite mask": (lambda x: jax.nn.softmax(jnp.where(x > 0, x, jnp.finfo(x.dtype).min)), [1, -1, 1], [0.5, 0, 0.5]),
    "limits": (lambda x: jnp.tanh(x) + jax.nn.sigmoid(x) + lax.erf(x), [jnp.inf, -jnp.inf], [3, -2]),
    "infinities": (lambda x: jnp.maximum(x - 5, 1 / x), [jnp.inf, -jnp.inf], [jnp.inf, 0]),
    "inf - inf": (lambda x: x - x, [jnp.inf, 1], [jnp.nan, 0]),
    "domain": (lambda x: jnp.sqrt(x) + jnp.log(x + 1), [-1, -2], [jnp.nan, jnp.nan]),
    "edges": (lambda x: jnp.log(x) + lax.rsqrt(1 - x), [0, 1], [-jnp.inf, jnp.inf]),
    "1 / 0": (lambda x: 1 / x, [0.0, jnp.inf], [jnp.nan, 0]),
    "powers": (lambda x: x ** jnp.float32(-2), [0, -jnp.inf, jnp.nan], [jnp.inf, 0, jnp.nan]),
    "even power": (lambda x: x**2, [-jnp.inf], [jnp.inf]),
    "max of nan": (jnp.max, [1, jnp.nan], jnp.nan),
    "sort nan": (jnp.sort, [jnp.nan, 1, jnp.inf], [1, jnp.inf, jnp.nan]),
    "argmax nan": (jnp.argmax, [1, jnp.nan, 5], 1),
    "comparisons of nan": (lambda x: (x == x).astype(int) + 2 * (x != x), [jnp.nan, 1], [2, 1]),
    "casts": (lambda x: x.astype(jnp.int32), [jnp.nan, jnp.inf, -3.7], [0, 2**31 - 1, -3]),
    "out of bounds": (lambda x: jnp.take(x, jnp.array([5]), mode="fill"), [1, 2], [jnp.nan]),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_special_values(name):
    f, x, expected = SPECIAL[name]
    np.testing.assert_allclose(as_floats(exact(f, np.float32(x))), np.array(expected, float), rtol=1e-12)


def test_ties_of_equal_computations_are_decided():
    x = np.float32([0.3, 0.7, 0.7])
    gradient = exact(jax.grad(lambda x: jnp.max(jax.nn.softmax(x) * 1.0)), x)
    assert abs(gradient[1] - gradient[2]) < 1e-30


def test_undecidable_is_raised():
    def zero_in_disguise(x):
        return jnp.floor(jnp.sin(x) ** 2 + jnp.cos(x) ** 2)

    with pytest.raises(Undecidable):
        exact(zero_in_disguise, jnp.float32(0.3))


def test_precision_is_raised_until_decided():
    def tiny_difference(x):
        return jnp.exp(x * 2.0**-120 * 2.0**-120 * 2.0**-120 * 2.0**-120 * 2.0**-120) > 1

    assert exact(tiny_difference, jnp.float32(1)).item() is True


def test_bits_of_a_float_are_frozen():
    def top_half(x):
        bits = lax.bitcast_convert_type(x * 3, jnp.int32) & -65536
        return lax.bitcast_convert_type(bits, jnp.float32)

    x = jnp.float32(0.1)
    assert float(exact(top_half, x).item()) == float(top_half(x))
    assert float(exact(top_half, x, at=[flint.fmpq(1, 9)]).item()) == float(top_half(x))
    rest = exact(lambda x: x * 3 - top_half(x), x).item()
    assert within(rest, arb(float(x)) * 3 - float(top_half(x)))


def test_other_points():
    truth = exact(lambda x, y: x * y["k"], 2.0, {"k": 3.0}, at=(fractions.Fraction(1, 3), {"k": None}))
    assert truth.item() == 1
    with pytest.raises(ValueError, match="leaves"):
        exact(lambda x: x, 2.0, at=[None, None])


def test_unknown_primitive_is_named():
    with pytest.raises(NotImplementedError, match="schur"):
        exact(jax.scipy.linalg.schur, jnp.eye(2))


# ------------------------------------------------------------------------------------------------------------ enclosure

THIRD = exact(lambda x: x / 3, jnp.float32(1))
VALUE = np.float32(1) / np.float32(3)
VERDICTS = [
    (VALUE, 1e-8, "passes"),
    (VALUE, 9.9e-9, "|value - exact| ="),
    (VALUE, np.inf, "passes"),
    (VALUE, np.nan, "the error is nan"),
    (VALUE, -1.0, "the error is -1"),
    (np.nan, np.inf, "passes"),
    (np.nan, 1.0, "value nan"),
    (np.inf, 1e30, "value"),
]


@pytest.mark.parametrize(("value", "error", "verdict"), VERDICTS)
def test_enclosure(value, error, verdict):
    if verdict == "passes":
        tightness = assert_encloses(([value], [error]), [THIRD])
        assert tightness.shape == (1,) and tightness[0] >= 1
    else:
        with pytest.raises(AssertionError) as failure:
            assert_encloses((value, error), THIRD, "here")
        assert verdict in str(failure.value) and str(failure.value).startswith("here leaf")


def test_enclosure_of_the_same_infinity_and_of_integers():
    assert_encloses((np.inf, 0.0), exact(jnp.exp, jnp.float32(np.inf)))
    assert list(assert_encloses((np.array([3, 4]), np.array([0, 1])), np.array([3, 4], object))) == [1, np.inf]
    assert_encloses((np.array([True, True]), np.array([0.0, 1.0])), np.array([True, False], object))
    with pytest.raises(AssertionError, match=r"index \(1,\)"):
        assert_encloses((np.array([3, 4]), np.zeros(2)), np.array([3, 5], object))


class Tracked(NamedTuple):
    value: jax.Array
    error: jax.Array


def track_product(f, *, model, slack=2.0**-24):
    """A tracker of x * y that knows only this product."""

    def tracked(x, y):
        p = f(x.value, y)
        return Tracked(p, (jnp.abs(y) * x.error * 1.001 + jnp.abs(p) * slack).astype(jnp.float32))

    return tracked


def test_check_rule(monkeypatch):
    monkeypatch.setattr(precjax, "track", track_product, raising=False)
    monkeypatch.setattr(precjax, "Tracked", Tracked, raising=False)
    x = Tracked(A, jnp.full(5, 1e-3, jnp.float32))
    checked = check_rule(lambda x, y: x * y, x, B)
    assert checked.tightness.shape == (5,) and np.all(checked.tightness < 1.1) and np.all(checked.tightness >= 1)
    with pytest.raises(AssertionError, match="times the error"):
        check_rule(lambda x, y: x * y, x, B, slack=-1e-5)
    with pytest.raises(AssertionError, match=r"vmap\(track\(f\)\)\[0\]"):
        check_rule(lambda x, y: x * y, x, B, slack=-1e-5, modes=("vmap",))
