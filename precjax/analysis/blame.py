"""Which line is to blame for the error of one number: sensitivities of that number to every rounding before it."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from precjax._annotated import Annotated
from precjax._interpreter import forget_transformed, given, interpret
from precjax._nnx import named_modules
from precjax._rounding import dtype_of, is_inexact
from precjax._tracked import Tracked, is_tracked, values_of
from precjax.analysis._placed import Placed
from precjax.analysis._table import number, table
from precjax.analysis.report import KEYS
from precjax.models import ErrorModel, Probabilistic, resolve
from precjax.models._rules import RuleModel
from precjax.models._widened import Widened


@dataclasses.dataclass(frozen=True)
class Blame:
    """What `blame` found; ``print`` shows it as a table.

    Attributes:
        value: the number.
        error: its error, to first order, by the model.
        by: what the rows are: "line", "module" or "primitive".
        rows: one dict per row, largest share first: ``where`` (``"argument [0]"`` for the error of an argument),
            ``share`` of the error (of its square, under "probabilistic"; shares sum to 1), ``error`` (of it alone).
    """

    value: float
    error: float
    by: str
    rows: list[dict[str, Any]]

    def __str__(self) -> str:
        """A table, at most 30 rows."""
        lines = [("where", "share", "error")]
        lines += [(row["where"], f"{row['share']:.1%}", number(row["error"])) for row in self.rows[:30]]
        return f"{Tracked(np.float32(self.value), np.float32(self.error))}\n{table(lines)}"


def blame(f: Callable[..., Any], *, by: str = "line", model: str | ErrorModel = "worst_case") -> Callable[..., Blame]:
    """Says which roundings cause the error of a function's one result: a loss, a logit, a norm.

    One reverse pass gives the derivative of the result by every intermediate number. That, times what the number was
    rounded by, is its part in the error of the result, to first order. (`report` says where relative accuracy is lost;
    blame, where the errors came from that are then amplified.)

    Args:
        f: a function that JAX can trace and differentiate, with one real number as its result.
        by: what a row is: a "line" of the source, a "module" or a "primitive".
        model: "worst_case" (roundings as large as they may be, all in the worst direction) or "probabilistic" (as they
            are likely to be, independent), or an instance.

    Returns:
        A function of the same arguments, any subtree of which may be a `Tracked`, that returns a `Blame`.

    Guarantee:
        To first order: exact where errors are small enough for products of two to be nothing, and no decision is in
        doubt.

    Raises:
        ValueError: if `by` is unknown, the model gives no errors of single operations, or the result of `f` is not one
            real number.
        TypeError: if `f` is not callable.

    Example:
        >>> import jax.numpy as jnp, precjax
        >>> found = precjax.blame(lambda x: jnp.sum(jnp.exp(x)) + 1e6, by="primitive")(jnp.ones(3))
        >>> found.rows[0]["where"]
        'add'
    """
    if by not in KEYS:
        raise ValueError(f"by={by!r}: expected one of {', '.join(map(repr, KEYS))}")
    if not callable(f):
        raise TypeError(f"blame(f={f!r}): f must be a function, got {type(f).__name__}")
    rules = resolve(model)
    if not isinstance(rules, RuleModel) or isinstance(rules, Widened):
        raise ValueError(
            f"model={model!r}: expected 'worst_case' or 'probabilistic', whose operations have errors each"
        )

    @functools.wraps(f)
    def blamed(*args: Any, **kwargs: Any) -> Blame:
        return _blame(f, rules, by, args, kwargs)

    return blamed


def _blame(f: Callable[..., Any], rules: RuleModel, by: str, args: Any, kwargs: Any) -> Blame:
    plain = values_of((args, kwargs))
    with named_modules():
        closed = jax.make_jaxpr(lambda a, k: f(*a, **k))(*plain)
    if not (len(closed.out_avals) == 1 and _is_real_number(closed.out_avals[0])):
        raise ValueError(f"blame: the result of f must be one real number, got {[*map(str, closed.out_avals)]}")
    leaves = jax.tree.leaves(plain)
    nodes = jax.tree.leaves((args, kwargs), is_leaf=is_tracked)
    errors = [e for node in nodes for e in _errors_of(node)]
    places: list[str] = []

    def run(slots: Any, leaves: Sequence[Any], errors: Sequence[Any]) -> Any:
        adjoint = _Adjoint(rules=rules, key=KEYS[by], places=places, slots=slots)
        arguments = [adjoint.argument(i, x, e) for i, (x, e) in enumerate(zip(leaves, errors, strict=True))]
        try:
            (result,) = interpret(adjoint, closed, arguments)
        finally:
            forget_transformed(adjoint)
        return jnp.asarray(result.value, jnp.promote_types(dtype_of(result.value), jnp.float32))

    jax.eval_shape(lambda: run(jnp.zeros(_MANY), leaves, errors))
    slots = jnp.zeros(len(places))
    value, parts = jax.jit(jax.value_and_grad(run))(slots, leaves, errors)
    return _result(float(value), np.asarray(parts, np.float64), places, by, isinstance(rules, Probabilistic))


_MANY = 1 << 20  # slots while places are counted; nothing is computed then


def _is_real_number(aval: Any) -> bool:
    return aval.shape == () and jnp.issubdtype(aval.dtype, jnp.floating)


def _errors_of(node: Any) -> list[Any]:
    """The errors of an argument's leaves; None for exact ones."""
    return jax.tree.leaves(node.error) if is_tracked(node) else [None] * len(jax.tree.leaves(node))


def _result(value: float, parts: Any, places: list[str], by: str, squares: bool) -> Blame:
    """Parts are errors, or their squares."""
    total = float(parts.sum())
    error = math.sqrt(total) if squares else total
    rows = [
        {"where": place, "share": part / total if total else 0.0, "error": math.sqrt(part) if squares else float(part)}
        for place, part in zip(places, map(float, parts), strict=True)
        if part
    ]
    return Blame(value, error, by, sorted(rows, key=lambda row: -row["share"]))


@jax.custom_vjp
def _probe(value: Any, error: Any, slot: Any, squares: Any) -> Any:
    """The value; the derivative by the slot is what the error makes of the cotangent."""
    return value


def _probe_forward(value: Any, error: Any, slot: Any, squares: Any) -> Any:
    return value, (error, squares)


def _probe_backward(kept: Any, cotangent: Any) -> Any:
    error, squares = kept
    part = jnp.abs(cotangent).astype(error.dtype) * error
    part = jnp.where(part > 0, part, 0)  # a NaN of 0 * inf says nothing
    part = jnp.where(squares, jnp.sum(part * part), jnp.sum(part))
    return cotangent, jnp.zeros_like(error), part.astype(jnp.float32), None


_probe.defvjp(_probe_forward, _probe_backward)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Adjoint(Placed):
    """The plain program, every rounded number of which is probed.

    Attributes:
        rules: says what an operation rounds.
        places: those found so far; each has a slot.
        slots: numbers, 0, whose derivatives are wanted.
    """

    rules: RuleModel
    places: list[str]
    slots: Any

    def argument(self, index: int, value: Any, error: Any) -> Annotated:
        """An argument, probed if it has an error."""
        if error is None or not is_inexact(dtype_of(value)):
            return given(value)
        return given(self._probed(f"argument [{index}]", jnp.asarray(value), jnp.broadcast_to(error, np.shape(value))))

    def apply(self, eqn: Any, operands: Sequence[Annotated]) -> list[tuple[Any, Any]]:
        """The primitive, and probes of what it rounds."""
        exact = [Annotated(jax.lax.stop_gradient(x.value), known=x.known) for x in operands]
        errors = [error for _, error in self.rules.apply(eqn, exact)]
        results = super().apply(eqn, operands)
        return [(self._at(eqn, value, e), rest) for (value, rest), e in zip(results, errors, strict=True)]

    def _at(self, eqn: Any, value: Any, error: Any) -> Any:
        """A result, probed if it is a rounded real number."""
        if error is None or not jnp.issubdtype(value.dtype, jnp.floating):
            return value
        return self._probed(self.place(eqn), value, error)

    def _probed(self, place: str, value: Any, error: Any) -> Any:
        if place not in self.places:
            self.places.append(place)
        slot = self.slots[self.places.index(place)]
        return _probe(value, jax.lax.stop_gradient(error), slot, isinstance(self.rules, Probabilistic))
