"""Elementary and special functions: one line each, with the limits at -inf and +inf and, where it ends, the domain.

Limits are stated because balls have none: python-flint gives NaN for erf(inf). Without a limit, the value is NaN.
"""

from flint import arb, ctx, fmpq, fmpz

from precjax._judge.number import HALF, INF, NAN, ONE, ZERO, Undecidable, compare, finite, is_finite, is_nan, sign
from precjax._judge.table import defelementwise

_CANCELLED = 10_000


def deffunction(name, function, at_minus_infinity=None, at_infinity=None):
    """Register a function of finite numbers, with its limits (thunks: pi/2 depends on the working precision)."""

    def extended(x):
        if is_finite(x):
            return function(x)
        if is_nan(x):
            return NAN
        if not sign(x):
            raise Undecidable(f"{name} of {x}")
        limit = at_infinity if sign(x) > 0 else at_minus_infinity
        return NAN if limit is None else limit()

    defelementwise(name, extended)


def _of_ball(function):
    return lambda x: finite(function(arb(x)))


def _zero():
    return ZERO


def _one():
    return ONE


def _minus_one():
    return -ONE


def _infinity():
    return INF


def _minus_infinity():
    return -INF


def _half_pi():
    return arb.pi() / 2


def exp2(x):
    return fmpq(2) ** int(x.p) if type(x) is fmpq and x.q == 1 and abs(x) < 1000 else finite(arb(2) ** arb(x))


def log(x):
    return _above(x, ZERO, arb.log, -INF)


def log2(x):
    if type(x) is fmpq and x > 0 and _is_power_of_two(int(x.p)) and _is_power_of_two(int(x.q)):
        return fmpq(int(x.p).bit_length() - int(x.q).bit_length())
    return log(x) / arb(2).log()


def _is_power_of_two(n):
    return n & (n - 1) == 0


def log1p(x):
    return _above(x, -ONE, arb.log1p, -INF)


def _above(x, edge, function, at_edge):
    """A function on the half-line above an edge: NaN below, a given value on it."""
    side = compare(x, edge)
    return NAN if side is None or side < 0 else at_edge if side == 0 else finite(function(arb(x)))


def _inside(x, function, at_ends):
    """A function on (-1, 1) that is odd at its ends: NaN outside, +-at_ends on them."""
    side = compare(abs(x), ONE)
    return NAN if side is None or side > 0 else at_ends * sign(x) if side == 0 else finite(function(arb(x)))


def sqrt(x):
    """A fraction where it is one: what cancels against it is exactly 0."""
    if type(x) is fmpq and x >= 0:
        roots = [fmpz(part).isqrt() for part in (x.p, x.q)]
        if fmpq(*roots) ** 2 == x:
            return fmpq(*roots)
    return _above(x, ZERO, arb.sqrt, ZERO)


def rsqrt(x):
    return _above(x, ZERO, arb.rsqrt, INF)


def cbrt(x):
    return arb(abs(x)).root(3) * sign(x)


def logistic(x):
    """Increasing: of a wide ball, between its ends."""
    low, high = (1 / (1 + finite((-end).exp())) for end in (arb(x).lower(), arb(x).upper()))
    return low.union(high)


def lgamma(x):
    """log|Gamma(x)|, by reflection left of zero."""
    if sign(x) > 0:
        return finite(arb(x).lgamma())
    if _is_integer(x):
        return INF
    return (arb.pi() / abs(arb(x).sin_pi())).log() - arb(1 - x).lgamma()


def digamma(x):
    return NAN if sign(x) <= 0 and _is_integer(x) else arb(x).digamma()


def _is_integer(x):
    if type(x) is fmpq:
        return x.q == 1
    if x.contains_integer():
        raise Undecidable(f"whether {x} is an integer")
    return False


deffunction("exp", _of_ball(arb.exp), _zero, _infinity)
deffunction("exp2", exp2, _zero, _infinity)
deffunction("expm1", _of_ball(arb.expm1), _minus_one, _infinity)
deffunction("log", log, None, _infinity)
deffunction("log2", log2, None, _infinity)
deffunction("log1p", log1p, None, _infinity)
deffunction("sqrt", sqrt, None, _infinity)
deffunction("rsqrt", rsqrt, None, _zero)
deffunction("cbrt", cbrt, _minus_infinity, _infinity)
deffunction("logistic", logistic, _zero, _one)
deffunction("sin", _of_ball(arb.sin))
deffunction("cos", _of_ball(arb.cos))
deffunction("tan", _of_ball(arb.tan))
deffunction("asin", lambda x: _inside(x, arb.asin, arb.pi() / 2))
deffunction("acos", lambda x: arb.pi() / 2 - _inside(x, arb.asin, arb.pi() / 2) if x != ONE else ZERO)
deffunction("atan", _of_ball(arb.atan), lambda: -_half_pi(), _half_pi)
deffunction("sinh", _of_ball(arb.sinh), _minus_infinity, _infinity)
deffunction("cosh", _of_ball(arb.cosh), _infinity, _infinity)
deffunction("tanh", _of_ball(arb.tanh), _minus_one, _one)
deffunction("asinh", _of_ball(arb.asinh), _minus_infinity, _infinity)
deffunction("acosh", lambda x: _above(x, ONE, arb.acosh, ZERO), None, _infinity)
deffunction("atanh", lambda x: _inside(x, arb.atanh, INF))
deffunction("erf", _of_ball(arb.erf), _minus_one, _one)
deffunction("erfc", _of_ball(arb.erfc), lambda: fmpq(2), _zero)
deffunction("erf_inv", lambda x: _inside(x, arb.erfinv, INF))
deffunction("lgamma", lgamma, _infinity, _infinity)
deffunction("digamma", digamma, None, _infinity)
deffunction("bessel_i0e", lambda x: arb(abs(x)).bessel_i(0, scaled=True), _zero, _zero)
deffunction("bessel_i1e", lambda x: arb(abs(x)).bessel_i(1, scaled=True) * (sign(x) or 0), _zero, _zero)


def atan2(y, x):
    """The angle of (x, y); real arithmetic has no signed zeros, so it is pi on the negative half-axis, 0 at 0."""
    if is_nan(x) or is_nan(y):
        return NAN
    if not is_finite(x):
        return _towards_infinity(y, sign(x))
    return arb.atan2(arb(y), arb(x)) if is_finite(y) else sign(y) * _half_pi()


def _towards_infinity(y, direction):
    if is_finite(y):
        return ZERO if direction > 0 else arb.pi() * (sign(y) or 1)
    return _half_pi() * sign(y) * (HALF if direction > 0 else HALF * 3)


def igamma(a, x):
    return _incomplete_gamma(a, x, _gamma_lower, ZERO, ONE)


def _gamma_lower(x, a, regularized):
    """The complement, but where it loses digits: the lower function takes long for large numbers."""
    complement = 1 - x.gamma_upper(a, regularized)
    return complement if complement.rel_accuracy_bits() > 256 else x.gamma_lower(a, regularized)


def igammac(a, x):
    return _incomplete_gamma(a, x, arb.gamma_upper, ONE, ZERO)


def _incomplete_gamma(a, x, function, at_zero, at_infinity):
    if is_nan(a) or is_nan(x) or sign(a) <= 0 or sign(x) < 0 or not is_finite(a):
        return NAN
    if not is_finite(x):
        return at_infinity
    return at_zero if sign(x) == 0 else finite(function(arb(x), arb(a), 1))


def igamma_grad_a(a, x):
    """The derivative of x**a / Gamma(a + 1) times 1F1(a; a + 1; -x) in a."""
    value = igamma(a, x)
    if is_nan(value) or not is_finite(x) or sign(x) == 0:
        return NAN if is_nan(value) else ZERO
    with ctx.workprec(ctx.prec + 4 * min(int(float(x)), _CANCELLED)):  # terms of size exp(x) cancel
        a, x = arb(a), arb(x)
        power = (a * x.log() - a.lgamma()).exp() / a**2
        series = power * (-x).hypgeom([a, a], [a + 1, a + 1])
        return finite(arb(igamma(a, x)) * (x.log() - a.digamma()) - series)


def regularized_incomplete_beta(a, b, x):
    if not (is_finite(a) and is_finite(b) and is_finite(x)) or sign(a) <= 0 or sign(b) <= 0:
        return NAN
    if sign(x) < 0 or compare(x, ONE) > 0:
        return NAN
    return finite(arb(x).beta_lower(arb(a), arb(b), 1)) if sign(x) else ZERO


def zeta(x, q):
    """Hurwitz: the sum over k >= 0 of (q + k)**-x, for x > 1 and q > 0."""
    if not (is_finite(x) and is_finite(q)) or compare(x, ONE) <= 0 or sign(q) <= 0:
        return NAN
    return arb.zeta(arb(x), arb(q))


def polygamma(m, x):
    """The m-th derivative of digamma: (-1)**(m + 1) m! zeta(m + 1, x), for x > 0."""
    if is_nan(x) or not is_finite(m) or not _is_integer(m) or sign(m) < 0:
        return NAN
    if sign(m) == 0:
        return digamma(x)
    return zeta(m + 1, x) * arb(m + 1).gamma() * (-1 if m.p % 2 == 0 else 1)


defelementwise("atan2", atan2, operands=2)
defelementwise("igamma", igamma, operands=2)
defelementwise("igammac", igammac, operands=2)
defelementwise("igamma_grad_a", igamma_grad_a, operands=2)
defelementwise("regularized_incomplete_beta", regularized_incomplete_beta, operands=3)
defelementwise("zeta", zeta, operands=2)
defelementwise("polygamma", polygamma, operands=2)
