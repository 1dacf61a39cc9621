"""What the demonstration prints."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from rich.console import Console
from rich.table import Table

from precjax._printing import digits_with_doubt
from precjax.demo._digits import Digits
from precjax.demo._measurement import Bits, Forward


def logits(forward: Forward, digits: Digits, *, shown: int) -> Table:
    """The logits of the first few digits: their certain digits, then question marks."""
    table = Table(title="Logits: certain digits, then question marks")
    table.add_column("class", justify="right")
    for i in range(min(shown, len(digits.labels))):
        table.add_column(f"{_drawing(digits.images[i])}\n{_verdict(forward, i)}", justify="left", no_wrap=True)
    for c in range(forward.logits.value.shape[1]):
        table.add_row(str(c), *(_logit(forward, i, c) for i in range(len(table.columns) - 1)))
    return table


def _drawing(image: np.ndarray) -> str:
    """An image of 8 by 8 pixels in 4 lines, each character two pixels high."""
    pixels = image.reshape(4, 2, 8) > 0.4
    return "\n".join("".join(" ▀▄█"[a + 2 * b] for a, b in zip(*pair, strict=True)) for pair in pixels)


def _verdict(forward: Forward, i: int) -> str:
    return f"{int(forward.winner.value[i])} {'certified' if forward.certified[i] else 'not certified'}"


def _logit(forward: Forward, i: int, c: int) -> str:
    text = digits_with_doubt(forward.logits.value[i, c], forward.logits.error[i, c]).rjust(2)
    return f"[bold]{text}[/bold]" if c == int(forward.winner.value[i]) else text


def print_certified(console: Console, forward: Forward, digits: Digits) -> None:
    """Which predictions no rounding can change, and which it might."""
    count, right = len(digits.labels), int(np.sum(forward.winner.value == digits.labels))
    certified = int(forward.certified.sum())
    console.print(f"{certified} of {count} predictions are certified: no rounding can flip the argmax.")
    console.print(f"{right} of {count} are right.")
    doubtful = np.flatnonzero(~forward.certified)
    for i in doubtful[:5]:
        first, second = np.argsort(-np.asarray(forward.logits.value[i]))[:2]
        pair = f"logit {first} is {_logit(forward, i, first)}, logit {second} is {_logit(forward, i, second)}"
        console.print(f"Not certified: image {i}, a {digits.labels[i]}: {pair}.", highlight=False)
    console.print()


def bits(title: str, what: str, layers: Iterable[Bits]) -> Table:
    """Exact bits of each layer."""
    table = _bits_table(title, what, "min", "median")
    for layer in layers:
        table.add_row(layer.name, f"{layer.bits.size:,}", *_summary(layer.bits))
    return table


def gradients(title: str, before: Iterable[Bits], after: Iterable[Bits]) -> Table:
    """Exact bits of each parameter's gradient, before and after training."""
    table = _bits_table(title, "parameter", "untrained\nmin", "untrained\nmedian", "trained\nmin", "trained\nmedian")
    for start, end in zip(before, after, strict=True):
        table.add_row(end.name, f"{end.bits.size:,}", *_summary(start.bits), *_summary(end.bits))
    return table


def _bits_table(title: str, what: str, *columns: str) -> Table:
    table = Table(title=title, caption="exact bits of 24; zeros left out")
    table.add_column(what, no_wrap=True)
    for name in ("numbers", *columns):
        table.add_column(name, justify="right")
    return table


def _summary(exact_bits: np.ndarray) -> tuple[str, str]:
    if exact_bits.size == 0:
        return "-", "-"
    return f"{exact_bits.min():.1f}", f"{np.median(exact_bits):.1f}"
