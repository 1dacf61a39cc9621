"""The rules, one family of primitives per file; importing this package fills the table."""

from precjax.rules import (  # noqa: F401
    adam,
    arithmetic,
    beta,
    contraction,
    control_flow,
    conversion,
    decision,
    elementary,
    extremum,
    incomplete,
    indexing,
    integer,
    pooling,
    power,
    random,
    reduction,
    special,
    structural,
    zeta,
)
