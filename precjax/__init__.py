"""precjax: how many digits of this number are right, where were the others lost, and what should I do about it?"""

from precjax._hooks import Hook
from precjax._registry import MissingRuleError, defrule
from precjax._tracked import Tracked, rounded
from precjax._transform import missing_rules, track
from precjax.analysis import ModelComparison, Report, compare_models, report
from precjax.models import Certified, ErrorModel, Probabilistic, Shadow, Stochastic, WorstCase
from precjax.platforms import UnknownPlatformError

__all__ = [
    "Certified",
    "ErrorModel",
    "Hook",
    "MissingRuleError",
    "ModelComparison",
    "Probabilistic",
    "Report",
    "Shadow",
    "Stochastic",
    "Tracked",
    "UnknownPlatformError",
    "WorstCase",
    "compare_models",
    "defrule",
    "missing_rules",
    "report",
    "rounded",
    "track",
]

__version__ = "0.1.0"
