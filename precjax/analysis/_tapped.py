"""A program to whose intermediate numbers something is added, its derivatives by that, and what they make of errors.

See `precjax.analysis.mean_value` for the theorem: this file makes F, bounds its gradient over the box, and sums up.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _jax_compat as compat
from precjax._annotated import Annotated, constant
from precjax._ball import Ball
from precjax._interpreter import apply, given, interpret, schedule
from precjax._rounding import (
    as_error,
    dtype_of,
    enlarged,
    error_dtype,
    magnitude,
    minimum,
    never_nan,
    plus,
    times,
    where,
)
from precjax.analysis._local import MOVES, Operand, is_real, is_smooth, local_error
from precjax.models import WorstCase


class _Tap(NamedTuple):
    """What is added to an intermediate number.

    Attributes:
        radius: in the box of the derivatives.
        error: how far that of an execution and the exact one are apart.
    """

    radius: Any
    error: Any


class TappedProgram:
    """A program without calls, run once forward."""

    def __init__(self, model: WorstCase, flat: Any, arguments: Sequence[Annotated]) -> None:
        """Runs it under the worst case; keeps a tap for every number that has an error of its own."""
        self.model, self.body = model, compat.open_jaxpr(flat)
        self.known = dict(zip(self.body.constvars, map(given, compat.constants(flat)), strict=True))
        self.known.update(zip(self.body.invars, arguments, strict=True))
        self.smooth: list[Any] = []  # equations whose derivatives are taken, in order
        self.doubt: dict[Any, Any] = {}  # of the selects among them
        self.taps: dict[Any, _Tap] = {}
        self.rounded: dict[Any, Any] = {}  # local errors, moved along
        self.readers, self.varying = _readers(self.body), set(self.body.invars)  # what depends on the arguments
        for var in self.body.invars:
            self._cut(var)
        for eqn, _ in schedule(self.body):
            self._step(eqn)

    def _read(self, atom: Any) -> Annotated:
        return constant(atom.val) if compat.is_literal(atom) else self.known[atom]

    def _cut(self, var: Any, rounded: Any = None) -> None:
        """The number is an input, off by its error; by its local error if it is made of exact numbers."""
        x = self.known[var]
        if x.error is not None and is_real(dtype_of(x.value)):
            error = never_nan(x.error if rounded is None else minimum(x.error, rounded))
            self.taps[var] = _Tap(error if x.known.settled else times(error, 2.0), error)

    def _step(self, eqn: Any) -> None:
        operands = [self._read(atom) for atom in eqn.invars]
        results = apply(self.model, eqn, operands)
        if any(not compat.is_literal(atom) and atom in self.varying for atom in eqn.invars):
            self.varying.update(eqn.outvars)
        self.known.update(zip(eqn.outvars, results, strict=True))
        smooth, exact = is_smooth(eqn, operands), all(x.error is None for x in operands)
        if smooth:
            self._round(eqn, operands, results)
        if not smooth or exact:
            for var in eqn.outvars:
                self._cut(var, self.rounded.get(var))
            return
        self.smooth.append(eqn)
        if eqn.primitive.name == "select_n" and operands[0].error is not None:
            self._choose(eqn, operands[0], results[0])

    def _choose(self, eqn: Any, which: Annotated, result: Annotated) -> None:
        """Where the condition is in doubt, the result is cut."""
        doubt = jnp.broadcast_to(self.model.doubt(which), np.shape(result.value))
        error = where(doubt, never_nan(result.error), 0.0)
        self.doubt[eqn.outvars[0]] = doubt
        self.taps[eqn.outvars[0]] = _Tap(times(error, 2.0), error)

    def _round(self, eqn: Any, operands: Sequence[Annotated], results: Sequence[Annotated]) -> None:
        """A tap for what the equation rounds."""
        moved = self._moved(eqn)
        self.rounded.update(zip(eqn.outvars, moved, strict=True))
        if eqn.primitive.name in (*MOVES, "abs", "select_n"):
            return
        (var,), (result,) = eqn.outvars, results
        dtype = error_dtype(dtype_of(result.value))
        read = [self._operand(atom, x, dtype) for atom, x in zip(eqn.invars, operands, strict=True)]
        error = local_error(self.model, eqn, read, Ball(result, dtype))
        if error is None:
            return
        error = jnp.broadcast_to(jnp.asarray(never_nan(jnp.asarray(error, dtype))), np.shape(result.value))
        self.taps[var], self.rounded[var] = _Tap(error, error), error

    def _moved(self, eqn: Any) -> list[Any]:
        """Local errors of the operands, as the equation moves them."""
        errors = [None if compat.is_literal(atom) else self.rounded.get(atom) for atom in eqn.invars]
        if eqn.primitive.name not in MOVES or all(e is None for e in errors):
            return [None] * len(eqn.outvars)
        if eqn.primitive.name == "neg":
            return errors
        dtype = next(e.dtype for e in errors if e is not None)
        values = [self._read(atom).value for atom in eqn.invars]
        moving = [
            jnp.zeros(np.shape(v), dtype) if e is None and is_real(dtype_of(v)) else v if e is None else e
            for v, e in zip(values, errors, strict=True)
        ]
        return compat.bind(eqn, moving)

    def _operand(self, atom: Any, x: Annotated, dtype: Any) -> Operand:
        if compat.is_literal(atom):
            return Operand(Ball(x, dtype), fixed=True)
        return Operand(
            Ball(x, dtype), self.rounded.get(atom) if self.readers[atom] > 1 else None, atom not in self.varying
        )

    def run(self, taps: dict[Any, Any]) -> list[Any]:
        """F: the results of the program, with these numbers added."""
        env = {var: lax.add(self.known[var].value, tap) for var, tap in taps.items() if var not in self._made}
        for eqn in self.smooth:
            values = [env.get(a, None) if not compat.is_literal(a) else None for a in eqn.invars]
            values = [self._read(a).value if v is None else v for a, v in zip(eqn.invars, values, strict=True)]
            for var, value in zip(eqn.outvars, _smooth(eqn, values), strict=True):
                if var in self.doubt:
                    value = lax.select(self.doubt[var], self.known[var].value, value)
                env[var] = lax.add(value, taps[var]) if var in taps else value
        return [self._read(v).value if compat.is_literal(v) or v not in env else env[v] for v in self.body.outvars]

    @functools.cached_property
    def _made(self) -> set[Any]:
        return {var for eqn in self.smooth for var in eqn.outvars}

    def bounds(self, chosen: Sequence[int]) -> list[Any]:
        """The mean value form of these results."""
        variables = list(self.taps)
        zeros = [jnp.zeros_like(self.known[var].value) for var in variables]
        shapes = [(np.shape(x.value), dtype_of(x.value)) for x in (self._read(self.body.outvars[i]) for i in chosen)]

        def gradients(taps: Sequence[Any]) -> Any:
            results = lambda taps: [self.run(dict(zip(variables, taps, strict=True)))[i] for i in chosen]  # noqa: E731
            pullback = jax.vjp(results, taps)[1]
            cotangents = _basis(shapes)
            if len(cotangents[0]) == 1:
                return [part[None] for part in pullback([ct[0] for ct in cotangents])[0]]
            return jax.vmap(lambda ct: pullback(ct)[0])(cotangents)

        closed = jax.make_jaxpr(gradients)(zeros)
        inputs = [_box(self.model, zero, self.taps[var].radius) for var, zero in zip(variables, zeros, strict=True)]
        parts = interpret(self.model, closed, inputs)
        total = _total(self.model, parts, [self.taps[var].error for var in variables])
        ends = np.cumsum([math.prod(shape) for shape, _ in shapes])[:-1]
        return [part.reshape(shape) for part, (shape, _) in zip(jnp.split(total, ends), shapes, strict=True)]


def _box(model: WorstCase, zero: Any, radius: Any) -> Annotated:
    """What may be added to a number: [-radius, radius]."""
    return model.lift(zero, radius)


def _readers(body: Any) -> dict[Any, int]:
    """How many equations read a number, or what is only moved of it; twice those that read it twice."""
    readers: dict[Any, int] = {}
    atoms = [*(a for eqn in body.eqns for a in eqn.invars), *body.outvars]
    for atom in atoms:
        if not compat.is_literal(atom):
            readers[atom] = readers.get(atom, 0) + 1
    for eqn in body.eqns:
        if eqn.primitive.name in MOVES:
            most = max((readers[a] for a in eqn.invars if not compat.is_literal(a)), default=0)
            readers.update({v: max(readers.get(v, 0), most) for v in eqn.outvars})
    return readers


def _smooth(eqn: Any, values: Sequence[Any]) -> list[Any]:
    """The equation; of a maximum, the derivative by an order, which is decided wherever the maximum is."""
    name = eqn.primitive.name
    if name == "clamp":
        return [_extreme("min", _extreme("max", values[0], values[1]), values[2])]
    return [_extreme(name, *values)] if name in ("max", "min") else compat.bind(eqn, values)


def _extreme(name: str, a: Any, b: Any) -> Any:
    a, b = jnp.broadcast_arrays(a, b)
    return lax.select(a >= b if name == "max" else a <= b, a, b)


def _basis(shapes: Sequence[tuple[tuple[int, ...], Any]]) -> list[Any]:
    """Cotangents, one per number of the results."""
    sizes = [math.prod(shape) for shape, _ in shapes]
    rows = np.split(np.eye(sum(sizes)), np.cumsum(sizes)[:-1], axis=1)
    return [jnp.asarray(row.reshape(-1, *shape), dtype) for row, (shape, dtype) in zip(rows, shapes, strict=True)]


def _total(model: WorstCase, parts: Sequence[Annotated], errors: Sequence[Any]) -> Any:
    """The sum of (|gradient| + its error) error over everything that was tapped, per number of the results."""
    terms, steps = [], 8
    for part, error in zip(parts, errors, strict=True):
        dtype = error.dtype
        slope = plus(magnitude(jnp.asarray(part.value), dtype), as_error(model.error(part), dtype))
        term = jnp.where(error == 0, 0, slope * error)
        terms.append(lax.reduce_sum(term, tuple(range(1, term.ndim))))
        steps += math.prod(error.shape) + 2
    dtype = max((t.dtype for t in terms), key=lambda d: d.itemsize)
    total = plus(*(as_error(t, dtype) for t in terms))
    return never_nan(enlarged(total, steps, dtype, flushed=steps))
