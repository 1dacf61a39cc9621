"""track: trees in, trace, interpret, trees out."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from precjax import _jax_compat as compat
from precjax import rules  # noqa: F401  (fills the table)
from precjax._annotated import Annotated
from precjax._beside import beside, of_some, reference
from precjax._hooks import AROUND_CALLS, Hook, check_hooks
from precjax._interpreter import given, interpret, is_control
from precjax._nnx import named_modules
from precjax._places import called_at, line_of
from precjax._samples import samples
from precjax._taps import tapped
from precjax._tracked import Tracked, is_tracked, values_of
from precjax.models import Certified, ErrorModel, Stochastic, resolve
from precjax.models._widened import Widened


def track(
    f: Callable[..., Any],
    *,
    model: str | ErrorModel = "worst_case",
    static_argnums: int | Iterable[int] | None = None,
    static_argnames: str | Iterable[str] | None = None,
    missing: str | None = None,
    strict: bool | None = None,
    hooks: Iterable[Hook] = (),
) -> Callable[..., Tracked]:
    """Computes, next to every value of a function, the error of that value.

    Args:
        f: any function that JAX can trace: of trees of arrays, numbers, keyword arguments; a Flax model's apply; a
            gradient.
        model: what `error` means: ``"worst_case"`` or an instance such as ``WorstCase(contraction="normwise")``.
        static_argnums: positions of arguments that are not arrays, as in ``jax.jit``.
        static_argnames: names of arguments that are not arrays, as in ``jax.jit``.
        missing: ``"raise"`` a `MissingRuleError` for a primitive without a rule, or give it error ``"inf"``; as the
            model says if None, which is ``"raise"`` for a model given by name.
        strict: whether bits of an inexact float that are read as an integer give error inf; otherwise these bits are
            frozen: the exact program is the one that keeps them. As the model says if None, False by name.
        hooks: instances of `Hook` that see every equation, while the program is traced and whenever it runs. Under
            "certified" the program and its reference return what is between as well, and the hooks see that, loops and
            branches as a whole, when they have run; such a call cannot be part of another program.

    Returns:
        A function of the same arguments, any subtree of which may be a `Tracked`, that returns a `Tracked`: two trees
        shaped as the output of `f`. Leaves of ``error`` have the shape ``(*s)`` and the unit of their values, dtype
        float32 (float64 for float64 and complex128 values). Unwrapped arrays are exact inputs. It is an ordinary
        traceable function.

    Guarantee:
        Under the worst case |value - exact| <= error, for every exact input within the errors of the arguments, on a
        platform with a table of ulps. (Where an argument's ball reaches below 0, a square root is bounded for the part
        that has one.) ``f(x)`` and ``jit(f)(x)`` lie within the error of the exact result as well,
        outside the documented hazards.

    Raises:
        TypeError: if `f` is not callable or `model` is no model.
        ValueError: if an option is unknown, an argument's error is negative, NaN or of another structure than its
            value, or there are hooks and the model carries no errors along with the values.
        MissingRuleError: at the call, if a primitive has no rule.

    Example:
        >>> import jax.numpy as jnp, precjax
        >>> precjax.track(lambda x: (1 - jnp.cos(x)) / x**2)(0.1)
        Tracked(0.4996???)
    """
    if not callable(f):
        raise TypeError(f"track(f={f!r}): f must be a function, got {type(f).__name__}")
    options = {"missing": missing, "strict": strict}
    chosen = dataclasses.replace(
        resolve(model), hooks=check_hooks(hooks), **{k: v for k, v in options.items() if v is not None}
    )

    static = {"static_argnums": static_argnums, "static_argnames": static_argnames}
    companion = _companion(chosen)
    if isinstance(chosen, Certified) and chosen.hooks:
        _without_static(static)
        bare = dataclasses.replace(chosen, hooks=())
        return tapped(f, chosen.hooks, functools.partial(track, model=bare))
    if companion is not None and chosen.hooks:
        raise ValueError(
            f"hooks with model={model!r}: its errors come from a run beside the program, so equations have none of "
            f"their own. Use 'worst_case', 'probabilistic' or 'certified'"
        )
    run = interpreted(f, chosen, **static) if companion is None else beside(f, chosen, companion, **static)

    @functools.lru_cache(maxsize=1)
    def hooked(*more: Hook) -> Callable[..., Tracked]:
        return interpreted(f, dataclasses.replace(chosen, hooks=(*chosen.hooks, *more)), **static)

    @functools.wraps(f)
    def tracked(*args: Any, **kwargs: Any) -> Tracked:
        check_arguments(args, kwargs, signed=chosen.signed)
        around = AROUND_CALLS.get()
        if around is None or companion is not None or is_traced(args, kwargs):
            return run(*args, **kwargs)
        return around(hooked, *args, **kwargs)

    return tracked


def _without_static(static: dict[str, Any]) -> None:
    for name, given_ in static.items():
        if given_ is not None:
            raise ValueError(
                f"{name}={given_!r} with hooks and model='certified', which see arguments that are arrays: bind the "
                f"others with functools.partial"
            )


def is_traced(args: Any, kwargs: Any) -> bool:
    """Whether a call with these arguments becomes part of another program."""
    return any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves((args, kwargs)))


def _companion(chosen: ErrorModel) -> Callable[..., list[Any]] | None:
    """What runs beside the plain program; None for models that carry errors with its values."""
    return reference if isinstance(chosen, Widened) else samples if isinstance(chosen, Stochastic) else None


def interpreted(
    f: Callable[..., Any], chosen: ErrorModel, walk: Callable[..., list[Annotated]] = interpret, **static: Any
) -> Callable[..., Tracked]:
    """One program of values and errors.

    Args:
        f: the function.
        chosen: the model.
        walk: runs its jaxpr, as `interpret` does.
        **static: ``static_argnums`` and ``static_argnames``, as in ``jax.jit``.

    Returns:
        A jitted function of the same arguments that returns a `Tracked`.
    """

    def paired(*args: Any, **kwargs: Any) -> Tracked:
        return _evaluate(f, chosen, walk, args, kwargs)

    paired.__name__ = paired.__qualname__ = f"track_{getattr(f, '__name__', 'function')}"
    return jax.jit(paired, **static)


def _evaluate(
    f: Callable[..., Any], model: ErrorModel, walk: Callable[..., list[Annotated]], args: Any, kwargs: Any
) -> Tracked:
    """Traces f on the values, interprets its jaxpr on the annotated ones."""
    nodes, tree = jax.tree.flatten((args, kwargs), is_leaf=is_tracked)
    values = [x.value if is_tracked(x) else x for x in nodes]
    dynamic = [i for i, v in enumerate(values) if all(map(_is_array, jax.tree.leaves(v)))]
    function = of_some(f, tree, values, dynamic)
    with named_modules() if model.hooks else contextlib.nullcontext():
        closed, shape = jax.make_jaxpr(function, return_shape=True)([values[i] for i in dynamic])
    model = model.fit(closed)
    annotated = [x for i in dynamic for x in _annotate(model, nodes[i])]
    results = walk(model, closed, annotated)
    structure = jax.tree.structure(shape)
    return Tracked(
        jax.tree.unflatten(structure, [x.value for x in results]),
        jax.tree.unflatten(structure, [model.shown(x) for x in results]),
    )


def _is_array(x: Any) -> bool:
    return hasattr(x, "dtype") or isinstance(x, bool | int | float | complex)


def _annotate(model: ErrorModel, node: Any) -> list[Annotated]:
    """Leaves of an argument: exact, or with the errors that came with it."""
    if not is_tracked(node):
        return [given(x) for x in jax.tree.leaves(node)]
    values, errors = jax.tree.leaves(node.value), jax.tree.leaves(node.error)
    return [model.lift(v, e) for v, e in zip(values, errors, strict=True)]


def check_arguments(args: Any, kwargs: Any, signed: bool) -> None:
    """Errors that come with arguments: same structure, shapes that fit, not negative unless signed, not NaN."""
    for path, node in jax.tree_util.tree_leaves_with_path((args, kwargs), is_leaf=is_tracked):
        if not is_tracked(node):
            continue
        name = _argument_name(path)
        if jax.tree.structure(node.value) != jax.tree.structure(node.error):
            raise ValueError(
                f"{name}: Tracked(value, error) needs two trees of one structure, got "
                f"{jax.tree.structure(node.value)} and {jax.tree.structure(node.error)}"
            )
        for value, error in zip(jax.tree.leaves(node.value), jax.tree.leaves(node.error), strict=True):
            _check_error(name, value, error, signed)


def _argument_name(path: Any) -> str:
    (kind, *rest) = path
    position = "argument" if kind.idx == 0 else "keyword argument"
    return position + jax.tree_util.keystr(tuple(rest))


def _check_error(name: str, value: Any, error: Any, signed: bool) -> None:
    shape, whole = np.shape(error), np.shape(value)
    if shape and (len(shape) != len(whole) or any(n not in (1, m) for n, m in zip(shape, whole, strict=True))):
        raise ValueError(
            f"{name}: error of shape {shape} for a value of shape {whole}; expected that shape, 1 in place of any of "
            f"its dimensions, or a number"
        )
    if isinstance(error, jax.core.Tracer):
        return
    numbers = np.asarray(error, np.float64)
    bad = np.isnan(numbers) if signed else ~(numbers >= 0)
    if bad.any():
        wanted = "not NaN" if signed else "non-negative and not NaN"
        raise ValueError(f"{name}: an error must be {wanted}, got {numbers[bad].flat[0]}")


def missing_rules(f: Callable[..., Any], *, model: str | ErrorModel = "worst_case") -> Callable[..., list[str]]:
    """Lists every primitive of a function that has no rule, before anything runs.

    Args:
        f: the function that is to be tracked.
        model: as in `track`.

    Returns:
        A function of the same arguments (values, or `Tracked`) that returns sorted lines, none if every primitive has
        a rule: ``"primitive at file.py:12 (function)"``.

    Example:
        >>> import jax.numpy as jnp, precjax
        >>> precjax.missing_rules(jnp.sin)(1.0)
        []
    """

    @functools.wraps(f)
    def listed(*args: Any, **kwargs: Any) -> list[str]:
        plain = values_of((args, kwargs))
        closed = jax.make_jaxpr(lambda a, k: f(*a, **k))(*plain)
        return sorted(set(_without_rule(closed, resolve(model).fit(closed))))

    return listed


def _without_rule(jaxpr: Any, model: ErrorModel) -> Iterable[str]:
    for eqn in compat.open_jaxpr(compat.without_refs(jaxpr)).eqns:
        name = eqn.primitive.name
        inner = compat.inner_programs(eqn)
        handled = is_control(name) and (bool(inner) or name != "pallas_call")
        if eqn.outvars and not handled and not model.supports(eqn):
            yield f"{name} at {line_of(eqn)}"
        with called_at(eqn):
            for jaxpr_ in inner if handled else ():
                yield from _without_rule(jaxpr_, model)
