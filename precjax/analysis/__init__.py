"""What the numbers say: one analysis per file."""

from precjax.analysis.compare_models import ModelComparison, compare_models
from precjax.analysis.report import Report, report

__all__ = ["ModelComparison", "Report", "compare_models", "report"]
