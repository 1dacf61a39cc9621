"""Reductions and cumulative operations over axes."""

import numpy as np

from precjax._judge.arithmetic import add, multiply
from precjax._judge.number import INF, ONE, ZERO, larger, smaller
from precjax._judge.table import RULES, rule

SUM = np.frompyfunc(add, 2, 1, identity=ZERO)
PRODUCT = np.frompyfunc(multiply, 2, 1, identity=ONE)
MAXIMUM = np.frompyfunc(larger, 2, 1, identity=-INF)
MINIMUM = np.frompyfunc(smaller, 2, 1, identity=INF)

for _name, _fold in {"sum": SUM, "prod": PRODUCT, "max": MAXIMUM, "min": MINIMUM}.items():
    rule(f"reduce_{_name}")(lambda x, *, axes, fold=_fold, **params: fold.reduce(x, axis=tuple(axes)))
    rule(f"cum{_name}")(
        lambda x, *, axis, reverse, fold=_fold, **params: _accumulate(fold, x, axis, reverse),
    )


@rule("reduce")
def reduce(*operands, jaxpr, dimensions, **params):
    """Several at once, each by one primitive."""
    body = getattr(jaxpr, "jaxpr", jaxpr)
    folds = {"add": SUM, "mul": PRODUCT, "max": MAXIMUM, "min": MINIMUM}
    made = {var: eqn.primitive.name for eqn in body.eqns for var in eqn.outvars}
    count = len(body.outvars)
    return [
        folds[made[var]](folds[made[var]].reduce(x, axis=tuple(dimensions)), start)
        for var, x, start in zip(body.outvars, operands[:count], operands[count:], strict=True)
    ]


@rule("reduce_xor")
def reduce_xor(x, *, axes, **params):
    return np.bitwise_xor.reduce(x, axis=tuple(axes))


def _accumulate(fold, x, axis, reverse):
    if reverse:
        return np.flip(_accumulate(fold, np.flip(x, axis), axis, False), axis)
    return fold.accumulate(x, axis=axis) if x.size else x


@rule("cumlogsumexp")
def cumlogsumexp(x, *, axis, reverse, **params):
    # Balls have unbounded exponents, so that no maximum need be subtracted first.
    return RULES["log"](_accumulate(SUM, RULES["exp"](x), axis, reverse))
