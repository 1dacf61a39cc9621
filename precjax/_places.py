"""Where in the user's program an equation stands: its line, and the path of names that it is under.

JAX forgets both where it traces an inner function: an equation of a library's function knows no line of the user's, and
belongs to the place of the call; one of any inner function starts a new path, which continues that of the call.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from precjax import _jax_compat as compat

_OWN = os.path.dirname(__file__) + os.sep
_DEMO = os.path.join(_OWN, "demo") + os.sep  # a user's program


class Place(NamedTuple):
    """A line of the user's program.

    Attributes:
        file: its path.
        number: from 1.
        function: that it is in.
    """

    file: str
    number: int
    function: str

    @property
    def line(self) -> str:
        """``"file.py:12"``."""
        return f"{os.path.basename(self.file)}:{self.number}"

    def __str__(self) -> str:
        """As editors find it."""
        return f"{self.file}:{self.number} ({self.function})"


# The equation that calls a library's function, from the user's program.
_CALLED_BY: contextvars.ContextVar[Any] = contextvars.ContextVar("_CALLED_BY", default=None)


def place_of(eqn: Any) -> Place | None:
    """The place of an equation, or of the call of the library's function that it is in.

    It is the innermost line outside of installed packages, if there is one.
    """
    frames = [Place(*frame) for frame in compat.source_frames(_CALLED_BY.get() or eqn)]
    frames = [f for f in frames if not f.file.startswith(_OWN) or f.file.startswith(_DEMO)]
    own = [f for f in frames if not compat.is_installed(f.file)]
    return next(iter(own or frames), None)


def line_of(eqn: Any) -> str:
    """The place of an equation, for messages."""
    return str(place_of(eqn) or "(inside a library)")


@contextlib.contextmanager
def called_at(eqn: Any) -> Iterator[None]:
    """What is interpreted inside belongs to the place of this equation, if it calls a library's function."""
    if _CALLED_BY.get() is not None or not compat.is_library_call(eqn):
        yield
        return
    token = _CALLED_BY.set(eqn)
    try:
        yield
    finally:
        _CALLED_BY.reset(token)


# The name stack of the calls around.
_AROUND: contextvars.ContextVar[str] = contextvars.ContextVar("_AROUND", default="")


def full_stack() -> str:
    """The path of names, of modules and transformations, with that of the calls around."""
    return "/".join(part for part in (_AROUND.get(), compat.name_stack()) if part)


def of_gradient(stack: str) -> bool:
    """Whether what has this path of names belongs to a backward pass."""
    return "transpose(" in stack


@contextlib.contextmanager
def inside() -> Iterator[None]:
    """What is traced inside keeps the name stack of now."""
    token = _AROUND.set(full_stack())
    try:
        yield
    finally:
        _AROUND.reset(token)


def place_of_caller() -> Any:
    """What sets apart two callers of one jaxpr: their modules, and their lines if it belongs to a library."""
    caller = _CALLED_BY.get()
    return full_stack(), caller and place_of(caller)
