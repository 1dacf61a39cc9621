"""What tracking costs: time, memory, compilation and size of the program, as ratios to the plain one.

    python tests/bench/costs.py [--programs TEXT ...] [--models NAME ...] [--rounds N] [--peers] [--out FOLDER]

Times are medians of runs in turn within one process: on a shared machine only their ratios mean something. Memory is what the
compiler allots to arguments, results and temporary arrays. Compilation is tracing, lowering and XLA together, in seconds of
the processor. `error` is the median of error / |value| (the tightness of models is compared by test_models_of_error.py).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import workloads
from peers import peers

import precjax
from precjax._tracked import values_of

MODELS = {
    "normwise": precjax.WorstCase(contraction="normwise"),
    "componentwise": precjax.WorstCase(),
    "by row": precjax.WorstCase(contraction="normwise", granularity="row"),
    "by tensor": precjax.WorstCase(contraction="normwise", granularity="tensor"),
    "probabilistic": precjax.Probabilistic(),
    "prob. normwise": precjax.Probabilistic(contraction="normwise"),
    "certified": precjax.Certified(contraction="normwise"),
    "shadow": precjax.Shadow(),
    "stochastic 8": precjax.Stochastic(samples=8),
}
COLUMNS = ("time", "memory", "compile", "size")


class Compiled(NamedTuple):
    """A compiled program, and what that took."""

    run: Callable[..., Any]
    args: Any
    seconds: float
    bytes: int
    instructions: int


def compiled(f: Callable[..., Any], args: Any) -> Compiled:
    jax.clear_caches()
    start = time.process_time()
    program = jax.jit(f).lower(*args).compile()
    seconds = time.process_time() - start
    memory = program.memory_analysis()
    used = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return Compiled(program, args, seconds, used, program.as_text().count(" = "))


def interleaved(candidates: dict[str, Compiled], rounds: int) -> dict[str, float]:
    """Median seconds of each, run in turn."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            start = time.perf_counter()
            jax.block_until_ready(candidate.run(*candidate.args))
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(t)) for name, t in times.items()}


def relative_error(tracked: precjax.Tracked) -> float:
    """Median over all numbers that are not 0."""
    pairs = zip(jax.tree.leaves(tracked.value), jax.tree.leaves(tracked.error), strict=True)
    ratios = [np.abs(np.ravel(e) / np.where(np.ravel(v) == 0, np.nan, np.ravel(v))) for v, e in pairs]
    return float(np.nanmedian(np.concatenate(ratios)))


def measure(name: str, f: Callable[..., Any], args: Any, models: list[str], rounds: int) -> list[dict[str, Any]]:
    """One row per model."""
    plain = values_of(args)
    jax.block_until_ready(jax.jit(f)(*plain))  # what JAX loads once counts for nobody
    candidates = {"plain": compiled(f, plain)}
    for model in models:
        candidates[model] = compiled(precjax.track(f, model=MODELS[model]), args)
    seconds, base = interleaved(candidates, rounds), candidates["plain"]
    return [
        {
            "program": name,
            "model": model,
            "time": seconds[model] / seconds["plain"],
            "memory": candidates[model].bytes / base.bytes,
            "compile": candidates[model].seconds / base.seconds,
            "size": candidates[model].instructions / base.instructions,
            "error": relative_error(candidates[model].run(*candidates[model].args)),
            "plain seconds": seconds["plain"],
            "plain compile seconds": base.seconds,
        }
        for model in models
    ]


def show(row: dict[str, Any]) -> None:
    numbers = " ".join(f"{row[c]:8.2f}" for c in COLUMNS)
    print(f"{row['program']:42} {row['model']:15} {numbers} {row['error']:9.1e}", flush=True)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Times over that of the plain program: a row of points for each program."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(row["program"] for row in rows))
    figure, axes = plt.subplots(figsize=(8, 1 + 0.3 * len(names)), layout="constrained")
    for model in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in rows if row["model"] == model]
        axes.plot([r["time"] for r in mine], [names.index(r["program"]) for r in mine], "o", label=model, alpha=0.8)
    axes.set(xscale="log", xlabel="time of the tracked program / time of the plain one", yticks=range(len(names)), yticklabels=names)
    axes.invert_yaxis()
    axes.axvline(1, color="black", lw=0.8)
    axes.grid(axis="x", which="both", lw=0.3)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path, dpi=120)


def main() -> None:
    every = workloads.programs()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", nargs="*", default=[""], metavar="TEXT", help="those whose names contain one of these")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--peers", action="store_true", help="what other packages take for a matrix product, where installed")
    parser.add_argument("--out", type=Path, help="folder for costs.json and costs.png")
    options = parser.parse_args()
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}; ratios to the plain program; error: median of error / |value|")
    print(f"{'program':42} {'model':15} " + " ".join(f"{c:>8}" for c in COLUMNS) + f" {'error':>9}")
    rows: list[dict[str, Any]] = []
    for name, make in every.items():
        if any(text in name for text in options.programs):
            f, args = make()
            for row in measure(name, f, args, options.models, options.rounds):
                rows.append(row)
                show(row)
    found = peers(options.rounds) if options.peers else []
    for row in found:
        print(f"{row['program']:42} {row['model']:24} {row['time']:8.2f}")
    if options.out and rows:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "costs.json").write_text(json.dumps(rows + found, indent=1))
        plot(rows, options.out / "costs.png")


if __name__ == "__main__":
    main()
