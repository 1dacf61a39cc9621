"""shard_map: each device interprets the body on its own shards of values and errors.

Theorem: the body is a program of its shard and of what collectives bring, and `collective` bounds what these do. So on
each device the error bounds its value, and laid together by the specs of the values, errors bound values. Where the
specs promise that devices hold the same value and nothing checks it, any device's copy may be the one that is used: the
error is then the largest of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from precjax._annotated import Annotated
from precjax._interpreter import Signature, Transformed, control, flatten, run, signature, transform, unflatten


@control("shard_map")
def shard_map(model: Any, eqn: Any, operands: list[Annotated]) -> list[Annotated]:
    """The same map over the same mesh, of values and annotations."""
    params = {**eqn.params, "check_vma": eqn.params["check_vma"] and model.typed}
    operands = _of_elements(operands)
    given = tuple(map(signature, operands))
    in_specs = _specs(params["in_specs"], given)
    made: list[Transformed] = []

    def look(*leaves: Any) -> tuple[()]:
        made.append(transform(model, params["jaxpr"], unflatten(given, leaves)))
        return ()

    # What the body's results are annotated with decides how many specs there are.
    jax.eval_shape(_mapped(look, params, in_specs, ()), *flatten(operands))
    transformed = made[-1]
    outputs = tuple(
        map(signature, _of_elements(unflatten(transformed.outputs, range(len(transformed.jaxpr.out_avals)))))
    )
    unsaid = [_unsaid(params, spec) for spec in params["out_specs"]]

    def body(*leaves: Any) -> tuple[Any, ...]:
        results = _of_elements(run(transformed, unflatten(given, leaves)))
        return tuple(flatten([model.shared(x, n) if n else x for x, n in zip(results, unsaid, strict=True)]))

    out_specs = tuple(_specs(params["out_specs"], outputs))
    leaves = _mapped(body, params, in_specs, out_specs)(*flatten(operands))
    return unflatten(outputs, leaves)


def _of_elements(xs: Sequence[Annotated]) -> list[Annotated]:
    """Without norms of rows, of which a device may hold a part."""
    return [x._replace(norm=None) for x in xs]


def _mapped(f: Any, params: dict[str, Any], in_specs: Sequence[Any], out_specs: Any) -> Any:
    return jax.shard_map(
        f,
        mesh=params["mesh"],
        in_specs=tuple(in_specs),
        out_specs=out_specs,
        axis_names=params["newly_manual_axes"],
        check_vma=params["check_vma"],
    )


def _specs(specs: Sequence[Any], signatures: Sequence[Signature]) -> list[Any]:
    """A spec for each leaf of `flatten`: annotations are sharded as their values."""
    pairs = zip(specs, signatures, strict=True)
    return [*specs, *(spec for spec, x in pairs for _ in range(x.structure.num_leaves))]


def _unsaid(params: dict[str, Any], spec: Any) -> tuple[Any, ...]:
    """The axes along which a result is promised to be the same, without a check."""
    if params["check_vma"]:
        return ()
    named = {name for part in spec if part is not None for name in (part if isinstance(part, tuple) else (part,))}
    return tuple(sorted(params["newly_manual_axes"] - named))
