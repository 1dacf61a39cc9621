"""Errors pushed through a program with their correlations: the model of `Probabilistic(probes=k)`.

Every rounding has a deviation s (the rules say how large). k probes each draw a sign for it and push +-s through the
rest of the program, as `_pushed` does. So each number gets k sums of the same terms, with other signs, as its true
error is: the coefficients, which may cancel, are kept.

Theorem: let the roundings e_i of a program be independent with mean 0 and deviation s_i, and let errors be so small
that they pass linearly: the error of a number is E = sum c_i e_i, and the probes D_j = sum c_i s_i g_ij, signs g. All
have variance S**2 = sum (c_i s_i)**2. Where no term prevails they are Gaussian and independent of each other, so that
E / sqrt(mean D_j**2) has Student's distribution with k degrees of freedom, and |E| <= t_k sqrt(mean D_j**2) with the
probability of which t_k is the quantile; together, the numbers of an array need less (`_moderated`). Where a few terms
prevail, E is a sum of few uniform numbers, whose tails are lighter.

A sign is a hash of the number that is rounded, its position and its operation: the same operation on the same numbers
rounds in the same way wherever it is repeated, and in another way in each turn of a loop that moves on. A sum that
stagnates, or adds an exact number, may be rounded in the same way in every turn: its sign is the same in all of them.

References:
    Hutchinson, A stochastic estimator of the trace of the influence matrix, Commun. Stat. Simul. 19 (1990).
    Student, The probable error of a mean, Biometrika 6 (1908).
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._annotated import Annotated
from precjax._binding import bind
from precjax._random_rounding import mix, random_bits, word_of
from precjax._rounding import computed_once, dtype_of, error_dtype, format_of, is_inexact, is_plain
from precjax.models import _backward as backward
from precjax.models._model import ErrorModel
from precjax.models._moderated import moderated_bound, own_bound
from precjax.models._pushed import probes_first, pushed
from precjax.models._rules import RuleModel

MOST = 16  # signs that fit in the last bits of a number

STAGNANT = 16.0  # an operand below so many roundings of the sum loses bits that no longer look random
_SUMS = ("add", "add_any", "sub")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probed(ErrorModel):
    """Carries k deviations of every number, array ``(*s, k)``.

    Attributes:
        rules: how large roundings are, and the errors of what deviations cannot be pushed through.
        quantile: how many deviations the errors of the rules are.
        count: of probes.
        confidence: with which errors stay below the bound.
    """

    rules: RuleModel
    quantile: float
    count: int
    confidence: float

    rerolls: ClassVar[bool] = True

    def lift(self, value: Any, error: Any) -> Annotated:
        """The argument's error, with random signs."""
        x = self.rules.lift(value, error)
        return x._replace(error=jnp.moveaxis(self.drawn(x.error, jnp.asarray(value), "argument"), 0, -1))

    def error(self, x: Annotated) -> Any:
        """Of decisions and integers, most of which never deviate, one by one."""
        if x.error is None:
            return self.rules.error(x)
        bounded = moderated_bound if is_inexact(dtype_of(x.value)) else own_bound
        bound = bounded(jnp.moveaxis(x.error, -1, 0), self.confidence)
        return jnp.minimum(bound, 1) if dtype_of(x.value) == jnp.bool_ else bound

    def packed(self, x: Annotated, axis: int = 0) -> Annotated:
        """Deviations ``(k, *s)``, as operations read and write them: a loop would transpose them in every turn."""
        return x if x.error is None else x._replace(error=jnp.moveaxis(x.error, -1, axis))

    def unpacked(self, x: Annotated, axis: int = 0) -> Annotated:
        """Deviations ``(*s, k)``."""
        return x if x.error is None else x._replace(error=jnp.moveaxis(x.error, axis, -1))

    def explicit(self, x: Annotated) -> Annotated:
        """No deviation."""
        if x.error is not None:
            return x
        return x._replace(error=jnp.zeros((*np.shape(x.value), self.count), error_dtype(dtype_of(x.value))))

    def shared(self, x: Annotated, names: tuple[Any, ...]) -> Annotated:
        """Those of one copy."""
        return x if x.error is None else x._replace(error=lax.all_gather(x.error, names)[0])

    def doubt(self, x: Annotated) -> Any:
        """A decision is in doubt where a deviation turns it."""
        return None if x.error is None else jnp.any(x.error != 0, axis=-1)

    def forget(self, x: Annotated, where: Any) -> Annotated:
        """Deviations inf there."""
        x = self.explicit(x)
        condition = lax.broadcast_in_dim(where, x.error.shape, tuple(range(np.ndim(where))))
        return x._replace(error=jnp.where(condition, np.inf, x.error))

    def supports(self, eqn: Any) -> bool:
        """What has a rule."""
        return self.rules.supports(eqn)

    def apply(self, eqn: Any, operands: Sequence[Annotated]) -> list[tuple[Any, Any]]:
        """What the equation rounds, with random signs, and what the deviations of its operands make."""
        exact = [Annotated(x.value, known=x.known) for x in operands]
        if backward.is_stable(self.rules, eqn):
            pivots = any(not is_inexact(v.aval.dtype) for v in eqn.outvars)
            made = self.rules.by_rule(eqn, exact) if pivots else [(out, None) for out in bind(eqn, operands)]
            outs, errors = zip(*made, strict=True)
            return list(zip(outs, self.of_stable(eqn, operands, outs, errors), strict=True))
        rounded = self.rules.by_rule(eqn, exact)
        outs = [value for value, _ in rounded]
        moved = None
        if any(x.error is not None for x in operands) and outs:
            moved = pushed(eqn, [probes_first(x) for x in operands], [lax.stop_gradient(v) for v in outs])
            if moved is None:
                rounded = self.rules.by_rule(eqn, [Annotated(x.value, self._bound(x), x.known) for x in operands])
        moved = moved or [None] * len(outs)
        name = eqn.primitive.name
        made = []
        for (out, error), deviation in zip(rounded, moved, strict=True):
            own = None if error is None else self.drawn(error, out, name, self._repeats(name, operands, out))
            both = own if deviation is None else deviation if own is None else own + deviation
            made.append((out, None if both is None else jnp.moveaxis(both, 0, -1)))
        return made

    def of_stable(
        self, eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any], errors: Sequence[Any]
    ) -> list[Any]:
        """The deviations of the results of a backward stable algorithm, ``(*s, k)``.

        Args:
            eqn: the equation.
            operands: with deviations.
            outs: the results.
            errors: of the rules, None for none: taken where derivatives are infinite, or pivots in doubt.

        Returns:
            One for each result.
        """
        deviations = backward.moved(self, eqn, list(map(probes_first, operands)), outs)
        usual = backward.usual(outs, deviations, self.confidence)
        made = []
        for out, error, deviation, known in zip(outs, errors, deviations, usual, strict=True):
            own = np.inf if error is None else self.drawn(error, out, eqn.primitive.name)
            made.append(jnp.moveaxis(jnp.where(known, 0 if deviation is None else deviation, own), 0, -1))
        return made

    def judged(
        self, name: str, params: dict[str, Any], operands: Sequence[Annotated], results: list[Annotated]
    ) -> list[Annotated]:
        """Of linear systems, whose solutions no pivots change, what the factors of the matrix say."""
        if not backward.is_system(name, operands, results):
            return results
        (x,) = results
        error = backward.solved_again(self, params, operands, lambda y: y)
        return [x] if error is None else [x._replace(error=error)]

    def _bound(self, x: Annotated) -> Any:
        return None if x.error is None else self.error(x)

    def _repeats(self, name: str, operands: Sequence[Annotated], out: Any) -> Any:
        """Where a rounding may be the same in every turn of a loop."""
        if name not in _SUMS or not is_inexact(out.dtype) or np.iscomplexobj(out):
            return False
        if (operands[0].error is None) != (operands[1].error is None):
            return True
        dtype = error_dtype(out.dtype)
        smaller = lax.min(*jnp.broadcast_arrays(*(jnp.abs(jnp.asarray(x.value)).astype(dtype) for x in operands)))
        return smaller < lax.abs(out).astype(dtype) * np.asarray(STAGNANT * format_of(out.dtype).unit_roundoff, dtype)

    def carried(self, x: Annotated) -> Annotated:
        """An operand of the rules, with deviations ``(*s, k)`` drawn from its error."""
        if x.error is None:
            return x
        return x._replace(error=jnp.moveaxis(self.drawn(x.error, jnp.asarray(x.value), "operand"), 0, -1))

    def drawn(self, error: Any, out: Any, name: str, repeats: Any = False) -> Any:
        """+-s for each probe and number, ``(k, *s)``; bools, of which s**2 is the probability, turn that often."""
        error, out = lax.stop_gradient((jnp.broadcast_to(error, np.shape(out)), out))
        bits = random_bits(jnp.where(repeats, np.uint32(0), _bits(out)), np.uint32(zlib.crc32(name.encode())))
        signs = bits >> np.uint32(32 - self.count)
        return _signed(_with_signs(error / np.asarray(self.quantile, error.dtype), signs, self.count), self.count)


def _with_signs(size: Any, signs: Any, count: int) -> Any:
    """Sizes with so many signs in their last bits, which they can spare: one array, computed once for all probes."""
    word = jnp.dtype(f"uint{8 * size.dtype.itemsize}")
    last = np.asarray((1 << count) - 1, word)
    bits = lax.bitcast_convert_type(size, word) & ~last | signs.astype(word) & last
    usual = (size > 0) & lax.is_finite(size)
    return computed_once(jnp.where(usual, lax.bitcast_convert_type(bits, size.dtype), size))


def _signed(sizes: Any, count: int) -> Any:
    """+-size for each probe, ``(count, *s)``."""
    word = jnp.dtype(f"uint{8 * sizes.dtype.itemsize}")
    top = np.asarray(1 << (8 * word.itemsize - 1), word)
    place = (8 * word.itemsize - 1) - lax.broadcasted_iota(word, (count, *[1] * sizes.ndim), 0)
    bits = lax.bitcast_convert_type(sizes, word)[None]
    return lax.bitcast_convert_type(bits << place & top | bits & ~top, sizes.dtype)


def _bits(x: Any) -> Any:
    """32 bits made of each number; keys have none."""
    if not is_plain(x):
        return jnp.zeros(x.shape, jnp.uint32)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return word_of(lax.real(x)) ^ mix(word_of(lax.imag(x)))
    return word_of(x)


def check_probes(probes: Any) -> None:
    """Raises ValueError unless it is None or an integer from 2 to `MOST`."""
    if probes is None or isinstance(probes, int | np.integer) and not isinstance(probes, bool) and 2 <= probes <= MOST:
        return
    raise ValueError(f"probes={probes!r}: expected None or an integer from 2 to {MOST}, such as 4")
