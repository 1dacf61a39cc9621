"""What the numbers say: one analysis per file."""

from precjax.analysis.advise import Advice, advise
from precjax.analysis.bisect import Bisection, Recording, bisect, record
from precjax.analysis.blame import Blame, blame
from precjax.analysis.compare import Comparison, compare
from precjax.analysis.compare_models import ModelComparison, compare_models
from precjax.analysis.decisions import Decisions, decisions
from precjax.analysis.guard import PrecisionError, guard
from precjax.analysis.mean_value import mean_value
from precjax.analysis.report import Report, report
from precjax.analysis.tolerances import Tolerance, tolerances

__all__ = [
    "Advice",
    "Bisection",
    "Blame",
    "Comparison",
    "Decisions",
    "ModelComparison",
    "PrecisionError",
    "Recording",
    "Report",
    "Tolerance",
    "advise",
    "bisect",
    "blame",
    "compare",
    "compare_models",
    "decisions",
    "guard",
    "mean_value",
    "record",
    "report",
    "tolerances",
]
