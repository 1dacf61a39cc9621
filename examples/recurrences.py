"""Chaotic recurrences: after how many steps is the last bit gone, and does the bound say so before one has seen it?

The bound walks along in `lax.scan`, from a start that was rounded on entry. The exact sequences come from decimals of
some hundred digits.
"""

import decimal

import jax
import numpy as np
from jax import lax

import precjax

decimal.getcontext().prec = 400


def logistic(state):
    """x -> 4 x (1 - x) doubles a small error in the mean: one bit a step."""
    (x,) = state
    return (4 * x * (1 - x),)


def muller(state):
    """Tends to 6 from its start, but to 100 from every other (Muller 1989)."""
    x, y = state
    return y, 111 - (1130 - 3000 / x) / y


RECURRENCES = {"logistic map": (logistic, ("0.3",)), "Muller": (muller, ("5.5", "61/11"))}


def number(text, kind):
    """``"61/11"`` in floats or decimals."""
    top, _, bottom = text.partition("/")
    return kind(top) / kind(bottom or 1)


def sequence(rule, length):
    """The function that runs a recurrence and returns its last component at every step."""

    def run(*state):
        return lax.scan(lambda s, _: (t := rule(s), t[-1]), state, length=length)[1]

    return run


def exact(rule, texts, length):
    """The same in decimals, from the numbers that were meant and not those that a format stores."""
    state = tuple(number(text, decimal.Decimal) for text in texts)
    return np.array([float((state := rule(state))[-1]) for _ in range(length)])


def first(lost, length):
    """The first step at which it is so."""
    return int(np.argmax(lost)) + 1 if lost.any() else length


def main(length=80):
    """Prints the step at which the last bit goes: as two models of error say, and as it was."""
    print("recurrence    format    worst case  probabilistic  observed   value and exact, last step")
    for name, (rule, texts) in RECURRENCES.items():
        truth = exact(rule, texts, length)
        for dtype in ("float32", "float64"):
            state = precjax.rounded(tuple(np.asarray(number(text, float), dtype) for text in texts))
            steps = []
            for model in ("worst_case", "probabilistic"):
                run = jax.jit(precjax.track(sequence(rule, length), model=model))(*map(precjax.Tracked, *state))
                steps.append(first(np.asarray(run.exact_bits) < 1, length))
            value = np.asarray(run.value, float)
            seen = first(abs(value - truth) > abs(value) / 2, length)
            print(f"{name:<14}{dtype:<10}{steps[0]:>10}{steps[1]:>15}{seen:>10}   {value[-1]:.4f}, {truth[-1]:.4f}")


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
