"""Plain training: nothing here knows of errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from precjax.demo._digits import Digits


class State(NamedTuple):
    """What training changes.

    Attributes:
        parameters: the network's variables.
        optimizer: the optimizer's state.
    """

    parameters: Any
    optimizer: Any


class Trainer(NamedTuple):
    """A network and how it is trained.

    Attributes:
        network: a Flax module.
        optimizer: an optax transformation.
    """

    network: nn.Module
    optimizer: optax.GradientTransformation

    def loss(self, parameters: Any, digits: Digits) -> jax.Array:
        """Mean cross-entropy."""
        logits = self.network.apply(parameters, digits.images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, digits.labels).mean()

    def start(self, seed: int) -> State:
        """Random parameters."""
        parameters = self.network.init(jax.random.key(seed), jnp.zeros((1, 8, 8, 1)))
        return State(parameters, self.optimizer.init(parameters))

    def step(self, state: State, digits: Digits) -> State:
        """One step of the optimizer."""
        gradients = jax.grad(self.loss)(state.parameters, digits)
        updates, optimizer = self.optimizer.update(gradients, state.optimizer, state.parameters)
        return State(optax.apply_updates(state.parameters, updates), optimizer)


def train(trainer: Trainer, digits: Digits, *, epochs: int, batch: int, seed: int, console: Console) -> State:
    """Trains from random parameters, under a progress bar.

    Args:
        trainer: the network and its optimizer.
        digits: what to learn.
        epochs: passes over the digits.
        batch: images per step.
        seed: of the parameters and of the order.
        console: where the bar is drawn.

    Returns:
        The trained state.
    """
    state, step, loss = trainer.start(seed), jax.jit(trainer.step), jax.jit(trainer.loss)
    with _bar(console) as bar:
        task = bar.add_task("training", total=epochs, loss=float("nan"))
        for epoch in range(epochs):
            for chosen in _batches(digits, batch, np.random.default_rng([seed, epoch])):
                state = step(state, chosen)
            bar.update(task, advance=1, loss=float(loss(state.parameters, digits)))
    return state


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("epoch {task.completed} of {task.total}"))
    return Progress(*columns, TextColumn("loss {task.fields[loss]:.4f}"), TimeElapsedColumn(), console=console)


def _batches(digits: Digits, size: int, random: np.random.Generator) -> Iterator[Digits]:
    order = random.permutation(len(digits.labels))
    for start in range(0, len(order) - size + 1, size):
        chosen = order[start : start + size]
        yield Digits(digits.images[chosen], digits.labels[chosen])
