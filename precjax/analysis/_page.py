"""A report as a page: no scripts, no files beside it."""

from __future__ import annotations

import html
from typing import Any

_STYLE = """
.precjax {font: 14px/1.45 system-ui, sans-serif; color: #1c2733; max-width: 72em; margin: 1em auto; padding: 0 1em}
.precjax table {border-collapse: collapse; width: 100%}
.precjax th, .precjax td {padding: .3em .6em; text-align: right; white-space: nowrap; border-bottom: 1px solid #e3e8ee}
.precjax th:first-child, .precjax td:first-child {text-align: left; white-space: normal; overflow-wrap: anywhere}
.precjax .bar {display: inline-block; height: .7em; vertical-align: baseline}
.precjax .mathematics {background: #c8553d} .precjax .algorithm {background: #e9a23b}
.precjax details {margin-left: 1.1em} .precjax summary {cursor: pointer}
.precjax .node {display: inline-block; min-width: 2px; height: .8em; background: #2f6db3; margin-right: .5em}
.precjax .faint {color: #66788a}
"""
_WIDEST = 14.0  # em
_HEAD = ("bits in", "bits out", "lost", "", "worst", "cancelled", "size", "times")


def page(by: str, rows: list[dict[str, Any]]) -> str:
    """The page.

    Args:
        by: what a row is.
        rows: of a report, most bits lost first.

    Returns:
        HTML, whole in itself.
    """
    most = max([row["bits_lost"] for row in rows] + [1.0])
    head = "".join(f"<th>{html.escape(name)}</th>" for name in (by, *_HEAD))
    body = "".join(_row(row, most) for row in rows)
    legend = (
        '<p class="faint">Lost to <span class="bar mathematics" style="width:1em"></span> the mathematics '
        "(ill-conditioned: any algorithm would), to "
        '<span class="bar algorithm" style="width:1em"></span> rounding here.</p>'
    )
    return (
        f'<!DOCTYPE html><meta charset="utf-8"><title>Exact bits by {by}</title><style>{_STYLE}</style>'
        f'<div class="precjax"><h2>Exact bits by {by}</h2>{legend}<table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table><h3>Where they are lost</h3>{_tree(rows)}</div>"
    )


def _row(row: dict[str, Any], most: float) -> str:
    numbers = [_number(row[k]) for k in ("bits_in", "bits_out", "bits_lost")]
    bars = "".join(
        f'<span class="bar {kind}" style="width:{_WIDEST * row[kind] / most:.2f}em"></span>'
        for kind in ("mathematics", "algorithm")
    )
    size = "-" if not row["largest"] else f"{row['smallest']:.2g} to {row['largest']:.2g}"
    cells = [*numbers, bars, _number(row["worst"]), _number(row["cancelled"]), size, f"{row['executions']:.3g}"]
    shown = "".join(
        f'<td style="text-align:left">{c}</td>' if c == bars else f"<td>{html.escape(c)}</td>" for c in cells
    )
    return f'<tr><td title="{html.escape(", ".join(row["primitives"]))}">{html.escape(row["where"])}</td>{shown}</tr>'


def _number(x: float | None) -> str:
    return "-" if x is None else f"{x:.1f}"


def _tree(rows: list[dict[str, Any]]) -> str:
    """Nested by the parts of paths and files; a bar is as wide as what is lost below it."""
    root: dict[str, Any] = {}
    for row in rows:
        node = root
        for part in row["where"].replace(":", "/").split("/"):
            node = node.setdefault(part, {})
        node[None] = node.get(None, 0.0) + row["bits_lost"]
    return _branch(root, max(_lost(root), 1.0))


def _lost(node: dict[Any, Any]) -> float:
    return sum(_lost(child) if part is not None else child for part, child in node.items())


def _branch(node: dict[Any, Any], all_lost: float) -> str:
    children = sorted(((part, child) for part, child in node.items() if part is not None), key=lambda x: -_lost(x[1]))
    shown = []
    for part, child in children:
        lost = _lost(child)
        bar = f'<span class="node" style="width:{2 * _WIDEST * lost / all_lost:.2f}em"></span>'
        label = f"{bar}{html.escape(part)} <span class='faint'>{lost:.1f} bits</span>"
        inner = _branch(child, all_lost)
        shown.append(
            f"<details open><summary>{label}</summary>{inner}</details>"
            if inner
            else f"<div style='margin-left:1.1em'>{label}</div>"
        )
    return "".join(shown)
