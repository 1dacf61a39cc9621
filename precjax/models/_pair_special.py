"""Special functions of two or three pairs: what float64 rules say, and the roundings that `doubledouble` states.

Theorem: the errors of the arguments spread as the rules of float64 say, which hold for any unit roundoff. The rounding
of powers (q + k)**-s is no multiple of the result alone, see `doubledouble._zeta`; terms that underflow are lost.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import doubledouble as dd
from precjax._annotated import Annotated, Known
from precjax._registry import find
from precjax._rounding import maximum, minus, plus, ratio, times, where
from precjax.doubledouble import DD
from precjax.doubledouble._pairs import FLOOR
from precjax.models._pair_rules import Call, PairRules, special
from precjax.rules.interval import Interval, interval, log_size

_FLOAT64 = np.dtype(np.float64)
_LOST = 64.0  # sums, powers and quotients, each of which may lose FLOOR


@special("zeta")
def _zeta(model: PairRules, call: Call) -> list[Any]:
    """And s (1 + |log q|) roundings."""
    s, q = _intervals(model, call)
    spread = call.ask(model, call.thin)[0]
    return [_total(model, call, spread, _powers(call, s.high, q), _lost(minus(s.low, 1.0), q))]


@special("polygamma")
def _polygamma(model: PairRules, call: Call) -> list[Any]:
    """As zeta(m + 1, x); of digamma, 500 (|f| + 1) is less than its rule says."""
    m, x = _intervals(model, call)
    spread = call.ask(model, call.thin)[0]
    return [_total(model, call, spread, _powers(call, plus(m.high, 1.0), x), _lost(maximum(m.low, 1.0), x))]


@special("igamma", "igammac")
def _incomplete(model: PairRules, call: Call) -> list[Any]:
    """As of float64, but for differences a - x of high parts, which are off by 2**-52 a."""
    # They occur in 1 / (a - x) and 1 / (x - a + 1), up to a = 2**22. The second is off by 2**-30 of itself, and the
    # first, too, while a - x >= a / 2**22; nearer, F is above 0.3, and the bound by the variance is the smaller one.
    return [_beyond_differences(model, call, _LOST * FLOOR)]


@special("igamma_grad_a")
def _slope(model: PairRules, call: Call) -> list[Any]:
    """As of igamma; up to a = 2**10 an exponential that underflows is multiplied by less than 2**21."""
    return [_beyond_differences(model, call, 2.0**20 * _LOST * FLOOR)]


@special("regularized_incomplete_beta")
def _beta(model: PairRules, call: Call) -> list[Any]:
    """As of float64, which is asked for 1 - I at 1 - x beyond 1/2, where x does not say how large 1 - x is."""
    # Differences of high parts, as of igamma: in 1 / (a - (b - 1) x / (1 - x)), where a and b are below 2**12.
    (out,), shape = call.outs, call.values[0].shape
    a, b, x = (DD(*(jnp.broadcast_to(v, shape) for v in y)) for y in call.pairs)
    one = dd.from_float(jnp.ones(shape))
    near = lax.gt(x.hi, jnp.full_like(x.hi, 0.5))
    known = Known(settled=all(y.known.settled for y in call.operands))
    errors = [y.error for y in call.thin]
    views = [
        Annotated(where(near, there.hi, here.hi), _either(near, errors[i], errors[j], shape), known)
        for here, there, i, j in ((a, b, 0, 1), (b, a, 1, 0), (x, dd.sub(one, x), 2, 2))
    ]
    value = where(near, dd.sub(one, out).hi, out.hi)
    rule = find("regularized_incomplete_beta", False)
    (error,) = rule(model, views, [value])
    return [_total(model, call, times(error, 1 + 2.0**-28), 2.0**40 * _LOST * FLOOR)]


def _either(turned: Any, here: Any, there: Any, shape: Any) -> Any:
    """The error of one operand or the other; None if both are exact."""
    if here is None and there is None:
        return None
    errors = [jnp.zeros(shape) if e is None else jnp.broadcast_to(e, shape) for e in (here, there)]
    return where(turned, errors[1], errors[0])


def _beyond_differences(model: PairRules, call: Call, lost: float) -> Any:
    return _total(model, call, times(call.ask(model, call.thin)[0], 1 + 2.0**-28), lost)


def _intervals(model: PairRules, call: Call) -> tuple[Interval, Interval]:
    first, second = (interval(model.ball(x, _FLOAT64), call.values[0]) for x in call.thin)
    return first, second


def _powers(call: Call, s: Any, q: Interval) -> Any:
    units = dd.BOUNDS[call.eqn.primitive.name].units * 2.0**-106
    return times(lax.abs(call.values[0]), s, plus(log_size(q), 1.0), units * (1 + 2.0**-40))


def _lost(beyond: Any, q: Interval) -> Any:
    """The tail is y / (s - 1) times a power that may underflow, y = q + 20."""
    return times(plus(ratio(plus(q.high, 20.0), maximum(beyond, 0.0)), 1.0), _LOST * FLOOR)


def _total(model: PairRules, call: Call, *terms: Any) -> Any:
    return model.total(call.values[0], *terms, ulps=0, steps=64, flushed=4)
