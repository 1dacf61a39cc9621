"""Bounds that keep what errors have in common: the mean value form.

Theorem. Let F(x, d) be a program in real arithmetic, d_i being added to the result of its i-th equation, and let an
execution read inputs x' and err by d'_i in equation i, on the operands that it has. It computes F(x', d'); the exact
result is F(x, 0). If F is continuous and piecewise differentiable along the segment between the two, then by the mean
value theorem
    |F(x', d') - F(x, 0)| <= sum_i sup |dF/dd_i| |d'_i| + sum_j sup |dF/dx_j| |x'_j - x_j|,
the suprema over any box around the segment. `precjax.analysis._local` bounds |d'_i|, the worst case in forward
direction bounds the operands that it needs. And the worst case bounds the suprema: tracked through the gradient of F,
with d_i in [-delta_i, delta_i] as inexact inputs, |gradient| + error bounds the derivative everywhere in the box.

Errors of one intermediate number that reach the result on several ways cancel or add up in the gradient, as they do in
the program; the forward bound takes each way for the worst. Neither is always smaller, so the smaller one counts.

What is no smooth function (a step, a comparison, a loop, a factorization), or has no bound of its own rounding, is cut:
its result is another input, off by the forward bound of its error. So is a select, where its condition is in doubt.

An execution is taken to give each equation one value, for all that read it; but products in sums, casts to wider
formats and merged divisions, which some read rounded and others do not, are allowed for (`_local`).

References:
    Moore, Kearfott and Cloud, Introduction to Interval Analysis, SIAM 2009, section 6.3.
    Solovyev, Baranowski, Briggs, Jacobsen, Rakamaric and Gopalakrishnan, Rigorous estimation of floating-point
    round-off errors with symbolic Taylor expansions, ACM TOPLAS 41 (2018).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from precjax import platforms
from precjax._annotated import Annotated
from precjax._inline import inlined
from precjax._interpreter import interpret
from precjax._rounding import as_error, dtype_of, minimum
from precjax._tracked import Tracked
from precjax._transform import check_arguments, interpreted
from precjax.analysis._local import is_real
from precjax.analysis._tapped import TappedProgram
from precjax.models import WorstCase


def mean_value(
    f: Callable[..., Any],
    *,
    outputs: int = 64,
    turns: int = 16,
    static_argnums: int | Iterable[int] | None = None,
    static_argnames: str | Iterable[str] | None = None,
) -> Callable[..., Tracked]:
    """Computes, next to every value of a function, a bound of its error that keeps first-order correlations.

    As ``track(f, model="worst_case")``, and never looser: the smaller one of its bound and the mean value form. The
    gain is a factor of 1.5 to 2 for formulas, and more where a number is used twice. The price is a gradient per number
    of the result, tracked.

    Args:
        f: any function that JAX can trace.
        outputs: how many numbers the results may hold at most. A gradient is taken of each: to bound a function of
            numbers at many points, take ``jax.vmap(mean_value(f))``.
        turns: scans of at most so many turns are unrolled; of a longer one the forward bound is taken.
        static_argnums: positions of arguments that are not arrays, as in ``jax.jit``.
        static_argnames: names of arguments that are not arrays, as in ``jax.jit``.

    Returns:
        A function of the same arguments, any subtree of which may be a `Tracked`, that returns a `Tracked`, as that of
        `track` does. It is an ordinary traceable function.

    Guarantee:
        |value - exact| <= error, as under the worst case, for every execution in which an equation has one value for
        all that read it (contracted products, and what else `precjax` knows XLA to merge, excepted). On another
        platform than a CPU, the bound of the worst case.

    Raises:
        TypeError: if `f` is not callable.
        ValueError: if the results hold more than `outputs` real numbers, or as in `track`.
        MissingRuleError: at the call, if a primitive has no rule.

    Example:
        >>> import jax.numpy as jnp, precjax
        >>> f = lambda x: x / (x + 1)
        >>> x = precjax.Tracked(jnp.float32(3), 1e-3)  # f'(x) is 1/16
        >>> [f"{float(bound(f)(x).error):.2g}" for bound in (precjax.track, precjax.mean_value)]
        ['0.00044', '6.3e-05']

    References:
        Moore, Kearfott and Cloud, Introduction to Interval Analysis, SIAM 2009, section 6.3.
    """
    if not callable(f):
        raise TypeError(f"mean_value(f={f!r}): f must be a function, got {type(f).__name__}")
    walk = functools.partial(_bounded, outputs=outputs, turns=turns)
    static = {"static_argnums": static_argnums, "static_argnames": static_argnames}
    run = interpreted(f, WorstCase(), walk=walk, **static)

    @functools.wraps(f)
    def bounded(*args: Any, **kwargs: Any) -> Tracked:
        check_arguments(args, kwargs, signed=False)
        return run(*args, **kwargs)

    return bounded


def _bounded(
    model: WorstCase, closed: Any, arguments: Sequence[Annotated], outputs: int, turns: int
) -> list[Annotated]:
    """The results of a jaxpr, the smaller bound of each."""
    results = interpret(model, closed, arguments)
    rounded = [i for i, x in enumerate(results) if x.error is not None and is_real(dtype_of(x.value))]
    count = sum(math.prod(np.shape(results[i].value)) for i in rounded)
    if count > outputs:
        raise ValueError(
            f"mean_value: the results hold {count} rounded numbers, more than outputs={outputs}, and a gradient is "
            f"taken of each. Bound fewer of them, vmap over points, or allow more with outputs={count}"
        )
    known = platforms.current().studied  # local errors are those of what XLA was seen to do
    program = TappedProgram(model, inlined(closed, turns), arguments) if count and known else None
    if program is None or not program.taps:
        return results
    for i, bound in zip(rounded, program.bounds(rounded), strict=True):
        results[i] = results[i]._replace(error=minimum(results[i].error, as_error(bound, results[i].error.dtype)))
    return results
