"""Rows of programs with mutable arrays: refs in straight lines, jits, loops and branches; judged with cells of their own."""

import jax
import jax.numpy as jnp
from cases import Case
from jax import lax
from jax.experimental.pallas import run_state

N = 4


def accumulated(x):
    """Refs of a program: written, added to, read in part."""
    total = jax.new_ref(jnp.zeros_like(x))
    total[...] = x * x
    total[1:3] += 1 / x[:2]
    total[0] *= x[3]
    jax.ref.addupdate(total, (jnp.array([3, 0]),), x[:2])
    return total[2], jax.freeze(total)


def recurrence(x):
    """A ref that a loop writes at the place of its counter."""
    state = jax.new_ref(jnp.zeros_like(x))
    state[0] = x[0]

    def body(i, carry):
        state[i] = state[i - 1] * x[i] + 1
        state[...] += x
        return carry + state[i]

    return lax.fori_loop(1, N, body, x[0]), state[...]


def scanned(x):
    """A scan over refs, one of them made anew in every turn."""
    best = jax.new_ref(x[0])

    def body(carry, item):
        own = jax.new_ref(jnp.stack([carry, item]))
        own[1] = own[0] * own[1]
        best[...] = jnp.maximum(best[...], own[1])
        return carry + item, jax.freeze(own)

    return lax.scan(body, x[0], x), best[...]


def branched(x):
    """A branch on numbers, in a jitted function that is called twice."""
    cell = jax.new_ref(x)

    def double():
        cell[0] *= 2

    def shift():
        cell[1] = cell[1] - x[0]

    @jax.jit
    def step(y):
        lax.cond(cell[0] > y, double, shift)
        return cell[0] * y

    return step(x[1]), step(x[2]), cell[...]


def iterated(x):
    """A while loop with a ref in its body."""
    power = jax.new_ref(x[0])

    def body(i):
        power[...] = power[...] * x[1] + x[2]
        return i + 1

    lax.while_loop(lambda i: i < 3, body, 0)
    return power[...]


def rows(x):
    """Rows of a matrix by an integer, and a column by a slice."""
    table = jax.new_ref(jnp.outer(x, x))
    row = table[2]
    table[1, :] = row + x
    table[:, 3] = row * 2
    return table[jnp.array([1, 3]), 2:], table[...]


def stateful(x):
    """A function of refs, run on values."""

    def body(refs):
        left, right = refs
        left[...] = left[...] * right[...]
        right[0] += left[1]

    return run_state(body)((x, x + 1))


PROGRAMS = {
    "ref": accumulated,
    "ref in a loop": recurrence,
    "ref in a scan": scanned,
    "ref in a branch": branched,
    "ref in a while": iterated,
    "rows of a ref": rows,
    "run_state": stateful,
}
RARE = ("float64", "bfloat16", "float16")
CASES = [Case(name, f, lambda d: (d.numbers(N, wide=False),), rare=RARE, unbounded=True) for name, f in PROGRAMS.items()]
