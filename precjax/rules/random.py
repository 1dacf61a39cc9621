"""Random numbers: exact functions of their key. A key is right or it is not: its error is 0 or inf.

Theorem: what is drawn from a key that may be another one, or folds in a number that may be, may be anything.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._annotated import Annotated
from precjax._registry import rule
from precjax._rounding import where


@rule(
    "random_bits", "random_seed", "random_wrap", "random_unwrap", "random_fold_in", "random_split", "random_clone",
    "threefry2x32", "threefry4x32", "philox2x32", "philox4x32", "rng_uniform", "random_gamma",
)  # fmt: skip
def random(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Exact, unless the key or what is folded into it is not: many keys, each with its own numbers, stand first.

    A gamma variate is the number that was drawn: which candidates its sampler rejected is part of the draw.
    """
    return _drawn(model, [d for x in operands if (d := model.doubt(x)) is not None], outs)


@rule("rng_bit_generator")
def generated(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Of one key, an array of integers."""
    doubt = model.doubt(operands[0])
    return _drawn(model, [] if doubt is None else [jnp.any(doubt)], outs)


def _drawn(model: Any, doubts: Sequence[Any], outs: Sequence[Any]) -> list[Any]:
    if not doubts:
        return [None] * len(outs)
    errors = []
    for out in outs:
        doubt = functools.reduce(lax.bitwise_or, (_reaching(d, out.shape) for d in doubts))
        errors.append(where(doubt, np.inf, model.explicit(Annotated(out)).error))
    return errors


def _reaching(doubt: Any, shape: tuple[int, ...]) -> Any:
    """The doubt about operands as one about results: of the same key as far as first axes agree."""
    sizes = zip(doubt.shape, shape, strict=False)
    shared = next((i for i, (m, n) in enumerate(sizes) if m != n), min(doubt.ndim, len(shape)))
    of_key = jnp.any(doubt, axis=tuple(range(shared, doubt.ndim)))
    return lax.broadcast_in_dim(of_key, shape, tuple(range(shared)))
