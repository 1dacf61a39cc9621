"""Every model of error on the same program, side by side."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from precjax._rounding import is_plain
from precjax._tracked import Tracked, values_of
from precjax._transform import track
from precjax.analysis._table import number, table
from precjax.models import Certified, ErrorModel, resolve
from precjax.models._paired import Paired
from precjax.platforms import UnknownPlatformError

_MODELS = ("shadow", "stochastic", "probabilistic", "certified", "worst_case")
_PAIRS = (
    "certified: most of the bound is that of the reference itself; Certified(reference='pairs') has a finer reference"
)
# What a model that cannot take a program raises; whatever f itself raises came out before.
_REFUSALS = (NotImplementedError, ValueError, UnknownPlatformError)


@dataclasses.dataclass(frozen=True)
class ModelComparison:
    """What `compare_models` found; ``print`` shows it as a table.

    Attributes:
        rows: one dict per output leaf and model: ``output`` (path of the leaf), ``value`` (root mean square of its
            numbers), ``observed`` (root mean square of Shadow's error; None if there is none), ``model``, ``error``
            (root mean square of the model's), ``ratio`` (error / observed), ``exact_bits`` (their median), ``refused``
            (the model's reason, or None; the numbers are None if it refused), ``advice`` (what would say more, or
            None).
    """

    rows: list[dict[str, Any]]

    def __str__(self) -> str:
        """A table, the models of each output below one another, and what to do about them."""
        cells = [("output", "value", "observed", "model", "error", "error/observed", "exact bits")]
        cells += [_cells(row, previous) for previous, row in zip([None, *self.rows], self.rows, strict=False)]
        advice = dict.fromkeys(row["advice"] for row in self.rows if row["advice"] is not None)
        return "\n".join([table(cells, left=(0, 3)), *advice])


def _cells(row: dict[str, Any], previous: dict[str, Any] | None) -> tuple[str, ...]:
    same = previous is not None and previous["output"] == row["output"]
    leaf = ("", "", "") if same else (row["output"], number(row["value"]), number(row["observed"]))
    if row["refused"] is not None:
        return (*leaf, row["model"], "refused: " + row["refused"].split(". ")[0])
    return (*leaf, row["model"], number(row["error"]), number(row["ratio"]), f"{row['exact_bits']:.1f}")


def compare_models(
    f: Callable[..., Any], *, models: Sequence[str | ErrorModel] = _MODELS
) -> Callable[..., ModelComparison]:
    """Runs a function under several models of error and sets their errors against the observed one.

    Args:
        f: any function that JAX can trace.
        models: names or instances, in the order of the table; all five by default. The observed error is that of
            ``"shadow"``, whether it is among them or not.

    Returns:
        A function of the same arguments, any subtree of which may be a `Tracked`, that returns a `ModelComparison`. A
        model that cannot take the program (a primitive without a rule, a format without a reference) has its reason in
        the table in place of numbers.

    Raises:
        TypeError: if `f` is not callable or a model is none.
        ValueError: if the name of a model is unknown, or there are no models.

    Example:
        >>> import jax.numpy as jnp, precjax
        >>> table = precjax.compare_models(jnp.cumsum, models=("probabilistic", "worst_case"))(jnp.full(1000, 0.1))
        >>> [row["model"] for row in table.rows if row["ratio"] > 30]
        ['worst_case']
    """
    if not callable(f):
        raise TypeError(f"compare_models(f={f!r}): f must be a function, got {type(f).__name__}")
    if isinstance(models, str | ErrorModel) or not models:
        raise ValueError(f"models={models!r}: expected several names or instances, such as {_MODELS[:2]}")
    named = [(model if isinstance(model, str) else repr(model), resolve(model)) for model in models]

    @functools.wraps(f)
    def compared(*args: Any, **kwargs: Any) -> ModelComparison:
        values = values_of((args, kwargs))
        program = jax.make_jaxpr(lambda a, k: f(*a, **k))(*values)
        observed = _tracked(f, resolve("shadow"), args, kwargs)
        tables = [(name, _tracked(f, model, args, kwargs)) for name, model in named]
        if isinstance(observed, str):
            observed = Tracked(jax.jit(f)(*values[0], **values[1]), None)
        coarse = {name for name, model in named if _has_finer_reference(model, program)}
        return ModelComparison([_advised(row, coarse) for row in _rows(*observed, tables)])

    return compared


def _tracked(f: Callable[..., Any], model: ErrorModel, args: Any, kwargs: Any) -> Tracked | str:
    """The result, or why there is none."""
    try:
        return track(f, model=model)(*args, **kwargs)
    except _REFUSALS as refusal:
        return str(refusal)


def _has_finer_reference(model: ErrorModel, program: Any) -> bool:
    """Whether there is one: of a program of float64, pairs are the reference already."""
    return isinstance(model, Certified) and not isinstance(model.fit(program), Paired)


def _advised(row: dict[str, Any], coarse: set[str]) -> dict[str, Any]:
    """With advice where most of a bound is that of its reference."""
    large = row["ratio"] is not None and row["ratio"] > 2
    return row | {"advice": _PAIRS if large and row["model"] in coarse else None}


def _rows(values: Any, observed: Any, tables: Sequence[tuple[str, Tracked | str]]) -> list[dict[str, Any]]:
    rows = []
    for index, (path, value) in enumerate(jax.tree_util.tree_leaves_with_path(values)):
        if not is_plain(value):
            continue
        seen = None if observed is None else _size(jax.tree.leaves(observed)[index])
        leaf = {"output": jax.tree_util.keystr(path) or "result", "value": _size(value), "observed": seen}
        rows += [leaf | {"model": name} | _judged(out, index, seen) for name, out in tables]
    return rows


def _judged(out: Tracked | str, index: int, observed: float | None) -> dict[str, Any]:
    if isinstance(out, str):
        return {"error": None, "ratio": None, "exact_bits": None, "refused": out}
    error = _size(jax.tree.leaves(out.error)[index])
    bits = float(np.median(jax.tree.leaves(out.exact_bits)[index]))
    return {"error": error, "ratio": _ratio(error, observed), "exact_bits": bits, "refused": None}


def _ratio(error: float, observed: float | None) -> float | None:
    """1 for two zeros, inf if only the observed error is zero."""
    if observed is None:
        return None
    return error / observed if observed else 1.0 if error == 0 else math.inf


def _size(x: Any) -> float:
    """Root mean square."""
    x = np.abs(np.asarray(x, np.complex128 if np.iscomplexobj(x) else np.float64))
    return float(np.sqrt(np.mean(np.square(x)))) if x.size else 0.0
