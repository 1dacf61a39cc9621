"""Writes docs/coverage.md from the tables of rules: ``python tests/write_coverage.py``."""

import csv
import pathlib
import statistics
import sys

import precjax  # noqa: F401  (fills the tables)
from precjax._interpreter import _CONTROL
from precjax._refusals import REFUSED
from precjax._registry import _COMPLEX_RULES, _RULES, _SHARED

ROOT = pathlib.Path(__file__).parents[1]
FORMATS = ("float32", "float64", "bfloat16", "float16")
HEAD = """# Coverage

Every primitive of JAX 0.10 and 0.12. *Proved*: a rule, in every format that XLA runs it in; the file states its theorem. *Complex*: also for complex
numbers. Tightness is the median of error / deviation on the judge's benign inputs, for pure rounding and for propagated errors, where a
row of the tests is named after the primitive (all rows: `tests/tightness.csv`). A primitive of the last table is refused, with its reason, by
`MissingRuleError`; `precjax.defrule` adds a rule, `track(f, missing="inf")` does without. Written by `tests/write_coverage.py`.

| primitive | complex | theorem | what it says | tightness in float32, float64, bfloat16, float16 |
|---|---|---|---|---|
"""

FAMILIES = """

By family, the medians over its primitives that have a row of their name: rounding / propagated.

| theorem | primitives | float32 | float64 | bfloat16 | float16 |
|---|---|---|---|---|---|
"""


def first_line(function):
    """What a rule says of itself, or its file of all its members."""
    text = (function.__doc__ or sys.modules[function.__module__].__doc__).strip().splitlines()[0]
    return text.rstrip(".").replace("|", "\\|")


def theorem(function):
    file = function.__module__.replace(".", "/") + ".py"
    return f"[{pathlib.Path(file).stem}](../{file})"


def tightness():
    with (ROOT / "tests" / "tightness.csv").open() as file:
        return {row: f"{float(rounded):.2g} / {float(moved):.2g}" for row, rounded, moved in csv.reader(file)}


def lines():
    seen = tightness()
    for name in sorted({*_RULES, *_COMPLEX_RULES, *_CONTROL}):
        function = _CONTROL.get(name) or _RULES.get(name) or _COMPLEX_RULES[name]
        is_complex = "yes" if name in _SHARED or name in _COMPLEX_RULES or name in _CONTROL else ""
        figures = [seen.get(f"{name}-{f}", "-") for f in FORMATS]
        shown = "" if set(figures) == {"-"} else ", ".join(figures)
        yield f"| `{name}` | {is_complex} | {theorem(function)} | {first_line(function)} | {shown} |"


def families():
    """Per file of rules: how many primitives, and the median over their rows of each figure of tightness, by format."""
    with (ROOT / "tests" / "tightness.csv").open() as file:
        seen = {row: (float(rounded), float(moved)) for row, rounded, moved in csv.reader(file)}
    members = {}
    for name in sorted({*_RULES, *_COMPLEX_RULES}):
        members.setdefault((_RULES.get(name) or _COMPLEX_RULES[name]).__module__, []).append(name)
    for module, names in sorted(members.items()):
        columns = []
        for dtype in FORMATS:
            rows = [seen[f"{name}-{dtype}"] for name in names if f"{name}-{dtype}" in seen]
            medians = [statistics.median(figures) for figures in zip(*rows, strict=True)]
            columns.append(" / ".join(f"{m:.2g}" for m in medians) or "-")
        if set(columns) != {"-"}:
            title = sys.modules[module].__doc__.strip().splitlines()[0].rstrip(".")
            file = module.replace(".", "/") + ".py"
            yield f"| [{title}](../{file}) | {len(names)} | {' | '.join(columns)} |"


def page():
    """The text of docs/coverage.md."""
    reasons = {}
    for name, reason in sorted(REFUSED.items()):
        reasons.setdefault(reason, []).append(f"`{name}`")
    refused = [f"| {reason} | {', '.join(names)} |" for reason, names in reasons.items()]
    return HEAD + "\n".join(lines()) + FAMILIES + "\n".join(families()) + "\n\n| refused, for | primitives |\n|---|---|\n" + "\n".join(refused) + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "coverage.md").write_text(page())
