"""Backward stable algorithms: what they round moves their operands at random, the derivative tells what that does.

Theorem (Higham, theorems 8.5, 9.3, 10.3, 19.4 and sections 14.1, 24.2): a computed factorization is the exact one of a
matrix that is moved by no more than what multiplying its factors again may round; a computed solution solves a system
whose right side is moved by what multiplying the matrix with it may round. The bounds of `rules.enclosure` allow for
the worst of such moves, in every direction at once: 300 to 2,500 times the errors of systems with 40 unknowns. Here
every element is moved on its own, as roundings are, and the derivative carries that to the results: deviations, as
`_probes` pushes them through a program.

References:
    Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._annotated import Annotated, Origin
from precjax._binding import bind
from precjax._interpreter import interpret
from precjax._rounding import error_dtype, is_inexact, plus, times
from precjax.models._moderated import moderated_bound
from precjax.models._pushed import probes_first, pushed
from precjax.rules.enclosure import Enclosure, dot, transposed
from precjax.rules.linalg import triangle


class Moves(NamedTuple):
    """How far an algorithm moves things, as errors.

    Attributes:
        operand: which operand.
        by: how far, an array of its shape.
        symmetric: "lower" or "upper" where that triangle stands for a symmetric matrix.
        results: how far each result besides; None for not at all.
    """

    operand: int
    by: Any
    symmetric: str | None = None
    results: tuple[Any, ...] | None = None


_FACTORS = ("lu", "cholesky")
OF_FACTORS = ("det", "slogdet", "pinv", "lstsq")  # functions whose steps say more of errors than what is known of them
_MOVES: dict[str, Callable[..., Moves]] = {}


def is_stable(rules: Any, eqn: Any) -> bool:
    """Whether an equation is such an algorithm, on real matrices, and no rule refuses it."""
    if eqn.primitive.name not in _MOVES or not rules.supports(eqn):
        return False
    return all(_is_real(var.aval) for var in (*eqn.invars, *eqn.outvars))


def is_system(name: str, operands: Sequence[Annotated], results: Sequence[Annotated]) -> bool:
    """Whether a call solves a real linear system."""
    return name == "custom_linear_solve" and len(results) == 1 and all(_is_real(x.value) for x in (*operands, *results))


def usual(outs: Sequence[Any], deviations: Sequence[Any], confidence: float) -> list[Any]:
    """Where deviations say how large the errors of results are; pivots stay unless a multiplier may exceed 1."""
    pairs = zip(outs, deviations, strict=True)
    finite = [jnp.ones((1, *out.shape), bool) if d is None else lax.is_finite(d) for out, d in pairs]
    if all(is_inexact(v.dtype) for v in outs):
        return finite
    size = plus(lax.abs(outs[0]), moderated_bound(deviations[0], confidence))
    doubt = jnp.any(jnp.tril(size, -1) >= 1, axis=(-2, -1))
    return [x & ~doubt.reshape(doubt.shape + (1,) * (x.ndim - 1 - doubt.ndim)) for x in finite]


def _is_real(value: Any) -> bool:
    return value.size > 0 and not jnp.issubdtype(value.dtype, jnp.complexfloating)


def moved(probed: Any, eqn: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """The deviations of the results of a backward stable algorithm, its roundings and its operands' together.

    Args:
        probed: the model that draws deviations.
        eqn: the equation.
        operands: annotated with deviations ``(k, *s)``, None where exact.
        outs: its results.

    Returns:
        An array ``(k, *s)`` for each result, None for integers.
    """
    found = _MOVES[eqn.primitive.name](probed.rules, [x.value for x in operands], outs, **eqn.params)
    x, name = operands[found.operand], f"{eqn.primitive.name} moves"
    deviation = plus(x.error, probed.drawn(found.by, jnp.asarray(x.value), name))
    if found.symmetric is not None:
        part, rest = (jnp.tril, -1) if found.symmetric == "lower" else (jnp.triu, 1)
        deviation = part(deviation) + transposed(part(deviation, rest))
    operands = [*operands[: found.operand], x._replace(error=deviation), *operands[found.operand + 1 :]]
    made = pushed(eqn, operands, outs)
    if made is None:  # no derivative, as of the complete Q of a tall matrix
        return [None if not is_inexact(v.dtype) else jnp.full((probed.count, *v.shape), np.nan) for v in outs]
    if found.results is None:
        return made
    own = [None if e is None else probed.drawn(e, v, name) for e, v in zip(found.results, outs, strict=True)]
    return [plus(*pair) for pair in zip(made, own, strict=True)]


def solved_again(
    probed: Any, params: Any, operands: Sequence[Annotated], carried: Callable[[Annotated], Annotated]
) -> Any:
    """The deviations of the solution of a linear system, whose matrix is factored and whose solver runs with probes.

    Which pivots are taken makes no difference to the solution.

    Args:
        probed: the model that draws deviations.
        params: of the primitive.
        operands: of the call.
        carried: gives an operand deviations ``(*s, k)``.

    Returns:
        Array ``(*s, k)``; None where no factors of a matrix go into the solver.
    """
    lengths = params["const_lengths"]
    start = lengths.matvec + lengths.vecmat
    of_solver = [*operands[start : start + lengths.solve], *operands[sum(lengths) :]]
    factored = {id(x.origin.eqn): x.origin for x in of_solver if x.origin and x.origin.eqn.primitive.name in _FACTORS}
    if not factored:
        return None
    probed = dataclasses.replace(probed, hooks=())  # which have seen the steps
    factors = {key: _factored(probed, origin, carried) for key, origin in factored.items()}
    made = [
        factors[id(x.origin.eqn)][x.origin.index] if x.origin and id(x.origin.eqn) in factored else carried(x)
        for x in of_solver
    ]
    (solution,) = interpret(probed, params["jaxprs"].solve, made)
    return solution.error


def _factored(probed: Any, origin: Origin, carried: Callable[[Annotated], Annotated]) -> list[Annotated]:
    (matrix,) = map(carried, origin.operands)
    outs = bind(origin.eqn, [matrix])
    deviations = moved(probed, origin.eqn, [probes_first(matrix)], outs)
    return [Annotated(v, None if d is None else jnp.moveaxis(d, 0, -1)) for v, d in zip(outs, deviations, strict=True)]


def rounded(rules: Any, f: Callable[..., Any], *values: Any) -> Any:
    """The errors of what a function of exact arrays computes."""
    closed = jax.make_jaxpr(f)(*values)
    (result,) = interpret(rules, closed, [Annotated(v) for v in values])
    return rules.error(result)


def _moves(name: str) -> Callable[[Callable], Callable]:
    def register(f: Callable[..., Moves]) -> Callable[..., Moves]:
        _MOVES[name] = f
        return f

    return register


@_moves("cholesky")
def _cholesky(rules: Any, operands: Sequence[Any], outs: Sequence[Any], **_: Any) -> Moves:
    factor = jnp.tril(outs[0])
    return Moves(0, rounded(rules, lambda x: dot(x, transposed(x)), factor), "lower")


@_moves("lu")
def _lu(rules: Any, operands: Sequence[Any], outs: Sequence[Any], **_: Any) -> Moves:
    packed, _, permutation = outs
    k = min(packed.shape[-2:])
    lower = jnp.tril(packed[..., :k], -1) + jnp.eye(packed.shape[-2], k, dtype=packed.dtype)
    by = rounded(rules, dot, lower, jnp.triu(packed[..., :k, :]))
    places = jnp.argsort(permutation, axis=-1)
    return Moves(0, jnp.take_along_axis(by, places[..., None], axis=-2))


@_moves("triangular_solve")
def _triangular_solve(
    rules: Any, operands: Sequence[Any], outs: Sequence[Any], *, left_side: bool, lower: bool, transpose_a: bool,
    unit_diagonal: bool, **_: Any,
) -> Moves:  # fmt: skip
    x, part = outs[0], triangle(Enclosure(operands[0]), lower, unit_diagonal).mid
    part = transposed(part) if transpose_a else part
    return Moves(1, rounded(rules, dot, *((part, x) if left_side else (x, part))))


@_moves("qr")
def _qr(rules: Any, operands: Sequence[Any], outs: Sequence[Any], **_: Any) -> Moves:
    q, r = outs[:2]
    return Moves(0, times(rounded(rules, dot, q, r), _REFLECTIONS), results=(_orthogonal(rules, q), None))


@_moves("eigh")
def _eigh(rules: Any, operands: Sequence[Any], outs: Sequence[Any], *, lower: bool, **_: Any) -> Moves:
    v, w = outs
    by = _normwise(rules, operands[0], w)
    return Moves(0, by, "lower" if lower else "upper", (_orthogonal(rules, v), None))


@_moves("svd")
def _svd(rules: Any, operands: Sequence[Any], outs: Sequence[Any], **_: Any) -> Moves:
    s, *vectors = outs
    return Moves(0, _normwise(rules, operands[0], s), results=(None, *(_orthogonal(rules, x) for x in vectors)))


def _normwise(rules: Any, a: Any, spectrum: Any) -> Any:
    """As the norm of the matrix is rounded, spread over its elements: rotations mix all of them, several times."""
    norm = jnp.max(jnp.abs(spectrum), axis=-1)[..., None, None]
    unit = rules.rounding(1.0) * rules.unit(a.dtype)
    return jnp.broadcast_to(_SWEEPS * unit * norm, a.shape).astype(error_dtype(a.dtype))


# Measured: by so much more than the product of the factors, or one rounding of the norm, do they err.
_REFLECTIONS, _SWEEPS = 2.0, 2.5


def _orthogonal(rules: Any, q: Any) -> Any:
    """Vectors of unit length are rounded as often as they are turned."""
    unit = rules.rounding(1.0) * rules.unit(q.dtype)
    return jnp.full(q.shape, unit, error_dtype(q.dtype))
