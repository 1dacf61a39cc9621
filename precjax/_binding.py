"""Runs the original primitive on the values: the only place where values are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from precjax import _jax_compat as compat
from precjax import _lapack as lapack
from precjax._annotated import Annotated
from precjax._merging import apart
from precjax._rounding import computed_once, divide, dtype_of, format_of, is_inexact, opaque

# XLA takes them for cheap and computes them in every kernel that reads them: the value's and the error's.
_REPEATED = frozenset({"sin", "cos"})


@jax.custom_jvp
def graft(value: Any, original: Any) -> Any:
    """The value of the first, the derivative of the second."""
    return value


@graft.defjvp
def _graft_jvp(primals: Any, tangents: Any) -> Any:
    return graft(*primals), tangents[1]  # so that second derivatives are the original's, too


def bind(eqn: Any, operands: Sequence[Annotated]) -> list[Any]:
    """The results of an equation.

    A division is guarded: XLA replaces a divisor that is a constant or a broadcast by its reciprocal, and merges chains
    of divisions, which gives 0 where the reciprocal underflows (x / 3e38). The guarded division is IEEE division, bit
    for bit. What XLA might merge with its neighbours is made opaque: constants (see `_merging`), and exponentials, of
    which some versions (jaxlib 0.10.2) turn exp(x) exp(y) into exp(x + y), and log(exp(x)) into x.
    """
    name, values = eqn.primitive.name, [x.value for x in operands]
    if name == "div" and _real(values[0]) and not _harmless(operands[1], values[0]):
        return [divide(*values)]
    values = apart(eqn, operands)
    outs = compat.bind(eqn, values)
    if lapack.waits(eqn):
        return list(map(graft, lapack.each(lambda *xs: compat.bind(eqn, xs))(*values), outs))
    if name in _REPEATED and _real(outs[0]):
        return [computed_once(outs[0])]
    # The modulus of a complex iota makes jaxlib 0.10.2 abort.
    guarded = name in ("exp", "exp2") or (name == "iota" and not _real(outs[0]))
    return [opaque(outs[0])] if guarded and is_inexact(outs[0].dtype) else outs


def _harmless(divisor: Annotated, value: Any) -> bool:
    """A constant whose reciprocal is a normal number: two roundings, which the rule of division counts anyway."""
    low, high = divisor.known[:2]
    return low == high and low != 0 and format_of(dtype_of(value)).smallest_normal * 8 < 1 / abs(low) < 1e30


def _real(value: Any) -> bool:
    dtype = dtype_of(value)
    return is_inexact(dtype) and not np.issubdtype(dtype, np.complexfloating)
