"""Names for the modules of Flax's nnx: JAX is not told of them, as it is of linen's."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax


class _Calls(NamedTuple):
    """The modules below the outermost one that is being called, by identity, and the path of the innermost one."""

    paths: dict[int, str]
    current: str


_CALLS: contextvars.ContextVar[_Calls | None] = contextvars.ContextVar("_CALLS", default=None)


@contextlib.contextmanager
def named_modules() -> Iterator[None]:
    """While this is entered, calls of nnx modules are named scopes: class of the outermost one, then attributes."""
    nnx = sys.modules.get("flax.nnx")  # whoever has such a module has imported it
    classes = [] if nnx is None else [c for c in _subclasses(nnx.Module) if "__call__" in vars(c)]
    originals = {c: vars(c)["__call__"] for c in classes}
    try:
        for c, call in originals.items():
            c.__call__ = _named(call, nnx)
        yield
    finally:
        for c, call in originals.items():
            c.__call__ = call


def _subclasses(c: type) -> list[type]:
    return [d for sub in c.__subclasses__() for d in (sub, *_subclasses(sub))]


def _named(call: Callable[..., Any], nnx: Any) -> Callable[..., Any]:
    @functools.wraps(call)
    def named(self: Any, *args: Any, **kwargs: Any) -> Any:
        name, calls = _place(self, nnx)
        if name is None:
            return call(self, *args, **kwargs)
        token = _CALLS.set(calls)
        try:
            with jax.named_scope(name):
                return call(self, *args, **kwargs)
        finally:
            _CALLS.reset(token)

    return named


def _place(module: Any, nnx: Any) -> tuple[str | None, _Calls | None]:
    """The name of a call within the call around it; None for a parent's __call__ and for modules made on the way."""
    calls = _CALLS.get()
    if calls is None:
        paths = {id(m): "/".join(map(str, path)) for path, m in nnx.iter_modules(module)}
        return type(module).__name__, _Calls(paths, "")
    path = calls.paths.get(id(module))
    if not path or path == calls.current:
        return None, None
    return path.removeprefix(f"{calls.current}/"), calls._replace(current=path)
