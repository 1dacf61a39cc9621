"""Random programs whose steps are rows of the table of soundness tests: what one row gives, the next ones take.

A step draws its row's own operands, and earlier results stand in for some of them: reshaped, cast to the row's format,
and brought into its domain. So every operation of the table meets operands whose errors others made.

Compiling takes the time. `whole` tracks the program as one, compiled anew for every program; `chained` tracks every
step by itself and hands the tracked results on, so that a row is compiled once per format. Both bound the errors of the
same program, `results`.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from cases import Case, Draw, Drawn, errors_of
from jax import lax

import precjax

FORMATS = ("float32",) * 5 + ("float64",) * 2 + ("bfloat16", "float16")
HARDNESS = (0.0, 0.0, 0.0, 0.2, 0.5)
PATTERNS = ("zero", "small", "absolute", "relative")
RECENT = 6  # operands are among so many latest results
WIDTH = 72  # an earlier result is brought to so many numbers, and those to the shape of the operand
KINDS = ("raw", "tamed", "tamed", "beside")


class Fit(NamedTuple):
    """How an earlier result becomes an operand.

    Attributes:
        kind: "raw", "tamed" (of moderate size), or "beside": it moves the drawn operand.
        share: how far it moves that, relatively.
        low: end of the domain.
        high: end of the domain.
        dtype: of the operand.
    """

    kind: str
    share: float
    low: Any
    high: Any
    dtype: Any


class Step(NamedTuple):
    """A row, and what stands in for each operand: (which result, counted from the latest; how), None where nothing does."""

    case: Case
    fits: tuple


def draw_step(family, case, dtype, pattern, seed):
    """A step and its own operands; of three that may have errors two are earlier results."""
    formats = [f.partition("+")[0] for f in case.formats]
    random = np.random.default_rng(seed)
    draw = Draw(dtype if dtype in formats else formats[0], seed, HARDNESS[random.integers(len(HARDNESS))])
    drawn = case.inputs(draw)
    operands = tuple(
        precjax.Tracked(jnp.asarray(x.value), jnp.asarray(errors_of(x, random, pattern))) if isinstance(x, Drawn) else jnp.asarray(x)
        for x in drawn
    )
    return Step(case, tuple(_draw_fit(x, random, family) for x in drawn)), operands


def _draw_fit(x, random, family):
    """Matrices stay near those that were drawn."""
    if not isinstance(x, Drawn) or not jnp.issubdtype(x.value.dtype, jnp.inexact) or random.random() < 1 / 3:
        return None
    kind, share = ("beside", 0.02) if family == "linalg" else (KINDS[random.integers(len(KINDS))], 0.25)
    return int(random.integers(RECENT)), Fit(kind, share, x.low, x.high, x.value.dtype)


def results(steps, arguments):
    """The results of every step: the program itself."""
    return _run(steps, arguments, lambda f, *args: f(*args), lambda x, shape: jnp.resize(x, shape), lambda x: x.astype(_widest(x)))


def whole(steps, arguments):
    """The tracked results of every step of the program, tracked as one."""
    tracked = precjax.track(lambda *args: results(steps, args))(*arguments)
    return [precjax.Tracked(*pair) for pair in zip(*tracked, strict=True)]


def chained(steps, arguments, model="worst_case"):
    """The tracked results of every step, each tracked by itself."""
    return _run(steps, arguments, lambda f, *args: _tracked(f, model=model)(*args), _resized, _widened)


_tracked = functools.cache(precjax.track)


def _run(steps, arguments, call, resize, widen):
    pool, every = [], []
    for step, operands in zip(steps, arguments, strict=True):
        fitted = list(operands)
        for i, fit in enumerate(step.fits if pool else ()):
            if fit is not None:
                shape = value(operands[i]).shape
                x = widen(resize(pool[-1 - fit[0] % min(len(pool), RECENT)], (WIDTH,)))
                fitted[i] = resize(call(_fitted(fit[1]), x, resize(operands[i], (WIDTH,))), shape)
        every.append(call(step.case.f, *fitted))
        pool += [x for x in leaves(every[-1]) if value(x).size and jnp.issubdtype(value(x).dtype, jnp.number)]
    return every


def leaves(result):
    """Arrays, or balls: a tracked tree is one of balls."""
    if not is_ball(result):
        return jax.tree.leaves(result)
    return [precjax.Tracked(*pair) for pair in zip(jax.tree.leaves(result.value), jax.tree.leaves(result.error), strict=True)]


def is_ball(x):
    return isinstance(x, precjax.Tracked)


def value(x):
    """Of a ball its value."""
    return x.value if is_ball(x) else x


def _resized(x, shape):
    if is_ball(x):
        return precjax.Tracked(_resized(x.value, shape), _resized(x.error, shape))
    return np.resize(np.asarray(x), shape)


def _widest(x):
    """A format that holds every other of its kind: nothing is rounded."""
    return jnp.complex128 if jnp.iscomplexobj(x) else jnp.float64


def _widened(x):
    return precjax.Tracked(x.value.astype(_widest(x.value)), x.error.astype(jnp.float64))


@functools.cache
def _fitted(fit):
    """A function of an earlier result and the operand for which it stands in."""

    def fitted(x, like):
        x = _of_kind(x, fit.dtype)
        if fit.kind == "beside" or jnp.iscomplexobj(x):
            return like + like * (fit.share * x / (1 + abs(x))).astype(fit.dtype)
        if np.isfinite(fit.low) and np.isfinite(fit.high):
            return ((fit.high + fit.low) / 2 + (fit.high - fit.low) * 0.45 * jnp.tanh(x)).astype(fit.dtype)
        x = x / (1 + abs(x) / 8) if fit.kind == "tamed" else x
        return fit.low + abs(x) if np.isfinite(fit.low) else fit.high - abs(x) if np.isfinite(fit.high) else x

    return fitted


def _of_kind(x, dtype):
    """A cast that keeps all numbers: parts of a complex one are subtracted, or made of a real one and its neighbour."""
    is_complex = jnp.issubdtype(dtype, jnp.complexfloating)
    if jnp.iscomplexobj(x) and not is_complex:
        x = x.real - x.imag
    if is_complex and not jnp.iscomplexobj(x):
        x = lax.complex(x, jnp.roll(x, 1))
    return x.astype(dtype)
