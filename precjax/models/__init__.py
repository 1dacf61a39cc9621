"""Models of error, and their short names."""

from __future__ import annotations

from precjax.models._model import ErrorModel
from precjax.models.certified import Certified
from precjax.models.probabilistic import Probabilistic
from precjax.models.shadow import Shadow
from precjax.models.stochastic import Stochastic
from precjax.models.worst_case import WorstCase

__all__ = ["Certified", "ErrorModel", "Probabilistic", "Shadow", "Stochastic", "WorstCase", "resolve"]

_ALIASES = {
    "worst_case": WorstCase,
    "certified": Certified,
    "probabilistic": Probabilistic,
    "shadow": Shadow,
    "stochastic": Stochastic,
}


def resolve(model: str | ErrorModel) -> ErrorModel:
    """The model that a name stands for; a model is returned as it is.

    Args:
        model: an alias or an instance.

    Returns:
        The model.

    Raises:
        ValueError: if the name is unknown.
        TypeError: if it is neither a name nor a model.
    """
    if isinstance(model, ErrorModel):
        return model
    if isinstance(model, str):
        if model in _ALIASES:
            return _ALIASES[model]()
        raise ValueError(f"unknown error model {model!r}; known models: {', '.join(map(repr, _ALIASES))}")
    raise TypeError(
        f"model={model!r}: expected a name or an instance such as precjax.WorstCase(), got {type(model).__name__}"
    )
