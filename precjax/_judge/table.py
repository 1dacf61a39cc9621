"""The table of exact semantics, keyed on names of primitives.

A rule takes the operands of an equation as arrays (object arrays of numbers for floats, ordinary numpy arrays for
integers and bools) and the equation's parameters, and returns its result, or a sequence of results.
"""

import numpy as np

from precjax._judge.number import lift

RULES = {}
# Of equations that have a complex operand or result.
COMPLEX = {}


def rule(*names, table=RULES):
    """Register the decorated function as the semantics of the primitives of these names."""

    def register(function):
        table.update(dict.fromkeys(names, function))
        return function

    return register


def defelementwise(name, function, operands=1, table=RULES):
    """Register a function of numbers as the elementwise semantics of a primitive."""
    apply = np.frompyfunc(function, operands, 1)
    table[name] = lambda *arrays, **params: apply(*map(lift, arrays))
