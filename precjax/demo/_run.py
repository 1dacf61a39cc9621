"""The demonstration from the data to the picture."""

from __future__ import annotations

from pathlib import Path

import jax
import optax
from rich.console import Console

import precjax
from precjax.demo import _tables
from precjax.demo._digits import load
from precjax.demo._measurement import measure_forward, measure_gradient, measure_step
from precjax.demo._networks import NETWORKS
from precjax.demo._picture import draw
from precjax.demo._training import Trainer, train

_BATCH = 64
_LEARNING_RATE = 5e-3


def run(*, model: str, contraction: str, epochs: int, held_out: int, seed: int, out: Path, console: Console) -> None:
    """Trains a network on handwritten digits, then prints and draws proved error bounds of all that it computes.

    Args:
        model: ``"cnn"`` or ``"mlp"``.
        contraction: how errors pass through products: ``"componentwise"`` or ``"normwise"``, see `precjax.WorstCase`.
        epochs: passes over the digits, at least 1.
        held_out: how many of the 1,797 images are kept from training, and measured.
        seed: of the split, the parameters and the order of training.
        out: where the picture is saved.
        console: where the text goes.
    """
    bound = precjax.WorstCase(contraction=contraction)
    digits, unseen = load(held_out, seed)
    trainer = Trainer(NETWORKS[model](), optax.adam(_LEARNING_RATE))
    state = train(trainer, digits, epochs=epochs, batch=_BATCH, seed=seed, console=console)
    count = sum(x.size for x in jax.tree.leaves(state.parameters))
    console.print(f"Trained: {model.upper()}, {count:,} float32 parameters, {len(digits.labels):,} digits.\n")

    forward = measure_forward(trainer, state, unseen, bound)
    console.print(_tables.logits(forward, unseen, shown=4))
    _tables.print_certified(console, forward, unseen)
    console.print(_tables.bits(f"Activations of {held_out} held-out digits", "layer", forward.layers))

    batch = unseen.first(_BATCH)
    gradients = [measure_gradient(trainer, each, batch, bound) for each in (trainer.start(seed), state)]
    console.print(_tables.gradients(f"Gradient of the mean loss of {len(batch.labels)} of them", *gradients))
    step = measure_step(trainer, state, batch, bound)
    console.print(_tables.bits("Parameters after one more Adam step", "parameter", step))

    draw(forward.layers, *gradients, out=out)
    console.print(f"Picture of the bits of every layer: {out}", soft_wrap=True)
