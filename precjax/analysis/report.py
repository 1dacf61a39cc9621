"""Where the bits go: every line, module or primitive of a program, sorted by the bits that are lost there."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import json
import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._facts import MOVES
from precjax._hooks import Equation, Hook, Site
from precjax._rounding import dtype_of, format_of, is_inexact
from precjax._tracked import Tracked
from precjax._transform import track
from precjax.analysis._page import page
from precjax.analysis._picture import picture
from precjax.analysis._table import number, table
from precjax.models import ErrorModel

KEYS: dict[str, Callable[[Site], str]] = {
    "line": lambda site: f"{site.line} ({site.function})" if site.function else site.line,
    "module": lambda site: ("gradient of " if site.backward else "") + (site.module or "(no module)"),
    "primitive": lambda site: site.primitive,
}
_COLUMNS = ("where", "bits in", "bits out", "lost", "mathematics", "algorithm", "cancelled", "worst", "size", "times")


@dataclasses.dataclass(frozen=True)
class Report:
    """What `report` found; ``print`` shows it as a table, a notebook as a page.

    Attributes:
        result: the `Tracked` result of the function.
        by: what the rows are: "line", "module" or "primitive".
        rows: one dict per row, most bits lost first: ``where``; ``primitives``; ``bits_in`` (exact bits of what comes
            in, the fewest of an equation's operands, by mean error over mean size), ``bits_out`` (the fewest that come
            out), ``bits_lost``; of these, ``mathematics`` (lost even if nothing were rounded here: ill-conditioned) and
            ``algorithm`` (lost by rounding here); ``cancelled`` (bits by which sums are smaller than their terms, at
            most); ``worst`` (exact bits of the worst number); ``smallest``, ``largest`` (range of sizes, zeros left
            out); ``overflow_margin``, ``underflow_margin`` (bits to the ends of the format); ``undecided`` (share of
            decisions that rounding might turn); ``executions`` (of the row's equations, on average); ``order`` (its
            first place in the program).
    """

    result: Tracked
    by: str
    rows: list[dict[str, Any]]

    def __str__(self) -> str:
        """A table, at most 30 rows."""
        lines = [_COLUMNS, *map(_cells, self.rows[:30])]
        rest = len(self.rows) - 30
        return table(lines) + (f"\n... and {rest} more in .rows" if rest > 0 else "")

    def to_json(self) -> str:
        """The rows as a JSON list."""
        return json.dumps(self.rows, indent=1)

    def to_csv(self) -> str:
        """The rows as comma-separated text with a head."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.rows[0]) if self.rows else ["where"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    def to_html(self) -> str:
        """A self-contained page: the table, and a tree of modules or files as wide as the bits that they lose."""
        return page(self.by, self.rows)

    def _repr_html_(self) -> str:
        return self.to_html()

    def plot(self) -> Any:
        """Exact bits in and out along the program, in its order.

        Returns:
            A ``matplotlib.figure.Figure``.

        Raises:
            ImportError: if matplotlib is not installed.
        """
        return picture(self.by, self.rows)


def report(
    f: Callable[..., Any], *, by: str = "line", model: str | ErrorModel = "probabilistic", **options: Any
) -> Callable[..., Report]:
    """Says where a function loses exact bits, and whether by its mathematics or by its rounding.

    Args:
        f: any function that JAX can trace.
        by: what a row is: a "line" of the source, a "module" (a path of names, as linen and ``jax.named_scope`` give
            them) or a "primitive".
        model: "probabilistic" (errors as they are likely to be) or "worst_case" (as they may be), or an instance.
        **options: further options of `track`.

    Returns:
        A function of the same arguments, any subtree of which may be a `Tracked`, that runs `f` once and returns a
        `Report`.

    Guarantee:
        That of the model, for every number; the table averages over them and over the turns of loops.

    Raises:
        ValueError: if `by` is unknown, or the model has no errors along with the values.
        TypeError: if `f` is not callable.

    Example:
        >>> import jax.numpy as jnp, precjax
        >>> found = precjax.report(lambda x: (1 - jnp.cos(x)) / x**2, by="primitive")(1e-3)
        >>> found.rows[0]["where"]
        'sub'
    """
    if by not in KEYS:
        raise ValueError(f"by={by!r}: expected one of {', '.join(map(repr, KEYS))}")
    hook = Summaries()
    tracked = track(f, model=model, hooks=[hook], **options)

    @functools.wraps(f)
    def reported(*args: Any, **kwargs: Any) -> Report:
        result = hook.watch(tracked, *args, **kwargs)
        return Report(result, by, _rows(hook.seen, KEYS[by]))

    return reported


class Summaries(Hook):
    """Collects a few numbers per run of every equation that computes with floats.

    Attributes:
        seen: by place: sums of bits over the ``runs``, extremes of what else there is, ``order`` in the program.
    """

    def __init__(self) -> None:
        """Nothing yet."""
        self.seen: dict[Site, dict[str, float]] = {}

    def watch(self, tracked: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Runs a function that this hook sees, to its end.

        Args:
            tracked: made by `track` with this hook.
            *args: its arguments.
            **kwargs: its keyword arguments.

        Returns:
            Its result; `seen` is of this run.
        """
        self.seen.clear()
        result = jax.block_until_ready(tracked(*args, **kwargs))
        jax.effects_barrier()
        return result

    def trace(self, equation: Equation) -> Any:
        """Sums and extremes of what goes in and comes out; None where elements are only moved.

        Args:
            equation: any.

        Returns:
            A dict of scalars, or None.
        """
        operands = [x for x in equation.operands if _is_float(x)]
        if not operands or equation.site.primitive in MOVES:
            return None
        seen = {"operands": [_sums(equation, x) for x in operands]}
        for result, rounding in zip(equation.results[:1], equation.rounding, strict=False):
            if _is_float(result):
                propagated = jnp.minimum(jnp.maximum(result.error - rounding, 0), jnp.abs(result.value))
                seen |= {"result": _sums(equation, result), "propagated": jnp.mean(propagated)}
            elif not is_inexact(dtype_of(result.value)):
                seen["undecided"] = jnp.mean(result.error != 0)
        return seen

    def observe(self, site: Site, data: Any) -> None:
        """Keeps the extremes, and the sums for means.

        Args:
            site: where the equation stands.
            data: what `trace` asked for.
        """
        kept = self.seen.setdefault(site, {"runs": 0.0, "order": float(len(self.seen))})
        kept["runs"] += 1
        for name, value in _summary(site, data).items():
            merge = _EXTREMES.get(name, operator.add)
            kept[name] = merge(kept[name], value) if name in kept else value


_EXTREMES: dict[str, Callable[[float, float], float]] = {
    "fewest": min, "worst": min, "smallest": min, "largest": max, "overflow_margin": min, "underflow_margin": min,
    "cancelled": max, "undecided": max,
}  # fmt: skip


def _is_float(x: Tracked) -> bool:
    return is_inexact(dtype_of(x.value)) and np.size(x.value) > 0


class _Sums(NamedTuple):
    """Of one array, infinities left out: scalars.

    Attributes:
        size: mean |value|.
        error: mean error, at most 100% for each number.
        relative: largest relative error.
        smallest: smallest |value| but 0.
        largest: largest |value|.
        digits: significand bits of the format.
        format: its largest and smallest normal numbers.
    """

    size: Any
    error: Any
    relative: Any
    smallest: Any
    largest: Any
    digits: Any
    format: Any


def _sums(equation: Equation, x: Tracked) -> _Sums:
    """In one pass over the array, once per array."""
    known = equation.shared.get((_Sums, id(x.value)))
    if known is None:
        # The array is kept, so that nothing else gets its id.
        known = equation.shared[_Sums, id(x.value)] = _sums_of(x), x.value
    return known[0]


def _sums_of(x: Tracked) -> _Sums:
    size = jnp.abs(jnp.asarray(x.value))
    size = size.astype(jnp.promote_types(size.dtype, jnp.float32))
    size = jnp.where(jnp.isfinite(size), size, 0)
    error = jnp.broadcast_to(jnp.asarray(x.error, size.dtype), size.shape)
    bounded = jnp.where(error < size, error, size)
    relative = jnp.where(error > 0, jnp.where(error < size, error / size, 1), 0)
    zero, infinity = jnp.zeros((), size.dtype), jnp.asarray(jnp.inf, size.dtype)
    arrays = (size, bounded, relative, jnp.where(size > 0, size, jnp.inf), size)
    starts = (zero, zero, zero, infinity, zero)
    total, missed, worst, smallest, largest = lax.reduce(arrays, starts, _combined, tuple(range(size.ndim)))
    fmt = format_of(dtype_of(x.value))
    limits = np.float64(fmt.largest), np.float64(fmt.smallest_normal)
    return _Sums(total / size.size, missed / size.size, worst, smallest, largest, fmt.digits, limits)


def exact_bits_of(x: Tracked) -> Any:
    """-log2 of the mean error over the mean size, a traced scalar."""
    sums = _sums_of(x)
    bits = jnp.clip(jnp.log2(sums.size / jnp.where(sums.error > 0, sums.error, 1)), 0, sums.digits)
    return jnp.where(sums.error > 0, bits, jnp.where(sums.relative > 0, 0, sums.digits))


def _combined(a: Any, b: Any) -> Any:
    return a[0] + b[0], a[1] + b[1], jnp.maximum(a[2], b[2]), jnp.minimum(a[3], b[3]), jnp.maximum(a[4], b[4])


def _summary(site: Site, data: dict[str, Any]) -> dict[str, float]:
    """Bits, from the sums of one run."""
    operands = [_Sums(*map(np.asarray, x[:6]), x.format) for x in data["operands"]]
    if "result" not in data:
        return {"undecided": float(data["undecided"])} if "undecided" in data else {}
    result = data["result"]
    largest, smallest = (math.log2(x) for x in result.format)
    summary = {
        "bits_in": min(_bits(x.size, x.error, x.relative, x.digits) for x in operands),
        "bits_out": _bits(result.size, result.error, result.relative, result.digits),
        "without_rounding": _bits(result.size, data["propagated"], data["propagated"], math.inf),
        "fewest": _bits(result.size, result.error, result.relative, result.digits),
        "worst": _bits(1.0, result.relative, result.relative, result.digits),
        "smallest": float(result.smallest),
        "largest": float(result.largest),
        "overflow_margin": largest - math.log2(result.largest) if result.largest > 0 else largest - smallest,
        "underflow_margin": (math.log2(result.smallest) if result.smallest < math.inf else largest) - smallest,
    }
    if site.primitive in ("add", "sub", "add_any"):
        summary["cancelled"] = _bits(max(float(x.size) for x in operands), result.size, 1.0, 24)
    return summary


def _bits(size: Any, error: Any, worst: Any, digits: Any) -> float:
    """-log2(error / size), between 0 and the digits of the format; all of them only if no error is left."""
    size, error = float(size), float(error)
    if error == 0 and (size > 0 or not worst > 0):
        return float(digits)
    return min(max(math.log2(size / error), 0.0), float(digits)) if size > 0 and error > 0 else 0.0


def _rows(seen: dict[Site, dict[str, float]], key: Callable[[Site], str]) -> list[dict[str, Any]]:
    groups: dict[str, list[tuple[Site, dict[str, float]]]] = {}
    for site, kept in seen.items():
        groups.setdefault(key(site), []).append((site, kept))
    rows = [_row(where, members) for where, members in groups.items()]
    return sorted(rows, key=lambda row: -row["bits_lost"])


def _row(where: str, members: list[tuple[Site, dict[str, float]]]) -> dict[str, Any]:
    """One group of equations; losses add up, but not beyond the difference of the most bits in and the fewest out."""
    floats = [(kept, _losses(kept)) for _, kept in members if "bits_out" in kept]
    kept = [k for _, k in members]
    bits_in = max((x["bits_in"] for _, x in floats), default=None)
    bits_out = min((x["bits_out"] for _, x in floats), default=None)
    lost = sum(x["lost"] for _, x in floats)
    share = min(1.0, (bits_in - bits_out) / lost) if lost > 0 else 0.0
    mathematics = sum(x["mathematics"] for _, x in floats) * share
    return {
        "where": where,
        "primitives": sorted({site.primitive for site, _ in members}),
        "bits_in": bits_in,
        "bits_out": bits_out,
        "bits_lost": lost * share,
        "mathematics": mathematics,
        "algorithm": lost * share - mathematics,
        "cancelled": max((k.get("cancelled", 0.0) for k in kept), default=0.0),
        "worst": _extreme(min, kept, "worst"),
        "smallest": _extreme(min, kept, "smallest"),
        "largest": _extreme(max, kept, "largest"),
        "overflow_margin": _extreme(min, kept, "overflow_margin"),
        "underflow_margin": _extreme(min, kept, "underflow_margin"),
        "undecided": max((k.get("undecided", 0.0) for k in kept), default=0.0),
        "executions": sum(k["runs"] for k in kept) / len(kept),
        "order": int(min(k["order"] for k in kept)),
    }


def _losses(kept: dict[str, float]) -> dict[str, float]:
    """Means over the runs of an equation."""
    bits = {name: kept[name] / kept["runs"] for name in ("bits_in", "bits_out", "without_rounding")}
    lost = max(bits["bits_in"] - bits["bits_out"], 0.0)
    mathematics = min(max(bits["bits_in"] - bits["without_rounding"], 0.0), lost)
    return {**bits, "lost": lost, "mathematics": mathematics}


def _extreme(choose: Callable[..., float], kept: list[dict[str, float]], name: str) -> float | None:
    return choose((k[name] for k in kept if name in k), default=None)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    bits = [row[k] for k in ("bits_in", "bits_out", "bits_lost", "mathematics", "algorithm", "cancelled", "worst")]
    size = "-" if row["largest"] is None else f"{number(row['smallest'])} to {number(row['largest'])}"
    return row["where"], *("-" if b is None else f"{b:.1f}" for b in bits), size, f"{row['executions']:.3g}"
