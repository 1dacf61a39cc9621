"""Rows of special functions: those around Gamma, Bessel functions, and the distributions made of them."""

import numpy as np
from cases import Case
from cases_elementwise import N, one
from jax import lax

# name: (low, high, edges); left of 0 lie the poles
ONE = {
    "lgamma": (0.0, np.inf, (1.0, 2.0, 0.5)),
    "digamma": (0.0, np.inf, (1.4616321, 0.5, 1.0)),
    "bessel_i0e": (-np.inf, np.inf, (8.0,)),
    "bessel_i1e": (-np.inf, np.inf, (8.0, 1.545, 2.0)),
}


def functions_of_one():
    for name, (low, high, edges) in ONE.items():
        yield Case(name, getattr(lax, name), one(low, high, edges), scalar=True)
    left = one(-np.inf, 0.0, (-0.5, -1.0, -2.457024, -30.5, -7.0), scale=4.0)
    for name in ("lgamma", "digamma"):
        yield Case(f"{name} left of 0", getattr(lax, name), left, scalar=True, unbounded=True)


CASES = [*functions_of_one()]
