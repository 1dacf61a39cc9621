"""The judge: what a jaxpr gives in real arithmetic, computed rigorously.

Every bound that precjax states is judged by this evaluator, so it shares no code with the rules that it judges. Floats
are exact rationals while they stay rational and short, and balls of python-flint (midpoint and radius, enclosing the
real number) from the first irrational function on; integers, bools and random keys are themselves.

Read in this order: `number` (the numbers and their decisions), `interpreter` (the walk), `table` (how semantics are
registered), then one file per family.
"""

from precjax._judge import (  # noqa: F401  each registers its family
    arithmetic,
    collective,
    complex_linalg,
    complex_numbers,
    complex_order,
    contraction,
    decision,
    elementary,
    fourier,
    indexing,
    linalg,
    reduction,
    spectral,
    state,
    structural,
    window,
)
from precjax._judge.interpreter import evaluate_jaxpr
from precjax._judge.number import Undecidable, lift

__all__ = ["Undecidable", "evaluate_jaxpr", "lift"]
