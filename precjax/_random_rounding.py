"""Roundings at random: where the runs of `Stochastic` take their chances.

Every array function here is deterministic: what looks random is a hash of a number's bits, its position, and a key. So
the same operation on the same numbers, after the same operations, rounds in the same way wherever it is repeated (a
rematerialised block, x - x), as it does in the program.

What is known of a rounding decides how it is randomised:

- the number before rounding, in a wider format: `rounded_at_random`, up or down with probabilities that make the
  mean exact (stochastic rounding);
- what the rounding removed, from an error-free transform: `rounded_toward`, the same, and an exact result stays;
- nothing: `moved`, by a random number of units in the last place, with a given variance.

References:
    Appleby, MurmurHash3 (2011, public domain): the finaliser `mix`.
    Croci, Fasi, Higham, Mary, Mikaitis, Stochastic rounding: implementation, error analysis and applications, R. Soc.
    Open Sci. 9 (2022).
    Dekker, A floating-point technique for extending the available precision, Numer. Math. 18 (1971).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._rounding import divide, format_of, is_inexact, opaque, thinned

_ENOUGH = 4096  # numbers of an array that tell it from another one
_GOLDEN = np.uint32(0x9E3779B9)  # 2**32 / golden ratio: multiples of it are spread evenly


def mix(h: Any) -> Any:
    """A bijection of uint32 in which every bit of the result depends on every bit of h."""
    h = _spread(h)
    return h ^ (h >> np.uint32(16))


def _spread(h: Any) -> Any:
    """The same for the upper half of the bits."""
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    return (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)


def key(sample: Any, salt: int, age: Any = 0) -> Any:
    """A key for one use in one sample, uint32; use and seed make the salt, and what went before it the age."""
    age = np.uint32(age) if isinstance(age, int) else age
    return mix(mix(sample.astype(jnp.uint32) * _GOLDEN + np.uint32(salt)) + age + np.uint32(1))


def random_bits(x: Any, key: Any) -> Any:
    """32 bits for each number, uint32 ``(*s)``, of which the upper half is the better one."""
    position = lax.iota(jnp.uint32, x.size).reshape(x.shape) * _GOLDEN
    return _spread((word_of(x) + position) ^ key)


def digest(x: Any) -> Any:
    """32 bits that depend on numbers all over an array, uint32 ``()``."""
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return digest(lax.real(x)) ^ mix(digest(lax.imag(x)))
    return mix(lax.reduce_sum(word_of(thinned(x.reshape(-1), _ENOUGH)), (0,)))


def word_of(x: Any) -> Any:
    """32 bits made of each real number, integer or bool, uint32 ``(*s)``."""
    if not is_inexact(x.dtype):
        return x.astype(jnp.uint32)
    word = lax.bitcast_convert_type(x, jnp.dtype(f"uint{8 * x.dtype.itemsize}"))
    if x.dtype.itemsize == 8:
        word = word ^ (word >> np.uint64(32))
    return word.astype(jnp.uint32)


def in_parts(f: Callable[..., Any], x: Any, key: Any) -> Any:
    """f of a real array and its key, or of both parts of a complex one."""
    if not jnp.issubdtype(x.dtype, jnp.complexfloating):
        return f(x, key)
    return lax.complex(f(lax.real(x), key), f(lax.imag(x), mix(key + _GOLDEN)))


@functools.partial(jax.jit, static_argnames="digits")
def rounded_at_random(x: Any, key: Any, *, digits: int) -> Any:
    """A real number rounded to so many significand bits, up or down at random, so that the mean is x itself.

    Args:
        x: array ``(*s)`` of a float dtype with at least so many bits.
        key: uint32 ``()``.
        digits: significand bits.

    Returns:
        Array of the same dtype, whose numbers have so many significand bits.
    """
    dropped = format_of(x.dtype).digits - digits
    word = jnp.dtype(f"int{8 * x.dtype.itemsize}")
    below = (random_bits(x, key) >> np.uint32(max(32 - dropped, 1))).astype(word) << max(dropped - 31, 0)
    bits = lax.bitcast_convert_type(x, word)
    rounded = lax.bitcast_convert_type((bits + below) & np.asarray(-(1 << dropped), word), x.dtype)
    return jnp.where(lax.is_finite(x), rounded, x)


@jax.jit
def rounded_toward(x: Any, removed: Any, key: Any) -> Any:
    """A rounded result, moved by one unit toward what the rounding removed, with a chance as large as that part.

    Args:
        x: array ``(*s)``, a result rounded to nearest.
        removed: the exact result minus x, ``(*s)``, of the same dtype.
        key: uint32 ``()``.

    Returns:
        Array like x, whose mean is the exact result.
    """
    _, magnitude = _word(x)
    binade = lax.bitcast_convert_type(magnitude & _exponents(x.dtype), x.dtype)
    unit = binade * np.asarray(2 * format_of(x.dtype).unit_roundoff, x.dtype)
    chance = _unit_interval(random_bits(x, key) >> np.uint32(9), 23).astype(x.dtype)
    (to, _), (size, _) = _word(removed), _word(unit)
    step = lax.bitcast_convert_type(size | (to & np.asarray(jnp.iinfo(to.dtype).min, to.dtype)), x.dtype)
    return x + jnp.where(chance * unit < jnp.abs(removed), step, np.asarray(-0.0, x.dtype))  # -0 keeps zeros' signs


@functools.partial(jax.jit, static_argnames="variance")
def moved(x: Any, key: Any, of: Any = None, *, variance: float) -> Any:
    """A number moved by a random number of units in the last place; zeros and tiny numbers stay.

    Args:
        x: array ``(*s)``, any real float dtype.
        key: uint32 ``()``.
        of: array ``(*s)`` that x is a function of, number by number. Its bits can be hashed while x is computed.
        variance: of that number of units; its mean is 0.

    Returns:
        Array like x.
    """
    w = lax.bitcast_convert_type(random_bits(x if of is None else of, key), jnp.int32).astype(jnp.float32)
    steps = lax.round(w * np.float32(_width(variance) / 2**31), lax.RoundingMethod.TO_NEAREST_EVEN)
    return _stepped(x, steps.astype(jnp.int32))


def _width(variance: float) -> float:
    """That of a uniform number in (-width, width) whose nearest integer has this variance.

    For a width between n - 1/2 and n + 1/2 that is n**2 - n (4 n**2 - 1) / (6 width), at most n (n + 1) / 3.
    """
    n = max(math.ceil((math.sqrt(1 + 12 * variance) - 1) / 2), 1)
    return n * (4 * n**2 - 1) / (6 * (n**2 - variance))


def _unit_interval(bits: Any, count: int) -> Any:
    """So many bits as a number in (0, 1), float32; integers with a sign are converted faster."""
    return bits.astype(jnp.int32).astype(jnp.float32) * np.float32(2.0**-count) + np.float32(2.0 ** -(count + 1))


def _word(x: Any) -> tuple[Any, Any]:
    """The bits of a float as a signed integer, without and with the sign taken away."""
    bits = lax.bitcast_convert_type(x, jnp.dtype(f"int{8 * x.dtype.itemsize}"))
    return bits, bits & np.asarray(jnp.iinfo(bits.dtype).max, bits.dtype)


def _exponents(dtype: Any) -> Any:
    """A mask for the bits of the exponent."""
    largest = int(jnp.iinfo(f"int{8 * jnp.dtype(dtype).itemsize}").max)
    return np.asarray(
        largest >> jnp.finfo(dtype).nmant << jnp.finfo(dtype).nmant, f"int{8 * jnp.dtype(dtype).itemsize}"
    )


def _stepped(x: Any, steps: Any) -> Any:
    """So many units away from zero (negative: toward it); what is not finite, or close to subnormal, stays."""
    bits, magnitude = _word(x)
    least, infinity = (int(word) for word in (2 << jnp.finfo(x.dtype).nmant, _exponents(x.dtype)))
    unsigned = jnp.dtype(f"uint{8 * x.dtype.itemsize}")
    regular = (magnitude - np.asarray(least, bits.dtype)).astype(unsigned) < np.asarray(infinity - least, unsigned)
    return lax.bitcast_convert_type(jnp.where(regular, bits + steps.astype(bits.dtype), bits), x.dtype)


def removed_by_rounding(name: str, operands: list[Any], out: Any) -> Any:
    """The exact result of a basic operation minus its rounded one, to about half of the digits; None if unknown.

    Args:
        name: of the primitive.
        operands: real arrays ``(*s)`` of the dtype of the result, float32 or float64; one of integers for a conversion.
        out: the result, rounded to nearest.

    Returns:
        Array like out, or None.
    """
    find = _REMOVED.get(name)
    return None if find is None else find(opaque(out), *operands)


def _of_sum(s: Any, a: Any, b: Any) -> Any:
    part = s - a
    return (a - (s - part)) + (b - part)


def _of_product(p: Any, a: Any, b: Any) -> Any:
    """Every product of halves is exact, so that it does not matter which of them are contracted into sums."""
    (a1, a2), (b1, b2) = _halves(a), _halves(b)
    return ((a1 * b1 - p) + (a1 * b2 + a2 * b1)) + a2 * b2


def _halves(x: Any) -> tuple[Any, Any]:
    dropped = (format_of(x.dtype).digits + 1) // 2
    bits, _ = _word(x)
    rounded = bits + np.asarray(1 << (dropped - 1), bits.dtype)
    top = lax.bitcast_convert_type(rounded & np.asarray(-(1 << dropped), bits.dtype), x.dtype)
    return top, x - top


def _of_quotient(q: Any, a: Any, b: Any) -> Any:
    product = opaque(q * b)
    return divide((a - product) - _of_product(product, q, b), b)


def _of_root(r: Any, x: Any) -> Any:
    product = opaque(r * r)
    return divide((x - product) - _of_product(product, r, r), 2 * r)


def _of_integer(y: Any, n: Any) -> Any:
    return (n - y.astype(n.dtype)).astype(y.dtype)


_REMOVED: dict[str, Callable[..., Any]] = {
    "add": _of_sum, "add_any": _of_sum, "sub": lambda s, a, b: _of_sum(s, a, -b), "mul": _of_product,
    "square": lambda p, x: _of_product(p, x, x), "div": _of_quotient, "sqrt": _of_root,
    "convert_element_type": _of_integer,
}  # fmt: skip
