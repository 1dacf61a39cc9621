"""precjax: how many digits of this number are right, where were the others lost, and what should I do about it?"""

from precjax._hooks import Hook
from precjax._registry import MissingRuleError, defrule
from precjax._tracked import Tracked, rounded
from precjax._transform import missing_rules, track
from precjax.analysis import (
    Advice,
    Bisection,
    Blame,
    Comparison,
    Decisions,
    ModelComparison,
    PrecisionError,
    Recording,
    Report,
    Tolerance,
    advise,
    bisect,
    blame,
    compare,
    compare_models,
    decisions,
    guard,
    mean_value,
    record,
    report,
    tolerances,
)
from precjax.models import Certified, ErrorModel, Probabilistic, Shadow, Stochastic, WorstCase
from precjax.platforms import UnknownPlatformError

__all__ = [
    "Advice",
    "Certified",
    "Bisection",
    "Blame",
    "Comparison",
    "Decisions",
    "ErrorModel",
    "Hook",
    "MissingRuleError",
    "ModelComparison",
    "PrecisionError",
    "Probabilistic",
    "Recording",
    "Report",
    "Shadow",
    "Stochastic",
    "Tolerance",
    "Tracked",
    "UnknownPlatformError",
    "WorstCase",
    "advise",
    "bisect",
    "blame",
    "compare",
    "compare_models",
    "decisions",
    "defrule",
    "guard",
    "mean_value",
    "missing_rules",
    "record",
    "report",
    "rounded",
    "tolerances",
    "track",
]

__version__ = "0.1.0"
