"""``python tests/print_fpbench.py``: our bounds in float64 beside the best published ones, and classic hard cases.

The published bounds (`fpbench_bounds.csv`, whose columns name their tools) are suprema over a box; ours (`precjax.mean_value`, and the plain
worst case) are the largest of sampled points of the same box, from one run at each. So ours say less about the box and more about the run: a reader compares
how far either lies above the largest error sampled. Only tools whose inputs are exact and whose boxes are those of
FPBench count as published: Daisy, which rounds inputs and changes ranges, is left out. The bounds are those that the makers of
FPTaylor, Fluctuat and PRECiSA publish for the programs of FPBench.
"""

import csv
import pathlib
import sys

import fpbench
import jax
import jax.numpy as jnp
import numpy as np

import precjax
from precjax.testing import exact

BOUNDS = pathlib.Path(__file__).with_name("fpbench_bounds.csv")
TOOLS = ("fptaylor_ci_abs", "fptaylor_r2f_b_abs", "fptaylor_trans_a_abs", "fluctuat_col2_abs", "precisa_stable_abs")
EXACT = np.frompyfunc(lambda value, true: abs(float(true - value)), 2, 1)


def published():
    """The best bound and its tool, of each of our programs that has one in binary64."""
    best, text = {}, BOUNDS.read_text()
    for row in csv.DictReader(text.splitlines()):
        bounds = [(float(row[tool]), tool.split("_")[0]) for tool in TOOLS if row[tool]]
        if bounds and row["precision"].startswith("binary64") and row["name"] in fpbench.PROGRAMS:
            best[row["name"]] = min(bounds)
    return best


def compare(points, names=None, judged=200, seed=0):
    """A record per program: name, mean value and worst case bounds, largest error sampled, published bound, its tool.

    The first points are judged exactly; the errors at all of them are those that pairs of float64 numbers see.
    """
    random, best, records = np.random.default_rng(seed), published(), []
    for name in names or best:
        f, ranges = fpbench.PROGRAMS[name]
        arguments = [random.uniform(*r, points) for r in ranges]
        value, bound = map(np.asarray, jax.jit(jax.vmap(precjax.mean_value(f)))(*arguments))
        forward = np.asarray(jax.jit(jax.vmap(precjax.track(f)))(*arguments).error)
        errors = EXACT(value[:judged], exact(f, *(x[:judged] for x in arguments))).astype(float)
        if points > judged:
            seen = jax.jit(jax.vmap(precjax.track(f, model="shadow")))(*(x[judged:] for x in arguments)).error
            errors = np.concatenate([errors, np.abs(seen)])
        assert np.all(errors <= bound) and np.all(bound <= 1.001 * forward), name
        records.append((name, bound.max(), forward.max(), errors.max(), *best[name]))
    return records


def variance(x):
    """By the formula of one pass."""
    return (jnp.sum(x * x) - jnp.sum(x) ** 2 / len(x)) / (len(x) - 1)


def two_pass(x):
    """By the formula of two passes."""
    return jnp.sum((x - jnp.sum(x) / len(x)) ** 2) / (len(x) - 1)


def rump(a, b):
    """Rump 1988."""
    b2 = b * b
    b4 = b2 * b2
    return 333.75 * (b4 * b2) + a * a * (11 * a * a * b2 - b4 * b2 - 121 * b4 - 2) + 5.5 * (b4 * b4) + a / (2 * b)


def heron(a, b, c):
    """The area of a triangle by its half perimeter."""
    s = (a + b + c) / 2
    return jnp.sqrt(s * (s - a) * (s - b) * (s - c))


def kahan(a, b, c):
    """The same, for sides in falling order."""
    return jnp.sqrt((a + (b + c)) * (c - (a - b)) * (c + (a - b)) * (a + (b - c))) / 4


def muller(x, y):
    """Ten steps of the recurrence that every finite precision loses."""
    for _ in range(9):
        x, y = y, 111 - (1130 - 3000 / x) / y
    return y


NEEDLE = (100000.0, 99999.99979, 0.00029)
ACCURACY = np.array([1000000.2] + [1000000.1, 1000000.3] * 500)
CASES = {
    "Rump's polynomial": (rump, (77617.0, 33096.0)),
    "Muller's recurrence, step 10": (muller, (5.5, 61 / 11)),
    "needle triangle, Heron": (heron, NEEDLE),
    "needle triangle, Kahan": (kahan, NEEDLE),
    "NIST NumAcc3 variance, one pass": (variance, (ACCURACY,)),
    "NIST NumAcc3 variance, two passes": (two_pass, (ACCURACY,)),
    "log(1 + x) at 1e-4": (lambda x: jnp.log(1 + x), (1e-4,)),
    "(1 - cos x) / x**2 at 1e-8": (lambda x: (1 - jnp.cos(x)) / (x * x), (1e-8,)),
    "(x - 1) * 3 - 1 at x = 4/3": (lambda x: (x - 1) * 3 - 1, (4 / 3,)),
    "Kahan's smooth surprise near 4/3": (lambda x: x * x + 1 + jnp.log(jnp.abs(1 + 3 * (1 - x))) / 80, (1.33,)),
}


def classics(model="worst_case"):
    """A record per case: name, tracked value, the exact result on the stored inputs."""
    arguments = {name: tuple(map(jnp.float64, args)) for name, (_, args) in CASES.items()}
    run = jax.jit(precjax.track(lambda a: {n: CASES[n][0](*x) for n, x in a.items()}, model=model))(arguments)
    return [(n, precjax.Tracked(run.value[n], run.error[n]), exact(CASES[n][0], *arguments[n]).item()) for n in CASES]


def main(points=20000):
    """Prints both tables."""
    records = sorted(compare(points), key=lambda r: r[1] / r[4])
    heads = ("mean value", "worst case", "sampled", "published", "by", "ours/sampled", "published/sampled")
    print(f"{'program':<15}{heads[0]:>11}{heads[1]:>11}{heads[2]:>9}{heads[3]:>10}  {heads[4]:<9}{heads[5]:>12}{heads[6]:>18}")
    for name, ours, forward, seen, bound, tool in records:
        print(f"{name:<15}{ours:>11.2e}{forward:>11.2e}{seen:>9.1e}{bound:>10.2e}  {tool:<9}{ours / seen:>12.2f}{bound / seen:>18.2f}")
    ratios = np.array([(r[1] / r[3], r[2] / r[3], r[4] / r[3]) for r in records])
    tighter, forward = (sum(r[i] <= r[4] for r in records) for i in (1, 2))
    middle = np.median(ratios, axis=0)
    print(
        f"tighter than the best published bound: {tighter} of {len(records)} (worst case {forward}); median over the largest error sampled: "
        f"mean value {middle[0]:.2f}, worst case {middle[1]:.2f}, published {middle[2]:.2f}; violations: 0\n"
    )
    print(f"{'classic case, float64':<36}{'certain digits':<26}{'exact on the stored inputs':>28}{'bits':>6}")
    for name, tracked, truth in classics():
        print(f"{name:<36}{str(tracked)[8:-1]:<26}{float(truth):>28.16g}{float(tracked.exact_bits):>6.1f}")


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main(*map(int, sys.argv[1:]))
