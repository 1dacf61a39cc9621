"""Tables of text."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any


def table(lines: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """Lines of cells, the first one the head, as aligned text.

    Args:
        lines: cells; a line may be shorter than the head, its last cell then goes on to the end of the line.
        left: columns that are aligned to the left; numbers are to the right.

    Returns:
        The text.
    """
    full = [line for line in lines if len(line) == len(lines[0])]
    widths = [max(len(line[i]) for line in full) for i in range(len(lines[0]))]
    return "\n".join(_line(line, widths, left) for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int], left: Sequence[int]) -> str:
    short = len(cells) < len(widths)
    padded = [
        c.ljust(w) if i in left or (short and i == len(cells) - 1) else c.rjust(w)
        for i, (c, w) in enumerate(zip(cells, widths, strict=False))
    ]
    return "  ".join(padded).rstrip()


def number(x: float | None) -> str:
    """Three digits; a dash for None."""
    return "-" if x is None else f"{x:.3g}"


def csv_of(rows: Sequence[dict[str, Any]], first: str) -> str:
    """Rows as comma-separated text with a head.

    Args:
        rows: with the same keys.
        first: the head if there are no rows.

    Returns:
        The text.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [first], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
