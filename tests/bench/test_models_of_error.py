"""Every model of error on the zoo: its error over the observed one, coverage, and time over that of the plain program.

Run by hand: ``python -m pytest -m bench -s tests/bench/test_models_of_error.py``. PRECJAX_DTYPE=bfloat16 for that format,
PRECJAX_ZOO=MLP,LSTM for the networks whose names begin so,
PRECJAX_STEPS=100 for as many steps of Adam as well.
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
    "worst_case": precjax.WorstCase(),
    "certified": precjax.Certified(),
    "probabilistic": precjax.Probabilistic(),
    "prob. normwise": precjax.Probabilistic(contraction="normwise"),
    "stochastic": precjax.Stochastic(samples=32),
}
DTYPE = os.environ.get("PRECJAX_DTYPE", "float32")
STEPS = int(os.environ.get("PRECJAX_STEPS", "0"))
NETWORKS = tuple(os.environ.get("PRECJAX_ZOO", "").split(","))


def programs(network):
    """What is run: training takes minutes per network, and is left out unless asked for."""
    training = {f"{STEPS} steps": network.trained(STEPS)} if STEPS else {}
    return {"forward": network.layers, "gradient": network.gradients, **training}


def seconds(function, args, rounds=7):
    """Median over some runs of a compiled function."""
    jax.block_until_ready(function(*args))
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        jax.block_until_ready(function(*args))
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def summary(rows):
    """(median ratio over the leaves, largest, coverage of all numbers)."""
    ratios = [r.ratio for r in rows]
    return f"{np.median(ratios):9.3g} {max(ratios):9.3g} {np.mean([r.coverage for r in rows]):7.4f}"


def test_models():
    print(f"\n{DTYPE}: median and largest over layers of RMS error / RMS observed error; coverage; time / plain")
    for network in zoo.zoo():
        if not network.name.startswith(NETWORKS):
            continue
        network = network.astype(DTYPE)
        args = network.parameters, network.inputs
        for what, f in programs(network).items():
            plain = jax.jit(f)
            for name, model in MODELS.items():
                tracked = jax.jit(precjax.track(f, model=model))
                out = tracked(*args)
                rows = zoo.compared(out, zoo.observed(f, out, *args))
                cost = seconds(tracked, args) / seconds(plain, args)
                print(f"{network.name:26} {what:9} {name:15} {summary(rows)} {cost:7.1f}", flush=True)
