"""The table of rules: one per primitive, keyed by the primitive's name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from precjax import _jax_compat as compat
from precjax import platforms
from precjax._refusals import REFUSED

Rule = Callable[..., Any]

_RULES: dict[str, Rule] = {}
_COMPLEX_RULES: dict[str, Rule] = {}  # for equations with a complex operand or result
_SHARED: set[str] = set()  # primitives whose rule serves both
_USERS: set[Rule] = set()
_REFUSALS: dict[str, Callable[[Any], str | None]] = {}


class MissingRuleError(NotImplementedError):
    """A primitive has no proved rule, so no bound of its result is known."""


def rule(*names: str, table: dict[str, Rule] = _RULES) -> Callable[[Rule], Rule]:
    """Registers a rule of the library for the primitives of these names.

    Such a rule is called as ``rule(model, operands, outs, **params)``: the model says how terms combine; operands are
    `Annotated`; outs are the values that the interpreter computed. It returns the errors of the outs, None for exactly
    zero.

    Args:
        *names: names of primitives (``eqn.primitive.name``, not the printed name).
        table: where to; `complex_rule` registers in the table for complex numbers.

    Returns:
        A decorator that returns the rule unchanged.
    """

    def register(function: Rule) -> Rule:
        accepted = _accepted(function)
        for name in names:
            table[name] = accepted
        return function

    return register


complex_rule = functools.partial(rule, table=_COMPLEX_RULES)


def same_for_complex(*names: str) -> None:
    """The rules of these primitives hold for complex numbers as they are, magnitudes being moduli."""
    _SHARED.update(names)


def _accepted(function: Rule) -> Rule:
    """The rule, given only the parameters that it names: primitives gain parameters from one JAX to the next."""
    parameters = inspect.signature(function).parameters
    named = {n for n, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return function

    @functools.wraps(function)
    def accepted(model: Any, operands: Sequence[Any], outs: Sequence[Any], **params: Any) -> Any:
        return function(model, operands, outs, **{k: v for k, v in params.items() if k in named})

    return accepted


def find(name: str, complex_numbers: bool = False) -> Rule | None:
    """The rule of a primitive, or None; a user's rule stands for every dtype."""
    found = _RULES.get(name)
    if not complex_numbers or name in _SHARED or found in _USERS:
        return found
    return _COMPLEX_RULES.get(name)


def refusal(*names: str) -> Callable[[Callable[[Any], str | None]], Callable[[Any], str | None]]:
    """Registers what a rule does not hold for: a function of the equation that returns the reason, None if it holds."""

    def register(function: Callable[[Any], str | None]) -> Callable[[Any], str | None]:
        _REFUSALS.update(dict.fromkeys(names, function))
        return function

    return register


def reason_against(eqn: Any) -> str | None:
    """Why an equation has no rule, if that is known."""
    name = eqn.primitive.name
    if any(compat.unreduced(v.aval) for v in (*eqn.invars, *eqn.outvars)) and not _of_parts(eqn):
        return PARTS
    reason = _REFUSALS[name](eqn) if name in _REFUSALS else REFUSED.get(name)
    return reason or platforms.current().reason_against(name, compat.dtypes(eqn))


# What rounds nothing else than the sum over devices that a product leaves for later, and that its rule counts already.
_OF_PARTS = ("dot_general", "reshard", "transpose", "squeeze", "slice", "copy")
PARTS = "it holds an unreduced array, whose rounding depends on the sizes of parts that no program can read"


def _of_parts(eqn: Any) -> bool:
    """Whether the bound of the whole holds for the parts: narrow formats would round each of them once more."""
    single = all(jnp.issubdtype(d, jnp.floating) and jnp.finfo(d).nmant >= 23 for d in compat.dtypes(eqn)[-1:])
    return eqn.primitive.name in _OF_PARTS and single


def is_users(rule: Rule) -> bool:
    """Whether a rule came from `defrule`: its author answers for every dtype."""
    return rule in _USERS


def defrule(primitive: Any) -> Callable[[Rule], Rule]:
    """Registers a user's rule for a primitive, in place of any rule it had.

    Args:
        primitive: a ``jax.extend.core.Primitive``, or its name.

    Returns:
        A decorator for ``rule(values, errors, outs, **params)``: `values` and `errors` are tuples over the operands, an
        error being a non-negative array of its value's shape ``(*s)``, dtype float32 (float64 for float64), in the
        value's unit, or None where the operand is exact; `outs` is the tuple of results; `params` are the primitive's
        parameters. It returns one error per result (a single one needs no tuple), None for exactly zero.

    Guarantee:
        The bound of the whole program is as good as the user's proof of this rule.

    Raises:
        TypeError: if `primitive` is neither a primitive nor a name.

    Example:
        >>> import precjax
        >>> @precjax.defrule("my_primitive")
        ... def my_primitive(values, errors, outs):
        ...     return errors[0]
    """
    name = primitive if isinstance(primitive, str) else getattr(primitive, "name", None)
    if not isinstance(name, str):
        raise TypeError(f"defrule(primitive={primitive!r}): expected a jax.extend.core.Primitive or its name")

    def register(function: Rule) -> Rule:
        def adapted(model: Any, operands: Sequence[Any], outs: Sequence[Any], **params: Any) -> Any:
            values = tuple(x.value for x in operands)
            errors = tuple(None if x.error is None else model.error(x) for x in operands)
            result = function(values, errors, tuple(outs), **params)
            return result if isinstance(result, (tuple, list)) else [result]

        _RULES[name] = adapted
        _USERS.add(adapted)
        return function

    return register
