"""Where the bits go: every line, module or primitive of a program, sorted by the bits that are lost there."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from typing import Any

from precjax._hooks import Site
from precjax._tracked import Tracked
from precjax._transform import track
from precjax.analysis._page import page
from precjax.analysis._picture import picture
from precjax.analysis._summaries import Summaries
from precjax.analysis._table import csv_of, number, table
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
            decisions that rounding might turn); ``executions`` (of the equation that ran most often); ``order`` (its
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
        return csv_of(self.rows, "where")

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
        by: what a row is: a "line" of the source, a "module" (a path of names, as Flax and ``jax.named_scope`` give
            them) or a "primitive".
        model: "probabilistic" (errors as they are likely to be), "worst_case" (as they may be), "certified" (as they
            are, proved: the program returns its intermediate values, and its reference those that are exact; loops and
            branches count as one equation), or an instance.
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
        "executions": max(k["runs"] for k in kept),
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
    size = "-" if not row["largest"] else f"{number(row['smallest'])} to {number(row['largest'])}"
    return row["where"], *("-" if b is None else f"{b:.1f}" for b in bits), size, f"{row['executions']:.3g}"
