"""Bounds of many errors from few deviations of each: a moderated Student's t.

Each of n numbers has k deviations, drawn like its error, of an unknown variance of its own. k of them say little of
that, so that Student's quantile is large (4.6 deviations for k = 4 at 99%, of a Gaussian 2.6); n k of them say much of
how the variances are spread. Smyth's model: the variances are scaled inverse chi-squares of d degrees of freedom with
mean s**2, all errors being Gaussian. Given the k deviations with mean square v, an error over the root of
((d - 2) s**2 + k v) / (d + k) then has Student's distribution with d + k degrees of freedom.

s**2 is the mean of v over the numbers. The variance of v over them is (2 / k) (1 + h) + h in units of s**4, where
h = 2 / (d - 4) is that of the variances, which gives d. Errors of an array may be alike (a common factor is wrong), so
that n k deviations tell no more than m k, m = (tr C)**2 / tr C**2 for the covariance C of the errors. The deviations of
two probes, as vectors of n numbers, have a squared cosine of 1 / m in the mean; half a pair more that is alike is
counted, in case the others are not by chance. There are m k degrees of freedom at most (Satterthwaite).

What is far smaller than the rest has a better bound by Student's quantile of its own k deviations. That is taken where
it is less than a quarter of the other; each has half the probability of failing.

References:
    Smyth, Linear models and empirical Bayes methods for assessing differential expression in microarray experiments,
    Stat. Appl. Genet. Mol. Biol. 3 (2004).
    Satterthwaite, An approximate distribution of estimates of variance components, Biometrics Bull. 2 (1946).
"""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy import special

from precjax._rounding import never_nan, thinned

_ENOUGH = 2**16  # numbers, to tell what all of an array have in common
_FAR = 4.0  # so many times its own, a bound by the rest is not for this number


def own_bound(deviations: Any, confidence: float) -> Any:
    """Student's quantile of each number's own deviations.

    Args:
        deviations: array ``(k, *s)``.
        confidence: probability of an error below the bound.

    Returns:
        Array ``(*s)``; inf where a deviation is infinite or NaN.
    """
    return _times(_root_mean_square(deviations), _quantile(len(deviations), confidence))


def moderated_bound(deviations: Any, confidence: float) -> Any:
    """The same, with what the deviations of the whole array say.

    Args:
        deviations: array ``(k, *s)``.
        confidence: probability of an error below the bound.

    Returns:
        Array ``(*s)``; 0 for numbers that never deviate, which are left out of what the others have in common.
    """
    k = len(deviations)
    if deviations.size <= k:
        return own_bound(deviations, confidence)
    confidence = (1 + confidence) / 2
    own = _root_mean_square(deviations)
    usual = lax.is_finite(own) & (own > 0)
    greatest = jnp.max(jnp.where(usual, own, 0))
    unit = jnp.where(greatest > 0, greatest, 1)
    v = jnp.where(usual, lax.square(own / unit), 0)
    count = jnp.maximum(jnp.sum(usual, dtype=own.dtype), 1)
    mean = jnp.maximum(jnp.sum(v) / count, np.finfo(own.dtype).tiny)
    spread = jnp.sum(lax.square(v / mean)) / count - 1
    h = jnp.maximum((spread - 2 / k) / (1 + 2 / k), 1e-6)
    d = 4 + 2 / h
    some = _some(deviations)
    alike = _likeness(jnp.where(_some(usual[None]), some / unit, 0))
    freedom = jnp.minimum(d + k, k / jnp.maximum(alike, 1 / count))
    shared = jnp.sqrt(((d - 2) * mean + k * v) / (d + k)) * (unit * _quantiles(freedom, k, confidence))
    bound = _times(own, _quantile(k, confidence))
    return jnp.where(usual & (shared < _FAR * bound), shared, bound)


def _some(vectors: Any) -> Any:
    """Of very many numbers, enough to tell what they have in common, spread over all of them: (k, m)."""
    return thinned(vectors.reshape(len(vectors), -1), _ENOUGH)


def _root_mean_square(deviations: Any) -> Any:
    """Over the first axis, row by row: XLA's library on a CPU is slow where it sums over a short axis."""
    rows = [lax.abs(row) for row in deviations]
    largest = never_nan(functools.reduce(jnp.maximum, rows))
    usual = lax.is_finite(largest) & (largest >= np.finfo(largest.dtype).tiny)
    over_largest = 1 / jnp.where(usual, largest, 1)
    total = functools.reduce(lax.add, (lax.square(row * over_largest) for row in rows))
    return jnp.where(usual, largest * lax.sqrt(total / len(rows)), largest)


def _times(deviation: Any, factor: float) -> Any:
    return never_nan(deviation * np.asarray(factor, deviation.dtype))


def _likeness(vectors: Any) -> Any:
    """1 / m."""
    k = len(vectors)
    gram = lax.dot_general(vectors, vectors, (((1,), (1,)), ((), ())), precision=lax.Precision.HIGHEST)
    squares = jnp.diagonal(gram)
    pairs = squares[:, None] * squares
    cosines = jnp.where(pairs > 0, lax.square(gram) / jnp.where(pairs > 0, pairs, 1), 1)
    alike = jnp.sum(jnp.triu(cosines, 1))
    return (0.5 + alike) / (0.5 + k * (k - 1) // 2)


def _quantile(freedom: Any, confidence: float) -> Any:
    return special.stdtrit(freedom, (1 + confidence) / 2)


def _quantiles(freedom: Any, least: int, confidence: float) -> Any:
    """Of a traced number of degrees of freedom: convex in their reciprocal, so that interpolation enlarges it."""
    reciprocals = np.linspace(0, 1 / least, 65)
    known = [special.ndtri((1 + confidence) / 2), *_quantile(1 / reciprocals[1:], confidence)]
    return jnp.interp(1 / freedom, jnp.asarray(reciprocals, freedom.dtype), jnp.asarray(known, freedom.dtype))
