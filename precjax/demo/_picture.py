"""A picture of the exact bits of every layer, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from precjax.demo._measurement import Bits

_FLOAT32_BITS = 24
_BITS_PER_DIGIT = float(np.log2(10))


def draw(activations: Sequence[Bits], gradient: Sequence[Bits], out: Path) -> None:
    """Saves the picture: one row per layer, in the order of the computation; the gradient's runs backward."""
    activations, backward = ([b for b in layers if b.bits.size] for layers in (activations, gradient[::-1]))
    with matplotlib.rc_context({"font.size": 11}):
        figure = Figure(figsize=(10.5, 6.5), layout="constrained")
        figure.suptitle(_conclusion(activations, backward), fontsize=14, fontweight="bold")
        left, right = figure.subplots(1, 2)
        _panel(left, "Activations of held-out digits", activations, "tab:blue")
        _panel(right, "Gradient of the loss, backward from the logits", backward, "tab:orange")
        figure.savefig(out, dpi=150)


def _conclusion(activations: Sequence[Bits], backward: Sequence[Bits]) -> str:
    forward = np.median(activations[-1].bits)
    first, last = (np.median(layer.bits) for layer in (backward[0], backward[-1]))
    return (
        f"Proved in float32: the median logit keeps {forward:.0f} of {_FLOAT32_BITS} bits;\n"
        f"gradients keep {first:.1f} bits at the logits and {last:.1f} at the first layer"
    )


def _panel(axes: Axes, title: str, layers: Sequence[Bits], color: str) -> None:
    rows = np.arange(len(layers))
    low, middle, high = np.array([np.quantile(layer.bits, [0.1, 0.5, 0.9]) for layer in layers]).T
    axes.barh(rows, high - low, left=low, height=0.5, color=color, alpha=0.35, label="10% to 90% of the numbers")
    axes.plot(middle, rows, "o", color=color, markersize=8, label="median")
    for row, bits in zip(rows, middle, strict=True):
        axes.annotate(f"{bits:.1f}", (bits, row), (0, 9), textcoords="offset points", ha="center", va="bottom")
    axes.set_yticks(rows, [layer.name for layer in layers])
    axes.set_ylim(len(layers) - 0.4, -0.8)
    axes.set_xlim(-0.8, _FLOAT32_BITS + 0.8)
    axes.set_xticks(range(0, _FLOAT32_BITS + 1, 4))
    axes.set_xlabel("exact bits (of 24; every number's error is proved)")
    axes.set_title(title, pad=10)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    digits = axes.secondary_xaxis("top", functions=(lambda b: b / _BITS_PER_DIGIT, lambda d: d * _BITS_PER_DIGIT))
    digits.set_xlabel("decimal digits")
    axes.legend(loc="lower right", fontsize=9)
