"""Pictures of tables."""

from __future__ import annotations

from typing import Any


def picture(by: str, rows: list[dict[str, Any]]) -> Any:
    """Bits that come in and go out, row by row in the order of the program.

    Args:
        by: what a row is.
        rows: of a report.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.figure import Figure

    rows = sorted((row for row in rows if row["bits_out"] is not None), key=lambda row: row["order"])
    figure = Figure(figsize=(7, 1.2 + 0.28 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = range(len(rows))
    axes.barh(places, [row["bits_in"] for row in rows], color="#d5dce6", label="in")
    axes.barh(places, [row["bits_out"] for row in rows], height=0.45, color="#2f6db3", label="out")
    axes.set_yticks(places, [_short(row["where"]) for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("exact bits")
    axes.set_title(f"Exact bits by {by}, in the order of the program", fontsize=10)
    axes.legend(loc="lower right", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _short(text: str) -> str:
    return text if len(text) <= 48 else "…" + text[-47:]
