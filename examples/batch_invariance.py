"""The same row in another batch gives other digits: `precjax.compare` says whether rounding explains that.

A product of matrices is summed in an order that depends on its shape. A worst-case bound holds for every order, so it
covers the row alone, the row among others, and the plain program beside the jitted one. What it does not cover is no
rounding.
"""

import jax
import jax.numpy as jnp
import numpy as np

import precjax


def network(rows, layers):
    """An MLP with tanh."""
    for weights in layers:
        rows = jnp.tanh(rows @ weights)
    return rows


def normalised_by_batch(rows, layers):
    """The same after BatchNorm in training mode, which mixes the rows: a common mistake at inference."""
    return network((rows - rows.mean(0)) / jnp.sqrt(rows.var(0) + 1e-5), layers)


def main(width=256, depth=3, batches=(1, 2, 3, 8, 64)):
    """Prints how far the first row's results move with the batch, and the verdict."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(max(batches), width)).astype(np.float32)
    layers = [random.normal(size=(width, width)).astype(np.float32) / np.float32(width) ** 0.5 for _ in range(depth)]
    bound = jax.jit(precjax.track(network))(rows[:1], layers)
    print(f"{'batch':>6}{'numbers changed':>17}{'largest change':>16}{'of its bound':>14}  verdict")
    alone = jax.jit(network)(rows[:1], layers)
    for batch in batches:
        here = jax.jit(network)(rows[:batch], layers)[:1]
        found = precjax.compare(here, alone, bound)
        changed, worst = np.mean(np.asarray(here != alone)), np.max(np.abs(here - alone))
        verdict = "rounding" if found.explained else "not rounding"
        print(f"{batch:>6}{changed:>17.0%}{worst:>16.1e}{found.rows[0]['ratio']:>14.1e}  {verdict}")
    mixed = jax.jit(normalised_by_batch)
    small, large = (mixed(rows[:batch], layers)[:1] for batch in batches[-2:])
    allowed = jax.jit(precjax.track(normalised_by_batch))(rows[: batches[-2]], layers).error[:1]
    found = precjax.compare(small, large, allowed)
    verdict = f"{'rounding' if found.explained else 'NOT rounding'}, {found.rows[0]['ratio']:.1e} of its bound"
    print(f"BatchNorm by the batch, {batches[-2]} rows or {batches[-1]}: {verdict}")


if __name__ == "__main__":
    main()
