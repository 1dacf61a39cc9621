"""Runs a program as it is and, beside it, a companion: the reference of `precjax._widen`, or samples.

The two are independent. Called with arrays, they are two executables, and the value is what ``jax.jit(f)`` returns, bit
for bit. Inside another transformation both become part of one program; then `settled` sees to it that the value that is
compared is the value that is returned.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from precjax import _jax_compat as compat
from precjax import platforms
from precjax._binding import graft
from precjax._interpreter import interpret
from precjax._rounding import is_inexact, is_plain
from precjax._tracked import Tracked, is_tracked, values_of
from precjax.models._widened import Widened


def beside(
    f: Callable[..., Any], model: Any, companion: Callable[..., list[Any]], **static: Any
) -> Callable[..., Tracked]:
    """The function that runs f and its companion.

    Args:
        f: the function.
        model: what the two are compared by: its `fields` and `result`.
        companion: `reference`, or another function of the model, the jaxpr of f, its flat arguments (arrays, or
            `Tracked` of arrays) and its flat results, that returns the fields of each result, one after the other.
        **static: ``static_argnums`` and ``static_argnames``, as in ``jax.jit``.

    Returns:
        A function of the same arguments, any subtree of which may be a `Tracked`, that returns a `Tracked`.
    """
    plain = jax.jit(f, **static)

    # The signature of f, by which jit finds static arguments, comes with functools.wraps.
    @functools.wraps(f)
    def compared(*args: Any, precjax_outputs: Any, **kwargs: Any) -> Any:
        return _compared(f, model, companion, (args, kwargs), precjax_outputs)

    compiled = jax.jit(compared, **static)

    def both(*args: Any, **kwargs: Any) -> Tracked:
        value = values_of((args, kwargs))
        value = plain(*value[0], **value[1])
        traced = any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(value))
        if model.device is not None:
            return model.result(value, *_elsewhere(compiled, model.device, traced, args, kwargs, value))
        if traced:
            value = settled(value)
        return model.result(value, *compiled(*args, precjax_outputs=value, **kwargs))

    return both


def _elsewhere(
    compiled: Callable[..., Any], device: Any, traced: bool, args: Any, kwargs: Any, outputs: Any
) -> tuple[Any, ...]:
    """The companion, run on a device; its results are brought to where the program's are."""
    if traced:
        raise ValueError(
            f"device={device!r}: the reference runs on its own device, so it cannot become part of another program; "
            f"call the tracked function outside jit, grad, vmap and scan"
        )
    place = jax.devices(device)[0] if isinstance(device, str) else device
    moved = lambda tree: jax.tree.map(lambda x: jax.device_put(x, place) if isinstance(x, jax.Array) else x, tree)  # noqa: E731
    with jax.default_device(place), platforms.where_measured(place.platform):
        fields = compiled(*moved(args), precjax_outputs=moved(outputs), **moved(kwargs))
    return tuple(jax.tree.map(lambda x, value: jax.device_put(x, value.sharding), field, outputs) for field in fields)


def of_some(f: Callable[..., Any], tree: Any, nodes: list[Any], places: list[int]) -> Callable[[list[Any]], Any]:
    """The function of the arguments in some places of their flattened tree; the others stay what they are."""

    def function(arrays: list[Any]) -> Any:
        every = list(nodes)
        for i, array in zip(places, arrays, strict=True):
            every[i] = array
        positional, named = jax.tree.unflatten(tree, every)
        return f(*positional, **named)

    return function


def settled(tree: Any) -> Any:
    """The arrays, which XLA now computes once: whoever reads them reads the same bits.

    Fused into two places, an expression may be rounded differently in each: contracted in one of them, or not rounded
    before a cast. A barrier is gone by the time XLA fuses (measured: an Adam step returned moments that were an ulp off
    those it compared). But no expression is fused through a loop whose number of turns is unknown. This one turns once.
    """
    leaves, structure = jax.tree.flatten(tree)
    movable = [i for i, x in enumerate(leaves) if is_plain(x) and x.size]
    if not movable:
        return tree
    words = [_word(lax.stop_gradient(leaves[i])) for i in movable]
    # No integer of 64 bits has 128 ones, but XLA does not know.
    zero = lax.shift_right_logical(lax.population_count(_one_word(words[0])), jnp.asarray(7, words[0].dtype))

    def turn(state: Any) -> Any:
        count, *words = state
        return count + 1 + zero.astype(jnp.int32), *(w ^ zero.astype(w.dtype) for w in words)

    _, *words = lax.while_loop(lambda state: state[0] < 1, turn, (jnp.int32(0), *words))
    for i, word in zip(movable, words, strict=True):
        leaves[i] = _same_bits(word, leaves[i])
    return jax.tree.unflatten(structure, leaves)


def _one_word(words: Any) -> Any:
    """One number made of an array: its first, or one of all, if its type says that devices share them."""
    if compat.explicit_sharding(words) is None:
        return words.ravel()[0]
    return lax.reduce_max(words, tuple(range(words.ndim)))


def _word(x: Any) -> Any:
    """The bits of an array, as integers."""
    if x.dtype == jnp.bool_:
        return x.astype(jnp.uint8)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return _word(jnp.stack([x.real, x.imag]))
    return lax.bitcast_convert_type(x, jnp.dtype(f"uint{8 * x.dtype.itemsize}")) if is_inexact(x.dtype) else x


def _same_bits(word: Any, x: Any) -> Any:
    """The inverse of `_word`, with the derivative of the array."""
    if x.dtype == jnp.bool_:
        return word.astype(jnp.bool_)
    if not is_inexact(x.dtype):
        return word
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        real, imag = (_same_bits(part, x.real) for part in word)
        return graft(lax.complex(real, imag), x)
    return graft(lax.bitcast_convert_type(word, x.dtype), x)


def _compared(
    f: Callable[..., Any], model: Any, companion: Callable[..., list[Any]], arguments: Any, outputs: Any
) -> tuple[Any, ...]:
    """The fields of the result, trees shaped as f's output; no derivative passes."""
    nodes, tree = jax.tree.flatten(arguments, is_leaf=is_tracked)
    # Under jit, a static argument is what is no tracer.
    dynamic = [i for i, x in enumerate(nodes) if is_tracked(x) or isinstance(x, jax.core.Tracer)]

    closed = jax.make_jaxpr(of_some(f, tree, nodes, dynamic))([values_of(nodes[i]) for i in dynamic])
    leaves, structure = jax.tree.flatten(outputs)
    parts = [part for i in dynamic for part in _parts(nodes[i])]
    made = companion(model, closed, parts, leaves) if leaves else []
    return tuple(jax.tree.unflatten(structure, made[i :: model.fields]) for i in range(model.fields))


def _parts(node: Any) -> list[Any]:
    """The leaves of an argument; those of a `Tracked`, which is a tuple of parallel trees, each with its error."""
    if not is_tracked(node):
        return [node]
    fields, structure = jax.tree.flatten(node, is_leaf=lambda x: x is not node)
    return [jax.tree.unflatten(structure, leaf) for leaf in zip(*map(jax.tree.leaves, fields), strict=True)]


def reference(model: Widened, closed: Any, parts: list[Any], leaves: list[Any]) -> list[Any]:
    """The program in a wider format, compared with the results of the program itself."""
    model = model.fit(closed)
    body, constants = compat.hoisted(closed)
    flat, packed = jax.tree.flatten(([*constants, *parts], leaves))

    def compared(*flat: Any) -> list[Any]:
        parts, leaves = jax.tree.unflatten(packed, flat)
        results = interpret(model, body, [model.enter(x) if is_tracked(x) else model.given(x) for x in parts])
        fields = [model.compare(value, result) for value, result in zip(leaves, results, strict=True)]
        return [field for row in fields for field in row]

    return in_float64(compared)(*map(lax.stop_gradient, flat))


def in_float64(function: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """The function of flat arrays as one call that is traced, vectorised and lowered with x64 on.

    Batching rules and lowerings make arrays by dtype, and with x64 off they would make float32 ones.
    """

    @jax.custom_batching.custom_vmap
    def call(*flat: Any) -> list[Any]:
        with jax.enable_x64(True):
            return compat.keep_x64(jax.make_jaxpr(jax.jit(function))(*flat))(*flat)

    @call.def_vmap
    def _vectorised(size: int, batched: Any, *flat: Any) -> Any:
        axes = [0 if b else None for b in batched]
        out = in_float64(jax.vmap(function, in_axes=axes, out_axes=0, axis_size=size))(*flat)
        return out, [True] * len(out)

    return call
