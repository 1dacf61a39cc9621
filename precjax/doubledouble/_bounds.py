"""The error bounds of all operations, as data.

The result of an operation f of pairs x, y, ... satisfies

    |computed - f(x', y', ...)| <= units * 2**-106 * (|f(x', y', ...)| + scale) + FLOOR

for some x', y', ... within FLOOR of x, y, ..., the last one, moreover, within `argument` relative: what flushed
subnormal numbers do, and what the reduction of large arguments does. The scale is 0 but where it has a name: one of
those of `precjax.rules.accuracy`, "iterated" and "igamma_grad_a" (see `precjax.rules.exponents` and `incomplete`), or
"zeta", |f| s (1 + |log q|), with s = m + 1 for `polygamma`. It holds wherever the result is finite; where an
intermediate overflows, the result is inf or NaN, never a wrong finite number.
"""

from __future__ import annotations

from typing import NamedTuple


class Bound(NamedTuple):
    """Units of u**2 = 2**-106 of the result, a relative change of the last argument, and the name of a scale."""

    units: float
    argument: float = 0.0
    scale: str = "value"


BOUNDS: dict[str, Bound] = {
    # Roundings are counted beside the code. The inverse functions start from float64 functions of XLA, which are
    # assumed to err by less than 2**10 ulps (measured: 118 at most, cbrt on some machines).
    "add": Bound(3.01),
    "sub": Bound(3.01),
    "mul": Bound(11),
    "square": Bound(11),
    "fma": Bound(3.01),
    "div": Bound(13),
    "sqrt": Bound(5),
    "rsqrt": Bound(19),
    "cbrt": Bound(14),
    "exp": Bound(13),
    "exp2": Bound(13),
    "expm1": Bound(25),
    "log": Bound(60),
    "log1p": Bound(65),
    "log2": Bound(72),
    "sinh": Bound(40),
    "cosh": Bound(24),
    "tanh": Bound(42),
    "asinh": Bound(90),
    "acosh": Bound(85),
    "atanh": Bound(85),
    "logistic": Bound(30),
    "pow": Bound(13, argument=71 * 2.0**-106),
    "sin": Bound(25, argument=2.0**-150),
    "cos": Bound(25, argument=2.0**-150),
    "tan": Bound(65, argument=2.0**-150),
    "asin": Bound(95),
    "acos": Bound(95),
    "atan": Bound(80),
    "atan2": Bound(80),
    "complex abs": Bound(13),
    "complex sign": Bound(27),
    "complex square": Bound(18),
    "erf": Bound(47),
    "erfc": Bound(51),
    "erf_inv": Bound(64),
    "lgamma": Bound(6300, scale="lgamma"),
    "digamma": Bound(500, scale="digamma"),
    "bessel_i0e": Bound(630),
    "bessel_i1e": Bound(645),
    # Of the sum or fraction, see `_incomplete` and `rules.exponents`; the factor errs by what its exponent does.
    "igamma": Bound(400, scale="iterated"),
    "igammac": Bound(400, scale="iterated"),
    "igamma_grad_a": Bound(10000, scale="igamma_grad_a"),  # of all that `rules.incomplete` multiplies it with
    "regularized_incomplete_beta": Bound(40000, scale="iterated"),  # of the fraction; see `_beta`
    "zeta": Bound(360, scale="zeta"),
    "polygamma": Bound(385, scale="zeta"),  # for m = 0, that of `digamma`
}
