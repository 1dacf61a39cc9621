"""The rules, one family of primitives per file; importing this package fills the table."""

from precjax.rules import (  # noqa: F401
    adam,
    arithmetic,
    complex_arithmetic,
    complex_elementary,
    contraction,
    control_flow,
    conversion,
    decision,
    elementary,
    extremum,
    fft,
    indexing,
    integer,
    pooling,
    power,
    random,
    reduction,
    structural,
)
