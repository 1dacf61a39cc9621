"""Numbers with a question mark for every digit that is not certain."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from precjax._rounding import is_plain, significand_bits

_DOUBTFUL = 3  # question marks at most


def digits_with_doubt(value: Any, error: Any) -> str:
    """The text of one leaf: a number, or an array of numbers laid out as NumPy would.

    Args:
        value: array ``(*s)``.
        error: errors ``(*s)``.

    Returns:
        The certain digits, then question marks.
    """
    if value is None:
        return "None"
    if isinstance(value, jax.Array) and not is_plain(value):
        return f"key({digits_with_doubt(jax.random.key_data(value), np.expand_dims(error, -1))})"
    if not _is_number(value):
        return repr(value)
    value, error = np.asarray(value), np.broadcast_to(np.abs(np.asarray(error, np.float64)), np.shape(value))
    texts = np.empty(value.shape, object)
    for index in np.ndindex(value.shape) if value.size <= 1000 else ():
        texts[index] = number_with_doubt(value[index], float(error[index]), significand_bits(value.dtype))
    if value.ndim == 0:
        return texts[()]
    if value.size > 1000:
        return f"array of shape {value.shape}, {value.dtype}, largest error {error.max():.2g}"
    width = max((len(t) for t in texts.flat), default=0)
    return np.array2string(texts, formatter={"object": lambda t: t.rjust(width)}, separator=", ")


def _is_number(value: Any) -> bool:
    dtype = value.dtype if hasattr(value, "dtype") else np.asarray(value).dtype
    return jnp.issubdtype(dtype, jnp.number) or dtype == jnp.bool_


def number_with_doubt(value: Any, error: float, bits: int) -> str:
    """One number: digits that every number of the ball shares, rounding aside, then question marks.

    Args:
        value: a NumPy scalar.
        error: its error.
        bits: significand bits of its format.

    Returns:
        Its text.
    """
    if np.iscomplexobj(value):
        return f"{number_with_doubt(value.real, error, bits)}+{number_with_doubt(value.imag, error, bits)}j"
    if isinstance(value, np.bool_ | bool):
        return str(bool(value)) if error == 0 else "?"
    if np.issubdtype(np.asarray(value).dtype, np.integer):
        return str(value) if error == 0 else f"{value}?"
    x = float(value)
    if not math.isfinite(x):
        return str(x) if math.isfinite(error) else f"{x}?"
    shown = max(1, math.ceil(bits * math.log10(2)))
    if error == 0:
        return f"{x:.{shown}g}"
    if not math.isfinite(error):
        return "?"
    return _certain(x, error, shown) if error < abs(x) else _magnitude(error)


def _exponent(x: float) -> int:
    return math.floor(math.log10(abs(x)))


def _magnitude(x: float) -> str:
    """No digit is certain, only how large the number may be: 0.? times a power of ten."""
    power = _exponent(x) + 1
    return "0.?" if power == 0 else f"0.?e{power:+d}"


def _certain(x: float, error: float, shown: int) -> str:
    """Digits down to the place where half a unit exceeds the error."""
    lead = _exponent(x)
    certain = max(0, min(lead - math.ceil(math.log10(2 * error)) + 1, shown))
    if certain == 0:
        return _magnitude(x)
    doubtful = "?" * min(_DOUBTFUL, max(0, shown - certain))
    mantissa, exponent = f"{x:.{certain - 1}e}".split("e")
    power = int(exponent)
    if -5 < power < certain:
        return f"{x:.{certain - 1 - power}f}" + _point(certain - 1 - power, doubtful)
    return mantissa + ("." if certain == 1 and doubtful else "") + doubtful + (f"e{power:+03d}" if power else "")


def _point(decimals: int, doubtful: str) -> str:
    return f".{doubtful}" if decimals == 0 and doubtful else doubtful
