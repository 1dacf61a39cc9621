"""Training with its rounding errors in sight: is this step still a step, or is it noise?

Imported on its own (``import precjax.optax``), as it needs optax. `value_and_grad` gives loss and gradient with their
errors; `monitor` wraps an optimizer, carries these errors through its update, and writes down, step by step, how many
bits of each are exact. Errors are those of one step: what earlier steps rounded is part of the parameters that it
starts from.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from precjax._rounding import dtype_of, is_inexact
from precjax._tracked import Tracked, is_tracked
from precjax._transform import track
from precjax.analysis._summaries import exact_bits_of
from precjax.analysis._table import csv_of, table
from precjax.models import ErrorModel, resolve

__all__ = ["History", "LossAndGradient", "Monitored", "history", "monitor", "value_and_grad"]


class LossAndGradient(NamedTuple):
    """What `value_and_grad` returns; a monitored optimizer takes it in place of a gradient.

    Attributes:
        loss: `Tracked` scalar.
        gradient: `Tracked` of trees shaped as the parameters.
    """

    loss: Tracked
    gradient: Tracked


class Monitored(NamedTuple):
    """The state of a monitored optimizer: a tree of arrays, to be saved and restored as any other.

    Attributes:
        inner: the state of the optimizer itself.
        steps: how many there were, int32.
        noisy: how many of them were noise, int32.
        first: the first of these, -1 if there is none, int32.
        loss: the last losses ``(n,)``, float32; NaN where none was given.
        loss_error: their errors ``(n,)``, float32.
        gradient: by module, exact bits of its gradient ``(n,)``, float32.
        update: by module, exact bits of its update ``(n,)``, float32.
        noise: whether the step was noise ``(n,)``, bool.
    """

    inner: Any
    steps: Any
    noisy: Any
    first: Any
    loss: Any
    loss_error: Any
    gradient: dict[str, Any]
    update: dict[str, Any]
    noise: Any


def value_and_grad(f: Callable[..., Any], *, model: str | ErrorModel = "probabilistic", **options: Any) -> Any:
    """As ``jax.value_and_grad``, with the rounding errors of both.

    Args:
        f: a function that JAX can differentiate, with a scalar result.
        model: of the errors, as in `precjax.track`.
        **options: of ``jax.value_and_grad``, but ``has_aux``.

    Returns:
        A function of the same arguments that returns a `LossAndGradient`.

    Guarantee:
        That of the model.

    Raises:
        TypeError: if `f` is not callable.

    Example:
        >>> import jax.numpy as jnp, precjax.optax
        >>> loss, gradient = precjax.optax.value_and_grad(lambda w: jnp.sum(jnp.sin(w)))(jnp.ones(3))
        >>> bool(loss.error > 0), gradient.value.shape
        (True, (3,))
    """
    tracked = track(jax.value_and_grad(f, **options), model=model)

    @functools.wraps(f)
    def found(*args: Any, **kwargs: Any) -> LossAndGradient:
        (loss, gradient), (loss_error, gradient_error) = tracked(*args, **kwargs)
        return LossAndGradient(Tracked(loss, loss_error), Tracked(gradient, gradient_error))

    return found


def monitor(
    optimizer: Any, *, min_bits: float = 1.0, steps: int = 1000, model: str | ErrorModel = "probabilistic"
) -> optax.GradientTransformationExtraArgs:
    """The same optimizer, which keeps the exact bits of loss, gradient and update in its state.

    A step is *noise* if the change of the loss since the step before is no larger than the errors of the two losses, or
    if the update of a module has fewer than `min_bits` exact bits.

    Args:
        optimizer: any optax transformation.
        min_bits: that an update must have: -log2 of its mean error over its mean size; 1 is an error of half of it.
        steps: how many of the last steps are kept.
        model: of the errors that the optimizer itself adds, as in `precjax.track`.

    Returns:
        A transformation whose state is a `Monitored`. Its ``update(gradient, state, params, loss=None,
        gradient_error=None)`` takes a `LossAndGradient`, a `Tracked`, or a plain tree, then exact but for
        ``gradient_error``, and returns plain updates, those of the optimizer. So flax's
        ``TrainState.apply_gradients(grads=...)`` may be given a `LossAndGradient`; ``nnx.Optimizer.update(model,
        gradient.value, gradient_error=gradient.error, loss=loss)`` wants arrays. It works under jit and in scans;
        other keyword arguments go on to the optimizer.

    Guarantee:
        That of the model, for the step alone: the parameters and the state that it starts from count as exact.

    Raises:
        ValueError: if an option is wrong, or the model's errors are signed.

    Example:
        >>> import jax.numpy as jnp, optax, precjax.optax
        >>> optimizer = precjax.optax.monitor(optax.sgd(0.1))
        >>> w = {"layer": {"w": jnp.ones(3)}}
        >>> state = optimizer.init(w)
        >>> found = precjax.optax.value_and_grad(lambda w: jnp.sum(jnp.sin(w["layer"]["w"])))(w)
        >>> updates, state = optimizer.update(found, state, w)
        >>> precjax.optax.history(state).rows[0]["noise"]
        False
    """
    if not min_bits > 0:
        raise ValueError(f"min_bits={min_bits!r}: expected a positive number of bits")
    if not (isinstance(steps, int) and steps > 0):
        raise ValueError(f"steps={steps!r}: expected a positive number of steps to keep")
    if resolve(model).signed:
        raise ValueError(f"model={model!r}: its errors have signs; expected a model whose errors are sizes")
    inner = optax.with_extra_args_support(optimizer)

    def init(params: Any) -> Monitored:
        blank = {name: jnp.zeros(steps, jnp.float32) for name in _modules(params)}
        none, zero = jnp.full(steps, jnp.nan, jnp.float32), jnp.int32(0)
        noise = jnp.zeros(steps, bool)
        return Monitored(inner.init(params), zero, zero, jnp.int32(-1), none, none, blank, dict(blank), noise)

    def update(gradient: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Monitored]:
        loss, gradient, extra = _taken(gradient, extra)
        out = track(inner.update, model=model)(gradient, state.inner, params, **extra)
        (updates, rest), (errors, _) = out
        state = _written(state._replace(inner=rest), loss, gradient, Tracked(updates, errors), min_bits)
        return updates, state

    return optax.GradientTransformationExtraArgs(init, update)


def _taken(gradient: Any, extra: dict[str, Any]) -> tuple[Tracked | None, Tracked, dict[str, Any]]:
    """(loss, gradient, other arguments), the first two with errors."""
    extra = dict(extra)
    loss, error = extra.pop("loss", None), extra.pop("gradient_error", None)
    if isinstance(gradient, LossAndGradient):
        loss, gradient = gradient
    if loss is not None and not is_tracked(loss):
        loss = Tracked(*loss) if isinstance(loss, tuple | list) else Tracked(loss, 0.0)
    if not is_tracked(gradient):
        gradient = Tracked(gradient, jax.tree.map(_zero, gradient) if error is None else error)
    return loss, gradient, extra


def _zero(x: Any) -> Any:
    return np.zeros((), np.float32)


def _written(state: Monitored, loss: Any, gradient: Tracked, update: Tracked, min_bits: float) -> Monitored:
    """The state with one more step."""
    count = state.noise.shape[0]
    at, before = state.steps % count, (state.steps - 1) % count
    value, error = (jnp.nan, jnp.nan) if loss is None else loss
    value, error = jnp.asarray(value, jnp.float32), jnp.asarray(error, jnp.float32)
    bits = [_bits_by_module(x) for x in (gradient, update)]
    still = (state.steps > 0) & (jnp.abs(value - state.loss[before]) <= error + state.loss_error[before])
    noise = still | jnp.any(jnp.stack([x < min_bits for x in bits[1].values()] or [jnp.bool_(False)]))
    gradients, updates = (
        {name: kept[name].at[at].set(found[name]) for name in kept}
        for kept, found in zip((state.gradient, state.update), bits, strict=True)
    )
    return Monitored(
        inner=state.inner,
        steps=state.steps + 1,
        noisy=state.noisy + noise,
        first=jnp.where(noise & (state.first < 0), state.steps, state.first),
        loss=state.loss.at[at].set(value),
        loss_error=state.loss_error.at[at].set(error),
        gradient=gradients,
        update=updates,
        noise=state.noise.at[at].set(noise),
    )


def _modules(tree: Any) -> dict[str, list[int]]:
    """Which leaves belong to which module: the path of names but for the last."""
    found: dict[str, list[int]] = {}
    for index, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path(tree)):
        if is_inexact(dtype_of(leaf)) and np.size(leaf):
            names = [str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path]
            names = names[:-1] if names[-1:] == ["value"] else names  # of a variable of nnx
            found.setdefault("/".join(names[:-1] or names) or "parameters", []).append(index)
    return found


def _bits_by_module(tracked: Tracked) -> dict[str, Any]:
    values, errors = jax.tree.leaves(tracked.value), jax.tree.leaves(tracked.error)
    found = {}
    for name, indices in _modules(tracked.value).items():
        flat = jnp.concatenate([jnp.ravel(values[i]) for i in indices])
        missed = [jnp.ravel(jnp.broadcast_to(errors[i], jnp.shape(values[i]))) for i in indices]
        found[name] = exact_bits_of(Tracked(flat, jnp.concatenate(missed))).astype(jnp.float32)
    return found


@dataclasses.dataclass(frozen=True)
class History:
    """The last steps of a monitored training; ``print`` shows them as a table.

    Attributes:
        rows: one dict per step, oldest first: ``step``, ``loss``, ``loss_error``, ``noise``, and for every module
            ``gradient bits/module`` and ``update bits/module``.
        steps: how many steps there were.
        noisy: how many of them were noise.
        first: the first of these; None if there is none.
    """

    rows: list[dict[str, Any]]
    steps: int
    noisy: int
    first: int | None

    def scalars(self) -> Iterator[tuple[str, float, int]]:
        """(tag, value, step), as ``SummaryWriter.add_scalar`` of TensorBoard takes them.

        Yields:
            One per number and step, under ``precjax/``.
        """
        for row in self.rows:
            for name, value in row.items():
                if name != "step":
                    yield f"precjax/{name}", float(value), row["step"]

    def to_csv(self) -> str:
        """The rows as comma-separated text with a head."""
        return csv_of(self.rows, "step")

    def __str__(self) -> str:
        """A table of the last 20 steps: the fewest bits of any module."""
        lines = [("step", "loss", "error", "gradient bits", "update bits", "")]
        for row in self.rows[-20:]:
            bits = [min((v for k, v in row.items() if k.startswith(f"{x} bits/")), default=0) for x in _KINDS]
            shown = [f"{row[k]:.6g}" for k in ("step", "loss", "loss_error")]
            lines.append((*shown, *(f"{b:.1f}" for b in bits), "noise" if row["noise"] else ""))
        since = "" if self.first is None else f", the first at step {self.first}"
        return f"{table(lines, left=(5,))}\n{self.noisy} of {self.steps} steps are noise{since}"


_KINDS = ("gradient", "update")


def history(state: Any) -> History:
    """What a monitored optimizer has written down.

    Args:
        state: a `Monitored`, or any tree that holds one: the state of a chain, a flax ``TrainState``, an
            ``nnx.Optimizer``'s ``opt_state``.

    Returns:
        A `History`.

    Raises:
        ValueError: if there is no `Monitored` in it.

    Example:
        >>> import jax.numpy as jnp, optax, precjax.optax
        >>> state = precjax.optax.monitor(optax.adam(1e-3)).init({"w": jnp.ones(2)})
        >>> precjax.optax.history(state).steps
        0
    """
    nodes = jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, Monitored))
    found = next((x for x in nodes if isinstance(x, Monitored)), None)
    if found is None:
        raise ValueError(f"history(state): no state of precjax.optax.monitor in {type(state).__name__}")
    kept = jax.tree.map(np.asarray, found._replace(inner=None))
    steps, size = int(kept.steps), len(kept.noise)
    rows = [_row(kept, step, step % size) for step in range(max(steps - size, 0), steps)]
    return History(rows, steps, int(kept.noisy), int(kept.first) if kept.first >= 0 else None)


def _row(kept: Monitored, step: int, at: int) -> dict[str, Any]:
    row = {"step": step, "loss": float(kept.loss[at]), "loss_error": float(kept.loss_error[at])}
    row["noise"] = bool(kept.noise[at])
    for kind, bits in zip(_KINDS, (kept.gradient, kept.update), strict=True):
        row |= {f"{kind} bits/{name}": float(values[at]) for name, values in bits.items()}
    return row
