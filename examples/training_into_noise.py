"""When does training follow rounding instead of the loss? Gradient descent on many small networks of all widths.

At the parameters as they are stored, the exact gradient and the exact change of the loss in one step are defined.
`Shadow` repeats the step beside itself in a wider format and sees how far the computed ones are off. That answers
what did happen, where a bound (worst case or probabilistic) says what could; over all parameters of many networks one
observation each is enough; and at a few dozen steps of thousands its price does not matter, not even that of pairs of
float64 numbers. A number has lost its last exact bit where its error exceeds half of it.
"""

import argparse
import csv

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

import precjax

WIDTHS, FORMATS, RATE = (1, 2, 4, 8, 16, 32), ("bfloat16", "float32", "float64"), 0.25
FIELDS = ("format", "width", "network", "step", "gradient_bits", "change_bits", "loss", "rises", "swing")


def images(count):
    """Zeros and ones of the digits as eight brightnesses each, exact in every format, with targets -1 and 1."""
    pixels, labels = load_digits(n_class=2, return_X_y=True)
    blocks = pixels[:count].reshape(count, 4, 2, 2, 4).mean((2, 4)).reshape(count, 8)
    return blocks / 16 - 0.5, 2.0 * labels[:count] - 1


def networks(widths, each, seed=0):
    """Networks of all widths, padded by units of zeros: these never change, for their gradients are zeros."""
    random, most, width = np.random.default_rng(seed), max(widths), np.repeat(widths, each)
    used = np.arange(most) < width[:, None]
    first = random.normal(size=(len(width), 9, most)) * used[:, None]
    return {"first": first, "last": random.normal(size=used.shape) * used}, width**-0.5


def loss(parameters, scale, inputs, targets):
    """Mean square of one network with a hidden layer of tanh; the scale makes descent alike at every width."""
    hidden = jnp.tanh(inputs @ parameters["first"][:-1] + parameters["first"][-1])
    return jnp.mean((hidden @ parameters["last"] * scale - targets) ** 2)


def step(parameters, scale, inputs, targets):
    """The parameters after a step, the gradient, by how much the step changes the loss, and the loss before it."""
    before, gradient = jax.value_and_grad(loss)(parameters, scale, inputs, targets)
    after = jax.tree.map(lambda p, g: p - jnp.asarray(RATE, p.dtype) * g, parameters, gradient)
    return after, gradient, loss(after, scale, inputs, targets) - before, before


EVERY = jax.vmap(step, (0, 0, None, None))


@jax.jit
def measure(*arguments):
    """Exact bits of each network's gradient (a vector) and of its change of the loss, and the loss."""
    value, error = precjax.track(EVERY, model="shadow")(*arguments)
    norms = [sum(jnp.sum(x.astype(float) ** 2, range(1, x.ndim)) for x in t[1].values()) for t in (value, error)]
    changes = [jnp.abs(t[2].astype(float)) for t in (value, error)]
    return jnp.log2(norms[0] / norms[1]) / 2, jnp.log2(changes[0] / changes[1]), value[3].astype(float)


@jax.jit
def advance(steps, parameters, *rest):
    """The parameters after so many steps, the share of steps in which the loss rose, the mean change over the loss."""

    def one(_, state):
        parameters, rises, swing = state
        parameters, _, change, before = EVERY(parameters, *rest)
        return parameters, rises + (change > 0), swing + (jnp.abs(change) / before).astype(float)

    zeros = jnp.zeros(len(rest[0]))
    parameters, rises, swing = jax.lax.fori_loop(0, steps, one, (parameters, zeros, zeros))
    return parameters, rises / steps, swing / steps


def study(dtype, widths, each, steps, checkpoints):
    """Rows of `FIELDS`, one per checkpoint and network; rises and swing are those of the steps since the one before."""
    cast = jax.tree.map(lambda x: jnp.asarray(x, dtype), (*networks(widths, each), *images(8)))
    parameters, rest = cast[0], cast[1:]
    width, done = np.repeat(widths, each), 0
    for at in np.unique(np.geomspace(1, steps, checkpoints).round().astype(int)):
        parameters, rises, swing = advance(int(at) - done, parameters, *rest)
        done = int(at)
        seen = map(np.asarray, (*measure(parameters, *rest), rises, swing))
        for number, record in enumerate(zip(*seen, strict=True)):
            yield dtype, int(width[number]), number, done, *(float(f"{x:.4g}") for x in record)


def first_below(rows, column):
    """The first step at which a network has less than one exact bit left, and its loss there; inf if there is none."""
    return next(((r[3], r[6]) for r in rows if not r[column] >= 1), (np.inf, np.nan))


def summary(rows):
    """One line per format and width: medians over the networks."""
    lines = []
    for dtype, width in dict.fromkeys((r[0], r[1]) for r in rows):
        here = [r for r in rows if r[:2] == (dtype, width)]
        each = [[r for r in here if r[2] == n] for n in dict.fromkeys(r[2] for r in here)]
        gone = np.array([(*first_below(e, 5), *first_below(e, 4)) for e in each])
        last = np.median([e[-1][4:] for e in each], axis=0)
        middle, share = np.median(gone, axis=0), np.mean(np.isfinite(gone), axis=0)
        lines.append((dtype, width, len(each), middle[0], share[0], middle[2], share[2], *last))
    return lines


def main(widths=WIDTHS, each=4, steps=4096, checkpoints=24, formats=FORMATS, out=None):
    """Prints the summary; saves every row as a CSV file if asked to."""
    with jax.enable_x64(True):
        rows = [row for dtype in formats for row in study(dtype, widths, each, steps, checkpoints)]
    if out:
        with open(out, "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([FIELDS, *rows])
    print("format    width  networks  change lost at step  (of all)  gradient lost at  (of all)  last: bits of gradient"
          "  of change      loss  rises   swing")  # fmt: skip
    for dtype, width, count, change, some, gradient, many, *last in summary(rows):
        print(f"{dtype:<9} {width:>5}  {count:>8}  {change:>19.0f}  {some:>8.0%}  {gradient:>16.0f}  {many:>8.0%}"
              f"  {last[0]:>22.1f}  {last[1]:>9.1f}  {last[2]:>8.2g}  {last[3]:>5.0%}  {last[4]:>6.0e}")  # fmt: skip
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("each", 4), ("steps", 4096), ("checkpoints", 24)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out")
    main(**vars(parser.parse_args()))
