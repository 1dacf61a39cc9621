"""Products that nobody sees but transposed, as products of the same operands in the other order.

Theorem: (A B)^T = B^T A^T: a `dot_general` whose result is transposed so that the right operand's own axes come before
the left one's is the `dot_general` of the two in the other order, term by term. JAX makes such pairs in the gradient of
every dense layer. XLA turns them where nobody else reads the product; but its error, or its random rounding, does, and
both would be made in one order and copied in the other: a third of the time of a step of Adam.
"""

from __future__ import annotations

import collections
from typing import Any

from precjax import _jax_compat as compat


def with_products_turned(body: Any) -> Any:
    """The same open jaxpr with one equation for each product that only a transpose reads.

    Args:
        body: an open jaxpr; those inside its equations stay as they are.

    Returns:
        An open jaxpr of the same function: the same one, if there is none.
    """
    atoms = [*body.outvars, *(atom for eqn in body.eqns for atom in eqn.invars)]
    reads = collections.Counter(atom for atom in atoms if not compat.is_literal(atom))
    made = {var: eqn for eqn in body.eqns if eqn.primitive.name == "dot_general" for var in eqn.outvars}
    turned: dict[Any, Any] = {}
    for eqn in body.eqns:
        product = made.get(eqn.invars[0]) if eqn.primitive.name == "transpose" else None
        if product is not None and reads[eqn.invars[0]] == 1 and _swaps(product, eqn.params["permutation"]):
            turned[product.outvars[0]] = _turned(product, eqn)
            turned[eqn.outvars[0]] = None
    if not turned:
        return body
    eqns = [turned.get(eqn.outvars[0], eqn) if eqn.outvars else eqn for eqn in body.eqns]
    return body.replace(eqns=[eqn for eqn in eqns if eqn is not None])


def _swaps(product: Any, permutation: Any) -> bool:
    """Whether that only brings the right operand's own axes before the left one's; both are read in one precision."""
    if product.params.get("out_sharding") is not None or not _symmetric(product.params["precision"]):
        return False
    (contracted, _), (batch, _) = product.params["dimension_numbers"]
    first, rank = len(batch), len(permutation)
    middle = product.invars[0].aval.ndim - len(contracted)
    return tuple(permutation) == (*range(first), *range(middle, rank), *range(first, middle))


def _symmetric(precision: Any) -> bool:
    return precision is None or isinstance(precision, tuple) and precision[0] == precision[1]


def _turned(product: Any, transpose: Any) -> Any:
    contracted, batch = (pair[::-1] for pair in product.params["dimension_numbers"])
    swapped = compat.with_params(product, dimension_numbers=(contracted, batch))
    return swapped.replace(invars=product.invars[::-1], outvars=transpose.outvars)
