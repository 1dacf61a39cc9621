"""Prints the table of docs/linear-algebra.md, how finite and how tight the bounds of linear algebra are: python tests/print_linalg.py [function ...]."""

import sys

import flint
import jax
import jax.numpy as jnp
import numpy as np
from flint import arb, arb_mat

import precjax

NL = jnp.linalg
SIZES, TARGETS = (1, 2, 4, 8, 16, 32), (1e-6, 1e-4, 5e-3)
BITS = 400


def matrix(n, dtype, target, symmetric, random):
    """Singular values from 1 to 1 / condition, n u condition being the target."""
    condition = max(target / (n * np.finfo(dtype).eps / 2), 1.0)
    left, right = (np.linalg.qr(random.normal(size=(n, n)))[0] for _ in range(2))
    a = left @ np.diag(condition ** -np.linspace(0, 1, n)) @ (left.T if symmetric else right)
    return ((a + a.T) / 2 if symmetric else a).astype(dtype)


def solve(a):
    return a.solve(arb_mat([[x + 1] for x in column(a)]))


def column(a):
    return [a[i, 0] for i in range(a.nrows())]


def cholesky(a):
    n, factor = a.nrows(), arb_mat(a.nrows(), a.nrows())
    for i in range(n):
        for j in range(i + 1):
            rest = a[i, j] - sum((factor[i, k] * factor[j, k] for k in range(j)), arb(0))
            factor[i, j] = rest.sqrt() if i == j else rest / factor[j, j]
    return factor


def right_factor(a):
    """Of a QR factorization, but for the signs of its rows."""
    return cholesky(a.transpose() * a).transpose()


def eliminated(a):
    """Both factors of an elimination with partial pivoting, packed."""
    rows = a.tolist()
    for k in range(len(rows)):
        pivot = max(range(k, len(rows)), key=lambda i: float(abs(rows[i][k])))
        rows[k], rows[pivot] = rows[pivot], rows[k]
        for row in rows[k + 1 :]:
            row[k] /= rows[k][k]
            row[k + 1 :] = [x - row[k] * y for x, y in zip(row[k + 1 :], rows[k][k + 1 :], strict=True)]
    return arb_mat(rows)


FUNCTIONS = {
    "solve": (lambda a: NL.solve(a, a[:, :1] + 1), solve),
    "inv": (NL.inv, arb_mat.inv),
    "det": (NL.det, arb_mat.det),
    "slogdet": (lambda a: NL.slogdet(a)[1], lambda a: abs(a.det()).log()),
    "lstsq": (lambda a: NL.lstsq(a, a[:, :1] + 1)[0], solve),
    "pinv": (NL.pinv, arb_mat.inv),
    "cholesky": (NL.cholesky, cholesky),
    "qr (R)": (
        lambda a: abs(NL.qr(a)[1]),
        lambda a: arb_mat([[abs(x) for x in row] for row in right_factor(a).tolist()]),
    ),
    "lu": (lambda a: jax.lax.linalg.lu(a)[0], eliminated),
    "eigh": (NL.eigh, None),
    "svd": (NL.svd, None),
}


def deviations(values, exact):
    """|value - exact|, of every element."""
    exact = exact.tolist() if isinstance(exact, arb_mat) else [[exact]]
    pairs = zip(np.ravel(values), (x for row in exact for x in row), strict=True)
    return np.array([float(abs(arb(float(v)) - x)) for v, x in pairs])


def measured(name, n, dtype, target, tracked):
    """Share of finite errors, and the median of error / deviation, over four matrices."""
    finite, tightness = [], []
    for seed in range(4):
        a = matrix(n, dtype, target, name in ("cholesky", "eigh"), np.random.default_rng(seed))
        result = tracked(a)
        errors = np.concatenate([np.ravel(e) for e in jax.tree.leaves(result.error)])
        finite.append(np.isfinite(errors).mean())
        if FUNCTIONS[name][1] is not None:
            with flint.ctx.workprec(BITS):
                apart = deviations(result.value, FUNCTIONS[name][1](arb_mat([[float(x) for x in row] for row in a])))
            tightness += list(errors[apart > 0] / apart[apart > 0])
    return np.mean(finite), np.median(tightness) if tightness else np.nan


def main():
    for dtype in ("float32", "float64"):
        for name in sys.argv[1:] or FUNCTIONS:
            f, _ = FUNCTIONS[name]
            cells = []
            with jax.enable_x64(dtype == "float64"):
                for n in SIZES:
                    tracked = jax.jit(precjax.track(f))
                    found = [measured(name, n, dtype, target, tracked) for target in TARGETS]
                    share = (
                        "" if all(s == 1 for s, _ in found) else " finite " + ", ".join(f"{s:.1%}" for s, _ in found)
                    )
                    cells.append(", ".join("-" if np.isnan(t) else f"{t:.2g}" for _, t in found) + share)
            print(f"| `{name}` | {dtype} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
