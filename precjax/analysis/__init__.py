"""What the numbers say: one analysis per file."""

from precjax.analysis.advise import Advice, advise
from precjax.analysis.blame import Blame, blame
from precjax.analysis.compare import Comparison, compare
from precjax.analysis.compare_models import ModelComparison, compare_models
from precjax.analysis.decisions import Decisions, decisions
from precjax.analysis.guard import PrecisionError, guard
from precjax.analysis.report import Report, report
from precjax.analysis.tolerances import Tolerance, tolerances

__all__ = [
    "Advice",
    "Blame",
    "Comparison",
    "Decisions",
    "ModelComparison",
    "PrecisionError",
    "Report",
    "Tolerance",
    "advise",
    "blame",
    "compare",
    "compare_models",
    "decisions",
    "guard",
    "report",
    "tolerances",
]
