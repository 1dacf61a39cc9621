"""What primitives are on pairs of complex arrays; those of real numbers are in `_primitives`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from precjax import _jax_compat as compat
from precjax._rounding import computed_once
from precjax.doubledouble import _arithmetic as arithmetic
from precjax.doubledouble import _complex as numbers
from precjax.doubledouble import _complex_elementary as elementary
from precjax.doubledouble import _complex_order as order
from precjax.doubledouble import _fourier as fourier
from precjax.doubledouble import _indexing as indexing
from precjax.doubledouble import _primitives as primitives
from precjax.doubledouble._complex import Parts, is_complex, joined, parts, settled
from precjax.doubledouble._pairs import DD, from_float

_TABLE: dict[str, Callable[..., list[Any]]] = {}


def of_complex(eqn: Any) -> bool:
    """Whether there are complex numbers among the operands or results."""
    return any(jnp.issubdtype(dtype, jnp.complexfloating) for dtype in compat.dtypes(eqn))


def supports(eqn: Any) -> bool:
    """Whether the equation is known on pairs."""
    name = eqn.primitive.name
    return name in primitives.MOVES or (name in _TABLE if of_complex(eqn) else primitives.supports(name))


def run(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    """The results of an equation on pairs, real or complex; see `_primitives.run`."""
    name = eqn.primitive.name
    if name in primitives.MOVES:
        return primitives.run(eqn, operands)
    outs = _TABLE[name](eqn, operands) if of_complex(eqn) else primitives.run(eqn, operands)
    return [DD(*map(_stored, x)) if isinstance(x, DD) else x for x in outs]


def _stored(x: Any) -> Any:
    # Where equations read what others made of others, XLA:CPU would compute it again and again: with jaxlib 0.10.2 the
    # gradient of betaln took minutes for 20 numbers.
    if jnp.iscomplexobj(x):
        return lax.complex(_stored(lax.real(x)), _stored(lax.imag(x)))
    return computed_once(x)


def _primitive(*names: str) -> Callable[[Callable], Callable]:
    def register(f: Callable) -> Callable:
        _TABLE.update(dict.fromkeys(names, f))
        return f

    return register


def _highs(operands: Sequence[Any]) -> list[Any]:
    return [x.hi if isinstance(x, DD) else x for x in operands]


def _elementwise(name: str, f: Callable[..., Parts], many_valued: bool) -> None:
    def apply(eqn: Any, operands: Sequence[Any]) -> list[Any]:
        (plain,) = compat.bind(eqn, _highs(operands))
        pairs = [x if isinstance(x, DD) else primitives.from_integer(x) for x in operands]
        found = f(*(parts(DD(*(jnp.broadcast_to(v, plain.shape) for v in x))) for x in pairs))
        return [settled(numbers.on_side_of(plain, found) if many_valued else found, plain)]

    _TABLE[name] = apply


for _name, _function in elementary.ELEMENTWISE.items():
    _elementwise(_name, _function, many_valued=False)
for _name, _function in elementary.MANY_VALUED.items():
    _elementwise(_name, _function, many_valued=True)


@_primitive("integer_pow")
def _integer_pow(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    (plain,) = compat.bind(eqn, _highs(operands))
    return [settled(numbers.integer_pow(parts(operands[0]), eqn.params["y"]), plain)]


@_primitive("complex")
def _complex(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    return [joined(Parts(*operands))]


@_primitive("real")
def _real(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    return [parts(operands[0]).re]


@_primitive("imag")
def _imag(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    return [parts(operands[0]).im]


@_primitive("abs")
def _abs(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    (plain,), size = compat.bind(eqn, _highs(operands)), numbers.cabs(parts(operands[0]))
    sound = lax.is_finite(plain) & lax.is_finite(size.hi)
    return [DD(jnp.where(sound, size.hi, plain), jnp.where(sound, size.lo, 0.0))]


@_primitive("eq", "ne")
def _equal(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    z, w = map(parts, operands)
    same = arithmetic.eq(z.re, w.re) & arithmetic.eq(z.im, w.im)
    return [same if eqn.primitive.name == "eq" else ~same]


@_primitive("convert_element_type")
def _convert(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    """Between floats this is a cast; here an integer becomes complex, or a complex number a bool or an integer."""
    (x,), dtype = operands, eqn.params["new_dtype"]
    if not isinstance(x, DD):
        return [joined(parts(primitives.from_integer(x)))]
    z = parts(x)
    if dtype == jnp.bool_:
        return [(z.re.hi != 0) | (z.im.hi != 0)]
    return [primitives.to_integer(z.re, dtype)]


@_primitive("reduce_sum", "cumsum", "reduce_window_sum", "scatter-add", "scatter-sub", "scatter_add", "scatter_sub")
def _by_part(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    """What is linear in the numbers: real and imaginary parts by themselves."""
    both = [[parts(x)[i] if is_complex(x) else x for x in operands] for i in range(2)]
    return [joined(Parts(*(primitives.run(eqn, part)[0] for part in both)))]


@_primitive("dot_general", "ragged_dot_general", "conv_general_dilated")
def _bilinear(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    """Four real products, or two if one operand is real."""
    product = lambda x, y: primitives.run(eqn, [x, y, *operands[2:]])[0]  # noqa: E731
    a, b = map(parts, operands[:2])
    re, im = product(a.re, b.re), product(a.re, b.im) if is_complex(operands[1]) else None
    if is_complex(operands[0]):
        turned = product(a.im, b.re)
        im = turned if im is None else arithmetic.add(im, turned)
        re = arithmetic.sub(re, product(a.im, b.im)) if is_complex(operands[1]) else re
    return [joined(Parts(re, im))]


def _folded(
    operation: Callable[[Parts, Parts], Parts], neutral: float, params: Sequence[str], reduce: Callable[..., Any]
) -> Callable[..., list[Any]]:
    """A reduction of four arrays; where parts of what float64 gives are not finite, that."""

    def apply(eqn: Any, operands: Sequence[Any]) -> list[Any]:
        (plain,), (leaves, structure) = compat.bind(eqn, _highs(operands)), jax.tree.flatten(parts(operands[0]))
        start = jax.tree.leaves(Parts(from_float(neutral), from_float(0.0)))

        def step(a: Any, b: Any) -> Any:
            return tuple(jax.tree.leaves(operation(*(jax.tree.unflatten(structure, v) for v in (a, b)))))

        found = reduce(tuple(leaves), tuple(start), step, *(eqn.params[name] for name in params))
        return [settled(jax.tree.unflatten(structure, found), plain)]

    return apply


def _running(operation: Callable[[Parts, Parts], Parts]) -> Callable[..., list[Any]]:
    def apply(eqn: Any, operands: Sequence[Any]) -> list[Any]:
        (plain,), z = compat.bind(eqn, _highs(operands)), parts(operands[0])
        found = lax.associative_scan(operation, z, reverse=eqn.params["reverse"], axis=eqn.params["axis"])
        return [settled(found, plain)]

    return apply


def _scattered(operation: Callable[[Parts, Parts], Parts]) -> Callable[..., list[Any]]:
    def apply(eqn: Any, operands: Sequence[Any]) -> list[Any]:
        (plain,), (z, places, updates) = compat.bind(eqn, _highs(operands)), operands
        params = {name: eqn.params[name] for name in primitives.SCATTER}
        return [settled(indexing.scatter_combined(operation, parts(z), places, parts(updates), **params), plain)]

    return apply


for _name, _operation, _start in (
    ("prod", numbers.mul, 1.0),
    ("max", order.larger, -math.inf),
    ("min", order.smaller, math.inf),
):
    _TABLE[f"reduce_{_name}"] = _folded(_operation, _start, ["axes"], lax.reduce)
    _TABLE[f"cum{_name}"] = _running(_operation)
    for _joint in "-_":
        _TABLE[f"scatter{_joint}{_name.replace('prod', 'mul')}"] = _scattered(_operation)
    if _name != "prod":
        _TABLE[f"reduce_window_{_name}"] = _folded(_operation, _start, primitives.WINDOWS, lax.reduce_window)
        _elementwise(_name, _operation, many_valued=False)
_elementwise("clamp", order.clamp, many_valued=False)


@_primitive("sort", "triangular_solve", "lu", "cholesky", "qr", "geqrf", "householder_product", "ormqr", "eig", "eigh",
            "svd")  # fmt: skip
def _written_for_both(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    return primitives.run(eqn, operands)


@_primitive("fft")
def _fft(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    (plain,), kind = compat.bind(eqn, _highs(operands)), eqn.params["fft_type"].name
    found = fourier.KINDS[kind](parts(operands[0]), eqn.params["fft_lengths"])
    if jnp.iscomplexobj(plain):
        return [settled(found, plain)]
    sound = lax.is_finite(plain)
    return [DD(jnp.where(sound, found.re.hi, plain), jnp.where(sound, found.re.lo, 0.0))]
