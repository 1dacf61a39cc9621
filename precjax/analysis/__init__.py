"""What to do with errors: tables and verdicts, one file each."""

from precjax.analysis.compare_models import ModelComparison, compare_models

__all__ = ["ModelComparison", "compare_models"]
