"""What the algorithm or precision that a product names does to its operands, its sums and its result.

Theorem: none. JAX lowers a preset to casts of the operands to its format of storage, a product that XLA:CPU
accumulates in float32 or float64, and a cast of the result (StableHLO specification, dot_general; measured: a sum of
5000 ones is exact in float16). A cast errs by u |x| and an underflow, or overflows, which leaves no finite result; it
is the identity where its format holds that of the operand. Three and six products of bfloat16 parts are wrong by what
they leave out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from precjax import platforms
from precjax._rounding import format_of, is_inexact


class Arithmetic(NamedTuple):
    """How a product of two formats computes.

    Attributes:
        operand: relative error of what an operand is rounded to.
        lost: absolute error of that, in the subnormal range.
        units: in the last place that each addition may lose.
        sums: dtype of the partial sums.
        result: dtype that the sum is rounded to before it is cast to that of the product; None if to no other.
        componentwise: whether convolutions are sums of products, in any order.
    """

    operand: float
    lost: float
    units: float
    sums: Any
    result: Any
    componentwise: bool


class _Preset(NamedTuple):
    """Storage of the operands, their relative error, and where sums and their result are kept."""

    storage: str
    operand: float
    sums: str
    result: str


_PRESETS = {
    "F16_F16_F16": _Preset("float16", 2.0**-11, "float32", "float16"),
    "BF16_BF16_F32": _Preset("bfloat16", 2.0**-8, "float32", "float32"),
    "BF16_BF16_F32_X3": _Preset("bfloat16", 2.0**-15, "float32", "float32"),
    "BF16_BF16_F32_X6": _Preset("bfloat16", 2.0**-22, "float32", "float32"),
    "F32_F32_F32": _Preset("float32", 2.0**-24, "float32", "float32"),
    "F64_F64_F64": _Preset("float64", 2.0**-53, "float64", "float64"),
}


_PARTS = 3  # of an operand, each of which may underflow


def arithmetic(precision: Any, out: Any, *dtypes: Any) -> Arithmetic:
    """Of a product of operands of these dtypes, with a result of dtype `out`."""
    name = preset(precision)
    if name is None:
        found = platforms.current().product(precision, *dtypes)
        return Arithmetic(found.operand, 0.0, found.sums, accumulator(out), None, found.componentwise)
    used, found = _PRESETS[name], platforms.current().product("HIGHEST", *dtypes)
    storage, result = jnp.dtype(used.storage), jnp.dtype(used.result)
    held = all(_holds(storage, dtype) for dtype in dtypes)
    operand = 0.0 if held else used.operand
    lost = 0.0 if held else _PARTS * platforms.current().underflow(storage)
    once_more = result if used.result != used.sums and result != out else None
    return Arithmetic(operand, lost, found.sums, jnp.dtype(used.sums), once_more, found.componentwise)


def _holds(storage: Any, dtype: Any) -> bool:
    if not is_inexact(dtype):
        return False
    new, old = format_of(storage), format_of(dtype)
    return new.digits >= old.digits and new.largest >= old.largest and new.smallest_normal <= old.smallest_normal


def accumulator(dtype: Any) -> Any:
    """Narrow formats are accumulated in float32, and rounded once (measured on CPU)."""
    return dtype if format_of(dtype).digits >= 24 else jnp.dtype(jnp.float32)


def preset(precision: Any) -> str | None:
    """The name of an algorithm; None for a precision, which means nothing on a CPU."""
    name = getattr(precision, "name", precision)
    return None if isinstance(precision, (type(None), tuple, lax.Precision)) or name == "DEFAULT" else str(name)


def reason_against_algorithm(precision: Any) -> str | None:
    """Why nothing is known of what a precision names; None if it is known."""
    name = preset(precision)
    if name is None or name in _PRESETS:
        return None
    return f"algorithm {name} is none of those that XLA runs on a CPU: DEFAULT, {', '.join(_PRESETS)}"
