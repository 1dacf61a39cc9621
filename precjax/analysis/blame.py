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

from precjax._interpreter import forget_transformed, interpret
from precjax._nnx import named_modules
from precjax._rounding import dtype_of
from precjax._tracked import Tracked, is_tracked, values_of
from precjax.analysis._adjoint import Adjoint, Bounds, Local, Observed, backwards
from precjax.analysis._table import number, table
from precjax.analysis.report import KEYS
from precjax.models import ErrorModel, Probabilistic, Shadow, resolve
from precjax.models._rules import RuleModel
from precjax.models._widened import Widened


@dataclasses.dataclass(frozen=True)
class Blame:
    """What `blame` found; ``print`` shows it as a table.

    Attributes:
        value: the number.
        error: its error, to first order, by the model; signed under "shadow".
        by: what the rows are: "line", "module" or "primitive".
        rows: one dict per row, largest share first: ``where`` (``"argument [0]"`` for the error of an argument),
            ``error`` (of it alone), ``share`` of the error: of its square, under "probabilistic"; of the sum of the
            magnitudes of the rows' errors, which may cancel, under "shadow". Shares sum to 1.
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
        model: "worst_case" (roundings as large as they may be, all in the worst direction), "probabilistic" (as they
            are likely to be, independent) or "shadow" (as they were: each operation against the same one in a wider
            format, with signs, so that rows may cancel), or an instance.

    Returns:
        A function of the same arguments, any subtree of which may be a `Tracked`, that returns a `Blame`.

    Guarantee:
        To first order: exact where errors are small enough for products of two to be nothing, and no decision is in
        doubt. Under "shadow", ``value - error`` is then the exact result; the value may differ from that of
        ``jax.jit(f)``, since no operation is merged with the next.

    Raises:
        ValueError: if `by` is unknown, the model gives no errors of single operations (or is a Shadow with
            options), or the result of `f` is not one real number.
        TypeError: if `f` is not callable.
        NotImplementedError: if JAX has no derivative in reverse for a part of `f`, such as a loop of unknown length.

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
    chosen = resolve(model)
    if not isinstance(chosen, Shadow) and (not isinstance(chosen, RuleModel) or isinstance(chosen, Widened)):
        raise ValueError(
            f"model={model!r}: expected 'worst_case', 'probabilistic' or 'shadow', whose operations have errors each"
        )
    if isinstance(chosen, Shadow) and chosen != Shadow():
        raise ValueError(f"model={chosen!r}: blame shadows single operations, so that options have no meaning")

    @functools.wraps(f)
    def blamed(*args: Any, **kwargs: Any) -> Blame:
        return _blame(f, chosen, by, args, kwargs)

    return blamed


def _blame(f: Callable[..., Any], model: Any, by: str, args: Any, kwargs: Any) -> Blame:
    plain = values_of((args, kwargs))
    with named_modules():
        closed = jax.make_jaxpr(lambda a, k: f(*a, **k))(*plain)
    if not (len(closed.out_avals) == 1 and _is_real_number(closed.out_avals[0])):
        raise ValueError(f"blame: the result of f must be one real number, got {[*map(str, closed.out_avals)]}")
    leaves = jax.tree.leaves(plain)
    nodes = jax.tree.leaves((args, kwargs), is_leaf=is_tracked)
    errors = [e for node in nodes for e in _errors_of(node)]
    places: list[str] = []
    local: Local = Observed(model.fit(closed)) if isinstance(model, Shadow) else Bounds(model)

    def run(slots: Any, leaves: Sequence[Any], errors: Sequence[Any]) -> Any:
        adjoint = Adjoint(local=local, key=KEYS[by], places=places, slots=slots)
        arguments = [adjoint.argument(i, x, e) for i, (x, e) in enumerate(zip(leaves, errors, strict=True))]
        try:
            (result,) = interpret(adjoint, closed, arguments)
        finally:
            forget_transformed(adjoint)
        return jnp.asarray(result.value, jnp.promote_types(dtype_of(result.value), jnp.float32))

    jax.eval_shape(lambda: run(jnp.zeros(_MANY), leaves, errors))
    slots = jnp.zeros(len(places))
    value, parts = backwards("blame", jax.value_and_grad(run), slots, leaves, errors)
    rows = dict(zip(places, map(float, np.asarray(parts, np.float64)), strict=True))
    return _result(float(value), rows, by, isinstance(model, Probabilistic))


_MANY = 1 << 20  # slots while places are counted; nothing is computed then


def _is_real_number(aval: Any) -> bool:
    return aval.shape == () and jnp.issubdtype(aval.dtype, jnp.floating)


def _errors_of(node: Any) -> list[Any]:
    """The errors of an argument's leaves; None for exact ones."""
    return jax.tree.leaves(node.error) if is_tracked(node) else [None] * len(jax.tree.leaves(node))


def _result(value: float, parts: dict[str, float], by: str, squares: bool) -> Blame:
    """Parts are errors, or their squares."""
    total = sum(map(abs, parts.values()))
    error = math.sqrt(total) if squares else sum(parts.values())
    rows = [
        {"where": place, "share": abs(part) / total, "error": math.sqrt(part) if squares else part}
        for place, part in parts.items()
        if part
    ]
    return Blame(value, error, by, sorted(rows, key=lambda row: -row["share"]))
