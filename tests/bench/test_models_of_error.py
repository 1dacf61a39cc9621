"""Every model of error on the zoo: its error over the observed one, coverage, and time over that of the plain program.

Run by hand: ``python -m pytest -m bench -s tests/bench/test_models_of_error.py``. PRECJAX_DTYPE=bfloat16 for that format,
PRECJAX_ZOO=MLP,LSTM for the networks whose names begin so, PRECJAX_SMALL=1 for narrow ones, PRECJAX_MODELS=certified,probes
for the models whose names begin so, PRECJAX_STEPS=100 for as many steps of Adam as well,
PRECJAX_DRAWS=8 for root mean squares over so many draws of the inputs. Rows are those of a Markdown table.
"""

from __future__ import annotations

import os
import time

import jax
import numpy as np
import pytest
import zoo

import precjax

pytestmark = pytest.mark.bench

MODELS = {
    "worst_case": precjax.WorstCase(contraction="normwise"),
    "certified": precjax.Certified(),
    "certified, pairs": precjax.Certified(reference="pairs"),
    "probabilistic": precjax.Probabilistic(),
    "prob. normwise": precjax.Probabilistic(contraction="normwise"),
    "probes": precjax.Probabilistic(probes=4),
    "stochastic": precjax.Stochastic(samples=32),
    "shadow": precjax.Shadow(),
}
DTYPE = os.environ.get("PRECJAX_DTYPE", "float32")
STEPS = int(os.environ.get("PRECJAX_STEPS", "0"))
NETWORKS = tuple(os.environ.get("PRECJAX_ZOO", "").split(","))
CHOSEN = tuple(os.environ.get("PRECJAX_MODELS", "").split(","))
DRAWS = int(os.environ.get("PRECJAX_DRAWS", "1"))
SMALL = bool(os.environ.get("PRECJAX_SMALL"))


def networks():
    """The zoo, or narrow networks of the same depths, which compile and run in minutes; Transformers of two blocks."""
    if not SMALL:
        return zoo.zoo()
    deep = [zoo.mlp(depth, width=64) for depth in (1, 2, 4, 8, 16, 32)]
    return [*deep, zoo.residual(width=64), zoo.transformer(2, width=32), zoo.convolutions(), zoo.lstm()]


def programs(network):
    """What is run: training takes minutes per network, and is left out unless asked for."""
    training = {f"{STEPS} steps": network.trained(STEPS)} if STEPS else {}
    return {"forward": network.layers, "gradient": network.gradients, **training}


def time_ratio(tracked, plain, args, rounds=9):
    """Of the medians of runs in turn."""
    spent = {tracked: [], plain: []}
    for f in spent:
        jax.block_until_ready(f(*args))
    for _ in range(rounds):
        for f, times in spent.items():
            start = time.perf_counter()
            jax.block_until_ready(f(*args))
            times.append(time.perf_counter() - start)
    return float(np.median(spent[tracked]) / np.median(spent[plain]))


def compared(tracked, f, network):
    args = network.parameters, network.inputs
    out = tracked(*args)
    return zoo.compared(out, zoo.observed(f, out, *args))


def summary(rows):
    """Smallest, median and largest ratio over the leaves, coverage of all numbers."""
    ratios = [r.ratio for r in rows]
    return f"{min(ratios):.3g} | {np.median(ratios):.3g} | {max(ratios):.3g} | {np.mean([r.coverage for r in rows]):.2%}"


def test_models():
    print(f"\n{DTYPE}: RMS error / RMS observed error over the layers; coverage; time / plain\n")
    print("| network | program | model | smallest | median | largest | covered | time |\n|" + "---|" * 8)
    for network in networks():
        if not network.name.startswith(NETWORKS):
            continue
        network = network.astype(DTYPE)
        args = network.parameters, network.inputs
        for what, f in programs(network).items():
            plain = jax.jit(f)
            for name, model in MODELS.items():
                if not name.startswith(CHOSEN):
                    continue
                tracked = jax.jit(precjax.track(f, model=model))
                rows = zoo.pooled([compared(tracked, f, network.redrawn(seed)) for seed in range(DRAWS)])
                cost = time_ratio(tracked, plain, args)
                print(f"| {network.name} | {what} | {name} | {summary(rows)} | {cost:.1f} |", flush=True)
