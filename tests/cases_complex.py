"""Rows of complex numbers: arithmetic, elementary functions, moves, reductions, products, Fourier transforms."""

import jax
import jax.numpy as jnp
import numpy as np
from cases import FULL, Case, Drawn
from jax import lax

N = 24
DOUBLE = ("float64",)


def two(draw):
    """Pairs, some next to each other or conjugate."""
    z, w = draw.complexes(N), draw.complexes(N)
    if draw.hardness:
        near = np.where(draw.bools(N // 4), z.value[::4], np.conj(z.value[::4]))
        with np.errstate(over="ignore"):
            w.value[::4] = near * draw.random.choice([1, -1, 1 + 2 * float(draw.info.eps)], N // 4)
    return z, w


def one(**options):
    return lambda draw: (draw.complexes(N, **options),)


PARTS = {
    "complex parts": lambda z: (jnp.conj(z), lax.neg(z), z.real, z.imag),
    "complex of parts": lambda z: lax.complex(z.real * 3, z.imag * z.real),
    "complex from real": lambda z: z.real.astype(z.dtype) * z,
    "complex abs": lax.abs,
    "complex sign": lax.sign,
    "complex angle": jnp.angle,
    "complex square": lax.square,
    "complex z*z": lambda z: z * z,
    "complex and constants": lambda z: ((z + (1 + 2j)) + (0.1 - 3j), 1j * z, z / 3, z / (1 + 2j), 3 - z),
    "complex z**3": lambda z: (lax.integer_pow(z, 3), lax.integer_pow(z, -2)),
    "complex where": lambda z: jnp.where(z.real > 0.5, z * z, 2 - z),
    "complex isfinite": lambda z: (jnp.isfinite(z), jnp.isnan(z)),
}
BINARY = {
    "complex add": lambda z, w: (z + w, z - w),
    "complex mul": lax.mul,
    "complex div": lax.div,
    "complex eq": lambda z, w: (z == w, z != w),
    "complex fma": lambda z, w: z * w + z,
    "complex abs squared": lambda z, w: (z * jnp.conj(z)).real + jnp.abs(w) ** 2,
}


def arithmetic():
    for name, f in PARTS.items():
        yield Case(name, f, one(), FULL, rare=DOUBLE)
    for name, f in BINARY.items():
        yield Case(name, f, two, FULL, rare=() if name == "complex mul" else DOUBLE)


POSITIVE = {"low": 0.0}
BESIDE = {"scale": 0.2}
# name: options of the draw; benign ones keep off the cuts
ELEMENTARY = {
    "exp": {"edges": (np.pi, 88.0)},
    "exp2": {"edges": (127.0, 9.0)},
    "expm1": {"edges": (2 * np.pi, 88.0)},
    "log": {"real": POSITIVE, "edges": (1.0, 0.0)},
    "log1p": {"real": POSITIVE, "edges": (-1.0, 0.0)},
    "sqrt": {"real": POSITIVE, "edges": (0.0,)},
    "rsqrt": {"real": POSITIVE, "edges": (0.0,)},
    "sin": {"edges": (np.pi, np.pi / 2, 11.0)},
    "cos": {"edges": (np.pi, np.pi / 2, 11.0)},
    "tan": {"edges": (np.pi / 2, np.pi)},
    "sinh": {"edges": (np.pi, 11.0)},
    "cosh": {"edges": (np.pi / 2, 11.0)},
    "tanh": {"edges": (np.pi / 2, 9.0)},
    "logistic": {"edges": (np.pi, -20.0)},
    "asin": {**BESIDE, "edges": (1.0, 0.0)},
    "acos": {**BESIDE, "edges": (1.0, 0.0)},
    "atan": {**BESIDE, "edges": (1.0, 0.0)},
    "asinh": {**BESIDE, "edges": (1.0, 0.0)},
    "acosh": {"real": {"low": 1.0}, "edges": (1.0, 0.0)},
    "atanh": {**BESIDE, "edges": (1.0, 0.0)},
}


def elementary():
    for name, options in ELEMENTARY.items():
        yield Case(f"complex {name}", getattr(lax, name), one(**options), FULL, rare=DOUBLE)
    yield Case("complex log anywhere", lambda z: (jnp.log(z), jnp.sqrt(z), lax.rsqrt(z)), one(), FULL)
    yield Case("complex log2", jnp.log2, one(real=POSITIVE, edges=(1.0, 0.0)), FULL, rare=DOUBLE)
    yield Case("complex log of exact signs", lambda x: (jnp.log(-x + 0j), jnp.sqrt(jnp.conj(x + 0j))), lambda d: (d.exact(N),), FULL, unbounded=True, rare=DOUBLE)
    yield Case("complex pow", lax.pow, lambda d: (d.complexes(N, real=POSITIVE, edges=(1.0, 0.0)), d.complexes(N)), FULL, rare=DOUBLE)
    yield Case("complex pow of integers", lambda z: z ** jnp.arange(-2, 4), lambda d: (d.complexes(4, 6, real=POSITIVE),), FULL, rare=DOUBLE)


def grids(*shapes):
    return lambda draw: tuple(draw.complexes(*shape, wide=False) for shape in shapes)


ARRAYS = {
    "complex sums": (lambda z: (jnp.sum(z, axis=1), jnp.cumsum(z, axis=0), jnp.mean(z)), (4, 7)),
    "complex products": (lambda z: (jnp.prod(z, axis=1), jnp.cumprod(z, axis=0)), (4, 5)),
    "complex products in places": (lambda z, w: z.at[jnp.array([0, 3, 0, 9])].multiply(w), (4, 3), (4, 3)),
    "complex norm": (lambda z: (jnp.linalg.norm(z), jnp.vdot(z, z)), (3, 5)),
    "complex dot": (lambda a, b: a @ b, (3, 5), (5, 4)),
    "complex dot with real": (lambda a, b: (jnp.dot(a.real, b), jnp.einsum("ij,jk->k", a, b.conj())), (3, 5), (5, 2)),
    "complex ragged dot": (lambda a, b: lax.ragged_dot(a, b, jnp.array([1, 0, 3], jnp.int32)), (5, 2), (3, 2, 3)),
    "complex conv": (lambda x, k: jnp.convolve(x, k), (6,), (3,)),
    "complex moves": (lambda z: (jnp.pad(z.T[1:], 1), jnp.concatenate([z[::-1], 1j * z]), jnp.roll(z, 1, 0), z * lax.iota(z.dtype, 3)), (4, 3)),
    "complex indexing": (lambda z: (z[jnp.array([2, 0])], z.at[jnp.array([0, 0])].add(z[1:3]), lax.dynamic_slice(z, (1, 0), (2, 2))), (4, 3)),
    "complex polynomial": (lambda z: jnp.polyval(jnp.array([1, 0.5j, -2]), z), (9,)),
    "complex loop": (lambda z: lax.scan(lambda c, x: (c * 0.5 + x, jnp.abs(c)), z[0], z), (4, 3)),
    "complex gradients": (jax.grad(lambda z: (jnp.abs(z) * jnp.array([1, 2, 3])).sum() + jnp.linalg.norm(z)), (4, 3)),
}  # fmt: skip


def arrays():
    for name, (f, *shapes) in ARRAYS.items():
        # JAX cannot vmap a ragged product over both operands yet.
        yield Case(name, f, grids(*shapes), DOUBLE if "ragged" in name else FULL, rare=DOUBLE)


def reals(*shape):
    return lambda draw: (draw.numbers(*shape, wide=False),)


def halves(lengths):
    """Inverse real transforms, one per length."""
    return lambda z: tuple(jnp.fft.irfft(z, n) for n in lengths)


TRANSFORMS = {
    "fft": (lambda z: [jnp.fft.fft(z, n) for n in (1, 2, 7, 8, 12)], grids((12,))),
    "ifft": (lambda z: [jnp.fft.ifft(z, n) for n in (1, 2, 7, 8, 12)], grids((12,))),
    "rfft": (lambda x: [jnp.fft.rfft(x, n) for n in (1, 2, 7, 8, 12)], reals(12)),
    "irfft": (halves((1, 2, 7, 8, 12)), grids((7,))),
    "fft of a prime": (jnp.fft.fft, grids((2, 17))),
    "fft2": (jnp.fft.fft2, grids((3, 4))),
    "rfftn": (jnp.fft.rfftn, reals(2, 3, 4)),
    "irfft2": (jnp.fft.irfft2, grids((3, 3))),
    "there and back again": (lambda x: jnp.fft.irfft(jnp.fft.rfft(x) * 2, 8), reals(8)),
    "filter": (lambda x: jnp.fft.ifft(jnp.fft.fft(x) * jnp.fft.fft(jnp.arange(8.0))).real, reals(8)),
    "gradient of fft": (jax.grad(lambda x: jnp.abs(jnp.fft.rfft(x)).sum() + jnp.fft.irfft(x + 0j, 8).sum()), reals(5)),
}  # fmt: skip


def transforms():
    for name, (f, inputs) in TRANSFORMS.items():
        yield Case(name, f, inputs, FULL, rare=() if name == "fft" else DOUBLE)


def matrix(*shape):
    """Gaussian elements: no two eigenvalues or singular values are the same. And two numbers that are nearly the same."""

    def inputs(draw):
        parts = draw.random.normal(size=(2, *shape))
        a = (parts[0] + 1j * parts[1]).astype(jnp.result_type(draw.dtype, jnp.complex64))
        return Drawn(a), Drawn((3 + draw.random.random()) * np.array([1.002, 1], draw.dtype))

    return inputs


def turned(v):
    """Columns whose first element is positive: what is exact does not depend on the phase."""
    return v * jnp.conj(v[:1]) / jnp.abs(v[:1])


def pivoted(a, c):
    """Two candidates with the same |re| + |im|, or nearly so, but not of one modulus."""
    return lax.linalg.lu(a.at[:2, 0].set(c * jnp.array([1, 0.5 + 0.5j], a.dtype)))


def reflected(a, c):
    """The first element has hardly a real part."""
    return jnp.linalg.qr(a.at[0, 0].set(c[0] - c[1] + 1j))


def spectrum(a, c):
    values, vectors = jnp.linalg.eigh(a)
    return values, turned(vectors)


def singular(a, c):
    u, s, vh = jnp.linalg.svd(a, full_matrices=False)
    phases = vh[:, 0] / jnp.abs(vh[:, 0])
    return u * phases, s, turned(vh.conj().T)


def systems(a, c):
    triangles = lax.linalg.triangular_solve
    return (
        jnp.linalg.solve(a, a[:, :2] + 1),
        jnp.linalg.det(a),
        triangles(a, a[:2], left_side=False, lower=True, transpose_a=True, conjugate_a=True),
        triangles(a, a[:, :2], left_side=True, unit_diagonal=True, conjugate_a=True),
    )


FACTORIZATIONS = {
    "complex systems": (systems, (3, 3)),
    "complex determinants": (lambda a, c: (jnp.linalg.det(a), jnp.linalg.slogdet(a)), (4, 4)),
    "complex cholesky": (lambda a, c: jnp.linalg.cholesky(a @ a.conj().T + 3 * jnp.eye(3)), (3, 3)),
    "complex lu": (pivoted, (3, 2)),
    "complex eigh": (spectrum, (3, 3)),
    "complex svd": (singular, (3, 2)),
    "complex qr": (reflected, (3, 2)),
}


def factorizations():
    for name, (f, shape) in FACTORIZATIONS.items():
        rare = DOUBLE if name in ("complex eigh", "complex qr") else FULL  # faults try others as well
        yield Case(name, f, matrix(*shape), FULL, unbounded=True, rare=rare)


CASES = [*arithmetic(), *elementary(), *arrays(), *transforms(), *factorizations()]
