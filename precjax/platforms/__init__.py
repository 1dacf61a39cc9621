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
componentwise bound of inner products (Winograd's and FFT's do not). It holds platforms without a table of ulps too, so
that what is known of them is written down; bounds are refused there all the same.

`cpu_complex.csv` holds the same for complex numbers, |value - exact| in moduli. Its scales follow the formulas that XLA
uses: ``branch`` |f|, and the root of the smallest normal number next to a root of f; ``growth`` exp |Re z| (1 +
|Re z|); ``tangent`` 1 + |f| + |f|**2; ``pole`` |f| + |f|**2; ``logarithmic`` |f| (1 + |w| (1 + |log z|)) for z**w;
``norm`` as in `rules.fft`. `tests/measure_complex.py` measures them: 2 million complex64 and 150,000 complex128
numbers, in vectors and in loops, both jaxlibs.
"""

from __future__ import annotations

import csv
import functools
from importlib import resources
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from precjax import _jax_compat as compat
from precjax._rounding import format_of, is_inexact


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
    """A platform on which bounds are proved.

    Attributes:
        name: as ``jax.default_backend()`` gives it.
        table: (primitive, dtype name) -> Accuracy.
        flushing: dtypes whose subnormal operands and results may be taken as 0.
        products: precision -> `Product`.
        merges_constants: whether plain programs compute (x + c) + d as x + (c + d): jaxlib 0.10.2 does, 0.12 does not.
    """

    name: str
    table: dict[tuple[str, str], Accuracy]
    flushing: frozenset[str]
    products: dict[str, Product]
    merges_constants: bool

    def accuracy(self, primitive: str, dtype: Any) -> Accuracy | None:
        """The row of a primitive in a format, None if it was never measured."""
        return self.table.get((primitive, jnp.dtype(dtype).name))

    def product(self, precision: Any, *dtypes: Any) -> Product:
        """What a product does at the precision that an equation names; its operands keep their bits but in float32."""
        both = precision if isinstance(precision, tuple) else (precision, precision)
        rows = [self.products["DEFAULT" if p is None else getattr(p, "name", p)] for p in both]
        wide = any(is_inexact(dtype) and format_of(dtype).digits == 24 for dtype in dtypes)
        return rows[0]._replace(operand=max(row.operand for row in rows) if wide else 0.0)

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


def current() -> Platform:
    """The platform that JAX compiles for: that of ``jax.default_device``, if one is set."""
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
    source = resources.files(__name__) / f"{name}.csv"
    if not (source.is_file() and products(name)):
        raise UnknownPlatformError(
            f"platform {name!r} has no table of ulps, so no bound can be proved on it. Run on the CPU "
            f"(jax.config.update('jax_platforms', 'cpu')), certify its results there with "
            f"precjax.Certified(device='cpu'), or measure it: tests/measure_ulps.py --write writes platforms/{name}.csv"
        )
    table = _rows(source) | _rows(source.with_name(f"{name}_complex.csv"))
    # float16 arithmetic runs in float32, or natively with subnormals kept: measured on two CPUs.
    flushing = frozenset({"float32", "float64", "bfloat16"})
    return Platform(name, table, flushing, products(name), compat.jaxlib_before("0.12"))


def products(name: str) -> dict[str, Product]:
    """What is documented of a platform's matrix products, by precision; empty if nothing is."""
    rows = csv.DictReader((resources.files(__name__) / "products.csv").read_text().splitlines())
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
