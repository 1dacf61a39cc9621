"""Random numbers: exact functions of their key. A key that is in doubt gives anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from precjax._annotated import Annotated
from precjax._registry import rule
from precjax._rounding import where


@rule(
    "random_bits", "random_seed", "random_wrap", "random_unwrap", "random_fold_in", "random_split", "random_clone",
    "threefry2x32", "threefry4x32", "philox2x32", "philox4x32",
    "rng_bit_generator", "rng_uniform", "random_gamma",
)  # fmt: skip
def random(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Exact, unless the key or what is folded into it is not; keys themselves carry no error.

    A gamma variate is the number that was drawn: which candidates its sampler rejected is part of the draw.
    """
    doubts = [jnp.any(d) for x in operands if (d := model.doubt(x)) is not None]
    if not doubts:
        return [None] * len(outs)
    doubt = jnp.any(jnp.stack(doubts))
    zeros = [model.explicit(Annotated(v)).error for v in outs]
    return [None if z is None else where(jnp.broadcast_to(doubt, z.shape), np.inf, z) for z in zeros]
