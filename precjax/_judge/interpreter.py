"""The walk through a jaxpr."""

import flint
import jax.numpy as jnp
import numpy as np
from flint import arb, fmpq
from jax.extend import core as jex

from precjax._judge.control_flow import CONTROL_FLOW
from precjax._judge.number import Undecidable, as_complex, as_objects, settle
from precjax._judge.point import Point, held, is_key
from precjax._judge.table import COMPLEX, RULES

# The bits of an inexact float have no exact counterpart, so the exact program keeps those of the computed run.
FROZEN = {"bitcast_convert_type", "nextafter", "random_gamma"}
SILENT = {"debug_callback", "debug_print"}
ATTEMPTS = 4
# Cancellation may leave less of a result than its judge needs: then the precision is doubled as well.
ENOUGH_BITS, NEGLIGIBLE = 64, arb(2) ** -300

_settle = np.frompyfunc(settle, 1, 1)
_as_complex = np.frompyfunc(as_complex, 1, 1)


def evaluate_jaxpr(jaxpr, exact, computed, *, precision=400) -> list[np.ndarray]:
    """What a jaxpr gives in real arithmetic.

    Casts between float formats are the identity; integers and bits are themselves; decisions fall on exact values. The
    bits of a float read as an integer are those of a run of the same equations on `computed`, one by one.

    Args:
        jaxpr: A closed jaxpr, as `jax.make_jaxpr` returns it.
        exact: One array per input: object arrays of numbers for floats (see `lift`), plain arrays for the rest.
        computed: One concrete array per input, the floats that the program is given.
        precision: Working precision in bits; doubled up to three times where a decision needs it.

    Returns:
        One array per output: object arrays of `fmpq` and `arb` for floats, plain arrays for the rest.

    Raises:
        Undecidable: A decision that the highest precision cannot settle.
        NotImplementedError: A primitive without exact semantics, by name.
    """
    freezes = _freezes(_open(jaxpr))
    points = [Point(e, c if freezes else None) for e, c in zip(exact, computed, strict=True)]
    for bits in (precision << attempt for attempt in range(ATTEMPTS - 1)):
        try:
            results = _evaluate(jaxpr, points, freezes, bits)
        except Undecidable:
            continue
        if all(map(_is_sharp, results)):
            return results
    return _evaluate(jaxpr, points, freezes, precision << (ATTEMPTS - 1))


def _evaluate(jaxpr, points, freezes, bits):
    # Arb leaves flags of the floating-point unit behind, which numpy would report as its own.
    with flint.ctx.workprec(bits), np.errstate(all="ignore"):
        return [point.exact for point in _run(jaxpr, points, freezes)]


def _is_sharp(result) -> bool:
    return is_key(result) or result.dtype != object or all(map(_is_sharp_number, result.flat))


def _is_sharp_number(x) -> bool:
    return type(x) is fmpq or not x.is_finite() or x.rel_accuracy_bits() >= ENOUGH_BITS or x.rad() < NEGLIGIBLE


def _open(jaxpr):
    return getattr(jaxpr, "jaxpr", jaxpr)


def _freezes(jaxpr) -> bool:
    """Whether any equation, at any depth, reads bits of floats."""
    return any(
        (eqn.primitive.name in FROZEN and any(map(_is_float, eqn.invars))) or any(map(_freezes, _inner(eqn.params)))
        for eqn in jaxpr.eqns
    )


def _inner(params):
    for param in params.values():
        for candidate in param if isinstance(param, (tuple, list)) else (param,):
            if hasattr(_open(candidate), "eqns"):
                yield _open(candidate)


def _is_float(var) -> bool:
    return jnp.issubdtype(var.aval.dtype, jnp.inexact)


def _is_complex(var) -> bool:
    return jnp.issubdtype(var.aval.dtype, jnp.complexfloating)


def _run(jaxpr, points, freezes) -> list[Point]:
    consts = [Point.of(const, freezes) for const in getattr(jaxpr, "consts", ())]
    jaxpr = _open(jaxpr)
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *points], strict=True))

    def read(atom):
        return (
            Point.of(np.asarray(atom.val, atom.aval.dtype), freezes) if isinstance(atom, jex.Literal) else known[atom]
        )

    for eqn in jaxpr.eqns:
        known.update(zip(eqn.outvars, _apply(eqn, [read(atom) for atom in eqn.invars], freezes), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _apply(eqn, points, freezes) -> list[Point]:
    name = eqn.primitive.name
    if name in SILENT:
        return []
    if name in CONTROL_FLOW:
        return CONTROL_FLOW[name](eqn, points, lambda jaxpr, inner: _run(jaxpr, inner, freezes))
    computed = _bind(eqn, [point.computed for point in points]) if freezes else [None] * len(eqn.outvars)
    return list(map(Point, _exact(eqn, [point.exact for point in points], computed), computed))


def _exact(eqn, operands, computed):
    name = eqn.primitive.name
    reads_floats = any(map(_is_float, eqn.invars))
    if reads_floats and name in FROZEN:
        return map(held, computed)
    if not reads_floats and (name in FROZEN or not any(map(_is_float, eqn.outvars))):
        return map(held, _bind(eqn, operands))
    rules = COMPLEX if any(map(_is_complex, (*eqn.invars, *eqn.outvars))) else RULES
    if name not in rules:
        raise NotImplementedError(f"the judge has no exact semantics for the primitive {name!r}")
    results = rules[name](*operands, **eqn.params)
    if not isinstance(results, (tuple, list)):
        results = [results]
    return [_typed(result, var.aval) for result, var in zip(results, eqn.outvars, strict=True)]


def _bind(eqn, arrays):
    results = eqn.primitive.bind(*arrays, **eqn.params)
    return results if eqn.primitive.multiple_results else [results]


def _typed(result, aval):
    """The result in its canonical form, checked against the shape that JAX derived."""
    if is_key(aval):
        return result
    if jnp.issubdtype(aval.dtype, jnp.complexfloating):
        result = _as_complex(result)
    result = as_objects(_settle(result)) if jnp.issubdtype(aval.dtype, jnp.inexact) else np.asarray(result, aval.dtype)
    assert result.shape == aval.shape, f"{result.shape} where JAX has {aval.shape}"
    return result
