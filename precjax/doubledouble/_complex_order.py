"""Complex numbers in order, as XLA compares them: by real parts, and by imaginary parts where those are equal.

The larger and the smaller of two are exact. Where a part is NaN, XLA's comparison is false and the second one is taken;
in what order a reduction compares is its own affair, so that callers take what float64 gives there (`settled`).
"""

from __future__ import annotations

from precjax.doubledouble import _arithmetic as real
from precjax.doubledouble._complex import Parts, choose


def larger(z: Parts, w: Parts) -> Parts:
    """The number that comes last."""
    return choose(real.gt(z.re, w.re) | (real.eq(z.re, w.re) & real.gt(z.im, w.im)), z, w)


def smaller(z: Parts, w: Parts) -> Parts:
    """The number that comes first."""
    return choose(real.lt(z.re, w.re) | (real.eq(z.re, w.re) & real.lt(z.im, w.im)), z, w)


def clamp(low: Parts, z: Parts, high: Parts) -> Parts:
    """The larger of the number and the lower end, or the upper end if that is smaller."""
    return smaller(larger(z, low), high)
