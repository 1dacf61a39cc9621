"""Hooks of a model whose errors come from a run beside the program: both runs return what is between.

The program with taps is the program that returns the results of its equations as well; a certificate of all its results
is one of every intermediate number. Functions that are called (jitted ones, those with a derivative of their own) are
opened; a loop or a branch is one equation, whose results are seen. XLA fuses a program with taps less than the program
itself: the values that are certified, the final ones included, are those of the program with taps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from precjax import _jax_compat as compat
from precjax._annotated import Annotated
from precjax._hooks import Equation, Hook
from precjax._inline import CALLS, walk
from precjax._nnx import named_modules
from precjax._places import called_at, inside
from precjax._rounding import dtype_of, error_dtype
from precjax._tracked import is_tracked, values_of
from precjax.models.worst_case import WorstCase

_OPENED = CALLS | {"custom_vmap_call"}


def tapped(
    f: Callable[..., Any], hooks: Sequence[Hook], track: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Callable[..., Any]:
    """A tracked function whose equations the hooks see, with the errors of their operands and results.

    Args:
        f: the function.
        hooks: told of every equation, in the order of the program, when it has run.
        track: makes a tracked function of another one.

    Returns:
        A function of the same arguments that returns a `Tracked`. It takes no tracers.
    """

    @functools.wraps(f)
    def seen(*args: Any, **kwargs: Any) -> Any:
        plain = values_of((args, kwargs))
        if any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(plain)):
            raise ValueError(
                "hooks with model='certified': they are told of a run that is over, so it cannot become part of "
                "another program; call the tracked function outside jit, grad, vmap and scan"
            )
        with named_modules():
            closed, shape = jax.make_jaxpr(lambda a, k: f(*a, **k), return_shape=True)(*plain)
        closed = compat.without_refs(closed)

        def with_taps(*args: Any, **kwargs: Any) -> Any:
            taps: list[list[Any]] = []
            results = _walk(closed, jax.tree.leaves((args, kwargs)), functools.partial(_run, taps))
            return jax.tree.unflatten(jax.tree.structure(shape), results), taps

        tracked = track(with_taps)(*args, **kwargs)
        _tell(hooks, closed, _arguments(args, kwargs), tracked.value[1], tracked.error[1])
        fields = [getattr(tracked, name)[0] for name in ("value", "error", "offset", "radius")]
        return type(tracked)(*fields)

    return seen


def _walk(jaxpr: Any, args: Sequence[Any], visit: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
    """Visits every equation in turn, those of called functions in their place."""

    def opened(eqn: Any, operands: list[Any]) -> list[Any]:
        if eqn.primitive.name not in _OPENED:
            return visit(eqn, operands)
        with inside(), called_at(eqn):
            return _walk(compat.call_jaxpr(eqn), operands, visit)

    return walk(jaxpr, args, opened)


def _run(taps: list[list[Any]], eqn: Any, operands: list[Any]) -> list[Any]:
    results = compat.bind(eqn, operands)
    taps.append(results)
    return results


def _arguments(args: Any, kwargs: Any) -> list[tuple[Any, Any]]:
    """Leaves of the arguments with the errors that came with them, None if none."""
    found: list[tuple[Any, Any]] = []
    for node in jax.tree.leaves((args, kwargs), is_leaf=is_tracked):
        values = jax.tree.leaves(node.value if is_tracked(node) else node)
        errors = jax.tree.leaves(node.error) if is_tracked(node) else [None] * len(values)
        found += zip(values, errors, strict=True)
    return found


def _annotated(value: Any, error: Any) -> Annotated:
    error = None if error is None else jnp.broadcast_to(error, jnp.shape(value)).astype(error_dtype(dtype_of(value)))
    return Annotated(value, error)


def _tell(hooks: Sequence[Hook], closed: Any, arguments: list[Any], values: Any, errors: Any) -> None:
    """Tells the hooks what ran: what they ask for is computed as one program."""
    asked: list[tuple[Hook, Any]] = []
    rules = WorstCase(missing="inf")

    def traced(arguments: list[Any], values: Any, errors: Any) -> list[Any]:
        taps, trees, shared = iter(zip(values, errors, strict=True)), [], {}

        def visit(eqn: Any, operands: list[Any]) -> list[Annotated]:
            operands = [x if isinstance(x, Annotated) else Annotated(x) for x in operands]
            results = [_annotated(*tap) for tap in zip(*next(taps), strict=True)]
            if not eqn.outvars:
                return results
            equation = Equation(rules, eqn, operands, results, shared)
            for hook in hooks:
                tree = hook.trace(equation)
                if tree is not None:
                    asked.append((hook, equation.site))
                    trees.append(tree)
            return results

        _walk(closed, [_annotated(*x) for x in arguments], visit)
        return trees

    trees = jax.jit(traced)(arguments, values, errors)
    for (hook, site), tree in zip(asked, jax.device_get(trees), strict=True):
        hook.observe(site, tree)
