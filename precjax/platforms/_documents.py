"""What documents say of platforms that nobody measured here, and what they leave open.

`documented.csv` holds, per elementary function and format, the largest error in units in the last place, as published:
docs.jax.dev, "Numerical accuracy" (2026-09-18): over all numbers of 16 and 32 bits, samples of float64, and of pairs of
numbers, on NVIDIA H100 and B200 and on generations of TPUs; and of the quotient on GPUs the PTX ISA (div.full.f32). A
unit in the last place is at most two unit roundoffs; half as much again is added, as for figures that were measured,
since functions are compiled into other code in loops. Products are in `products.csv`.

Rules that know an algorithm of XLA:CPU, or of its libraries, say nothing of other platforms, nor do rules of complex
numbers, whose functions are formulas that a compiler may contract: they are refused.
"""

from __future__ import annotations

import csv
import functools
from importlib import resources
from typing import Any

import jax.numpy as jnp

from precjax._rounding import format_of, is_inexact

UNITS = 3.0  # unit roundoffs for a documented unit in the last place: two, and half as much again
_OPERATIONS = 16  # of the platform's quotients and roots that a bound is made of, more than any rule takes

_ALGORITHMS = {
    "other libraries than those that were studied compute it": """
        triangular_solve custom_linear_solve tridiagonal_solve symmetric_product cholesky cholesky_update eig lu slogdet
        det qr householder_product ormqr geqrf eigh svd fft""",
    "it may be approximate": "approx_top_k",
    "its formula was measured on CPUs only": """
        cumlogsumexp lgamma digamma polygamma zeta igamma igammac igamma_grad_a regularized_incomplete_beta
        random_gamma_grad""",
}
ALGORITHMS = {name: reason for reason, names in _ALGORITHMS.items() for name in names.split()}


@functools.cache
def documents() -> dict[str, dict[tuple[str, str], float]]:
    """Documented platforms: (primitive, name of the format) -> units in the last place.

    Returns:
        Each by its name, and "tpu" for the largest figures of all generations.
    """
    text = (resources.files(__package__) / "documented.csv").read_text()
    found: dict[str, dict[tuple[str, str], float]] = {}
    for row in csv.DictReader(text.splitlines()):
        key = row.pop("primitive"), row.pop("format")
        for name, figure in row.items():
            for platform in {name, name.partition(" ")[0]} if figure else ():
                figures = found.setdefault(platform, {})
                figures[key] = max(float(figure), figures.get(key, 0.0))
    return found


def slack(factors: dict[tuple[str, str], float]) -> float:
    """What a bound may lose where quotients and roots are rounded more than sums; relative, in float32."""
    # Bounds divide where the program does not: a TPU's quotient is taken to be no worse than its reciprocal.
    worst = max(factors.get((name, "float32"), 1.0) for name in ("div", "reciprocal", "sqrt", "rsqrt"))
    return _OPERATIONS * worst * format_of(jnp.float32).unit_roundoff


def reason_against(name: str, dtypes: list[Any], platform: str) -> str | None:
    """Why a rule does not hold there, whatever figures there are.

    Args:
        name: of the primitive.
        dtypes: of its operands and results.
        platform: its name.

    Returns:
        The reason, None if it holds.
    """
    if any(jnp.issubdtype(dtype, jnp.complexfloating) for dtype in dtypes):
        return f"nothing is documented of complex numbers on platform {platform!r}"
    if name in ALGORITHMS:
        return f"on platform {platform!r} {ALGORITHMS[name]}"
    if platform.startswith("tpu") and any(is_inexact(d) and format_of(d).digits > 24 for d in dtypes):
        return f"platform {platform!r} emulates float64, how is not documented"
    if name == "dot_general" and any(is_inexact(d) and format_of(d).digits < 8 for d in dtypes):
        return f"how platform {platform!r} adds products of 8 bits and less is not documented"
    return None
