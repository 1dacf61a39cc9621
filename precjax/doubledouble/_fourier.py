"""Fourier transforms of complex pairs: products with the matrix of roots of unity, axis by axis.

A transform of length n costs n**2 products, by exact slices; the roots err by some 30 units of 2**-106, so that results
err by that much of the root mean square of the array, times n at most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

from precjax.doubledouble import _arithmetic as real
from precjax.doubledouble._complex import Parts
from precjax.doubledouble._constants import pair, pi
from precjax.doubledouble._contractions import dot_general
from precjax.doubledouble._exponential import constant
from precjax.doubledouble._pairs import DD, from_float
from precjax.doubledouble._trigonometric import cos, sin


def roots(n: int, sign: int) -> Parts:
    """The matrix exp(sign 2 pi i j k / n), ``(n, n)``: whole turns are left out exactly."""
    turns = np.outer(np.arange(n), np.arange(n)) % n
    halves = from_float(jnp.arange(0, 2 * n, 2, dtype=np.float64))
    angles = real.div(real.mul(constant(pair(pi()), halves), halves), from_float(jnp.full(n, float(n))))
    return Parts(*(DD(*(v[turns] for v in x)) for x in (cos(angles), _signed(sin(angles), sign))))


def _signed(x: DD, sign: int) -> DD:
    return x if sign > 0 else real.neg(x)


def _along(z: Parts, axis: int, matrix: Parts) -> Parts:
    """Products along an axis, which stays where it is."""

    def product(x: DD, y: DD) -> DD:
        found = dot_general(x, y, (((axis,), (0,)), ((), ())))
        return DD(*(jnp.moveaxis(v, -1, axis) for v in found))

    re = real.sub(product(z.re, matrix.re), product(z.im, matrix.im))
    return Parts(re, real.add(product(z.re, matrix.im), product(z.im, matrix.re)))


def _forward(z: Parts, axis: int, n: int) -> Parts:
    return _along(z, axis, roots(n, -1))


def _inverse(z: Parts, axis: int, n: int) -> Parts:
    found, size = _along(z, axis, roots(n, 1)), from_float(jnp.full((), float(n)))
    return Parts(*(real.div(x, DD(*(jnp.broadcast_to(v, x.hi.shape) for v in size))) for x in found))


def _each(z: Parts, transform: Callable[..., Parts], lengths: Sequence[int], axes: Sequence[int]) -> Parts:
    for axis, n in zip(axes, lengths, strict=True):
        z = transform(z, axis, n)
    return z


def _axes(z: Parts, lengths: Sequence[int]) -> list[int]:
    return list(range(z.re.hi.ndim - len(lengths), z.re.hi.ndim))


def fft(z: Parts, lengths: Sequence[int]) -> Parts:
    """Over the last axes."""
    return _each(z, _forward, lengths, _axes(z, lengths))


def ifft(z: Parts, lengths: Sequence[int]) -> Parts:
    """Over the last axes."""
    return _each(z, _inverse, lengths, _axes(z, lengths))


def rfft(z: Parts, lengths: Sequence[int]) -> Parts:
    """Of real numbers: the first half of the last axis."""
    found, half = fft(z, lengths), lengths[-1] // 2 + 1
    return Parts(*(DD(*(v[..., :half] for v in x)) for x in found))


def irfft(z: Parts, lengths: Sequence[int]) -> Parts:
    """From the first half of the last axis; the imaginary parts of what has no mirror image count as 0."""
    *before, n = lengths
    axes = _axes(z, lengths)
    z = _each(z, _inverse, before, axes[:-1])
    mirror = np.arange(n)
    index, mirrored = np.minimum(mirror, n - mirror), mirror > n - mirror
    alone = (mirror == 0) | (2 * mirror == n)
    re, im = (DD(*(v[..., index] for v in x)) for x in z)
    im = real.select(jnp.asarray(mirrored), real.neg(im), im)
    im = real.select(jnp.asarray(alone), from_float(jnp.zeros_like(im.hi)), im)
    return _inverse(Parts(re, im), axes[-1], n)


KINDS: dict[str, Callable[..., Parts]] = {"FFT": fft, "IFFT": ifft, "RFFT": rfft, "IRFFT": irfft}
