"""A picture of the exact bits of every layer, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from precjax.demo._measurement import Bits

_FLOAT32_BITS = 24
_BITS_PER_DIGIT = float(np.log2(10))


def draw(activations: Sequence[Bits], untrained: Sequence[Bits], trained: Sequence[Bits], *, out: Path) -> None:
    """Saves the picture: one row per layer in the order of the computation, so that the gradient's rows run backward.

    Args:
        activations: bits of each layer's output.
        untrained: bits of each parameter's gradient, before training.
        trained: the same after training.
        out: a file that ends in .png.
    """
    figure = Figure(figsize=(11, 6.8), layout="constrained")
    figure.suptitle(_conclusion(activations, untrained, trained), fontsize=15, fontweight="bold")
    left, right = figure.subplots(1, 2)
    _panel(left, "Activations, held-out digits: forward", [layer.name for layer in activations])
    _rows(left, activations, "trained", "tab:blue", offset=0.0)
    _panel(right, "Gradient of the loss: backward", [layer.name for layer in trained[::-1]])
    _rows(right, untrained[::-1], "untrained", "tab:green", offset=-0.19)
    _rows(right, trained[::-1], "trained", "tab:orange", offset=0.19)
    for axes in (left, right):
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=2, frameon=False)
    figure.savefig(out, dpi=150)


def _conclusion(activations: Sequence[Bits], untrained: Sequence[Bits], trained: Sequence[Bits]) -> str:
    before, after = (np.median(np.concatenate([layer.bits for layer in layers])) for layers in (untrained, trained))
    return (
        f"Of {_FLOAT32_BITS} bits, float32 provably keeps {np.median(activations[-1].bits):.0f} in the median logit;\n"
        f"in the median gradient {before:.0f} before training and {after:.0f} after"
    )


def _panel(axes: Axes, title: str, names: Sequence[str]) -> None:
    axes.set_title(title, fontsize=12, pad=8)
    axes.set_yticks(range(len(names)), [name.replace("_", " ").replace(".", " ") for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(-0.8, _FLOAT32_BITS + 2.8)  # room for the last number
    axes.set_xticks(range(0, _FLOAT32_BITS + 1, 4))
    axes.set_xlabel("exact bits, proved")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    digits = axes.secondary_xaxis("top", functions=(lambda bits: bits / _BITS_PER_DIGIT, lambda d: d * _BITS_PER_DIGIT))
    digits.set_xlabel("exact decimal digits")


def _rows(axes: Axes, layers: Sequence[Bits], label: str, color: str, *, offset: float) -> None:
    """A bar from the 10th to the 90th percentile, a dot and its number at the median."""
    shown = [(row + offset, layer.bits) for row, layer in enumerate(layers) if layer.bits.size]
    rows = np.array([row for row, _ in shown])
    low, middle, high = np.array([np.quantile(bits, [0.1, 0.5, 0.9]) for _, bits in shown]).T
    axes.barh(rows, high - low, left=low, height=0.34, color=color, alpha=0.3, label=f"{label}: 10% to 90%")
    axes.plot(middle, rows, "o", color=color, markersize=7, label=f"{label}: median")
    for row, right, bits in zip(rows, high, middle, strict=True):
        axes.annotate(f"{bits:.1f}", (right, row), (5, 0), textcoords="offset points", va="center", fontsize=9)
