"""Time and memory of a tracked training step over those of the plain one, on 1 and on 8 virtual devices.

Run by hand: ``python tests/bench/measure_devices.py``. Programs take turns, so that what else runs on the machine slows all of
them; medians of 15. Memory is what XLA plans for one device. The table of `docs/large-models.md` is made of what this prints.
"""

import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import precjax

LAYERS, WIDTH, BATCH, TURNS = 4, 512, 128, 15
MODELS = {
    "plain": None,
    "worst case, normwise": precjax.WorstCase(contraction="normwise"),
    "worst case, componentwise": precjax.WorstCase(),
    "worst case, by rows": precjax.WorstCase(granularity="row"),
}


def loss(parameters, inputs):
    for weights in parameters:
        inputs = jnp.maximum(inputs @ weights, 0)
    return jnp.mean(jnp.square(inputs))


def step(parameters, inputs):
    gradients = jax.grad(loss)(parameters, inputs)
    return [w - 0.01 * g for w, g in zip(parameters, gradients, strict=True)]


def compiled(model, devices):
    """(program, its arguments): data over x, the hidden features of each pair of layers over y."""
    mesh = Mesh(np.array(jax.devices()[:devices]).reshape(-1, 2 if devices > 1 else 1), ("x", "y"))
    draw = np.random.default_rng(0)
    shardings = [NamedSharding(mesh, P(None, "y") if i % 2 == 0 else P("y")) for i in range(LAYERS)]
    weights = [draw.standard_normal((WIDTH, WIDTH)).astype(np.float32) / WIDTH**0.5 for _ in range(LAYERS)]
    arguments = jax.device_put(weights, shardings), jax.device_put(
        draw.standard_normal((BATCH, WIDTH)).astype(np.float32), NamedSharding(mesh, P("x"))
    )
    program = step if model is None else precjax.track(step, model=model)
    results = shardings if model is None else precjax.Tracked(shardings, shardings)
    return jax.jit(program, out_shardings=results).lower(*arguments).compile(), arguments


def main():
    programs = {(name, devices): compiled(model, devices) for devices in (1, 8) for name, model in MODELS.items()}
    times = {key: [] for key in programs}
    for _ in range(TURNS + 1):
        for key, (program, arguments) in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(program(*arguments))
            times[key].append(time.perf_counter() - start)
    print(f"{'step':28} {'devices':>7} {'time':>6} {'temporary':>10} {'in and out':>10}")
    for (name, devices), (program, _) in programs.items():
        base, plain = programs["plain", devices][0].memory_analysis(), times["plain", devices][1:]
        own = program.memory_analysis()
        ratio = np.median(np.array(times[name, devices][1:]) / np.array(plain))
        held = [m.argument_size_in_bytes + m.output_size_in_bytes for m in (own, base)]
        temporary = own.temp_size_in_bytes / base.temp_size_in_bytes
        print(f"{name:28} {devices:7} {ratio:6.2f} {temporary:10.2f} {held[0] / held[1]:10.2f}", flush=True)


if __name__ == "__main__":
    main()
