"""What each platform's arithmetic does: data, with sources.

`cpu.csv` holds, per elementary function and format, the largest error in units of unit_roundoff times a scale:
``value`` |f|, ``value_x`` |f| (1 + |x|), ``upper_tail`` |f| (1 + max(x, 0)**2), ``value_log`` |f| (1 + |log|x||),
``conditioned`` |f| + |x f'(x)|, ``reciprocal`` |f|, and 1 / largest for what overflows before it is inverted,
``near_largest`` |f|, four times that next to overflow; ``iterated`` what a series or fraction adds, see
`precjax.rules.exponents`; scales of other special functions are named after them, and stated in
`precjax.rules.accuracy` and beside their rules. A narrow format without a figure computes in float32, and rounds once
more (checked over all numbers, for functions of one). A row with a version under ``before`` replaces the general one
for older jaxlibs. The figures are maxima over all 2**32 float32 numbers, all 2**16 of each 16-bit format, and about 3
million stratified float64 numbers, over vector, scalar and loop code and over instruction sets, enlarged as each row
says (jaxlib 0.12.0, x86-64); rows that say "sampled" are maxima over some ten thousand points. Float64 rows are
therefore measured, not proved; `tests/measure_ulps.py` and `tests/measure_special.py` measure again on the machine at
hand.

`products.csv` says what matrix products and convolutions of float32 do on each platform, from documents: how much they
round their operands by default, in how many units each addition is rounded, and whether convolutions obey the
componentwise bound of inner products (Winograd's and FFT's do not). It holds platforms without a table of ulps too:
with `documented.csv` it is what `assumed` goes by, where bounds are refused otherwise.

`cpu_complex.csv` holds the same for complex numbers, |value - exact| in moduli. Its scales follow the formulas that XLA
uses: ``branch`` |f|, and the root of the smallest normal number next to a root of f; ``growth`` exp |Re z| (1 +
|Re z|); ``tangent`` 1 + |f| + |f|**2; ``pole`` |f| + |f|**2; ``logarithmic`` |f| (1 + |w| (1 + |log z|)) for z**w;
``norm`` as in `rules.fft`. `tests/measure_complex.py` measures them: 2 million complex64 and 150,000 complex128
numbers, in vectors and in loops, both jaxlibs.
"""

from __future__ import annotations

import contextlib
import csv
import functools
from collections.abc import Mapping
from importlib import resources
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from precjax import _jax_compat as compat
from precjax._rounding import format_of, is_inexact
from precjax.platforms import _documents
from precjax.platforms._documents import UNITS, documents

# (name, its further figures) of the platform that is assumed, None for none: what JAX compiled for one serves no other.
_ASSUMED = jax.make_user_context(None)


class Accuracy(NamedTuple):
    """Error of an elementary function: at most factor * unit_roundoff * scale."""

    factor: float
    scale: str


class Product(NamedTuple):
    """What products of float32 matrices do at one precision.

    Attributes:
        operand: the largest relative error of what an operand is rounded to before it is multiplied.
        sums: the units in the last place that each addition may lose, in unit roundoffs of the accumulator.
        componentwise: whether convolutions are sums of products, in any order.
    """

    operand: float
    sums: float
    componentwise: bool


class Platform(NamedTuple):
    """A platform on which bounds hold.

    Attributes:
        name: as ``jax.default_backend()`` gives it, or as `assumed` was given it.
        table: (primitive, dtype name) -> Accuracy.
        flushing: dtypes whose subnormal operands and results may be taken as 0.
        products: precision -> `Product`.
        merges: whether plain programs compute (x + c) + d as x + (c + d), exp(x) exp(y) as exp(x + y): jaxlib 0.10.2
            does, 0.12 does not.
        studied: whether rules that know its algorithms and libraries, beside its figures, hold.
        slack: what bounds may lose besides, relative, as they are computed there themselves.
    """

    name: str
    table: dict[tuple[str, str], Accuracy]
    flushing: frozenset[str]
    products: dict[str, Product]
    merges: bool
    studied: bool = True
    slack: float = 0.0

    def accuracy(self, primitive: str, dtype: Any) -> Accuracy | None:
        """The row of a primitive in a format, None if it was never measured."""
        return self.table.get((primitive, jnp.dtype(dtype).name))

    def product(self, precision: Any, *dtypes: Any) -> Product:
        """What a product does at the precision that an equation names; its operands keep their bits but in float32."""
        both = precision if isinstance(precision, tuple) else (precision, precision)
        rows = [self.products["DEFAULT" if p is None else getattr(p, "name", p)] for p in both]
        wide = any(is_inexact(dtype) and format_of(dtype).digits == 24 for dtype in dtypes)
        return rows[0]._replace(operand=max(row.operand for row in rows) if wide else 0.0)

    def reason_against(self, name: str, dtypes: list[Any]) -> str | None:
        """Why nothing is known of a primitive of these dtypes here; None where its rule holds."""
        if self.studied:
            return None
        unknown = _needing_figures() - {primitive for primitive, _ in self.table}
        if name in unknown and any(map(is_inexact, dtypes)):
            say = f"; if you know it, say so: precjax.platforms.assumed({self.name!r}, ulps={{{name!r}: ...}})"
            return f"its accuracy on platform {self.name!r} is not known{'' if _has_table(self.name) else say}"
        return _documents.reason_against(name, dtypes, self.name)

    def read_loss(self, dtype: Any) -> float:
        """What reading a subnormal operand as 0 may lose: both parts of a complex one."""
        part, parts = jnp.finfo(dtype).dtype, 2.0 if jnp.issubdtype(dtype, jnp.complexfloating) else 1.0
        return parts * format_of(dtype).smallest_normal if part.name in self.flushing else 0.0

    def underflow(self, dtype: Any) -> float:
        """Absolute error of a result in the subnormal range: flushed to 0, or rounded to a subnormal."""
        fmt = format_of(dtype)
        return self.read_loss(dtype) or fmt.smallest_normal * fmt.unit_roundoff


class UnknownPlatformError(NotImplementedError):
    """No arithmetic was measured for this platform, so nothing can be proved on it."""


def assumed(name: str, *, ulps: Mapping[str, float] | None = None) -> contextlib.AbstractContextManager[None]:
    """Bounds by what is documented of a platform that was not measured, inside of a ``with`` block.

    Args:
        name: "gpu" (NVIDIA's), "tpu" for any generation, or one: "tpu v2-v5e", "tpu v5p", "tpu v6e", "tpu 7x". It need
            not be where the program runs: on a CPU, bounds are then those that a run there would get.
        ulps: further figures, or others: primitive -> the largest error of its results in units in the last place,
            in every format. Quotients ("div") of TPUs are not documented.

    Returns:
        The context; programs are traced in it, and what was compiled outside of it is not used inside.

    Guarantee:
        None is proved. |value - exact| <= error as far as the figures hold, which were published after tests, not
        proofs, enlarged by half; any order of sums, with or without FMA, subnormals flushed or not, products of
        float32 in the platform's default precision. What is not documented is refused: on GPUs powers, convolutions,
        complex numbers, linear algebra and Fourier transforms; on TPUs float64 besides.

    Raises:
        UnknownPlatformError: if nothing is documented of the platform, or if it was measured.
        ValueError: if `ulps` names no primitive that needs a figure, or no number of at least 1/2.

    Example:
        >>> import jax.numpy as jnp, precjax
        >>> with precjax.platforms.assumed("gpu"):
        ...     there = precjax.track(jnp.exp)(1.0).error
        >>> bool(there > precjax.track(jnp.exp)(1.0).error)
        True

    References:
        docs.jax.dev, Numerical accuracy, and Matmul precision. NVIDIA, PTX ISA, div.
    """
    if _has_table(name) or name not in documents():
        known = ", ".join(map(repr, sorted(documents())))
        why = "was measured: its bounds need no assumption" if _has_table(name) else "has no documents here"
        raise UnknownPlatformError(f"platform {name!r} {why}; assumed(...) knows {known}")
    for primitive, figure in (ulps or {}).items():
        if primitive not in _needing_figures():
            raise ValueError(f"ulps: {primitive!r} is none of {', '.join(sorted(_needing_figures()))}")
        if not 0.5 <= figure < float("inf"):
            raise ValueError(f"ulps={{{primitive!r}: {figure!r}}}: expected a number of at least 0.5, correct rounding")
    return _ASSUMED((name, tuple(sorted((ulps or {}).items()))))


def assumption() -> Any:
    """What is assumed where the program is traced: part of the key of whatever is kept of it; None for nothing."""
    return _ASSUMED.value


def where_measured(name: str) -> contextlib.AbstractContextManager[None]:
    """What runs on a platform that was measured goes by that, whatever is assumed of another."""
    return _ASSUMED(None) if _has_table(name) else contextlib.nullcontext()


def current() -> Platform:
    """The platform that is assumed, or that JAX compiles for: that of ``jax.default_device``, if one is set."""
    if (found := assumption()) is not None:
        return _documented(*found)
    device = jax.config.jax_default_device
    name = device if isinstance(device, str) else getattr(device, "platform", None)
    return platform(name.partition(":")[0] if name else jax.default_backend())


@functools.cache
def platform(name: str) -> Platform:
    """The description of a platform.

    Args:
        name: as ``jax.default_backend()`` gives it.

    Returns:
        Its description.

    Raises:
        UnknownPlatformError: if there is no table for it.
    """
    if not _has_table(name):
        opt_in = f", go by what is documented of it (with precjax.platforms.assumed({name!r}): ...)"
        raise UnknownPlatformError(
            f"platform {name!r} has no table of ulps, so no bound can be proved on it. Run on the CPU "
            f"(jax.config.update('jax_platforms', 'cpu')), certify its results there with "
            f"precjax.Certified(device='cpu'){opt_in if name in documents() else ''}, or measure it: "
            f"tests/measure_ulps.py --write writes platforms/{name}.csv"
        )
    table = _rows(_file(f"{name}.csv")) | _rows(_file(f"{name}_complex.csv"))
    return _platform(name, table, products(name), studied=name == "cpu")


@functools.cache
def _documented(name: str, more: tuple[tuple[str, float], ...]) -> Platform:
    """The description of a platform as documented, with the user's figures in place of those."""
    figures = {key: UNITS * ulps for key, ulps in documents()[name].items()}
    for primitive, ulps in more:
        figures |= {(primitive, dtype): 2.0 * ulps for dtype in ("float32", "float64", "bfloat16", "float16")}
    scales = {primitive: "reciprocal" for primitive, _ in figures if primitive == "logistic"}
    table = {key: Accuracy(factor, scales.get(key[0], "value")) for key, factor in figures.items()}
    return _platform(name, table, products(name.partition(" ")[0]), studied=False)


def _platform(
    name: str, table: dict[tuple[str, str], Accuracy], product: dict[str, Product], studied: bool
) -> Platform:
    # float16 arithmetic runs in float32, or natively with subnormals kept: measured on two CPUs.
    flushing = frozenset({"float32", "float64", "bfloat16"})
    slack = 0.0 if studied else _documents.slack({key: accuracy.factor for key, accuracy in table.items()})
    return Platform(name, table, flushing, product, compat.jaxlib_before("0.12"), studied, slack)


@functools.cache
def _needing_figures() -> set[str]:
    """The functions that rules have no bound for but a table's."""
    return {primitive for primitive, _ in _rows(_file("cpu.csv"))} - _documents.ALGORITHMS.keys()


def _file(name: str) -> Any:
    return resources.files(__name__) / name


def _has_table(name: str) -> bool:
    return _file(f"{name}.csv").is_file() and bool(products(name))


def products(name: str) -> dict[str, Product]:
    """What is documented of a platform's matrix products, by precision; empty if nothing is."""
    rows = csv.DictReader(_file("products.csv").read_text().splitlines())
    return {
        row["precision"]: Product(float(row["operand"]), float(row["sums"]), row["convolutions"] == "yes")
        for row in rows
        if row["platform"] == name
    }


def _rows(source: Any) -> dict[tuple[str, str], Accuracy]:
    """The rows of a file that hold for the jaxlib at hand, by primitive and format."""
    table = {}
    for row in csv.DictReader(source.read_text().splitlines()):
        if row["before"] and not compat.jaxlib_before(row["before"]):
            continue
        for dtype in row.keys() - {"primitive", "before", "scale", "source"}:
            if row[dtype]:
                table[row["primitive"], dtype] = Accuracy(float(row[dtype]), row["scale"])
    return table
