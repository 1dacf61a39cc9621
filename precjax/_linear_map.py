"""A linear map, given as a jaxpr, recognised as a product with a matrix.

`jnp.linalg.solve` and its relatives hand their solver a function of the unknown, perhaps vmapped: moves of the unknown,
one product with a constant, moves of the result. Moves are followed by moving the numbers of the elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from precjax import _jax_compat as compat
from precjax._annotated import Annotated, constant
from precjax._inline import CALLS
from precjax._interpreter import apply

_MOVES = frozenset({"transpose", "reshape", "squeeze", "broadcast_in_dim", "copy", "reduce_sum"})


class System(NamedTuple):
    """Systems A x = b, one per matrix of a stack, each with several columns.

    Attributes:
        matrix: the constant factor.
        order: the permutation of its axes that brings it to (batch..., n, n).
        unknowns: for (batch..., n, columns), which element of the unknown.
        rights: the same for the right-hand side.
    """

    matrix: Annotated
    order: tuple[int, ...]
    unknowns: np.ndarray
    rights: np.ndarray

    def arrange(self, a: Any) -> Any:
        """The matrix as a stack."""
        return jnp.transpose(a, self.order)

    def unknown(self, x: Any) -> Any:
        """The unknown as a stack of columns."""
        return _taken(x, self.unknowns)

    def right(self, b: Any) -> Any:
        """The right-hand side as a stack of columns."""
        return _taken(b, self.rights)

    def place(self, x: Any, shape: tuple[int, ...]) -> Any:
        """A stack of columns in the layout of the unknown."""
        return _taken(x, np.argsort(self.unknowns.reshape(-1))).reshape(shape)


def _taken(x: Any, places: np.ndarray) -> Any:
    """Elements by their numbers; a mode without a fill value, which would be lowered in the default precision."""
    return x.reshape(-1).at[places].get(mode="promise_in_bounds")


class _Places(NamedTuple):
    """An array whose elements are those of the unknown, or of the product, each once: their numbers."""

    numbers: np.ndarray
    product: _Product | None = None


class _Product(NamedTuple):
    matrix: Annotated
    order: tuple[int, ...]
    unknowns: np.ndarray
    results: np.ndarray


def as_matrix(model: Any, jaxpr: Any, consts: Sequence[Annotated], shape: tuple[int, ...]) -> System | None:
    """The systems that a linear map of an array of this shape stands for, None if it is not understood."""
    if 0 in shape:
        return None
    x = _Places(np.arange(np.prod(shape, dtype=int)).reshape(shape))
    results = _walk(model, jaxpr, [*consts, x])
    if results is None or len(results) != 1 or not isinstance(results[0], _Places) or results[0].product is None:
        return None
    product = results[0].product
    where = np.argsort(results[0].numbers.reshape(-1))
    return System(product.matrix, product.order, product.unknowns, where[product.results])


def _walk(model: Any, jaxpr: Any, args: Sequence[Any]) -> list[Any] | None:
    body = compat.open_jaxpr(jaxpr)
    env = dict(zip(body.constvars, map(Annotated, compat.constants(jaxpr)), strict=True))
    env.update(zip(body.invars, args, strict=True))

    def read(atom: Any) -> Any:
        return constant(atom.val) if compat.is_literal(atom) else env[atom]

    for eqn in body.eqns:
        results = _step(model, eqn, [read(atom) for atom in eqn.invars])
        if results is None:
            return None
        env.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in body.outvars]


def _step(model: Any, eqn: Any, operands: list[Any]) -> list[Any] | None:
    """One equation; None if it is neither on constants, nor a move, nor a product with a constant."""
    moving = [x for x in operands if isinstance(x, _Places)]
    name = eqn.primitive.name
    if not moving:
        return apply(model, eqn, operands)
    if name in CALLS:
        return _walk(model, compat.call_jaxpr(eqn), operands)
    if name in _MOVES and len(operands) == 1:
        return _move(eqn, operands[0])
    if name == "dot_general" and len(moving) == 1 and moving[0].product is None:
        return _product(eqn, operands)
    return None


def _move(eqn: Any, x: _Places) -> list[Any] | None:
    with jax.ensure_compile_time_eval():
        numbers = np.asarray(compat.rebind(eqn, jnp.asarray(x.numbers, jnp.int32)))
    return [x._replace(numbers=numbers)] if numbers.size == x.numbers.size else None


def _product(eqn: Any, operands: list[Any]) -> list[Any] | None:
    """A sum over one axis, with one more axis of the constant factor of the same length."""
    contract, batch = eqn.params["dimension_numbers"]
    side = next(i for i, x in enumerate(operands) if isinstance(x, _Places))
    x, matrix = operands[side].numbers, operands[1 - side]
    free = [i for i in range(matrix.value.ndim) if i not in (*contract[1 - side], *batch[1 - side])]
    own = [i for i in range(x.ndim) if i not in (*contract[side], *batch[side])]
    if len(free) != 1 or len(contract[side]) != 1:
        return None
    n = matrix.value.shape[free[0]]
    if n != x.shape[contract[side][0]]:
        return None
    order = (*batch[1 - side], free[0], contract[1 - side][0])
    stack = [x.shape[i] for i in batch[side]]
    unknowns = np.transpose(x, (*batch[side], contract[side][0], *own)).reshape(*stack, n, -1)
    shape = eqn.outvars[0].aval.shape
    numbers = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    # Results are laid out as (batch, free of the left, free of the right).
    row = len(stack) + (len(own) if side == 0 else 0)
    results = np.moveaxis(numbers, row, len(stack)).reshape(*stack, n, -1)
    return [_Places(numbers, _Product(matrix, order, unknowns, results))]
