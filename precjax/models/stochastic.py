"""The error seen in runs that round at random: Monte Carlo arithmetic."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _jax_compat as compat
from precjax._annotated import Annotated
from precjax._binding import bind
from precjax._random_rounding import (
    digest,
    in_parts,
    key,
    mix,
    moved,
    removed_by_rounding,
    rounded_at_random,
    rounded_toward,
)
from precjax._rounding import computed_once, dtype_of, format_of, is_inexact
from precjax._widen import is_cast
from precjax.models._age import Age, Count, older
from precjax.models._bare import Bare
from precjax.models._model import repeatable
from precjax.models._random_roundings import SAMPLES, Roundings, in_float32, of_one, roundings, scales
from precjax.models._sampled import StochasticTracked
from precjax.rules.whole import whole_numbers

_SUMS = ("reduce_sum", "cumsum", "reduce_window_sum")
_WRITTEN = ("conv_general_dilated", "ragged_dot_general")
_WRITTEN_OUT = 64  # samples at most of which a product is written out for each


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stochastic(Bare):
    """Deviation over runs in which every operation rounds at random (Monte Carlo arithmetic).

    The program runs as it is; beside it run samples of it, vectorised in one compiled program, each with its own
    roundings, branches and iteration counts. Sums, differences, products, quotients and square roots are rounded up or
    down with probabilities that make the mean exact, so that what is exact stays exact; other results are moved by a
    random fraction of a unit in the last place. The terms of sums and matrix products are moved as well, by what the
    roundings of the partial sums amount to. No rules are needed: every primitive that JAX can run is taken.

    Args:
        samples: how many runs, at least 2. The relative standard error of `error` is about 0.7 / sqrt(samples); more
            for a result of one or two operations, whose rounding only some of the runs see: such an error may be 0.
        seed: another seed, other roundings; the same seed, the same result.
        precision: significand bits by name of dtype, such as ``{"float32": 11}`` for TF32, 8 for bfloat16: "what if
            this ran in fewer bits?" In the samples, arguments, constants and results of that dtype have so many bits;
            sums and matrix products are accumulated in the dtype and rounded once, as tensor cores do. The range of
            exponents stays. The value is still the plain program's, and the error is that of the narrower program.
        missing: of no effect: no rules are needed.
        strict: must be False: a sample has no error inf for want of proof.

    Guarantee:
        Statistical. With rounding errors that behave as if independent, value and sample are runs of one kind, whose
        difference has twice the variance of either. So ``error`` is the root mean square of sample - value, over the
        root of 2: an estimate of the standard deviation of the value's error. Unlike a deviation about the mean of the
        samples it does not miss an error that all samples have in common against the value, such as a sum that
        stagnates in bfloat16. Called with arrays, the value is that of ``jax.jit(f)``, bit for bit. Errors of
        integers and bools are deviations as well: a bool that differs in a share q of the samples has sqrt(q / 2). An
        argument ``Tracked(value, error)`` is normally distributed with that standard deviation. Derivatives of an
        error are 0.

    Raises:
        ValueError: if `samples`, `seed` or `precision` is out of range, or strict is set; when called, if an argument
            carries another number of samples.

    Example:
        >>> import jax.numpy as jnp, precjax
        >>> out = precjax.track(lambda x: (1 - jnp.cos(x)) / x**2, model=precjax.Stochastic(samples=32))(1e-3)
        >>> f"{out.value:.2f}, and the exact result is 0.50", bool(0.01 < out.error < 0.1)
        ('0.48, and the exact result is 0.50', True)

    References:
        Parker, Monte Carlo arithmetic, UCLA CSD-970002 (1997).
        Denis, de Oliveira Castro, Petit, Verificarlo: checking floating point accuracy through Monte Carlo arithmetic,
        ARITH 23 (2016).
    """

    samples: int = 8
    seed: int = 0
    precision: Mapping[str, int] | None = dataclasses.field(default=None, hash=False)

    differentiable: ClassVar[bool] = False
    rerolls: ClassVar[bool] = True
    typed: ClassVar[bool] = False  # the number of a run is an index along an axis that no mesh has
    fields: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Checks the options."""
        super().__post_init__()
        if self.strict:
            raise ValueError("Stochastic(strict=True): a sampled error is never inf for want of proof; use Certified")
        for name, least in (("samples", 2), ("seed", 0)):
            number = getattr(self, name)
            if not isinstance(number, int | np.integer) or isinstance(number, bool) or number < least:
                raise ValueError(f"{name}={number!r}: expected an integer, at least {least}")
        if self.precision is not None and not isinstance(self.precision, Mapping):
            raise ValueError(f"precision={self.precision!r}: expected bits by name of dtype, such as {{'float32': 11}}")
        for name, bits in (self.precision or {}).items():
            _check_precision(name, bits)
        object.__setattr__(self, "precision", dict(self.precision) if self.precision else None)

    def digits(self, dtype: Any) -> int:
        """Significand bits of numbers of a dtype in the samples; of its parts, if it is complex."""
        digits = format_of(dtype).digits
        return min(digits, (self.precision or {}).get(jnp.finfo(dtype).dtype.name, digits))

    def result(self, value: Any, error: Any, samples: Any) -> StochasticTracked:
        """The value and its error, with the samples, with which the next step goes on."""
        return StochasticTracked(value, error, samples)

    def admit(self, x: Annotated) -> Annotated:
        """A number from outside, in the format of the samples."""
        dtype = dtype_of(x.value)
        if not is_inexact(dtype) or self.digits(dtype) == format_of(dtype).digits:
            return x
        rounded = self._rounded(jnp.asarray(x.value, dtype), self.digits(dtype), self._key("constant", 0))
        return x._replace(value=rounded)

    def explicit(self, x: Annotated) -> Annotated:
        """The age of what no operation made."""
        return x._replace(error=Age(Count(), np.shape(x.value))) if x.error is None else x

    def apply(self, eqn: Any, operands: Sequence[Annotated]) -> list[tuple[Any, Any]]:
        """The primitive itself, its result rounded at random."""
        if not repeatable(eqn):
            return []
        eqn = compat.untyped(eqn)
        ages = [x.error for x in operands if x.error is not None]
        noise = None if is_cast(eqn) or scales(eqn, operands) else roundings(eqn)
        rounds = noise is not None or self._narrows(eqn)
        count = older((age.count for age in ages), zlib.crc32(eqn.primitive.name.encode()) if rounds else 0)
        if not rounds:
            outs = bind(eqn, operands)
        else:
            key = self._key(eqn.primitive.name, count.word())
            outs = self._cast(eqn, operands[0], key) if noise is None else self._perturbed(eqn, operands, noise, key)
            outs = [_rounded_once(out) for out in outs]
            if eqn.primitive.name in _SUMS and operands[0].error is None:
                outs = _unless_whole(eqn, operands[0], outs)
        aged = rounds or ages
        return [(out, Age(count, np.shape(out)) if aged and is_inexact(dtype_of(out)) else None) for out in outs]

    def _key(self, use: str, age: Any) -> Any:
        return key(lax.axis_index(SAMPLES), zlib.crc32(f"{self.seed} {use}".encode()), age)

    def _narrows(self, eqn: Any) -> bool:
        """Whether a cast from one float format to another rounds."""
        return is_cast(eqn) and self._cast_digits(eqn) < self.digits(eqn.invars[0].aval.dtype)

    def _cast_digits(self, eqn: Any) -> int:
        reduced = eqn.primitive.name == "reduce_precision"
        return eqn.params["mantissa_bits"] + 1 if reduced else self.digits(eqn.outvars[0].aval.dtype)

    def _cast(self, eqn: Any, x: Annotated, key: Any) -> list[Any]:
        return bind(eqn, [x._replace(value=self._rounded(jnp.asarray(x.value), self._cast_digits(eqn), key))])

    def _rounded(self, x: Any, digits: int, key: Any) -> Any:
        """So many significand bits, in the dtype of x; narrow ones are rounded in float32, which has bits to drop."""
        wide = x if format_of(x.dtype).digits >= 24 else x.astype(jnp.float32)
        return in_parts(functools.partial(rounded_at_random, digits=digits), wide, key).astype(x.dtype)

    def _perturbed(self, eqn: Any, operands: Sequence[Annotated], noise: Roundings, key: Any) -> list[Any]:
        """The terms moved, the equation run, its results rounded or moved."""
        dtype = eqn.outvars[0].aval.dtype
        operands = in_float32(eqn, operands)
        unit = _unit(dtype, dtype_of(operands[noise.operand].value))
        if noise.of_term:
            operands[noise.operand] = _moved_terms(operands, noise, unit, key)
        outs = _run_by_run(eqn, operands) if eqn.primitive.name in _WRITTEN else bind(eqn, operands)
        key = mix(key)
        return [
            self._round_result(eqn, operands, out, var.aval.dtype, noise, mix(key + np.uint32(i)))
            if is_inexact(out.dtype)
            else out
            for i, (out, var) in enumerate(zip(outs, eqn.outvars, strict=True))
        ]

    def _round_result(
        self, eqn: Any, operands: Sequence[Annotated], out: Any, dtype: Any, noise: Roundings, key: Any
    ) -> Any:
        digits = self.digits(dtype)
        if digits < format_of(out.dtype).digits:
            if noise.of_term:
                out = in_parts(functools.partial(moved, variance=noise.of_result * _unit(dtype, out.dtype)), out, key)
            return self._rounded(out, digits, mix(key)).astype(dtype)
        removed = None if noise != Roundings() else _removed(eqn, operands, out)
        if removed is not None:
            return rounded_toward(out, removed, key)
        if of_one(eqn):
            return moved(out, key, operands[0].value, variance=noise.of_result)
        return in_parts(functools.partial(moved, variance=noise.of_result), out, key)


def _unit(dtype: Any, carrier: Any) -> float:
    """The square of a unit in the last place of a format, in units of the dtype that carries it."""
    return 4.0 ** max(format_of(carrier).digits - format_of(dtype).digits, 0) if is_inexact(carrier) else 1.0


def _rounded_once(x: Any) -> Any:
    """The same array, which no kernel that reads it draws the roundings of again."""
    real = is_inexact(x.dtype) and not jnp.issubdtype(x.dtype, jnp.complexfloating)
    return computed_once(x) if real else x


def _unless_whole(eqn: Any, x: Annotated, outs: Sequence[Any]) -> list[Any]:
    """A sum of whole numbers is not rounded, and may be cast to an integer; see `rules.whole`."""
    value = jnp.asarray(x.value)
    if not is_inexact(value.dtype) or jnp.issubdtype(value.dtype, jnp.complexfloating):
        return list(outs)
    exact = jnp.all(whole_numbers(value)) & (jnp.sum(jnp.abs(value)) < 2.0 ** format_of(value.dtype).digits)
    return [jnp.where(exact, plain, out) for plain, out in zip(bind(eqn, [x]), outs, strict=True)]


def _run_by_run(eqn: Any, operands: Sequence[Annotated]) -> list[Any]:
    """A product, written out where all operands differ from run to run: XLA's groups take twice as long.

    JAX vectorises ragged products only over the first axis of every operand.

    Returns:
        The results.
    """
    multiply = functools.partial(compat.bind, eqn)
    ragged = eqn.primitive.name != "conv_general_dilated"

    @jax.custom_batching.custom_vmap
    def of_runs(*values: Any) -> Any:
        return multiply(values)

    @of_runs.def_vmap
    def _(size: int, batched: list[bool], *values: Any) -> Any:
        if all(batched) and size <= _WRITTEN_OUT:
            runs = [multiply([x[i] for x in values]) for i in range(size)]
            return [jnp.stack(out) for out in zip(*runs, strict=True)], [True] * len(runs[0])
        if ragged:
            values = [x if b else jnp.broadcast_to(x, (size, *x.shape)) for x, b in zip(values, batched, strict=True)]
        axes = [0 if b or ragged else None for b in batched]
        outs = jax.vmap(multiply, (axes,), axis_size=size)(list(values))
        return outs, [True] * len(outs)

    return of_runs(*(x.value for x in operands))


def _moved_terms(operands: Sequence[Annotated], noise: Roundings, unit: float, key: Any) -> Annotated:
    """Each product of the same operand with another one has other roundings."""
    x = operands[noise.operand]
    for i, other in enumerate(operands):
        if i != noise.operand and np.ndim(other.value):
            key = mix(key ^ digest(jnp.asarray(other.value)))
    move = functools.partial(moved, variance=noise.of_term * unit)
    return x._replace(value=in_parts(move, jnp.asarray(x.value), key))


def _removed(eqn: Any, operands: Sequence[Annotated], out: Any) -> Any:
    values = [jnp.asarray(x.value, var.aval.dtype) for x, var in zip(operands, eqn.invars, strict=True)]
    return removed_by_rounding(eqn.primitive.name, values, out)


def _check_precision(name: Any, bits: Any) -> None:
    try:
        dtype = jnp.dtype(name)
    except TypeError:
        dtype = np.dtype(object)
    if not isinstance(name, str) or dtype.name != name or not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"precision has the key {name!r}: expected the name of a float dtype, such as 'float32'")
    largest = format_of(dtype).digits
    if not isinstance(bits, int | np.integer) or isinstance(bits, bool) or not 1 <= bits <= largest:
        raise ValueError(f"precision[{name!r}]={bits!r}: expected an integer from 1 to {largest}, its significand bits")
