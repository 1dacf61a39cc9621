"""Everything that JAX offers on floats is tracked, or refused for a reason that is written down."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import precjax

X = np.float32(np.random.default_rng(0).uniform(0.1, 0.9, (4, 4)))
V = X[0]
KEY = jax.random.key(0)
IDS = np.arange(4)

# What functions are tried on, in turn: the first arguments that they take, and that lead to arithmetic on floats, count.
ARGUMENTS = [
    (X,), (X, X), (X, X, X), (V,), (V, V), (V, V, V), (X, 1), (X, 0, 1), (X, (0, 1)), (X, (2, 8)), (X, (8, 2)), (X, IDS), (V, IDS), (X, IDS, V), (X, 2, 0),
    (IDS, V), (X > 0.5, X), (X > 0.5, X, X), ([V, V],), ([X, X],), (X[0, 0], X, 1.0), (0.0, 1.0), (0.0, 1.0, 5), (1.0, 5.0, 5), ((4, 4), 1.5), (X, np.float32), (V, 3, 1),
    ([V > 0.5, V > 0.2], [V, V]), (lambda x: x * 2, V), (lambda x: x * 2, 0, X), (lambda i, j: i * 1.5 + j, (2, 2)), ("ij,jk->ik", X, X), (V, V, 1), (V, (2,)), (V, 2), (X, 0, X), (X, IDS, IDS, V),
]  # fmt: skip
RANDOM = [(KEY,), (KEY, X), (KEY, V), (KEY, 0.5), (KEY, 0.5, 0.5), (KEY, 3.0), (KEY, V, V), (KEY, V, X @ X.T + np.eye(4, dtype=np.float32)), (KEY, -1.0, 1.0), (KEY, 4, V), (KEY, 5.0, 0.5), (KEY, (3,)), (KEY, 2, (3,))]
MODULES = {"jax.numpy": jnp, "jax.nn": jax.nn, "jax.lax": lax, "jax.random": jax.random, "jax.nn.initializers": jax.nn.initializers}


def functions(module):
    """Public functions by name."""
    for name in sorted(dir(module)):
        f = getattr(module, name)
        if not name.startswith("_") and callable(f) and not inspect.isclass(f) and not isinstance(f, np.dtype):
            yield name, f


def traced(f, attempts):
    """The first arguments that lead to a program with floats in it; None if none do."""
    for args in attempts:
        arrays = [i for i, a in enumerate(args) if not callable(a) and isinstance(a, (np.ndarray, list, jax.Array))]

        def of_arrays(*given, args=args, arrays=arrays):
            every = list(args)
            for i, a in zip(arrays, given, strict=True):
                every[i] = a
            return f(*every)

        given = [args[i] for i in arrays]
        try:
            jaxpr = jax.make_jaxpr(of_arrays)(*given)
        except Exception:  # not a function of these
            continue
        if any(jnp.issubdtype(a.dtype, jnp.inexact) for a in jaxpr.out_avals if hasattr(a, "dtype")):
            return of_arrays, given
    return None


if __name__ == "__main__":
    import collections

    missing = collections.defaultdict(list)
    for module, contents in MODULES.items():
        skipped, good = [], 0
        for name, f in functions(contents):
            found = traced(f, RANDOM if module == "jax.random" else ARGUMENTS)
            if found is None:
                skipped.append(name)
                continue
            run, args = found
            try:
                lines = precjax.missing_rules(run)(*args)
            except Exception as error:
                lines = [f"{type(error).__name__}: {str(error)[:100]}"]
            for line in lines:
                missing[line.split(" at ")[0]].append(f"{module}.{name}")
            good += not lines
        print(module, "tracked", good, "not tried", skipped)
    for k, v in missing.items():
        print(k, v)
