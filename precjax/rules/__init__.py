"""The rules, one family of primitives per file; importing this package fills the table."""

from precjax.rules import (  # noqa: F401
    adam,
    arithmetic,
    contraction,
    control_flow,
    conversion,
    decision,
    eigenvalues,
    elementary,
    elimination,
    extremum,
    factorization,
    indexing,
    integer,
    linalg,
    pooling,
    power,
    random,
    reduction,
    spectral,
    structural,
)
