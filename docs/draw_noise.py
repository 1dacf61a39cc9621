"""``python docs/draw_noise.py ROWS.csv ...``: medians and picture of rows of `examples/training_into_noise.py`."""

import csv
import pathlib
import sys

import numpy as np
from matplotlib.figure import Figure

HERE = pathlib.Path(__file__).parent
NUMBERS = ("gradient_bits", "change_bits", "loss", "rises", "swing")


def medians(files):
    """Medians of `NUMBERS` over the networks, by format, width and step."""
    groups = {}
    for file in files:
        for row in csv.DictReader(pathlib.Path(file).read_text().splitlines()):
            key = row["format"], int(row["width"]), int(row["step"])
            groups.setdefault(key, []).append([float(row[n]) for n in NUMBERS])
    return {key: np.median(rows, axis=0) for key, rows in groups.items()}


def draw(middle):
    """Exact bits against steps: a row of panels per format, a colour per width."""
    formats, widths = (list(dict.fromkeys(key[i] for key in middle)) for i in (0, 1))
    figure = Figure(figsize=(11, 2.7 * len(formats)), layout="constrained")
    panels = figure.subplots(len(formats), 2, sharex=True, squeeze=False)
    for dtype, row in zip(formats, panels, strict=True):
        for j, (axes, name) in enumerate(zip(row, ("gradient", "change of the loss in a step"), strict=True)):
            for width in widths:
                steps = [key[2] for key in middle if key[:2] == (dtype, width)]
                axes.semilogx(steps, [max(middle[dtype, width, s][j], 0) for s in steps], label=f"width {width}")
            axes.set(title=f"{dtype}: {name}", ylabel="exact bits, median", ylim=(0, None))
            axes.grid(alpha=0.3)
    panels[0, 1].legend(fontsize=8)
    for axes in panels[-1]:
        axes.set_xlabel("step")
    figure.savefig(HERE / "noise.png", dpi=110)


def main(files):
    """Saves the picture and the medians beside this file."""
    middle = medians(files)
    draw(middle)
    with open(HERE / "noise.csv", "w", newline="") as file:
        rows = [(*key, *(f"{x:.4g}" for x in numbers)) for key, numbers in middle.items()]
        csv.writer(file, lineterminator="\n").writerows([("format", "width", "step", *NUMBERS), *rows])


if __name__ == "__main__":
    main(sys.argv[1:])
