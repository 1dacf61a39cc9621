"""Error bounds of the trained network: each measurement is one jitted, tracked function."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import precjax
from precjax.demo._digits import Digits
from precjax.demo._training import State, Trainer


class Bits(NamedTuple):
    """Exact bits of the numbers of one layer.

    Attributes:
        name: of the layer or parameter.
        bits: float32 ``(n,)``, of every number but zeros, such as gradients of units that are off: a zero has no
            digits that could be right.
    """

    name: str
    bits: np.ndarray


class Forward(NamedTuple):
    """What the network says of some images.

    Attributes:
        logits: `precjax.Tracked` ``(n, 10)``.
        winner: `precjax.Tracked` int32 ``(n,)``, where the largest logit is; error 0 where no rounding can change it.
        layers: bits of each layer's output, in the order of the computation.
    """

    logits: precjax.Tracked
    winner: precjax.Tracked
    layers: list[Bits]

    @property
    def certified(self) -> np.ndarray:
        """Where the prediction is certain: bools ``(n,)``."""
        return np.asarray(self.winner.error) == 0


def measure_forward(trainer: Trainer, state: State, digits: Digits, bound: precjax.WorstCase) -> Forward:
    """Bounds of all layers' outputs and of the prediction."""

    def forward(parameters: Any, images: Any) -> tuple[Any, Any, Any]:
        capture = {"capture_intermediates": True, "mutable": ["intermediates"]}
        logits, captured = trainer.network.apply(parameters, images, **capture)
        layers = {name: calls["__call__"] for name, calls in captured["intermediates"].items() if name != "__call__"}
        return logits, jnp.argmax(logits, axis=-1), layers

    value, error = jax.jit(precjax.track(forward, model=bound))(state.parameters, digits.images)
    logits, winner, layers = map(precjax.Tracked, value, error)
    return Forward(logits, winner, _bits(layers))


def measure_gradient(trainer: Trainer, state: State, digits: Digits, bound: precjax.WorstCase) -> list[Bits]:
    """Bounds of the gradient of the loss."""
    tracked = jax.jit(precjax.track(jax.grad(trainer.loss), model=bound))(state.parameters, digits)
    return _bits(tracked)


def measure_step(trainer: Trainer, state: State, digits: Digits, bound: precjax.WorstCase) -> list[Bits]:
    """Bounds of the parameters after one step of the optimizer from an exact state."""
    value, error = jax.jit(precjax.track(trainer.step, model=bound))(state, digits)
    return _bits(precjax.Tracked(value.parameters, error.parameters))


def _bits(tracked: precjax.Tracked) -> list[Bits]:
    bits, values = jax.tree.leaves(tracked.exact_bits), jax.tree_util.tree_leaves_with_path(tracked.value)
    return [Bits(_name(path), np.asarray(b)[np.asarray(v) != 0]) for (path, v), b in zip(values, bits, strict=True)]


def _name(path: Any) -> str:
    """The path of a leaf, without what every leaf has."""
    keys = (str(getattr(key, "key", "")) for key in path)
    return ".".join(key for key in keys if key not in ("", "params", "__call__"))
