"""Hooks: what sees every equation of a tracked program, while it is traced and whenever it runs."""

from __future__ import annotations

import contextvars
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from precjax._annotated import Annotated
from precjax._places import full_stack, of_gradient, place_of
from precjax._tracked import Tracked


class Site(NamedTuple):
    """Where an equation stands in the user's program.

    Attributes:
        primitive: its name.
        line: ``"file.py:12"``, the user's line.
        function: the function that the line is in.
        module: path of names, as Flax's modules (linen and nnx) and ``jax.named_scope`` give them, ``""`` outside of
            any; that of a gradient is the path of what it is the gradient of.
        backward: whether it belongs to a gradient.
    """

    primitive: str
    line: str
    function: str
    module: str
    backward: bool


class Equation:
    """An equation as a hook sees it while the program is traced: its arrays are tracers.

    Attributes:
        site: where it stands.
        operands: one `Tracked` per operand.
        results: one `Tracked` per result.
        shared: a dict that all equations of one jaxpr share while it is traced, for what hooks compute once.
    """

    def __init__(
        self, model: Any, eqn: Any, operands: Sequence[Annotated], results: Sequence[Annotated], shared: dict[Any, Any]
    ) -> None:
        """Views an equation that was just run."""
        self.site, self.shared = site_of(eqn), shared
        self.operands, self.results = (tuple(_tracked(model, x) for x in xs) for xs in (operands, results))
        exact = [Annotated(x.value, known=x.known) for x in operands]
        self._again = lambda: [Annotated(*pair) for pair in model.apply(eqn, exact)]
        self._error = model.error

    @functools.cached_property
    def rounding(self) -> tuple[Any, ...]:
        """The errors that the results would have if the operands were exact: what this equation rounds."""
        return tuple(
            np.float32(0) if x.error is None else jnp.broadcast_to(self._error(x), np.shape(result.value))
            for x, result in zip(self._again(), self.results, strict=True)
        )


def _tracked(model: Any, x: Annotated) -> Tracked:
    return Tracked(x.value, model.error(x))


class Hook:
    """Sees every equation of a tracked program; `precjax.track` takes some as ``hooks=[...]``.

    Override both methods. They are called for ordinary equations, those inside loops, branches and jitted functions
    included, in the order of the program.

    Example:
        >>> import jax.numpy as jnp, precjax
        >>> class Largest(precjax.Hook):
        ...     seen = {}
        ...     def trace(self, equation):
        ...         return jnp.max(jnp.abs(equation.results[0].error))
        ...     def observe(self, site, data):
        ...         self.seen[site.primitive] = max(float(data), self.seen.get(site.primitive, 0.0))
        >>> hook = Largest()
        >>> out = precjax.track(lambda x: jnp.exp(x) - 1, hooks=[hook])(1e-3)
        >>> sorted(hook.seen)
        ['exp', 'sub']
    """

    def trace(self, equation: Equation) -> Any:
        """What to observe of an equation at run time.

        Args:
            equation: where it stands, its operands and results; its arrays are tracers.

        Returns:
            A tree of arrays, best small ones: it is copied to the host whenever the equation runs. None for nothing.
        """
        raise NotImplementedError

    def observe(self, site: Site, data: Any) -> None:
        """Takes in what `trace` asked for, once per run of the equation, on the host.

        Args:
            site: where the equation stands.
            data: the tree, of NumPy arrays.
        """
        raise NotImplementedError


# What calls of tracked functions go through inside a block such as ``with precjax.guard():``. It is given a function
# that makes a tracked one with more hooks, and the arguments.
AROUND_CALLS: contextvars.ContextVar[Callable[..., Any] | None] = contextvars.ContextVar("AROUND_CALLS", default=None)


class Watch:
    """What the hooks of a model want to see of one run of a jaxpr; delivered by one callback."""

    def __init__(self, model: Any) -> None:
        """Nothing yet."""
        self._model = model
        self._asked: list[tuple[Hook, Site]] = []
        self._trees: list[Any] = []
        self._shared: dict[Any, Any] = {}

    def add(self, eqn: Any, operands: Sequence[Annotated], results: Sequence[Annotated]) -> None:
        """Asks every hook about an equation that was just run."""
        if not self._model.hooks or not eqn.outvars:
            return
        equation = Equation(self._model, eqn, operands, results, self._shared)
        for hook in self._model.hooks:
            tree = hook.trace(equation)
            if tree is not None:
                self._asked.append((hook, equation.site))
                self._trees.append(tree)

    def deliver(self) -> None:
        """Has everything sent to the hooks whenever this part of the program runs."""
        if self._asked:
            jax.debug.callback(_receiver(tuple(self._asked)), self._trees)


def _receiver(asked: tuple[tuple[Hook, Site], ...]) -> Callable[[Any], None]:
    def receive(trees: Any) -> None:
        for (hook, site), tree in zip(asked, trees, strict=True):
            hook.observe(site, jax.tree.map(np.asarray, tree))

    return receive


def check_hooks(hooks: Any) -> tuple[Hook, ...]:
    """The hooks as a tuple.

    Raises:
        TypeError: if one is none.
    """
    hooks = tuple(hooks)
    for hook in hooks:
        if not isinstance(hook, Hook):
            raise TypeError(f"hooks: expected instances of precjax.Hook, got {hook!r}")
    return hooks


def site_of(eqn: Any) -> Site:
    """Where an equation stands; inside the context of its source."""
    place, stack = place_of(eqn), full_stack()
    line, function = (place.line, place.function) if place else ("(inside a library)", "")
    return Site(eqn.primitive.name, line, function, _path(stack), of_gradient(stack))


def _path(stack: str) -> str:
    """A name stack without the names of transformations: transpose(jvp(Net))/Dense_0 is Net/Dense_0."""
    parts = (
        re.sub(r"\b(transpose|jvp|vmap|rematted_computation|checkpoint|jit\(main\))\b", "", p) for p in stack.split("/")
    )
    return "/".join(name for part in parts if (name := part.strip("()")))
