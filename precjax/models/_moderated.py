"""Bounds of many errors from few deviations of each: a moderated Student's t.

Each of n numbers has k deviations, drawn like its error, of an unknown variance of its own. k of them say little of
that, so that Student's quantile is large (4.6 deviations for k = 4 at 99%, of a Gaussian 2.6); n k of them say much of
how the variances are spread. Smyth's model: the variances are scaled inverse chi-squares of d degrees of freedom with
mean s**2, all errors being Gaussian. Given the k deviations with mean square v, an error over the root of
((d - 2) s**2 + k v) / (d + k) then has Student's distribution with d + k degrees of freedom.

s**2 is the mean of v over the numbers. The variance of v over them is (2 / k) (1 + h) + h in units of s**4, where
h = 2 / (d - 4) is that of the variances, which gives d. Errors of an array may be alike (a common factor is wrong), so
that n k deviations tell no more than m k, m = (tr C)**2 / tr C**2 for the covariance C of the errors. The deviations of
two probes, as vectors of n numbers, have a squared cosine of 1 / m in the mean; one more pair that is alike is counted,
in case the others are not by chance. There are m k degrees of freedom at most (Satterthwaite).

What is far smaller than the rest has a better bound by Student's quantile of its own k deviations. The smaller of the
two bounds is taken, each with half the probability of failing.

References:
    Smyth, Linear models and empirical Bayes methods for assessing differential expression in microarray experiments,
    Stat. Appl. Genet. Mol. Biol. 3 (2004).
    Satterthwaite, An approximate distribution of estimates of variance components, Biometrics Bull. 2 (1946).
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy import special

from precjax._rounding import never_nan


def own_bound(deviations: Any, confidence: float) -> Any:
    """Student's quantile of each number's own deviations.

    Args:
        deviations: array ``(*s, k)``.
        confidence: probability of an error below the bound.

    Returns:
        Array ``(*s)``; inf where a deviation is infinite or NaN.
    """
    k = deviations.shape[-1]
    largest = jnp.max(never_nan(lax.abs(deviations)), axis=-1)
    usual = lax.is_finite(largest) & (largest > 0)
    unit = jnp.where(usual, largest, 1)
    root = jnp.sqrt(jnp.mean(lax.square(deviations / unit[..., None]), axis=-1))
    return never_nan(largest * jnp.where(usual, root * np.asarray(_quantile(k, confidence), root.dtype), 1))


def moderated_bound(deviations: Any, confidence: float) -> Any:
    """The same, with what the deviations of the whole array say.

    Args:
        deviations: array ``(*s, k)``.
        confidence: probability of an error below the bound.

    Returns:
        Array ``(*s)``; 0 for numbers that never deviate, which are left out of what the others have in common.
    """
    if deviations.size <= deviations.shape[-1]:
        return own_bound(deviations, confidence)
    k, confidence = deviations.shape[-1], (1 + confidence) / 2
    own = own_bound(deviations, confidence)
    usual = lax.is_finite(own) & (own > 0)
    largest = jnp.max(jnp.where(usual[..., None], lax.abs(deviations), 0))
    unit = jnp.where(largest > 0, largest, 1)
    sample = jnp.where(usual[..., None], deviations / unit, 0)
    count = jnp.maximum(jnp.sum(usual, dtype=sample.dtype), 1)
    v = jnp.mean(lax.square(sample), axis=-1)
    mean = jnp.sum(v) / count
    tiny = np.finfo(sample.dtype).tiny
    spread = jnp.sum(jnp.where(usual, lax.square(v / jnp.maximum(mean, tiny) - 1), 0)) / jnp.maximum(count - 1, 1)
    h = jnp.maximum((spread - 2 / k) / (1 + 2 / k), 1e-6)
    d = 4 + 2 / h
    freedom = jnp.minimum(d + k, k / jnp.maximum(_likeness(sample), 1 / count))
    deviation = jnp.sqrt(((d - 2) * mean + k * v) / (d + k))
    return jnp.where(usual, jnp.minimum(own, unit * deviation * _quantiles(freedom, k, confidence)), own)


def _likeness(sample: Any) -> Any:
    """1 / m."""
    k = sample.shape[-1]
    vectors = sample.reshape(-1, k)
    gram = lax.dot_general(vectors, vectors, (((0,), (0,)), ((), ())), precision=lax.Precision.HIGHEST)
    squares = jnp.diagonal(gram)
    pairs = squares[:, None] * squares
    cosines = jnp.where(pairs > 0, lax.square(gram) / jnp.where(pairs > 0, pairs, 1), 1)
    alike = (jnp.sum(cosines) - jnp.sum(jnp.diagonal(cosines))) / 2
    return (1 + alike) / (1 + k * (k - 1) // 2)


def _quantile(freedom: Any, confidence: float) -> Any:
    return special.stdtrit(freedom, (1 + confidence) / 2)


def _quantiles(freedom: Any, least: int, confidence: float) -> Any:
    """Of a traced number of degrees of freedom: convex in their reciprocal, so that interpolation enlarges it."""
    reciprocals = np.linspace(0, 1 / least, 65)
    known = [special.ndtri((1 + confidence) / 2), *_quantile(1 / reciprocals[1:], confidence)]
    return jnp.interp(1 / freedom, jnp.asarray(reciprocals, freedom.dtype), jnp.asarray(known, freedom.dtype))
