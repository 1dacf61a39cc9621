"""Stops a program at the line that loses too many bits, as ``jax_debug_nans`` does for NaN."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from jax.experimental import checkify

from precjax._hooks import AROUND_CALLS, Equation, Hook, Site
from precjax._rounding import dtype_of, is_inexact
from precjax._transform import is_traced, track
from precjax.analysis._summaries import Summaries, exact_bits_of
from precjax.models import ErrorModel


class PrecisionError(ArithmeticError):
    """A result has fewer exact bits than were asked for.

    Attributes:
        site: where.
        bits: how many it has.
    """

    def __init__(self, message: str, site: Site, bits: float) -> None:
        """With a message that names both."""
        super().__init__(message)
        self.site, self.bits = site, bits


def guard(
    f: Callable[..., Any] | None = None,
    *,
    min_bits: float = 4,
    model: str | ErrorModel = "probabilistic",
    **options: Any,
) -> Any:
    """The same function, which raises at the first line whose result has too few exact bits; or a block that does.

    Args:
        f: any function that JAX can trace. Without one, ``with precjax.guard(min_bits=4):`` guards the calls of tracked
            functions inside the block, each under its own model.
        min_bits: how many exact bits every result must have: -log2 of the mean error over the mean size, so an array
            may hold some numbers that have fewer.
        model: "probabilistic" (errors as they are likely to be) or "worst_case" (as they may be), or an instance.
        **options: further options of `track`.

    Returns:
        A function of the same arguments, any subtree of which may be a `Tracked`, that returns what `f` does. Inside
        jit and other transformations nothing can be raised: there it makes ``jax.experimental.checkify`` checks, for
        ``checkify.checkify`` to collect. Without `f`, a context manager. It sees tracked functions that are called with
        arrays; not what is not tracked, nor calls inside jit or another transformation, nor models whose errors come
        from a run beside the program ("certified", "shadow", "stochastic").

    Raises:
        PrecisionError: when called, with the line, the primitive, the bits, and what cancelled.
        ValueError: if `min_bits` is not positive, or the model has no errors along with the values.
        TypeError: if `f` is not callable.

    Example:
        >>> import jax.numpy as jnp, precjax
        >>> try:
        ...     precjax.guard(lambda x: (1 - jnp.cos(x)) / x**2)(1e-3)
        ... except precjax.PrecisionError as error:
        ...     print(error.site.primitive)
        sub
    """
    if not min_bits > 0:
        raise ValueError(f"min_bits={min_bits!r}: expected a positive number of bits")
    if f is None:
        return _guarded_block(min_bits)
    hook, checks = Summaries(), _Checks(min_bits)
    watched, checked = (track(f, model=model, hooks=[h], **options) for h in (hook, checks))

    @functools.wraps(f)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if is_traced(args, kwargs):
            return checked(*args, **kwargs).value
        result = hook.watch(watched, *args, **kwargs)
        _raise_first(hook.seen, min_bits)
        return result.value

    return guarded


@contextlib.contextmanager
def _guarded_block(min_bits: float) -> Iterator[None]:
    hook = Summaries()

    def around(hooked: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = hook.watch(hooked(hook), *args, **kwargs)
        _raise_first(hook.seen, min_bits)
        return result

    token = AROUND_CALLS.set(around)
    try:
        yield
    finally:
        AROUND_CALLS.reset(token)


def _raise_first(seen: dict[Site, dict[str, float]], min_bits: float) -> None:
    low = [(kept["order"], site, kept) for site, kept in seen.items() if kept.get("fewest", min_bits) < min_bits]
    if not low:
        return
    _, site, kept = min(low, key=lambda x: x[0])
    cancelled = kept.get("cancelled", 0.0)
    cause = f"its terms cancel, {cancelled:.1f} bits of them" if cancelled > 1 else "rounding, and what came in"
    message = (
        f"{_place(site)} leaves {kept['fewest']:.1f} exact bits, fewer than min_bits={min_bits}; its operands had "
        f"{kept['bits_in'] / kept['runs']:.1f} ({cause}). precjax.report shows where the others went"
    )
    raise PrecisionError(message, site, kept["fewest"])


def _place(site: Site) -> str:
    function = f" ({site.function})" if site.function else ""
    module = f", in {site.module}" if site.module else ""
    return f"{site.primitive} at {site.line}{function}{module}"


class _Checks(Hook):
    """A check for checkify in the place of every equation."""

    def __init__(self, min_bits: float) -> None:
        self.min_bits = min_bits

    def trace(self, equation: Equation) -> None:
        """Checks the results.

        Args:
            equation: any.
        """
        for x in equation.results:
            if is_inexact(dtype_of(x.value)) and x.value.size:
                bits = exact_bits_of(x)
                text = f"{_place(equation.site)} leaves {{bits}} exact bits, fewer than min_bits={self.min_bits}"
                checkify.check(bits >= self.min_bits, text, bits=bits)
